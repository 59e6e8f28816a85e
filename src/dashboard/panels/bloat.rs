//! Tables: the estimate of their bloat, and proof that vacuum is held back.

use crate::pg::{Table, Value};
use std::collections::HashMap;

/// What is remembered of a table from one sample to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Seen {
    vacuums: i64,
    dead: i64,
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
/// Fewer dead rows than this are not worth a word.
const WORTH_A_WORD: i64 = 1_000;

/// Adds `bloat_bytes`, `bloat_pct`, `in_vain` (vacuums that removed next to nothing) and `held_by`
/// (the oldest holder of the horizon, where vacuums ran in vain).
pub fn derive(
    mut table: Table,
    memory: &mut Memory,
    estimates: &Table,
    holder: Option<&str>,
) -> Table {
    let estimate: HashMap<i64, usize> = (0..estimates.rows.len())
        .filter_map(|row| Some((estimates.get(row, "relid").int()?, row)))
        .collect();
    for name in ["bloat_bytes", "bloat_pct", "in_vain", "held_by"] {
        table.ensure_column(name);
    }
    let mut alive = HashMap::new();
    for row in 0..table.rows.len() {
        let Some(relid) = table.get(row, "relid").int() else {
            continue;
        };
        for name in ["bloat_bytes", "bloat_pct"] {
            let value = match estimate.get(&relid) {
                Some(at) => match estimates.get(*at, name) {
                    Value::Null => Value::Unavailable,
                    known => known.clone(),
                },
                None => Value::Pending,
            };
            table.set(row, name, value);
        }
        let now = Seen {
            vacuums: table.get(row, "vacuums").int().unwrap_or(0),
            dead: table.get(row, "n_dead").int().unwrap_or(0),
            in_vain: 0,
        };
        let now = memory
            .seen
            .get(&relid)
            .map_or(now, |before| compare(*before, now));
        alive.insert(relid, now);
        if now.in_vain > 0 {
            table.set(row, "in_vain", Value::Int(now.in_vain));
            table.set(row, "held_by", holder.map_or(Value::Null, Value::from));
        }
    }
    memory.seen = alive;
    table
}

fn compare(before: Seen, now: Seen) -> Seen {
    let ran = now.vacuums - before.vacuums;
    let kept = now.dead as f64 >= before.dead as f64 * LEFT_BEHIND;
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
                Some("812"),
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
