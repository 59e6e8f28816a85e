//! Times at which transaction ids were the oldest running: one entry per sample in which that changed.

use super::chunks::Chunks;

/// One sample.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The oldest running id, which is the xmin of a snapshot taken then.
    xmin: i64,
    /// The next id to be assigned.
    xmax: i64,
    at_s: f64,
}

/// Transaction ids by the server's clock.
#[derive(Clone, Debug, Default)]
pub struct XidClock {
    seen: Chunks<Seen>,
}

/// Entries kept: an hour at one per second.
const KEEP: usize = 3_600;

/// The clock and its latest reading.
#[derive(Clone, Copy, Debug)]
pub struct Clock<'a> {
    /// Earlier samples.
    pub xids: &'a XidClock,
    /// The next id to be assigned.
    pub xmax: i64,
    /// The oldest running id.
    pub xmin: i64,
    /// The server's time, in seconds since the epoch.
    pub now_s: f64,
}

impl XidClock {
    /// Records the oldest running id and the next one to be assigned at `at_s` of the server's clock.
    pub fn note(&mut self, xmin: i64, xmax: i64, at_s: f64) {
        let newest = self.seen.iter().next_back();
        let back = newest.is_some_and(|last| xmax < last.xmax || at_s < last.at_s);
        if back {
            // Another server, or one restored from a backup: earlier samples are useless.
            self.seen.clear();
        }
        if back || newest.is_none_or(|last| xmin > last.xmin || xmax > last.xmax) {
            self.seen.push(Seen { xmin, xmax, at_s }, KEEP);
        }
    }

    /// Ids assigned per second, averaged over all samples; `None` if they span less than a minute.
    pub fn per_s(&self) -> Option<f64> {
        let first = self.seen.iter().next()?;
        let last = self.seen.iter().next_back()?;
        let passed_s = last.at_s - first.at_s;
        (passed_s >= 60.0).then(|| (last.xmax - first.xmax) as f64 / passed_s)
    }

    /// Returns the time at which `xid` became the oldest running id, or was first passed; `None` if that was
    /// so at the first sample.
    pub fn reached_s(&self, xid: i64) -> Option<f64> {
        self.seen.iter().next().filter(|first| first.xmin < xid)?;
        let reached = self.seen.first_where(|seen| seen.xmin >= xid);
        reached.map(|seen| seen.at_s)
    }

    /// Returns the time at which the oldest running id was first seen to be later than `xid`.
    pub fn passed_s(&self, xid: i64) -> Option<f64> {
        let passed = self.seen.first_where(|seen| seen.xmin > xid);
        passed.map(|seen| seen.at_s)
    }
}
