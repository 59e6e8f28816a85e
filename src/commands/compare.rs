//! `htap-top compare`: what differs between two recordings.

use super::dashboard::Prepared;
use super::options::Look;
use super::{FAILURE, Failure, USAGE, print};
use crate::dashboard::compare::{Comparison, Period};
use crate::dashboard::model::Start;
use crate::dashboard::output::changes::{self, Named};
use crate::dashboard::output::csv;
use crate::dashboard::recording::{self, RecordingError};
use crate::dashboard::terminal;
use crate::format;
use crate::text::Clean;
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `compare`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Each recording is compared as a whole, from its first sample to its last; OLTP figures are those of its \
                  last hour. htap-top record holds all panels; a recording of the dashboard holds statements only of the time \
                  in which they were shown."
)]
pub(super) struct Options {
    /// Recording of the time before
    #[arg(value_name = "FILE1")]
    before: PathBuf,
    /// Recording of the time after
    #[arg(value_name = "FILE2")]
    after: PathBuf,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Configuration file, for the targets; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Output format of the changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The ten largest as aligned text, for people
    #[default]
    Table,
    /// One JSON object with all
    Json,
    /// RFC 4180 with a header, all
    Csv,
}

/// Changes in a table.
const MOST: usize = 10;

/// Compares two recordings.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let look = Look {
        config: options.config.clone(),
        ..Look::default()
    };
    let start = Prepared::new(&look, false)?.start;
    let targets = start.config.targets.clone();
    let (before, then) = period(&options.before, start.clone())?;
    let (after, now) = period(&options.after, start)?;
    let comparison = Comparison::of(&then, &now, &targets);
    let text = match options.format {
        Format::Table => {
            let width = terminal::width().map_or(usize::MAX, usize::from);
            changes::text(&before, &after, &comparison, MOST, width)
        }
        Format::Json => changes::json(&before, &after, &comparison)
            .map_err(|error| Failure::new(FAILURE, format!("failed to write JSON: {error}")))?,
        Format::Csv => {
            for note in &comparison.notes {
                let _ = writeln!(std::io::stderr(), "htap-top: {note}");
            }
            csv::text(&changes::sheet(&comparison))
        }
    };
    print(text.as_bytes())
}

/// Reads a recording, and returns its name and what is known of it.
fn period(path: &Path, start: Start) -> Result<(Named, Period), Failure> {
    let shown = Clean::from(path.display().to_string());
    let read = recording::measured(path, start).map_err(|error| {
        let code = match error {
            RecordingError::Unreadable(_) => FAILURE,
            _ => USAGE,
        };
        Failure::new(code, format!("{shown}: {error}"))
    })?;
    if let Some(why) = &read.torn {
        let _ = writeln!(
            std::io::stderr(),
            "htap-top: {shown}: the rest cannot be read: {why}"
        );
    }
    let model = read.model;
    let known = model.since_baseline().filter(|_| model.facts.is_some());
    let period = known.ok_or_else(|| {
        let why = "it holds no answer of a server: there is nothing to compare";
        Failure::new(USAGE, format!("{shown}: {why}"))
    })?;
    let at = |epoch_ms: i64| format::moment(epoch_ms, model.start.utc_offset_s);
    let named = Named {
        file: shown.to_string(),
        target: model.start.target.to_string(),
        version: model.fact().server_version().shown().to_owned(),
        from: at(period.epoch_ms.0),
        to: at(period.epoch_ms.1),
    };
    Ok((named, period))
}
