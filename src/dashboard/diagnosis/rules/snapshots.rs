//! Holders of the xmin horizon, and the tables that suffer.

use super::{described, in_vain, short};
use crate::dashboard::diagnosis::blocker::{Blocker, Kind, end_prepared};
use crate::dashboard::diagnosis::finding::{Fact, Finding, fact};
use crate::dashboard::diagnosis::{DEAD_ROWS, Evidence};
use crate::dashboard::panels::point_locks::reads;
use crate::dashboard::panels::snapshots::{YOUNG_S, oldest};
use crate::dashboard::rows::{Row, Rows, read};
use crate::format;
use crate::keys::Keymap;
use std::fmt::Write;

/// Share of the dead rows from which one table is named alone.
const NEARLY_ALL: f64 = 0.9;
/// Maximum number of tables listed.
const LISTED: usize = 3;
/// Cure if a standby holds rows back.
const THERE: &str = "find its long query";
/// The statement that finds the query there.
const LONG_QUERY: &str = "SELECT pid, usename, xact_start, query FROM pg_stat_activity \
                          WHERE backend_type = 'client backend' AND backend_xmin IS NOT NULL \
                          AND pid <> pg_backend_pid() ORDER BY age(backend_xmin) DESC LIMIT 5";

/// Finds the oldest snapshot that keeps dead rows of this database.
pub(super) fn old_snapshot(evidence: &Evidence<'_>) -> Option<Finding> {
    let row = oldest(evidence.snapshots)?;
    let known = row.age_s();
    if known.or(row.age_least_s())? < YOUNG_S {
        return None;
    }
    let age = match known {
        Some(age) => format::seconds(age),
        None => format!("≥{}", row.age_least_s().map(format::seconds)?),
    };
    let pins = row.pins().filter(|pins| *pins >= DEAD_ROWS)? as f64;
    let (who, how, cure) = holder(evidence, row);
    let suffering = suffering(evidence.bloat);
    // A narrow screen cuts the end of the sentence, so holder, age and harm come first.
    let mut sentence = format!(
        "{who} holds a {age} snapshot: ≤{} dead rows",
        format::count(pins)
    );
    if let Some(worst) = worst(evidence.bloat) {
        let relation = worst.relation().text().unwrap_or("tables");
        let waiting = worst.waiting().unwrap_or(0) as f64;
        if waiting >= pins * NEARLY_ALL {
            let _ = write!(sentence, " kept in {relation}");
        } else {
            let _ = write!(sentence, " kept, most in {relation}");
        }
        if let Some(vain) = worst.in_vain().filter(|times| *times > 0) {
            let _ = write!(sentence, " ({})", in_vain(vain));
        }
    } else {
        sentence.push_str(" wait");
    }
    sentence.push_str(&how);
    let mut facts = vec![
        fact(row.kind().shown(), format!("{who}, snapshot {age} old")),
        fact(
            "transactions since",
            row.age_xids()
                .map_or("?".into(), |age| format::count(age as f64)),
        ),
    ];
    if let Some(query) = row.query().text() {
        facts.push(fact("its statement", query));
    }
    facts.extend(statement(row, &cure));
    facts.extend(suffering);
    let explains: &[&str] = if hurts_point_query(evidence) {
        &["snapshot", "dead", "p99", "tps"]
    } else {
        &["snapshot", "dead", "tps"]
    };
    Some(Finding {
        // Only dead rows kept by it make a snapshot a reason for slow work.
        explains,
        subject: who,
        sentence,
        cure,
        ends: ends(evidence, row),
        evidence: facts,
        ..Finding::default()
    })
}

/// The statement that ends the holder, or finds the query to end.
fn statement(row: Row<'_, read::Holder>, cure: &str) -> Option<Fact> {
    if row.kind().is("prepared") {
        let end = end_prepared(row.holder().name(), row.datname().shown());
        return Some(fact("to end it", end));
    }
    (cure == THERE).then(|| fact("there", LONG_QUERY))
}

/// The process id of the holder, if a key ends it.
fn ends(evidence: &Evidence<'_>, row: Row<'_, read::Holder>) -> Option<i64> {
    let backend = evidence.snapshots.by::<read::Backend>().at(row.position());
    let is_backend = row.kind().is("backend");
    is_backend.then(|| Blocker::of(evidence, backend).ends())?
}

/// Returns the holder, its state in words, and the cure.
fn holder(evidence: &Evidence<'_>, row: Row<'_, read::Holder>) -> (String, String, String) {
    let holder = row.holder().shown();
    let backend = || evidence.snapshots.by::<read::Backend>().at(row.position());
    match row.kind().shown() {
        "backend" => (
            described(backend()),
            format!(", {}", short(row.state().text().unwrap_or("?"))),
            Blocker::of(evidence, backend()).cure(),
        ),
        "prepared" => (
            format!(
                "prepared transaction {holder} in database {}",
                row.datname().shown()
            ),
            String::new(),
            Kind::Prepared.cure(&evidence.config.keys),
        ),
        "replica" => {
            let (name, query) = (row.application_name().shown(), row.query().shown());
            replica(holder, name, query, &evidence.config.keys)
        }
        // Slot names contain only a to z, 0 to 9 and underscores.
        _ => (
            format!("replication slot {holder}"),
            String::new(),
            match row.state().shown() {
                "active" => THERE.into(),
                _ => format!("start its reader, or SELECT pg_drop_replication_slot('{holder}')"),
            },
        ),
    }
}

/// Returns the same for a walsender that holds rows back: a standby by its name, or the other service it
/// does.
fn replica(pid: &str, name: &str, query: &str, keys: &Keymap) -> (String, String, String) {
    let kind = Kind::of_walsender(name, query);
    let (what, how, cure) = match kind {
        Kind::InitialCopy => ("initial copy of a subscription", "", kind.cure(keys)),
        Kind::BaseBackup => ("base backup", "", kind.cure(keys)),
        _ => ("standby", ", by hot_standby_feedback", THERE.into()),
    };
    let who = match name {
        "" => format!("{what} of pid {pid}"),
        name => format!("{what} {name} (pid {pid})"),
    };
    (who, how.into(), cure)
}

/// Returns true if dead rows are kept in a table that the point query reads, which then skips them each time.
fn hurts_point_query(evidence: &Evidence<'_>) -> bool {
    evidence.bloat.iter().any(|row| {
        let name = row.relation().name();
        let (schema, name) = name.split_once('.').unwrap_or(("public", name));
        row.waiting() >= Some(DEAD_ROWS) && reads(evidence.point_query, schema, name)
    })
}

/// Returns the relation with the most dead rows kept.
fn worst(bloat: Rows<'_, read::Relation>) -> Option<Row<'_, read::Relation>> {
    bloat
        .iter()
        .filter(|row| row.waiting() > Some(0))
        .max_by_key(Row::<read::Relation>::waiting)
}

/// Lists the tables of this database with the most dead rows kept.
fn suffering(bloat: Rows<'_, read::Relation>) -> Vec<Fact> {
    let waiting = |row: &Row<'_, read::Relation>| row.waiting().unwrap_or(0);
    let many = bloat.iter().filter(|row| waiting(row) >= DEAD_ROWS);
    let mut rows: Vec<Row<'_, read::Relation>> = many.collect();
    rows.sort_by_key(|row| std::cmp::Reverse(waiting(row)));
    let told = rows.into_iter().take(LISTED).map(|row| {
        let dead = format::count(row.n_dead().unwrap_or(0) as f64);
        let waiting = format::count(waiting(&row) as f64);
        let mut text = format!("≤{waiting} of {dead} dead rows kept");
        if let Some(share) = row.dead_pct() {
            let _ = write!(text, "; {} of the table is dead", format::percent(share));
        }
        if let Some(times) = row.in_vain() {
            let _ = write!(text, "; {}", in_vain(times));
        }
        fact(row.relation().shown(), text)
    });
    told.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_are_named_and_a_copy_is_none() {
        let keys = Keymap::default();
        let (who, how, _) = replica("4711", "berlin", "START_REPLICATION 0/3000000", &keys);
        assert_eq!(who, "standby berlin (pid 4711)");
        assert!(how.contains("hot_standby_feedback"), "{how}");
        let (who, how, cure) = replica("4711", "pg_16396_sync_16389_7573", "COPY public.t", &keys);
        assert!(who.starts_with("initial copy of a subscription "), "{who}");
        assert_eq!((how.as_str(), cure.as_str()), ("", "let it finish"));
    }
}
