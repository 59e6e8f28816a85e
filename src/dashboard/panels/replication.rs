//! Replicas, slots and the receiver: lag in seconds derived from WAL positions, and entries that disappeared.

use crate::dashboard::chunks::Chunks;
use crate::dashboard::rows::{Columns, Row, added, read};
use crate::pg::{Table, Value};
use std::collections::HashMap;

/// Number of positions kept: an hour of samples, one a second.
const KEEP: usize = 3_600;
/// Seconds for which a disappeared entry is reported.
const TOLD_S: f64 = 3_600.0;
/// Seconds that a walsender must have existed for its loss to be reported.
const LASTING_S: f64 = 4.0;
/// A logical slot that was confirmed further within this time has a reader, though nobody may be connected to it.
const POLLED_S: f64 = 20.0;
/// Seconds of operation from which a receiver no longer counts as restarting repeatedly.
const STEADY_S: f64 = 20.0;

/// State kept between samples.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// WAL positions with the time at which they were reached.
    head: Chunks<(i64, f64)>,
    /// Replicas and slots that should persist, by kind and name.
    lasting: HashMap<(Box<str>, Box<str>), Lasting>,
    receiver: Option<Receiver>,
    /// Time of the previous sample.
    at_s: f64,
}

#[derive(Clone, Debug)]
struct Lasting {
    first_s: f64,
    last_s: f64,
    /// Its client's address; for a logical slot, its database.
    client: Value,
    /// Time since which nobody has read the slot, and the bytes it retained then.
    unread: Option<(f64, f64)>,
    /// How far its reader has confirmed, and when that was seen to move: one that polls is not connected in between.
    confirmed: Option<(i64, f64)>,
}

#[derive(Clone, Copy, Debug)]
struct Receiver {
    pid: Option<i64>,
    /// Time since which this receiver has run.
    since_s: f64,
    /// Time since which no receiver has run for long.
    down_s: Option<f64>,
    /// True if any receiver was ever seen.
    seen: bool,
}

type Told<'t> = Row<'t, read::Replication>;

/// Refines `lag_s`, and adds `down_s` (seconds for which a standby has had no lasting receiver),
/// `grown_bytes` (WAL added for an unread slot), `gone_s`, and rows for entries that disappeared.
pub fn derive(mut table: Table, memory: &mut Memory, now_s: f64) -> Table {
    let added = added::ToReplication::to(&mut table);
    let columns = read::Replication::of(&table);
    memory.note_head(Row::of(&table, columns, 0), now_s);
    for row in 0..table.rows.len() {
        let told: Told<'_> = Row::of(&table, columns, row);
        let mut lag = memory.lag_s(told, now_s).map(Value::Float);
        let (mut down, mut grown) = (None, None);
        match told.kind().shown() {
            "receiver" => {
                down = Some(memory.down_s(told.pid(), now_s));
                if is_from_archive(told) {
                    // The newest WAL in the archive is not known here.
                    let replayed = told.replayed_s().or(told.lag_s());
                    lag = Some(replayed.map_or(Value::Null, Value::AtMost));
                }
            }
            kind if told.lasting() == Some(true) => {
                let key = (kind.into(), told.name().shown().into());
                grown = Some(memory.note(key, told, now_s).into());
            }
            _ => {}
        }
        for (column, value) in [
            (added.lag_s, lag),
            (added.down_s, down),
            (added.grown_bytes, grown),
        ] {
            if let Some(value) = value {
                table.put(row, column, value);
            }
        }
    }
    memory.tell_gone(&mut table, &added, now_s);
    memory.at_s = now_s;
    table
}

/// Returns true if the row is a standby that has no receiver and reads an archive.
pub(crate) fn is_from_archive(row: Told<'_>) -> bool {
    row.kind().is("receiver") && row.pid().is_none() && row.restores() == Some(true)
}

impl Lasting {
    /// Returns true if a reader of a logical slot that is not connected has come back lately.
    fn is_polled(&mut self, row: Told<'_>, now_s: f64) -> bool {
        let confirmed = row.head_bytes().zip(row.lag_bytes());
        let Some(confirmed) = confirmed.map(|(head, lag)| head - lag) else {
            return false;
        };
        match self.confirmed {
            Some((before, moved_s)) if before == confirmed => now_s - moved_s <= POLLED_S,
            Some(_) => {
                self.confirmed = Some((confirmed, now_s));
                true
            }
            None => {
                // Whether it moves is not known yet.
                self.confirmed = Some((confirmed, f64::NEG_INFINITY));
                false
            }
        }
    }
}

impl Memory {
    fn note_head(&mut self, first: Told<'_>, now_s: f64) {
        let Some(head) = first.head_bytes() else {
            return;
        };
        let newest = self.head.iter().next_back();
        if newest.is_some_and(|(last, at_s)| head < last || now_s < at_s) {
            self.head.clear();
        }
        if newest.is_none_or(|(last, _)| head != last) {
            self.head.push((head, now_s), KEEP);
        }
    }

    /// Seconds since the first WAL arrived that the row has not replayed, if that was observed; `None` while
    /// nothing waits.
    fn lag_s(&self, row: Told<'_>, now_s: f64) -> Option<f64> {
        if row.kind().is("slot") {
            return None;
        }
        let behind = row.lag_bytes()?;
        let told = row.lag_s();
        let position = row.head_bytes()? - behind;
        if behind <= 0 {
            return told.map(|_| 0.0);
        }
        let (_, at_s) = self.head.first_where(|(head, _)| *head > position)?;
        let seen = (now_s - at_s).max(0.0);
        let whole = self
            .head
            .iter()
            .next()
            .is_some_and(|(head, _)| head <= position);
        // The server's figure stops with the last answer, or counts from the last commit.
        Some(if whole {
            seen
        } else {
            told.unwrap_or(0.0).max(seen)
        })
    }

    /// Seconds since the last lasting receiver; a lower bound if none was ever seen.
    fn down_s(&mut self, pid: Option<i64>, now_s: f64) -> Value {
        let before = self.receiver;
        let same = before.filter(|before| before.pid == pid);
        let since_s = same.map_or(now_s, |same| same.since_s);
        let lasts = pid.is_some() && (before.is_none() || now_s - since_s >= STEADY_S);
        let down_s = match before.and_then(|before| before.down_s) {
            Some(_) if lasts => None,
            None if pid.is_none() => Some(now_s),
            down => down,
        };
        let seen = pid.is_some() || before.is_some_and(|before| before.seen);
        self.receiver = Some(Receiver {
            pid,
            since_s,
            down_s,
            seen,
        });
        let down_s = down_s.map(|down_s| (now_s - down_s).max(0.0));
        let told = if seen { Value::Float } else { Value::AtLeast };
        down_s.map_or(Value::Null, told)
    }

    /// Records a lasting entry; returns the bytes added since nobody reads it.
    fn note(&mut self, key: (Box<str>, Box<str>), row: Told<'_>, now_s: f64) -> Option<f64> {
        let before_s = self.at_s;
        let unread = row.retained_bytes();
        let unread = unread.filter(|_| row.active() != Some(true));
        let lasting = self.lasting.entry(key).or_insert(Lasting {
            first_s: now_s,
            last_s: now_s,
            client: Value::Null,
            unread: None,
            confirmed: None,
        });
        if lasting.last_s < before_s {
            // It disappeared in between, so this is another one of the same name.
            lasting.unread = None;
            lasting.confirmed = None;
        }
        let polled = lasting.is_polled(row, now_s);
        let unread = unread.filter(|_| !polled);
        lasting.last_s = now_s;
        lasting.client = row.client().clone();
        lasting.unread = unread.map(|bytes| lasting.unread.unwrap_or((now_s, bytes)));
        let (_, then) = lasting.unread?;
        Some((unread? - then).max(0.0))
    }

    /// Adds rows for entries that lasted for a while and disappeared.
    fn tell_gone(&mut self, table: &mut Table, added: &added::ToReplication, now_s: f64) {
        self.lasting.retain(|_, lasting| {
            let (there, gone) = (lasting.last_s - lasting.first_s, now_s - lasting.last_s);
            gone <= 0.0 || (there >= LASTING_S && gone <= TOLD_S)
        });
        let mut gone: Vec<_> = self
            .lasting
            .iter()
            .filter(|(_, lasting)| lasting.last_s < now_s)
            .collect();
        gone.sort_by(|a, b| a.0.cmp(b.0));
        for ((kind, name), lasting) in gone {
            table.push([
                (added.kind, (&**kind).into()),
                (added.name, (&**name).into()),
                (added.client, lasting.client.clone()),
                (added.state, "gone".into()),
                (added.active, Value::Bool(false)),
                (added.gone_s, Value::Float(now_s - lasting.last_s)),
            ]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [&str; 9] = [
        "kind",
        "name",
        "pid",
        "state",
        "active",
        "lasting",
        "head_bytes",
        "lag_bytes",
        "retained_bytes",
    ];

    fn sample(rows: Vec<Vec<Value>>) -> Table {
        Table {
            columns: COLUMNS.iter().map(|name| (*name).into()).collect(),
            rows,
        }
    }

    fn row(kind: &str, pid: Option<i64>, head: i64, behind: i64, retained: i64) -> Vec<Value> {
        vec![
            kind.into(),
            "a".into(),
            pid.map_or(Value::Null, Value::Int),
            "streaming".into(),
            Value::Bool(pid.is_some()),
            Value::Bool(true),
            Value::Int(head),
            Value::Int(behind),
            Value::Int(retained),
        ]
    }

    #[test]
    fn a_lag_is_as_old_as_the_wal_that_is_not_replayed() {
        let mut memory = Memory::default();
        let mut lag = |at_s: f64, head, behind| {
            let table = sample(vec![row("replica", Some(7), head, behind, 0)]);
            derive(table, &mut memory, at_s).first("lag_s").number()
        };
        assert_eq!(lag(0.0, 1_000, 0), None);
        assert_eq!(lag(5.0, 2_000, 1_000), Some(0.0));
        assert_eq!(lag(65.0, 9_000, 8_000), Some(60.0));
        assert_eq!(
            lag(70.0, 9_000, 500),
            Some(5.0),
            "it has caught up with most"
        );
    }

    #[test]
    fn what_was_there_and_is_gone_is_told_until_it_is_back() {
        let mut memory = Memory::default();
        let mut states = |at_s: f64, there: bool| {
            let rows = there.then(|| row("replica", Some(7), 1, 0, 0));
            let table = derive(sample(rows.into_iter().collect()), &mut memory, at_s);
            table.first("state").text().map(str::to_owned)
        };
        assert_eq!(states(0.0, true).as_deref(), Some("streaming"));
        assert_eq!(states(5.0, true).as_deref(), Some("streaming"));
        assert_eq!(states(10.0, false).as_deref(), Some("gone"));
        assert_eq!(states(15.0, true).as_deref(), Some("streaming"));
        assert_eq!(states(20.0, false).as_deref(), Some("gone"));
        assert_eq!(states(9_000.0, false), None, "old news");
    }

    #[test]
    fn a_receiver_that_starts_again_and_again_is_down() {
        let mut memory = Memory::default();
        let mut down = |at_s: f64, pid| {
            let table = sample(vec![row("receiver", pid, 1, 0, 0)]);
            derive(table, &mut memory, at_s).first("down_s").number()
        };
        assert_eq!(down(0.0, Some(1)), None);
        assert_eq!(down(5.0, None), Some(0.0));
        assert_eq!(down(10.0, Some(2)), Some(5.0));
        assert_eq!(down(15.0, Some(3)), Some(10.0));
        assert_eq!(down(20.0, None), Some(15.0));
        assert_eq!(down(25.0, Some(4)), Some(20.0));
        assert_eq!(down(50.0, Some(4)), None, "it lasts");
    }

    #[test]
    fn a_slot_whose_reader_polls_is_not_unread() {
        let mut memory = Memory::default();
        // lag_bytes at a head of 1000
        let mut grown = |at_s: f64, lag, retained| {
            let table = sample(vec![row("slot", None, 1_000, lag, retained)]);
            derive(table, &mut memory, at_s)
                .first("grown_bytes")
                .number()
        };
        assert_eq!(grown(0.0, 100, 500), Some(0.0));
        assert_eq!(grown(5.0, 90, 600), None, "it moved");
        assert_eq!(grown(10.0, 90, 900), None);
        assert_eq!(grown(40.0, 90, 900), Some(0.0), "the reader is gone");
        assert_eq!(grown(45.0, 90, 1_000), Some(100.0));
    }

    #[test]
    fn what_comes_to_an_unread_slot_is_counted() {
        let mut memory = Memory::default();
        let mut grown = |at_s: f64, pid, retained| {
            let table = sample(vec![row("slot", pid, 1, 0, retained)]);
            derive(table, &mut memory, at_s)
                .first("grown_bytes")
                .number()
        };
        assert_eq!(grown(0.0, Some(1), 500), None);
        assert_eq!(grown(5.0, None, 600), Some(0.0));
        assert_eq!(grown(10.0, None, 900), Some(300.0));
        assert_eq!(grown(15.0, Some(1), 0), None);
    }
}
