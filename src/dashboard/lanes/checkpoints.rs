//! Bars of checkpoints, from the row of WAL and checkpoints.
//!
//! The server counts a checkpoint when it begins and the time that it took when it ends; when the last one that ended
//! began, the control file says, in whole seconds. One that is not spread is counted with its time when it has ended,
//! a moment after the control file says so. A checkpoint that is skipped, because nothing was written, is counted, too.

use super::{Bar, Key, Lane, Lanes};
use crate::dashboard::rows::{Row, read};
use crate::text::Clean;

/// Counters of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    at_ms: i64,
    timed: f64,
    requested: f64,
    /// Milliseconds that checkpoints took.
    took_ms: f64,
    buffers: f64,
    /// Beginning of the last one that ended, by the server's clock in whole seconds.
    began_s: Option<f64>,
}

/// What is remembered between samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    last: Option<Sample>,
    /// The sample before one was counted that has not ended.
    begun: Option<Sample>,
    /// Beginning of the last one whose end was taken in.
    ended_s: Option<f64>,
}

/// The checkpoint in progress.
const KEY: Key<'_> = Key {
    lane: Lane::Checkpoint,
    pid: 0,
    since: "",
    class: None,
};

impl Lanes {
    /// Takes in the counters of checkpoints.
    pub(in crate::dashboard) fn checkpoints(&mut self, row: Row<'_, read::Wal>, at_ms: i64) {
        let Some(now) = Sample::of(row, at_ms) else {
            return;
        };
        let memory = &mut self.checkpoints;
        let Some(last) = memory.last.replace(now) else {
            memory.ended_s = now.began_s;
            return;
        };
        let counted = now.timed + now.requested - last.timed - last.requested;
        if counted < 0.0 || now.took_ms < last.took_ms {
            memory.begun = None;
            memory.ended_s = now.began_s;
            self.drop_open();
            return;
        }
        if counted > 0.0 {
            memory.begun = Some(last);
        }
        // Two may begin in the same second, and one may take less than a millisecond; one that is skipped writes nothing.
        let writes = |begun: &Sample| now.buffers > begun.buffers;
        let later = now.began_s > memory.ended_s;
        if now.took_ms > last.took_ms || (later && memory.begun.as_ref().is_some_and(writes)) {
            let begun = memory.begun.take();
            memory.ended_s = now.began_s;
            self.drop_open();
            self.ended_checkpoint(row, begun.unwrap_or(last), now, last.at_ms);
        } else if counted > 0.0 {
            self.drop_open();
        }
        if let Some(begun) = self.checkpoints.begun.filter(writes) {
            let name = || kind(&begun, &now).to_owned();
            self.see(KEY, at_ms, Some(begun.at_ms), name);
        }
    }

    /// Adds the bar of a checkpoint that ended after `last_ms`.
    fn ended_checkpoint(
        &mut self,
        row: Row<'_, read::Wal>,
        before: Sample,
        now: Sample,
        last_ms: i64,
    ) {
        let took_ms = (now.took_ms - before.took_ms) as i64;
        let ago_ms = row.last_checkpoint_s().map(|ago| (ago * 1000.0) as i64);
        let ago_ms = ago_ms.filter(|_| now.began_s.is_some());
        // The beginning is known to the second, so that it lies half a second later on average.
        let latest_ms = now.at_ms - took_ms;
        let start_ms = ago_ms.map_or(latest_ms, |ago| (now.at_ms - ago + 500).min(latest_ms));
        let end_ms = (start_ms + took_ms).clamp(last_ms, now.at_ms.max(last_ms));
        self.close(Bar {
            lane: Lane::Checkpoint,
            name: Clean::from(kind(&before, &now).to_owned()),
            class: None,
            pid: 0,
            start_ms: start_ms.min(end_ms),
            end_ms: Some(end_ms),
            since: "".into(),
            seen_ms: now.at_ms,
            size: 0,
        });
    }

    fn drop_open(&mut self) {
        self.open.retain(|bar| bar.lane != Lane::Checkpoint);
    }
}

impl Sample {
    fn of(row: Row<'_, read::Wal>, at_ms: i64) -> Option<Self> {
        let ago_s = row.last_checkpoint_s();
        let began_s = row.now_epoch().zip(ago_s).map(|(now, ago)| now - ago);
        Some(Self {
            at_ms,
            timed: row.checkpoints_timed()?,
            requested: row.checkpoints_requested()?,
            took_ms: row.checkpoint_write_ms()? + row.checkpoint_sync_ms()?,
            buffers: row.buffers_checkpoint().unwrap_or(0.0),
            began_s: began_s.map(f64::round),
        })
    }
}

/// Returns why there is one, if it began after the first sample.
fn kind(before: &Sample, now: &Sample) -> &'static str {
    if now.requested > before.requested {
        "requested"
    } else if now.timed > before.timed {
        "timed"
    } else {
        "checkpoint"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::rows::Rows;
    use crate::pg::{Table, Value};

    /// Counters at a second: timed, requested, milliseconds, buffers, beginning of the last one that ended.
    fn at(lanes: &mut Lanes, second: i64, counters: [i64; 4], began: Option<i64>) {
        let names = [
            "now_epoch",
            "checkpoints_timed",
            "checkpoints_requested",
            "checkpoint_write_ms",
            "checkpoint_sync_ms",
            "buffers_checkpoint",
            "last_checkpoint_s",
        ];
        let [timed, requested, took, buffers] = counters;
        let ago = began.map(|began| (second - began) as f64);
        let mut cells = vec![Value::Float(second as f64)];
        cells.extend([timed, requested, took, 0, buffers].map(Value::Int));
        cells.push(ago.into());
        let table = Table {
            columns: names.map(Into::into).into(),
            rows: vec![cells],
        };
        lanes.checkpoints(Rows::of(&table).first(), second * 1_000);
    }

    fn told(lanes: &Lanes) -> Vec<(String, i64, Option<i64>)> {
        let bars = lanes.since(0);
        let told = bars.map(|bar| (bar.name.to_string(), bar.start_ms, bar.end_ms));
        told.collect()
    }

    #[test]
    fn a_checkpoint_is_seen_while_it_runs_and_known_when_it_ended() {
        let mut lanes = Lanes::default();
        at(&mut lanes, 100, [5, 1, 9_000, 800], Some(20));
        at(&mut lanes, 105, [6, 1, 9_000, 800], Some(20));
        assert_eq!(told(&lanes), [], "it may be skipped");
        at(&mut lanes, 110, [6, 1, 9_000, 840], Some(20));
        assert_eq!(told(&lanes), [("timed".into(), 100_000, None)]);
        at(&mut lanes, 115, [6, 1, 19_000, 900], Some(103));
        assert_eq!(told(&lanes), [("timed".into(), 103_500, Some(113_500))]);
    }

    #[test]
    fn a_short_one_is_known_when_it_ended_and_a_skipped_one_never() {
        let mut lanes = Lanes::default();
        at(&mut lanes, 100, [5, 1, 9_000, 800], Some(20));
        at(&mut lanes, 105, [5, 2, 9_500, 900], Some(102));
        assert_eq!(told(&lanes), [("requested".into(), 102_500, Some(103_000))]);
        at(&mut lanes, 110, [6, 2, 9_500, 900], Some(102));
        at(&mut lanes, 115, [7, 2, 9_500, 900], Some(102));
        assert_eq!(told(&lanes).len(), 1);
    }

    #[test]
    fn one_that_is_counted_after_the_control_file_knows_it_is_one_bar() {
        let mut lanes = Lanes::default();
        at(&mut lanes, 100, [5, 1, 9_000, 800], Some(20));
        at(&mut lanes, 105, [5, 1, 9_000, 800], Some(104));
        assert_eq!(told(&lanes), []);
        at(&mut lanes, 106, [5, 2, 9_014, 900], Some(104));
        let first = ("requested".into(), 104_500, Some(105_000));
        assert_eq!(told(&lanes), std::slice::from_ref(&first));
        // The next begins in the same second.
        at(&mut lanes, 107, [5, 3, 9_020, 950], Some(104));
        assert_eq!(told(&lanes).len(), 2);
        // One that takes less than a millisecond, after one that was skipped.
        at(&mut lanes, 108, [6, 3, 9_020, 950], Some(104));
        at(&mut lanes, 110, [6, 3, 9_020, 950], Some(109));
        assert_eq!(told(&lanes).len(), 2);
        at(&mut lanes, 111, [6, 4, 9_020, 951], Some(109));
        assert_eq!(told(&lanes).len(), 3);
        assert!(told(&lanes).iter().all(|(_, _, end_ms)| end_ms.is_some()));
    }

    #[test]
    fn one_that_began_before_the_first_sample_has_no_known_reason() {
        let mut lanes = Lanes::default();
        at(&mut lanes, 100, [5, 1, 9_000, 800], Some(20));
        at(&mut lanes, 105, [5, 1, 19_000, 900], Some(95));
        assert_eq!(told(&lanes), [("checkpoint".into(), 95_000, Some(105_000))]);
    }

    #[test]
    fn without_the_control_file_the_end_is_that_of_the_sample() {
        let mut lanes = Lanes::default();
        at(&mut lanes, 100, [5, 1, 9_000, 800], None);
        at(&mut lanes, 105, [5, 2, 12_000, 900], None);
        assert_eq!(told(&lanes), [("requested".into(), 102_000, Some(105_000))]);
        at(&mut lanes, 110, [0, 0, 0, 0], None);
        assert_eq!(told(&lanes).len(), 1);
    }
}
