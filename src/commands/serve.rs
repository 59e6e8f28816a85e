//! `htap-top serve`: serves figures to Prometheus, and a page that shows them live.

use super::headless::{Watched, check_names, prepare_one};
use super::{FAILURE, Failure, USAGE, block_on, env, interrupted};
use crate::dashboard::runtime::headless::Headless;
use crate::dashboard::runtime::http::{self, Access, Token};
use crate::format::duration::parse as parse_duration;
use clap::Args;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};

/// Variable that holds the token.
const TOKEN: &str = "HTAP_TOP_TOKEN";
/// Bytes that the kernel keeps for a client that does not read.
const SEND_BUFFER: u32 = 128 * 1024;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// Options of `serve`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "GET /: a page with the figures, live. GET /live: its server-sent events. GET /metrics: the newest samples \
                  for Prometheus; neither a scrape nor a reader runs statements of its own. GET /health: 200, or 503 with \
                  the reason. With a token, everything but the empty page needs Authorization: Bearer TOKEN, and the page \
                  asks for it. Without one, anyone who can reach the address can read it: it is local to this machine \
                  unless --listen names another, and then there are only /metrics and /health. Ctrl-C or SIGTERM ends it."
)]
pub(super) struct Options {
    /// The server and panels.
    #[command(flatten)]
    watched: Watched,
    /// Address to listen on; a port alone means 127.0.0.1
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9188", value_parser = parse_address)]
    listen: SocketAddr,
    /// File with the token that clients must send; default $HTAP_TOP_TOKEN, else none
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Time between samples, such as 500ms or 2s
    #[arg(long, value_parser = parse_duration)]
    interval: Option<Duration>,
}

/// Parses `9188`, `:9188`, `localhost:9188`, `127.0.0.1:9188` or `[::]:9188`. A port alone means the loopback address,
/// which other machines cannot reach.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
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

/// Returns the token of the file or of the environment.
fn token(file: Option<&Path>) -> Result<Option<Token>, Failure> {
    let (from, text) = match (file, env(TOKEN)) {
        (Some(file), _) => (file.display().to_string(), read_token(file)?),
        (None, Some(text)) => (TOKEN.to_owned(), text),
        (None, None) => return Ok(None),
    };
    let token = Token::parse(&text);
    let token = token.map_err(|why| Failure::new(USAGE, format!("{from}: {why}")))?;
    Ok(Some(token))
}

fn read_token(file: &Path) -> Result<String, Failure> {
    let place = file.display();
    let failed = |error| {
        Failure::new(
            USAGE,
            format!("failed to read the token file {place}: {error}"),
        )
    };
    let mode = std::fs::metadata(file).map_err(failed)?.mode();
    if mode & 0o004 != 0 {
        let _ = writeln!(
            io::stderr(),
            "htap-top: every user of this machine can read the token file {place}: use chmod 600"
        );
    }
    std::fs::read_to_string(file).map_err(failed)
}

/// Listens like [`TcpListener::bind`], but keeps less for clients that do not read.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Accepted connections inherit it.
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Samples and serves until it is stopped.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let token = token(options.token_file.as_deref())?;
    let (mut start, targets) = prepare_one(&options.watched, "serve")?;
    start.config.interval = options.interval.unwrap_or(start.config.interval);
    let panels = &options.watched.panels;
    block_on(async {
        let stop = interrupted()?;
        let wanted = options.listen;
        let listener = listen(wanted).map_err(|error| {
            Failure::new(FAILURE, format!("failed to listen on {wanted}: {error}"))
        })?;
        let address = listener.local_addr()?;
        let has_token = token.is_some();
        let access = Access::of(address, token);
        let headless = Headless::start(start, targets, panels, false);
        check_names(&headless.model, panels)?;
        let mut err = io::stderr();
        let _ = if access.has_page() {
            writeln!(
                err,
                "htap-top: serving http://{address}/ and http://{address}/metrics"
            )
        } else {
            writeln!(err, "htap-top: serving http://{address}/metrics")
        };
        if !address.ip().is_loopback() && !has_token {
            let _ = writeln!(
                err,
                "htap-top: no authentication: anyone who can reach {address} can read its metrics; \
                 the page needs a token (--token-file)"
            );
        }
        Box::pin(http::serve(headless, panels, (listener, access), stop)).await;
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
