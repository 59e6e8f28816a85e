//! Refreshes each materialized view at its own pace, after those that it reads.

use super::Shared;
use crate::system::refresh::View;
use crate::system::refresh::keeper::keep;
use crate::system::refresh::plan::{Pace, Plan};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Groups of materialized views of the mart with their interval in seconds; one session refreshes a group one by one.
/// The fast view has its own session, because it would have to wait for the slow ones.
const PACES: [(&[&str], u64); 3] = [
    (&["sales_hourly_mv"], 3),
    (&["user_behavior_mv"], 30),
    (&["fact_sales_mv", "daily_sales_summary"], 60),
];

/// Freshness target of the incremental summaries.
const FRESH: Duration = Duration::from_secs(2);

pub(super) fn start(tasks: &mut JoinSet<()>, shared: &Shared) {
    tasks.spawn(merge(shared.clone()));
    for (views, seconds) in PACES {
        tasks.spawn(keep_fresh(shared.clone(), views, seconds));
    }
}

/// Keeps the incremental summaries fresh, except while refreshes are to be skipped.
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
        let keeping = keep(&target, &plan, |_| {});
        let paused = async {
            while !shared.paused.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::select! {
            _ = keeping => {}
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
    loop {
        pace.tick().await;
        if shared.paused.load(Ordering::Relaxed) {
            continue;
        }
        for view in views {
            // One that fails, such as one that was cancelled, comes again with the next tick.
            let _ = session.refresh(&View::new("mart", view)).await;
        }
    }
}
