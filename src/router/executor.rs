//! Sends statements to the destination that the router selects, and repairs wrong decisions.
//!
//! The interface to the pools is [`Lanes`]: a source of sessions for each lane. The OLAP pool's role cannot write. A
//! statement refused for that (SQLSTATE 25006) outside a transaction has had no effect: it is run again on the primary,
//! and counted.

use super::{Decision, Lane, Lsn, Node, Outcome, Pool, ReplicaState, Router, Rule, Session};
use crate::pg::{Class, Client, Param, PgError, Settings, Table, Target};
use futures_util::FutureExt;
use futures_util::future::join;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

/// read_only_sql_transaction
const READ_ONLY: &str = "25006";
/// Errors that only a standby raises: serialization_failure, if it removed rows that a query still needed;
/// feature_not_supported, for unlogged relations; object_not_in_prerequisite_state, for operations that recovery
/// forbids.
const STANDBY: [&str; 3] = ["40001", "0A000", "55000"];
/// Maximum wait for a replica to replay the session's last write.
pub const CATCH_UP: Duration = Duration::from_millis(20);
/// Interval between two checks of the replica's progress.
const LOOK: Duration = Duration::from_millis(1);
/// Maximum age of the router's caches, which do not see other sessions' DDL.
pub const KEPT: Duration = Duration::from_secs(60);

/// A source of sessions by lane: pools, with their limits and their admission control.
pub trait Lanes: Send + Sync {
    /// A session that is returned when it is dropped. If it was dropped inside a transaction, or with session state, it
    /// must be cleaned (ROLLBACK, DISCARD ALL) or closed before another client gets it.
    type Held: Deref<Target = Client> + Send + Sync;

    /// Returns a session of the lane as soon as one is available. If a replica's session is not available the primary
    /// is tried, except after an error of [`Class::Timeout`]: an overload must not move to another server.
    fn take(&self, lane: Lane) -> impl Future<Output = Result<Self::Held, PgError>> + Send;

    /// Returns true if there is a replica.
    fn has_replica(&self) -> bool;
}

/// Opens a new connection for every statement or transaction: for tests and small tools.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The primary, with a role that writes.
    pub oltp: Target,
    /// The primary, with a role that cannot write.
    pub olap: Target,
    /// The replica: targets for OLTP and OLAP.
    pub replica: Option<(Target, Target)>,
}

impl Lanes for Targets {
    type Held = Box<Client>;

    async fn take(&self, lane: Lane) -> Result<Box<Client>, PgError> {
        let target = match (lane.node, lane.pool, &self.replica) {
            (Node::Primary, Pool::Oltp, _) => &self.oltp,
            (Node::Primary, Pool::Olap, _) => &self.olap,
            (Node::Replica, Pool::Oltp, Some((oltp, _))) => oltp,
            (Node::Replica, Pool::Olap, Some((_, olap))) => olap,
            (Node::Replica, _, None) => {
                return Err(PgError::new(Class::Configuration, "there is no replica"));
            }
        };
        Ok(Box::new(
            Client::open(&target.for_whole_answers(), &Settings::default()).await?,
        ))
    }

    fn has_replica(&self) -> bool {
        self.replica.is_some()
    }
}

/// Totals of decisions and repairs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Number of statements by rule and lane.
    pub decisions: BTreeMap<(Rule, String), u64>,
    /// Number of statements that a read-only session refused and that were run again on the primary.
    pub misroutes: u64,
    /// Number of reads that the replica could not serve and that ran on the primary.
    pub fallbacks: u64,
}

/// Sends statements; one executor serves all clients.
pub struct Executor<L> {
    router: Router,
    lanes: L,
    replayed: AtomicU64,
    counts: Mutex<Counts>,
    renewal: Mutex<Option<Interval>>,
}

/// The statements of one client, in order.
pub struct Conversation<'a, L: Lanes> {
    executor: &'a Executor<L>,
    session: Session,
    held: Option<L::Held>,
    /// The statement that began the open transaction.
    begun: Option<String>,
}

/// Result of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// The rows that it returned.
    pub table: Table,
    /// The decision that selected its destination.
    pub decision: Decision,
    /// True if it ran on the primary after it had failed in a read-only session or on the replica.
    pub again: bool,
}

impl<L: Lanes> Executor<L> {
    /// Returns an executor with this router over these lanes.
    pub fn new(router: Router, lanes: L) -> Self {
        Self {
            router,
            lanes,
            replayed: AtomicU64::new(0),
            counts: Mutex::default(),
            renewal: Mutex::default(),
        }
    }

    /// Starts the conversation of a new client.
    pub fn conversation(&self) -> Conversation<'_, L> {
        Conversation {
            executor: self,
            session: Session::default(),
            held: None,
            begun: None,
        }
    }

    /// Returns the router.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Returns the totals so far.
    pub fn counts(&self) -> Counts {
        self.counts
            .lock()
            .map(|counts| counts.clone())
            .unwrap_or_default()
    }

    fn count(&self, what: impl FnOnce(&mut Counts)) {
        if let Ok(mut counts) = self.counts.lock() {
            what(&mut counts);
        }
    }

    /// Returns the replica's known progress, which never goes back.
    fn replica(&self) -> ReplicaState {
        if self.lanes.has_replica() {
            ReplicaState::Replayed(Lsn(self.replayed.load(Ordering::Relaxed)))
        } else {
            ReplicaState::Absent
        }
    }

    /// Returns a session on the replica once that has replayed `wrote`; `None` if it takes too long.
    async fn catch_up(&self, pool: Pool, wrote: Lsn) -> Option<L::Held> {
        let waiting = async {
            let node = Node::Replica;
            let held = self.lanes.take(Lane { node, pool }).await.ok()?;
            loop {
                let ReplicaState::Replayed(replayed) = replica_state(&held).await.ok()? else {
                    return None;
                };
                self.replayed.fetch_max(replayed.0, Ordering::Relaxed);
                if replayed >= wrote {
                    return Some(held);
                }
                sleep(LOOK).await;
            }
        };
        timeout(CATCH_UP, waiting).await.ok().flatten()
    }

    /// Clears the router's caches when they have expired.
    async fn renew(&self) {
        let over = self.renewal.lock().ok().is_some_and(|mut renewal| {
            let renewal = renewal.get_or_insert_with(|| {
                let mut renewal = interval(KEPT);
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

impl<L: Lanes> Conversation<'_, L> {
    /// Returns the state that ties the client to a connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Runs a statement at its destination. With parameters the select list must contain built-in types only; without,
    /// cells arrive as text.
    pub async fn run(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Ran, PgError> {
        let executor = self.executor;
        if self.session.holds() && self.held.is_none() {
            // The previous statement was abandoned while it ran.
            self.session.lost();
            let why = "the connection is gone, and the transaction or the state in it";
            return Err(PgError::new(Class::Reconnect, why));
        }
        executor.renew().await;
        let types: Vec<&str> = params.iter().map(Param::sql_type).collect();
        let assessment = executor.router.assess(&self.session, sql, &types).await;
        let decide =
            |session: &Session, replica| executor.router.decide(session, &assessment, replica);
        let mut decision = decide(&self.session, executor.replica());
        if decision.restarts {
            self.restart(&decision).await?;
        }
        let mut caught_up = None;
        if let (Rule::ReadYourWrites, Some(wrote)) = (decision.rule, self.session.wrote())
            && wrote != Lsn::UNKNOWN
        {
            caught_up = executor.catch_up(decision.pool, wrote).await;
            decision = decide(&self.session, executor.replica());
        }
        let held = match self.held.take().or(caught_up) {
            Some(held) => held,
            None => match executor.lanes.take(decision.lane()).await {
                Ok(held) => held,
                Err(error) if decision.node == Node::Replica && error.class != Class::Timeout => {
                    decision = decide(&self.session, ReplicaState::Unavailable);
                    executor.count(|counts| counts.fallbacks += 1);
                    executor.lanes.take(decision.lane()).await?
                }
                Err(error) => return Err(error),
            },
        };
        executor.count(|counts| {
            let key = (decision.rule, decision.lane().to_string());
            *counts.decisions.entry(key).or_default() += 1;
        });
        let first = self.send(held, &decision, sql, params).await;
        let elsewhere = match &first {
            Err(error) => self.elsewhere(error, &decision),
            Ok(_) => None,
        };
        let again = elsewhere.is_some();
        let table = match elsewhere {
            None => first?,
            Some(elsewhere) => {
                let held = executor.lanes.take(elsewhere.lane()).await?;
                self.send(held, &elsewhere, sql, params).await?
            }
        };
        Ok(Ran {
            table,
            decision,
            again,
        })
    }

    /// Restarts the transaction on the primary; it has read nothing on the replica yet.
    async fn restart(&mut self, decision: &Decision) -> Result<(), PgError> {
        self.held = None;
        self.session.lost();
        let Some(begun) = self.begun.clone() else {
            let why = "it is no longer known how the transaction began";
            return Err(PgError::new(Class::Reconnect, why));
        };
        let opening = Decision {
            restarts: false,
            effects: crate::sql::lex::lex(&begun)
                .map(|tokens| vec![super::effect::effects(&tokens)])
                .unwrap_or_default(),
            ..decision.clone()
        };
        let held = self.executor.lanes.take(opening.lane()).await?;
        self.send(held, &opening, &begun, &[]).await?;
        Ok(())
    }

    /// Sends a statement and records its outcome; keeps the session as long as it is needed.
    async fn send(
        &mut self,
        held: L::Held,
        decision: &Decision,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Table, PgError> {
        let asked = async {
            if params.is_empty() {
                held.query_text(sql, usize::MAX).await
            } else {
                held.query(sql, params).await
            }
        };
        let wants_lsn = self.session.wants_lsn(decision);
        let (answer, lsn) = if wants_lsn {
            join(asked, insert_lsn(&held)).await
        } else {
            (asked.await, Ok(None))
        };
        let outcome = match &answer {
            // No replica is known to have replayed the write.
            Ok(_) if wants_lsn => Outcome::Done(lsn.ok().flatten().or(Some(Lsn::UNKNOWN))),
            Ok(_) => Outcome::Done(None),
            Err(error) if error.session_survives() => Outcome::Failed(error.code()),
            Err(_) if wants_lsn => Outcome::Lost(Some(Lsn::UNKNOWN)),
            Err(_) => Outcome::Lost(None),
        };
        if decision.effects.iter().any(super::effect::Effects::begins) {
            self.begun = Some(sql.to_owned());
        }
        self.session.settle(decision, outcome);
        if held.is_closed() {
            self.session.settle(decision, Outcome::Lost(None));
        }
        if self.session.holds() {
            self.held = Some(held);
        }
        if answer.is_ok() && decision.effects.iter().any(|effect| effect.ddl) {
            self.executor.router.forget().await;
        }
        answer
    }

    /// Returns the destination at which to repeat a failed statement, if there is one.
    fn elsewhere(&self, error: &PgError, decision: &Decision) -> Option<Decision> {
        let reader = decision.node == Node::Replica || decision.pool == Pool::Olap;
        if !reader || self.session.holds() || decision.rule == Rule::InTransaction {
            return None;
        }
        let mut elsewhere = decision.clone();
        elsewhere.node = Node::Primary;
        if error.code() == READ_ONLY {
            self.executor.count(|counts| counts.misroutes += 1);
            elsewhere.pool = Pool::Oltp;
            elsewhere.only_reads = false;
        } else if decision.node == Node::Replica
            && (matches!(error.class, Class::Reconnect | Class::BackOff)
                || STANDBY.contains(&error.code()))
        {
            self.executor.count(|counts| counts.fallbacks += 1);
        } else {
            return None;
        }
        Some(elsewhere)
    }
}

/// Returns the log position after everything that was committed on this session.
async fn insert_lsn(client: &Client) -> Result<Option<Lsn>, PgError> {
    let sql = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text AS lsn";
    let table = client.query(sql, &[]).await?;
    Ok(table.first("lsn").text().and_then(|text| text.parse().ok()))
}

/// Returns the replay progress of this session's server.
pub async fn replica_state(client: &Client) -> Result<ReplicaState, PgError> {
    let sql = "SELECT pg_catalog.pg_is_in_recovery() AS standby, \
               pg_catalog.pg_last_wal_replay_lsn()::text AS replayed";
    let table = client.query(sql, &[]).await?;
    let replayed = table
        .first("replayed")
        .text()
        .and_then(|text| text.parse().ok());
    Ok(match (table.first("standby").is_true(), replayed) {
        (true, Some(replayed)) => ReplicaState::Replayed(replayed),
        // It was promoted: it is a primary now, and may no longer be a copy of this one.
        _ => ReplicaState::Unavailable,
    })
}
