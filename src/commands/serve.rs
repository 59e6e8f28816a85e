//! `htap-top serve`: serves figures to Prometheus.

use super::headless::{check_names, prepare};
use super::{FAILURE, Failure, block_on, interrupted};
use htap_top::cli::output::Serve;
use htap_top::dashboard::runtime::headless::Headless;
use htap_top::dashboard::runtime::http;
use std::io::Write;
use tokio::net::TcpListener;

/// Samples and serves until it is stopped.
pub fn serve(options: &Serve) -> Result<(), Failure> {
    let (mut start, targets) = prepare(&options.watched)?;
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
