//! Both classes of work at once, in an open loop.

use super::figures::Figures;
use super::{BenchError, Lab};
use crate::pg::{Settings, Target, sampler};
use crate::system::orders::{Commit, Strategy};
use crate::system::refresh::keeper::keep;
use crate::system::refresh::plan::{Pace, Plan};
use crate::workload::{Mix, Options, Source, Summary, run};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Work beside a load, ended with it.
struct Beside(JoinHandle<()>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A refresher that keeps every incremental summary within `fresh`.
fn keeper(target: &Target, fresh: Duration) -> Beside {
    let target = target
        .with_user("htap_refresh")
        .with_application_name("htap-top refresh");
    Beside(tokio::spawn(async move {
        let plan = Plan {
            views: Vec::new(),
            mode: None,
            pace: Pace::Fresh(fresh),
            oltp_limit: None,
        };
        let _ = keep(&target, &plan, |_| {}).await;
    }))
}

/// One statement after the other, over and over.
fn repeat(target: &Target, statements: &'static [&'static str]) -> Beside {
    let target = target.with_application_name("htap-top bench beside");
    Beside(tokio::spawn(async move {
        let Ok(client) = sampler::connect(&target, &Settings::of_work(Duration::ZERO)).await else {
            return;
        };
        loop {
            for statement in statements {
                if client.batch(statement).await.is_err() && client.is_closed() {
                    return;
                }
            }
        }
    }))
}

/// What the case study's section 5.2 offers.
const ORDERS_PER_S: f64 = 5_000.0;
const QUESTIONS_PER_S: f64 = 50.0;

pub async fn mixed(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    let mut options = Options {
        oltp_per_s: ORDERS_PER_S,
        olap_per_s: QUESTIONS_PER_S,
        mix: Mix::ORDERS,
        skew: 0.5,
        commit: Commit::Asynchronous,
        ..crowd(lab)
    };
    match variant {
        "OLTP alone" | "ETL copy" => options.olap_per_s = 0.0,
        "OLAP alone" => options.oltp_per_s = 0.001,
        "HTAP as written" => {
            options.strategy = Strategy::RoundTrips;
            options.reports = Source::Mv;
            options.olap_running = 20;
            options.olap_clients = 20;
        }
        _ => {}
    }
    lab.settle().await?;
    let _beside = match variant {
        "HTAP corrected" => Some(keeper(lab.target(), Duration::from_secs(1))),
        // The nightly copy of everything, while customers are there.
        "ETL copy" => Some(repeat(
            lab.target(),
            &[
                "DROP TABLE IF EXISTS bench.warehouse",
                "CREATE TABLE bench.warehouse AS SELECT * FROM mart.fact_sales_query",
                "CREATE INDEX ON bench.warehouse (sale_time)",
            ],
        )),
        // Every 5 minutes all views; a window of the bench sees the part that falls into it.
        "HTAP as written" => Some(repeat(
            lab.target(),
            &[
                "REFRESH MATERIALIZED VIEW CONCURRENTLY mart.sales_hourly_mv",
                "SELECT pg_sleep(5)",
            ],
        )),
        _ => None,
    };
    load(lab, &options).await
}

/// A shop at 2,000 transactions a second, and ever more questions.
pub async fn frontier(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.settle().await?;
    let _keeper = keeper(lab.target(), Duration::from_secs(1));
    let options = Options {
        oltp_per_s: 2_000.0,
        olap_per_s: variant.parse().unwrap_or(0.0),
        commit: Commit::Asynchronous,
        skew: 0.5,
        ..base(lab)
    };
    load(lab, &options).await
}

/// What all loads of the bench have in common.
pub fn base(lab: &Lab) -> Options {
    Options {
        warm_up: lab.window / 5,
        duration: lab.window,
        clients: 16,
        deliver: false,
        ..Options::default()
    }
}

/// Many customers, whose orders share transactions; measured once their sessions have planned their statements
/// and what piled up meanwhile is worked off.
fn crowd(lab: &Lab) -> Options {
    Options {
        warm_up: (lab.window / 5).max(Duration::from_secs(5)),
        clients: 64,
        strategy: Strategy::GroupCommit,
        ..base(lab)
    }
}

/// Puts a load on and takes its figures, with those of the processors.
pub async fn load(lab: &Lab, options: &Options) -> Result<Figures, BenchError> {
    let meter = lab.meter();
    let summary = run(lab.target(), options, std::future::pending(), |_| {}).await?;
    let mut figures = of(&summary);
    Lab::used(&mut figures, meter.stop());
    Ok(figures)
}

fn of(summary: &Summary) -> Figures {
    let mut figures = super::figures::figures([
        ("oltp_offered_per_s", summary.oltp.offered_per_s),
        ("oltp_done_per_s", summary.oltp.reached_per_s),
        ("oltp_ms_p50", summary.oltp.latency.p50),
        ("oltp_ms_p99", summary.oltp.latency.p99),
        ("olap_offered_per_s", summary.olap.offered_per_s),
        ("olap_done_per_s", summary.olap.reached_per_s),
        ("olap_ms_p50", summary.olap.latency.p50),
        ("olap_ms_p99", summary.olap.latency.p99),
        ("failed", (summary.oltp.failed + summary.olap.failed) as f64),
        ("deadlocks", summary.deadlocks as f64),
    ]);
    if summary.freshness.samples > 0 {
        figures.insert("freshness_ms_p50".into(), summary.freshness.p50);
        figures.insert("freshness_ms_p99".into(), summary.freshness.p99);
        figures.insert("freshness_ms_max".into(), summary.freshness.max);
    }
    figures
}

/// 4,000 transactions a second that create, pay, ship and complete 1,000 orders.
pub async fn completing(lab: &Lab, refreshed: bool) -> Result<Figures, BenchError> {
    lab.settle().await?;
    let _keeper = refreshed.then(|| keeper(lab.target(), Duration::from_secs(1)));
    let options = Options {
        oltp_per_s: 4_000.0,
        olap_per_s: 10.0,
        mix: Mix {
            browse: 0.0,
            log_in: 0.0,
            create: 1.0,
            steps: 3.0,
        },
        commit: Commit::Asynchronous,
        skew: 0.5,
        // An order is completed five seconds after it was created, nine at most.
        warm_up: (lab.window / 5).max(Duration::from_secs(10)),
        ..crowd(lab)
    };
    let mut figures = load(lab, &options).await?;
    let seconds = options.duration.as_secs_f64();
    let completed = format!(
        "SELECT count(*)::float8 FROM shop.orders WHERE status = 3 AND completed_at > now() - make_interval(secs => {seconds})"
    );
    let completed = lab.number(&completed).await? / seconds;
    figures.insert("completed_per_s".into(), completed.round());
    Ok(figures)
}
