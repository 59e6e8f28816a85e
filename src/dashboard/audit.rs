//! The audit file: a line of JSON with the intent before every action, and one with the outcome after it.
//! Statements of others and the server's messages are written without literals, as in a recording. Names are
//! written as displayed and, if the raw name differs, raw as well.
//!
//! Only its owner may access it. A file of the current user that others may read or write is made private
//! before a line is added; a symbolic link, or a file of another user, is refused, as others could read or
//! remove what is written there.

use super::action::{Action, ActionId, Outcome};
use crate::explain::Whose;
use crate::private;
use crate::text::is_plain;
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

/// Writes the audit file.
#[derive(Clone, Debug)]
pub struct Audit {
    /// The file; its folder is created if it is missing.
    pub path: PathBuf,
    /// Target of the actions: connection settings without the password.
    pub target: String,
    /// The operating system's user who acts.
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
struct Intent<T: Serialize> {
    intent: T,
}

#[derive(Serialize)]
struct Result_<T: Serialize> {
    outcome: T,
}

#[derive(Serialize)]
struct Isolation<T: Serialize> {
    isolation: T,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum PlanRequest<'a> {
    Explain(&'a Whose),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answered<'a> {
    Planned,
    NotPlanned(&'a str),
}

impl Audit {
    /// Writes the intent of an action. If that fails, the action must not be carried out.
    pub fn intent(&self, at: &str, id: ActionId, action: &Action) -> io::Result<()> {
        let intent = action.masked();
        self.write(at, id, Intent { intent })
    }

    /// Writes the intent to plan another session's statement, which the server does with the current role's
    /// rights. If that fails, it must not be planned.
    pub fn asked(&self, at: &str, id: ActionId, whose: &Whose) -> io::Result<()> {
        let intent = PlanRequest::Explain(whose);
        self.write(at, id, Intent { intent })
    }

    /// Writes the result of planning: success, or the reason for the refusal.
    pub fn answered(&self, at: &str, id: ActionId, refused: Option<&str>) -> io::Result<()> {
        let outcome = refused.map_or(Answered::Planned, Answered::NotPlanned);
        self.write(at, id, Result_ { outcome })
    }

    /// Writes the outcome of an action.
    pub fn outcome(&self, at: &str, id: ActionId, outcome: &Outcome) -> io::Result<()> {
        let outcome = outcome.masked();
        self.write(at, id, Result_ { outcome })
    }

    /// Writes the intent of a command. If that fails, it must not be carried out.
    pub(crate) fn begun(&self, at: &str, intent: &impl Serialize) -> io::Result<()> {
        self.write(at, ActionId(1), Intent { intent })
    }

    /// Writes the outcome of a command.
    pub(crate) fn done(&self, at: &str, outcome: &impl Serialize) -> io::Result<()> {
        self.write(at, ActionId(1), Result_ { outcome })
    }

    /// Writes what `htap-top isolate` is about to do, or has done.
    pub(crate) fn isolation(
        &self,
        at: &str,
        id: ActionId,
        isolation: &impl Serialize,
    ) -> io::Result<()> {
        self.write(at, id, Isolation { isolation })
    }

    fn write(&self, at: &str, id: ActionId, what: impl Serialize) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
        }
        let mut file = private::append(&self.path, "name another audit_file")?;
        let line = Line {
            at,
            process: std::process::id(),
            action_id: id.0,
            actor: &self.actor,
            target: &self.target,
            what,
        };
        let mut text = plain(&serde_json::to_string(&line)?);
        text.push('\n');
        // A single write, so that lines of two programs do not mix.
        file.write_all(text.as_bytes())?;
        file.sync_data()
    }
}

/// Returns JSON in which characters are escaped that a terminal would not display unchanged, such as
/// direction controls.
fn plain(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        if is_plain(c) {
            plain.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(plain, "\\u{unit:04x}");
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::super::action::Backend;
    use super::*;
    use crate::pg::admin::{Identity, Signal, Verdict};
    use crate::pg::{Class, PgError};
    use std::fs::Permissions;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::Path;

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

    fn audit(path: PathBuf) -> Audit {
        Audit {
            path,
            target: String::new(),
            actor: String::new(),
        }
    }

    #[test]
    fn it_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let end =
            |path: &Path| audit(path.to_owned()).outcome("", ActionId(1), &Outcome::Cancelled);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        for open in [0o644, 0o620, 0o606] {
            let path = path(&format!("{open:o}"));
            std::fs::write(&path, "before\n").unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(open)).unwrap();
            end(&path).unwrap();
            assert_eq!(mode(&path), 0o600);
            let lines = std::fs::read_to_string(&path).unwrap();
            assert!(lines.starts_with("before\n{"), "{lines}");
        }
        let (real, link) = (path("real"), path("link"));
        std::fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let error = end(&link).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
        std::os::unix::fs::symlink(path("nowhere"), path("broken")).unwrap();
        assert!(end(&path("broken")).is_err() && !path("nowhere").exists());
        assert_eq!(std::fs::read_to_string(&real).unwrap(), "");
        let pipe = path("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(end(&pipe).is_err());
        assert!(end(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn literals_of_others_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for rule in [None, Some("old")] {
            let action = Action::Signal {
                signal: Signal::Cancel,
                backends: vec![Backend {
                    identity: Identity {
                        pid: 7,
                        backend_start: "b".into(),
                        since: None,
                    },
                    described: "app".into(),
                    raw: None,
                    idle: false,
                    query: "alter role app password 's3cret' -- and so on".into(),
                }],
                rule: rule.map(|name: &str| super::super::action::Rule {
                    name: name.into(),
                    idle_s: None,
                }),
            };
            let audit = audit(path.clone());
            audit.intent("", ActionId(1), &action).unwrap();
        }
        let lines = std::fs::read_to_string(&path).unwrap();
        assert!(!lines.contains("s3cret"), "{lines}");
        assert_eq!(lines.matches("alter role app password ?").count(), 2);
    }

    #[test]
    fn what_the_server_says_of_data_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let audit = audit(folder.path().join("audit.jsonl"));
        let error = |code: &str, message: &str| {
            let mut error = PgError::new(Class::Statement, message);
            error.sqlstate = Some(code.into());
            error.detail = Some("Key (mail)=(s3cret) already exists.".into());
            error
        };
        for (code, message, kept) in [
            (
                "22P02",
                "invalid input syntax for type integer: \"s3cret\"",
                "type integer: ?",
            ),
            ("P0001", "s3cret of order 7", "\"message\":\"?\""),
            (
                "23505",
                "violates unique constraint \"s3cret\"",
                "unique constraint ?",
            ),
            (
                "42P01",
                "relation \"rates\" does not exist",
                "relation \\\"rates\\\" does not",
            ),
            ("42601", "syntax error at 's3cret'", "error at ?"),
        ] {
            let error = error(code, message);
            for outcome in [
                Outcome::Failed(error.clone()),
                Outcome::Unknown(error.clone()),
                Outcome::Signalled(vec![Verdict::Refused(error)]),
            ] {
                audit.outcome("", ActionId(1), &outcome).unwrap();
            }
            let lines = std::fs::read_to_string(&audit.path).unwrap();
            assert!(!lines.contains("s3cret"), "{lines}");
            assert_eq!(lines.matches(kept).count(), 3, "{lines}");
        }
    }

    #[test]
    fn names_are_written_as_they_are_and_in_plain_characters() {
        let folder = tempfile::tempdir().unwrap();
        let audit = audit(folder.path().join("audit.jsonl"));
        let action = Action::Measure {
            relid: 7,
            relation: "a b·c".into(),
            raw: Some("a\nb\u{202e}c\u{e0001}".into()),
        };
        audit.intent("", ActionId(1), &action).unwrap();
        let text = std::fs::read_to_string(&audit.path).unwrap();
        assert!(
            text.contains("\"raw\":\"a\\nb\\u202ec\\udb40\\udc01\""),
            "{text}"
        );
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        let measure = &line["intent"]["measure"];
        assert_eq!(measure["relation"], "a b·c");
        assert_eq!(measure["raw"], "a\nb\u{202e}c\u{e0001}");
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
