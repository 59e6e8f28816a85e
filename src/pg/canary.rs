//! The point query that is timed: what a client feels.

use super::client::Client;
use super::conninfo::Target;
use super::sampler::{OPENING, SessionConfig, SessionId, Wake, open};
use futures_util::future::join;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Times a point query on its own session: five times a second by default, reported once per `every`.
pub async fn canary(
    target: Target,
    config: SessionConfig,
    mut sql: watch::Receiver<Option<String>>,
    pace: Duration,
    reports: Sender<(Vec<f64>, u32)>,
    mut wake: Wake,
) {
    // Its connection troubles are those of the fast session, which reports them.
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
                opened = open(SessionId::Canary, &target, &config, &quiet, &mut wake) => opened,
                () = reports.closed() => None,
            };
            let Some(client) = opened else { return };
            config.ended.fetch_add(OPENING, Ordering::Relaxed);
            let timed = time_points(&client, &config, &mut sql, pace, &reports).await;
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

/// How many point queries are timed before they are reported.
const CANARY_BATCH: usize = 5;
/// So many come at a faster pace when a session is new: percentiles are known after a few seconds.
const SOON: (u32, Duration) = (100, Duration::from_millis(50));

/// Times point queries until the session fails (`Some`) or nobody listens any more (`None`).
async fn time_points(
    client: &Client,
    config: &SessionConfig,
    sql: &mut watch::Receiver<Option<String>>,
    pace: Duration,
    reports: &Sender<(Vec<f64>, u32)>,
) -> Option<()> {
    let ticking = |pace| {
        let mut ticker = tokio::time::interval(pace);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticker
    };
    let mut ticker = ticking(pace.min(SOON.1));
    let mut timed = 0;
    // The first query on a fresh session loads its catalogue caches: it is not what clients see.
    let statement = sql.borrow().clone().unwrap_or_default();
    config.ended.fetch_add(1, Ordering::Relaxed);
    let warm = timeout(config.deadline, client.query(&statement, &[])).await;
    let mut failed = u32::from(!matches!(warm, Ok(Ok(_))));
    let mut latencies = Vec::with_capacity(CANARY_BATCH);
    loop {
        ticker.tick().await;
        timed += 1;
        if timed == SOON.0 {
            ticker = ticking(pace);
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
