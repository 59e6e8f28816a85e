//! The pace of samples: how soon a query is repeated.

use super::Model;
use crate::dashboard::event::{FeedId, Moment};
use crate::dashboard::feed::Feed;
use crate::dashboard::panels::spec::{Crowded, Pool};
use crate::dashboard::rows::Panel;
use std::time::Duration;

/// On the slow session a statement is repeated only after this many times its own duration, so that it uses
/// at most this small share of one processor.
const SLOW_SHARE: f64 = 50.0;
/// Like [`SLOW_SHARE`], for the fast session. It matters if a pass over pg_stat_activity is slow: the server
/// copies the full text of every statement each time, even if little of it is selected; 40 texts of 1 MB take
/// 0.2 s.
const FAST_SHARE: f64 = 20.0;
/// A fast feed is queried at least this often nevertheless, because rules depend on it.
const FAST_LONGEST: Duration = Duration::from_secs(5);
/// Like [`SLOW_SHARE`], for the OLAP pool and the column store, whose queries are expected to take long.
const OLAP_SHARE: f64 = 10.0;
/// Maximum interval of samples of the pooler, which are less frequent if they take long: its only thread serves nobody else
/// meanwhile.
const POOLER_LONGEST: Duration = Duration::from_secs(3);
/// Milliseconds to the second sample of a panel whose figures take two. Ticks come every quarter of a second, so it is sent
/// 1.2 s after the first at the latest.
const SECOND_MS: u64 = 900;
/// The second sample waits for at least this many times the duration of the first.
const SECOND_SHARE: f64 = 4.0;
/// The sample before is too old for the figures of now after this many intervals: again there are no two.
const TOO_OLD: u32 = 3;
/// A fast feed whose own interval is no longer than this uses the dashboard's interval.
const EVERY: Duration = Duration::from_secs(1);

impl Model {
    /// Time between two samples of `feed`.
    pub fn pace(&self, feed: &Feed) -> Duration {
        let configured = self.configured_pace(feed);
        let wanted = configured.unwrap_or(feed.spec.front.interval);
        if let Some(pace) = self.pace_of_node(feed).filter(|_| configured.is_none()) {
            return pace;
        }
        let took = |share: f64| {
            Duration::from_secs_f64((feed.sampling.took_ms / 1000.0 * share).clamp(0.0, 3600.0))
        };
        match feed.spec.front.pool {
            Pool::Oltp => {
                // Most feeds use the dashboard's interval; those that change slowly declare a longer one.
                let own = feed.spec.front.interval;
                let every = if own > EVERY {
                    own.max(self.interval)
                } else {
                    self.interval
                };
                let every = configured.unwrap_or(every);
                let rules = &feed.spec.front.sampling;
                let apart = rules.crowded == Crowded::EveryOther && self.is_crowded();
                let every = if apart { every * 2 } else { every };
                // Feeds that share a pass over the sessions are one statement.
                let whole_ms = if feed.scope.all_sessions {
                    self.shared_ms()
                } else {
                    feed.sampling.took_ms
                };
                let took =
                    Duration::from_secs_f64((whole_ms / 1000.0 * FAST_SHARE).clamp(0.0, 3600.0));
                every.max(took.min(FAST_LONGEST))
            }
            Pool::Slow => wanted.max(self.interval).max(took(SLOW_SHARE)),
            // It is pushed to readers who wait for it.
            Pool::Olap if feed.panel == Some(Panel::StreamWindows) => wanted.max(took(OLAP_SHARE)),
            Pool::Olap | Pool::Columnar => wanted.max(self.interval).max(took(OLAP_SHARE)),
            Pool::Replica => self.interval.max(took(FAST_SHARE).min(FAST_LONGEST)),
            Pool::Pooler => wanted
                .max(self.interval)
                .max(took(FAST_SHARE).min(POOLER_LONGEST)),
        }
    }

    /// Duration of a pass over the sessions in milliseconds, including everything computed from it.
    fn shared_ms(&self) -> f64 {
        let feeds = self.feeds.iter();
        let sharing = feeds.filter(|feed| !feed.foreign && feed.scope.all_sessions);
        sharing.map(|feed| feed.sampling.took_ms).sum()
    }

    /// Brings the next sample forward if the one that was sent at `sent` is the first of two.
    pub(super) fn hasten_second(&mut self, id: FeedId, sent: Option<Moment>) {
        let (Some(feed), Some(sent)) = (self.feed(id), sent) else {
            return;
        };
        let sampling = &feed.sampling;
        let fresh_s = (self.pace(feed) * TOO_OLD).as_secs_f64();
        let before = sampling.at.filter(|_| !sampling.outlived);
        let is_first = before.is_none_or(|at| sent.since(at) > fresh_s);
        if !feed.spec.front.takes_two() || !is_first {
            return;
        }
        let wait_ms = SECOND_MS.max((sampling.took_ms * SECOND_SHARE) as u64);
        if let Some(feed) = self.feed_mut(id) {
            let second_ms = sent.mono_ms.saturating_add(wait_ms);
            feed.sampling.due_ms = feed.sampling.due_ms.min(second_ms);
        }
    }
}

/// Returns the time of the next query in monotonic milliseconds. Intervals of whole seconds are aligned with
/// the displayed clock, so that one frame shows both.
pub(super) fn next_due(now: Moment, pace: Duration) -> u64 {
    let pace_ms = pace.as_millis() as u64;
    let past_ms = now.epoch_ms.rem_euclid(1_000) as u64;
    if pace_ms == 0 || !pace_ms.is_multiple_of(1_000) {
        return now.mono_ms + pace_ms;
    }
    if past_ms > 750 {
        now.mono_ms + pace_ms + (1_000 - past_ms)
    } else {
        now.mono_ms + pace_ms - past_ms
    }
}
