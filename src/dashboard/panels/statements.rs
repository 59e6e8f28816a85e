//! Statements of pg_stat_statements: their work during the interval, from two samples of cumulative sums.

use super::classify::{Classifier, Session};
use crate::dashboard::pairs;
use crate::dashboard::rows::{Columns, Row, added, read};
use crate::pg::{Table, Value};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Columns that are derived from two samples.
pub(crate) const OF_INTERVAL: [&str; 4] = ["share_pct", "mean_ms", "sd_ms", "rows_per_call"];

/// Cumulative sums: executions, milliseconds, calls x variance.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Sums {
    calls: f64,
    total_ms: f64,
    m2: f64,
    rows: f64,
}

/// The sums of the previous sample.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    #[serde(with = "pairs")]
    seen: HashMap<Vec<Box<str>>, Sums>,
    /// True if there was none when figures were derived last.
    first: bool,
}

impl Memory {
    /// Returns true if the figures are not those of an interval, but averages since each statement's statistics were reset.
    pub fn is_since_reset(&self) -> bool {
        self.first
    }
}

/// Adds `class` and the columns of [`OF_INTERVAL`]. They are pending for a statement missing from the previous sample, or
/// reset since; a statement that did not run has none. Without a previous sample they cover all time since the reset.
///
/// Call it before counters are replaced by rates. Mean and deviation cover the executions between the
/// samples: sums are subtracted, and squared deviations follow from the formula of Chan, Golub and LeVeque
/// (1979) for joining two sets, solved for the second.
pub fn derive(
    mut table: Table,
    key: &[String],
    memory: &mut Memory,
    classifier: &Classifier,
) -> Table {
    let columns = read::Statement::of(&table);
    let added = added::ToStatements::to(&mut table);
    memory.first = memory.seen.is_empty();
    let mut seen = HashMap::new();
    let mut intervals = Vec::with_capacity(table.rows.len());
    for row in 0..table.rows.len() {
        let statement = Row::of(&table, columns, row);
        let now = Sums {
            calls: statement.total_calls().unwrap_or(0.0),
            total_ms: statement.total_exec_ms().unwrap_or(0.0),
            m2: statement.m2().unwrap_or(0.0),
            rows: statement.rows().unwrap_or(0.0),
        };
        let identity = table.identity(row, key);
        let before = memory.seen.get(&identity).copied();
        let before = before.or(memory.first.then(Sums::default));
        intervals.push(before.and_then(|before| between(before, now)));
        seen.insert(identity, now);
    }
    let all_ms: f64 = intervals.iter().flatten().map(|it| it.total_ms).sum();
    for (row, interval) in intervals.into_iter().enumerate() {
        let statement = Row::of(&table, columns, row);
        let class = classifier.classify(&Session {
            role: statement.usename().name(),
            backend_type: "client backend",
            query: statement.query().shown(),
            ..Session::default()
        });
        table.put(row, added.class, class.name().into());
        let figure = |figure: &dyn Fn(Sums) -> Option<f64>| {
            interval.map_or(Value::Pending, |it| figure(it).into())
        };
        let per_call = |sum: &dyn Fn(Sums) -> f64| {
            figure(&|it: Sums| (it.calls > 0.0).then(|| sum(it) / it.calls))
        };
        let share = |it: Sums| {
            Some(if all_ms > 0.0 {
                it.total_ms / all_ms * 100.0
            } else {
                0.0
            })
        };
        table.put(row, added.share_pct, figure(&share));
        table.put(row, added.mean_ms, per_call(&|it| it.total_ms));
        let sd_ms = figure(&|it| (it.calls > 0.0).then(|| (it.m2 / it.calls).sqrt()));
        table.put(row, added.sd_ms, sd_ms);
        table.put(row, added.rows_per_call, per_call(&|it| it.rows));
    }
    memory.seen = seen;
    table
}

/// Returns the sums for executions between two samples; `None` if the statistics were reset.
fn between(before: Sums, now: Sums) -> Option<Sums> {
    let calls = now.calls - before.calls;
    let total_ms = now.total_ms - before.total_ms;
    if calls < 0.0 || total_ms < 0.0 {
        return None;
    }
    let m2 = if calls > 0.0 && before.calls > 0.0 {
        let apart = before.total_ms / before.calls - total_ms / calls;
        now.m2 - before.m2 - apart * apart * before.calls * calls / (before.calls + calls)
    } else {
        now.m2 - before.m2
    };
    Some(Sums {
        calls,
        total_ms,
        // A negative value is a rounding error of large sums.
        m2: m2.max(0.0),
        rows: (now.rows - before.rows).max(0.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(samples: &[f64]) -> Sums {
        let calls = samples.len() as f64;
        let total_ms: f64 = samples.iter().sum();
        let mean = total_ms / calls.max(1.0);
        Sums {
            calls,
            total_ms,
            m2: samples.iter().map(|it| (it - mean) * (it - mean)).sum(),
            rows: calls,
        }
    }

    /// 40,000 earlier fast calls do not hide ten slow ones after them.
    #[test]
    fn mean_and_deviation_are_those_of_the_interval() {
        let fast: Vec<f64> = (0..40_000)
            .map(|n| 0.05 + f64::from(n % 7) * 0.01)
            .collect();
        let slow: Vec<f64> = (1..=10).map(f64::from).collect();
        let all: Vec<f64> = fast.iter().chain(&slow).copied().collect();
        let interval = between(sums(&fast), sums(&all)).unwrap();
        let mean = interval.total_ms / interval.calls;
        let deviation = (interval.m2 / interval.calls).sqrt();
        assert!((mean - 5.5).abs() < 1e-6, "{mean}");
        assert!((deviation - 8.25_f64.sqrt()).abs() < 1e-3, "{deviation}");
        assert!(between(sums(&all), sums(&fast)).is_none(), "a reset");
        let none = between(sums(&all), sums(&all)).unwrap();
        assert_eq!((none.calls, none.m2), (0.0, 0.0));
    }

    #[test]
    fn what_is_new_is_not_known_and_what_did_not_run_has_none() {
        let sample = |rows: &[(&str, i64, f64)]| Table {
            columns: [
                "usename",
                "queryid",
                "total_calls",
                "total_exec_ms",
                "m2",
                "rows",
            ]
            .map(Into::into)
            .into(),
            rows: rows
                .iter()
                .map(|(id, calls, total)| {
                    vec![
                        "app".into(),
                        (*id).into(),
                        Value::Int(*calls),
                        Value::Float(*total),
                        Value::Float(0.0),
                        Value::Int(*calls * 2),
                    ]
                })
                .collect(),
        };
        let mut memory = Memory::default();
        let classifier = Classifier::new(Vec::new(), Vec::new());
        let key = ["queryid".to_owned()];
        let mut derive = |table| derive(table, &key, &mut memory, &classifier);
        let first = derive(sample(&[("1", 10, 5.0), ("2", 1, 1.0)]));
        assert_eq!(
            first.first("mean_ms"),
            &Value::Float(0.5),
            "since the reset"
        );
        let second = derive(sample(&[("1", 20, 35.0), ("2", 1, 1.0), ("3", 1, 9.0)]));
        assert_eq!(second.first("mean_ms"), &Value::Float(3.0));
        assert_eq!(second.first("share_pct"), &Value::Float(100.0));
        assert_eq!(second.first("rows_per_call"), &Value::Float(2.0));
        assert_eq!(second.get(1, "mean_ms"), &Value::Null);
        assert_eq!(second.get(2, "mean_ms"), &Value::Pending);
    }
}
