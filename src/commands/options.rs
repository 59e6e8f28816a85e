//! Options that several commands have, and how they are read.

use crate::format::duration::parse as parse_duration;
use crate::log::Detail;
use crate::pg::Flags;
use crate::system::orders::Commit;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Options of the log, which every command has.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Logging {
    /// Write a log for bug reports to this file; default $HTAP_TOP_LOG, else none
    #[arg(long = "log", value_name = "FILE", global = true)]
    pub(super) log_file: Option<PathBuf>,
    /// Level of the log; default $HTAP_TOP_LOG_LEVEL, else info
    #[arg(long = "log-level", value_name = "LEVEL", value_enum, global = true)]
    pub(super) log_level: Option<Detail>,
}

/// Connection options, as in psql.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Connection {
    /// Server host name, address or socket directory
    #[arg(short = 'h', long)]
    pub(super) host: Option<String>,
    /// Server port
    #[arg(short = 'p', long)]
    pub(super) port: Option<String>,
    /// Role to connect as
    #[arg(short = 'U', long = "username", value_name = "ROLE")]
    pub(super) user: Option<String>,
    /// Database name, conninfo string or URI
    #[arg(short = 'd', long = "dbname")]
    pub(super) dbname: Option<String>,
}

/// The server that a command connects to.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Server {
    /// Server to connect to: conninfo string, URI or database name
    #[arg(value_name = "CONNINFO")]
    pub(super) conninfo: Option<String>,
    /// Connection options, as in psql.
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// The servers that a command watches.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Servers {
    /// Server to connect to: conninfo string, URI or database name; the dashboard and once --check take several.
    /// Default: the servers that the configuration lists, else the environment's
    #[arg(value_name = "CONNINFO")]
    pub(super) conninfos: Vec<String>,
    /// Connection options, as in psql.
    #[command(flatten)]
    pub(super) connection: Connection,
}

/// The OLAP pool.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct OlapPool {
    /// Connection of the OLAP pool, such as to a replica or as another role; default: the same server
    #[arg(long, value_name = "CONNINFO")]
    pub(super) olap: Option<String>,
    /// Maximum number of OLAP pool sessions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=20))]
    pub(super) olap_connections: Option<u8>,
}

/// The pooler in front of the server.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Pooler {
    /// Admin console of the PgBouncer in front of the server: host, port (default 6432) and user
    #[arg(long, value_name = "CONNINFO")]
    pub(super) pooler: Option<String>,
}

/// The column store.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ColumnStore {
    /// Column store that panels of the pool "columnar" ask: host (default 127.0.0.1), port (default 5439) and user of
    /// `htap-top columnar serve`
    #[arg(long, value_name = "CONNINFO")]
    pub(super) columnar: Option<String>,
}

/// Connections beside those of the watched server.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Beside {
    /// The OLAP pool.
    #[command(flatten)]
    pub(super) pool: OlapPool,
    /// The pooler.
    #[command(flatten)]
    pub(super) pooler: Pooler,
    /// The column store.
    #[command(flatten)]
    pub(super) store: ColumnStore,
}

/// Options of the screen.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Look {
    /// Time between samples, such as 500ms or 2s
    #[arg(long, value_parser = parse_duration)]
    pub(super) interval: Option<Duration>,
    /// Theme: dark, light, high-contrast, monochrome, … or one of your own
    #[arg(long)]
    pub(super) theme: Option<String>,
    /// Configuration file; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Disable all actions
    #[arg(long)]
    pub(super) read_only: bool,
}

/// Output format of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

impl Connection {
    /// Returns the connection settings, with the positional argument.
    pub(super) fn flags(&self, conninfo: Option<&String>) -> Flags {
        Flags {
            conninfo: conninfo.cloned(),
            host: self.host.clone(),
            port: self.port.clone(),
            user: self.user.clone(),
            dbname: self.dbname.clone(),
        }
    }
}

impl Servers {
    /// Returns the connection settings of each server; those of the default one if none is named.
    pub(super) fn each(&self) -> Vec<Flags> {
        if self.conninfos.is_empty() {
            return vec![self.connection.flags(None)];
        }
        let conninfos = self.conninfos.iter();
        conninfos
            .map(|conninfo| self.connection.flags(Some(conninfo)))
            .collect()
    }

    /// Returns true if the command line names a server.
    pub(super) fn is_given(&self) -> bool {
        !self.conninfos.is_empty() || self.connection.flags(None) != Flags::default()
    }
}

impl Server {
    /// Returns the connection settings.
    pub(super) fn flags(&self) -> Flags {
        self.connection.flags(self.conninfo.as_ref())
    }
}

/// Returns the mode of commit for a flag such as `--async`.
pub(super) fn commit(asynchronous: bool) -> Commit {
    if asynchronous {
        Commit::Asynchronous
    } else {
        Commit::Synchronous
    }
}

/// Parses a rate of the load. Above the limit, generating arrivals would use all CPU time.
pub(super) fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (0.0..=100_000.0).contains(&rate) => Ok(rate),
        _ => Err("expected a number from 0 to 100000".to_owned()),
    }
}

/// Parses `on` or `off`.
pub(super) fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off".to_owned()),
    }
}
