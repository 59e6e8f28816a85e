//! `htap-top record`: records all panels to a file.

use super::headless::{Watched, check_names, prepare_one};
use super::{FAILURE, Failure, NO_CONNECTION, block_on, create, interrupted};
use crate::dashboard::model::Model;
use crate::dashboard::output;
use crate::dashboard::runtime::headless::{Headless, Settled};
use crate::format;
use crate::format::duration::parse as parse_duration;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `record`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Records every panel until Ctrl-C, SIGTERM or the end of --duration; `htap-top replay FILE` \
                  plays it back. However it ends, at most the last second is lost."
)]
pub(super) struct Options {
    /// File to write; must not exist
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The server and panels.
    #[command(flatten)]
    watched: Watched,
    /// Time between samples, such as 500ms or 2s
    #[arg(long, value_parser = parse_duration)]
    interval: Option<Duration>,
    /// Stop after this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Keep literals in recorded statements; without it, strings and numbers are masked
    #[arg(long)]
    literals: bool,
}

/// Time to wait for the first answers, so that a wrong password is reported at once.
const PATIENCE: Duration = Duration::from_secs(15);

/// Records until it is stopped or the time is over.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let (mut start, targets) = prepare_one(&options.watched, "record")?;
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
    let file = create(&options.file)?;
    block_on(async {
        let stop = interrupted()?;
        let mut headless = Headless::start(start, targets, panels, false);
        headless.record(shown.to_string(), file, mask);
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
        let lacks = headless.go_on(until, stop).await;
        headless.end().await;
        let lacks = lacks.map_err(|why| Failure::new(FAILURE, why))?;
        if lacks > 0 {
            let _ = writeln!(
                err,
                "htap-top: {lacks} samples are missing in {shown}: the disk was too slow"
            );
        }
        let bytes = std::fs::metadata(&options.file).map_or(0, |data| data.len());
        let _ = writeln!(err, "htap-top: {} in {shown}", format::bytes(bytes as f64));
        Ok(())
    })
}
