//! Holders of the xmin horizon, and the tables that suffer.

use super::{described, in_vain, short};
use crate::dashboard::diagnosis::blocker::{Blocker, Kind, end_prepared};
use crate::dashboard::diagnosis::finding::{Fact, Finding, fact};
use crate::dashboard::diagnosis::{DEAD_ROWS, Evidence};
use crate::dashboard::panels::point_locks::reads;
use crate::dashboard::panels::snapshots::{YOUNG_S, oldest};
use crate::format;
use crate::keys::Keymap;
use crate::pg::Table;
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
    let (who, how, cure) = holder(evidence, row);
    let suffering = suffering(evidence.bloat);
    // A narrow screen cuts the end of the sentence, so holder, age and harm come first.
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
            let _ = write!(sentence, " kept in {relation}");
        } else {
            let _ = write!(sentence, " kept, most in {relation}");
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
    facts.extend(statement(snapshots, row, &cure));
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
        evidence: facts,
        ..Finding::default()
    })
}

/// The statement that ends the holder, or finds the query to end.
fn statement(snapshots: &Table, row: usize, cure: &str) -> Option<Fact> {
    if snapshots.get(row, "kind").text() == Some("prepared") {
        let gid = snapshots.get(row, "holder").raw().unwrap_or_default();
        let database = snapshots.get(row, "datname").text().unwrap_or_default();
        return Some(fact("to end it", end_prepared(gid, database)));
    }
    (cure == THERE).then(|| fact("there", LONG_QUERY))
}

/// Returns the holder, its state in words, and the cure.
fn holder(evidence: &Evidence<'_>, row: usize) -> (String, String, String) {
    let snapshots = evidence.snapshots;
    let text = |name| snapshots.get(row, name).text().unwrap_or_default();
    let holder = text("holder");
    match text("kind") {
        "backend" => (
            described(snapshots, row),
            format!(
                ", {}",
                short(snapshots.get(row, "state").text().unwrap_or("?"))
            ),
            Blocker::of(evidence, snapshots, row).cure(),
        ),
        "prepared" => (
            format!(
                "prepared transaction {holder} in database {}",
                text("datname")
            ),
            String::new(),
            Kind::Prepared.cure(&evidence.config.keys),
        ),
        "replica" => {
            let keys = &evidence.config.keys;
            replica(holder, text("application_name"), text("query"), keys)
        }
        // Slot names contain only a to z, 0 to 9 and underscores.
        _ => (
            format!("replication slot {holder}"),
            String::new(),
            match text("state") {
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
    let bloat = evidence.bloat;
    (0..bloat.rows.len()).any(|row| {
        let name = bloat.get(row, "relation").raw().unwrap_or_default();
        let (schema, name) = name.split_once('.').unwrap_or(("public", name));
        bloat.get(row, "waiting").int() >= Some(DEAD_ROWS)
            && reads(evidence.point_query, schema, name)
    })
}

/// Returns the relation with the most dead rows kept.
fn worst(bloat: &Table) -> Option<usize> {
    let waiting = |row: &usize| bloat.get(*row, "waiting").int().unwrap_or(0);
    (0..bloat.rows.len())
        .filter(|row| waiting(row) > 0)
        .max_by_key(waiting)
}

/// Lists the tables of this database with the most dead rows kept.
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
        let mut text = format!("≤{waiting} of {dead} dead rows kept");
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
