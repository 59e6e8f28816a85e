//! The audit file: a JSON line of intent before every action, and one of its outcome after.

use super::action::{Action, ActionId, Outcome};
use serde::Serialize;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;

/// Writes the audit file.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The file; its folder is made where it is missing.
    pub path: PathBuf,
    /// Where the actions go: a conninfo without password.
    pub target: String,
    /// Who acts: the user of the operating system.
    pub actor: String,
}

#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    at: &'a str,
    process: u32,
    action_id: u32,
    actor: &'a str,
    target: &'a str,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize)]
struct Intent<'a> {
    intent: &'a Action,
}

#[derive(Serialize)]
struct Result_<'a> {
    outcome: &'a Outcome,
}

impl Audit {
    /// Writes what is about to be done. On an error the action must not be done.
    pub fn intent(&self, at: &str, id: ActionId, action: &Action) -> io::Result<()> {
        self.write(at, id, Intent { intent: action })
    }

    /// Writes what is known afterwards.
    pub fn outcome(&self, at: &str, id: ActionId, outcome: &Outcome) -> io::Result<()> {
        self.write(at, id, Result_ { outcome })
    }

    fn write(&self, at: &str, id: ActionId, what: impl Serialize) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)?;
        let line = Line {
            at,
            process: std::process::id(),
            action_id: id.0,
            actor: &self.actor,
            target: &self.target,
            what,
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        // One write, so that lines of two programs do not mix.
        file.write_all(&text)?;
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn lines_are_json_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/audit.jsonl");
        let audit = Audit {
            path: path.clone(),
            target: "t".into(),
            actor: "me".into(),
        };
        audit
            .outcome(
                "2026-01-01T00:00:00Z",
                ActionId(7),
                &Outcome::Refreshed(12.0),
            )
            .unwrap();
        audit
            .outcome("2026-01-01T00:00:01Z", ActionId(8), &Outcome::Cancelled)
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0]["outcome"]["refreshed"], 12.0);
        assert_eq!(lines[1]["action_id"], 8);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let audit = Audit {
            path: "/dev/null/audit.jsonl".into(),
            target: String::new(),
            actor: String::new(),
        };
        assert!(audit.outcome("", ActionId(1), &Outcome::Cancelled).is_err());
    }
}
