//! Sends statements to the destination that the router selects, waits for the session's own writes, and repairs wrong
//! decisions.
//!
//! The interface to the pools is [`Lanes`]: a source of sessions for each lane. The OLAP pool's role cannot write. A
//! statement refused for that (SQLSTATE 25006) outside a transaction has had no effect: it is run again on the primary,
//! and counted. So is a read that the replica could not finish.
//!
//! With a replica, a task looks at both servers ([`ReplicaStatus`]). It begins with the first statement or
//! [`Executor::ready`], keeps a session on each server, and ends with the executor.

mod columns;
mod conversation;

use super::counts::Recorder;
use super::lanes::Loan;
use super::watch::{Watch, watch};
use super::{Lane, Lsn, Node, Pool, ReplicaState, Router};
use crate::pg::{Answer, Client, PgError, Statement, Table};
use futures_util::FutureExt;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

pub use super::breaker::{Policy, WAIT_BOUND, WAIT_MARGIN};
pub use super::counts::{Counts, Fallback, Waits};
pub use super::lanes::{Lanes, Refusal, Targets};
pub use super::watch::ReplicaStatus;
pub use conversation::{Conversation, Ran};

/// Queries the position after a write.
const POSITION: Statement = Statement {
    name: "router_position",
    types: &[],
    sql: include_str!("../../queries/router/position.sql"),
};

/// Sends statements; one executor serves all clients. It needs a tokio runtime with a clock.
pub struct Executor<L: Lanes> {
    router: Router,
    lanes: Arc<L>,
    watch: Arc<Watch>,
    task: OnceLock<AbortHandle>,
    recorder: Mutex<Recorder>,
    renewal: Mutex<Option<Interval>>,
    kept: Duration,
}

impl<L: Lanes> Executor<L> {
    /// Returns an executor with this router over these lanes, with the usual [`Policy`].
    pub fn new(router: Router, lanes: L) -> Self {
        Self::with_policy(router, lanes, Policy::default())
    }

    /// Returns an executor with this policy.
    pub fn with_policy(router: Router, lanes: L, policy: Policy) -> Self {
        Self {
            router,
            lanes: Arc::new(lanes),
            watch: Arc::new(Watch::new(policy)),
            task: OnceLock::new(),
            recorder: Mutex::default(),
            renewal: Mutex::default(),
            // An interval of 0 is none.
            kept: policy.kept.max(Duration::from_millis(1)),
        }
    }

    /// Starts the conversation of a new client.
    pub fn conversation(&self) -> Conversation<'_, L> {
        Conversation::new(self)
    }

    /// Waits until the replica was looked at for the first time, 2 s at most; before that it gets no reads. Returns its
    /// state; `None` if there is no replica.
    pub async fn ready(&self) -> Option<ReplicaStatus> {
        if self.lanes.has_replica() {
            self.begin_to_watch();
            self.watch.looked().await;
        }
        self.replica_status()
    }

    /// Returns the router.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Returns the source of sessions.
    pub fn lanes(&self) -> &L {
        &self.lanes
    }

    /// Returns the totals so far.
    pub fn counts(&self) -> Counts {
        self.recorder
            .lock()
            .map(|recorder| recorder.counts())
            .unwrap_or_default()
    }

    /// Returns the state of the replica and of its breaker; `None` if there is no replica.
    pub fn replica_status(&self) -> Option<ReplicaStatus> {
        self.lanes.has_replica().then(|| self.watch.status())
    }

    fn record(&self, what: impl FnOnce(&mut Recorder)) {
        if let Ok(mut recorder) = self.recorder.lock() {
            what(&mut recorder);
        }
    }

    fn begin_to_watch(&self) {
        self.task.get_or_init(|| {
            let task = watch(Arc::clone(&self.lanes), Arc::clone(&self.watch));
            tokio::spawn(task).abort_handle()
        });
    }

    /// Returns the replica's known progress, or why it gets no reads.
    fn replica(&self) -> ReplicaState {
        if !self.lanes.has_replica() {
            return ReplicaState::Absent;
        }
        self.begin_to_watch();
        match self.watch.replayed() {
            Ok(replayed) => ReplicaState::Replayed(replayed),
            Err(why) => ReplicaState::Barred(why),
        }
    }

    /// Returns a position after everything that was committed until `at`: one that was seen since, or the primary's now.
    /// `None` if it would be in vain to ask: what was not seen yet is too recent for the policy.
    async fn position_after(&self, at: Instant) -> Option<Option<Position>> {
        if let Some(lsn) = self.watch.written_since(at) {
            return Some(Some(Position { lsn, flushed: true }));
        }
        if !self.watch.waits_for_unflushed() {
            return None;
        }
        Some(self.position_now().await)
    }

    async fn position_now(&self) -> Option<Position> {
        let lane = Lane {
            node: Node::Primary,
            pool: Pool::Oltp,
        };
        let loan = Loan::take(&*self.lanes, lane).await.ok()?;
        let answer = loan.client()?.run(&POSITION, &[]).await.ok()?;
        loan.give_back();
        position(&answer.table)
    }

    /// Clears the router's caches when they have expired.
    async fn renew(&self) {
        let over = self.renewal.lock().ok().is_some_and(|mut renewal| {
            let renewal = renewal.get_or_insert_with(|| {
                let mut renewal = interval(self.kept);
                renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
                renewal
            });
            renewal.tick().now_or_never().is_some()
        });
        if over {
            self.router.forget().await;
        }
    }
}

impl<L: Lanes> Drop for Executor<L> {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

/// A position of the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    lsn: Lsn,
    /// True if it was flushed, and so sent to the replica.
    flushed: bool,
}

/// Reads the answer of [`POSITION`].
fn position(table: &Table) -> Option<Position> {
    let at = |name: &str| table.first(name).text()?.parse::<Lsn>().ok();
    let lsn = at("written")?;
    Some(Position {
        lsn,
        flushed: at("flushed").is_some_and(|flushed| flushed >= lsn),
    })
}

/// Returns the replay progress of this session's server.
pub async fn replica_state(client: &Client) -> Result<ReplicaState, PgError> {
    let Answer { table, .. } = client.run(&super::watch::SERVED, &[]).await?;
    let replayed = table
        .first("replayed")
        .text()
        .and_then(|text| text.parse().ok());
    Ok(match (table.first("standby").text(), replayed) {
        (Some("t"), Some(replayed)) => ReplicaState::Replayed(replayed),
        // It was promoted: it is a primary now, and may no longer be a copy of this one.
        _ => ReplicaState::Unavailable,
    })
}
