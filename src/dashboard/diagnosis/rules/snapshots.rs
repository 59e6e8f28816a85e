//! Who holds the xmin horizon, and which tables suffer.

use super::{cure, described, in_vain, short};
use crate::dashboard::diagnosis::finding::{Fact, Finding, fact};
use crate::dashboard::diagnosis::{DEAD_ROWS, Evidence};
use crate::dashboard::panels::snapshots::{YOUNG_S, oldest};
use crate::format;
use crate::pg::Table;
use std::fmt::Write;

/// One table with this share of the dead rows stands for all.
const NEARLY_ALL: f64 = 0.9;
/// So many tables are listed.
const LISTED: usize = 3;

/// The oldest snapshot of those that keep rows of this database, where rows wait for it.
pub fn old_snapshot(evidence: &Evidence<'_>) -> Option<Finding> {
    let snapshots = evidence.snapshots;
    let row = oldest(snapshots)?;
    let number = |name| snapshots.get(row, name).number();
    let known = number("age_s");
    if known.or(number("age_least_s"))? < YOUNG_S {
        return None;
    }
    let age = match known {
        Some(age) => format::seconds(age),
        None => format!("≥{}", number("age_least_s").map(format::seconds)?),
    };
    let pins = number("pins").filter(|pins| *pins >= DEAD_ROWS as f64)?;
    let (who, how, cure) = holder(snapshots, row);
    let suffering = suffering(evidence.bloat);
    // On a narrow screen the end of the sentence is cut: who, how old and what it hurts come first.
    let mut sentence = format!(
        "{who} holds a {age} snapshot: ≤{} dead rows",
        format::count(pins)
    );
    if let Some(worst) = worst(evidence.bloat) {
        let relation = evidence
            .bloat
            .get(worst, "relation")
            .text()
            .unwrap_or("tables");
        let waiting = evidence.bloat.get(worst, "waiting").number().unwrap_or(0.0);
        if waiting >= pins * NEARLY_ALL {
            let _ = write!(sentence, " of {relation} wait");
        } else {
            let _ = write!(sentence, " wait, the most in {relation}");
        }
        if let Some(vain) = evidence
            .bloat
            .get(worst, "in_vain")
            .int()
            .filter(|times| *times > 0)
        {
            let _ = write!(sentence, " ({})", in_vain(vain));
        }
    } else {
        sentence.push_str(" wait");
    }
    sentence.push_str(&how);
    let kind = snapshots.get(row, "kind").text().unwrap_or_default();
    let mut facts = vec![
        fact(kind, format!("{who}, snapshot {age} old")),
        fact(
            "transactions since",
            number("age_xids").map_or("?".into(), format::count),
        ),
    ];
    if let Some(query) = snapshots.get(row, "query").text() {
        facts.push(fact("its statement", query));
    }
    facts.extend(suffering);
    Some(Finding {
        // That rows wait for it is what makes it a reason for slow work.
        explains: &["snapshot", "dead", "p99", "tps"],
        subject: who,
        sentence,
        cure: cure.into(),
        evidence: facts,
        ..Finding::default()
    })
}

/// Who, in which way, and what ends it.
fn holder(snapshots: &Table, row: usize) -> (String, String, &'static str) {
    let holder = snapshots.get(row, "holder").text().unwrap_or_default();
    match snapshots.get(row, "kind").text().unwrap_or_default() {
        "backend" => {
            let state = snapshots.get(row, "state").text().unwrap_or("?");
            (
                described(snapshots, row),
                format!(", {}", short(state)),
                cure(state),
            )
        }
        "prepared" => (
            format!("prepared transaction {holder}"),
            String::new(),
            "COMMIT or ROLLBACK PREPARED it",
        ),
        "replica" => (
            format!("standby {holder}"),
            ", by hot_standby_feedback".into(),
            "look for its long query",
        ),
        _ => (
            format!("replication slot {holder}"),
            String::new(),
            "its consumer lags or is gone",
        ),
    }
}

/// The relation with the most rows that wait.
fn worst(bloat: &Table) -> Option<usize> {
    let waiting = |row: &usize| bloat.get(*row, "waiting").int().unwrap_or(0);
    (0..bloat.rows.len())
        .filter(|row| waiting(row) > 0)
        .max_by_key(waiting)
}

/// The tables of this database with the most dead rows that wait.
fn suffering(bloat: &Table) -> Vec<Fact> {
    let waiting = |row: &usize| bloat.get(*row, "waiting").int().unwrap_or(0);
    let mut rows: Vec<usize> = (0..bloat.rows.len())
        .filter(|row| waiting(row) >= DEAD_ROWS)
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(waiting(row)));
    let told = rows.into_iter().take(LISTED).map(|row| {
        let relation = bloat.get(row, "relation").text().unwrap_or_default();
        let dead = bloat.get(row, "n_dead").number().unwrap_or(0.0);
        let (waiting, dead) = (format::count(waiting(&row) as f64), format::count(dead));
        let mut text = format!("≤{waiting} of {dead} dead rows wait");
        if let Some(share) = bloat.get(row, "dead_pct").number() {
            let _ = write!(text, "; {} of the table is dead", format::percent(share));
        }
        if let Some(times) = bloat.get(row, "in_vain").int() {
            let _ = write!(text, "; {}", in_vain(times));
        }
        fact(relation, text)
    });
    told.collect()
}
