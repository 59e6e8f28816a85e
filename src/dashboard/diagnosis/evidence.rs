//! The data that gauges and rules judge.

use crate::config::Config;
use crate::dashboard::history::Oltp;
use crate::dashboard::panels::pooler::Behind;
use crate::dashboard::rows::{
    Row, Rows, columnar, console, host as host_rows, nodes, read, stream,
};
use crate::pg::PgError;
use crate::text::Clean;
use std::collections::HashMap;

/// Backends and prepared transactions.
pub(super) type Backends<'a> = Rows<'a, read::Backend>;

/// The data to judge. A panel has no rows while its contents are not known.
#[derive(Debug)]
pub struct Evidence<'a> {
    /// Configuration, including the targets.
    pub config: &'a Config,
    /// OLTP figures.
    pub oltp: &'a Oltp,
    /// Backends with derived columns, the most harmful first.
    pub(crate) activity: Backends<'a>,
    /// Lock waits and their blockers, read from the lock table if the server hides backends from the current
    /// role: every role may read that table.
    pub(crate) locks: Backends<'a>,
    /// The timed point query, the only statement that p99 measures.
    pub point_query: &'a str,
    /// Sessions that hold, or wait for, an exclusive lock on the point query's table while the point query
    /// fails.
    pub(crate) point_locks: Rows<'a, read::PointLock>,
    /// Holders of the xmin horizon, oldest first.
    pub(crate) snapshots: Rows<'a, read::Holder>,
    /// Tables, the one with the most dead rows first.
    pub(crate) bloat: Rows<'a, read::Relation>,
    /// Views, the latest first.
    pub(crate) views: Rows<'a, read::View>,
    /// True unless the panel of views is off.
    pub has_views: bool,
    /// Server counters.
    pub(crate) database: Row<'a, read::Counters>,
    /// Sessions counted by role, application and state.
    pub(crate) sessions: Rows<'a, read::SessionCount>,
    /// Facts that the server reported about itself.
    pub(crate) facts: Row<'a, read::Fact>,
    /// Temporary files of backends, largest first.
    pub(crate) temp_files: Rows<'a, read::TempFiles>,
    /// Reads, writes and evictions per second, by backend type and context (16 and later).
    pub(crate) io: Rows<'a, read::Io>,
    /// WAL and checkpoints.
    pub(crate) wal: Row<'a, read::Wal>,
    /// Ages of the oldest transaction and multixact ids, per database.
    pub(crate) wraparound: Rows<'a, read::Wraparound>,
    /// Replicas and slots.
    pub(crate) replication: Rows<'a, read::Replication>,
    /// This server and the nodes beside it.
    pub(crate) nodes: Rows<'a, nodes::Node>,
    /// The stages of the stream of orders.
    pub(crate) stream: Rows<'a, stream::Stage>,
    /// The column store as a whole.
    pub(crate) columnar: Row<'a, columnar::Store>,
    /// True while business panels are read from the watched server, because the OLAP pool's own must not be read.
    pub olap_stands_in: bool,
    /// Sequences that are at least half used up, the most used first.
    pub(crate) sequences: Rows<'a, read::Sequence>,
    /// Wait events of all sessions over the last minute.
    pub(crate) wait_events: Rows<'a, read::Wait>,
    /// Seconds since the server's counters were reset, if a reset was seen recently.
    pub reset_ago_s: Option<f64>,
    /// Slowest answer of the OLAP panels, or age of the oldest running OLAP statement, in milliseconds.
    pub olap_ms: Option<f64>,
    /// True if some OLAP panel has the relations it needs.
    pub has_olap: bool,
    /// Use of the machine, its own first; empty if the host is not read.
    pub(crate) host: Rows<'a, host_rows::HostUse>,
    /// The pooler, if one is watched.
    pub(crate) pools: Option<Pools<'a>>,
}

/// The pools of the pooler.
#[derive(Debug)]
pub(crate) struct Pools<'a> {
    /// One for each database and user.
    pub(crate) rows: Rows<'a, console::ClientPool>,
    /// The databases of its configuration.
    pub(crate) databases: Rows<'a, console::PooledDatabase>,
    /// By pid, the backends of the watched server that clients have through it.
    pub(crate) behind: &'a HashMap<i64, Behind>,
    /// The failure to reach it.
    pub(crate) lost: Option<LostPooler<'a>>,
}

/// A pooler that cannot be reached.
#[derive(Debug)]
pub(crate) struct LostPooler<'a> {
    /// Its address: `10.0.0.7:6432`.
    pub(crate) place: &'a Clean,
    /// The last error.
    pub(crate) error: &'a PgError,
    /// Seconds since it was lost.
    pub(crate) since_s: f64,
    /// True if it has answered before.
    pub(crate) answered: bool,
}

impl<'a> Evidence<'a> {
    /// The backends that show which session waits for which.
    pub(crate) fn waits(&self) -> Backends<'a> {
        if self.oltp.restricted > 0 {
            self.locks
        } else {
            self.activity
        }
    }
}
