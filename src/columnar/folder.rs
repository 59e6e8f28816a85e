//! The folder of column files: whose it is, what is wrong with its files, and which of them nobody needs.

use super::error::ColumnarError;
use super::file;
use super::manifest::{self, Entry};
use super::table::FORMAT;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statvfs::statvfs;
use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// What is wrong with a file of the manifest.
pub(super) fn fault(path: &Path, entry: &Entry, whole: bool) -> Option<String> {
    if entry.format != FORMAT {
        return Some("is of another version of htap-top".to_owned());
    }
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Some("is missing".to_owned());
        }
        Err(error) => return Some(format!("cannot be read ({error})")),
    };
    match file.metadata() {
        Ok(metadata) if metadata.len() == entry.bytes => {}
        Ok(metadata) => {
            return Some(format!(
                "has {} bytes instead of {}",
                metadata.len(),
                entry.bytes
            ));
        }
        Err(error) => return Some(format!("cannot be read ({error})")),
    }
    if !whole {
        return None;
    }
    match file::checksum(&file) {
        Ok(sum) if sum == entry.sha256 => None,
        Ok(_) => Some("has another content than was written".to_owned()),
        Err(error) => Some(format!("cannot be read ({error})")),
    }
}

/// Name of the file that says whose folder it is.
const MARKER: &str = "htap-top-columnar";

/// Makes the folder this store's, and locks it. One that is another store's is left alone.
pub(super) fn claim(folder: &Path, store: &str) -> Result<Flock<File>, ColumnarError> {
    // Who may read the table, PostgreSQL decides; who may read the files, the folder.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(ColumnarError::file("make", folder))?;
    let path = folder.join(MARKER);
    let failed = || ColumnarError::file("write", &path);
    let marker = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let marker = Flock::lock(marker.map_err(failed())?, FlockArg::LockExclusiveNonblock);
    let marker = marker.map_err(|(_, error)| {
        ColumnarError::Refused(format!(
            "{} is in use by another htap-top columnar sync ({error}): end it first",
            folder.display()
        ))
    })?;
    let owner = std::fs::read_to_string(&path).map_err(failed())?;
    let owner = owner.trim();
    if owner != store {
        let held = std::fs::read_dir(folder).map_err(failed())?;
        let held = held
            .filter_map(Result::ok)
            .any(|found| manifest::is_of_store(&found.file_name().to_string_lossy(), owner));
        if !owner.is_empty() && held {
            return Err(ColumnarError::Refused(format!(
                "{} holds the column files of another database, or of this one before they were begun anew: choose another \
                 folder, or remove its files",
                folder.display()
            )));
        }
        std::fs::write(&path, format!("{store}\n")).map_err(failed())?;
    }
    Ok(marker)
}

/// Removes files of this store that are not `named`: left by a process that died, or replaced. A query that reads one has
/// opened it before. Returns what is worth to be told.
pub(super) fn remove_orphans(
    folder: &Path,
    store: &str,
    named: &BTreeSet<String>,
) -> Result<Vec<String>, ColumnarError> {
    let mut notes = Vec::new();
    let failed = || ColumnarError::file("read", folder);
    for found in std::fs::read_dir(folder).map_err(failed())? {
        let found = found.map_err(failed())?;
        let name = found.file_name().to_string_lossy().into_owned();
        let bare = name.strip_prefix('.').unwrap_or(&name);
        if !manifest::is_of_store(bare, store) || named.contains(&name) {
            continue;
        }
        let removed = std::fs::remove_file(found.path());
        removed.map_err(ColumnarError::file("remove", &found.path()))?;
        if name.starts_with('.') {
            notes.push(format!("removed {name}, which a sync left unfinished"));
        }
    }
    Ok(notes)
}

/// Bytes that are left on the disk of the folder, and its size.
pub(super) fn space(folder: &Path) -> Option<(u64, u64)> {
    let found = statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
    Some((bytes(found.blocks_available()), bytes(found.blocks())))
}
