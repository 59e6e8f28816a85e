//! Looks at the replica for all conversations of an executor: one task, at intervals, and in quick succession only while
//! somebody waits for its replay.

use super::Node;
use super::breaker::{Ahead, Breaker, Policy, Seen};
use super::lanes::Lanes;
use super::session::{Barred, Lsn};
use crate::pg::{Answer, Client, PgError, Statement};
use futures_util::future::join;
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

const PRIMARY: Statement = Statement {
    name: "router_primary",
    types: &[],
    sql: include_str!("../../queries/router/primary.sql"),
};
const REPLICA: Statement = Statement {
    name: "router_replica",
    types: &[],
    sql: include_str!("../../queries/router/replica.sql"),
};
/// Sent with each read on the replica.
pub(super) const SERVED: Statement = Statement {
    name: "router_served",
    types: &[],
    sql: include_str!("../../queries/router/served.sql"),
};

/// Deadline of a look, including its connection.
const DEADLINE: Duration = Duration::from_secs(2);
/// Pauses between two looks while somebody waits: the first, and the longest.
const SOON: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(4));

/// State of the replica and its breaker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ReplicaStatus {
    /// Reason why it gets no reads: the breaker is open. `None` if it is closed.
    pub barred: Option<Barred>,
    /// Seconds since when that is so.
    pub since_s: f64,
    /// How often the breaker was opened.
    pub opened: u64,
    /// WAL bytes that it lacks, as last seen; `None` if not known.
    pub lag_bytes: Option<u64>,
    /// Milliseconds since the primary wrote the first of them; `None` if not known. Resolution: [`Policy::look`].
    pub lag_ms: Option<f64>,
}

/// What is known about both servers.
#[derive(Debug)]
struct State {
    breaker: Breaker,
    writer_delay: Duration,
    block: u64,
    /// Position of the primary, and when it was asked for.
    written: Option<(Instant, Lsn)>,
}

/// The part that waiting conversations follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Progress {
    replayed: u64,
    closed: bool,
    /// True once both servers were looked at.
    looked: bool,
}

/// State shared by the conversations and the task that watches the replica.
#[derive(Debug)]
pub(super) struct Watch {
    policy: Policy,
    state: Mutex<State>,
    progress: watch::Sender<Progress>,
    wake: Notify,
    waiting: AtomicUsize,
}

/// What the answer of [`SERVED`] means for the read behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// It counts.
    Fit,
    /// The server has not replayed the session's last write: it was restarted.
    Behind,
    /// It is not the replica that was looked at.
    Barred(Barred),
}

impl Watch {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: Mutex::new(State {
                breaker: Breaker::new(policy, Instant::now()),
                writer_delay: Duration::from_millis(200),
                block: 8192,
                written: None,
            }),
            progress: watch::Sender::default(),
            wake: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        let state = self.state();
        let (lag_bytes, lag) = state.breaker.lag();
        ReplicaStatus {
            barred: state.breaker.barred(),
            since_s: state.breaker.since().elapsed().as_secs_f64(),
            opened: state.breaker.opened(),
            lag_bytes,
            lag_ms: lag.map(|lag| lag.as_secs_f64() * 1e3),
        }
    }

    /// Returns how far the replica is known to be, or the reason why it gets no reads.
    pub(super) fn replayed(&self) -> Result<Lsn, Barred> {
        match self.state().breaker.barred() {
            Some(why) => Err(why),
            None => Ok(Lsn(self.progress.borrow().replayed)),
        }
    }

    /// Returns the position that a replica must have replayed to hold everything before `lsn`: behind the header of a
    /// page there is nothing yet, and a replica stops before it.
    pub(super) fn before_header(&self, lsn: Lsn) -> Lsn {
        let block = self.state().block.max(1);
        // XLogPageHeaderData, and XLogLongPageHeaderData at the start of a segment.
        match lsn.0 % block {
            header @ (24 | 40) => Lsn(lsn.0 - header),
            _ => lsn,
        }
    }

    /// Opens the breaker, because a statement met this.
    pub(super) fn failed(&self, why: Barred) {
        let mut state = self.state();
        // Those that fail together are one failure: they do not delay the next look.
        if state.breaker.barred() == Some(why) {
            return;
        }
        state.breaker.failed(why, Instant::now());
        drop(state);
        self.progress.send_modify(|progress| {
            progress.closed = false;
            progress.replayed = 0;
        });
        self.wake.notify_one();
    }

    /// Waits until both servers were looked at for the first time.
    pub(super) async fn looked(&self) {
        // The sender lives as long as this.
        let _ = self
            .progress
            .subscribe()
            .wait_for(|progress| progress.looked)
            .await;
    }

    /// Waits until the replica has replayed `wrote`; false if it takes longer than the policy allows, or the breaker
    /// opens. `flushed` says that the primary had flushed it.
    pub(super) async fn catches_up(&self, wrote: Lsn, flushed: bool) -> (bool, Duration) {
        let limit = self.policy.wait(flushed, self.state().writer_delay);
        let begun = Instant::now();
        if limit.is_zero() {
            return (false, Duration::ZERO);
        }
        let _waiting = Waiting::begin(&self.waiting);
        self.wake.notify_one();
        let mut progress = self.progress.subscribe();
        let over = |progress: &Progress| !progress.closed || progress.replayed >= wrote.0;
        let waited = timeout(limit, progress.wait_for(over)).await;
        let in_time = waited.is_ok_and(|seen| seen.is_ok_and(|seen| seen.closed));
        (in_time, begun.elapsed())
    }

    /// Judges the answer of [`SERVED`].
    pub(super) fn served(&self, answer: &Answer, wrote: Option<Lsn>) -> Served {
        let Some(seen) = seen(answer) else {
            return Served::Barred(Barred::Lost);
        };
        if !seen.standby {
            return Served::Barred(Barred::Promoted);
        }
        let state = self.state();
        match state.breaker.started() {
            Some(started) if started == seen.started => {}
            // It was restarted, or is barred meanwhile: it has to be looked at first.
            _ => return Served::Barred(state.breaker.barred().unwrap_or(Barred::Lost)),
        }
        drop(state);
        self.progress.send_if_modified(|progress| {
            let further = progress.closed && seen.replayed.0 > progress.replayed;
            if further {
                progress.replayed = seen.replayed.0;
            }
            further
        });
        if wrote.is_some_and(|wrote| wrote > seen.replayed) {
            return Served::Behind;
        }
        Served::Fit
    }

    /// Returns a position of the primary that was asked for after `at`.
    pub(super) fn written_since(&self, at: Instant) -> Option<Lsn> {
        let (asked, lsn) = self.state().written?;
        (asked > at).then_some(lsn)
    }

    /// Returns true if a write that was not flushed is waited for at all.
    pub(super) fn waits_for_unflushed(&self) -> bool {
        let delay = self.state().writer_delay;
        !self.policy.wait(false, delay).is_zero()
    }

    fn judge(&self, asked: Instant, primary: Option<Answer>, replica: Option<Seen>) {
        let mut state = self.state();
        let ahead = primary.and_then(|answer| {
            if let Some(delay) = answer.int(0, "writer_delay_ms") {
                state.writer_delay = Duration::from_millis(delay.unsigned_abs());
            }
            if let Some(block) = answer.int(0, "block") {
                state.block = block.unsigned_abs();
            }
            let written: Lsn = answer.text(0, "written")?.parse().ok()?;
            let system = answer.text(0, "system").and_then(|text| text.parse().ok());
            Some((written, system))
        });
        drop(state);
        let ahead = ahead.map(|(written, system)| Ahead {
            written: self.before_header(written),
            system,
        });
        let mut state = self.state();
        if let Some(ahead) = ahead {
            state.written = Some((asked, ahead.written));
        }
        let restarted = state.breaker.started() != replica.map(|seen| seen.started);
        state.breaker.judge(ahead, replica, Instant::now());
        let closed = state.breaker.barred().is_none();
        drop(state);
        self.progress.send_modify(|progress| {
            progress.looked = true;
            progress.closed = closed;
            progress.replayed = match replica {
                Some(seen) if closed && !restarted => progress.replayed.max(seen.replayed.0),
                Some(seen) if closed => seen.replayed.0,
                _ => 0,
            };
        });
    }
}

/// Counts one waiting read until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Reads the answer of [`REPLICA`] or [`SERVED`]; `None` if it lacks what matters.
fn seen(answer: &Answer) -> Option<Seen> {
    let standby = answer.text(0, "standby")? == "t";
    let replayed = answer
        .text(0, "replayed")
        .and_then(|text| text.parse().ok());
    Some(Seen {
        standby,
        // A promoted server may have forgotten it.
        replayed: replayed.or((!standby).then_some(Lsn(0)))?,
        started: answer.int(0, "started")?,
        paused: answer.text(0, "paused") == Some("t"),
        system: answer.text(0, "system").and_then(|text| text.parse().ok()),
    })
}

/// Looks at both servers until it is aborted.
pub(super) async fn watch<L: Lanes>(lanes: Arc<L>, watch: Arc<Watch>) {
    let (mut primary, mut replica) = (None, None);
    let mut soon = SOON.0;
    let mut looked: Option<Instant> = None;
    loop {
        let due = looked.is_none_or(|at| at.elapsed() >= watch.state().breaker.pause());
        if due {
            let asked = Instant::now();
            let (ahead, seen_now) = join(
                look(&*lanes, Node::Primary, &mut primary, &PRIMARY),
                look(&*lanes, Node::Replica, &mut replica, &REPLICA),
            )
            .await;
            watch.judge(asked, ahead, seen_now.as_ref().and_then(seen));
            looked = Some(Instant::now());
        } else if watch.waiting.load(Ordering::Relaxed) > 0 && watch.replayed().is_ok() {
            match look(&*lanes, Node::Replica, &mut replica, &SERVED).await {
                Some(answer) => match watch.served(&answer, None) {
                    Served::Barred(why) => watch.failed(why),
                    Served::Fit | Served::Behind => {}
                },
                None => watch.failed(Barred::Lost),
            }
        }
        let until = watch.state().breaker.pause();
        let mut pause = until.saturating_sub(looked.map_or(until, |at| at.elapsed()));
        if watch.waiting.load(Ordering::Relaxed) > 0 && watch.replayed().is_ok() {
            pause = pause.min(soon);
            soon = (soon * 3 / 2).min(SOON.1);
            sleep(pause).await;
        } else {
            soon = SOON.0;
            // A wake-up means that somebody waits, or that a failure was seen, whose pause has begun.
            let _ = timeout(pause, watch.wake.notified()).await;
        }
    }
}

/// Asks a server, over the session that is kept for it; `None` if it does not answer.
async fn look<L: Lanes>(
    lanes: &L,
    node: Node,
    kept: &mut Option<L::Held>,
    question: &Statement,
) -> Option<Answer> {
    let asked = timeout(DEADLINE, async {
        let session = match kept.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => lanes.watch(node).await.ok()?,
        };
        let answer = ask(&session, question).await;
        Some((session, answer))
    });
    let (session, answer) = asked.await.ok().flatten()?;
    if let Ok(answer) = answer {
        *kept = Some(session);
        return Some(answer);
    }
    lanes.discard(session);
    None
}

async fn ask(session: &Client, question: &Statement) -> Result<Answer, PgError> {
    session.run(question, &[]).await
}
