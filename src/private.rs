//! Files that are for their owner alone: the audit file, the log. One that others may read or write is made private
//! before anything is added; a symbolic link, or a file of somebody else, is refused: what is written there may be
//! read or removed by others.

use nix::fcntl::OFlag;
use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Opens `path` to add to it, and creates it if it is missing. `instead` ends the error of a file that is refused:
/// `name another audit_file`.
pub(crate) fn append(path: &Path, instead: &str) -> io::Result<File> {
    // Whoever opens a pipe would wait for its reader.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let opened = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(flags.bits())
        .open(path);
    let refused = |why: &str| Err(io::Error::other(format!("{why}{instead}")));
    let file = match opened {
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => {
            return refused("it is a symbolic link: remove it, or ");
        }
        opened => opened?,
    };
    let known = file.metadata()?;
    if !known.is_file() {
        return refused("it is not a regular file: ");
    }
    if known.uid() != nix::unistd::geteuid().as_raw() {
        return refused("it belongs to another user: ");
    }
    if known.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
