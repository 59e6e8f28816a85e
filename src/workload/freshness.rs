//! Measures the freshness of reports, by heartbeats through the OLTP path and the last one that an answer includes.
//!
//! The freshness of an answer is the time from the commit of the first transaction it does not include to the moment of
//! the query, or 0 if it includes everything (HATtrick, SIGMOD 2022).

use super::reports::Included;
use super::tally::Times;
use crate::pg::{Pool, Statement};
use crate::system::orders::Commit;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Interval of heartbeats, which is the resolution.
const PACE: Duration = Duration::from_millis(50);
/// Number of heartbeats kept: those of 80 minutes. An older state counts as the age of the oldest one.
const REMEMBERED: usize = 100_000;

const BEAT: Statement = Statement {
    name: "heartbeat",
    types: &["text"],
    sql: "INSERT INTO htap.heartbeat DEFAULT VALUES RETURNING seq, set_config('synchronous_commit', $1, true)",
};

/// The heartbeats so far.
#[derive(Debug, Default)]
pub(super) struct Heart(Mutex<VecDeque<(i64, Instant)>>);

impl Heart {
    fn beats(&self) -> MutexGuard<'_, VecDeque<(i64, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes heartbeats until it is dropped. A failed heartbeat is left out.
    pub(super) async fn beat(&self, pool: &Pool, commit: Commit) {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let Ok(session) = pool.get().await else {
                continue;
            };
            let beaten = session.run(&BEAT, &[commit.param()]).await;
            if let Some(seq) = beaten.ok().and_then(|answer| answer.int(0, "seq")) {
                self.remember(seq, Instant::now());
            }
        }
    }

    fn remember(&self, seq: i64, committed: Instant) {
        let mut beats = self.beats();
        if beats.len() >= REMEMBERED {
            beats.pop_front();
        }
        beats.push_back((seq, committed));
    }

    /// Returns the freshness of an answer to a query sent at `asked`; `None` before the first heartbeat.
    pub(super) fn freshness(&self, asked: Instant, included: Included) -> Option<Duration> {
        let last = match included {
            Included::Age(age) => return Some(age),
            Included::Heartbeat(last) => last.unwrap_or(i64::MIN),
        };
        let beats = self.beats();
        beats.front()?;
        let mut first_missing = beats.partition_point(|(seq, _)| *seq <= last);
        // Other sessions write heartbeats, too. If the last one is theirs, our previous one may have received its
        // number first but committed later, so it may not be included.
        if let Some(ours) = first_missing.checked_sub(1)
            && beats.get(ours).is_some_and(|(seq, _)| *seq != last)
        {
            first_missing = ours;
        }
        let missing = beats.get(first_missing);
        Some(missing.map_or(Duration::ZERO, |(_, committed)| {
            asked.saturating_duration_since(*committed)
        }))
    }
}

/// Freshness of all answers in the measured time.
#[derive(Clone, Debug, Default)]
pub(super) struct Freshness {
    pub(super) times: Times,
    /// Freshness of the latest answer.
    pub(super) last: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_is_the_age_of_the_first_commit_not_included() {
        let heart = Heart::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let fresh = |asked, last| heart.freshness(at(asked), Included::Heartbeat(last));
        assert_eq!(fresh(0, Some(1)), None);
        for beat in 0..10 {
            heart.remember(beat + 100, at(beat.unsigned_abs() * 50));
        }
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(fresh(500, Some(109)), ms(0));
        assert_eq!(fresh(500, Some(104)), ms(250));
        assert_eq!(fresh(500, Some(3)), ms(500));
        assert_eq!(fresh(500, None), ms(500));
        // The number of another session, which may have overtaken our previous one.
        heart.remember(112, at(500));
        assert_eq!(fresh(500, Some(111)), ms(50));
        assert_eq!(fresh(600, Some(112)), ms(0));
        assert_eq!(fresh(600, Some(113)), ms(100));
        // Committed after the query was sent.
        assert_eq!(fresh(200, Some(105)), ms(0));
        let old = Included::Age(Duration::from_secs(9));
        assert_eq!(heart.freshness(at(0), old), ms(9_000));
    }
}
