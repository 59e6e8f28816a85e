//! The cache folder of downloaded programs.

use super::error::ClusterError;
use nix::unistd::geteuid;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Prefix of the folders of unfinished downloads.
const STAGING: &str = ".fetch-";

/// Returns the folder of `program` in `$XDG_CACHE_HOME` or `~/.cache`; for root, one that the server's user can access.
/// `None` if HOME is not set.
pub(crate) fn folder(program: &str) -> Option<PathBuf> {
    if geteuid().is_root() {
        return Some(Path::new("/var/cache/htap-top").join(program));
    }
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(base.join("htap-top").join(program))
}

/// Creates a folder for a download in `cache`, which is created if it is missing. A rename completes the download.
pub(crate) fn staging(cache: &Path) -> Result<TempDir, ClusterError> {
    create_traversable(cache)?;
    remove_interrupted(cache);
    tempfile::Builder::new()
        .prefix(STAGING)
        .tempdir_in(cache)
        .map_err(ClusterError::io(format!(
            "make a folder in {}",
            cache.display()
        )))
}

fn create_traversable(folder: &Path) -> Result<(), ClusterError> {
    std::fs::create_dir_all(folder)
        .map_err(ClusterError::io(format!("create {}", folder.display())))?;
    if geteuid().is_root() {
        for path in folder.ancestors().take(2) {
            allow_everybody(path)?;
        }
    }
    Ok(())
}

/// Lets every user read and enter `path`, whatever the umask is.
pub(crate) fn allow_everybody(path: &Path) -> Result<(), ClusterError> {
    std::fs::set_permissions(path, Permissions::from_mode(0o755))
        .map_err(ClusterError::io(format!("open {}", path.display())))
}

/// Removes the remains of downloads that were killed an hour or more ago.
fn remove_interrupted(cache: &Path) {
    for entry in std::fs::read_dir(cache).into_iter().flatten().flatten() {
        let old = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age.as_secs() >= 3600));
        if old && entry.file_name().to_string_lossy().starts_with(STAGING) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
