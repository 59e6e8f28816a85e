//! A file of what must be undone: after a `kill -9` the next start, or `--undo`, reads it.

use super::choice::Means;
use super::error::IsolateError;
use super::process::{Process, Processes};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// What one `htap-top isolate` has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    /// The program that isolates OLAP.
    owner: Process,
    /// The server's first process.
    pub(super) postmaster: Process,
    /// The mechanism.
    pub(super) means: Means,
    /// The processes that were moved.
    pub(super) moved: Vec<Moved>,
}

/// A process that was moved, and where it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Moved {
    pub(super) process: Process,
    pub(super) place: String,
}

/// A state, and its file.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
    pub(super) state: State,
}

impl StateFile {
    /// Creates the file for this server in `folder`.
    ///
    /// # Errors
    /// Another program isolates this server's OLAP, or the file cannot be written.
    pub(super) fn create(
        folder: &Path,
        owner: Process,
        postmaster: Process,
        means: Means,
    ) -> Result<Self, IsolateError> {
        let shown = folder.display();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(IsolateError::io(format!("make {shown}")))?;
        check(folder)?;
        let path = folder.join(format!("{}.json", postmaster.pid));
        let state = State {
            format: FORMAT,
            owner,
            postmaster,
            means,
            moved: Vec::new(),
        };
        let file = Self { path, state };
        let mut new = file.written()?;
        let kept = match new.persist_noclobber(&file.path) {
            Ok(_) => return Ok(file),
            Err(refused) => {
                new = refused.file;
                refused.error
            }
        };
        drop(new);
        let shown = file.path.display();
        Err(IsolateError::Refused(match kept.kind() {
            io::ErrorKind::AlreadyExists => format!(
                "OLAP on this server is already isolated ({shown}): stop the other htap-top isolate first"
            ),
            _ => format!("failed to write {shown}: {kept}"),
        }))
    }

    /// Removes the file of a run that has changed nothing.
    pub(super) fn discard(self) {
        // A file that is left names nothing to undo.
        let _ = fs::remove_file(&self.path);
    }

    /// Writes the state; the file is either the old or the new one.
    pub(super) fn save(&self) -> Result<(), IsolateError> {
        let new = self.written()?;
        let shown = self.path.display();
        let kept = new.persist(&self.path).map_err(|refused| refused.error);
        kept.map(drop)
            .map_err(IsolateError::io(format!("write {shown}")))
    }

    /// Returns the state in a temporary file beside its place.
    fn written(&self) -> Result<tempfile::NamedTempFile, IsolateError> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let write = || {
            let mut file = tempfile::Builder::new()
                .permissions(fs::Permissions::from_mode(0o600))
                .tempfile_in(folder)?;
            file.write_all(&serde_json::to_vec_pretty(&self.state)?)?;
            Ok(file)
        };
        write().map_err(IsolateError::io(format!("write in {}", folder.display())))
    }

    /// Returns every process to where it was, removes the group, and then the file. Returns what failed.
    pub(super) fn undo(&self, processes: &Processes) -> Vec<String> {
        let mut failed = Vec::new();
        for moved in &self.state.moved {
            let left = self
                .state
                .means
                .leave(processes, moved.process, &moved.place);
            if let Err(error) = left {
                failed.push(format!("pid {}: {error}", moved.process.pid));
            }
        }
        if let Err(error) = self.state.means.remove() {
            failed.push(error.to_string());
        }
        if failed.is_empty()
            && let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            failed.push(format!("{}: {error}", self.path.display()));
        }
        failed
    }
}

/// Formats a number of processes.
pub(super) fn returned(count: usize) -> String {
    let plural = if count == 1 { "" } else { "es" };
    format!("{count} process{plural} returned")
}

/// Results of repairing what earlier runs left.
#[derive(Debug, Default)]
pub(crate) struct Repaired {
    /// Sentences about what was undone.
    pub(crate) undone: Vec<String>,
    /// What could not be undone.
    pub(crate) failed: Vec<String>,
    /// Pids of the programs that are at work.
    pub(crate) running: Vec<i32>,
}

/// Undoes what killed programs left behind.
///
/// # Errors
/// The folder is not private, or cannot be read.
pub(crate) fn repair(folder: &Path) -> Result<Repaired, IsolateError> {
    let mut repaired = Repaired::default();
    let Some(processes) = Processes::here() else {
        return Ok(repaired);
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(repaired),
        entries => entries.map_err(IsolateError::io(format!("read {}", folder.display())))?,
    };
    check(folder)?;
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let Some(state) = read(&path) else {
            let why = format!(
                "{} cannot be read: remove it if no group htap-top-olap-… is left",
                path.display()
            );
            repaired.failed.push(why);
            continue;
        };
        if processes.lives(state.owner) {
            repaired.running.push(state.owner.pid);
            continue;
        }
        let file = StateFile { path, state };
        let failed = file.undo(&processes);
        if failed.is_empty() {
            let lives = |moved: &&Moved| processes.lives(moved.process);
            let count = file.state.moved.iter().filter(lives).count();
            repaired.undone.push(format!(
                "undid what an earlier run left behind: {} of postmaster {}, {}",
                file.state.means.name(),
                file.state.postmaster.pid,
                returned(count)
            ));
        }
        repaired.failed.extend(failed);
    }
    Ok(repaired)
}

/// Reads a state. Only our own file in our own folder counts, because root writes what it says, where it says.
fn read(path: &Path) -> Option<State> {
    let file = path.symlink_metadata().ok()?;
    if !file.is_file() || file.uid() != geteuid().as_raw() || file.mode() & 0o077 != 0 {
        return None;
    }
    let state: State = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (state.format == FORMAT).then_some(state)
}

/// Returns an error if others may write to the folder.
fn check(folder: &Path) -> Result<(), IsolateError> {
    let shown = folder.display();
    let meta = folder.symlink_metadata();
    let meta = meta.map_err(IsolateError::io(format!("read {shown}")))?;
    if meta.is_dir() && meta.uid() == geteuid().as_raw() && meta.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(IsolateError::Refused(format!(
        "{shown} is not a folder of this user's own that others may not write to: remove it, or set XDG_STATE_HOME"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32, started: u64) -> Process {
        Process { pid, started }
    }

    /// The means of a made-up machine.
    fn means() -> Means {
        let text = r#"{"autogroup":{"weight":683.0,"formula":"","of_postmaster":1}}"#;
        serde_json::from_str(text).unwrap()
    }

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn one_at_a_time_and_what_lives_is_left_alone() {
        let home = folder();
        let place = home.path().join("isolate");
        let own = Processes::here().unwrap().own().unwrap();
        let first = StateFile::create(&place, own, process(7, 1), means()).unwrap();
        let second = StateFile::create(&place, own, process(7, 1), means());
        let why = second.unwrap_err().to_string();
        assert!(why.contains("is already isolated"), "{why}");
        let seen = repair(&place).unwrap();
        assert_eq!(seen.running, [own.pid]);
        assert!(first.path.exists() && seen.undone.is_empty());
        assert_eq!(fs::metadata(&first.path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn what_a_dead_program_left_is_undone_and_strangers_files_are_not_read() {
        let home = folder();
        let place = home.path().join("isolate");
        // Our pid, another start.
        let dead = process(std::process::id().cast_signed(), 1);
        let mut file = StateFile::create(&place, dead, process(7, 1), means()).unwrap();
        file.state.moved.push(Moved {
            process: process(1, 1),
            place: "0".into(),
        });
        file.save().unwrap();
        assert_eq!(read(&file.path), Some(file.state.clone()));
        let seen = repair(&place).unwrap();
        assert_eq!((seen.undone.len(), seen.failed.len()), (1, 0), "{seen:?}");
        assert!(!file.path.exists());
        fs::write(place.join("8.json"), "{}").unwrap();
        let open = place.join("9.json");
        fs::write(&open, serde_json::to_vec(&file.state).unwrap()).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
        let seen = repair(&place).unwrap();
        assert_eq!((seen.undone.len(), seen.failed.len()), (0, 2), "{seen:?}");
        fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(repair(&place).is_err());
        assert!(repair(&home.path().join("none")).unwrap().failed.is_empty());
    }
}
