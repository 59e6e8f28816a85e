//! The queues of the sampling sessions.

use super::sessions::{
    FAST_TIMEOUT, Opener, SLOW_TIMEOUT, analytic, column_store, console, monitor,
};
use super::{Targets, logged};
use crate::config::Config;
use crate::dashboard::event::{Event, Request};
use crate::dashboard::panels::spec::Pool;
use crate::pg::sampler::{Job, Report, SessionConfig, SessionId, Tally};
use crate::pg::{Class, PgError};
use tokio::sync::mpsc::Sender;

/// The queues that sessions take their statements from; they end with their queue.
pub(super) struct Queues {
    fast: Sender<Vec<Job>>,
    slow: Sender<Vec<Job>>,
    olap: Sender<Vec<Job>>,
    pooler: Sender<Vec<Job>>,
    replica: Sender<Vec<Job>>,
    stand_in: Sender<Vec<Job>>,
    columnar: Sender<Vec<Job>>,
}

impl Queues {
    /// Starts the sessions with these servers. `done` counts the transactions with the watched one, except those of its fast
    /// session.
    pub(super) fn open(
        opener: &mut Opener,
        config: &Config,
        targets: &Targets,
        done: &Tally,
    ) -> Self {
        let elsewhere = targets.tally(done);
        let watched = monitor(FAST_TIMEOUT, &Tally::default(), done);
        let fast = opener.open([SessionId::Fast], &targets.oltp, &watched);
        // What is on the screen first comes from the fast session, which a server starts sooner alone.
        let watched = SessionConfig {
            late: true,
            ..monitor(SLOW_TIMEOUT, done, done)
        };
        let slow = opener.open([SessionId::Slow], &targets.oltp, &watched);
        let asked = analytic(&config.olap, targets.stand_in.is_some(), &elsewhere);
        let numbers = (0..config.olap.connections).map(SessionId::Olap);
        let olap = opener.open(numbers, &targets.olap, &asked);
        let own = targets.stand_in.as_deref();
        let watched = monitor(FAST_TIMEOUT, &elsewhere, &elsewhere);
        let replica = own.map(|_| SessionId::Replica);
        let replica = opener.open(replica, &targets.olap, &watched);
        // One statement at a time: the watched server has other work.
        let asked = analytic(&config.olap, true, done);
        let stand_in = own.map(|_| SessionId::StandIn);
        let stand_in = opener.open(stand_in, own.unwrap_or(&targets.oltp), &asked);
        let console_of = targets.pooler.as_deref();
        let pooler = console_of.map(|_| SessionId::Pooler);
        let pooler = opener.open(pooler, console_of.unwrap_or(&targets.oltp), &console());
        let store = targets.columnar.as_deref();
        let columnar = store.map(|_| SessionId::Columnar);
        let asked = column_store(&config.olap);
        let columnar = opener.open(columnar, store.unwrap_or(&targets.oltp), &asked);
        Self {
            fast,
            slow,
            olap,
            pooler,
            replica,
            stand_in,
            columnar,
        }
    }

    /// Queues statements. `tell` gets the errors of those that no queue has room for.
    pub(super) fn sample(&self, requests: Vec<Request>, tell: &Sender<Event>) {
        let (mut fast, mut slow) = (Vec::new(), Vec::new());
        let (mut pooler, mut replica) = (Vec::new(), Vec::new());
        for request in requests {
            let job = Job {
                id: request.feed.0,
                sql: request.sql,
                as_text: request.as_text,
                once: request.once,
            };
            match request.pool {
                Pool::Oltp => fast.push(job),
                Pool::Slow => slow.push(job),
                Pool::Pooler => pooler.push(job),
                Pool::Replica => replica.push(job),
                // One job at a time, so that several sessions share the work.
                Pool::Olap if request.here => hand_over(&self.stand_in, vec![job], tell),
                Pool::Olap => hand_over(&self.olap, vec![job], tell),
                // The same, so that each has the whole time limit.
                Pool::Columnar => hand_over(&self.columnar, vec![job], tell),
            }
        }
        hand_over(&self.fast, fast, tell);
        hand_over(&self.slow, slow, tell);
        hand_over(&self.pooler, pooler, tell);
        hand_over(&self.replica, replica, tell);
    }
}

/// Queues jobs. A queue has room for more statements than all panels can send at once; if it is full nevertheless, the
/// panels get an error instead of waiting forever.
fn hand_over(queue: &Sender<Vec<Job>>, jobs: Vec<Job>, tell: &Sender<Event>) {
    if jobs.is_empty() {
        return;
    }
    if let Err(full) = queue.try_send(jobs) {
        let jobs = full.into_inner();
        logged::not_asked(jobs.len());
        for job in jobs {
            let outcome = Err(PgError::new(
                Class::Timeout,
                "too many statements are waiting",
            ));
            let _ = tell.try_send(Event::Reported(Report::Answered {
                id: job.id,
                took_ms: 0.0,
                outcome,
            }));
        }
    }
}
