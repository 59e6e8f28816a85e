//! Tables and indexes: estimates of their bloat, proof that vacuum is held back, and the dead rows kept by a
//! holder of the horizon.

use crate::dashboard::rows::{Columns, Row, Rows, added, read};
use crate::pg::{Column, Table, Value};
use std::collections::HashMap;

/// State of a table at the previous sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    vacuums: i64,
    dead: i64,
    /// Rows updated or deleted since the counters started.
    deaths: i64,
    /// Number of recent vacuums that removed next to nothing.
    in_vain: i64,
}

/// Earlier samples, used to prove that vacuum runs in vain.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    seen: HashMap<i64, Seen>,
}

/// Share of the dead rows that a vacuum must leave to count as run in vain.
const LEFT_BEHIND: f64 = 0.8;
/// Maximum number of relations that the statement returns.
const LISTED: usize = 200;
/// Lowest OID of a user's relation; lower ones are the server's own.
pub const USER_OID: i64 = 16_384;
/// Number of dead rows below which they are ignored.
const WORTH_A_WORD: i64 = 1_000;

/// Adds `bloat_bytes`, `bloat_pct`, `in_vain` (vacuums that removed next to nothing) and `held_by` (the
/// oldest holder of the horizon, if vacuums ran in vain while it held).
pub fn derive(
    mut table: Table,
    memory: &mut Memory,
    estimates: &Table,
    holder: Option<(&str, f64)>,
) -> Table {
    let bloat = added::BloatOfTables::to(&mut table);
    estimate(&mut table, estimates, bloat.bloat_bytes, bloat.bloat_pct);
    let columns = read::Relation::of(&table);
    let added = added::ToBloat::to(&mut table);
    let mut alive = HashMap::new();
    for row in 0..table.rows.len() {
        let relation = Row::of(&table, columns, row);
        let Some(relid) = relation.relid() else {
            continue;
        };
        let now = Seen {
            vacuums: relation.vacuums().unwrap_or(0),
            dead: relation.n_dead().unwrap_or(0),
            deaths: relation.deaths().unwrap_or(0),
            in_vain: 0,
        };
        let now = memory
            .seen
            .get(&relid)
            .map_or(now, |before| compare(*before, now));
        alive.insert(relid, now);
        if now.in_vain > 0 {
            let vacuumed_s = relation.last_vacuum_s();
            table.put(row, added.in_vain, Value::Int(now.in_vain));
            let held = holder.filter(|(_, held_s)| vacuumed_s.is_none_or(|ago| ago < *held_s));
            let held = held.map_or(Value::Null, |(holder, _)| holder.into());
            table.put(row, added.held_by, held);
        }
    }
    memory.seen = alive;
    table
}

/// Returns the rows updated or deleted since the counters started, by relation.
pub fn deaths(table: &Table) -> HashMap<i64, i64> {
    let rows = Rows::<read::Relation>::of(table);
    let deaths = rows.iter();
    deaths
        .filter_map(|row| Some((row.relid()?, row.deaths()?)))
        .collect()
}

/// A holder of the horizon, and the deaths of rows before it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holder<'a> {
    /// Transaction ids assigned since it began to hold.
    pub age_xids: Option<i64>,
    /// Minimum number of seconds for which it had held when the rows were counted, plus the seconds since.
    pub least_s: f64,
    /// Deaths counted when it was first seen to hold.
    pub base: Option<Base<'a>>,
}

/// Deaths by relation when a holder was first seen.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// Counted once sessions had reported all earlier deaths.
    pub deaths: &'a HashMap<i64, i64>,
    /// The last count before it was first seen.
    pub before: Option<&'a HashMap<i64, i64>>,
    /// True if it began to hold while this program watched.
    pub whole: bool,
}

/// Returns an upper bound of the dead rows that the holder keeps in each relation, if known; and their sum,
/// if all are known or the known ones are many enough to be reported.
pub fn waits(table: &Table, holder: &Holder<'_>) -> (Vec<Option<i64>>, Option<i64>) {
    let rows = Rows::of(table);
    let each: Vec<_> = rows.iter().map(|row| waiting(row, holder)).collect();
    let all: i64 = each.iter().flatten().sum();
    let known = rows.is_told() && !each.contains(&None);
    let told = known || all >= WORTH_A_WORD || holder.age_xids == Some(0);
    (each, told.then_some(all))
}

fn waiting(row: Row<'_, read::Relation>, holder: &Holder<'_>) -> Option<i64> {
    let dead = row.n_dead()?;
    if dead == 0 || holder.age_xids == Some(0) {
        return Some(0);
    }
    let relid = row.relid()?;
    let since = |deaths: &HashMap<i64, i64>| {
        // A relation missing from the earlier sample did not exist, unless the list was full.
        match deaths.get(&relid) {
            Some(before) => Some((row.deaths()? - before).clamp(0, dead)),
            None if deaths.len() >= LISTED => None,
            // System catalogues and TOAST tables are listed only from this many dead rows.
            None if relid < USER_OID || row.relkind().is("t") => Some((dead - WORTH_A_WORD).max(0)),
            None => Some(dead),
        }
    };
    let grown = holder.base.and_then(|base| since(base.deaths));
    // A vacuum that ended while it held has left only rows that it may not remove.
    let ago = row.last_vacuum_s();
    let left = ago.filter(|ago| *ago < holder.least_s).map(|_| dead);
    match holder.base {
        // Rows left by a vacuum may have died earlier and been kept by a holder now gone, but they cannot
        // have died since.
        Some(base) if base.whole => {
            let first = base.before.and_then(since);
            grown.max(first.zip(left).map(|(died, left)| died.min(left)))
        }
        _ => grown.max(left),
    }
}

/// Adds `bloat_bytes` and `bloat_pct` to indexes, as [`derive()`] does to tables.
pub fn estimated(table: &mut Table, estimates: &Table) {
    let bloat = added::BloatOfIndexes::to(table);
    estimate(table, estimates, bloat.bloat_bytes, bloat.bloat_pct);
}

/// Sets the bytes and the share of bloat from the estimates of the same relations: pending until there are
/// any, n/a for a relation without one. If rows may be hidden, the estimate is a lower bound.
fn estimate(table: &mut Table, estimates: &Table, bytes: Column, pct: Column) {
    let estimates = Rows::<read::Estimate>::of(estimates);
    let known = estimates.iter();
    let known: HashMap<i64, Row<'_, read::Estimate>> =
        known.filter_map(|row| Some((row.relid()?, row))).collect();
    let columns = read::Estimated::of(table);
    for row in 0..table.rows.len() {
        let relid = Row::of(table, columns, row).relid();
        let estimate = relid.and_then(|relid| known.get(&relid));
        let hides = estimate.is_some_and(|estimate| estimate.lower_bound() == Some(true));
        let value = |figure: Option<&Value>| match figure {
            None if !estimates.is_told() => Value::Pending,
            None | Some(Value::Null) => Value::Unavailable,
            Some(known) => {
                let least = known.number().filter(|_| hides);
                least.map_or_else(|| known.clone(), Value::AtLeast)
            }
        };
        let told = [
            value(estimate.map(Row::bloat_bytes)),
            value(estimate.map(Row::bloat_pct)),
        ];
        for (column, value) in [bytes, pct].into_iter().zip(told) {
            table.put(row, column, value);
        }
    }
}

fn compare(before: Seen, now: Seen) -> Seen {
    let ran = now.vacuums - before.vacuums;
    // Rows that died since are not among those left by a vacuum.
    let died = (now.deaths - before.deaths).max(0);
    let left = if ran > 0 { now.dead - died } else { now.dead };
    let kept = left as f64 >= before.dead as f64 * LEFT_BEHIND;
    let in_vain = if now.dead < WORTH_A_WORD || !kept || ran < 0 {
        0
    } else if ran > 0 && before.dead >= WORTH_A_WORD {
        before.in_vain + ran
    } else {
        before.in_vain
    };
    Seen { in_vain, ..now }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(vacuums: i64, dead: i64) -> Table {
        Table {
            columns: ["relid", "vacuums", "n_dead"]
                .iter()
                .map(|name| (*name).into())
                .collect(),
            rows: vec![vec![Value::Int(7), Value::Int(vacuums), Value::Int(dead)]],
        }
    }

    #[test]
    fn a_vacuum_that_removes_nothing_is_held_back() {
        let mut memory = Memory::default();
        let mut step = |vacuums, dead| {
            let table = derive(
                sample(vacuums, dead),
                &mut memory,
                &Table::default(),
                Some(("812", 60.0)),
            );
            table.first("held_by").clone()
        };
        assert_eq!(step(1, 10_000), Value::Null);
        assert_eq!(step(1, 12_000), Value::Null, "no vacuum ran");
        assert_eq!(step(2, 12_500), Value::from("812"));
        assert_eq!(
            step(2, 13_000),
            Value::from("812"),
            "still so until one succeeds"
        );
        assert_eq!(step(3, 100), Value::Null, "it was released");
    }
}
