//! `htap-top record`: records all panels to a file.

use super::headless::{check_names, prepare};
use super::{FAILURE, Failure, NO_CONNECTION, USAGE, block_on, interrupted};
use htap_top::cli::output::Record;
use htap_top::dashboard::model::Model;
use htap_top::dashboard::output;
use htap_top::dashboard::runtime::headless::{Headless, Settled};
use htap_top::format;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// Time to wait for the first answers, so that a wrong password is reported at once.
const PATIENCE: Duration = Duration::from_secs(15);

/// Records until it is stopped or the time is over.
pub fn record(options: &Record) -> Result<(), Failure> {
    let (mut start, targets) = prepare(&options.watched)?;
    start.config.interval = options.interval.unwrap_or(start.config.interval);
    let mask = !options.literals && !start.config.record.literals;
    let model = Model::new(start.clone());
    check_names(&model, &options.watched.panels)?;
    let all: Vec<String> = output::names(&model)
        .into_iter()
        .map(str::to_owned)
        .collect();
    let panels = if options.watched.panels.is_empty() {
        &all
    } else {
        &options.watched.panels
    };
    let shown = options.file.display();
    let fail = |error: std::io::Error| Failure::new(FAILURE, format!("{shown}: {error}"));
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&options.file)
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Failure::new(
                USAGE,
                format!("{shown} already exists: choose another file or remove it"),
            ),
            _ => fail(error),
        })?;
    block_on(async {
        let stop = interrupted()?;
        let mut headless = Headless::start(start, targets, panels, false);
        headless.record(file, mask).map_err(fail)?;
        if let Settled::NotConnected(error) = headless.settle(PATIENCE).await {
            if headless.model.facts.is_none() {
                // The file is empty and would be in the way of the next attempt.
                let _ = std::fs::remove_file(&options.file);
            }
            return Err(Failure::new(NO_CONNECTION, error));
        }
        let mut err = std::io::stderr();
        let _ = writeln!(err, "htap-top: recording in {shown}; Ctrl-C ends it");
        let until = options.duration.unwrap_or(Duration::MAX);
        headless.go_on(until, stop).await.map_err(fail)?;
        headless.end().await;
        let bytes = std::fs::metadata(&options.file).map_or(0, |data| data.len());
        let _ = writeln!(err, "htap-top: {} in {shown}", format::bytes(bytes as f64));
        Ok(())
    })
}
