//! The timed point query, which measures the latency that clients experience.

use super::client::Client;
use super::conninfo::Target;
use super::sampler::{OPENING, SessionConfig, SessionId, Wake, open};
use futures_util::future::join;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, timeout};

/// How often the point query is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Time between two executions.
    pub apart: Duration,
    /// True to run the first ones faster, so that percentiles are known within seconds.
    pub soon: bool,
}

impl Pace {
    /// Returns the pace of a server that is shown.
    pub fn soon(apart: Duration) -> Self {
        Self { apart, soon: true }
    }

    /// Returns the ticker, and the number of queries until it becomes slower.
    fn ticker(self) -> (Interval, Option<u32>) {
        let quick = self.soon.then_some(SOON.0);
        let apart = if self.soon {
            self.apart.min(SOON.1)
        } else {
            self.apart
        };
        let mut ticker = tokio::time::interval(apart);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        (ticker, quick)
    }
}

/// Times a point query on a session of its own: by default five times a second. Reports after several queries.
pub async fn canary(
    target: Target,
    config: SessionConfig,
    mut sql: watch::Receiver<Option<String>>,
    mut pace: watch::Receiver<Pace>,
    reports: Sender<(Vec<f64>, u32)>,
    mut wake: Wake,
) {
    // Its connection errors are not reported: the fast session reports the same ones.
    let (quiet, mut drain) = tokio::sync::mpsc::channel(8);
    let swallow = async move { while drain.recv().await.is_some() {} };
    let work = async {
        loop {
            while sql.borrow_and_update().is_none() {
                if sql.changed().await.is_err() {
                    return;
                }
            }
            let opened = tokio::select! {
                opened = open(SessionId::Canary, &target, &config, &quiet, &mut wake, |_| Vec::new()) => opened,
                () = reports.closed() => None,
            };
            let Some(client) = opened else { return };
            config.ended.fetch_add(OPENING, Ordering::Relaxed);
            let timed = time_points(&client, &config, &mut sql, &mut pace, &reports).await;
            if timed.is_none() || sql.has_changed().is_err() {
                return client.close().await;
            }
        }
    };
    tokio::select! {
        ((), ()) = join(swallow, std::future::pending()) => {}
        () = work => {}
    }
}

/// Number of point queries per report.
const CANARY_BATCH: usize = 5;
/// Number of queries that run at a faster pace after the opening of a session, and that pace.
const SOON: (u32, Duration) = (100, Duration::from_millis(50));

/// Times point queries until the session fails (`Some`) or the receiver is gone (`None`).
async fn time_points(
    client: &Client,
    config: &SessionConfig,
    sql: &mut watch::Receiver<Option<String>>,
    pace: &mut watch::Receiver<Pace>,
    reports: &Sender<(Vec<f64>, u32)>,
) -> Option<()> {
    let (mut ticker, mut quick) = pace.borrow_and_update().ticker();
    // Not timed: the first query of a new session loads its catalogue caches, which clients do not experience.
    let statement = sql.borrow().clone().unwrap_or_default();
    config.ended.fetch_add(1, Ordering::Relaxed);
    let warm = timeout(config.deadline, client.query(&statement, &[])).await;
    let mut failed = u32::from(!matches!(warm, Ok(Ok(_))));
    let mut latencies = Vec::with_capacity(CANARY_BATCH);
    loop {
        tokio::select! {
            _ = ticker.tick() => {}
            changed = pace.changed() => {
                changed.ok()?;
                (ticker, quick) = pace.borrow_and_update().ticker();
                continue;
            }
            changed = sql.changed() => {
                if changed.is_err() || sql.borrow().is_none() {
                    return Some(());
                }
                continue;
            }
        }
        quick = quick.map(|left| left.saturating_sub(1));
        if quick == Some(0) {
            let Pace { apart, .. } = *pace.borrow();
            (ticker, quick) = Pace { apart, soon: false }.ticker();
            ticker.tick().await;
        }
        let Some(statement) = sql.borrow_and_update().clone() else {
            return Some(());
        };
        let begun = Instant::now();
        config.ended.fetch_add(1, Ordering::Relaxed);
        let outcome = timeout(config.deadline, client.query(&statement, &[])).await;
        latencies.push(begun.elapsed().as_secs_f64() * 1000.0);
        let lost = match &outcome {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => !error.session_survives(),
            Err(_) => true,
        };
        failed += u32::from(!matches!(outcome, Ok(Ok(_))));
        if latencies.len() >= CANARY_BATCH || lost {
            reports
                .send((std::mem::take(&mut latencies), std::mem::take(&mut failed)))
                .await
                .ok()?;
        }
        if lost {
            return Some(());
        }
    }
}
