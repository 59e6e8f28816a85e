//! A base backup by PostgreSQL's low-level functions, as its documentation describes it (Continuous Archiving, "Making a
//! Base Backup Using the Low Level API"): for server programs that come without pg_basebackup. Copy and server are on
//! one host, and the server's data directory can be read.

use super::account::Account;
use super::error::ClusterError;
use crate::pg::{Client, PgError, Settings, Target};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Folders whose contents belong to the running server alone.
const EMPTY: [&str; 8] = [
    "pg_wal",
    "pg_replslot",
    "pg_stat_tmp",
    "pg_dynshmem",
    "pg_notify",
    "pg_serial",
    "pg_snapshots",
    "pg_subtrans",
];

/// Files of the data directory that belong to the running server, or to an earlier backup or recovery.
const LEFT_OUT: [&str; 11] = [
    "postmaster.pid",
    "postmaster.opts",
    "backup_label",
    "backup_label.old",
    "tablespace_map",
    "tablespace_map.old",
    "backup_manifest",
    "current_logfiles",
    "standby.signal",
    "recovery.signal",
    "postgresql.auto.conf.tmp",
];

/// Copied last, as pg_basebackup does: it then is no older than what it describes.
const CONTROL: &str = "global/pg_control";

/// Opens the session of a backup, which lasts as long as the copy.
pub(super) async fn session(target: &Target) -> Result<Client, ClusterError> {
    Client::open(target, &Settings::of_work(Duration::ZERO))
        .await
        .map_err(ClusterError::server("connect to the primary"))
}

/// Starts a backup in this session, with an immediate checkpoint. Returns the server's data directory.
pub(super) async fn start(client: &Client, major: u16) -> Result<PathBuf, ClusterError> {
    let sql = if major >= 15 {
        "SELECT pg_catalog.pg_backup_start('htap-top replica', true)"
    } else {
        "SELECT pg_catalog.pg_start_backup('htap-top replica', true, false)"
    };
    let refused = || ClusterError::server("start a base backup");
    client.query(sql, &[]).await.map_err(refused())?;
    let sql = "SELECT pg_catalog.current_setting('data_directory') AS folder";
    let table = client.query(sql, &[]).await.map_err(refused())?;
    let folder = table.first("folder").raw().map(PathBuf::from);
    folder.ok_or_else(|| {
        ClusterError::Missing("the primary does not report its data directory".to_owned())
    })
}

/// Ends the session's backup. Returns the contents of the files backup_label and tablespace_map.
pub(super) async fn end(client: &Client, major: u16) -> Result<(String, String), ClusterError> {
    // Does not wait for an archive: the replica gets the WAL from its primary.
    let sql = if major >= 15 {
        "SELECT b.labelfile, b.spcmapfile FROM pg_catalog.pg_backup_stop(false) AS b"
    } else {
        "SELECT b.labelfile, b.spcmapfile FROM pg_catalog.pg_stop_backup(false, false) AS b"
    };
    let refused = || ClusterError::server("end the base backup");
    let table = client.query(sql, &[]).await.map_err(refused())?;
    let text = |name| table.first(name).raw().unwrap_or_default().to_owned();
    let label = text("labelfile");
    if label.is_empty() {
        let none = PgError::new(
            crate::pg::Class::Statement,
            "the server returned no backup label",
        );
        return Err(refused()(none));
    }
    Ok((label, text("spcmapfile")))
}

/// A data directory to copy, and the account that owns the copy.
pub(super) struct Tree<'a> {
    /// The data directory of the running server.
    pub(super) source: &'a Path,
    /// The account that owns the copy.
    pub(super) account: &'a Account,
}

impl Tree<'_> {
    /// Copies the tree to `to`, which must not exist.
    pub(super) fn copy_to(&self, to: &Path) -> Result<(), ClusterError> {
        self.folder(self.source, to)?;
        for name in EMPTY {
            self.make(&self.source.join(name), &to.join(name))?;
        }
        let status = to.join("pg_wal/archive_status");
        self.make(&self.source.join("pg_wal"), &status)?;
        self.file(&self.source.join(CONTROL), &to.join(CONTROL))
    }

    /// Writes a file that belongs to the account.
    pub(super) fn write(&self, path: &Path, text: &str) -> Result<(), ClusterError> {
        std::fs::write(path, text)
            .map_err(ClusterError::io(format!("write {}", path.display())))?;
        self.account.own(path)
    }

    fn folder(&self, from: &Path, to: &Path) -> Result<(), ClusterError> {
        let entries = match std::fs::read_dir(from) {
            // Dropped meanwhile; WAL replay drops it in the copy.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(ClusterError::io(format!("read {}", from.display())))?,
        };
        self.make(from, to)?;
        for entry in entries {
            let entry = entry.map_err(ClusterError::io(format!("read {}", from.display())))?;
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let name = entry.file_name().to_string_lossy().into_owned();
            let top = from == self.source;
            if is_left_out(&name, top) || source == self.source.join(CONTROL) {
                continue;
            }
            let kind = match entry.file_type() {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                kind => kind.map_err(ClusterError::io(format!("read {}", source.display())))?,
            };
            if kind.is_symlink() && from.ends_with("pg_tblspc") {
                return Err(elsewhere(&source));
            }
            if kind.is_dir() {
                self.folder(&source, &target)?;
            } else {
                self.file(&source, &target)?;
            }
        }
        Ok(())
    }

    /// Makes a folder with the permissions of another.
    fn make(&self, like: &Path, folder: &Path) -> Result<(), ClusterError> {
        std::fs::create_dir(folder)
            .and_then(|()| std::fs::set_permissions(folder, std::fs::metadata(like)?.permissions()))
            .map_err(ClusterError::io(format!("make {}", folder.display())))?;
        self.account.own(folder)
    }

    fn file(&self, from: &Path, to: &Path) -> Result<(), ClusterError> {
        match std::fs::copy(from, to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(ClusterError::io(format!("copy {}", from.display()))(error)),
            Ok(_) => self.account.own(to),
        }
    }
}

/// Returns true for a file or folder that is not copied; `top` if it is directly in the data directory.
fn is_left_out(name: &str, top: bool) -> bool {
    top && (LEFT_OUT.contains(&name) || EMPTY.contains(&name))
        || name == "pg_internal.init"
        || name.starts_with("pg_internal.init.")
        || name.starts_with("pgsql_tmp")
        || is_temporary(name)
}

/// A tablespace lies outside of the data directory: a replica on the same host would write into the primary's files.
fn elsewhere(link: &Path) -> ClusterError {
    let place = std::fs::read_link(link).unwrap_or_default();
    ClusterError::Missing(format!(
        "the primary has a tablespace in {}, which a replica on the same host cannot have as well: move its tables to \
         pg_default and drop it",
        place.display()
    ))
}

/// Returns true for a file of a temporary table, such as t3_16390 and t3_16390_fsm: its session is not in the copy.
fn is_temporary(name: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.strip_prefix('t')
        .and_then(|rest| rest.split_once('_'))
        .is_some_and(|(backend, relation)| {
            let number = relation.split(['_', '.']).next().unwrap_or_default();
            digits(backend) && digits(number)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_temporary_tables_are_known_by_their_names() {
        for name in ["t3_16390", "t3_16390_fsm", "t12_16390.1", "t12_16390_vm.1"] {
            assert!(is_temporary(name), "{name}");
        }
        for name in ["16390", "t_1", "t1", "t1_", "t1_x", "tablespace_map", "3_1"] {
            assert!(!is_temporary(name), "{name}");
        }
    }
}
