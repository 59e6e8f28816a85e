//! Formats results as tables.

use super::claims;
use super::figures::median;
use super::meter::UNSAFE_OTHERS;
use super::store::Store;
use super::{EXPERIMENTS, Experiment};
use crate::format;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Compares the case study's claims with the measurements, as a Markdown table. `other` is a file with another number
/// of orders.
pub(crate) fn beside_claims(store: &Store, other: Option<&Store>) -> String {
    let mut text = String::from(
        "| § | What | The case study says | Measured here |\n| --- | --- | --- | --- |\n",
    );
    for line in claims::lines(store, other) {
        let measured = line.measured.unwrap_or_else(|| "not run".to_owned());
        let claim = if line.claim.is_empty() {
            "–"
        } else {
            line.claim
        };
        let _ = writeln!(
            text,
            "| {} | {} | {claim} | {measured} |",
            line.section, line.what
        );
    }
    text
}

/// Returns the interference in both directions, HyBench's H, and the number of queries that fit beside the shop.
pub(crate) fn verdicts(store: &Store) -> Vec<String> {
    let of = |variant: &str, name: &str| median(&store.figure("mixed", variant, name));
    let mut lines = Vec::new();
    let change =
        |mixed: Option<f64>, alone: Option<f64>| Some(mixed? / alone.filter(|a| *a > 0.0)?);
    if let (Some(oltp), Some(olap)) = (
        change(
            of("HTAP corrected", "oltp_ms_p99"),
            of("OLTP alone", "oltp_ms_p99"),
        ),
        change(
            of("HTAP corrected", "olap_ms_p99"),
            of("OLAP alone", "olap_ms_p99"),
        ),
    ) {
        lines.push(format!(
            "interference (P99 mixed / P99 alone, at the same offered load): OLTP {oltp:.2}, OLAP {olap:.2}"
        ));
    }
    if let (Some(tps), Some(qps), Some(xtps), Some(xqps)) = (
        of("OLTP alone", "oltp_done_per_s"),
        of("OLAP alone", "olap_done_per_s"),
        of("HTAP corrected", "oltp_done_per_s"),
        of("HTAP corrected", "olap_done_per_s"),
    ) {
        let fresh_s = of("HTAP corrected", "freshness_ms_p99").unwrap_or(0.0) / 1000.0;
        // HyBench (VLDB 2024): the geometric mean of the three phases, divided by one plus the freshness in seconds.
        let h = (qps * tps * (xqps + xtps)).cbrt() / (1.0 + fresh_s);
        lines.push(format!("HyBench's H: {h:.0}"));
    }
    if let Some(line) = capacity(store) {
        lines.push(line);
    }
    lines
}

/// Returns the highest rate of queries that is reached within 3 % at an OLTP P99 of at most 50 ms and at most 1.2 times
/// that without queries.
fn capacity(store: &Store) -> Option<String> {
    let of = |variant: &str, name: &str| median(&store.figure("frontier", variant, name));
    let alone = of("0", "oltp_ms_p99")?;
    let frontier = EXPERIMENTS.iter().find(|e| e.name == "frontier")?;
    let mut best = None;
    let mut points = Vec::new();
    for variant in frontier.variants {
        let (Some(p99), Some(tps), Some(qps)) = (
            of(variant, "oltp_ms_p99"),
            of(variant, "oltp_done_per_s"),
            of(variant, "olap_done_per_s"),
        ) else {
            continue;
        };
        points.push(format!("({tps:.0}, {qps:.0})"));
        let offered: f64 = variant.parse().unwrap_or(0.0);
        let kept = qps >= offered * 0.97 && tps >= 2_000.0 * 0.97;
        if kept && p99 <= 50.0 && p99 <= alone * 1.2 {
            best = Some(offered);
        }
    }
    let best = best.map_or("none".to_owned(), |best| format!("{best:.0}/s"));
    Some(format!(
        "highest rate of questions beside 2,000 transactions/s with a P99 of at most 50 ms and 1.2 times that \
         without questions: {best}; frontier (transactions/s, questions/s): {}",
        points.join(" ")
    ))
}

/// Lists every figure of every variant: median, and the range over the rounds.
pub(crate) fn figures(store: &Store) -> String {
    let mut text = String::new();
    for experiment in EXPERIMENTS {
        let rows = rows(store, experiment);
        if rows.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{} — {}", experiment.name, experiment.about);
        for row in rows {
            let _ = writeln!(text, "  {row}");
        }
    }
    text
}

fn rows(store: &Store, experiment: &Experiment) -> Vec<String> {
    let mut rows = Vec::new();
    for variant in experiment.variants {
        let runs = store
            .runs()
            .iter()
            .filter(|run| run.experiment == experiment.name && run.variant == *variant);
        let names: BTreeSet<&String> = runs.flat_map(|run| run.figures.keys()).collect();
        if names.is_empty() {
            continue;
        }
        let cells = names
            .into_iter()
            .filter(|name| !name.ends_with("_cpu"))
            .map(|name| {
                let mut values = store.figure(experiment.name, variant, name);
                values.sort_by(f64::total_cmp);
                let middle = median(&values).unwrap_or(0.0);
                let (Some(least), Some(most)) = (values.first(), values.last()) else {
                    return String::new();
                };
                format!(
                    "{name} {} ({}–{})",
                    short(middle),
                    short(*least),
                    short(*most)
                )
            });
        let cells: Vec<String> = cells.collect();
        let mut row = format!("{variant:<30} {}", cells.join("  "));
        if let Some(others) = unsafe_others(store, experiment.name, variant) {
            let _ = write!(
                row,
                "  NOT SAFE: other processes kept {others:.2} processors busy"
            );
        }
        rows.push(row);
    }
    rows
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1000.0.. => format::count(value),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Returns the median number of processors that others kept busy, if that makes the verdict on a variant unsafe.
fn unsafe_others(store: &Store, experiment: &str, variant: &str) -> Option<f64> {
    let others = median(&store.figure(experiment, variant, "others_cpu"))?;
    (others > UNSAFE_OTHERS).then_some(others)
}

/// Lists variants whose figures are unsafe because of other processes, as `experiment · variant`.
pub(crate) fn doubtful(store: &Store) -> Vec<String> {
    EXPERIMENTS
        .iter()
        .flat_map(|e| e.variants.iter().map(move |variant| (e.name, *variant)))
        .filter(|(experiment, variant)| unsafe_others(store, experiment, variant).is_some())
        .map(|(experiment, variant)| format!("{experiment} · {variant}"))
        .collect()
}
