//! Tables: the rate of sequential scans and of the rows they read.

use crate::dashboard::rows::{Columns, Row, added, read};
use crate::pg::{Table, Value};
use std::collections::HashMap;

/// Scans and rows of the previous sample.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    at_s: f64,
    seen: HashMap<i64, (i64, i64)>,
}

/// Minimum number of rows of a table; scans of smaller tables cost little.
const LARGE: i64 = 10_000;

/// Adds `seq_scans_per_s` and `seq_rows_per_s`, computed since the previous sample.
pub fn derive(table: &mut Table, memory: &mut Memory, now_s: f64) {
    let columns = read::Relation::of(table);
    let added = added::Scans::to(table);
    let passed_s = now_s - memory.at_s;
    let mut seen = HashMap::new();
    for row in 0..table.rows.len() {
        let relation = Row::of(table, columns, row);
        let (Some(relid), Some(scans), Some(rows)) =
            (relation.relid(), relation.seq_scan(), relation.seq_rows())
        else {
            continue;
        };
        if relation.n_live().is_none_or(|live| live < LARGE) {
            continue;
        }
        let grown = memory.seen.get(&relid).filter(|_| passed_s > 0.0);
        if let Some((scans_before, rows_before)) = grown.copied()
            && scans >= scans_before
            && rows >= rows_before
        {
            let rate = |grown: i64| Value::Float(grown as f64 / passed_s);
            table.put(row, added.seq_scans_per_s, rate(scans - scans_before));
            table.put(row, added.seq_rows_per_s, rate(rows - rows_before));
        }
        seen.insert(relid, (scans, rows));
    }
    *memory = Memory { at_s: now_s, seen };
}
