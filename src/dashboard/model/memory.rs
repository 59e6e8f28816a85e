//! What derivations remember between samples.

use super::learning::Kinds;
use crate::dashboard::event::Moment;
use crate::dashboard::panels::{
    bloat, point_locks, replication, scans, snapshots, statements, views, waits, wal,
};
use crate::dashboard::xid_clock::XidClock;
use crate::pg::Table;

/// What derivations remember between samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) xids: XidClock,
    pub(super) snapshots: snapshots::Memory,
    pub(super) bloat: bloat::Memory,
    pub(super) replication: replication::Memory,
    pub(super) point_locks: point_locks::Memory,
    pub(super) scans: scans::Memory,
    pub(super) views: views::Memory,
    pub(super) wal: wal::Memory,
    pub(super) statements: statements::Memory,
    pub(super) waits: waits::Memory,
    /// What is known of pg_stat_statements.
    pub(super) extensions: Option<Table>,
    pub(super) kinds: Kinds,
    pub(super) own: OwnWork,
    pub(super) reset: Option<Moment>,
    pub(super) canary: Option<String>,
    pub(super) shop: bool,
    /// The texts of pg_stat_statements cannot be read here.
    pub(super) without_texts: bool,
    pub(super) cost_mark: Option<(Moment, f64)>,
    pub(super) server_ms: f64,
}

/// What this program's own sessions have done on the server.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnWork {
    /// Transactions that the fast session had ended by now.
    pub(super) fast: f64,
    /// Those of the others.
    pub(super) others: f64,
    /// Both as they were at the last sample of the server's counters, and when that was.
    pub(super) before: Option<(f64, f64, Moment)>,
}
