//! The log for bug reports: a line for each thing that happened to the program.
//!
//! Nothing is written unless a file is named. Lines go through a bounded queue to a thread of their own, so that a
//! slow disk holds nobody up; lines for which there is no room are dropped, and counted in the next one. The file
//! is for its owner alone and of bounded size: a full one becomes `FILE.1`.
//!
//! A line holds what this program did and what it met: versions, `host:port`, SQLSTATEs, process ids, names of its own
//! panels and places in its own code, durations. It never holds what others wrote or own: no statements, messages,
//! details and hints of a server, names of objects, values, passwords. Whoever logs something new keeps to that: a
//! field is a number, a word of this program or a SQLSTATE.
//!
//! `tracing` alone, without its subscribers: there is one file and there are no spans, and a line must be bounded and
//! free of control characters.

use crate::private;
use crate::text::Clean;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Bytes of a full file; with the one before it the log takes twice as much.
const LIMIT: u64 = 4 << 20;
/// Lines that can wait for the disk.
const QUEUE: usize = 1024;
/// The longest line, in bytes; one that this program writes is shorter.
const LINE: usize = 4_000;
/// The longest value, in bytes.
const VALUE: usize = 300;
/// So long the end of the program waits for lines to be written.
const END: Duration = Duration::from_secs(1);

/// Level of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Detail {
    /// Connections, errors, slow samples, actions
    #[default]
    Info,
    /// Every sample, too
    Debug,
}

impl Detail {
    fn level(self) -> Level {
        match self {
            Self::Info => Level::INFO,
            Self::Debug => Level::DEBUG,
        }
    }

    /// As it is written on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// A log that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub file: PathBuf,
    /// Level of the log.
    pub detail: Detail,
}

static WRITTEN: OnceLock<(Place, SyncSender<Entry>)> = OnceLock::new();

/// Returns the log that this process writes; `None` if there is none.
pub(crate) fn place() -> Option<&'static Place> {
    WRITTEN.get().map(|(place, _)| place)
}

/// Waits until what was logged is written, for a moment at most.
pub(crate) fn flush() {
    /// Time between two attempts to find room in the queue.
    const AGAIN: Duration = Duration::from_millis(10);
    let Some((_, queue)) = WRITTEN.get() else {
        return;
    };
    let (written, wait) = sync_channel(1);
    let mut entry = Entry::Flush(written);
    for _ in 0..END.as_millis() / AGAIN.as_millis() {
        match queue.try_send(entry) {
            Ok(()) => {
                let _ = wait.recv_timeout(END);
                return;
            }
            Err(TrySendError::Full(back)) => entry = back,
            Err(TrySendError::Disconnected(_)) => return,
        }
        std::thread::sleep(AGAIN);
    }
}

/// The end of the log, at most so many lines; what was written before this process included.
pub(crate) fn tail(lines: usize) -> io::Result<String> {
    let Some(place) = place() else {
        return Ok(String::new());
    };
    flush();
    let mut text = String::new();
    for file in [earlier(&place.file), place.file.clone()] {
        match std::fs::read(&file) {
            Ok(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Somebody may have named a file that holds something else.
    let ours = |line: &&str| line.get(10..11) == Some("T") && line.get(23..25) == Some("Z ");
    let all: Vec<&str> = text.lines().filter(ours).collect();
    let from = all.len().saturating_sub(lines);
    let kept = all.get(from..).unwrap_or_default();
    let clean = kept
        .iter()
        .map(|line| Clean::from_bytes(line.as_bytes(), LINE));
    Ok(clean.fold(String::new(), |kept, line| kept + line.as_str() + "\n"))
}

/// The name of the file before `file`, which was full.
pub(crate) fn earlier(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".1");
    PathBuf::from(name)
}

/// Writes the log until it is dropped, which waits for the disk, but not for long.
#[derive(Debug)]
pub(crate) struct Log(());

/// Begins to log, in `place.file`.
pub(crate) fn begin(place: Place) -> io::Result<Log> {
    let file = Rotating::open(&place.file, LIMIT)?;
    let (queue, entries) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        queue: queue.clone(),
        dropped: Arc::clone(&dropped),
        level: place.detail.level(),
    };
    std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || write_on(file, &entries, &dropped))?;
    tracing::subscriber::set_global_default(lines).map_err(io::Error::other)?;
    let _ = WRITTEN.set((place, queue));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // Not its message, which can hold a value.
        let at = info.location().map(ToString::to_string);
        tracing::error!(at, "panicked");
        hook(info);
    }));
    Ok(Log(()))
}

impl Drop for Log {
    fn drop(&mut self) {
        flush();
    }
}

/// Message to the writing thread.
#[derive(Debug)]
enum Entry {
    Line(String),
    Flush(SyncSender<()>),
}

/// Makes lines of events, and queues them.
struct Lines {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
    level: Level,
}

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level && metadata.target().starts_with("htap_top")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.level))
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = line(*event.metadata().level(), &fields);
        if self.queue.try_send(Entry::Line(text)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[expect(
    clippy::disallowed_methods,
    reason = "a line tells when it was written"
)]
fn line(level: Level, fields: &Fields) -> String {
    let at = chrono::Utc::now().format("%FT%T%.3fZ");
    let (process, Fields { message, values }) = (std::process::id(), fields);
    format!("{at} {process} {level:<5} {message}{values}\n")
}

/// The message and the fields of an event.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    values: String,
}

impl Fields {
    fn put(&mut self, field: &Field, value: &str) {
        let value = Clean::from_bytes(value.as_bytes(), VALUE);
        let value = value.as_str();
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else if value.is_empty() || value.contains([' ', '"', '=']) {
            let _ = write!(self.values, " {}={value:?}", field.name());
        } else {
            let _ = write!(self.values, " {}={value}", field.name());
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, &format!("{value:.1}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, &format!("{value:?}"));
    }
}

/// Writes lines until nobody is left to send one.
fn write_on(mut file: Rotating, entries: &Receiver<Entry>, dropped: &AtomicU64) {
    for entry in entries {
        let text = match entry {
            Entry::Line(text) => text,
            Entry::Flush(written) => {
                let _ = written.try_send(());
                continue;
            }
        };
        let lost = dropped.swap(0, Ordering::Relaxed);
        let told = if lost > 0 {
            let fields = Fields {
                message: "log lines dropped".to_owned(),
                values: format!(" count={lost}"),
            };
            file.write(&line(Level::WARN, &fields))
        } else {
            Ok(())
        };
        if told.and_then(|()| file.write(&text)).is_err() {
            dropped.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }
}

/// A file that becomes `FILE.1` if it is full. Several processes can write the same one.
struct Rotating {
    path: PathBuf,
    file: File,
    limit: u64,
}

impl Rotating {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: private::append(path, "name another log file")?,
            limit,
        })
    }

    /// Adds a line, in one write, so that lines of two processes do not mix.
    fn write(&mut self, text: &str) -> io::Result<()> {
        let known = self.file.metadata()?;
        if known.len() + text.len() as u64 > self.limit {
            let id = |data: std::fs::Metadata| (data.dev(), data.ino());
            let named = std::fs::symlink_metadata(&self.path);
            // Another process may have renamed it already.
            if named.is_ok_and(|named| id(named) == id(known)) {
                std::fs::rename(&self.path, earlier(&self.path))?;
            }
            *self = Self::open(&self.path, self.limit)?;
        }
        self.file.write_all(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::{info, subscriber::with_default};

    /// Lines that go nowhere but into a queue of `room`.
    fn queued(room: usize) -> (Lines, Receiver<Entry>, Arc<AtomicU64>) {
        let (queue, entries) = sync_channel(room);
        let dropped = Arc::new(AtomicU64::new(0));
        let lines = Lines {
            queue,
            dropped: Arc::clone(&dropped),
            level: Level::INFO,
        };
        (lines, entries, dropped)
    }

    #[test]
    fn a_value_cannot_forge_a_line_or_move_a_cursor() {
        let (lines, entries, _) = queued(8);
        with_default(lines, || {
            info!(
                host = "a\nb\u{1b}[2J",
                long = "x".repeat(5_000),
                none = "",
                n = 7,
                "met"
            );
            info!(target: "other_crate", "not ours");
            tracing::debug!("not asked for");
        });
        let told: Vec<Entry> = entries.try_iter().collect();
        let [Entry::Line(line)] = told.as_slice() else {
            panic!("{told:?}");
        };
        assert!(line.contains(" INFO  met host="), "{line}");
        assert!(line.ends_with(" none=\"\" n=7\n"), "{line}");
        let inner = line.trim_end_matches('\n');
        assert!(
            !inner.contains(char::is_control) && inner.len() < 500,
            "{line}"
        );
    }

    #[test]
    fn a_disk_that_stands_still_holds_nobody_and_drops_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (lines, entries, dropped) = queued(2);
        // Nobody writes: the third and all after it have no room.
        with_default(lines, || (0..10).for_each(|n| info!(n, "told")));
        assert_eq!(dropped.load(Ordering::Relaxed), 8);
        let file = Rotating::open(&path, LIMIT).unwrap();
        write_on(file, &entries, &dropped);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].ends_with("log lines dropped count=8"), "{text}");
        assert!(lines[2].ends_with("told n=1"), "{text}");
    }

    #[test]
    fn it_is_of_bounded_size_whoever_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut one = Rotating::open(&path, 100).unwrap();
        let mut other = Rotating::open(&path, 100).unwrap();
        for n in 0..50 {
            one.write(&format!("{n:08} one\n")).unwrap();
            other.write(&format!("{n:08} other\n")).unwrap();
        }
        let (now, before) = (
            std::fs::read_to_string(&path).unwrap(),
            std::fs::read_to_string(earlier(&path)).unwrap(),
        );
        assert!(now.len() <= 100 && before.len() <= 100, "{now}\n{before}");
        assert!(now.ends_with("00000049 other\n"), "{now}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(folder.path().join("elsewhere"), &path).unwrap();
        let refused = Rotating::open(&path, 100).err().unwrap().to_string();
        assert!(
            refused.contains("symbolic link: remove it, or name another log file"),
            "{refused}"
        );
    }
}
