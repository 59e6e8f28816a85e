//! Refreshes: each materialized view at its own pace, those that read another one after it.

use super::session::Session;
use super::{Shared, count};
use crate::pg::{Param, PgError};
use crate::system::refresh::keeper::{Event, keep};
use crate::system::refresh::plan::{Pace, Plan};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Views refreshed one after the other by one session, and how often, in seconds. The quick one has a
/// session of its own, or it would wait for the slow ones.
const PACES: [(&[&str], u64); 3] = [
    (&["mart.sales_hourly_mv"], 3),
    (&["mart.user_behavior_mv"], 30),
    (&["mart.fact_sales_mv", "mart.daily_sales_summary"], 60),
];

/// The greatest age of the incremental summaries.
const FRESH: Duration = Duration::from_secs(2);

/// Rows of `htap.refresh_run` older than this are removed.
const KEEP: &str = "DELETE FROM htap.refresh_run WHERE started < now() - interval '30 minutes'";

pub(super) fn start(tasks: &mut JoinSet<()>, shared: &Shared) {
    tasks.spawn(merge(shared.clone()));
    for (views, seconds) in PACES {
        tasks.spawn(keep_fresh(shared.clone(), views, seconds));
    }
}

/// Keeps the incremental summaries fresh, but for the times when refreshes are to be missed.
async fn merge(shared: Shared) {
    let target = shared
        .target
        .with_user("htap_refresh")
        .with_application_name("htap-refresh");
    let plan = Plan {
        views: Vec::new(),
        mode: None,
        pace: Pace::Fresh(FRESH),
        oltp_limit: None,
    };
    loop {
        let keeping = keep(&target, &plan, |event| match event {
            Event::Ran { .. } => count(&shared.counters.refreshes),
            Event::Failed { .. } | Event::Lost(_) => count(&shared.counters.errors),
            Event::Waiting(_) | Event::Leading | Event::HeldBack { .. } => {}
        });
        let paused = async {
            while !shared.paused.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            _ = keeping => count(&shared.counters.errors),
            () = paused => {}
        }
        while shared.paused.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn keep_fresh(shared: Shared, views: &'static [&'static str], seconds: u64) {
    let mut session = shared.session("htap_refresh", "htap-refresh");
    let mut pace = tokio::time::interval(Duration::from_secs(seconds));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for round in 0_u64.. {
        pace.tick().await;
        if shared.paused.load(Ordering::Relaxed) {
            continue;
        }
        for view in views {
            count(match refresh(&mut session, view).await {
                Ok(()) => &shared.counters.refreshes,
                Err(_) => &shared.counters.errors,
            });
        }
        if round % 40 == 0 && session.batch(KEEP).await.is_err() {
            count(&shared.counters.errors);
        }
    }
}

async fn refresh(session: &mut Session, view: &str) -> Result<(), PgError> {
    let begun = session
        .query(
            "INSERT INTO htap.refresh_run (view, mode) VALUES ($1, 'concurrent') RETURNING run_id",
            &[Param::Text(view)],
        )
        .await?;
    let run = begun.first("run_id").int().unwrap_or(0);
    session
        .batch(&format!("REFRESH MATERIALIZED VIEW CONCURRENTLY {view}"))
        .await?;
    session
        .query(
            &format!(
                "UPDATE htap.refresh_run SET finished = clock_timestamp(), rows = (SELECT count(*) FROM {view})
                 WHERE run_id = $1"
            ),
            &[Param::Int(run)],
        )
        .await?;
    Ok(())
}
