//! `htap-top record`: records all panels to a file.

use super::headless::{check_names, prepare};
use super::{FAILURE, Failure, NO_CONNECTION, block_on, create, interrupted};
use htap_top::cli::output::Record;
use htap_top::dashboard::model::Model;
use htap_top::dashboard::output;
use htap_top::dashboard::runtime::headless::{Headless, Settled};
use htap_top::format;
use std::io::Write;
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
    let file = create(&options.file)?;
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
