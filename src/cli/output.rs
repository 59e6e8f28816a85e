//! Options of `htap-top once`, `serve` and `record`.

use super::{OlapPool, Server};
use crate::format::duration::parse as parse_duration;
use clap::{Args, ValueEnum};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// The server and panels that `once`, `serve` and `record` read.
#[derive(Clone, Debug, Default, Args)]
pub struct Headless {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// The OLAP pool.
    #[command(flatten)]
    pub pool: OlapPool,
    /// Configuration file; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Panel to print, by file name; can be repeated
    #[arg(long = "panel", value_name = "NAME")]
    pub panels: Vec<String>,
}

/// Options of `once`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Without --panel: the figures beside their targets, the cause line with its evidence, and the \
                  OLTP figures. Exit codes: 0 data arrived, 1 nothing that was asked for arrived, 2 usage or \
                  configuration, 3 cannot connect, 4 nothing arrived for lack of privilege, 5 a target is missed \
                  (with --check)."
)]
pub struct Once {
    /// The server and panels.
    #[command(flatten)]
    pub watched: Headless,
    /// Output format
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Exit with code 5 if a target is missed; prints the cause line, plus what --format or --panel ask for
    #[arg(long)]
    pub check: bool,
    /// Maximum time to wait until all figures are measured
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub wait: Duration,
}

/// Output format of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned text, for people
    Table,
    /// One JSON object
    Json,
    /// RFC 4180 with a header, of one panel
    Csv,
    /// Prometheus' text exposition format
    Prometheus,
}

/// Options of `record`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Records every panel until Ctrl-C, SIGTERM or the end of --duration; `htap-top replay FILE` \
                  plays it back. However it ends, at most the last second is lost."
)]
pub struct Record {
    /// File to write; must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// The server and panels.
    #[command(flatten)]
    pub watched: Headless,
    /// Time between samples, such as 500ms or 2s
    #[arg(long, value_parser = parse_duration)]
    pub interval: Option<Duration>,
    /// Stop after this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Keep literals in recorded statements; without it, strings and numbers are masked
    #[arg(long)]
    pub literals: bool,
}

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "GET /metrics: the newest samples for Prometheus; a scrape runs no statement. GET /health: 200, \
                  or 503 with the reason. There is no authentication: anyone who can reach the address can read \
                  it, so it is local to this machine unless --listen names another. Ctrl-C or SIGTERM ends it."
)]
pub struct Serve {
    /// The server and panels.
    #[command(flatten)]
    pub watched: Headless,
    /// Address to listen on; a port alone means 127.0.0.1
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9188", value_parser = parse_address)]
    pub listen: SocketAddr,
    /// Time between samples, such as 500ms or 2s
    #[arg(long, value_parser = parse_duration)]
    pub interval: Option<Duration>,
}

/// Parses `9188`, `:9188`, `localhost:9188`, `127.0.0.1:9188` or `[::]:9188`. A port alone means the loopback address,
/// which other machines cannot reach.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let port = text
        .strip_prefix("localhost:")
        .or(text.strip_prefix(':'))
        .unwrap_or(text);
    if let Ok(port) = port.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| {
        "expected a port, or an address of this machine and a port, such as 9188, 127.0.0.1:9188 or [::1]:9188"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_is_written_out_leaves_this_machine() {
        for near in [
            "9188",
            ":9188",
            "localhost:9188",
            "127.0.0.1:9188",
            "[::1]:9188",
        ] {
            assert!(parse_address(near).unwrap().ip().is_loopback(), "{near}");
        }
        for far in ["0.0.0.0:9188", "[::]:9188", "10.0.0.1:80"] {
            assert!(!parse_address(far).unwrap().ip().is_loopback(), "{far}");
        }
        for wrong in ["", "db", "db:9188", "127.0.0.1", "99999", "*:9188"] {
            assert!(parse_address(wrong).is_err(), "{wrong}");
        }
    }
}
