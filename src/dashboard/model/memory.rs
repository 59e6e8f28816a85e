//! State that derivations keep between samples.

use super::Model;
use super::hosting::Hosts;
use super::learning::Kinds;
use super::notifying::Notifying;
use super::reporting::Reporting;
use crate::dashboard::compare::oltp::Oltp;
use crate::dashboard::compare::statements::{Key, Statements};
use crate::dashboard::event::Moment;
use crate::dashboard::panels::{
    bloat, nodes, point_locks, pooler, replication, scans, snapshots, statements, views, waits, wal,
};
use crate::dashboard::xid_clock::XidClock;
use crate::pg::Table;
use crate::text::Clean;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What of the memory takes most room. Models of the past hold it compressed.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::dashboard) struct Bulk {
    waits: waits::Memory,
    statements: statements::Memory,
}

impl Model {
    /// Takes it out of the model.
    pub(in crate::dashboard) fn take_bulk(&mut self) -> Bulk {
        Bulk {
            waits: std::mem::take(&mut self.memory.waits),
            statements: std::mem::take(&mut self.memory.statements),
        }
    }

    /// Puts it back.
    pub(in crate::dashboard) fn put_bulk(&mut self, bulk: Bulk) {
        (self.memory.waits, self.memory.statements) = (bulk.waits, bulk.statements);
    }
}

/// State that derivations keep between samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) xids: XidClock,
    pub(super) snapshots: snapshots::Memory,
    pub(super) bloat: bloat::Memory,
    pub(super) replication: replication::Memory,
    pub(super) nodes: nodes::Memory,
    pub(super) point_locks: point_locks::Memory,
    /// The backends that are server connections of the pooler, as of the last sample of backends.
    pub(super) behind_pooler: HashMap<i64, pooler::Behind>,
    pub(super) hosts: Hosts,
    pub(super) scans: scans::Memory,
    pub(super) views: views::Memory,
    pub(super) wal: wal::Memory,
    pub(super) statements: statements::Memory,
    pub(super) waits: waits::Memory,
    /// Samples of statements, a minute apart, oldest first.
    pub(super) earlier: VecDeque<Arc<Statements>>,
    /// The last plan of each statement that was asked for, and when.
    pub(super) plans: HashMap<Key, (Moment, Vec<Clean>)>,
    /// Number of samples of the counters so far, with those for which room was left.
    pub(super) taken: u64,
    /// OLTP figures before the mark, for as long as it is ago.
    pub(super) before: Option<Oltp>,
    /// Version and schema of pg_stat_statements, once known.
    pub(super) extensions: Option<Table>,
    pub(super) kinds: Kinds,
    pub(super) own: OwnWork,
    pub(super) reset: Option<Moment>,
    pub(super) canary: Option<String>,
    pub(super) shop: bool,
    /// True if texts of pg_stat_statements cannot be read here.
    pub(super) without_texts: bool,
    /// Time at which the server was last shown again after it had been in the background.
    pub(super) returned: Option<Moment>,
    pub(super) cost_mark: Option<(Moment, f64)>,
    pub(super) server_ms: f64,
    /// The report that is to be written, while panels are read for it.
    pub(super) reporting: Option<Reporting>,
    pub(super) notifying: Notifying,
    /// Time at which panels were last read because of a danger.
    pub(super) read_in_danger: Option<Moment>,
}

/// Transactions of this program's own sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnWork {
    /// Transactions finished by the fast session so far.
    pub(super) fast: f64,
    /// Transactions finished by the other sessions so far.
    pub(super) others: f64,
    /// Both at the last sample of the server's counters, and the time of that sample.
    pub(super) before: Option<(f64, f64, Moment)>,
}
