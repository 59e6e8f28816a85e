//! What a replica needs on this machine: programs, a folder, a port.

use super::error::ReplicaError;
use crate::cluster::binaries::{self, fetch};
use crate::cluster::{Binaries, ClusterError, Wanted};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The processes of a program: pg_basebackup has a second one. They are ended unless this is disarmed.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}

/// Runs a program that is in a process group of its own; it is ended if this is cancelled.
pub(super) async fn run(command: Command, name: &str) -> Result<(), ReplicaError> {
    let mut command = tokio::process::Command::from(command);
    command.current_dir("/").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let begun = command.spawn();
    let child = begun.map_err(ReplicaError::io(format!("run {name}")))?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    let mut group = Group(pid.map(Pid::from_raw));
    let output = child.wait_with_output().await;
    group.0 = None;
    let output = output.map_err(ReplicaError::io(format!("run {name}")))?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stderr, output.stdout].concat();
    Err(ClusterError::program(name, &text).into())
}

/// Removes what is in a folder, and the folder itself if that is wanted. Tried for 3 s: a process that was ended may
/// still write a last file.
pub(super) async fn clear(folder: &Path, itself: bool) -> std::io::Result<()> {
    for _ in 0..30 {
        if empty(folder, itself).is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    empty(folder, itself)
}

fn empty(folder: &Path, itself: bool) -> std::io::Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    if itself {
        return std::fs::remove_dir_all(folder);
    }
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Formats a command as it can be typed into a shell.
pub(super) fn shown(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,".contains(c);
    words
        .map(|word| {
            let word = word.to_string_lossy();
            if !word.is_empty() && word.chars().all(plain) {
                word.into_owned()
            } else if word.contains('\'') && !word.contains(['"', '$', '`', '\\', '!']) {
                format!("\"{word}\"")
            } else {
                format!("'{}'", word.replace('\'', r"'\''"))
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Returns an error if a slot cannot have this name.
pub(super) fn check_slot(name: &str) -> Result<(), ReplicaError> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if (1..=63).contains(&name.len()) && name.chars().all(good) {
        return Ok(());
    }
    Err(ReplicaError::Refused(format!(
        "{name:?} cannot be the name of a slot: use a-z, 0-9 and _, at most 63 characters"
    )))
}

/// Returns the absolute path of the data directory, which must be missing or empty.
pub(super) fn place(folder: &Path) -> Result<PathBuf, ReplicaError> {
    let refused = |why: String| ReplicaError::Refused(format!("{}: {why}", folder.display()));
    match std::fs::read_dir(folder) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(refused(
                    "is not empty: name a directory that does not exist, or an empty one"
                        .to_owned(),
                ));
            }
            let whole = folder.canonicalize();
            whole.map_err(|error| refused(error.to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let whole = std::path::absolute(folder).map_err(|error| refused(error.to_string()))?;
            let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
                return Err(refused("is not a directory".to_owned()));
            };
            let parent = parent.canonicalize().map_err(|error| {
                refused(format!(
                    "its parent directory {}: {error}",
                    parent.display()
                ))
            })?;
            Ok(parent.join(name))
        }
        Err(error) => Err(refused(error.to_string())),
    }
}

/// Finds the server programs of `major`, and pg_basebackup of that version or a later one.
pub(super) fn programs(
    bindir: Option<&Path>,
    major: u16,
) -> Result<(Binaries, PathBuf), ReplicaError> {
    let wanted = Wanted {
        bindir: bindir.map(Path::to_owned),
        major: Some(major),
    };
    let found = binaries::locate(&wanted)?.or_else(|| fetch::fetched(Some(major)));
    let found = found.ok_or_else(|| {
        binaries::how_to_install(Some(major), "a replica needs those of its primary")
    })?;
    let basebackup = binaries::program("pg_basebackup", major, &found.bindir);
    let basebackup = basebackup.ok_or_else(|| {
        ReplicaError::Refused(format!(
            "there is no pg_basebackup of PostgreSQL {major} or later. Install it:\n\x20 Debian, Ubuntu: sudo apt-get install \
             postgresql-client-{major}\n\x20 Red Hat, Fedora: sudo dnf install postgresql\n\x20 macOS: brew install \
             postgresql@{major}"
        ))
    })?;
    Ok((found, basebackup))
}

/// Returns the wanted port, or the first free one above the primary's.
pub(super) fn port(wanted: Option<u16>, primary: i64) -> Result<u16, ReplicaError> {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    match wanted {
        Some(port) if is_free(&port) => Ok(port),
        Some(port) => Err(ReplicaError::Refused(format!(
            "port {port} is in use: name another with --replica-port"
        ))),
        None => {
            let first = u16::try_from(primary).unwrap_or(5432).saturating_add(1);
            let found = (first..first.saturating_add(100)).find(is_free);
            found.ok_or_else(|| {
                ReplicaError::Refused(format!(
                    "the 100 ports from {first} on are in use: name one with --replica-port"
                ))
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_can_be_typed() {
        let mut command = Command::new("/bin/pg_ctl");
        command.args(["-D", "/a b", "host='x' port='1'", "it's $HOME"]);
        assert_eq!(
            shown(&command),
            r#"/bin/pg_ctl -D '/a b' "host='x' port='1'" 'it'\''s $HOME'"#
        );
    }

    #[test]
    fn names_of_slots_and_folders_are_checked() {
        assert!(check_slot("a_1").is_ok());
        for wrong in ["", "A", "a-b", "ä", "a b", &"x".repeat(64)] {
            assert!(check_slot(wrong).is_err(), "{wrong}");
        }
        let folder = tempfile::tempdir().unwrap();
        let whole = folder.path().canonicalize().unwrap();
        assert_eq!(place(folder.path()).unwrap(), whole);
        assert_eq!(
            place(&folder.path().join("new")).unwrap(),
            whole.join("new")
        );
        assert!(place(&folder.path().join("no/new")).is_err());
        std::fs::write(folder.path().join("x"), "").unwrap();
        let why = place(folder.path()).unwrap_err().to_string();
        assert!(why.contains("is not empty"), "{why}");
    }
}
