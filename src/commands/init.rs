//! `htap-top init`.

use super::meter::Meter;
use super::{FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, confirmed, print, target};
use htap_top::cli::Init;
use htap_top::format;
use htap_top::pg::Target;
use htap_top::system::ORDERS_PER_SCALE;
use htap_top::system::generate::Shape;
use htap_top::system::init::{self, InitError, Load, Step};
use htap_top::system::schema;
use htap_top::system::uninstall::Uninstall;
use std::io::Write;

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
pub fn run(options: &Init) -> Result<(), Failure> {
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
