//! Actions on the server, and their outcomes.

use crate::format;
use crate::keys::Keymap;
use crate::pg::PgError;
use crate::pg::admin::{Identity, Signal, Verdict};
use crate::pg::measure::Measured;
use crate::sql::mask::mask;
use crate::stream::pause::{Switched, Verdict as Heard};
use crate::system::refresh::{Mode, View};
use crate::text::Clean;
use serde::{Deserialize, Serialize};

/// Shown while an action waits until its intent is in the audit file.
pub const WRITING_AUDIT: &str = "writing the audit record …";

/// Number of an action in one run of the program.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ActionId(pub u32);

/// A backend as the user saw it when choosing to act.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// Its identity.
    pub identity: Identity,
    /// Description: `reports, olap, metabase, 50s`.
    pub described: Clean,
    /// The same with raw names, if these differ from the displayed ones; for the audit file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// True if it runs no statement.
    pub idle: bool,
    /// The beginning of its query.
    pub query: Clean,
}

/// The guard's rule that caused an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Its name.
    pub name: Clean,
    /// Act only if the session has been idle in its transaction for this many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_s: Option<u64>,
}

/// An action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Signals backends.
    Signal {
        /// The signal.
        signal: Signal,
        /// The backends.
        backends: Vec<Backend>,
        /// The guard's rule that caused it; `None` if a key did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rule: Option<Rule>,
    },
    /// Measures a table or an index exactly.
    Measure {
        /// Its OID.
        relid: i64,
        /// Its name.
        relation: String,
        /// Its raw name, if that differs from the displayed one; for the audit file.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        raw: Option<String>,
    },
    /// Refreshes a materialized view or an incremental summary.
    Refresh {
        /// The view.
        view: View,
        /// The mode.
        mode: Mode,
    },
    /// Pauses the relays of the stream.
    PauseRelay,
    /// Lets them go on.
    ResumeRelay,
}

impl Action {
    /// Returns how to cancel it while it runs, in a few words; empty if it takes only a moment.
    pub fn how_to_cancel(&self, keys: &Keymap) -> String {
        match self {
            Self::Signal { .. } | Self::PauseRelay | Self::ResumeRelay => String::new(),
            Self::Measure { .. } => keys.fill(" ({cancel} on its panel cancels)"),
            Self::Refresh { .. } => keys.fill(" ({cancel} on the views cancels)"),
        }
    }

    /// Returns a copy without the literals in others' statements, for storage.
    #[must_use]
    pub fn masked(&self) -> Self {
        let mut masked = self.clone();
        if let Self::Signal { backends, .. } = &mut masked {
            for backend in backends {
                backend.query = Clean::from(mask(backend.query.as_str()));
            }
        }
        masked
    }

    /// Describes it as the beginning of a log line.
    pub fn describe(&self) -> String {
        match self {
            Self::Signal {
                signal,
                backends,
                rule,
            } => {
                let verb = match signal {
                    Signal::Cancel => "cancel",
                    Signal::Terminate => "terminate",
                };
                let by = rule.as_ref().map(|rule| format!("guard {}: ", rule.name));
                let by = by.unwrap_or_default();
                match backends.as_slice() {
                    [one] => format!("{by}{verb} pid {} ({})", one.identity.pid, one.described),
                    many => format!("{by}{verb} {} backends", many.len()),
                }
            }
            Self::Measure { relation, .. } => format!("measure {relation}"),
            Self::Refresh { view, mode } => {
                let how = match mode {
                    Mode::Full => "",
                    Mode::Concurrent => " concurrently",
                    Mode::Incremental => " incrementally",
                };
                format!("refresh {view}{how}")
            }
            Self::PauseRelay => "pause the relay".to_owned(),
            Self::ResumeRelay => "resume the relay".to_owned(),
        }
    }
}

/// Result of an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// One verdict for each backend, in their order.
    Signalled(Vec<Verdict>),
    /// The view was refreshed, in this many milliseconds.
    Refreshed(f64),
    /// The relation was measured.
    Measured(Measured),
    /// Relays were paused or resumed.
    Switched(Switched),
    /// The user cancelled it; nothing has changed.
    Cancelled,
    /// The server refused it.
    Failed(PgError),
    /// The connection was lost meanwhile, so the result is unknown.
    Unknown(PgError),
    /// The intent could not be written to the audit file, so nothing was done.
    Unaudited(Clean),
}

impl Outcome {
    /// Returns a copy without the data that servers quote in errors, for storage.
    #[must_use]
    pub fn masked(&self) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(masked(error)),
            Self::Unknown(error) => Self::Unknown(masked(error)),
            Self::Signalled(verdicts) => {
                let verdicts = verdicts.iter().map(|verdict| match verdict {
                    Verdict::Refused(error) => Verdict::Refused(masked(error)),
                    Verdict::Unknown(error) => Verdict::Unknown(masked(error)),
                    other => other.clone(),
                });
                Self::Signalled(verdicts.collect())
            }
            other => other.clone(),
        }
    }
}

/// SQLSTATE classes of errors about values or keys, or with text from functions: anything they quote is data,
/// not a name.
const ABOUT_DATA: [&str; 5] = ["21", "22", "23", "P0", "XX"];

/// Returns a server's error without the literals in it. Its detail and hint may contain rows.
pub(super) fn masked(error: &PgError) -> PgError {
    let mut error = error.clone();
    if error.sqlstate.is_none() {
        // Raised by this program or by the connection.
        return error;
    }
    let of_data = ABOUT_DATA
        .iter()
        .any(|class| error.code().starts_with(class));
    let message = if error.code().starts_with("P0") {
        "?".to_owned()
    } else if of_data {
        mask(&error.message.as_str().replace('"', "'"))
    } else {
        mask(error.message.as_str())
    };
    error.message = Clean::from(message);
    let hidden = |text: &Option<Clean>| text.as_ref().map(|_| Clean::from("?"));
    error.detail = hidden(&error.detail);
    if of_data {
        error.hint = hidden(&error.hint);
    }
    error
}

/// Grade of a result, for colour and sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grade {
    /// In progress.
    Running,
    /// As intended, and verified.
    Good,
    /// Not achieved, not yet, or unknown.
    Doubtful,
    /// Refused or failed.
    Bad,
}

impl Outcome {
    /// Describes the result in one line, with its grade.
    pub fn describe(&self) -> (Grade, String) {
        match self {
            Self::Signalled(verdicts) => signalled(verdicts),
            Self::Refreshed(ms) => (Grade::Good, format!("done in {}", format::ms(*ms))),
            Self::Measured(measured) => (Grade::Good, told(*measured)),
            Self::Switched(switched) => heard(switched),
            Self::Cancelled => (Grade::Doubtful, "cancelled; nothing was changed".into()),
            Self::Failed(error) => (Grade::Bad, format!("failed: {error}")),
            Self::Unknown(error) => (Grade::Doubtful, format!("outcome unknown: {error}")),
            Self::Unaudited(why) => (
                Grade::Bad,
                format!("not done: the audit file cannot be written: {why}"),
            ),
        }
    }
}

/// Describes what the relay says.
fn heard(switched: &Switched) -> (Grade, String) {
    let before = if switched.changed {
        ""
    } else {
        "it was so before; "
    };
    let (grade, what) = match &switched.verdict {
        Heard::Obeyed => (
            Grade::Good,
            "done (read back from the relay's state)".to_owned(),
        ),
        Heard::Unled => (
            Grade::Doubtful,
            "no relay runs; it holds for the next one".to_owned(),
        ),
        Heard::Pending(state) => (
            Grade::Doubtful,
            format!("the relay still says {state}: it finishes its batch first"),
        ),
    };
    (grade, format!("{before}{what}"))
}

fn told(measured: Measured) -> String {
    let bytes = |bytes: i64| format::bytes(bytes as f64);
    let share = |part: i64, of: i64| part as f64 / (of as f64).max(1.0) * 100.0;
    match measured {
        Measured::Table {
            bytes: all,
            rows,
            dead_rows,
            dead_bytes,
            free_bytes,
        } => format!(
            "{}: {} rows; {} dead, {} ({:.1} %); free {} ({:.1} %)",
            bytes(all),
            format::count(rows as f64),
            format::count(dead_rows as f64),
            bytes(dead_bytes),
            share(dead_bytes, all),
            bytes(free_bytes),
            share(free_bytes, all)
        ),
        Measured::Index {
            bytes: all,
            density_pct,
            fragmentation_pct,
            unused_pages,
        } => format!(
            "{}: leaves {density_pct:.1} % full (90 % when just built), {fragmentation_pct:.1} % of them out of \
             order, {} pages unused",
            bytes(all),
            format::count(unused_pages as f64)
        ),
    }
}

fn signalled(verdicts: &[Verdict]) -> (Grade, String) {
    if let [verdict] = verdicts {
        return match verdict {
            Verdict::Changed => (
                Grade::Doubtful,
                "the session has changed meanwhile; nothing was sent".into(),
            ),
            Verdict::Refused(error) => (Grade::Bad, format!("refused, nothing was sent: {error}")),
            Verdict::Gone => (Grade::Good, "gone (read back from pg_stat_activity)".into()),
            Verdict::StillRunning => (
                Grade::Doubtful,
                "sent, but it is still running after 3 s".into(),
            ),
            Verdict::Unknown(error) => (Grade::Doubtful, format!("outcome unknown: {error}")),
        };
    }
    let count =
        |wanted: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| wanted(verdict)).count();
    let parts: Vec<String> = [
        (count(|v| matches!(v, Verdict::Gone)), "gone"),
        (
            count(|v| matches!(v, Verdict::StillRunning)),
            "still running",
        ),
        (
            count(|v| matches!(v, Verdict::Changed)),
            "changed, not sent",
        ),
        (count(|v| matches!(v, Verdict::Refused(_))), "refused"),
        (count(|v| matches!(v, Verdict::Unknown(_))), "unknown"),
    ]
    .into_iter()
    .filter(|(n, _)| *n > 0)
    .map(|(n, what)| format!("{n} {what}"))
    .collect();
    let all_gone = verdicts
        .iter()
        .all(|verdict| matches!(verdict, Verdict::Gone));
    (
        if all_gone {
            Grade::Good
        } else {
            Grade::Doubtful
        },
        parts.join(", "),
    )
}
