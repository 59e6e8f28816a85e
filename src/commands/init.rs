//! `htap-top init`.

use super::meter::Meter;
use super::options::Server;
use super::{FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, confirmed, print, target};
use crate::format;
use crate::pg::Target;
use crate::system::generate::Shape;
use crate::system::host::{self, Change, Prepared};
use crate::system::init::{self, InitError, Load, Step};
use crate::system::uninstall::Uninstall;
use crate::system::{ORDERS_PER_SCALE, schema};
use clap::Args;
use std::io::Write;

/// Options of `init`.
#[derive(Clone, Debug, Args)]
#[command(
    group = clap::ArgGroup::new("asking").args(["uninstall", "host_figures"]).multiple(true),
    after_help = "Installs the schemas shop, mart and htap and the roles htap_oltp, htap_olap, htap_refresh and \
                  htap_monitor, all or nothing, owned by the role htap_owner, which cannot log in. An earlier \
                  version is upgraded and keeps its orders. Objects of these names that htap-top did not create \
                  are never touched. If run again, init creates what is missing and continues an interrupted \
                  load. Needs superuser, or CREATEROLE and CREATE on the database (from PostgreSQL 16 on also \
                  ADMIN OPTION on pg_monitor and pg_signal_backend)."
)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
pub(super) struct Options {
    /// The server.
    #[command(flatten)]
    pub(super) server: Server,
    /// Fill an empty shop with history, 0.001 to 1000; 1 means 100,000 orders with 300,000 lines, about 180 MB
    #[arg(long, value_name = "N", value_parser = parse_scale)]
    pub(super) scale: Option<f64>,
    /// Days of history
    #[arg(long, value_name = "D", default_value_t = 180, requires = "scale", value_parser = clap::value_parser!(i64).range(1..=1825))]
    pub(super) days: i64,
    /// Random seed of the data
    #[arg(long, value_name = "S", default_value_t = 1, requires = "scale", value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64))]
    pub(super) seed: u64,
    /// Sessions that load in parallel; default: two per processor, at most 8
    #[arg(long, value_name = "J", requires = "scale", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) jobs: Option<u8>,
    /// Print the schema's SQL instead of running it
    #[arg(long, conflicts_with_all = ["scale", "uninstall"])]
    pub(super) dry_run: bool,
    /// Remove the schemas with their contents, and the roles if no other database uses them
    #[arg(long, conflicts_with = "scale")]
    pub(super) uninstall: bool,
    /// Install only htap_host.files(), by which PostgreSQL reads the processor time, memory and storage use of its
    /// processes and its machine; or remove it, with --uninstall
    #[arg(long, conflicts_with = "scale")]
    pub(super) host_figures: bool,
    /// Proceed without asking for confirmation
    #[arg(long, requires = "asking")]
    pub(super) yes: bool,
}

/// Parses a scale, in units of 100,000 orders.
fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if (0.001..=1000.0).contains(&scale) => Ok(scale),
        _ => Err("expected a number from 0.001 to 1000".to_owned()),
    }
}

/// Size of an order on the server in bytes, including its lines, its share of the summaries and their indexes.
const BYTES_PER_ORDER: f64 = 1800.0;

/// Header of the SQL that is printed instead of run.
const DRY_RUN: &str = "\
-- The SQL that htap-top init runs on a new installation. init also records in htap.object what it created: what
-- this SQL creates when run by hand, init takes for somebody else's and does not touch.
";

impl From<InitError> for Failure {
    fn from(error: InitError) -> Self {
        let code = match &error {
            InitError::Connect { .. } => NO_CONNECTION,
            InitError::Privilege(_) => NO_PRIVILEGE,
            InitError::Refused(_) | InitError::Server { .. } => FAILURE,
        };
        Self::new(code, error)
    }
}

/// Installs, fills or removes the shop.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    if options.host_figures {
        return host_figures(options);
    }
    if options.dry_run {
        let script = schema::script(None, "");
        return print(format!("{DRY_RUN}BEGIN;\n{script}COMMIT;\n").as_bytes());
    }
    let target = target(&options.server, "htap-top init")?;
    if options.uninstall {
        return uninstall(&target, options.yes);
    }
    let load = options.scale.map(|scale| Load {
        shape: Shape::of((scale * ORDERS_PER_SCALE).round() as u64, options.days),
        seed: options.seed,
        jobs: options.jobs.map_or_else(jobs, usize::from),
    });
    let done = block_on(async {
        let mut meter = Meter::default();
        if let Some(load) = load {
            let bytes = load.shape.orders as f64 * BYTES_PER_ORDER;
            let (orders, bytes) = (load.shape.orders, format::bytes(bytes));
            meter.say(&format!("{orders} orders take about {bytes} on the server"));
        }
        let installing = init::init(&target, load, |step| match step {
            Step::Doing(doing) => meter.say(doing),
            Step::Loading(progress) => meter.show(&progress),
        });
        tokio::select! {
            done = installing => Ok(done?),
            _ = tokio::signal::ctrl_c() => Err(interrupted(load)),
        }
    })?;
    print(done.to_string().as_bytes())
}

fn interrupted(load: Option<Load>) -> Failure {
    let note = match load {
        Some(_) => "interrupted; run the same command to continue",
        None => "interrupted",
    };
    Failure::new(FAILURE, note)
}

/// Returns two sessions per processor: while one waits for the server, the other generates rows.
fn jobs() -> usize {
    std::thread::available_parallelism().map_or(2, |n| (2 * n.get()).min(8))
}

/// Installs or removes the function that reads the use of the machine.
fn host_figures(options: &Options) -> Result<(), Failure> {
    if options.dry_run {
        return print(host::script().as_bytes());
    }
    let target = target(&options.server, "htap-top init")?;
    let (change, question, done) = if options.uninstall {
        (Change::Remove, "remove it?", "removed htap_host.files()\n")
    } else {
        (
            Change::Install,
            "install it?",
            "installed htap_host.files(); members of htap_monitor may call it\n",
        )
    };
    block_on(async {
        let prepared = Prepared::new(&target, change).await?;
        if prepared.sql.is_empty() {
            return print(b"htap_host.files() is not installed\n");
        }
        let _ = write!(std::io::stderr(), "{}", prepared.sql);
        if !options.yes && !confirmed(question)? {
            return Err(Failure::new(FAILURE, "nothing was changed"));
        }
        prepared.run().await?;
        print(done.as_bytes())
    })
}

fn uninstall(target: &Target, yes: bool) -> Result<(), Failure> {
    let removed = block_on(async {
        let prepared = Uninstall::prepare(target).await?;
        let Some(plan) = &prepared.plan else {
            return Ok(None);
        };
        let _ = write!(std::io::stderr(), "{plan}");
        if !yes && !confirmed("remove all of this?")? {
            return Err(Failure::new(FAILURE, "nothing was removed"));
        }
        let mut meter = Meter::default();
        let removed = prepared.run(|step| {
            if let Step::Doing(doing) = step {
                meter.say(doing);
            }
        });
        Ok(Some(removed.await?))
    })?;
    match removed {
        Some(removed) => print(removed.to_string().as_bytes()),
        None => print(b"nothing installed by htap-top was found\n"),
    }
}
