//! Sampling sessions: tasks that each own a session, run statements, and report the answers.
//!
//! Statements submitted together travel in one round trip. A lost session is reopened with growing pauses; errors are
//! reported, never printed.

pub(crate) mod shared;

use super::client::Client;
use super::client::session::Settings;
use super::conninfo::Target;
use super::error::{Class, PgError};
use super::peer::Peer;
use super::table::Table;
use super::{column_store, console};
use futures_util::future::join3;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep, timeout};

use shared::{Answer, Shared};

/// Identifier of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SessionId {
    /// For cheap statements, at every interval.
    Fast,
    /// For statements that may take long.
    Slow,
    /// A session of the OLAP pool.
    Olap(u8),
    /// For the point query.
    Canary,
    /// For the admin console of the pooler.
    Pooler,
    /// For watching the OLAP pool's own server.
    Replica,
    /// For what the OLAP pool asks, on the watched server, while its own server must not be read.
    StandIn,
    /// For the column store, by `htap-top columnar serve`.
    Columnar,
}

/// Report of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Report {
    /// The session was opened.
    Opened {
        /// The session.
        session: SessionId,
        /// The server it is connected to.
        peer: Peer,
    },
    /// The session was closed or could not be opened.
    Lost {
        /// The session.
        session: SessionId,
        /// Reason of the failure.
        error: PgError,
        /// Number of failed attempts in a row.
        attempt: u32,
        /// Milliseconds until the next attempt; `None` if only the user can fix the problem.
        retry_in_ms: Option<u64>,
    },
    /// Number of transactions that the sessions to the watched server have ended so far.
    Ended {
        /// Those of the fast session, since the program started.
        fast: u64,
        /// Those of the other sessions.
        others: u64,
    },
    /// A statement has an answer.
    Answered {
        /// The number of the job.
        id: u16,
        /// Milliseconds until the answer was complete, counted from the request or from the previous answer.
        took_ms: f64,
        /// The rows, or the error.
        outcome: Result<Table, PgError>,
    },
}

/// A statement to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Number that is returned with the answer.
    pub id: u16,
    /// Text of the statement.
    pub sql: Arc<str>,
    /// True to use the text protocol, for statements with unknown result types.
    pub as_text: bool,
    /// True for a one-off statement, which is not prepared.
    pub once: bool,
}

/// What a session is connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// PostgreSQL, perhaps through a pooler.
    Postgres,
    /// PgBouncer's admin console, which has no settings and knows no statements but its own.
    Console,
    /// The column store, whose statements end after this time.
    ColumnStore(Duration),
}

/// Configuration of a session.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a property by itself"
)]
pub struct SessionConfig {
    /// Settings of the session.
    pub settings: Settings,
    /// True to run each statement in a read-only REPEATABLE READ transaction of its own.
    pub transaction: bool,
    /// Client-side deadline per batch; the server's statement_timeout is shorter.
    pub deadline: Duration,
    /// True to connect only when the first statement arrives.
    pub lazy: bool,
    /// The same, but the session is opened again as soon as it is lost.
    pub late: bool,
    /// True to answer statements with the error if no session can be opened for them, because they can be asked elsewhere.
    pub hands_back: bool,
    /// What it is connected to.
    pub kind: ServerKind,
    /// Number of transactions that this session, and those that share the count, have ended.
    pub ended: Tally,
    /// The count of the other sessions to the same server.
    pub others: Tally,
}

impl SessionConfig {
    /// Returns the report of ended transactions, including the coming one: the first statement of the fast session
    /// reads the server's counters, which include this session's own work.
    fn told(&self) -> Report {
        Report::Ended {
            fast: self.ended.load(Ordering::Relaxed) + 1,
            others: self.others.load(Ordering::Relaxed),
        }
    }
}

/// A counter that several sessions share.
pub type Tally = Arc<AtomicU64>;

/// Number of transactions for opening and setting up a session.
pub(super) const OPENING: u64 = 2;

/// A change wakes sessions that wait for their next attempt to connect. It also restarts an attempt that fails at that
/// moment, because the attempt may have missed the repair.
pub type Wake = watch::Receiver<()>;

/// Number of statements of a session's first sample that are answered before the rest is sent: what a user looks at first.
const FIRST: usize = 2;

/// The queue that one or several sessions take their statements from.
pub type Queue = Arc<Mutex<Receiver<Vec<Job>>>>;

/// Runs a session until the queue or the receiver of the reports is gone.
pub async fn run(
    session: SessionId,
    target: Target,
    config: SessionConfig,
    queue: Queue,
    reports: Sender<Report>,
    mut wake: Wake,
) {
    let mut pending = None;
    let mut late = config.late;
    loop {
        if (config.lazy || std::mem::take(&mut late)) && pending.is_none() {
            pending = queue.lock().await.recv().await;
            if pending.is_none() {
                return;
            }
        }
        let opening = open(session, &target, &config, &reports, &mut wake, |error| {
            if config.hands_back {
                handed_back(pending.take(), &queue, error)
            } else {
                Vec::new()
            }
        });
        let Some(client) = opening.await else {
            return;
        };
        config.ended.fetch_add(OPENING, Ordering::Relaxed);
        let opened = Report::Opened {
            session,
            peer: client.peer.clone(),
        };
        if reports.send(opened).await.is_err() {
            return;
        }
        match serve(session, &client, &config, &queue, &reports, pending.take()).await {
            None => return client.close().await,
            Some((error, unasked)) => {
                pending = unasked;
                let lost = Report::Lost {
                    session,
                    error,
                    attempt: 0,
                    retry_in_ms: Some(0),
                };
                if reports.send(lost).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Answers all statements that wait with the error.
fn handed_back(pending: Option<Vec<Job>>, queue: &Queue, error: &PgError) -> Vec<Report> {
    let mut jobs = pending.unwrap_or_default();
    if let Ok(mut queue) = queue.try_lock() {
        jobs.extend(std::iter::from_fn(|| queue.try_recv().ok()).flatten());
    }
    let jobs = jobs.into_iter();
    let refused = jobs.map(|job| Report::Answered {
        id: job.id,
        took_ms: 0.0,
        outcome: Err(error.clone()),
    });
    refused.collect()
}

/// Opens and sets up a session, retrying as long as necessary; `None` if the receiver of the reports is gone. After each
/// attempt that fails, what `failed` returns is reported, too.
pub async fn open(
    session: SessionId,
    target: &Target,
    config: &SessionConfig,
    reports: &Sender<Report>,
    wake: &mut Wake,
    mut failed: impl FnMut(&PgError) -> Vec<Report>,
) -> Option<Client> {
    let mut attempt = 0;
    loop {
        wake.mark_unchanged();
        let opened = match config.kind {
            ServerKind::Postgres => Client::open_to_watch(target, &config.settings).await,
            ServerKind::Console => console::open(target).await,
            ServerKind::ColumnStore(longest) => column_store::open(target, longest).await,
        };
        let error = match opened {
            Ok(client) => return Some(client),
            Err(error) => error,
        };
        attempt += 1;
        for report in failed(&error) {
            reports.send(report).await.ok()?;
        }
        let pause = patience(session, &error, attempt);
        let retry_in_ms = pause.map(|pause| pause.as_millis() as u64);
        reports
            .send(Report::Lost {
                session,
                error,
                attempt,
                retry_in_ms,
            })
            .await
            .ok()?;
        let pause = async {
            match pause {
                Some(pause) => sleep(pause).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = pause => {}
            woken = wake.changed() => woken.ok()?,
            () = reports.closed() => return None,
        }
    }
}

/// Returns the pause before the next attempt. A watched server that is down rejects at once and is asked often, so that
/// the screen recovers within a second of its return; other servers less often, a full server rarely.
fn patience(session: SessionId, error: &PgError, attempt: u32) -> Option<Duration> {
    let (first_ms, cap_ms) = match (error.class, error.code()) {
        (Class::Configuration, _) => return None,
        (Class::BackOff, "53300") => (250, 30_000),
        (Class::Statement, _) => (1_000, 30_000),
        _ if matches!(session, SessionId::Fast | SessionId::Canary) => (100, 400),
        _ => (100, 1_000),
    };
    let grown: u64 = first_ms << attempt.saturating_sub(1).min(10);
    let capped = grown.min(cap_ms);
    Some(Duration::from_millis(
        capped - capped / 4 + rand::random_range(0..=capped / 4),
    ))
}

/// Answers statements until the session fails or no more are submitted (`None`). The error comes with the statements
/// that were not answered through no fault of their own, because the answer to an earlier one exceeded a limit.
async fn serve(
    session: SessionId,
    client: &Client,
    config: &SessionConfig,
    queue: &Queue,
    reports: &Sender<Report>,
    first: Option<Vec<Job>>,
) -> Option<(PgError, Option<Vec<Job>>)> {
    let mut next = first;
    let mut shared = Shared::default();
    loop {
        let jobs = if let Some(jobs) = next.take() {
            jobs
        } else {
            tokio::select! {
                jobs = async { queue.lock().await.recv().await } => jobs?,
                () = client.closed() => {
                    let error = PgError::new(Class::Reconnect, "the server closed the connection");
                    return Some((client.why_refused().unwrap_or(error), None));
                }
            }
        };
        let mut jobs = jobs;
        if shared.begins(&jobs) && jobs.len() > FIRST {
            next = Some(jobs.split_off(FIRST));
        }
        let begun = Instant::now();
        let work = async {
            shared.learn(client, config, &jobs).await;
            if session == SessionId::Fast {
                reports.send(config.told()).await.ok()?;
            }
            Some(shared.answer(client, config, &jobs).await)
        };
        let Ok(answers) = timeout(config.deadline, work).await else {
            // The statements may still be running: the session is discarded, and statement_timeout ends them.
            let error = PgError::deadline(config.deadline.as_secs_f64());
            late(&jobs, begun, &error, reports).await?;
            return Some((error, None));
        };
        let mut fatal = None;
        let mut unasked = Vec::new();
        for (job, Answer { took_ms, outcome }) in jobs.iter().zip(answers?) {
            if let Err(error) = &outcome
                && !error.session_survives()
            {
                // The first statement that fails is the one whose answer is too long.
                if fatal.is_some() && client.why_refused().is_some() {
                    unasked.push(job.clone());
                    continue;
                }
                fatal = Some(error.clone());
            }
            if reports
                .send(Report::Answered {
                    id: job.id,
                    took_ms,
                    outcome,
                })
                .await
                .is_err()
            {
                return None;
            }
        }
        if let Some(error) = fatal {
            return Some((error, Some(unasked).filter(|jobs| !jobs.is_empty())));
        }
    }
}

/// Reports that none of these statements was answered in time.
async fn late(
    jobs: &[Job],
    begun: Instant,
    error: &PgError,
    reports: &Sender<Report>,
) -> Option<()> {
    let took_ms = begun.elapsed().as_secs_f64() * 1000.0;
    for job in jobs {
        let late = Report::Answered {
            id: job.id,
            took_ms,
            outcome: Err(error.clone()),
        };
        reports.send(late).await.ok()?;
    }
    Some(())
}

/// Runs one statement.
pub(super) async fn answer(
    client: &Client,
    config: &SessionConfig,
    job: &Job,
) -> Result<Table, PgError> {
    match config.kind {
        ServerKind::Console => return console::ask(client, &job.sql, Instant::now()).await,
        ServerKind::ColumnStore(_) => {
            return client.noting(column_store::ask(client, &job.sql)).await;
        }
        ServerKind::Postgres => {}
    }
    config.ended.fetch_add(1, Ordering::Relaxed);
    let ask = async {
        if job.as_text {
            client.query_panel(&job.sql).await
        } else if config.transaction || job.once {
            client.query(&job.sql, &[]).await
        } else {
            client.query_again(&job.sql).await
        }
    };
    let ask = client.as_written(&job.sql, ask);
    if config.transaction {
        let (opening, table, closing) = join3(
            client.begin_as("ISOLATION LEVEL REPEATABLE READ READ ONLY", ""),
            ask,
            client.commit(),
        )
        .await;
        opening?;
        let table = table?;
        closing?;
        Ok(table)
    } else {
        ask.await
    }
}
