//! The recordings that a dashboard always makes: the last hours on disk, in a folder of bounded size.

use crate::dashboard::event::Event;
use crate::dashboard::model::Model;
use crate::dashboard::recording::Recorder;
use crate::pg::sampler::{Report, SessionId};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Ending of a recording's name.
const ENDING: &str = "htap";
/// Milliseconds of one file: so much is lost at once where room is made.
const FILE_MS: u64 = 600_000;

/// Where recordings go, and how.
#[derive(Clone, Debug)]
pub struct Place {
    /// Folder.
    pub folder: PathBuf,
    /// Bytes that all files in it may take.
    pub limit: u64,
    /// Literals in statements are masked.
    pub mask: bool,
}

/// What is written now.
pub struct Ring {
    place: Place,
    recorder: Recorder,
    /// `20260301T140211-4711`: what all files of this run have in common.
    run: String,
    number: u32,
    begun_ms: u64,
    interval_ms: u64,
    /// What a new file begins with: who is connected, and each feed's last answer.
    sessions: BTreeMap<String, Event>,
    answers: BTreeMap<u16, Event>,
}

impl Ring {
    /// Begins to record in `place`.
    pub fn begin(place: Place, model: &Model, epoch_ms: i64) -> io::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&place.folder)?;
        let time = chrono::DateTime::from_timestamp_millis(epoch_ms).unwrap_or_default();
        let run = format!("{}-{}", time.format("%Y%m%dT%H%M%S"), std::process::id());
        let file = new_file(&place.folder, &run, 0)?;
        let recorder = Recorder::begin(file, model, place.mask, epoch_ms)?;
        make_room(&place);
        Ok(Self {
            recorder,
            run,
            number: 0,
            begun_ms: 0,
            interval_ms: model.interval.as_millis() as u64,
            sessions: BTreeMap::new(),
            answers: BTreeMap::new(),
            place,
        })
    }

    /// Writes an event down. `model` is the one that it will be told.
    pub fn note(&mut self, event: &Event, model: &Model) -> io::Result<()> {
        let interval_ms = model.interval.as_millis() as u64;
        if interval_ms != self.interval_ms {
            self.interval_ms = interval_ms;
            self.recorder.note(&Event::Paced(interval_ms))?;
        }
        match event {
            Event::Ticked { now, .. } if now.mono_ms >= self.begun_ms + FILE_MS => {
                return self.turn(event, model, now.mono_ms, now.epoch_ms);
            }
            Event::Reported(Report::Opened { session, .. }) => {
                self.sessions.insert(name(*session), event.clone());
            }
            Event::Reported(Report::Lost { session, .. }) => {
                self.sessions.remove(&name(*session));
            }
            Event::Reported(Report::Answered {
                id, outcome: Ok(_), ..
            }) => {
                self.answers.insert(*id, event.clone());
            }
            _ => {}
        }
        self.recorder.note(event)
    }

    /// Goes on in a new file, which begins with what is known.
    fn turn(&mut self, tick: &Event, model: &Model, mono_ms: u64, epoch_ms: i64) -> io::Result<()> {
        let file = new_file(&self.place.folder, &self.run, self.number + 1)?;
        let next = Recorder::begin(file, model, self.place.mask, epoch_ms)?;
        std::mem::replace(&mut self.recorder, next).end()?;
        self.number += 1;
        self.begun_ms = mono_ms;
        self.recorder.note(tick)?;
        let facts = model.feed_named("facts").map(|id| id.0);
        let first = facts.and_then(|id| self.answers.get(&id));
        let rest = self.answers.values();
        for event in self.sessions.values().chain(first).chain(rest) {
            self.recorder.note(event)?;
        }
        make_room(&self.place);
        Ok(())
    }

    /// Ends the recording.
    pub fn end(self) -> io::Result<()> {
        self.recorder.end()
    }
}

fn name(session: SessionId) -> String {
    format!("{session:?}")
}

fn new_file(folder: &Path, run: &str, number: u32) -> io::Result<File> {
    let path = folder.join(format!("{run}-{number:04}.{ENDING}"));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

/// All recordings of a folder, the oldest first.
pub fn recordings(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = files
        .map(|file| file.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == ENDING))
        .collect();
    files.sort();
    files
}

/// The files of the run that wrote the newest recording, the oldest first.
pub fn newest(folder: &Path) -> Vec<PathBuf> {
    let files = recordings(folder);
    let run = |path: &PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        name.rsplit_once('-').map(|(run, _)| run.to_owned())
    };
    let Some(last) = files.last().and_then(run) else {
        return Vec::new();
    };
    files
        .into_iter()
        .filter(|path| run(path).as_ref() == Some(&last))
        .collect()
}

/// Removes the oldest recordings until the rest fits; the newest is the one being written.
fn make_room(place: &Place) {
    let mut files = recordings(&place.folder);
    files.pop();
    let size = |path: &PathBuf| std::fs::metadata(path).map_or(0, |data| data.len());
    let mut total: u64 = files.iter().map(size).sum();
    // Room for the file that has just been begun.
    let share = place.limit / 4;
    for path in &files {
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

    #[test]
    fn the_oldest_recordings_make_room() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..6 {
            let path = folder
                .path()
                .join(format!("20260301T140000-7-{number:04}.htap"));
            std::fs::write(path, [0; 100]).unwrap();
        }
        std::fs::write(folder.path().join("notes.txt"), [0; 999]).unwrap();
        let place = Place {
            folder: folder.path().to_owned(),
            limit: 400,
            mask: true,
        };
        make_room(&place);
        let left: Vec<String> = recordings(folder.path())
            .iter()
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            left,
            [
                "20260301T140000-7-0002",
                "20260301T140000-7-0003",
                "20260301T140000-7-0004",
                "20260301T140000-7-0005"
            ]
        );
        assert!(folder.path().join("notes.txt").exists());
        std::fs::write(folder.path().join("20260301T150000-8-0000.htap"), "").unwrap();
        assert_eq!(newest(folder.path()).len(), 1);
    }
}
