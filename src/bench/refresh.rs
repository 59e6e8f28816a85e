//! Refreshes: the duration of each kind, and its effect on the shop.

use super::figures::Figures;
use super::{BenchError, Experiment, Lab, mixed};
use crate::system::orders::Commit;
use crate::system::refresh::{self, Kind, Mode, View};
use crate::workload::{Options, run};
use std::time::Duration;
use tokio::time::Instant;

/// Number of orders that change before a refresh.
const CHANGES: u32 = 1_000;

fn of(variant: &str) -> Option<(View, Kind, Mode)> {
    let (what, how) = variant.split_once(' ')?;
    let incremental = how == "incremental";
    let name = match (what, incremental) {
        ("hourly", true) => "sales_hourly",
        ("hourly", false) => "sales_hourly_mv",
        (_, true) => "fact_sales",
        (_, false) => "fact_sales_mv",
    };
    let view = View::new("mart", name);
    Some(match how {
        "full" => (view, Kind::Materialized, Mode::Full),
        "concurrent" => (view, Kind::Materialized, Mode::Concurrent),
        _ => (view, Kind::Incremental, Mode::Incremental),
    })
}

/// Corrects completed orders all over the history, which is more work than completing new ones: their contribution to
/// the summaries is removed and added again.
async fn change(lab: &Lab) -> Result<(), BenchError> {
    lab.batch(&format!(
        "UPDATE shop.orders AS o SET total_amount = o.total_amount + 0.01
         FROM (SELECT order_id, created_at FROM shop.orders TABLESAMPLE SYSTEM (5) WHERE status = 3
               ORDER BY random() LIMIT {CHANGES}) AS c
         WHERE o.order_id = c.order_id AND o.created_at = c.created_at"
    ))
    .await
}

/// Returns a shop at 900 transactions per second with durable commits.
pub(super) fn shop(options: &Options) -> Options {
    Options {
        oltp_per_s: 900.0,
        olap_per_s: 0.0,
        commit: Commit::Synchronous,
        ..options.clone()
    }
}

/// The experiment `refresh`.
pub(super) const REFRESH: Experiment = Experiment {
    name: "refresh",
    about: "one refresh of each kind after 1,000 changed orders, and the OLTP latency during such refreshes",
    section: "5.3",
    variants: &[
        "none",
        "hourly full",
        "hourly concurrent",
        "hourly incremental",
        "fact full",
        "fact concurrent",
        "fact incremental",
    ],
    run: |lab, variant| Box::pin(refresh(lab, variant)),
};

async fn refresh(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.settle().await?;
    let client = refresh::connect(lab.target())
        .await
        .map_err(BenchError::doing("connect"))?;
    let mut figures = Figures::new();
    let wanted = of(variant);
    if let Some((view, kind, mode)) = &wanted {
        // Bring the view up to date first, so that only the changes count.
        refresh::refresh(&client, view, *kind, *mode)
            .await
            .map_err(BenchError::doing(format!("refresh {view}")))?;
        change(lab).await?;
        lab.batch("CHECKPOINT").await?;
        let wal = lab.wal_bytes().await?;
        let done = refresh::refresh(&client, view, *kind, *mode)
            .await
            .map_err(BenchError::doing(format!("refresh {view}")))?;
        figures.insert("idle_ms".into(), done.took_ms);
        figures.insert("wal_bytes".into(), lab.wal_bytes().await? - wal);
    }
    let options = shop(&mixed::base(lab));
    let meter = lab.meter();
    let load = run(lab.target(), &options, std::future::pending(), |_| {});
    let refreshes = async {
        let mut took_ms = Vec::new();
        let until = Instant::now() + options.warm_up + options.duration;
        loop {
            let begun = Instant::now();
            if begun >= until {
                break;
            }
            // Each refresh has the same amount of work as the one timed alone; without a refresh the shop is changed by
            // the same amount.
            if change(lab).await.is_err() {
                break;
            }
            if let Some((view, kind, mode)) = &wanted {
                match refresh::refresh(&client, view, *kind, *mode).await {
                    Ok(done) => took_ms.push(done.took_ms),
                    Err(_) => break,
                }
            }
            tokio::time::sleep_until(begun + Duration::from_secs(1)).await;
        }
        took_ms
    };
    let (summary, took_ms) = tokio::join!(load, refreshes);
    let summary = summary?;
    figures.insert("oltp_ms_p50".into(), summary.oltp.latency.p50);
    figures.insert("oltp_ms_p99".into(), summary.oltp.latency.p99);
    figures.insert("oltp_done_per_s".into(), summary.oltp.reached_per_s);
    if let Some(median) = super::figures::median(&took_ms) {
        figures.insert("beside_ms".into(), median);
        figures.insert("refreshes".into(), took_ms.len() as f64);
    }
    Lab::used(&mut figures, meter.stop());
    Ok(figures)
}

/// The experiment `fresh`.
pub(super) const FRESH: Experiment = Experiment {
    name: "fresh",
    about: "1,000 completed orders per second, with and without summaries kept within a second",
    section: "1.2",
    variants: &["no refresh", "refresh --fresh 1s"],
    run: |lab, variant| Box::pin(fresh(lab, variant)),
};

async fn fresh(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    mixed::completing(lab, variant != "no refresh").await
}
