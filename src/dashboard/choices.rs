//! Columns chosen on the screen, and the file that keeps them from run to run: `columns.json` in the state folder.
//!
//! The file is never the user's configuration. What this version does not understand stays in it, and a file that cannot be
//! read is moved aside, not overwritten.

use crate::config::Profile;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The version of the format.
const VERSION: u64 = 1;
/// Bytes of a file that is read: a hundred times what a user could choose.
const LARGEST: u64 = 4 << 20;
/// Number of unreadable files that are kept aside.
const ASIDE: u32 = 99;

/// What somebody has chosen on the screen for a panel. It comes before what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Choice {
    /// A profile; it comes before columns chosen one by one, which are kept meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// All columns in their order; empty: those of the profile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Those of them that are not shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hide: Vec<String>,
    /// The column to sort by, with a leading `-` for descending; empty: that of the configuration or of the panel file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub sort: String,
}

/// Columns chosen, by the name of the panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choices(BTreeMap<String, Arc<Choice>>);

/// The file.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u64,
    /// What is chosen for each panel, in whatever form a version of this program writes it.
    panels: Map<String, Value>,
}

/// What every version of the file has.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u64,
}

/// The reason why a file is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Unusable {
    /// It is no such file.
    Broken(String),
    /// A later version wrote it.
    Later(u64),
    /// It cannot be read at all.
    Unreadable(String),
}

impl Choice {
    /// Returns true if columns are chosen one by one.
    pub(super) fn has_columns(&self) -> bool {
        self.profile.is_none() && !self.columns.is_empty()
    }

    /// Returns true if nothing differs from the configuration.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Choices {
    /// Returns what is chosen for a panel.
    pub fn of(&self, panel: &str) -> Option<&Arc<Choice>> {
        self.0.get(panel)
    }

    /// Reads the file; the second part are complaints about it. Without a file nothing is chosen.
    pub fn read(path: &Path) -> (Self, Vec<String>) {
        let panels = match panels(path) {
            Ok(panels) => panels,
            Err(unusable) => {
                let why = format!("{}: {}", path.display(), unusable.describe());
                return (Self::default(), vec![why]);
            }
        };
        let (mut choices, mut complaints) = (BTreeMap::new(), Vec::new());
        for (panel, choice) in panels {
            match serde_json::from_value::<Choice>(choice) {
                Ok(choice) => {
                    choices.insert(panel, Arc::new(choice));
                }
                Err(why) => complaints.push(format!(
                    "{}: the columns of panel {panel:?} are not used: {why}",
                    path.display()
                )),
            }
        }
        (Self(choices), complaints)
    }
}

impl Unusable {
    fn describe(&self) -> String {
        match self {
            Self::Broken(why) => format!(
                "chosen columns are not used: {why}; the next choice moves the file aside and begins a new one"
            ),
            Self::Later(version) => format!(
                "chosen columns are neither used nor kept: a later version of htap-top wrote the file (format {version}, \
                 this one knows {VERSION})"
            ),
            Self::Unreadable(why) => format!("chosen columns are not used: {why}"),
        }
    }
}

/// Returns what the file says about panels, in whatever form.
fn panels(path: &Path) -> Result<Map<String, Value>, Unusable> {
    let mut text = Vec::new();
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(Unusable::Unreadable(error.to_string())),
        Ok(file) => {
            let read = file.take(LARGEST + 1).read_to_end(&mut text);
            read.map_err(|error| Unusable::Unreadable(error.to_string()))?;
        }
    }
    if text.len() as u64 > LARGEST {
        return Err(Unusable::Broken("it is far too large".into()));
    }
    let broken = |error: serde_json::Error| Unusable::Broken(error.to_string());
    let Versioned { version } = serde_json::from_slice(&text).map_err(broken)?;
    if version > VERSION {
        return Err(Unusable::Later(version));
    }
    let kept: Kept = serde_json::from_slice(&text).map_err(broken)?;
    Ok(kept.panels)
}

/// Writes choices into the file, `None` removes one. Other panels stay as they are, even if another dashboard chose them
/// meanwhile. Returns a sentence if something must be told.
pub fn keep(path: &Path, changes: BTreeMap<String, Option<Choice>>) -> Result<(), String> {
    let failed = |error: io::Error| {
        format!(
            "chosen columns are not kept: {}: {error}; set XDG_STATE_HOME to a folder that can be written",
            path.display()
        )
    };
    let mut panels = match panels(path) {
        Ok(panels) => panels,
        Err(Unusable::Broken(_)) => {
            move_aside(path).map_err(failed)?;
            Map::new()
        }
        Err(unusable) => return Err(format!("{}: {}", path.display(), unusable.describe())),
    };
    for (panel, choice) in changes {
        match choice.map(serde_json::to_value) {
            Some(Ok(choice)) => {
                panels.insert(panel, choice);
            }
            Some(Err(_)) => {}
            None => {
                panels.remove(&panel);
            }
        }
    }
    let kept = Kept {
        version: VERSION,
        panels,
    };
    let text = serde_json::to_vec_pretty(&kept).map_err(|error| failed(error.into()))?;
    write(path, &text).map_err(failed)
}

/// Writes the file anew, whole or not at all.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let beside = path.with_extension(format!("json.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(text)?;
        file.write_all(b"\n")?;
        file.sync_all()
    });
    let renamed = written.and_then(|()| std::fs::rename(&beside, path));
    if renamed.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    renamed
}

/// Moves a file that cannot be read to a name that is free.
fn move_aside(path: &Path) -> io::Result<()> {
    let free = |number: u32| -> PathBuf { path.with_extension(format!("json.broken.{number}")) };
    let place = (1..=ASIDE).map(free).find(|place| !place.exists());
    let place = place.ok_or_else(|| io::Error::other("too many broken files beside it"))?;
    std::fs::rename(path, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted_by(column: &str) -> Choice {
        Choice {
            sort: column.into(),
            ..Choice::default()
        }
    }

    fn change(panel: &str, choice: Option<Choice>) -> BTreeMap<String, Option<Choice>> {
        BTreeMap::from([(panel.to_owned(), choice)])
    }

    #[test]
    fn choices_are_kept_and_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/columns.json");
        assert_eq!(Choices::read(&path), (Choices::default(), Vec::new()));
        keep(&path, change("locks", Some(sorted_by("-wait_s")))).unwrap();
        keep(&path, change("bloat", Some(sorted_by("relation")))).unwrap();
        // A later version may know more.
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.replace("\"sort\"", "\"colour\": 7, \"sort\"");
        std::fs::write(&path, text).unwrap();
        keep(&path, change("bloat", None)).unwrap();
        let (choices, complaints) = Choices::read(&path);
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(choices.of("locks").unwrap().sort, "-wait_s");
        assert_eq!(choices.of("bloat"), None);
        assert!(std::fs::read_to_string(&path).unwrap().contains("colour"));
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap();
        assert_eq!(files.count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_broken_file_is_told_and_moved_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("columns.json");
        for (number, text) in ["{\"version\": 1, \"pan", "[]", "{\"version\": 1}", ""]
            .iter()
            .enumerate()
        {
            std::fs::write(&path, text).unwrap();
            let (choices, complaints) = Choices::read(&path);
            assert_eq!(choices, Choices::default());
            assert!(
                complaints[0].contains("moves the file aside"),
                "{complaints:?}"
            );
            assert_eq!(&std::fs::read_to_string(&path).unwrap(), text);
            keep(&path, change("locks", Some(sorted_by("pid")))).unwrap();
            let aside = folder
                .path()
                .join(format!("columns.json.broken.{}", number + 1));
            assert_eq!(&std::fs::read_to_string(aside).unwrap(), text);
            assert!(Choices::read(&path).0.of("locks").is_some());
        }
    }

    #[test]
    fn a_part_of_a_file_that_makes_no_sense_costs_only_that_panel() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("columns.json");
        let text =
            r#"{"version": 1, "panels": {"locks": {"sort": 7}, "bloat": {"sort": "relation"}}}"#;
        std::fs::write(&path, text).unwrap();
        let (choices, complaints) = Choices::read(&path);
        assert!(choices.of("bloat").is_some() && choices.of("locks").is_none());
        assert!(complaints[0].contains("panel \"locks\""), "{complaints:?}");
    }

    #[test]
    fn a_file_of_a_later_version_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("columns.json");
        let text = r#"{"version": 2, "screens": []}"#;
        std::fs::write(&path, text).unwrap();
        assert!(Choices::read(&path).1[0].contains("later version"));
        let refused = keep(&path, change("locks", None)).unwrap_err();
        assert!(refused.contains("later version"), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let refused = keep(&file.join("columns.json"), change("locks", None)).unwrap_err();
        assert!(
            refused.contains("not used") || refused.contains("XDG_STATE_HOME"),
            "{refused}"
        );
    }
}
