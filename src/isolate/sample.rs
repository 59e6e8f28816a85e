//! The sessions of the server, as the statement of each second returns them.

use crate::config::WorkClass;
use crate::dashboard::panels::classify::{Classifier, Session};
use crate::pg::Table;

/// A process of the server that has a session.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Backend {
    pub(super) pid: i32,
    /// The backend that a parallel worker works for.
    pub(super) leader: Option<i32>,
    pub(super) class: WorkClass,
    pub(super) kind: Kind,
    /// Start in epoch seconds; `None` if it is hidden.
    pub(super) started_s: Option<f64>,
    /// Start of the statement; identifies it.
    pub(super) query_start_s: Option<f64>,
    pub(super) state: String,
    pub(super) wait_type: String,
    pub(super) wait: String,
    /// The backends it waits for, if it waits for a lock.
    pub(super) blocked_by: Vec<i32>,
    /// Role and application.
    pub(super) described: String,
}

/// Kind of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Serves a client.
    Client,
    /// Works for another backend's statement.
    Worker,
    /// Any other process of the server: never touched.
    Other,
}

impl Backend {
    /// Returns true if it is inside of a statement.
    pub(super) fn is_busy(&self) -> bool {
        self.kind == Kind::Worker
            || self.state == "active"
            || self.state == "fastpath function call"
    }
}

/// Reads the rows. Classes are those of the dashboard's panel Queries.
pub(super) fn backends(table: &Table, classifier: &Classifier) -> Vec<Backend> {
    (0..table.rows.len())
        .filter_map(|row| backend(table, row, classifier))
        .collect()
}

fn backend(table: &Table, row: usize, classifier: &Classifier) -> Option<Backend> {
    let text = |name: &str| table.get(row, name).raw().unwrap_or_default();
    let pid = |name: &str| {
        let number = table.get(row, name).int();
        number.and_then(|number| i32::try_from(number).ok())
    };
    let session = Session {
        role: text("usename"),
        application: text("application_name"),
        database: text("datname"),
        backend_type: text("backend_type"),
        query: text("query"),
    };
    let shown = |name: &str| table.get(row, name).text().unwrap_or_default();
    let blocked_by = shown("blocked_by").split(',');
    Some(Backend {
        pid: pid("pid").filter(|pid| *pid > 1)?,
        leader: pid("leader_pid"),
        class: classifier.classify(&session),
        kind: match session.backend_type {
            "client backend" => Kind::Client,
            "parallel worker" => Kind::Worker,
            _ => Kind::Other,
        },
        started_s: table.get(row, "started_s").number(),
        query_start_s: table.get(row, "query_start_s").number(),
        state: shown("state").to_owned(),
        wait_type: shown("wait_event_type").to_owned(),
        wait: shown("wait_event").to_owned(),
        blocked_by: blocked_by.filter_map(|pid| pid.parse().ok()).collect(),
        described: match shown("application_name") {
            "" => shown("usename").to_owned(),
            application => format!("{}, {application}", shown("usename")),
        },
    })
}
