//! Recordings: the events of a dashboard in a file, from which a replay makes the same screens.
//!
//! One line of JSON for each event behind a line that tells what the file is, all in one zstd stream that
//! is flushed every second: whatever ends the program, at most the last second is lost.

pub(crate) mod excerpt;

use super::encoded::{Encoded, LONGEST, is_recorded};
use super::event::{Event, FeedId};
use super::model::{Model, Start};
use super::rows::Panel;
use super::tape::Tape;
use crate::pg::sampler::Report;
use crate::pg::texts::ROW_LIMIT;
use crate::text::Clean;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Version of the format, incremented if older programs can no longer read it.
const VERSION: u32 = 3;
/// Versions of recordings that hold no actions, as nobody could act: earlier programs can read them. Version 1 also knows no
/// server in the background.
const WITHOUT_ACTIONS: u32 = 2;
const ALONE: u32 = 1;
/// Compression level: tables change little within a second, so that higher levels save little more.
const LEVEL: i32 = 3;
/// Logarithm of the window in bytes: a few seconds of samples, using 1 MB of memory.
const WINDOW_LOG: u32 = 20;
/// Interval between flushes, in milliseconds of the model's time.
const FLUSH_MS: u64 = 1_000;

/// The first line of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format; says what the file is.
    htap_top_recording: u32,
    /// Version of the program that wrote it.
    program: String,
    /// The target, as shown in the header of the screen.
    target: String,
    /// Start time, in milliseconds since the epoch.
    epoch_ms: i64,
    /// Initial interval between samples, in milliseconds.
    interval_ms: u64,
    /// Offset of the recording machine's local time from UTC, in seconds.
    utc_offset_s: i32,
    /// True if literals in statements were masked.
    masked: bool,
    /// Names of the feeds, in the order of their numbers.
    feeds: Vec<String>,
}

impl Header {
    /// Returns the header of a recording of `model` that begins at `epoch_ms`. If `mask` is true, literals in SQL
    /// statements are masked.
    pub fn of(model: &Model, mask: bool, epoch_ms: i64) -> Self {
        let feeds = model.feeds.iter();
        Self {
            htap_top_recording: match model.start.server {
                _ if !model.config.read_only => VERSION,
                Some(_) => WITHOUT_ACTIONS,
                None => ALONE,
            },
            program: env!("CARGO_PKG_VERSION").to_owned(),
            target: model.start.target.to_string(),
            epoch_ms,
            interval_ms: model.interval.as_millis() as u64,
            utc_offset_s: model.start.utc_offset_s,
            masked: mask,
            feeds: feeds.map(|feed| feed.spec.name.clone()).collect(),
        }
    }

    /// Returns the header of a file that continues the recording at `epoch_ms` with this interval.
    #[must_use]
    pub fn again(&self, epoch_ms: i64, interval_ms: u64) -> Self {
        Self {
            epoch_ms,
            interval_ms,
            ..self.clone()
        }
    }

    /// Returns the milliseconds between samples at the beginning.
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// Returns the beginning in epoch milliseconds.
    pub fn epoch_ms(&self) -> i64 {
        self.epoch_ms
    }

    /// Returns the number of the feed called `name`.
    pub fn number(&self, name: &str) -> Option<u16> {
        let position = self.feeds.iter().position(|feed| feed == name)?;
        u16::try_from(position).ok()
    }
}

/// Writes events to a file.
pub struct Recorder {
    stream: zstd::stream::write::Encoder<'static, File>,
    mask: bool,
    flushed_ms: u64,
}

impl Recorder {
    /// Begins a recording in `file`.
    pub fn begin(file: File, header: &Header) -> io::Result<Self> {
        let mut stream = zstd::stream::write::Encoder::new(file, LEVEL)?;
        stream.window_log(WINDOW_LOG)?;
        // A checksum detects figures that were damaged on disk.
        stream.include_checksum(true)?;
        let mut line = serde_json::to_vec(header)?;
        line.push(b'\n');
        stream.write_all(&line)?;
        stream.flush()?;
        Ok(Self {
            stream,
            mask: header.masked,
            flushed_ms: 0,
        })
    }

    /// Writes an event. Everything is flushed once per second.
    pub fn note(&mut self, line: &Encoded) -> io::Result<()> {
        // What its reader would refuse is not written.
        if let Some(line) = line.fitting() {
            if self.mask {
                self.stream.write_all(&line.masked())?;
            } else {
                self.stream.write_all(line.bytes())?;
            }
        }
        if let Some(now) = line.moment()
            && now.mono_ms.saturating_sub(self.flushed_ms) >= FLUSH_MS
        {
            self.flushed_ms = now.mono_ms;
            self.stream.flush()?;
        }
        Ok(())
    }

    /// Bytes that the file has.
    pub fn size(&self) -> u64 {
        let file = self.stream.get_ref().metadata();
        file.map_or(0, |file| file.len())
    }

    /// Ends the recording.
    pub fn end(self) -> io::Result<()> {
        self.stream.finish()?.sync_all()
    }
}

fn has_too_many_rows(event: &Event) -> bool {
    matches!(event, Event::Reported(Report::Answered { outcome: Ok(table), .. }) if table.rows.len() > ROW_LIMIT)
}

/// Contents of a recording.
pub struct Recording {
    /// Its events.
    pub tape: Tape,
    /// The recorded target.
    pub target: Clean,
    /// Offset of the recording machine's local time from UTC, in seconds.
    pub utc_offset_s: i32,
    /// The error, if the file could not be read to its end.
    pub torn: Option<String>,
}

/// The reason why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Unreadable(#[from] io::Error),
    /// It is not a recording.
    #[error("it is not a recording of htap-top")]
    Foreign,
    /// A later version of the program wrote it.
    #[error("its format is {0}, and this program reads up to {VERSION}: use a newer htap-top")]
    Newer(u32),
    /// Nothing was recorded.
    #[error("it ended before anything was recorded")]
    Empty,
}

/// Reads a recording, or the files of one run in their order. The replay's model starts with `start`, but
/// with the recording's target.
pub fn read(paths: &[PathBuf], start: Start) -> Result<Recording, RecordingError> {
    let mut paths = paths.iter();
    let mut reader = Reader::open(paths.next().ok_or(RecordingError::Empty)?, start)?;
    reader.read_on();
    for path in paths {
        reader.go_on_in(path);
    }
    reader.end()
}

/// The end of a recording.
pub struct Measured {
    /// The model there, with the beginning marked to compare with.
    pub model: Box<Model>,
    /// The error, if the file could not be read to its end.
    pub torn: Option<String>,
}

/// Reads a recording for its end, and marks its beginning to compare with.
pub fn measured(path: &Path, start: Start) -> Result<Measured, RecordingError> {
    let mut reader = Reader::open(path, start)?;
    // Nothing in between is looked at.
    reader.tape = Tape::new(0);
    reader.compares = true;
    reader.read_on();
    reader.tape.ends().ok_or(RecordingError::Empty)?;
    Ok(Measured {
        model: Box::new(reader.model),
        torn: reader.torn,
    })
}

/// A replay's model while events are read into it.
struct Reader {
    lines: Lines,
    model: Model,
    tape: Tape,
    numbers: Vec<Option<FeedId>>,
    torn: Option<String>,
    /// True if the first moment is to be marked.
    compares: bool,
}

impl Reader {
    fn open(path: &Path, mut start: Start) -> Result<Self, RecordingError> {
        let (header, lines) = begin(path)?;
        start.target = Clean::from(header.target.as_str());
        start.utc_offset_s = header.utc_offset_s;
        let pooler = header.number(Panel::Pooler.name());
        start.pooler = pooler.map(|_| Clean::from("recorded"));
        start.columnar = Some(Clean::from("recorded"));
        let olap = header.number(Panel::NodeReplica.name());
        start.olap_server = olap.map(|_| Clean::from("OLAP server"));
        let mut model = Model::new(start);
        model.interval = Duration::from_millis(header.interval_ms.max(1));
        Ok(Self {
            numbers: numbers(&model, &header),
            lines,
            model,
            tape: Tape::new(u64::MAX),
            torn: None,
            compares: false,
        })
    }

    fn go_on_in(&mut self, path: &Path) {
        let (header, lines) = match begin(path) {
            // A file was begun and never written to.
            Err(RecordingError::Empty) => return,
            // Events read before are kept if a crash damaged a later file.
            Err(error) => {
                self.torn = Some(format!("{}: {error}", path.display()));
                return;
            }
            Ok(begun) => begun,
        };
        self.numbers = numbers(&self.model, &header);
        self.lines = lines;
        self.read_on();
    }

    /// Applies all events to the model until the file ends or is damaged.
    fn read_on(&mut self) {
        loop {
            let event = match self.lines.next() {
                Ok(Some(line)) => event(&line),
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match event {
                Ok(event) if is_recorded(&event) => {
                    if let Some(event) = renumbered(event, &self.numbers) {
                        let _ = self.tape.tell(&mut self.model, event);
                        if self.compares && self.tape.ends().is_some() {
                            self.model.set_baseline();
                            self.compares = false;
                        }
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    self.torn = Some(error.to_string());
                    return;
                }
            }
        }
    }

    fn end(self) -> Result<Recording, RecordingError> {
        if self.tape.ends().is_none() {
            return Err(RecordingError::Empty);
        }
        Ok(Recording {
            tape: self.tape,
            target: self.model.start.target.clone(),
            utc_offset_s: self.model.start.utc_offset_s,
            torn: self.torn,
        })
    }
}

/// Opens a file and reads its first line.
fn begin(path: &Path) -> Result<(Header, Lines), RecordingError> {
    let mut lines = Lines::open(File::open(path)?)?;
    match lines.next() {
        Ok(Some(line)) => Ok((header(&line)?, lines)),
        Ok(None) => Err(RecordingError::Empty),
        Err(_) => Err(RecordingError::Foreign),
    }
}

/// Maps the recording's feed numbers to this program's; panels that it lacks map to `None`.
fn numbers(model: &Model, header: &Header) -> Vec<Option<FeedId>> {
    let names = header.feeds.iter();
    names.map(|name| model.feed_named(name)).collect()
}

fn header(line: &[u8]) -> Result<Header, RecordingError> {
    #[derive(Deserialize)]
    struct Mark {
        htap_top_recording: u32,
    }
    let mark: Mark = serde_json::from_slice(line).map_err(|_| RecordingError::Foreign)?;
    if mark.htap_top_recording > VERSION {
        return Err(RecordingError::Newer(mark.htap_top_recording));
    }
    serde_json::from_slice(line).map_err(|_| RecordingError::Foreign)
}

fn event(line: &[u8]) -> io::Result<Event> {
    let event = serde_json::from_slice(line)?;
    if has_too_many_rows(&event) {
        let why = format!("an answer has more than {ROW_LIMIT} rows, the limit of a recording");
        return Err(io::Error::other(why));
    }
    Ok(event)
}

/// Returns the event with this program's number for its feed.
fn renumbered(event: Event, numbers: &[Option<FeedId>]) -> Option<Event> {
    if let Event::Reported(Report::Answered {
        id,
        took_ms,
        outcome,
    }) = event
    {
        let number = numbers.get(usize::from(id)).copied().flatten()?;
        return Some(Event::Reported(Report::Answered {
            id: number.0,
            took_ms,
            outcome,
        }));
    }
    Some(event)
}

/// Lines of a compressed file.
struct Lines {
    reader: BufReader<zstd::stream::read::Decoder<'static, BufReader<File>>>,
}

impl Lines {
    fn open(file: File) -> io::Result<Self> {
        let mut decoder = zstd::stream::read::Decoder::new(file)?;
        // A malicious file must not use more memory.
        decoder.window_log_max(WINDOW_LOG + 3)?;
        Ok(Self {
            reader: BufReader::new(decoder),
        })
    }

    /// Returns the next line without its line break; `None` at the end of the file, even inside the stream,
    /// as a killed program leaves it.
    fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = self
            .reader
            .by_ref()
            .take(LONGEST as u64)
            .read_until(b'\n', &mut line);
        match read {
            Ok(0) => Ok(None),
            Ok(_) if line.last() == Some(&b'\n') => {
                line.pop();
                Ok(Some(line))
            }
            Ok(length) if length >= LONGEST => {
                Err(io::Error::other("a line is longer than a recording allows"))
            }
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}
