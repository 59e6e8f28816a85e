//! The recordings that a dashboard always makes: the last hours on disk, in a folder of bounded size.

use super::writer::Output;
use crate::dashboard::encoded::{About, Encoded};
use crate::dashboard::event::Moment;
use crate::dashboard::recording::{Header, Recorder};
use crate::dashboard::rows::Panel;
use crate::pg::sampler::SessionId;
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Extension of a recording's name.
const ENDING: &str = "htap";
/// Length of one file in milliseconds; this much is lost at once if space is needed.
const FILE_MS: u64 = 600_000;
/// Minimum length of a file in milliseconds, regardless of its size, because each one starts with everything
/// known.
const SHORTEST_MS: u64 = 10_000;
/// A file uses at most this fraction of the limit (1/PARTS), so that some recordings always remain.
const PARTS: u64 = 4;
/// A file written to this recently belongs to a running program.
const IN_USE: Duration = Duration::from_secs(60);

/// Location and settings of recordings.
#[derive(Clone, Debug)]
pub struct Place {
    /// Folder.
    pub folder: PathBuf,
    /// Maximum number of bytes of all files in it.
    pub limit: u64,
    /// True if literals in statements are masked.
    pub mask: bool,
    /// Number of this recording and of all that are made at once, one for each server.
    pub part: (usize, usize),
}

impl Place {
    /// Maximum number of bytes of one file.
    fn share(&self) -> u64 {
        self.limit / PARTS / self.part.1.max(1) as u64
    }
}

/// The recordings that a dashboard makes by itself.
pub(crate) struct Ring {
    place: Place,
    recorder: Recorder,
    header: Header,
    /// `20260301T140211-4711`, or `20260301T140211-4711.2` for the second of several servers: what all files of this run
    /// have in common.
    run: String,
    number: u32,
    begun_ms: u64,
    interval_ms: u64,
    /// Beginning of a new file: whether the server is in the background, the open sessions, and the last answer of each feed.
    background: Option<Encoded>,
    sessions: BTreeMap<SessionId, Encoded>,
    answers: BTreeMap<u16, Encoded>,
}

impl Ring {
    /// Begins to record in `place`.
    pub(crate) fn begin(place: Place, header: Header) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&place.folder)?;
        let epoch_ms = header.epoch_ms();
        let time = chrono::DateTime::from_timestamp_millis(epoch_ms).unwrap_or_default();
        let mut run = format!("{}-{}", time.format("%Y%m%dT%H%M%S"), std::process::id());
        if place.part.1 > 1 {
            run = format!("{run}.{}", place.part.0);
        }
        let file = new_file(&place.folder, &run, 0)?;
        let recorder = Recorder::begin(file, &header)?;
        make_room(&place, epoch_ms);
        Ok(Self {
            recorder,
            run,
            number: 0,
            begun_ms: 0,
            interval_ms: header.interval_ms(),
            background: None,
            sessions: BTreeMap::new(),
            answers: BTreeMap::new(),
            header,
            place,
        })
    }

    /// Goes on in a new file, which begins with what is known.
    fn turn(&mut self, tick: &Encoded, now: Moment) -> io::Result<()> {
        let file = new_file(&self.place.folder, &self.run, self.number + 1)?;
        let header = self.header.again(now.epoch_ms, self.interval_ms);
        let next = Recorder::begin(file, &header)?;
        std::mem::replace(&mut self.recorder, next).end()?;
        self.number += 1;
        self.begun_ms = now.mono_ms;
        self.recorder.note(tick)?;
        let facts = self.header.number(Panel::Facts.name());
        let first = facts.and_then(|id| self.answers.get(&id));
        let rest = self.answers.values();
        let known = self.background.iter().chain(self.sessions.values());
        for line in known.chain(first).chain(rest) {
            self.recorder.note(line)?;
        }
        make_room(&self.place, now.epoch_ms);
        Ok(())
    }

    /// Returns true if a new file is due.
    fn is_full(&self, now: Moment) -> bool {
        now.mono_ms >= self.begun_ms + FILE_MS
            || (now.mono_ms >= self.begun_ms + SHORTEST_MS
                && self.recorder.size() >= self.place.share())
    }
}

impl Output for Ring {
    fn note(&mut self, line: &Encoded) -> io::Result<()> {
        match line.about() {
            About::Tick(now) if self.is_full(now) => return self.turn(line, now),
            About::Paced(interval_ms) => self.interval_ms = interval_ms,
            About::Background => self.background = Some(line.clone()),
            About::Opened(session) => {
                self.sessions.insert(session, line.clone());
            }
            About::Lost(session) => {
                self.sessions.remove(&session);
            }
            About::Answer {
                id, rows: Some(_), ..
            } => {
                self.answers.insert(id, line.clone());
            }
            _ => {}
        }
        self.recorder.note(line)
    }

    fn end(self) -> io::Result<()> {
        self.recorder.end()
    }
}

fn new_file(folder: &Path, run: &str, number: u32) -> io::Result<File> {
    let path = folder.join(format!("{run}-{number:04}.{ENDING}"));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// Returns all recordings in a folder that dashboards made, the one written last at the end.
pub(crate) fn recordings(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, PathBuf)> = files
        .filter(|file| run_of(&file.path()).is_some())
        .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file.path())))
        .collect();
    files.sort();
    files.into_iter().map(|(_, path)| path).collect()
}

/// Returns the run that made a file if its name has the form that [`new_file`] uses: other files in the
/// folder are the user's own.
fn run_of(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_str()?;
    let (run, number) = stem.rsplit_once('-')?;
    let (time, pid) = run.split_once('-')?;
    let (day, second) = time.split_once('T')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (pid, server) = pid.split_once('.').unwrap_or((pid, "1"));
    let ours = [day, second, pid, server, number].into_iter().all(digits)
        && (day.len(), second.len()) == (8, 6)
        && path.extension().is_some_and(|ending| ending == ENDING);
    ours.then(|| run.to_owned())
}

/// Returns the files of the run that was written last, the oldest first.
pub(crate) fn newest(folder: &Path) -> Vec<PathBuf> {
    let mut files = recordings(folder);
    let last = files.last().and_then(|path| run_of(path));
    files.retain(|path| run_of(path) == last);
    files.sort();
    files
}

/// Removes the oldest recordings until the others fit, but none that is being written at `epoch_ms`.
fn make_room(place: &Place, epoch_ms: i64) {
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(epoch_ms.max(0) as u64);
    let idle = |path: &&PathBuf| {
        let written = std::fs::metadata(path).and_then(|data| data.modified());
        written.is_ok_and(|written| now.duration_since(written).is_ok_and(|ago| ago > IN_USE))
    };
    let files = recordings(&place.folder);
    let mut total: u64 = files.iter().map(size).sum();
    // Space is also needed for the files just begun.
    let share = place.limit / PARTS;
    for path in files.iter().filter(idle) {
        if total + share <= place.limit {
            return;
        }
        total -= size(path);
        // Another program may have removed it.
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    /// Creates a file of 100 bytes that was last written to `ago_s` seconds ago.
    fn written(folder: &Path, name: &str, ago_s: u64) {
        let path = folder.join(name);
        std::fs::write(&path, [0; 100]).unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(NOW_MS as u64);
        file.set_modified(now - Duration::from_secs(ago_s)).unwrap();
    }

    fn names(files: &[PathBuf]) -> Vec<String> {
        let name = |path: &PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
        files.iter().map(name).collect()
    }

    #[test]
    fn the_oldest_recordings_make_room_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // Names that sort before and after, and a user's own recordings.
        for name in ["notes.txt", "20250101-incident.htap", "night.htap"] {
            written(folder, name, 9_999);
        }
        for number in 0..5 {
            let name = format!("20260301T140000-7-{number:04}.htap");
            written(folder, &name, 1_000 - number);
        }
        // Another dashboard's file, still being written although it was begun earlier; and one just begun.
        written(folder, "20260101T140000-6-0000.htap", 1);
        written(folder, "20260301T150000-8.2-0000.htap", 0);
        let place = Place {
            folder: folder.to_owned(),
            limit: 400,
            mask: true,
            part: (1, 1),
        };
        make_room(&place, NOW_MS);
        assert_eq!(
            names(&recordings(folder)),
            [
                "20260301T140000-7-0004",
                "20260101T140000-6-0000",
                "20260301T150000-8.2-0000",
            ]
        );
        for name in ["notes.txt", "20250101-incident.htap", "night.htap"] {
            assert!(folder.join(name).exists(), "{name}");
        }
        assert_eq!(names(&newest(folder)), ["20260301T150000-8.2-0000"]);
    }

    /// Files being written are kept, however large they are.
    #[test]
    fn what_is_being_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), "20260101T140000-6-0000.htap", 1);
        written(folder.path(), "20260301T150000-8-0000.htap", 0);
        let place = Place {
            folder: folder.path().to_owned(),
            limit: 10,
            mask: true,
            part: (1, 1),
        };
        make_room(&place, NOW_MS);
        assert_eq!(recordings(folder.path()).len(), 2);
    }
}
