//! Reports while OLAP is isolated: sentences for the terminal, lines for the audit file.

use serde::Serialize;
use std::io;

/// A line of the audit file.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Note<'a> {
    /// About to begin.
    Begins {
        /// The mechanism.
        mechanism: &'a str,
        /// OLAP's share.
        share: String,
        /// The hard limit.
        limit: Option<String>,
        /// What is set up.
        steps: Vec<String>,
        /// The server's first process.
        postmaster: i32,
    },
    /// Processes were moved in.
    MovedIn(Vec<Move>),
    /// A backend was lifted out.
    Lifted {
        /// The backend.
        pid: i32,
        /// Why.
        why: &'a str,
    },
    /// Everything was undone.
    Ended {
        /// Why.
        why: &'a str,
        /// What could not be undone.
        failed: &'a [String],
    },
}

/// A process that was moved.
#[derive(Debug, Serialize)]
pub(crate) struct Move {
    pub(super) pid: i32,
    /// Start in clock ticks since the boot.
    pub(super) started: u64,
    pub(super) class: &'static str,
    pub(super) leader: Option<i32>,
    pub(super) from: String,
    pub(super) to: &'static str,
}

/// Where changes are reported.
pub(crate) trait Report: Send {
    /// Writes a sentence to the terminal.
    fn say(&mut self, what: &str);
    /// Writes a line of the audit file.
    fn note(&mut self, note: &Note<'_>) -> io::Result<()>;
}
