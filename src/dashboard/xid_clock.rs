//! When which transaction id was the oldest that ran: one entry per sample in which that changed.

use super::chunks::Chunks;

/// One sample.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The oldest id that ran, which a snapshot taken then would have had as its xmin.
    xmin: i64,
    /// The next id to be given out.
    xmax: i64,
    at_s: f64,
}

/// Transaction ids by the server's clock.
#[derive(Clone, Debug, Default)]
pub struct XidClock {
    seen: Chunks<Seen>,
}

/// Entries kept: an hour of seconds.
const KEEP: usize = 3_600;

/// The clock, read at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// What was seen before.
    pub xids: &'a XidClock,
    /// The next id to be given out.
    pub xmax: i64,
    /// The oldest id that runs.
    pub xmin: i64,
    /// The server's time.
    pub now_s: f64,
}

impl XidClock {
    /// Notes the oldest id that runs and the next one to be given out, at `at_s` of the server.
    pub fn note(&mut self, xmin: i64, xmax: i64, at_s: f64) {
        let newest = self.seen.iter().next_back();
        let back = newest.is_some_and(|last| xmax < last.xmax || at_s < last.at_s);
        if back {
            // Another server, or one restored from a backup: what was seen is of no use.
            self.seen.clear();
        }
        if back || newest.is_none_or(|last| xmin > last.xmin || xmax > last.xmax) {
            self.seen.push(Seen { xmin, xmax, at_s }, KEEP);
        }
    }

    /// Ids given out per second, as long as they have been watched; unknown before a minute.
    pub fn per_s(&self) -> Option<f64> {
        let first = self.seen.iter().next()?;
        let last = self.seen.iter().next_back()?;
        let passed_s = last.at_s - first.at_s;
        (passed_s >= 60.0).then(|| (last.xmax - first.xmax) as f64 / passed_s)
    }

    /// When `xid` came to be the oldest that ran, or later than that; `None` where it was so at the first sample.
    pub fn reached_s(&self, xid: i64) -> Option<f64> {
        self.seen.iter().next().filter(|first| first.xmin < xid)?;
        let reached = self.seen.first_where(|seen| seen.xmin >= xid);
        reached.map(|seen| seen.at_s)
    }

    /// When a later id than `xid` was first seen to be the oldest that ran.
    pub fn passed_s(&self, xid: i64) -> Option<f64> {
        let passed = self.seen.first_where(|seen| seen.xmin > xid);
        passed.map(|seen| seen.at_s)
    }
}
