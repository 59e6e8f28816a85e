//! Tables and indexes: the estimate of their bloat, proof that vacuum is held back, and dead rows that wait for
//! a holder of the horizon.

use crate::pg::{Table, Value};
use std::collections::HashMap;

/// What is remembered of a table from one sample to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    vacuums: i64,
    dead: i64,
    /// Rows updated or deleted since the counters began.
    deaths: i64,
    /// Vacuums since then removed next to nothing.
    in_vain: i64,
}

/// What earlier samples said, for the proof that vacuum runs in vain.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    seen: HashMap<i64, Seen>,
}

/// Share of the dead rows that a vacuum must leave behind to count as run in vain.
const LEFT_BEHIND: f64 = 0.8;
/// The statement returns so many relations at most.
const LISTED: usize = 200;
/// Relations with a lower OID are the server's own.
pub const USER_OID: i64 = 16_384;
/// Fewer dead rows than this are not worth a word.
const WORTH_A_WORD: i64 = 1_000;

/// Adds `bloat_bytes`, `bloat_pct`, `in_vain` (vacuums that removed next to nothing) and `held_by`
/// (the oldest holder of the horizon, where vacuums ran in vain while it held).
pub fn derive(
    mut table: Table,
    memory: &mut Memory,
    estimates: &Table,
    holder: Option<(&str, f64)>,
) -> Table {
    estimated(&mut table, estimates);
    for name in ["in_vain", "held_by"] {
        table.ensure_column(name);
    }
    let mut alive = HashMap::new();
    for row in 0..table.rows.len() {
        let Some(relid) = table.get(row, "relid").int() else {
            continue;
        };
        let now = Seen {
            vacuums: table.get(row, "vacuums").int().unwrap_or(0),
            dead: table.get(row, "n_dead").int().unwrap_or(0),
            deaths: table.get(row, "deaths").int().unwrap_or(0),
            in_vain: 0,
        };
        let now = memory
            .seen
            .get(&relid)
            .map_or(now, |before| compare(*before, now));
        alive.insert(relid, now);
        if now.in_vain > 0 {
            table.set(row, "in_vain", Value::Int(now.in_vain));
            let vacuumed_s = table.get(row, "last_vacuum_s").number();
            let held = holder.filter(|(_, held_s)| vacuumed_s.is_none_or(|ago| ago < *held_s));
            let held = held.map_or(Value::Null, |(holder, _)| holder.into());
            table.set(row, "held_by", held);
        }
    }
    memory.seen = alive;
    table
}

/// Rows updated or deleted since the counters began, by relation.
pub fn deaths(table: &Table) -> HashMap<i64, i64> {
    let row = |row| {
        Some((
            table.get(row, "relid").int()?,
            table.get(row, "deaths").int()?,
        ))
    };
    (0..table.rows.len()).filter_map(row).collect()
}

/// Who holds the horizon, and what had died before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holder<'a> {
    /// Transaction ids given out since it began to hold.
    pub age_xids: Option<i64>,
    /// Seconds since the rows were counted, and seconds for which it had held then, at least.
    pub least_s: f64,
    /// What had died when it was seen to hold.
    pub base: Option<Base<'a>>,
}

/// Deaths by relation when a holder was seen to hold.
#[derive(Clone, Copy, Debug)]
pub struct Base<'a> {
    /// When sessions had reported all that died before.
    pub deaths: &'a HashMap<i64, i64>,
    /// Before it was first seen.
    pub before: Option<&'a HashMap<i64, i64>>,
    /// It began while this program watched.
    pub whole: bool,
}

/// The dead rows of each relation that wait for the holder: at most so many, where that is known. And the
/// sum of all, where all are known or what is known is enough to be worth a word.
pub fn waits(table: &Table, holder: &Holder<'_>) -> (Vec<Option<i64>>, Option<i64>) {
    let rows = 0..table.rows.len();
    let each: Vec<_> = rows.map(|row| waiting(table, row, holder)).collect();
    let all: i64 = each.iter().flatten().sum();
    let known = !table.columns.is_empty() && !each.contains(&None);
    let told = known || all >= WORTH_A_WORD || holder.age_xids == Some(0);
    (each, told.then_some(all))
}

fn waiting(table: &Table, row: usize, holder: &Holder<'_>) -> Option<i64> {
    let number = |name| table.get(row, name).int();
    let dead = number("n_dead")?;
    if dead == 0 || holder.age_xids == Some(0) {
        return Some(0);
    }
    let relid = number("relid")?;
    let since = |deaths: &HashMap<i64, i64>| {
        // What was not among them then was not there, unless there was no room.
        match deaths.get(&relid) {
            Some(before) => Some((number("deaths")? - before).clamp(0, dead)),
            None if deaths.len() >= LISTED => None,
            // Catalogues and TOAST come in from so many dead rows on.
            None if relid < USER_OID || table.get(row, "relkind").text() == Some("t") => {
                Some((dead - WORTH_A_WORD).max(0))
            }
            None => Some(dead),
        }
    };
    let grown = holder.base.and_then(|base| since(base.deaths));
    // A vacuum that ended while it held has left only what it may not remove.
    let ago = table.get(row, "last_vacuum_s").number();
    let left = ago.filter(|ago| *ago < holder.least_s).map(|_| dead);
    match holder.base {
        // What a vacuum left may have died before, for another holder that is gone; but not what has died since.
        Some(base) if base.whole => {
            let first = base.before.and_then(since);
            grown.max(first.zip(left).map(|(died, left)| died.min(left)))
        }
        _ => grown.max(left),
    }
}

/// Adds `bloat_bytes` and `bloat_pct` from the estimates of the same relations: pending until there are any,
/// n/a for a relation that has none. Where more may be hidden the estimate is a lower bound.
pub fn estimated(table: &mut Table, estimates: &Table) {
    let estimate: HashMap<i64, usize> = (0..estimates.rows.len())
        .filter_map(|row| Some((estimates.get(row, "relid").int()?, row)))
        .collect();
    for name in ["bloat_bytes", "bloat_pct"] {
        table.ensure_column(name);
        for row in 0..table.rows.len() {
            let at = table.get(row, "relid").int();
            let at = at.and_then(|relid| estimate.get(&relid));
            let value = match at.map(|at| estimates.get(*at, name)) {
                None if estimates.columns.is_empty() => Value::Pending,
                None | Some(Value::Null) => Value::Unavailable,
                Some(known) => known.clone(),
            };
            let hides = at.is_some_and(|at| estimates.get(*at, "lower_bound").is_true());
            let least = value.number().filter(|_| hides);
            let value = least.map_or(value, Value::AtLeast);
            table.set(row, name, value);
        }
    }
}

fn compare(before: Seen, now: Seen) -> Seen {
    let ran = now.vacuums - before.vacuums;
    // What has died since says nothing of what a vacuum left.
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
