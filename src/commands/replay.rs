//! Shows a recording, lists its troubles, or writes the report of an incident in it.

use super::dashboard::{Prepared, ended, need_terminal, recordings};
use super::options::Look;
use super::{FAILURE, Failure, USAGE, block_on, print};
use crate::dashboard::event::{Event, Moment};
use crate::dashboard::incident::Incident;
use crate::dashboard::recording::{self, Recording, RecordingError};
use crate::dashboard::runtime::{self, TerminalSession, ring};
use crate::dashboard::tape::Tape;
use crate::dashboard::timeline::Timeline;
use crate::format;
use chrono::{DateTime, FixedOffset, NaiveDateTime, NaiveTime, TimeDelta};
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
    /// Write the report of the worst trouble to a file, print its path, and open no screen
    #[arg(long, conflicts_with = "troubles")]
    report: bool,
    /// Moment of the report instead: 14:02:11, "2026-03-01 14:02:11", or with an offset from UTC such as +01:00
    #[arg(long, value_name = "TIME", requires = "report")]
    at: Option<String>,
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
    if !options.troubles && !options.report {
        need_terminal()?;
    }
    let recording = recording::read(&files, prepared.start.clone()).map_err(|error| {
        let code = match error {
            RecordingError::Unreadable(_) => FAILURE,
            _ => USAGE,
        };
        Failure::new(code, format!("{}: {error}", first.display()))
    })?;
    if options.troubles {
        return troubles(&recording);
    }
    if options.report {
        return report(recording, options.at.as_deref(), &prepared);
    }
    let torn = recording.torn.clone();
    let timeline = Timeline::replay(recording.tape)
        .ok_or_else(|| Failure::new(USAGE, format!("{}: it is empty", first.display())))?;
    block_on(async {
        let terminal = TerminalSession::set()?;
        let places = prepared.places();
        ended(runtime::replay(terminal, timeline, prepared.themes, places, torn).await?)
    })
}

/// Columns and rows of the Overview's picture in a report.
const PICTURE: (u16, u16) = (120, 40);

/// Writes the report of the moment named `at`, or of the worst trouble, and prints its path.
fn report(recording: Recording, at: Option<&str>, prepared: &Prepared) -> Result<(), Failure> {
    let usage = |why: String| Failure::new(USAGE, why);
    let (first, last) = (recording.tape.ends()).ok_or_else(|| usage("it is empty".into()))?;
    let moment_ms = match at {
        Some(text) => named(text, (first, last), recording.utc_offset_s).map_err(usage)?,
        None => worst(&recording.tape).unwrap_or(last).mono_ms,
    };
    let timeline = Timeline::replay(recording.tape);
    let mut timeline = timeline.ok_or_else(|| usage("it is empty".into()))?;
    let (width, height) = PICTURE;
    let _ = timeline.update(Event::Resized { width, height });
    timeline.show(moment_ms);
    let theme = prepared.themes.first().cloned().unwrap_or_default();
    let written = Incident::of(&timeline, true).write(&prepared.reports(), &theme);
    let path = written.map_err(|why| Failure::new(FAILURE, why))?;
    print(format!("{}\n", path.display()).as_bytes())
}

/// Returns the moment at which the trouble that does most damage, or is farthest past its target, was worst.
fn worst(tape: &Tape) -> Option<Moment> {
    let troubles = tape.troubles().map(|trouble| trouble.worst);
    let worst = troubles.reduce(|worst, one| {
        if (one.1, one.2) > (worst.1, worst.2) {
            one
        } else {
            worst
        }
    });
    worst.map(|(at, ..)| at)
}

/// Returns the moment of a recording that a user names, in milliseconds of its time.
fn named(text: &str, (first, last): (Moment, Moment), utc_offset_s: i32) -> Result<u64, String> {
    let range = format!(
        "the recording is from {} to {}",
        format::moment(first.epoch_ms, utc_offset_s),
        format::moment(last.epoch_ms, utc_offset_s)
    );
    let epoch_ms = epoch_ms(text.trim(), first, utc_offset_s).ok_or_else(|| {
        format!("--at {text:?} is no time: write 14:02:11 or \"2026-03-01 14:02:11\"; {range}")
    })?;
    // A time names the whole second, of which the end is shown: a trouble that began in it has begun.
    let end_ms = epoch_ms + 999;
    if end_ms < first.epoch_ms || epoch_ms > last.epoch_ms {
        return Err(format!("nothing was recorded at {text}: {range}"));
    }
    let since_ms = end_ms.min(last.epoch_ms) - first.epoch_ms;
    Ok(first.mono_ms.saturating_add_signed(since_ms))
}

/// Milliseconds since the epoch of a time; one without a date is the first one after the beginning.
fn epoch_ms(text: &str, first: Moment, utc_offset_s: i32) -> Option<i64> {
    let formats = [
        "%Y-%m-%d %H:%M:%S %:z",
        "%Y-%m-%d %H:%M:%S%:z",
        "%Y-%m-%dT%H:%M:%S%:z",
    ];
    let mut zoned = formats
        .iter()
        .filter_map(|format| DateTime::parse_from_str(text, format).ok());
    let zoned = zoned
        .next()
        .or_else(|| DateTime::parse_from_rfc3339(text).ok());
    if let Some(at) = zoned {
        return Some(at.timestamp_millis());
    }
    let offset = FixedOffset::east_opt(utc_offset_s)?;
    let mut local = ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"].iter();
    let local = local.find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let at = local.or_else(|| first_at(text, first, offset))?;
    Some(at.and_local_timezone(offset).single()?.timestamp_millis())
}

/// The first time of this name, such as 14:02:11, from the beginning on.
fn first_at(text: &str, first: Moment, offset: FixedOffset) -> Option<NaiveDateTime> {
    let mut times = ["%H:%M:%S", "%H:%M"].iter();
    let time = times.find_map(|format| NaiveTime::parse_from_str(text, format).ok())?;
    let begun = DateTime::from_timestamp_millis(first.epoch_ms)?.with_timezone(&offset);
    let begun = begun.naive_local();
    let today = begun.date().and_time(time);
    Some(if today + TimeDelta::seconds(1) <= begun {
        today + TimeDelta::days(1)
    } else {
        today
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
