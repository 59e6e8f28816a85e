//! The actions of an incident, from the audit file: what was intended, by whom, and what was read back.

use crate::dashboard::action::{Action, Outcome};
use crate::format;
use crate::text::Clean;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of the audit file's end that are read: thousands of actions.
const END: u64 = 4 << 20;

/// A line of the audit file.
#[derive(Deserialize)]
struct Line {
    at: String,
    process: u32,
    action_id: u32,
    actor: String,
    target: String,
    intent: Option<Value>,
    outcome: Option<Value>,
}

/// Returns a line for each action between two times, or the reason why nothing is known, as Markdown without a list's
/// marks.
pub(super) fn between(
    audit: &Path,
    (from_ms, to_ms): (i64, i64),
    utc_offset_s: i32,
) -> Result<Vec<String>, String> {
    let text = match end_of(audit) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{}: {error}", audit.display())),
    };
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Line>(line).ok());
    let mut told: Vec<Told> = Vec::new();
    // The last action of each number.
    let mut open: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    for line in lines {
        let at = chrono::DateTime::parse_from_rfc3339(&line.at);
        let Some(at_ms) = at.ok().map(|at| at.timestamp_millis()) else {
            continue;
        };
        let key = (line.process, line.action_id);
        if let Some(outcome) = line.outcome {
            let action = open.remove(&key).and_then(|at| told.get_mut(at));
            if let Some(action) = action {
                action.outcome = Some(ended(outcome));
            }
        } else if let Some(intent) = line.intent {
            open.remove(&key);
            if (from_ms..=to_ms).contains(&at_ms) {
                open.insert(key, told.len());
                let time = format::moment(at_ms, utc_offset_s);
                told.push(Told {
                    intent: format!("{time}, by {}: {}", line.actor, intended(intent)),
                    outcome: None,
                    target: line.target,
                });
            }
        }
    }
    let written = told.into_iter().map(|action| {
        let outcome = action.outcome.as_deref();
        let outcome = outcome.unwrap_or("no outcome is on record");
        let told = format!("{} — {outcome} (on {})", action.intent, action.target);
        Clean::from(told).to_string()
    });
    Ok(written.collect())
}

/// An action in words.
struct Told {
    intent: String,
    outcome: Option<String>,
    target: String,
}

/// Reads the last lines of a file.
fn end_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut bytes = Vec::new();
    file.take(END).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn intended(intent: Value) -> String {
    let written = intent.to_string();
    let action = serde_json::from_value::<Action>(intent);
    action.map_or(written, |action| action.describe())
}

fn ended(outcome: Value) -> String {
    let written = outcome.to_string();
    let outcome = serde_json::from_value::<Outcome>(outcome);
    outcome.map_or(written, |outcome| outcome.describe().1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::action::{ActionId, Backend};
    use crate::dashboard::audit::Audit;
    use crate::pg::admin::{Identity, Signal, Verdict};

    #[test]
    fn actions_are_told_with_their_proof() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit {
            path: folder.path().join("audit.jsonl"),
            target: "dbname=shop".into(),
            actor: "anna".into(),
        };
        let signal = |pid| Action::Signal {
            signal: Signal::Terminate,
            backends: vec![Backend {
                identity: Identity {
                    pid,
                    backend_start: "b".into(),
                    since: None,
                },
                described: "app".into(),
                raw: None,
                idle: false,
                query: "SELECT 'planted'".into(),
            }],
            rule: None,
        };
        let minute = |minute: u32| format!("2026-01-01T00:{minute:02}:00Z");
        for (id, at) in [(1, 0), (2, 10), (3, 11), (4, 50)] {
            let id = ActionId(id);
            audit.intent(&minute(at), id, &signal(id.0.into())).unwrap();
            if id.0 != 3 {
                let gone = Outcome::Signalled(vec![Verdict::Gone]);
                audit.outcome(&minute(at), id, &gone).unwrap();
            }
        }
        let epoch_ms = 1_767_225_600_000;
        let window = (epoch_ms + 5 * 60_000, epoch_ms + 20 * 60_000);
        let told = between(&audit.path, window, 3_600).unwrap();
        assert_eq!(
            told,
            [
                "2026-01-01 01:10:00 +01:00, by anna: terminate pid 2 (app) — gone (read back from pg_stat_activity) \
                 (on dbname=shop)",
                "2026-01-01 01:11:00 +01:00, by anna: terminate pid 3 (app) — no outcome is on record (on dbname=shop)",
            ]
        );
        assert_eq!(between(Path::new("/none"), window, 0), Ok(Vec::new()));
        assert!(between(folder.path(), window, 0).is_err());
    }
}
