//! Who holds the xmin horizon: age in seconds from the times at which transaction ids were first seen.

use super::classify::{Classifier, Session};
use crate::dashboard::chunks::Chunks;
use crate::pg::{Table, Value};

/// When each transaction id was the next one to be given out: one entry per sample.
#[derive(Clone, Debug, Default)]
pub struct XidClock {
    seen: Chunks<(i64, f64)>,
}

/// Seconds: a younger snapshot keeps nothing that matters.
pub const YOUNG_S: f64 = 5.0;
/// Entries kept: an hour of seconds.
const KEEP: usize = 3_600;

impl XidClock {
    /// Notes that `next_xid` was the next id at `epoch_s` of the server.
    pub fn note(&mut self, next_xid: i64, epoch_s: f64) {
        let newest = self.seen.iter().next_back();
        let back = newest.is_some_and(|(last, at)| next_xid < last || epoch_s < at);
        if back {
            // Another server, or one restored from a backup: what was seen is of no use.
            self.seen.clear();
        }
        if back || newest.is_none_or(|(last, _)| next_xid > last) {
            self.seen.push((next_xid, epoch_s), KEEP);
        }
    }

    /// Seconds for which ids have been watched: what is older than all of them is at least so old.
    fn watched_s(&self, now_s: f64) -> Option<f64> {
        let (_, first) = self.seen.iter().next()?;
        Some((now_s - first).max(0.0))
    }

    /// Ids given out per second, as long as they have been watched; unknown before a minute.
    pub fn per_s(&self) -> Option<f64> {
        let (first, begun) = self.seen.iter().next()?;
        let (last, at) = self.seen.iter().next_back()?;
        let passed_s = at - begun;
        (passed_s >= 60.0).then(|| (last - first) as f64 / passed_s)
    }

    /// Seconds before `now_s` at which `xid` was the next to be given out, where that was seen.
    pub fn age_s(&self, xid: i64, now_s: f64) -> Option<f64> {
        let (_, at) = self.seen.last_where(|(next, _)| *next <= xid)?;
        Some((now_s - at).max(0.0))
    }
}

/// Adds `class`, `age_least_s` (where the age itself is not known, what it is at least) and `pins` (dead rows of this database that the oldest holder keeps from vacuum),
/// and fills in the ages that the catalogue does not know.
pub fn derive(
    mut table: Table,
    classifier: &Classifier,
    clock: &XidClock,
    xmax: i64,
    now_s: f64,
    dead: i64,
) -> Table {
    table.drop_rows(|table, row| {
        let text = |name| table.get(row, name).text().unwrap_or_default();
        classifier.is_own(text("role"), text("application_name"))
    });
    table.ensure_column("class");
    table.ensure_column("age_least_s");
    table.ensure_column("pins");
    let mut pinned = false;
    for row in 0..table.rows.len() {
        let text = |name: &str| table.get(row, name).text().unwrap_or_default();
        let concerns = table.get(row, "own_database").is_true() && text("kind") != "slot_catalog";
        let class = match text("kind") {
            "backend" => classifier
                .classify(&Session {
                    role: text("role"),
                    application: text("application_name"),
                    database: text("datname"),
                    backend_type: "client backend",
                    query: text("query"),
                })
                .name()
                .into(),
            _ => Value::Null,
        };
        if !table.get(row, "age_s").is_known()
            && let Some(age_xids) = table.get(row, "age_xids").int()
        {
            let age = clock.age_s(xmax - age_xids, now_s);
            if age.is_none() {
                table.set(row, "age_least_s", clock.watched_s(now_s).into());
            }
            table.set(row, "age_s", age.into());
        }
        // Only the oldest holder that concerns this database can be said to pin its dead rows.
        let pins = if concerns && !pinned {
            Value::Int(dead)
        } else {
            Value::Null
        };
        pinned |= concerns;
        table.set(row, "class", class);
        table.set(row, "pins", pins);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_xid_is_as_old_as_the_moment_it_was_next() {
        let mut clock = XidClock::default();
        for (xid, at) in [(100, 10.0), (150, 11.0), (150, 12.0), (220, 13.0)] {
            clock.note(xid, at);
        }
        assert_eq!(clock.age_s(99, 20.0), None);
        assert_eq!(clock.age_s(100, 20.0), Some(10.0));
        assert_eq!(clock.age_s(180, 20.0), Some(9.0));
        assert_eq!(clock.age_s(220, 20.0), Some(7.0));
        clock.note(5, 30.0);
        assert_eq!(clock.age_s(100, 31.0), Some(1.0));
        assert_eq!(clock.age_s(4, 31.0), None);
    }
}
