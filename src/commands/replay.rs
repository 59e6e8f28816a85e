//! Shows a recording, or lists its troubles.

use super::dashboard::{Prepared, ended, need_terminal, recordings};
use super::options::Look;
use super::{FAILURE, Failure, USAGE, block_on, print};
use crate::dashboard::recording::{self, Recording, RecordingError};
use crate::dashboard::runtime::{self, TerminalSession, ring};
use crate::dashboard::timeline::Timeline;
use crate::format;
use clap::Args;
use std::path::PathBuf;

/// Options of a replay.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Options {
    /// Recording to open; default: the newest one that a dashboard recorded automatically
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// List the recordings that dashboards made automatically
    #[arg(long, conflicts_with = "files")]
    list: bool,
    /// Print the troubles with their times instead of opening the screen
    #[arg(long)]
    troubles: bool,
    /// Options of the screen.
    #[command(flatten)]
    look: Look,
}

/// Opens a recording.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let prepared = Prepared::new(&options.look, false)?;
    let folder = recordings(&prepared.start.config.record);
    if options.list {
        return list(&ring::recordings(&folder));
    }
    let files = if options.files.is_empty() {
        ring::newest(&folder)
    } else {
        options.files.clone()
    };
    let Some(first) = files.first() else {
        let why = format!(
            "no recordings in {}; dashboards record automatically if [record] always = true",
            folder.display()
        );
        return Err(Failure::new(USAGE, why));
    };
    if !options.troubles {
        need_terminal()?;
    }
    let recording = recording::read(&files, prepared.start).map_err(|error| {
        let code = match error {
            RecordingError::Unreadable(_) => FAILURE,
            _ => USAGE,
        };
        Failure::new(code, format!("{}: {error}", first.display()))
    })?;
    if options.troubles {
        return troubles(&recording);
    }
    let torn = recording.torn.clone();
    let timeline = Timeline::replay(recording.tape)
        .ok_or_else(|| Failure::new(USAGE, format!("{}: it is empty", first.display())))?;
    block_on(async {
        let terminal = TerminalSession::set()?;
        ended(runtime::replay(terminal, timeline, prepared.themes, torn).await?)
    })
}

/// Prints the recordings, one line each: file and size.
fn list(files: &[PathBuf]) -> Result<(), Failure> {
    for path in files {
        let size = std::fs::metadata(path).map_or(0, |data| data.len());
        let line = format!("{}  {}\n", path.display(), format::bytes(size as f64));
        print(line.as_bytes())?;
    }
    Ok(())
}

/// Prints a line for each trouble: its start and the cause line.
fn troubles(recording: &Recording) -> Result<(), Failure> {
    for trouble in recording.tape.troubles() {
        let at = format::moment(trouble.at.epoch_ms, recording.utc_offset_s);
        print(format!("{at}  {}\n", trouble.sentence).as_bytes())?;
    }
    match &recording.torn {
        Some(why) => print(format!("the rest cannot be read: {why}\n").as_bytes()),
        None => Ok(()),
    }
}
