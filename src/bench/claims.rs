//! Compares the case study's claims with the measurements.

mod apart;
mod columns;
mod streaming;

use super::figures::median;
use super::mixed::{self, described};
use super::refresh;
use super::store::Store;
use crate::format;
use crate::workload::Options;
use std::fmt::Write as _;

/// A row of the table: a claim and its measurement.
pub(super) struct Line {
    /// Section of the case study.
    pub section: &'static str,
    /// The subject of the claim.
    pub what: String,
    /// The claim.
    pub claim: &'static str,
    /// The measurement; `None` if its runs are missing.
    pub measured: Option<String>,
}

/// Returns the median of a figure.
fn of(store: &Store, experiment: &str, variant: &str, name: &str) -> Option<f64> {
    median(&store.figure(experiment, variant, name))
}

fn times(value: Option<f64>) -> Option<String> {
    value.map(|value| match value {
        10.0.. => format!("{value:.0}x"),
        _ => format!("{value:.1}x"),
    })
}

fn ratio(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a?, b?) {
        (_, 0.0) => None,
        (a, b) => Some(a / b),
    }
}

fn ms(value: Option<f64>) -> Option<String> {
    value.map(format::ms)
}

/// Formats a speed-up, with both times.
fn faster(store: &Store, experiment: &str, slow: &str, quick: &str, name: &str) -> Option<String> {
    let slow = of(store, experiment, slow, name);
    let quick = of(store, experiment, quick, name);
    Some(format!(
        "{} ({} against {})",
        times(ratio(slow, quick))?,
        ms(quick)?,
        ms(slow)?
    ))
}

/// Returns all claims with the measurements in this file.
pub(super) fn lines(store: &Store, other: Option<&Store>) -> Vec<Line> {
    let mut lines = loads(store);
    lines.extend(harms(store));
    lines.extend(answers(store));
    lines.extend(indexes(store));
    lines.extend(refreshes(store, other));
    lines.extend(orders(store));
    lines.extend(skewed(store));
    lines.extend(apart::lines(store));
    lines.extend(streaming::lines(store));
    lines.extend(columns::lines(store));
    lines
}

fn line(
    section: &'static str,
    what: impl Into<String>,
    claim: &'static str,
    measured: Option<String>,
) -> Line {
    Line {
        section,
        what: what.into(),
        claim,
        measured,
    }
}

/// The case study's claims about variants of the mixed load.
const MIXED: [(&str, &str); 10] = [
    ("OLTP alone", "8,000 TPS, P99 45 ms"),
    ("ETL copy", "7,500 TPS, P99 120 ms"),
    ("HTAP as written", "7,200 TPS, P99 55 ms; answers < 1 s"),
    ("only group commit", ""),
    ("only an OLAP limit", ""),
    ("only summaries", ""),
    ("group commit and summaries", ""),
    ("HTAP corrected", "(its goal: OLTP < 50 ms, OLAP < 1 s)"),
    ("corrected, Zipf 1.1", ""),
    ("function, Zipf 1.1", ""),
];

fn loads(store: &Store) -> Vec<Line> {
    let get = |variant: &str, name: &str| of(store, "mixed", variant, name);
    let both = |variant: &str| {
        let (tps, p99) = (
            get(variant, "oltp_done_per_s")?,
            get(variant, "oltp_ms_p99")?,
        );
        let mut text = format!("{tps:.0} transactions/s, P99 {}", format::ms(p99));
        if let (Some(rate), Some(p99)) =
            (get(variant, "olap_done_per_s"), get(variant, "olap_ms_p99"))
            && rate > 0.0
        {
            let _ = write!(text, "; {rate:.1} questions/s, P99 {}", format::ms(p99));
        }
        if let Some(merged) = get(variant, "merged_per_s") {
            let _ = write!(text, "; {merged:.0} changes/s merged");
        }
        if let Some(share) = get(variant, "refreshing_pct") {
            let _ = write!(text, "; a refresh ran {share:.0} % of the time");
        }
        Some(text)
    };
    let fresh = get("HTAP corrected", "freshness_ms_p50").and_then(|p50| {
        let p99 = get("HTAP corrected", "freshness_ms_p99")?;
        let merged = get("HTAP corrected", "merged_per_s")?;
        Some(format!(
            "P50 {}, P99 {}, at {merged:.0} changes/s merged",
            format::ms(p50),
            format::ms(p99)
        ))
    });
    let rows = MIXED.iter().map(|(variant, claim)| {
        let what = format!("{variant} (5,000/s offered): {}", described(variant));
        line("5.2", what, claim, both(variant))
    });
    let mut rows: Vec<Line> = rows.collect();
    rows.push(line(
        "5.2",
        "freshness, corrected",
        "< 5 minutes (its goal: < 5 s)",
        fresh,
    ));
    rows
}

/// Problems caused by the case study's recommendations.
fn harms(store: &Store) -> Vec<Line> {
    vec![
        line(
            "2.1",
            "an old snapshot \"does not disturb OLTP\"",
            "no effect",
            ratio(
                of(store, "snapshot", "snapshot held", "pairs_per_s"),
                of(store, "snapshot", "no snapshot", "pairs_per_s"),
            )
            .and_then(|share| {
                let size = ratio(
                    of(store, "snapshot", "snapshot held", "inventory_bytes"),
                    of(store, "snapshot", "no snapshot", "inventory_bytes"),
                )?;
                Some(format!(
                    "{:+.0} % updates, table {size:.1}x",
                    (share - 1.0) * 100.0
                ))
            }),
        ),
        line(
            "9.2",
            "keyword router, 16 traps",
            "routes by features",
            routed(store),
        ),
    ]
}

fn routed(store: &Store) -> Option<String> {
    let get = |variant, name| of(store, "router", variant, name);
    Some(format!(
        "right: {:.0} (keywords), {:.0} (ours); writes sent to the replica: {:.0}, {:.0}",
        get("keywords", "right")?,
        get("parser", "right")?,
        get("keywords", "writes_to_replica")?,
        get("parser", "writes_to_replica")?,
    ))
}

fn answers(store: &Store) -> Vec<Line> {
    let question = |name: &str| {
        let get = |variant| of(store, "questions", variant, name);
        let (base, mv, rollup) = (get("base")?, get("mv")?, get("rollup")?);
        Some(format!(
            "{} base, {} view, {} rollup ({:.0}x)",
            format::ms(base),
            format::ms(mv),
            format::ms(rollup),
            base / rollup.max(0.001)
        ))
    };
    vec![
        line(
            "4.2",
            "1 hourly sales",
            "50 ms against 5 s (100x)",
            question("hourly_ms"),
        ),
        line("4.2", "2 top categories", "200 ms", question("category_ms")),
        line("4.2", "3 RFM by segment", "800 ms", question("segment_ms")),
        line(
            "6.1",
            "daily sales from hourly ones",
            "160x",
            faster(store, "rewriting", "base", "rollup", "daily_ms"),
        ),
    ]
}

/// Claims about partitions, parallel workers and indexes.
fn indexes(store: &Store) -> Vec<Line> {
    vec![
        line(
            "6.2",
            "one month by partition",
            "scans one partition",
            faster(store, "partitions", "plain", "partitioned", "month_ms"),
        ),
        line(
            "6.3",
            "4 parallel workers",
            "4x",
            faster(store, "parallel", "0", "4", "aggregate_ms"),
        ),
        line(
            "6.3",
            "1 parallel worker",
            "",
            faster(store, "parallel", "0", "1", "aggregate_ms"),
        ),
        line(
            "7.1",
            "BRIN against B-tree: size",
            "50x smaller",
            times(ratio(
                of(store, "brin", "btree", "index_bytes"),
                of(store, "brin", "brin", "index_bytes"),
            )),
        ),
        line(
            "7.1",
            "BRIN against B-tree: one day's range",
            "",
            faster(store, "brin", "brin", "btree", "day_ms"),
        ),
    ]
}

fn refreshes(store: &Store, other: Option<&Store>) -> Vec<Line> {
    let took = |variant: &str| {
        let idle = of(store, "refresh", variant, "idle_ms")?;
        let beside = of(store, "refresh", variant, "beside_ms")?;
        let p99 = of(store, "refresh", variant, "oltp_ms_p99")?;
        let none = of(store, "refresh", "none", "oltp_ms_p99")?;
        Some(format!(
            "{} alone, {} beside the shop; OLTP P99 {} (without {})",
            format::ms(idle),
            format::ms(beside),
            format::ms(p99),
            format::ms(none)
        ))
    };
    let fresh = || {
        let p99 = of(store, "fresh", "refresh --fresh 1s", "freshness_ms_p99")?;
        let with = of(store, "fresh", "refresh --fresh 1s", "oltp_ms_p99")?;
        let without = of(store, "fresh", "no refresh", "oltp_ms_p99")?;
        Some(format!(
            "freshness P99 {}; OLTP P99 {} (without {})",
            format::ms(p99),
            format::ms(with),
            format::ms(without)
        ))
    };
    let load = mixed::conditions(&refresh::shop(&mixed::few(&Options::default())));
    let rows = [
        ("sales_hourly, full", "hourly full", ""),
        (
            "sales_hourly, CONCURRENTLY",
            "hourly concurrent",
            "15 s, not noticed",
        ),
        ("sales_hourly, incremental", "hourly incremental", ""),
        ("fact_sales, full", "fact full", ""),
        (
            "fact_sales, CONCURRENTLY",
            "fact concurrent",
            "3 min, OLTP + 5 ms",
        ),
        ("fact_sales, incremental", "fact incremental", ""),
    ];
    let rows = rows.iter().map(|(what, variant, claim)| {
        let what = format!("{what}, 1,000 changes each, beside 900/s ({load})");
        line("5.3", what, claim, took(variant))
    });
    let mut lines: Vec<Line> = rows.collect();
    let ratios: Vec<String> = [Some(store), other]
        .into_iter()
        .flatten()
        .filter_map(incremental)
        .collect();
    lines.push(line(
        "5.3",
        "fact_sales: incremental against CONCURRENTLY, 1,000 changes; the ratio grows with the history",
        "",
        Some(ratios.join(", ")).filter(|ratios| !ratios.is_empty()),
    ));
    lines.push(line(
        "1.2",
        "1,000 completed orders/s, kept within 1 s (group commit, asynchronous, Zipf 0.5, 64 clients)",
        "fresher than 5 s",
        fresh(),
    ));
    lines.push(line(
        "2.2",
        "cost of logging changes (16 clients in a closed loop)",
        "",
        captured(store),
    ));
    lines
}

/// Formats the speed-up of a merge over a refresh CONCURRENTLY, with the number of orders.
fn incremental(store: &Store) -> Option<String> {
    let took = |variant| of(store, "refresh", variant, "idle_ms");
    let times = times(ratio(took("fact concurrent"), took("fact incremental")))?;
    Some(format!("{times} at {} orders", store.conditions().orders))
}

fn captured(store: &Store) -> Option<String> {
    let change = |name| {
        let share = store.ratio("capture", "on", "off", name)?;
        Some((share - 1.0) * 100.0)
    };
    Some(format!(
        "{:+.1} % lives/s, {:+.1} % server CPU per life, {:+.1} % WAL",
        change("lives_per_s")?,
        change("server_cpu_us_per_life")?,
        change("wal_bytes_per_life")?
    ))
}

fn orders(store: &Store) -> Vec<Line> {
    let rate = |variant: &str| of(store, "orders", variant, "orders_per_s");
    let against = |variant: &str, other: &str| {
        let times = store.ratio("orders", variant, other, "orders_per_s")?;
        let (one, two) = (rate(variant)?, rate(other)?);
        Some(format!("{times:.2}x ({one:.0} against {two:.0} orders/s)"))
    };
    vec![
        line(
            "4.1",
            "pipelined against nine round trips, durable, 16 clients, Zipf 0.5",
            "",
            against("pipelined, synchronous", "round trips, synchronous"),
        ),
        line(
            "4.1",
            "function against nine round trips, durable, 16 clients, Zipf 0.5",
            "",
            against("function, synchronous", "round trips, synchronous"),
        ),
        line(
            "4.1",
            "group commit (64 clients) against nine round trips (16), durable, Zipf 0.5",
            "",
            against("group, synchronous", "round trips, synchronous"),
        ),
        line(
            "4.1",
            "function against nine round trips, asynchronous, 16 clients, Zipf 0.5",
            "",
            against("function, asynchronous", "round trips, asynchronous"),
        ),
        line(
            "4.1",
            "pipelined against nine round trips, asynchronous, 16 clients, Zipf 0.5",
            "",
            against("pipelined, asynchronous", "round trips, asynchronous"),
        ),
        line(
            "4.1",
            "group commit (64 clients) against nine round trips (16), asynchronous, Zipf 0.5",
            "",
            against("group, asynchronous", "round trips, asynchronous"),
        ),
        line(
            "4.1",
            "function: this client against pgbench, durable, 16 clients, Zipf 0.5",
            "",
            against("function, synchronous", "pgbench function, synchronous"),
        ),
        line(
            "4.1",
            "function: this client against pgbench, asynchronous, 16 clients, Zipf 0.5",
            "",
            against("function, asynchronous", "pgbench function, asynchronous"),
        ),
    ]
}

/// Formats the deadlocks under skew.
fn skewed(store: &Store) -> Vec<Line> {
    let under = |variant: &str| {
        let get = |name| of(store, "skew", variant, name);
        Some(format!(
            "{:.0} orders/s, {:.0} deadlocks, P99 {}",
            get("orders_per_s")?,
            get("deadlocks")?,
            format::ms(get("latency_ms_p99")?)
        ))
    };
    vec![
        line(
            "4.1",
            "nine round trips, asynchronous, Zipf 1.1, 32 clients",
            "",
            under("round trips"),
        ),
        line(
            "4.1",
            "function, asynchronous, Zipf 1.1, 32 clients",
            "",
            under("function"),
        ),
    ]
}
