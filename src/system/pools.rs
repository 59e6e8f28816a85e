//! The session pools of the shop: one for many short transactions, one for a few long queries.
//!
//! Resource limits of statements (work_mem, statement_timeout, parallel workers) are set on the roles by `htap-top
//! init`, so that they apply to every client and also through a connection pooler.

use crate::pg::pool::{Pool, PoolError, PoolSize, Pooled};
use crate::pg::{PgError, Settings, Target};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Role of the OLTP pool.
pub const OLTP_ROLE: &str = "htap_oltp";
/// Role of the OLAP pool.
pub const OLAP_ROLE: &str = "htap_olap";

/// Sizes of the pools, and the limits on concurrent analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// OLTP sessions; 10 to 100 in the case study.
    pub oltp: PoolSize,
    /// OLAP sessions; 5 to 20 in the case study.
    pub olap: PoolSize,
    /// Limits on OLAP queries.
    pub admission: AdmissionLimits,
}

impl Default for Limits {
    fn default() -> Self {
        let wait = Duration::from_secs(5);
        Self {
            oltp: PoolSize {
                min: 10,
                max: 100,
                wait,
            },
            olap: PoolSize {
                min: 5,
                max: 20,
                wait,
            },
            admission: AdmissionLimits::default(),
        }
    }
}

/// Limits of an [`Admission`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Number of OLAP queries that run at once, at least 1; by default the number of processors of this machine. More
    /// would not finish sooner, and would take processors from the transactions.
    pub running: usize,
    /// Number of queries that may wait; further ones are rejected.
    pub queue: usize,
    /// Time after which a waiting query is rejected.
    pub deadline: Duration,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            running: std::thread::available_parallelism().map_or(2, usize::from),
            queue: 100,
            deadline: Duration::from_secs(10),
        }
    }
}

/// The two pools over one server.
#[derive(Clone, Debug)]
pub struct Pools {
    oltp: Pool,
    olap: Pool,
    admission: Admission,
}

impl Pools {
    /// Returns pools without open sessions. The target's user is replaced by the pools' roles.
    pub fn new(target: &Target, limits: Limits) -> Self {
        let application = Settings::of_application;
        Self {
            oltp: Pool::new(target.with_user(OLTP_ROLE), application(), limits.oltp),
            olap: Pool::new(target.with_user(OLAP_ROLE), application(), limits.olap),
            admission: Admission::new(limits.admission),
        }
    }

    /// Returns the pools with these sessions: those for transactions, and those for queries.
    pub fn of(oltp: Pool, queries: Pool, admission: AdmissionLimits) -> Self {
        Self {
            oltp,
            olap: queries,
            admission: Admission::new(admission),
        }
    }

    /// Returns the OLTP pool.
    pub fn oltp(&self) -> &Pool {
        &self.oltp
    }

    /// Returns the OLAP pool, for its figures; queries go through [`Self::ask`].
    pub fn olap(&self) -> &Pool {
        &self.olap
    }

    /// Returns the admission control of the OLAP pool.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Returns a session for an OLAP query, after waiting for a turn.
    pub async fn ask(&self) -> Result<OlapSession, OlapError> {
        let turn = self.admission.enter().await?;
        let session = self.olap.get().await?;
        Ok(OlapSession {
            session,
            _turn: turn,
        })
    }
}

/// A session of the OLAP pool and the right to use it. Dropping it admits the next query.
#[derive(Debug)]
pub struct OlapSession {
    session: Pooled,
    _turn: Turn,
}

impl OlapSession {
    /// Closes the session instead of returning it to the pool.
    pub(super) fn discard(self) {
        drop(Pooled::take(self.session));
    }
}

impl std::ops::Deref for OlapSession {
    type Target = crate::pg::Client;

    fn deref(&self) -> &Self::Target {
        &self.session
    }
}

/// Reason why an OLAP query has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum OlapError {
    /// It was not admitted.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// No session was available.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The server returned an error, or the connection was lost.
    #[error(transparent)]
    Server(#[from] PgError),
}

impl OlapError {
    /// Returns the SQLSTATE, or a keyword if the server sent none.
    pub fn code(&self) -> &str {
        match self {
            Self::Rejected(Rejected::QueueFull(_)) => "rejected: queue full",
            Self::Rejected(Rejected::Late(_)) => "rejected: late",
            Self::Pool(error) => error.kind(),
            Self::Server(error) => error.kind(),
        }
    }

    /// Returns true if the session or the connection failed, not the query.
    pub fn is_of_session(&self) -> bool {
        match self {
            Self::Rejected(_) => false,
            Self::Pool(_) => true,
            Self::Server(error) => error.is_of_session(),
        }
    }
}

/// Reason why an OLAP query was not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The queue was full.
    #[error("rejected: {0} OLAP queries were already waiting")]
    QueueFull(usize),
    /// It waited for the whole deadline.
    #[error("rejected: no OLAP query ended within {:.1} s", .0.as_secs_f64())]
    Late(Duration),
}

/// Admits a limited number of OLAP queries, in order of arrival. Clones share their state.
#[derive(Clone, Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    turns: Arc<Semaphore>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    admitted: AtomicU64,
    queued: AtomicU64,
    full: AtomicU64,
    late: AtomicU64,
}

/// Totals of an [`Admission`] since its creation, and its current state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionCounts {
    /// Queries admitted.
    pub admitted: u64,
    /// Queries that had to wait before they were admitted or rejected.
    pub queued: u64,
    /// Queries rejected because the queue was full.
    pub rejected_full: u64,
    /// Queries rejected because they had waited too long.
    pub rejected_late: u64,
    /// Queries running now.
    pub running: usize,
    /// Queries waiting now.
    pub waiting: usize,
}

/// The right to run one OLAP query; dropping it ends the turn.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Admission {
    /// Returns an admission control with these limits.
    pub fn new(limits: AdmissionLimits) -> Self {
        let limits = AdmissionLimits {
            running: limits.running.clamp(1, Semaphore::MAX_PERMITS),
            ..limits
        };
        Self {
            limits,
            turns: Arc::new(Semaphore::new(limits.running)),
            counts: Arc::default(),
        }
    }

    /// Waits for a turn.
    pub async fn enter(&self) -> Result<Turn, Rejected> {
        let permit = match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.queue().await?,
        };
        self.counts.admitted.fetch_add(1, Ordering::Relaxed);
        Ok(Turn(permit))
    }

    async fn queue(&self) -> Result<OwnedSemaphorePermit, Rejected> {
        let waiting = Waiting::begin(&self.counts.waiting);
        if waiting.before >= self.limits.queue {
            self.counts.full.fetch_add(1, Ordering::Relaxed);
            return Err(Rejected::QueueFull(self.limits.queue));
        }
        self.counts.queued.fetch_add(1, Ordering::Relaxed);
        let turn = Arc::clone(&self.turns).acquire_owned();
        // The semaphore is never closed, so only the deadline can fail.
        if let Ok(Ok(permit)) = timeout(self.limits.deadline, turn).await {
            return Ok(permit);
        }
        self.counts.late.fetch_add(1, Ordering::Relaxed);
        Err(Rejected::Late(self.limits.deadline))
    }

    /// Returns the current counts.
    pub fn counts(&self) -> AdmissionCounts {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AdmissionCounts {
            admitted: get(&self.counts.admitted),
            queued: get(&self.counts.queued),
            rejected_full: get(&self.counts.full),
            rejected_late: get(&self.counts.late),
            running: self
                .limits
                .running
                .saturating_sub(self.turns.available_permits()),
            waiting: self.counts.waiting.load(Ordering::Relaxed),
        }
    }
}

/// Counts one waiting query until it is dropped.
struct Waiting<'a> {
    counter: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn begin(counter: &'a AtomicUsize) -> Self {
        let before = counter.fetch_add(1, Ordering::Relaxed);
        Self { counter, before }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(running: usize, queue: usize) -> Admission {
        Admission::new(AdmissionLimits {
            running,
            queue,
            deadline: Duration::from_secs(1),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_room_is_rejected_and_counted() {
        let admission = admission(1, 1);
        let first = admission.enter().await.unwrap();
        let second = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter().await }
        });
        tokio::task::yield_now().await;
        assert_eq!(admission.counts().waiting, 1);
        assert_eq!(admission.enter().await.unwrap_err(), Rejected::QueueFull(1));
        drop(first);
        let second = second.await.unwrap().unwrap();
        // Time is paused: it advances as soon as all tasks are idle.
        assert_eq!(
            admission.enter().await.unwrap_err(),
            Rejected::Late(Duration::from_secs(1))
        );
        let counts = admission.counts();
        assert_eq!(counts.running, 1);
        drop(second);
        assert_eq!(
            admission.counts(),
            AdmissionCounts {
                admitted: 2,
                queued: 2,
                rejected_full: 1,
                rejected_late: 1,
                running: 0,
                waiting: 0
            }
        );
    }

    #[tokio::test]
    async fn who_gives_up_waiting_makes_room() {
        let admission = admission(1, 1);
        let _first = admission.enter().await.unwrap();
        let second = tokio::spawn({
            let admission = admission.clone();
            async move { admission.enter().await }
        });
        tokio::task::yield_now().await;
        second.abort();
        assert!(second.await.is_err());
        assert_eq!(admission.counts().waiting, 0);
    }
}
