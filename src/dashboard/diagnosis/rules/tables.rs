//! Dead rows of tables.

use super::{in_vain, row_of};
use crate::dashboard::diagnosis::blocker::Blocker;
use crate::dashboard::diagnosis::finding::{Finding, fact};
use crate::dashboard::diagnosis::{Evidence, MANY_DEAD_ROWS};
use crate::dashboard::rows::{Row, read};
use crate::format;
use crate::pg::to_copy;
use std::fmt::Write;

/// Finds the table with the greatest share of dead rows among those that have many.
pub(super) fn dead_rows(evidence: &Evidence<'_>) -> Option<Finding> {
    let share = |row: &Row<'_, read::Relation>| row.dead_pct().unwrap_or(0.0);
    let rows = evidence.bloat.iter();
    let worst = rows
        .filter(|row| row.n_dead().unwrap_or(0) >= MANY_DEAD_ROWS)
        .max_by(|a, b| share(a).total_cmp(&share(b)))?;
    let relation = worst.relation().shown();
    let dead = format::count(worst.n_dead().unwrap_or(0) as f64);
    let share = format::percent(share(&worst));
    let holder = worst.held_by().text();
    let row_of_holder = holder.and_then(|holder| {
        let pid = holder.strip_prefix("pid ")?.parse().ok()?;
        row_of(evidence.activity, pid)
    });
    let gone = holder.is_some_and(|holder| holder.starts_with("pid ")) && row_of_holder.is_none();
    let why = match (worst.in_vain(), holder) {
        (Some(_), Some(holder)) if gone => format!("{holder} held them until now"),
        (Some(times), Some(holder)) => {
            let holder = slot(holder).map_or_else(
                || holder.to_owned(),
                |slot| format!("replication slot {slot}"),
            );
            format!("{}: held back by {holder}", in_vain(times))
        }
        (Some(times), None) => in_vain(times),
        _ => worst.last_vacuum_s().map_or_else(
            || "never vacuumed".into(),
            |ago| format!("last vacuum {} ago", format::seconds(ago)),
        ),
    };
    let off = Off::of(evidence, worst);
    let vain = worst.in_vain().is_some();
    let blocker = row_of_holder.map(|row| Blocker::of(evidence, row));
    let (cure, ends) = match (holder.and_then(slot), blocker) {
        (Some(slot), _) => (drop_slot(slot), None),
        (None, Some(blocker)) => (blocker.cure(), blocker.ends()),
        (None, None) if vain && !gone => (String::new(), None),
        (None, None) => (vacuum(evidence, worst), None),
    };
    let due = worst.autovacuum_due().map_or_else(
        || "off".to_owned(),
        |due| format!("{due:.1} times autovacuum's threshold of dead rows"),
    );
    let mut facts = vec![
        fact("dead rows", format!("{dead}, {share} of all")),
        fact(
            "autovacuum",
            off.as_ref().map_or(due, |off| off.words.into()),
        ),
        fact("vacuum", why.clone()),
    ];
    let mut sentence = format!("{relation}: {dead} dead rows, {share}; {why}");
    // Rows that VACUUM may not remove, autovacuum may not remove, either.
    let (cure, ends) = match off.filter(|_| !vain || gone) {
        Some(off) => {
            let _ = write!(sentence, ", {}", off.words);
            facts.push(fact("once, by hand", vacuum(evidence, worst)));
            (off.cure, None)
        }
        None => (cure, ends),
    };
    Some(Finding {
        explains: &["dead"],
        subject: relation.to_owned(),
        sentence,
        cure,
        ends,
        evidence: facts,
        ..Finding::default()
    })
}

/// Returns the statement that drops a slot nobody reads.
fn drop_slot(slot: &str) -> String {
    format!("SELECT pg_drop_replication_slot('{slot}'), if its reader is gone")
}

/// A table whose autovacuum is off.
struct Off {
    words: &'static str,
    cure: String,
}

impl Off {
    /// Returns this for a table if its autovacuum is off.
    fn of(evidence: &Evidence<'_>, table: Row<'_, read::Relation>) -> Option<Self> {
        let statement = table.switch_on().raw()?;
        Some(Self {
            words: if statement.starts_with("ALTER SYSTEM") {
                "autovacuum is off on this server"
            } else {
                "autovacuum is off for it"
            },
            cure: format!("{}{}", place(evidence), to_copy(statement)),
        })
    }
}

/// Returns the prefix that says to run a statement on the primary, if this server is a standby.
fn place(evidence: &Evidence<'_>) -> &'static str {
    if evidence.facts.in_recovery() == Some(true) {
        "on the primary: "
    } else {
        ""
    }
}

/// Returns the statement that vacuums a table.
pub(super) fn vacuum(evidence: &Evidence<'_>, table: Row<'_, read::Relation>) -> String {
    let Some(name) = table.quoted().raw() else {
        return String::new();
    };
    format!("{}VACUUM {}", place(evidence), to_copy(name))
}

/// Returns the name of the slot that holds the rows, if a slot does.
fn slot(holder: &str) -> Option<&str> {
    let catalogue = holder.strip_prefix("slot_catalog ");
    catalogue.or(holder.strip_prefix("slot "))
}
