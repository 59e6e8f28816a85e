//! Rates of counters: the columns that a panel file lists under `rates` are shown per second.

use super::spec::Front;
use crate::dashboard::pairs;
use crate::pg::{Table, Value};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Column with the server's time of the sample, required in every statement with `rates`.
pub(crate) const CLOCK: &str = "now_epoch";

/// The counters of the previous sample.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    at_s: f64,
    #[serde(with = "pairs")]
    seen: HashMap<Vec<Box<str>>, Vec<Option<f64>>>,
}

/// Replaces counters by their growth per second since the previous sample, by the server's clock. A counter
/// without a previous sample, or one that decreased because of a reset, is pending.
pub(crate) fn derive(table: &mut Table, front: &Front, memory: &mut Memory) {
    if front.rates.is_empty() {
        return;
    }
    let at_s = figure(table.first(CLOCK)).filter(|at| at.is_finite());
    let at_s = at_s.unwrap_or(0.0);
    let passed_s = at_s - memory.at_s;
    let mut seen = HashMap::new();
    for row in 0..table.rows.len() {
        let key = table.identity(row, &front.key);
        let counter = |name: &String| figure(table.get(row, name));
        let counters: Vec<Option<f64>> = front.rates.iter().map(counter).collect();
        let before = memory.seen.get(&key);
        for (position, name) in front.rates.iter().enumerate() {
            let Some(now) = counters.get(position).copied().flatten() else {
                continue;
            };
            let before = before.and_then(|before| before.get(position).copied().flatten());
            let rate = before.map(|before| (now - before) / passed_s);
            let rate = rate.filter(|rate| rate.is_finite() && *rate >= 0.0);
            table.set(row, name, rate.map_or(Value::Pending, Value::Float));
        }
        seen.insert(key, counters);
    }
    if !table.rows.is_empty() {
        *memory = Memory { at_s, seen };
    }
}

/// Returns a cell as a number, even if it arrived as text, as in a user's own panel.
fn figure(cell: &Value) -> Option<f64> {
    cell.number().or_else(|| cell.text()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::panels::spec::Spec;

    #[test]
    fn counters_become_rates_of_their_own_row_and_interval() {
        let text = "-- title = \"x\"\n-- pool = \"oltp\"\n-- interval = \"1s\"\n-- about = \"a\"\n\
                    -- key = [\"name\"]\n-- rates = [\"reads\"]\nSELECT 1";
        let front = Spec::parse("x", text).unwrap().front;
        let mut memory = Memory::default();
        let mut sample = |at: f64, rows: &[(&str, i64)]| {
            let rows = rows
                .iter()
                .map(|(name, reads)| vec![(*name).into(), Value::Int(*reads), Value::Float(at)]);
            let mut table = Table {
                columns: ["name", "reads", CLOCK].map(Into::into).into(),
                rows: rows.collect(),
            };
            derive(&mut table, &front, &mut memory);
            (0..table.rows.len())
                .map(|row| table.get(row, "reads").clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(sample(10.0, &[("a", 100)]), [Value::Pending]);
        assert_eq!(
            sample(12.0, &[("b", 5), ("a", 150)]),
            [Value::Pending, Value::Float(25.0)]
        );
        assert_eq!(
            sample(13.0, &[("b", 5), ("a", 10)]),
            [Value::Float(0.0), Value::Pending],
            "a counter that went back was reset"
        );
        assert_eq!(
            sample(13.0, &[("a", 10)]),
            [Value::Pending],
            "no time passed"
        );
    }

    /// The text protocol returns every figure as text.
    #[test]
    fn a_panel_of_one_s_own_has_rates_too() {
        let text = "-- title = \"x\"\n-- pool = \"olap\"\n-- interval = \"1s\"\n-- about = \"a\"\n\
                    -- rates = [\"reads\"]\n-- key = [\"name\"]\nSELECT 1";
        let front = Spec::parse("x", text).unwrap().front;
        let mut memory = Memory::default();
        let mut rate = |at: &str, reads: &str| {
            let mut table = Table {
                columns: ["reads", CLOCK].map(Into::into).into(),
                rows: vec![vec![reads.into(), at.into()]],
            };
            derive(&mut table, &front, &mut memory);
            table.first("reads").clone()
        };
        assert_eq!(rate("1.5", "10"), Value::Pending);
        assert_eq!(rate("3.5", "30"), Value::Float(10.0));
    }
}
