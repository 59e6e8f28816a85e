//! When the data of a materialized view were read, between bounds.
//!
//! PostgreSQL keeps no time of refresh. A refresh reads as of its snapshot: not before its transaction began, and
//! not after it was seen at work or was done. A new version of the view's row in pg_class tells that one is done,
//! unless its definition or privileges changed with it: then that was all.

use crate::dashboard::rows::{Row, read};
use crate::pg::Value;
use std::collections::VecDeque;

/// Bounds that are no farther apart, in seconds, are told as one age.
const NEAR_S: f64 = 2.5;
/// As [`NEAR_S`], as a share of the age.
const NEAR_SHARE: f64 = 0.1;
/// Answers take a while, now more, now less: when a transaction began is known no better.
const JITTER_S: f64 = 0.5;
/// So many refreshes tell how often somebody refreshes.
pub(super) const HISTORY: usize = 4;

/// A refresh that holds its lock or waits for it, in seconds of the model.
#[derive(Clone, Copy, Debug)]
struct Running {
    pid: i64,
    /// When its transaction began; where that is hidden, the sample before it was seen.
    began_s: f64,
    /// When its statement began, or it was first seen.
    first_s: f64,
    last_s: f64,
    /// It was seen to hold the lock: it is no DDL that waits for one.
    held: bool,
}

/// What is remembered of a view from one sample to the next. Times are the model's, in seconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Age {
    /// The version of its row in pg_class, and what DDL changes in it.
    version: Option<(i64, Option<i64>)>,
    /// The data were not read before.
    from_s: Option<f64>,
    /// Nor after.
    to_s: Option<f64>,
    source: Option<&'static str>,
    running: Option<Running>,
    sampled_s: Option<f64>,
    /// Duration of the last refresh, seconds.
    pub(super) last_s: Option<f64>,
    /// When the last refreshes were seen to be done.
    pub(super) changes: VecDeque<f64>,
}

impl Age {
    /// Takes a sample of the view in, of the time `now_s`; `false` where it is the one of before.
    pub(super) fn observe(&mut self, view: Row<'_, read::View>, now_s: f64) -> bool {
        if self.sampled_s == Some(now_s) {
            return false;
        }
        let version = (view.xmin().unwrap_or(0), view.definition());
        let committed_s = view.refreshed_s().map(|age| now_s - age);
        match self.version.replace(version) {
            None => {
                // A refresh or DDL, nobody knows which: the data are at least as old.
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

    /// A refresh is done.
    fn refreshed(&mut self, seen: Option<Running>, committed_s: Option<f64>, now_s: f64) {
        let done_s = committed_s.unwrap_or(now_s);
        if let Some(seen) = seen {
            let ended_s = committed_s.unwrap_or(f64::midpoint(seen.last_s, now_s));
            self.last_s = Some((ended_s - seen.first_s).max(0.0));
            self.from_s = Some(seen.began_s);
            self.to_s = Some(seen.first_s.min(done_s));
            self.source = Some("seen refreshing");
        } else {
            // Nobody was at it at the sample before.
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

    /// Looks at who refreshes it just now.
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

    /// A refresh made by this program took so long, seconds.
    pub(super) fn took(&mut self, seconds: f64) {
        self.last_s = Some(seconds);
    }

    /// The age of the data, and what it is known from. `logged_s` is since the last refresh of this view began
    /// that `htap-top refresh` has kept.
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

/// Returns true if a refresh holds its lock, and does not only wait for it.
pub(super) fn holds(view: Row<'_, read::View>) -> bool {
    // Recordings of before do not tell.
    view.refresh_holds()
        .unwrap_or_else(|| view.refreshing().is_known() && view.refresh_waiting() != Some(true))
}
