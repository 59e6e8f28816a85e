//! Removes the remains of demos that were killed.

use super::DATA;
use super::account::Account;
use super::error::ClusterError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde::{Deserialize, Serialize};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Prefix of the folders of demo clusters.
pub(super) const PREFIX: &str = "htap-top-";

const MARKER: &str = "htap-top.json";
const FORMAT: u32 = 1;

/// Identifies the owner of a demo's folder. Written as soon as the folder exists.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    format: u32,
    /// Process ID of the demo.
    pid: i32,
    /// Start time of that process, as the system reports it: a pid is reused, the pair is not.
    started: String,
    /// Data directory of its cluster.
    data: PathBuf,
}

impl Marker {
    /// Marks `home` as belonging to this process.
    pub(super) fn write(home: &Path, data: &Path) -> Result<(), ClusterError> {
        let pid = std::process::id().cast_signed();
        let marker = Self {
            format: FORMAT,
            pid,
            started: start_time(pid).unwrap_or_default(),
            data: data.to_owned(),
        };
        let path = home.join(MARKER);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| Ok(serde_json::to_writer(file, &marker)?))
            .map_err(ClusterError::io(format!("write {}", path.display())))
    }

    /// Reads the marker of `home`. Returns `None` unless the folder is private to the server's user, the marker is our
    /// own file, and it names this folder.
    fn read(home: &Path, server: u32) -> Option<Self> {
        let path = home.join(MARKER);
        let file = path.symlink_metadata().ok()?;
        let ours = file.uid() == geteuid().as_raw();
        if !is_private(home, server) || !file.is_file() || !ours || file.nlink() != 1 {
            return None;
        }
        let marker: Self = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
        (marker.format == FORMAT && marker.data == home.join(DATA)).then_some(marker)
    }

    fn owner_lives(&self) -> bool {
        start_time(self.pid).is_some_and(|started| started == self.started)
    }
}

/// Stops the servers and removes the folders of demos that were killed; returns the removed folders. Blocks, for some
/// seconds if a server does not end.
pub fn sweep() -> Vec<PathBuf> {
    let Ok(account) = Account::choose() else {
        return Vec::new();
    };
    let mut bases: Vec<PathBuf> = [std::env::temp_dir(), PathBuf::from("/tmp")]
        .iter()
        .filter_map(|base| base.canonicalize().ok())
        .collect();
    bases.dedup();
    let mut removed = Vec::new();
    for entry in bases
        .iter()
        .filter_map(|base| std::fs::read_dir(base).ok())
        .flatten()
        .flatten()
    {
        let home = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let server = account.uid().as_raw();
        let gone = match Marker::read(&home, server) {
            Some(marker) if marker.owner_lives() => false,
            Some(marker) => {
                end_postmaster(&marker.data);
                remove(&home, &marker.data)
            }
            // Killed before it could write its marker: an empty folder can be removed safely.
            None => {
                is_private(&home, server) && is_old(&home) && std::fs::remove_dir(&home).is_ok()
            }
        };
        if gone {
            removed.push(home);
        }
    }
    removed
}

/// Removes a demo's folder, the marker last: a folder that an orphaned initdb still writes to is left for the next
/// sweep.
fn remove(home: &Path, data: &Path) -> bool {
    for _ in 0..30 {
        if !data.exists() || std::fs::remove_dir_all(data).is_ok() {
            return std::fs::remove_dir_all(home).is_ok();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

/// Returns true if `home` is a folder that only the server's user or this process's user can access.
fn is_private(home: &Path, server: u32) -> bool {
    home.symlink_metadata().is_ok_and(|folder| {
        folder.is_dir()
            && folder.permissions().mode() & 0o777 == 0o700
            && (folder.uid() == server || folder.uid() == geteuid().as_raw())
    })
}

/// Returns true if no entry was added to or removed from `home` for a minute.
fn is_old(home: &Path) -> bool {
    home.metadata()
        .and_then(|meta| meta.modified())
        .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() >= 60))
}

/// Ends the postmaster of `data` by force: immediate shutdown, then SIGKILL.
pub(crate) fn end_postmaster(data: &Path) {
    let Some(pid) = postmaster_pid(data).filter(|pid| serves(*pid, data)) else {
        return;
    };
    let process = Pid::from_raw(pid);
    for (signal, patience) in [(Signal::SIGQUIT, 80), (Signal::SIGKILL, 40)] {
        if kill(process, signal).is_err() {
            return;
        }
        for _ in 0..patience {
            if !serves(pid, data) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Returns the pid in `data/postmaster.pid`.
pub(crate) fn postmaster_pid(data: &Path) -> Option<i32> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = text.lines().next()?.trim().parse().ok()?;
    (pid > 1).then_some(pid)
}

/// Returns true if process `pid` is a server of `data`: the pid file may be outdated and the pid reused.
pub(crate) fn serves(pid: i32, data: &Path) -> bool {
    if cfg!(target_os = "linux") {
        // The postmaster's working directory is its data directory. A zombie has none.
        return std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == data);
    }
    ps(pid, "command=").is_some_and(|command| command.contains(&data.display().to_string()))
}

/// Returns the start time of process `pid`, as the system reports it; `None` if there is no process, or only a zombie.
fn start_time(pid: i32) -> Option<String> {
    if cfg!(target_os = "linux") {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may contain anything; the state is field 3, the start time field 22.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        if matches!(fields.next()?, "Z" | "X") {
            return None;
        }
        return fields.nth(18).map(str::to_owned);
    }
    ps(pid, "lstart=")
}

fn ps(pid: i32, column: &str) -> Option<String> {
    let output = Command::new("ps")
        .args(["-o", column, "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(mode: u32) -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        Marker::write(home.path(), &home.path().join("data")).unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        home
    }

    #[test]
    fn only_private_folders_with_our_marker_count() {
        let ours = geteuid().as_raw();
        let home = marked(0o700);
        let marker = Marker::read(home.path(), ours).unwrap();
        assert!(marker.owner_lives());
        assert!(Marker::read(marked(0o755).path(), ours).is_none());
        let other = tempfile::tempdir().unwrap();
        std::fs::copy(home.path().join(MARKER), other.path().join(MARKER)).unwrap();
        assert!(Marker::read(other.path(), ours).is_none());
    }

    #[test]
    fn a_pid_that_came_back_is_not_the_owner() {
        let marker = Marker {
            format: FORMAT,
            pid: std::process::id().cast_signed(),
            started: "0".to_owned(),
            data: PathBuf::new(),
        };
        assert!(!marker.owner_lives());
    }
}
