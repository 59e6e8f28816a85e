//! `htap-top serve`: serves figures to Prometheus.

use super::headless::{Watched, check_names, prepare_one};
use super::{FAILURE, Failure, block_on, interrupted};
use crate::dashboard::runtime::headless::Headless;
use crate::dashboard::runtime::http;
use crate::format::duration::parse as parse_duration;
use clap::Args;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "GET /metrics: the newest samples for Prometheus; a scrape runs no statement. GET /health: 200, \
                  or 503 with the reason. There is no authentication: anyone who can reach the address can read \
                  it, so it is local to this machine unless --listen names another. Ctrl-C or SIGTERM ends it."
)]
pub(super) struct Options {
    /// The server and panels.
    #[command(flatten)]
    watched: Watched,
    /// Address to listen on; a port alone means 127.0.0.1
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9188", value_parser = parse_address)]
    listen: SocketAddr,
    /// Time between samples, such as 500ms or 2s
    #[arg(long, value_parser = parse_duration)]
    interval: Option<Duration>,
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

/// Samples and serves until it is stopped.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let (mut start, targets) = prepare_one(&options.watched, "serve")?;
    start.config.interval = options.interval.unwrap_or(start.config.interval);
    let panels = &options.watched.panels;
    block_on(async {
        let stop = interrupted()?;
        let wanted = options.listen;
        let listener = TcpListener::bind(wanted).await.map_err(|error| {
            Failure::new(FAILURE, format!("failed to listen on {wanted}: {error}"))
        })?;
        let address = listener.local_addr()?;
        let headless = Headless::start(start, targets, panels, false);
        check_names(&headless.model, panels)?;
        let mut err = std::io::stderr();
        let _ = writeln!(err, "htap-top: serving http://{address}/metrics");
        if !address.ip().is_loopback() {
            let _ = writeln!(
                err,
                "htap-top: no authentication: anyone who can reach {address} can read it"
            );
        }
        Box::pin(http::serve(headless, panels, listener, stop)).await;
        Ok(())
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
