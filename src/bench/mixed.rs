//! Transactions and reports at once, in an open loop.

use super::figures::Figures;
use super::{BenchError, Experiment, Lab};
use crate::pg::{Client, Settings, Target};
use crate::system::orders::{Commit, Strategy};
use crate::system::refresh::keeper::keep;
use crate::system::refresh::plan::{Pace, Plan};
use crate::workload::{Mix, Options, Source, Summary, run};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Work that runs beside a load and ends with it.
pub(super) struct Beside(JoinHandle<()>);

impl Drop for Beside {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a refresher that keeps every incremental summary within `fresh`.
pub(super) fn keeper(target: &Target, fresh: Duration) -> Beside {
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

/// Starts a session that repeats these statements one after the other.
pub(super) fn repeat(target: &Target, statements: &'static [&'static str]) -> Beside {
    let target = target.with_application_name("htap-top bench beside");
    Beside(tokio::spawn(async move {
        let Ok(client) = Client::open(&target, &Settings::of_work(Duration::ZERO)).await else {
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

/// Time spent on refreshes, and the start of the current one.
#[derive(Debug, Default)]
struct Busy {
    whole: Duration,
    since: Option<Instant>,
}

impl Busy {
    fn seconds(&self) -> f64 {
        let running = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        (self.whole + running).as_secs_f64()
    }
}

/// Refreshes every materialized view of the mart one after the other, once per window: the case study refreshes them
/// every 5 minutes, which a window of the benchmark represents. A refresh takes its real time.
fn all_views(target: &Target, window: Duration, busy: Arc<Mutex<Busy>>) -> Beside {
    const VIEWS: &str =
        "SELECT format('REFRESH MATERIALIZED VIEW CONCURRENTLY %I.%I', n.nspname, c.relname) AS sql
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = 'mart' AND c.relkind = 'm' AND c.relispopulated AND EXISTS (
            SELECT FROM pg_index AS x WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid)
        ORDER BY c.relname";
    let target = target.with_application_name("htap-top bench beside");
    Beside(tokio::spawn(async move {
        let Ok(client) = Client::open(&target, &Settings::of_work(Duration::ZERO)).await else {
            return;
        };
        let Ok(views) = client.query(VIEWS, &[]).await else {
            return;
        };
        loop {
            let begun = Instant::now();
            if let Ok(mut busy) = busy.lock() {
                busy.since = Some(begun);
            }
            for row in 0..views.rows.len() {
                let sql = views.get(row, "sql").text().unwrap_or_default();
                if client.batch(sql).await.is_err() && client.is_closed() {
                    return;
                }
            }
            if let Ok(mut busy) = busy.lock() {
                busy.whole += begun.elapsed();
                busy.since = None;
            }
            tokio::time::sleep_until(begun + window).await;
        }
    }))
}

/// The load of the case study's section 5.2.
const TRANSACTIONS_PER_S: f64 = 5_000.0;
const QUESTIONS_PER_S: f64 = 50.0;

/// Work beside a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refreshing {
    Nothing,
    /// The nightly copy of all data, while customers are active.
    Copy,
    /// A refresh of all materialized views, once per window.
    Views,
    /// Merges of changes into the summaries within a second.
    Merges,
}

/// Returns the load of a variant, and the work beside it. The variants between `HTAP as written` and `HTAP corrected`
/// make single changes.
fn setup(variant: &str, options: &Options) -> (Options, Refreshing) {
    let corrected = Options {
        oltp_per_s: TRANSACTIONS_PER_S,
        olap_per_s: QUESTIONS_PER_S,
        // Every order goes through all its states: completed orders are merged, and reports read them.
        mix: Mix::LIVES,
        commit: Commit::Asynchronous,
        ..options.clone()
    };
    let written = Options {
        strategy: Strategy::RoundTrips,
        reports: Source::Mv,
        olap_running: 20,
        olap_clients: 20,
        ..corrected.clone()
    };
    let grouped = Options {
        strategy: Strategy::GroupCommit,
        ..written.clone()
    };
    let alone = Options {
        olap_per_s: 0.0,
        ..corrected.clone()
    };
    match variant {
        "OLTP alone" => (alone, Refreshing::Nothing),
        "ETL copy" => (alone, Refreshing::Copy),
        "OLAP alone" => {
            let oltp_per_s = 0.001;
            let load = Options {
                oltp_per_s,
                ..corrected
            };
            (load, Refreshing::Nothing)
        }
        "HTAP as written" => (written, Refreshing::Views),
        "only group commit" => (grouped, Refreshing::Views),
        "only an OLAP limit" => {
            let load = Options {
                olap_running: corrected.olap_running,
                olap_clients: corrected.olap_clients,
                ..written
            };
            (load, Refreshing::Views)
        }
        "only summaries" => {
            let reports = Source::Rollup;
            (Options { reports, ..written }, Refreshing::Merges)
        }
        "group commit and summaries" => {
            let reports = Source::Rollup;
            (Options { reports, ..grouped }, Refreshing::Merges)
        }
        "corrected, Zipf 1.1" => (
            Options {
                skew: 1.1,
                ..corrected
            },
            Refreshing::Merges,
        ),
        "function, Zipf 1.1" => {
            let load = Options {
                strategy: Strategy::Function,
                skew: 1.1,
                clients: 32,
                ..corrected
            };
            (load, Refreshing::Merges)
        }
        _ => (corrected, Refreshing::Merges),
    }
}

/// Describes the load of a variant for a row of the table.
pub(super) fn described(variant: &str) -> String {
    let (options, beside) = setup(variant, &many(&Options::default()));
    let reports = match options.reports {
        Source::Mv => "materialized views",
        Source::Rollup => "summaries",
        Source::Base => "base tables",
    };
    let mut words = vec![conditions(&options)];
    if options.olap_per_s > 0.0 {
        let limit = if options.olap_running >= 20 {
            "20 reports at once".to_owned()
        } else {
            "a report per processor".to_owned()
        };
        words.push(format!("{limit} from {reports}"));
    }
    match beside {
        Refreshing::Views => words.push("all views refreshed once in a window".into()),
        Refreshing::Merges => words.push("merged within 1 s".into()),
        Refreshing::Copy => words.push("all sales copied over and over".into()),
        Refreshing::Nothing => {}
    }
    words.join(", ")
}

/// Describes a load: strategy of creating orders, durability, popularity of products, number of clients.
pub(super) fn conditions(options: &Options) -> String {
    let strategy = match options.strategy {
        Strategy::GroupCommit => "group commit",
        Strategy::RoundTrips => "nine round trips",
        other => other.name(),
    };
    let commit = match options.commit {
        Commit::Synchronous => "durable",
        Commit::Asynchronous => "asynchronous",
    };
    format!(
        "{strategy}, {commit}, Zipf {}, {} clients",
        options.skew, options.clients
    )
}

/// The experiment `mixed`.
pub(super) const MIXED: Experiment = Experiment {
    name: "mixed",
    about: "5,000 transactions/s of whole lives of orders and 50 questions/s, offered in an open loop",
    section: "5.2",
    variants: &[
        "OLTP alone",
        "OLAP alone",
        "ETL copy",
        "HTAP as written",
        "only group commit",
        "only an OLAP limit",
        "only summaries",
        "group commit and summaries",
        "HTAP corrected",
        "corrected, Zipf 1.1",
        "function, Zipf 1.1",
    ],
    run: |lab, variant| Box::pin(mixed(lab, variant)),
};

async fn mixed(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    const MERGED: &str = "SELECT coalesce(sum(rows), 0)::float8 FROM htap.refresh_run
        WHERE mode = 'incremental' AND finished > to_timestamp(";
    let (options, refreshing) = setup(variant, &crowd(lab));
    lab.settle().await?;
    let busy = Arc::new(Mutex::new(Busy::default()));
    let begun_s = lab
        .number("SELECT extract(epoch FROM clock_timestamp())::float8")
        .await?;
    let begun = Instant::now();
    let beside = match refreshing {
        Refreshing::Merges => Some(keeper(lab.target(), Duration::from_secs(1))),
        Refreshing::Copy => Some(repeat(
            lab.target(),
            &[
                "DROP TABLE IF EXISTS bench.warehouse",
                "CREATE TABLE bench.warehouse AS SELECT * FROM mart.fact_sales_query",
                "CREATE INDEX ON bench.warehouse (sale_time)",
            ],
        )),
        Refreshing::Views => Some(all_views(lab.target(), lab.window, Arc::clone(&busy))),
        Refreshing::Nothing => None,
    };
    let mut figures = load(lab, &options).await?;
    let seconds = begun.elapsed().as_secs_f64().max(0.001);
    if refreshing == Refreshing::Views {
        let busy_s = busy.lock().map_or(0.0, |busy| busy.seconds());
        figures.insert("refreshing_pct".into(), (busy_s / seconds * 100.0).round());
    }
    drop(beside);
    if refreshing == Refreshing::Merges {
        let merged = lab.number(&format!("{MERGED}{begun_s})")).await?;
        figures.insert("merged_per_s".into(), (merged / seconds).round());
    }
    Ok(figures)
}

/// The experiment `frontier`.
pub(super) const FRONTIER: Experiment = Experiment {
    name: "frontier",
    about: "questions added beside 2,000 transactions/s of the shop until either suffers",
    section: "5.2",
    variants: &["0", "25", "50", "100", "200", "400", "800"],
    run: |lab, variant| Box::pin(frontier(lab, variant)),
};

/// Measures a shop at 2,000 transactions per second with an increasing rate of queries.
async fn frontier(lab: &Lab, variant: &str) -> Result<Figures, BenchError> {
    lab.settle().await?;
    let _keeper = keeper(lab.target(), Duration::from_secs(1));
    let options = Options {
        oltp_per_s: 2_000.0,
        olap_per_s: variant.parse().unwrap_or(0.0),
        commit: Commit::Asynchronous,
        ..base(lab)
    };
    load(lab, &options).await
}

/// Returns the options common to all loads of the benchmark.
pub(super) fn base(lab: &Lab) -> Options {
    Options {
        warm_up: lab.window / 5,
        duration: lab.window,
        ..few(&Options::default())
    }
}

/// Returns options with few customers, and popular products, but no queue for any of them.
pub(super) fn few(options: &Options) -> Options {
    Options {
        clients: 16,
        skew: 0.5,
        deliver: false,
        strategy: Strategy::GroupCommit,
        ..options.clone()
    }
}

/// Returns options with many customers, whose orders share transactions.
fn many(options: &Options) -> Options {
    Options {
        clients: 64,
        ..few(options)
    }
}

/// Like [`many`], but measured only after orders are completed as fast as they are created, which takes 9 seconds at
/// most. A window too short for that has no significance anyway.
fn crowd(lab: &Lab) -> Options {
    let lives = Duration::from_secs(10).min(lab.window * 2);
    many(&Options {
        warm_up: lives.max(lab.window / 5),
        ..base(lab)
    })
}

/// Runs a load and returns its figures, including CPU usage.
pub(super) async fn load(lab: &Lab, options: &Options) -> Result<Figures, BenchError> {
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

/// Measures 4,000 transactions per second, which create, pay, ship and complete 1,000 orders.
pub(super) async fn completing(lab: &Lab, refreshed: bool) -> Result<Figures, BenchError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_shown_alone() {
        let of = |variant| setup(variant, &many(&Options::default()));
        let (written, _) = of("HTAP as written");
        let (corrected, _) = of("HTAP corrected");
        let differ = |one: &Options, other: &Options| {
            usize::from(one.strategy != other.strategy)
                + usize::from(one.reports != other.reports)
                + usize::from(one.olap_running != other.olap_running)
        };
        assert_eq!(differ(&written, &corrected), 3);
        for single in ["only group commit", "only an OLAP limit", "only summaries"] {
            assert_eq!(differ(&written, &of(single).0), 1, "{single}");
        }
        assert_eq!(differ(&written, &of("group commit and summaries").0), 2);
        for variant in super::super::EXPERIMENTS
            .iter()
            .filter(|experiment| experiment.name == "mixed")
            .flat_map(|experiment| experiment.variants)
        {
            let (options, _) = of(variant);
            assert_eq!(options.mix, Mix::LIVES, "{variant}");
            let words = described(variant);
            for part in ["Zipf", "clients", "asynchronous"] {
                assert!(words.contains(part), "{variant}: {words}");
            }
        }
    }
}
