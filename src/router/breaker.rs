//! Circuit breaker of the replica: says whether it may get reads, and when to look at it again. Pure: the time is passed
//! in, and what was seen.

use super::session::{Barred, Lsn};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Limits of the breaker, of a read's wait for the session's own write, and of what is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Maximum wait for the replica to replay a write that the primary had flushed when it was done: the commit was
    /// synchronous. 20 ms by default; at most [`WAIT_BOUND`].
    pub wait_flushed: Duration,
    /// Maximum wait for a write that was not flushed yet: `synchronous_commit = off`, or others wrote meanwhile. `None`
    /// (the default) is twice the primary's `wal_writer_delay`, as it is now, and [`WAIT_MARGIN`]: a round of the WAL
    /// writer that finds full pages to flush leaves the last one to the next round. At most [`WAIT_BOUND`].
    pub wait_unflushed: Option<Duration>,
    /// Lag in bytes of WAL from which on the replica gets no reads; 64 MiB by default.
    pub lag_bytes: u64,
    /// Lag in time from which on the replica gets no reads; 5 s by default. Measured to the length of [`Self::look`].
    pub lag: Duration,
    /// Interval at which primary and replica are looked at; 1 s by default.
    pub look: Duration,
    /// Pause before the first look at a replica that gets no reads; 100 ms by default. It doubles with each look that
    /// fails.
    pub probe_first: Duration,
    /// Longest such pause; 5 s by default.
    pub probe_last: Duration,
    /// Maximum age of the router's caches, which do not see the DDL of others; 60 s by default. Filling them again costs the
    /// server some tenths of a second at most: one look at all types and operators, one plan per statement.
    pub kept: Duration,
}

/// No read waits longer than this for its session's own write.
pub const WAIT_BOUND: Duration = Duration::from_secs(2);
/// What a wait may last beyond the rounds of the WAL writer, after which the WAL is flushed and sent.
pub const WAIT_MARGIN: Duration = Duration::from_millis(100);

impl Default for Policy {
    fn default() -> Self {
        Self {
            wait_flushed: Duration::from_millis(20),
            wait_unflushed: None,
            lag_bytes: 64 << 20,
            lag: Duration::from_secs(5),
            look: Duration::from_secs(1),
            probe_first: Duration::from_millis(100),
            probe_last: Duration::from_secs(5),
            kept: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// Returns the maximum wait for a write. `delay` is the primary's `wal_writer_delay`.
    pub fn wait(&self, flushed: bool, delay: Duration) -> Duration {
        let wait = if flushed {
            self.wait_flushed
        } else {
            self.wait_unflushed
                .unwrap_or_else(|| (delay.saturating_mul(2)).saturating_add(WAIT_MARGIN))
        };
        wait.min(WAIT_BOUND)
    }
}

/// The state of the replica at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// True if it is in recovery.
    pub(super) standby: bool,
    pub(super) replayed: Lsn,
    /// When its postmaster was started, in milliseconds.
    pub(super) started: i64,
    pub(super) paused: bool,
    /// Its system identifier, if its role may read it.
    pub(super) system: Option<u64>,
}

/// The state of the primary at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead {
    pub(super) written: Lsn,
    pub(super) system: Option<u64>,
}

/// The breaker. Open means that the replica gets no reads.
#[derive(Clone, Debug)]
pub(super) struct Breaker {
    policy: Policy,
    barred: Option<Barred>,
    since: Instant,
    opened: u64,
    pause: Duration,
    /// When the postmaster was started that was found to be a replica of the primary, in milliseconds.
    started: Option<i64>,
    /// Positions of the primary and when they were seen, the oldest first: those that the replica lacks.
    written: VecDeque<(Instant, Lsn)>,
    system: Option<u64>,
    lag_bytes: Option<u64>,
    lag: Option<Duration>,
}

/// Positions of the primary that are kept: a minute of looks; an older lag counts as that of the oldest.
const REMEMBERED: usize = 60;

impl Breaker {
    pub(super) fn new(policy: Policy, now: Instant) -> Self {
        Self {
            policy,
            barred: Some(Barred::Unchecked),
            since: now,
            opened: 0,
            pause: policy.probe_first,
            started: None,
            written: VecDeque::new(),
            system: None,
            lag_bytes: None,
            lag: None,
        }
    }

    pub(super) fn barred(&self) -> Option<Barred> {
        self.barred
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Returns how often it was opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened
    }

    pub(super) fn lag(&self) -> (Option<u64>, Option<Duration>) {
        (self.lag_bytes, self.lag)
    }

    /// Returns when the postmaster was started that is known to be a replica of the primary.
    pub(super) fn started(&self) -> Option<i64> {
        self.started
    }

    /// Returns the time until the next look.
    pub(super) fn pause(&self) -> Duration {
        if self.barred.is_some() {
            self.pause
        } else {
            self.policy.look
        }
    }

    /// Opens at once: a statement met this.
    pub(super) fn failed(&mut self, why: Barred, now: Instant) {
        self.pause = self.policy.probe_first;
        self.started = None;
        self.bar(Some(why), now);
    }

    /// Judges a look at both servers; `None` is a server that did not answer.
    pub(super) fn judge(&mut self, primary: Option<Ahead>, replica: Option<Seen>, now: Instant) {
        if let Some(primary) = primary {
            self.system = primary.system.or(self.system);
            if self.written.len() >= REMEMBERED {
                self.written.remove(1);
            }
            self.written.push_back((now, primary.written));
        }
        let barred = replica.map_or(Some(Barred::Lost), |seen| self.obstacle(&seen, now));
        // One that is late is still what it is: an answer that is on its way counts.
        let genuine = matches!(barred, None | Some(Barred::Paused | Barred::Lagging));
        self.started = replica.filter(|_| genuine).map(|seen| seen.started);
        if barred.is_some() && self.barred.is_some() {
            self.pause = (self.pause * 2).min(self.policy.probe_last);
        } else {
            self.pause = self.policy.probe_first;
        }
        self.bar(barred, now);
    }

    fn bar(&mut self, barred: Option<Barred>, now: Instant) {
        if barred.is_some() && self.barred.is_none() {
            self.opened += 1;
        }
        if barred != self.barred {
            self.since = now;
        }
        self.barred = barred;
    }

    fn obstacle(&mut self, seen: &Seen, now: Instant) -> Option<Barred> {
        if !seen.standby {
            return Some(Barred::Promoted);
        }
        if let (Some(ours), Some(its)) = (self.system, seen.system)
            && ours != its
        {
            return Some(Barred::Foreign);
        }
        let last = self.written.back().map(|(_, written)| *written);
        while self
            .written
            .front()
            .is_some_and(|(_, written)| *written <= seen.replayed)
        {
            self.written.pop_front();
        }
        self.lag_bytes = last.map(|last| last.0.saturating_sub(seen.replayed.0));
        self.lag = last.map(|_| {
            let lacks = self.written.front();
            lacks.map_or(Duration::ZERO, |(at, _)| now.saturating_duration_since(*at))
        });
        if seen.paused {
            return Some(Barred::Paused);
        }
        // Once it lags, it has to fall well below the limit, so that the breaker does not open and close all the time.
        let share = if self.barred == Some(Barred::Lagging) {
            2
        } else {
            1
        };
        let lags = self
            .lag_bytes
            .is_some_and(|lag| lag > self.policy.lag_bytes / share)
            || self
                .lag
                .is_some_and(|lag| lag > self.policy.lag / share as u32);
        lags.then_some(Barred::Lagging)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the breaker takes it")]
    fn seen(replayed: u64) -> Option<Seen> {
        Some(Seen {
            standby: true,
            replayed: Lsn(replayed),
            started: 1,
            paused: false,
            system: Some(7),
        })
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the breaker takes it")]
    fn ahead(written: u64) -> Option<Ahead> {
        Some(Ahead {
            written: Lsn(written),
            system: Some(7),
        })
    }

    #[test]
    fn it_opens_at_once_and_probes_at_growing_pauses() {
        let now = Instant::now();
        let at = |ms: u64| now + Duration::from_millis(ms);
        let mut breaker = Breaker::new(Policy::default(), now);
        assert_eq!(breaker.barred(), Some(Barred::Unchecked));
        breaker.judge(ahead(10), seen(10), at(1));
        assert_eq!((breaker.barred(), breaker.opened()), (None, 0));
        assert_eq!(breaker.pause(), Duration::from_secs(1));
        breaker.failed(Barred::Lost, at(2));
        assert_eq!((breaker.since(), breaker.started()), (at(2), None));
        let mut pauses = Vec::new();
        for n in 0..8 {
            pauses.push(breaker.pause().as_millis());
            breaker.judge(ahead(10), None, at(3 + n));
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!((breaker.since(), breaker.opened()), (at(2), 1));
        breaker.judge(ahead(10), seen(10), at(20));
        assert_eq!((breaker.barred(), breaker.started()), (None, Some(1)));
        assert_eq!(breaker.since(), at(20));
    }

    #[test]
    fn who_is_no_replica_of_the_primary_is_barred() {
        let now = Instant::now();
        let mut breaker = Breaker::new(Policy::default(), now);
        let promoted = seen(10).map(|seen| Seen {
            standby: false,
            ..seen
        });
        breaker.judge(ahead(10), promoted, now);
        assert_eq!(breaker.barred(), Some(Barred::Promoted));
        let foreign = seen(10).map(|seen| Seen {
            system: Some(8),
            ..seen
        });
        // Known from an earlier look while the primary does not answer.
        breaker.judge(None, foreign, now);
        assert_eq!(breaker.barred(), Some(Barred::Foreign));
        let paused = seen(10).map(|seen| Seen {
            paused: true,
            ..seen
        });
        breaker.judge(None, paused, now);
        assert_eq!(breaker.barred(), Some(Barred::Paused));
        breaker.judge(None, seen(10), now);
        assert_eq!(breaker.barred(), None);
    }

    #[test]
    fn a_lag_in_bytes_or_time_opens_it_until_half_of_it_is_made_up() {
        let now = Instant::now();
        let at = |s: u64| now + Duration::from_secs(s);
        let by_bytes = Policy {
            lag: Duration::from_secs(1_000),
            ..Policy::default()
        };
        let mut breaker = Breaker::new(by_bytes, now);
        let limit = by_bytes.lag_bytes;
        for (second, lag, barred) in [
            (0, limit, None),
            (1, limit + 1, Some(Barred::Lagging)),
            (2, limit, Some(Barred::Lagging)),
            (3, limit / 2, None),
        ] {
            let written = limit * 4 + second;
            breaker.judge(ahead(written), seen(written - lag), at(second));
            assert_eq!(breaker.barred(), barred, "{second}");
        }
        // A few bytes, but since long.
        let mut breaker = Breaker::new(Policy::default(), now);
        for second in 0..=20 {
            breaker.judge(ahead(100 + second), seen(100), at(second));
            let late = second > 6;
            assert_eq!(breaker.barred().is_some(), late, "{second}");
        }
        assert_eq!(breaker.lag(), (Some(20), Some(Duration::from_secs(19))));
        breaker.judge(ahead(121), seen(120), at(21));
        assert_eq!(breaker.barred(), None);
        // While the primary is idle nothing is missing, however old it is.
        breaker.judge(ahead(121), seen(121), at(500));
        assert_eq!(breaker.lag(), (Some(0), Some(Duration::ZERO)));
    }

    #[test]
    fn the_wait_fits_the_commit() {
        let ms = Duration::from_millis;
        let policy = Policy::default();
        assert_eq!(policy.wait(true, ms(200)), ms(20));
        assert_eq!(policy.wait(false, ms(200)), ms(500));
        assert_eq!(policy.wait(false, ms(10_000)), WAIT_BOUND);
        let never = Policy {
            wait_unflushed: Some(Duration::ZERO),
            ..policy
        };
        assert_eq!(never.wait(false, ms(200)), Duration::ZERO);
    }
}
