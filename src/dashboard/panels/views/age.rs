//! Bounds of the time at which the data of a materialized view were read.
//!
//! PostgreSQL does not record the time of a refresh. A refresh reads as of its snapshot: not before its
//! transaction began, and not after it was seen at work or was done. A new version of the view's row in
//! pg_class shows that a refresh is done, unless the definition or privileges changed with it, which explains
//! the new version by itself.

use crate::dashboard::rows::{Row, read};
use crate::pg::Value;
use std::collections::VecDeque;

/// Maximum distance in seconds of bounds that are reported as one age.
const NEAR_S: f64 = 2.5;
/// Like [`NEAR_S`], as a share of the age.
const NEAR_SHARE: f64 = 0.1;
/// Uncertainty in seconds of a transaction's start, as the duration of answers varies.
const JITTER_S: f64 = 0.5;
/// Number of refreshes remembered to judge their frequency.
pub(super) const HISTORY: usize = 4;

/// A refresh that holds its lock or waits for it. Times are the model's, in seconds.
#[derive(Clone, Copy, Debug)]
struct Running {
    pid: i64,
    /// Start of its transaction; if that is hidden, the sample before it was first seen.
    began_s: f64,
    /// Start of its statement, or the time it was first seen.
    first_s: f64,
    last_s: f64,
    /// True if it was seen to hold the lock, so it is not DDL that waits for one.
    held: bool,
}

/// State of a view kept between samples. Times are the model's, in seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Age {
    /// The version of its row in pg_class, and a hash of everything in it that DDL changes.
    version: Option<(i64, Option<i64>)>,
    /// The data were not read before this time.
    from_s: Option<f64>,
    /// The data were not read after this time.
    to_s: Option<f64>,
    source: Option<&'static str>,
    running: Option<Running>,
    sampled_s: Option<f64>,
    /// Duration of the last refresh, in seconds.
    pub(super) last_s: Option<f64>,
    /// Times at which the last refreshes were seen to be done.
    pub(super) changes: VecDeque<f64>,
}

impl Age {
    /// Takes in a sample of the view at `now_s`; returns false if it is the same sample as before.
    pub(super) fn observe(&mut self, view: Row<'_, read::View>, now_s: f64) -> bool {
        if self.sampled_s == Some(now_s) {
            return false;
        }
        let version = (view.xmin().unwrap_or(0), view.definition());
        let committed_s = view.refreshed_s().map(|age| now_s - age);
        match self.version.replace(version) {
            None => {
                // Either a refresh or DDL: the data are at least as old.
                self.to_s = committed_s;
                self.source = committed_s.map(|_| "commit timestamp");
            }
            Some(before) if before.0 != version.0 => {
                let seen = self.running.take();
                if seen.is_some_and(|seen| seen.held) || before.1 == version.1 {
                    self.refreshed(seen, committed_s, now_s);
                }
            }
            Some(_) => {}
        }
        self.watch(view, now_s);
        self.sampled_s = Some(now_s);
        true
    }

    /// Records a finished refresh.
    fn refreshed(&mut self, seen: Option<Running>, committed_s: Option<f64>, now_s: f64) {
        let done_s = committed_s.unwrap_or(now_s);
        if let Some(seen) = seen {
            let ended_s = committed_s.unwrap_or(f64::midpoint(seen.last_s, now_s));
            self.last_s = Some((ended_s - seen.first_s).max(0.0));
            self.from_s = Some(seen.began_s);
            self.to_s = Some(seen.first_s.min(done_s));
            self.source = Some("seen refreshing");
        } else {
            // No refresh was running at the previous sample.
            self.from_s = self.sampled_s;
            self.to_s = Some(done_s);
            self.source = Some(match committed_s {
                Some(_) => "commit timestamp",
                None => "pg_class.xmin changed",
            });
        }
        self.changes.push_back(now_s);
        if self.changes.len() > HISTORY {
            self.changes.pop_front();
        }
    }

    /// Records the refresh that is running now.
    fn watch(&mut self, view: Row<'_, read::View>, now_s: f64) {
        if !view.refreshing().is_known() {
            self.running = None;
            return;
        }
        let ago = |age: Option<f64>| age.map(|age| now_s - age);
        let pid = view.refresh_pid().unwrap_or(0);
        let began_s = ago(view.refresh_xact_s());
        let held = holds(view);
        let same = |seen: &Running| {
            seen.pid == pid && began_s.is_none_or(|began| began <= seen.last_s + JITTER_S)
        };
        let first_s = ago(view.refresh_running_s()).unwrap_or(now_s);
        self.running = Some(match self.running.filter(same) {
            Some(seen) => Running {
                last_s: now_s,
                held: held || seen.held,
                ..seen
            },
            None => Running {
                pid,
                began_s: began_s.or(self.sampled_s).unwrap_or(first_s),
                first_s,
                last_s: now_s,
                held,
            },
        });
    }

    /// Records that this program's refresh took `seconds`.
    pub(super) fn took(&mut self, seconds: f64) {
        self.last_s = Some(seconds);
    }

    /// Returns the age of the data and the source of that knowledge. `logged_s` is the time since the start
    /// of this view's last refresh recorded by `htap-top refresh`.
    pub(super) fn told(
        &self,
        populated: bool,
        logged_s: Option<f64>,
        now_s: f64,
    ) -> (Value, &'static str) {
        if !populated {
            return (Value::Pending, "never filled");
        }
        let seen = self.from_s.map(|from| now_s - from);
        let logged = logged_s.filter(|logged| seen.is_none_or(|seen| *logged < seen));
        let most = logged.or(seen);
        let least = self.to_s.map(|to| now_s - to);
        let source = match (logged, self.source) {
            (Some(_), _) => "htap.refresh_run",
            (None, Some(source)) => source,
            (None, None) => "no refresh seen yet",
        };
        let told = match (least, most) {
            (Some(least), Some(most)) if most - least <= (most * NEAR_SHARE).max(NEAR_S) => {
                Value::Float(most)
            }
            (_, Some(most)) => Value::AtMost(most),
            (Some(least), None) => Value::AtLeast(least),
            (None, None) => Value::Pending,
        };
        (told, source)
    }
}

/// Returns true if a refresh holds its lock instead of waiting for it.
pub(super) fn holds(view: Row<'_, read::View>) -> bool {
    // Earlier recordings lack this column.
    view.refresh_holds()
        .unwrap_or_else(|| view.refreshing().is_known() && view.refresh_waiting() != Some(true))
}
