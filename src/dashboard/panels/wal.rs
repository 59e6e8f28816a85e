//! WAL and checkpoints: the frequency of checkpoints forced by WAL volume, and the WAL written between two.

use crate::dashboard::rows::{Rows, added, read};
use crate::pg::{Table, Value};
use std::collections::VecDeque;

/// Counters of one sample.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at_s: f64,
    timed: f64,
    requested: f64,
    bytes: f64,
}

/// The samples of the last minutes.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    samples: VecDeque<Sample>,
}

/// Seconds over which checkpoints are counted.
const WINDOW_S: f64 = 300.0;
/// Minimum number of checkpoints for a frequency.
const ENOUGH: f64 = 3.0;

/// Adds `wal_bytes_per_s` and, over the last five minutes, `forced_every_s` (time between two checkpoints
/// that were requested rather than timed; none if there were fewer than three) and `bytes_per_checkpoint`.
pub fn derive(mut table: Table, memory: &mut Memory) -> Table {
    let added = added::ToWal::to(&mut table);
    let told = Rows::<read::Wal>::of(&table).first();
    let (Some(at_s), Some(timed), Some(requested)) = (
        told.now_epoch(),
        told.checkpoints_timed(),
        told.checkpoints_requested(),
    ) else {
        return table;
    };
    let now = Sample {
        at_s,
        timed,
        requested,
        bytes: told.wal_lsn_bytes().unwrap_or(0.0),
    };
    let samples = &mut memory.samples;
    let went_back = |last: &Sample| {
        now.at_s < last.at_s || now.requested < last.requested || now.bytes < last.bytes
    };
    if samples.back().is_some_and(went_back) {
        samples.clear();
    }
    let before = samples.back().copied();
    samples.push_back(now);
    while samples
        .front()
        .is_some_and(|first| now.at_s - first.at_s > WINDOW_S)
    {
        samples.pop_front();
    }
    if let Some(before) = before.filter(|before| now.at_s > before.at_s) {
        let rate = (now.bytes - before.bytes) / (now.at_s - before.at_s);
        table.put(0, added.wal_bytes_per_s, Value::Float(rate));
    }
    if let Some(first) = samples.front() {
        let forced = now.requested - first.requested;
        let all = forced + now.timed - first.timed;
        if forced >= ENOUGH {
            let every_s = (now.at_s - first.at_s) / forced;
            table.put(0, added.forced_every_s, Value::Float(every_s));
            let bytes = (now.bytes - first.bytes) / all;
            table.put(0, added.bytes_per_checkpoint, Value::Float(bytes));
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forced_checkpoints_are_counted_over_minutes() {
        let mut memory = Memory::default();
        let mut sample = |at: f64, timed, requested, bytes| {
            let names = [
                "now_epoch",
                "checkpoints_timed",
                "checkpoints_requested",
                "wal_lsn_bytes",
            ];
            let cells = vec![
                Value::Float(at),
                Value::Int(timed),
                Value::Int(requested),
                Value::Int(bytes),
            ];
            let table = Table {
                columns: names.map(Into::into).into(),
                rows: vec![cells],
            };
            let table = derive(table, &mut memory);
            (
                table.first("forced_every_s").number(),
                table.first("bytes_per_checkpoint").number(),
                table.first("wal_bytes_per_s").number(),
            )
        };
        assert_eq!(sample(0.0, 5, 10, 0), (None, None, None));
        assert_eq!(sample(10.0, 5, 11, 1_000), (None, None, Some(100.0)));
        assert_eq!(
            sample(60.0, 6, 13, 4_000),
            (Some(20.0), Some(1_000.0), Some(60.0))
        );
        assert_eq!(
            sample(70.0, 0, 0, 4_000),
            (None, None, None),
            "counters that went back begin anew"
        );
    }
}
