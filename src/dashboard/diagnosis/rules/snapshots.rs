//! Who holds the xmin horizon, and which tables suffer.

use super::{cure, described, in_vain, short};
use crate::dashboard::diagnosis::finding::{Fact, Finding, fact};
use crate::dashboard::diagnosis::{DEAD_ROWS, Evidence, own_holder};
use crate::dashboard::panels::snapshots::YOUNG_S;
use crate::format;
use crate::pg::Table;
use std::fmt::Write;

/// One table with this share of the dead rows stands for all.
const NEARLY_ALL: f64 = 0.9;
/// So many tables are listed.
const LISTED: usize = 3;

/// The oldest snapshot of those that keep rows of this database.
pub fn old_snapshot(evidence: &Evidence<'_>) -> Option<Finding> {
    let snapshots = evidence.snapshots;
    let row = own_holder(snapshots)?;
    let number = |name| snapshots.get(row, name).number();
    let known = number("age_s");
    if known.or(number("age_least_s"))? < YOUNG_S {
        return None;
    }
    let age = match known {
        Some(age) => format::seconds(age),
        None => format!("≥{}", number("age_least_s").map(format::seconds)?),
    };
    let (who, how, cure) = holder(snapshots, row);
    let suffering = suffering(evidence.bloat);
    let pins = number("pins").filter(|pins| *pins >= DEAD_ROWS as f64);
    // On a narrow screen the end of the sentence is cut: who, how old and what it hurts come first.
    let mut sentence = format!("{who} holds a {age} snapshot");
    if let Some(pins) = pins {
        let worst = evidence.bloat.first("relation").text().unwrap_or("tables");
        let dead = evidence.bloat.first("n_dead").number().unwrap_or(0.0);
        let of = if dead >= pins * NEARLY_ALL {
            format!(" of {worst} wait")
        } else {
            format!(", the most in {worst}")
        };
        let pins = format::count(pins);
        let _ = write!(sentence, ": ≤{pins} dead rows{of}");
        if let Some(vain) = vain(evidence.bloat) {
            let _ = write!(sentence, " ({})", in_vain(vain));
        }
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
        // That rows wait behind it is what makes it a reason for slow work.
        explains: if pins.is_some() {
            &["snapshot", "dead", "p99", "tps"]
        } else {
            &["snapshot"]
        },
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

/// The tables of this database with the most dead rows.
fn suffering(bloat: &Table) -> Vec<Fact> {
    let dead = |row: &usize| bloat.get(*row, "n_dead").int().unwrap_or(0);
    let rows = (0..bloat.rows.len()).filter(|row| dead(row) >= DEAD_ROWS);
    let told = rows.take(LISTED).map(|row| {
        let relation = bloat.get(row, "relation").text().unwrap_or_default();
        let share = bloat.get(row, "dead_pct").number();
        let mut text = format!("{} dead rows", format::count(dead(&row) as f64));
        if let Some(share) = share {
            let _ = write!(text, ", {}", format::percent(share));
        }
        if let Some(times) = bloat.get(row, "in_vain").int() {
            let _ = write!(text, ", {}", in_vain(times));
        }
        fact(relation, text)
    });
    told.collect()
}

/// How often vacuum ran in vain on the table with the most dead rows.
fn vain(bloat: &Table) -> Option<i64> {
    bloat.first("in_vain").int().filter(|times| *times > 0)
}
