//! The mark of a replica that `create` made: without it, `drop` touches nothing.

use super::error::ReplicaError;
use serde::{Deserialize, Serialize};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Name of the file in the data directory.
pub(super) const FILE: &str = "htap-top-replica.json";
const FORMAT: u32 = 1;

/// What `create` made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    format: u32,
    /// The data directory: a copy of it has the file, too, and is not ours.
    data: PathBuf,
    /// Name of the slot on the primary.
    pub(super) slot: String,
    /// System identifier of the primary.
    pub(super) system: Option<String>,
    /// How the primary is reached, without password.
    pub(super) primary: String,
    /// Folder of the server programs.
    pub(super) bindir: PathBuf,
    /// True if `create` made the data directory; false if it was there, empty.
    pub(super) made_folder: bool,
}

impl Marker {
    pub(super) fn new(data: &Path, slot: &str) -> Self {
        Self {
            format: FORMAT,
            data: data.to_owned(),
            slot: slot.to_owned(),
            system: None,
            primary: String::new(),
            bindir: PathBuf::new(),
            made_folder: false,
        }
    }

    /// Returns the text of the file.
    pub(super) fn text(&self) -> String {
        // Strings, flags and paths that came from UTF-8 or are refused when read.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads the mark of `data`, an absolute path without links.
    pub(super) fn read(data: &Path) -> Result<Self, ReplicaError> {
        let refused = |why: &str| {
            ReplicaError::Refused(format!(
                "{} was not made by `htap-top replica create`: {why}. Nothing was touched; stop the server and remove the \
                 directory yourself",
                data.display()
            ))
        };
        let path = data.join(FILE);
        let owner = |path: &Path| {
            path.symlink_metadata()
                .ok()
                .filter(|meta| !meta.is_symlink())
        };
        let (Some(file), Some(folder)) = (owner(&path), owner(data)) else {
            return Err(refused(&format!("there is no {FILE} in it")));
        };
        if !file.is_file() || file.uid() != folder.uid() {
            return Err(refused(&format!("{FILE} belongs to another user")));
        }
        let text =
            std::fs::read(&path).map_err(ReplicaError::io(format!("read {}", path.display())))?;
        match serde_json::from_slice::<Self>(&text) {
            Ok(marker) if marker.format == FORMAT && marker.data == data => Ok(marker),
            Ok(marker) => Err(refused(&format!(
                "{FILE} is that of {}",
                marker.data.display()
            ))),
            Err(error) => Err(refused(&format!("{FILE}: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_folder_that_was_marked_counts() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().canonicalize().unwrap();
        assert!(Marker::read(&data).is_err());
        let marker = Marker::new(&data, "slot");
        std::fs::write(data.join(FILE), marker.text()).unwrap();
        assert_eq!(Marker::read(&data).unwrap(), marker);
        let copy = tempfile::tempdir().unwrap();
        let copy = copy.path().canonicalize().unwrap();
        std::fs::write(copy.join(FILE), marker.text()).unwrap();
        let why = Marker::read(&copy).unwrap_err().to_string();
        assert!(why.contains(&data.display().to_string()), "{why}");
        std::fs::write(data.join(FILE), "{}").unwrap();
        assert!(Marker::read(&data).is_err());
    }
}
