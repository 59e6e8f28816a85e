//! The load of the server over time: active sessions by class and by wait, beside the latencies of the moment.

use super::chunks::Chunks;
use super::panels::activity::CROWDED;
use super::rows::{Rows, read};
use crate::config::WorkClass;
use std::collections::BTreeMap;

/// Entries kept: an hour of them.
const KEEP: usize = 3_600;
/// Milliseconds between two entries at least.
const APART_MS: i64 = 900;

/// Kinds of waits, in the order in which they are stacked.
pub const WAITS: [&str; 5] = ["cpu", "io", "lock", "lwlock", "other"];
/// Position in [`WAITS`] of everything that has no kind of its own.
const OTHER: usize = 4;

/// The load at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Time, as [`Moment::mono_ms`](super::event::Moment).
    pub at_ms: i64,
    /// Active sessions and parallel workers of each class, in the order of [`WorkClass::ALL`].
    pub classes: [u16; 4],
    /// The same sessions by what they wait for, in the order of [`WAITS`].
    pub waits: [u16; 5],
    /// Rows of Queries.
    pub rows: u16,
    /// 99th percentile of the point query, at least twice the target while point queries fail; NaN if it is not known.
    pub p99_ms: f32,
    /// Transactions per second; NaN if they are not known.
    pub tps: f32,
    /// Slowest answer of OLAP; NaN if it is not known.
    pub olap_ms: f32,
}

/// The load of the last hour, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Loads(Chunks<Load>);

impl Load {
    /// Counts the active sessions among the rows of Queries. These are cut on a crowded server, where `working`, the
    /// client sessions of each class, tells of the others. Latencies are not known.
    pub(crate) fn of(
        rows: Rows<'_, read::Backend>,
        working: &BTreeMap<WorkClass, i64>,
        at_ms: i64,
    ) -> Self {
        let mut load = Self {
            at_ms,
            classes: [0; 4],
            waits: [0; 5],
            rows: count(rows.len() as i64),
            p99_ms: f32::NAN,
            tps: f32::NAN,
            olap_ms: f32::NAN,
        };
        for row in rows.iter().filter(|row| row.state().is("active")) {
            // These wait for work in a state that is called active.
            let kind = row.backend_type().shown();
            if kind.starts_with("walsender") || kind.starts_with("logical replication") {
                continue;
            }
            let class = WorkClass::ALL.iter();
            let class = class.zip(&mut load.classes);
            for (_, n) in class.filter(|(class, _)| row.class().is(class.name())) {
                *n = n.saturating_add(1);
            }
            load.wait(row.wait_event_type().shown(), 1);
        }
        if rows.len() >= CROWDED {
            let mut unseen = 0;
            for (seen, class) in load.classes.iter_mut().zip(WorkClass::ALL) {
                let working = working.get(&class).copied();
                let more = count(working.unwrap_or(0)).saturating_sub(*seen);
                *seen += more;
                unseen += more;
            }
            load.wait("?", unseen);
        }
        load
    }

    fn wait(&mut self, kind: &str, n: u16) {
        let at = match kind {
            "" => 0,
            "IO" => 1,
            "Lock" => 2,
            "LWLock" => 3,
            _ => OTHER,
        };
        if let Some(wait) = self.waits.get_mut(at) {
            *wait = wait.saturating_add(n);
        }
    }
}

fn count(n: i64) -> u16 {
    u16::try_from(n.max(0)).unwrap_or(u16::MAX)
}

impl Loads {
    /// Appends an entry, unless the last one is not a second old.
    pub fn push(&mut self, load: Load) {
        let last = self.last();
        if last.is_none_or(|last| load.at_ms - last.at_ms >= APART_MS) {
            self.0.push(load, KEEP);
        }
    }

    /// Returns the oldest entry.
    pub fn first(&self) -> Option<Load> {
        self.0.iter().next()
    }

    /// Returns the newest entry.
    pub fn last(&self) -> Option<Load> {
        self.0.iter().next_back()
    }

    /// Returns the entries from `from_ms` on, oldest first.
    pub fn since(&self, from_ms: i64) -> impl Iterator<Item = Load> {
        let newest = self.0.iter().rev();
        let count = newest.take_while(|load| load.at_ms >= from_ms).count();
        let before = self.0.len().saturating_sub(count);
        self.0.iter().skip(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::{Table, Value};

    fn rows(told: &[(&str, &str, &str, &str)]) -> Table {
        let columns = ["class", "backend_type", "state", "wait_event_type"];
        let row = |(class, kind, state, wait): &(&str, &str, &str, &str)| {
            let wait = if wait.is_empty() {
                Value::Null
            } else {
                (*wait).into()
            };
            vec![(*class).into(), (*kind).into(), (*state).into(), wait]
        };
        Table {
            columns: columns.iter().map(|name| (*name).into()).collect(),
            rows: told.iter().map(row).collect(),
        }
    }

    #[test]
    fn active_sessions_are_counted_by_class_and_by_wait() {
        let table = rows(&[
            ("oltp", "client backend", "active", ""),
            ("oltp", "client backend", "active", "Lock"),
            ("oltp", "client backend", "idle in transaction", "Client"),
            ("olap", "parallel worker", "active", "IO"),
            ("maintenance", "autovacuum worker", "active", "Timeout"),
            ("maintenance", "walsender", "active", "Activity"),
        ]);
        let load = Load::of(Rows::of(&table), &BTreeMap::new(), 7);
        assert_eq!((load.classes, load.waits), ([2, 1, 0, 1], [1, 1, 1, 0, 1]));
        assert_eq!((load.at_ms, load.rows), (7, 6));
        assert!(load.p99_ms.is_nan());
    }

    #[test]
    fn sessions_beyond_the_listed_ones_are_counted_on_a_crowded_server() {
        let table = rows(&[("oltp", "client backend", "active", ""); CROWDED]);
        let working = BTreeMap::from([(WorkClass::Oltp, 400), (WorkClass::Olap, 30)]);
        let load = Load::of(Rows::of(&table), &working, 0);
        assert_eq!(load.classes, [400, 30, 0, 0]);
        assert_eq!(load.waits, [150, 0, 0, 0, 280]);
    }

    #[test]
    fn an_entry_a_second_is_kept() {
        let load = Load::of(Rows::of(&Table::default()), &BTreeMap::new(), 0);
        let mut loads = Loads::default();
        for at_ms in (0..10_000).step_by(250) {
            loads.push(Load { at_ms, ..load });
        }
        let kept: Vec<i64> = loads.since(5_000).map(|load| load.at_ms).collect();
        assert_eq!(kept, [5_000, 6_000, 7_000, 8_000, 9_000]);
    }
}
