//! Changes of figures, and how much each matters: about 1 is a session that does nothing else, or a whole target.

use super::levels::{Relation, Relations, Settings};
use super::statements::Figures;
use super::{Change, Period, What};
use crate::config::Targets;
use crate::pg::Value;
use crate::text::Clean;
use std::collections::BTreeSet;

/// Least share by which a figure must differ, of the larger one.
const LEAST_SHARE: f64 = 0.1;
/// Dead rows of a table that are not worth a word.
const FEW_DEAD: f64 = 1_000.0;
/// Bytes of all tables below which a database counts as that large: in a small one everything is a large share.
const SMALL: f64 = 1_073_741_824.0;

/// Returns true if a difference is larger than that of two periods in which nothing happened.
fn differs(before: f64, after: f64) -> bool {
    let larger = before.abs().max(after.abs());
    larger > 0.0 && (after - before).abs() >= LEAST_SHARE * larger
}

fn change(what: What, name: &str, (before, after): (f64, f64), weight: f64) -> Option<Change> {
    differs(before, after).then(|| Change {
        what,
        name: Clean::from(name),
        before: Value::Float(before),
        after: Value::Float(after),
        weight: Some(weight),
        work: None,
        replanned: None,
    })
}

/// A percentile weighs its difference as a share of the target; tps half of its difference as a share of the larger figure,
/// because more or fewer clients are no fault.
pub(super) fn oltp(before: &Period, after: &Period, targets: &Targets, changes: &mut Vec<Change>) {
    let (then, now) = (&before.oltp, &after.oltp);
    let shares = [
        (What::P50, then.p50_ms, now.p50_ms),
        (What::P99, then.p99_ms, now.p99_ms),
    ];
    for (what, then, now) in shares {
        if let (Some(then), Some(now)) = (then, now) {
            let weight = (now - then).abs() / targets.oltp_p99_ms;
            changes.extend(change(what, "point query", (then, now), weight));
        }
    }
    if let (Some(then), Some(now)) = (then.tps, now.tps) {
        let weight = (now - then).abs() / then.max(now).max(f64::MIN_POSITIVE) / 2.0;
        changes.extend(change(What::Tps, "transactions", (then, now), weight));
    }
}

pub(super) fn works(before: &Period, after: &Period, changes: &mut Vec<Change>) {
    let (Some(then), Some(now)) = (&before.works, &after.works) else {
        return;
    };
    let by_text;
    let (then, now) = if before.server.has_ids_of(&after.server) {
        (then, now)
    } else {
        by_text = (then.by_text(), now.by_text());
        (&by_text.0, &by_text.1)
    };
    for key in then.keys(now) {
        let Some((b, a)) = then.of(key).zip(now.of(key)) else {
            continue;
        };
        let calls = b.calls_per_s.unwrap_or_default();
        let rarer = a.calls_per_s.map(|a| {
            if b.calls_per_s.is_some() {
                a.min(calls)
            } else {
                a
            }
        });
        let some = |share: Option<f64>, other: Option<f64>| match (share, other) {
            (Some(a), Some(b)) => differs(a, b),
            _ => false,
        };
        let altered = some(b.mean_ms, a.mean_ms) || some(b.calls_per_s, a.calls_per_s);
        let Some(weight) = weight(&b, &a, rarer).filter(|_| altered) else {
            continue;
        };
        let text = now.text(key).or(then.text(key));
        let name = text.cloned().unwrap_or_else(|| Clean::from(key.join(" ")));
        changes.push(Change {
            what: What::Statement,
            name,
            before: b.mean_ms.into(),
            after: a.mean_ms.into(),
            weight: Some(weight),
            work: Some((b, a)),
            replanned: before
                .plans
                .get(key)
                .zip(after.plans.get(key))
                .and_then(replanned),
        });
    }
}

/// Returns how two plans of a statement differ: the first line that is not the same without its costs.
fn replanned((before, after): (&Vec<Clean>, &Vec<Clean>)) -> Option<String> {
    let node = |plan: &[Clean], line: usize| {
        let line = plan.get(line).map_or("nothing", Clean::as_str);
        let line = line.split("  (cost=").next().unwrap_or_default();
        line.trim().trim_start_matches("->").trim().to_owned()
    };
    let longest = before.len().max(after.len());
    let mut pairs = (0..longest).map(|line| (node(before, line), node(after, line)));
    let (before, after) = pairs.find(|(before, after)| before != after)?;
    Some(format!("another plan: {before} → {after}"))
}

/// A statement weighs the difference of its execution time in seconds per second, or the difference that its mean makes
/// at the lower rate of calls if that is more: clients that wait for answers call less often if these take longer, and the
/// time per second stays the same.
fn weight(before: &Figures, after: &Figures, rarer: Option<f64>) -> Option<f64> {
    let mean = match (before.mean_ms, after.mean_ms) {
        (Some(b), Some(a)) => rarer.map(|calls| calls * (a - b).abs()),
        _ => None,
    };
    let time = |figures: &Figures| match (figures.calls_per_s, figures.mean_ms) {
        (Some(calls), Some(mean)) => Some(calls * mean),
        (Some(_), None) => Some(0.0),
        (None, _) => None,
    };
    let time = time(before).zip(time(after)).map(|(b, a)| (a - b).abs());
    let ms = match (mean, time) {
        (Some(mean), Some(time)) => Some(mean.max(time)),
        (mean, time) => mean.or(time),
    };
    ms.map(|ms| ms / 1_000.0)
}

/// Dead rows weigh the difference of their share of the table's rows, as a share of the target; at most a half,
/// because vacuum comes and goes.
pub(super) fn dead(
    then: &Relations,
    now: &Relations,
    targets: &Targets,
    changes: &mut Vec<Change>,
) {
    for (name, after) in &now.rows {
        let before = then.rows.get(name);
        let Some((b, a)) = before.and_then(|before| before.dead).zip(after.dead) else {
            continue;
        };
        if b.max(a) < FEW_DEAD {
            continue;
        }
        let rows = after.live.unwrap_or(0.0) + b.max(a);
        let share = (a - b).abs() / rows * 100.0 / targets.dead_pct;
        changes.extend(change(What::Dead, name, (b, a), share.min(0.5)));
    }
}

/// A size weighs its difference as a share of all tables or indexes, which count as 1 GB at least.
pub(super) fn sizes(
    what: What,
    then: &Relations,
    now: &Relations,
    changes: &mut Vec<Change>,
    made: &mut Vec<Change>,
) {
    let all = then.bytes().max(SMALL);
    let names: BTreeSet<&String> = then.rows.keys().chain(now.rows.keys()).collect();
    for name in names {
        match (then.rows.get(name), now.rows.get(name)) {
            (Some(before), Some(after)) => {
                if let (Some(b), Some(a)) = (before.bytes, after.bytes) {
                    changes.extend(change(what, name, (b, a), (a - b).abs() / all));
                }
            }
            (Some(gone), None) if now.is_complete() && gone.own => {
                made.push(of_size(what, name, Some(gone), None));
            }
            (None, Some(new)) if then.is_complete() && new.own => {
                made.push(of_size(what, name, None, Some(new)));
            }
            _ => {}
        }
    }
}

fn of_size(what: What, name: &str, then: Option<&Relation>, now: Option<&Relation>) -> Change {
    let bytes = |relation: Option<&Relation>| match relation {
        None => Value::Null,
        Some(relation) => relation.bytes.map_or(Value::Unavailable, Value::Float),
    };
    Change {
        what,
        name: Clean::from(name),
        before: bytes(then),
        after: bytes(now),
        weight: None,
        work: None,
        replanned: None,
    }
}

pub(super) fn settings(then: &Settings, now: &Settings, made: &mut Vec<Change>) {
    for (name, after) in now {
        let Some(before) = then.get(name).filter(|before| *before != after) else {
            continue;
        };
        made.push(Change {
            what: What::Setting,
            name: Clean::from(name.as_str()),
            before: before.as_str().into(),
            after: after.as_str().into(),
            weight: None,
            work: None,
            replanned: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_that_wait_do_not_hide_a_slow_statement() {
        let figures = |calls: f64, mean: f64| Figures {
            calls_per_s: Some(calls),
            mean_ms: Some(mean),
            ..Figures::default()
        };
        // One client, always busy: 16,000 calls of 0.06 ms, then 24 of 40 ms.
        let slowed = weight(&figures(16_000.0, 0.06), &figures(24.0, 40.0), Some(24.0));
        assert!((slowed.unwrap() - 0.96).abs() < 0.01, "{slowed:?}");
        // Requests that come at their own rate.
        let slowed = weight(&figures(50.0, 0.1), &figures(50.0, 40.1), Some(50.0));
        assert!((slowed.unwrap() - 2.0).abs() < 0.01, "{slowed:?}");
        // What is not known is no change.
        let before = Figures::default();
        assert_eq!(weight(&before, &figures(50.0, 40.0), None), None);
        let idle = Figures {
            calls_per_s: Some(0.0),
            ..before
        };
        let new = weight(&idle, &figures(10.0, 5.0), None);
        assert!((new.unwrap() - 0.05).abs() < 1e-9, "{new:?}");
    }

    #[test]
    fn plans_differ_in_their_nodes_not_in_their_costs() {
        let plan = |lines: &[&str]| -> Vec<Clean> {
            let lines = lines.iter();
            lines.map(|line| Clean::from(*line)).collect()
        };
        let sum = "Aggregate  (cost=8.5..8.6 rows=1 width=8)";
        let dearer = "Aggregate  (cost=1943.1..1943.2 rows=1 width=8)";
        let index = "  ->  Index Scan using by_customer on orders  (cost=0.3..8.4 rows=20 width=4)";
        let scan = "  ->  Seq Scan on orders  (cost=0.0..1943.0 rows=20 width=4)";
        let before = plan(&[sum, index]);
        assert_eq!(
            replanned((&before, &plan(&[dearer, scan]))).unwrap(),
            "another plan: Index Scan using by_customer on orders → Seq Scan on orders"
        );
        assert_eq!(replanned((&before, &plan(&[dearer, index]))), None);
        let shorter = replanned((&before, &plan(&[sum]))).unwrap();
        assert!(shorter.ends_with("→ nothing"), "{shorter}");
    }
}
