//! Troubles for the dashboard to show, on a repeating schedule.

use super::Shared;
use crate::system::generate::product_of_rank;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Kind of a trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An analytic query that would take many minutes.
    Runaway,
    /// A session idle in a REPEATABLE READ transaction while the warehouse takes stock.
    HeldSnapshot,
    /// A session idle in a transaction that locks the most popular products' stock.
    LockQueue,
    /// No refresh of any materialized view.
    MissedRefresh,
}

/// A trouble and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Kind of the trouble.
    pub kind: Kind,
    /// Start, in seconds from the start of each cycle.
    pub at_s: u64,
    /// Duration in seconds.
    pub lasts_s: u64,
}

/// Length of a cycle in seconds.
pub(crate) const CYCLE_S: u64 = 300;

/// The troubles of a cycle, in order; they do not overlap.
pub(crate) const TROUBLES: [Trouble; 4] = [
    Trouble {
        kind: Kind::Runaway,
        at_s: 40,
        lasts_s: 60,
    },
    Trouble {
        kind: Kind::HeldSnapshot,
        at_s: 120,
        lasts_s: 60,
    },
    Trouble {
        kind: Kind::LockQueue,
        at_s: 200,
        lasts_s: 15,
    },
    Trouble {
        kind: Kind::MissedRefresh,
        at_s: 240,
        lasts_s: 40,
    },
];

/// The schedule as text for `demo --help`.
pub(crate) const SCHEDULE: &str = "\
Troubles, every 5 minutes from the start of the load (none with --calm):
  0:40  adhoc-bi       a runaway report, a cross join, until its role's statement_timeout at 1:40
  2:00  notebook       idle in a REPEATABLE READ transaction until 3:00, while the warehouse takes stock:
                       dead rows of shop.inventory pile up, and vacuum cannot remove them
  3:20  stock-audit    idle in a transaction that locks popular products until 3:35; checkouts queue
  4:00  htap-refresh   no refresh until 4:40; the materialized views grow stale
Cancel or terminate its session to end a trouble early; otherwise each ends by itself.";

/// Joins all pairs of sales in a category: billions of rows, one snapshot, all available CPU time.
const RUNAWAY: &str = "\
SELECT a.category, count(*) AS pairs, sum(a.sales_amount * b.quantity)::text AS weight
FROM mart.fact_sales_mv AS a JOIN mart.fact_sales_mv AS b
  ON a.category = b.category AND a.order_id <> b.order_id
GROUP BY a.category ORDER BY pairs DESC";

pub(super) fn start(tasks: &mut JoinSet<()>, shared: &Shared) {
    let begun = Instant::now();
    for trouble in TROUBLES {
        tasks.spawn(repeat(shared.clone(), trouble, begun));
    }
}

async fn repeat(shared: Shared, trouble: Trouble, begun: Instant) {
    for cycle in 0_u64.. {
        let at = Duration::from_secs(cycle * CYCLE_S + trouble.at_s);
        sleep_until(begun + at).await;
        let lasts = Duration::from_secs(trouble.lasts_s);
        match trouble.kind {
            Kind::Runaway => runaway(&shared, lasts).await,
            Kind::HeldSnapshot => held_snapshot(&shared, lasts).await,
            Kind::LockQueue => lock_queue(&shared, lasts).await,
            Kind::MissedRefresh => {
                shared.paused.store(true, Ordering::Relaxed);
                sleep(lasts).await;
                shared.paused.store(false, Ordering::Relaxed);
            }
        }
    }
}

/// Ignores errors: cancelling or terminating the session is a valid end.
async fn runaway(shared: &Shared, lasts: Duration) {
    let mut session = shared.session("htap_olap", "adhoc-bi");
    // Normally the role's statement_timeout ends it first; this applies if that was changed on the server.
    let patience = lasts + Duration::from_secs(5);
    let _ = timeout(patience, session.query(RUNAWAY, &[])).await;
}

async fn held_snapshot(shared: &Shared, lasts: Duration) {
    let mut session = shared.session("htap_olap", "notebook");
    let opened = session
        .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*), max(created_at) FROM shop.orders")
        .await;
    if opened.is_ok() {
        // A snapshot alone does no harm: updates are needed for dead rows to accumulate behind it.
        shared.stocktaking.store(true, Ordering::Relaxed);
        sleep(lasts).await;
        shared.stocktaking.store(false, Ordering::Relaxed);
    }
    session.close();
}

async fn lock_queue(shared: &Shared, lasts: Duration) {
    let popular: Vec<String> = (1..=12)
        .map(|rank| product_of_rank(rank).to_string())
        .collect();
    let lock = format!(
        "BEGIN; SELECT product_id, quantity FROM shop.inventory WHERE product_id IN ({}) \
         ORDER BY product_id FOR UPDATE",
        popular.join(", ")
    );
    let mut session = shared
        .session("htap_oltp", "stock-audit")
        .with("idle_in_transaction_session_timeout", "60s");
    if session.batch(&lock).await.is_ok() {
        sleep(lasts).await;
    }
    // Closing the session rolls back.
    session.close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn troubles_do_not_overlap_and_are_all_announced() {
        for pair in TROUBLES.windows(2) {
            assert!(pair[0].at_s + pair[0].lasts_s < pair[1].at_s);
        }
        assert!(TROUBLES[3].at_s + TROUBLES[3].lasts_s < CYCLE_S);
        for trouble in TROUBLES {
            let end = trouble.at_s + trouble.lasts_s;
            for at in [trouble.at_s, end] {
                let text = format!("{}:{:02}", at / 60, at % 60);
                assert!(SCHEDULE.contains(&text), "{text}");
            }
        }
    }
}
