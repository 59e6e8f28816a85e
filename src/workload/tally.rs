//! Counts work offered, done and missed, and its latencies.

use super::mix::Kind;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Delay after which work that begins counts as late.
pub(super) const LATE: Duration = Duration::from_millis(100);

/// Upper limit of a recorded time.
const LONGEST: Duration = Duration::from_secs(86_400);

/// Number of seconds in the recent figures.
const RECENT_S: u64 = 5;

/// Latencies in milliseconds. Zero if nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Latency {
    /// Mean.
    #[serde(rename = "latency_ms_mean")]
    pub mean: f64,
    /// Median.
    #[serde(rename = "latency_ms_p50")]
    pub p50: f64,
    /// 95th percentile.
    #[serde(rename = "latency_ms_p95")]
    pub p95: f64,
    /// 99th percentile.
    #[serde(rename = "latency_ms_p99")]
    pub p99: f64,
    /// 99.9th percentile.
    #[serde(rename = "latency_ms_p999")]
    pub p999: f64,
    /// Maximum.
    #[serde(rename = "latency_ms_max")]
    pub max: f64,
}

/// A histogram of times in microseconds, with three significant digits.
#[derive(Clone, Debug)]
pub(super) struct Times(Option<Histogram<u64>>);

impl Default for Times {
    fn default() -> Self {
        let times = Histogram::new(3).ok();
        Self(times)
    }
}

impl Times {
    pub(super) fn add(&mut self, time: Duration) {
        if let Some(times) = &mut self.0 {
            let us = time.min(LONGEST).as_micros() as u64;
            // The histogram grows as needed.
            let _ = times.record(us);
        }
    }

    fn absorb(&mut self, other: &Self) {
        if let (Some(times), Some(other)) = (&mut self.0, &other.0) {
            let _ = times.add(other);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, Histogram::len)
    }

    /// Returns the quantile in milliseconds.
    pub(super) fn quantile(&self, quantile: f64) -> f64 {
        let us = self.0.as_ref().map_or(0, |t| t.value_at_quantile(quantile));
        us as f64 / 1e3
    }

    pub(super) fn max(&self) -> f64 {
        self.0
            .as_ref()
            .map_or(0.0, |times| times.max() as f64 / 1e3)
    }

    pub(super) fn latency(&self) -> Latency {
        let mean = self.0.as_ref().map_or(0.0, Histogram::mean);
        Latency {
            mean: (mean.round()) / 1e3,
            p50: self.quantile(0.5),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.max(),
        }
    }
}

/// Figures of a kind of work.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) times: Times,
}

/// Figures of one second.
#[derive(Clone, Debug, Default)]
struct Second {
    /// Number of the second, from the start.
    number: u64,
    offered: u64,
    done: u64,
    times: Times,
}

/// Figures of a class of work. The totals count only work that was due within the measured time; the recent figures
/// count everything.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    start: Instant,
    from: Instant,
    to: Instant,
    /// The latest due time of offered work.
    last: Instant,
    pub(super) offered: u64,
    pub(super) begun: u64,
    pub(super) late: u64,
    pub(super) unstarted: u64,
    /// Number done within the measured time, no matter when due.
    pub(super) reached: u64,
    /// Number begun, but neither done nor failed when the run stopped waiting.
    unfinished: u64,
    pub(super) all: Times,
    pub(super) kinds: BTreeMap<Kind, Series>,
    /// Number of errors by SQLSTATE, or by a keyword if there is none.
    pub(super) errors: BTreeMap<String, u64>,
    recent: Vec<Second>,
}

/// Figures of the last seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Recent {
    /// Offered per second.
    pub offered_per_s: f64,
    /// Done per second, no matter when due.
    pub reached_per_s: f64,
    /// Latencies of the work done.
    pub latency: Latency,
}

impl Tally {
    /// Returns a tally that measures from `from` until [`Self::end`].
    pub(super) fn new(start: Instant, from: Instant, to: Instant) -> Self {
        Self {
            start,
            from,
            to,
            last: start,
            offered: 0,
            begun: 0,
            late: 0,
            unstarted: 0,
            reached: 0,
            unfinished: 0,
            all: Times::default(),
            kinds: BTreeMap::new(),
            errors: BTreeMap::new(),
            recent: vec![Second::default(); RECENT_S as usize + 1],
        }
    }

    pub(super) fn measures(&self, at: Instant) -> bool {
        self.from <= at && at < self.to
    }

    fn second(&mut self, at: Instant) -> Option<&mut Second> {
        let number = at.saturating_duration_since(self.start).as_secs();
        let place = (number % (RECENT_S + 1)) as usize;
        let second = self.recent.get_mut(place)?;
        if second.number != number {
            *second = Second {
                number,
                ..Second::default()
            };
        }
        Some(second)
    }

    /// Counts work that is due.
    pub(super) fn offer(&mut self, due: Instant) {
        self.offered += u64::from(self.measures(due));
        self.last = self.last.max(due);
        if let Some(second) = self.second(due) {
            second.offered += 1;
        }
    }

    /// Counts work that begins. Returns the time from which its latency counts: the due time, or now if it begins
    /// slightly before that.
    pub(super) fn begin(&mut self, due: Instant, now: Instant) -> Instant {
        if self.measures(due) {
            self.begun += 1;
            self.late += u64::from(now.saturating_duration_since(due) > LATE);
        }
        due.min(now)
    }

    /// Counts work that is done.
    pub(super) fn done(&mut self, kind: Kind, due: Instant, since: Instant, now: Instant) {
        let time = now.saturating_duration_since(since);
        if let Some(second) = self.second(now) {
            second.done += 1;
            second.times.add(time);
        }
        self.reached += u64::from(self.measures(now));
        if self.measures(due) {
            self.all.add(time);
            let series = self.kinds.entry(kind).or_default();
            series.done += 1;
            series.times.add(time);
        }
    }

    /// Counts work that failed. Its duration is not counted as latency.
    pub(super) fn failed(&mut self, kind: Kind, due: Instant, code: &str) {
        if self.measures(due) {
            self.kinds.entry(kind).or_default().failed += 1;
            self.error(code);
        }
    }

    pub(super) fn error(&mut self, code: &str) {
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else {
            self.errors.insert(code.to_owned(), 1);
        }
    }

    /// Counts work that had not begun when the run ended. The time it has waited counts as its latency.
    pub(super) fn never_began(&mut self, due: Instant, now: Instant) {
        if self.measures(due) {
            self.unstarted += 1;
            self.late += 1;
            self.all.add(now.saturating_duration_since(due));
        }
    }

    /// Ends the measurement: work offered from now on is not counted. Returns the measured time.
    pub(super) fn end(&mut self, now: Instant) -> Duration {
        let last = self.last + Duration::from_nanos(1);
        self.to = self.to.min(now.max(last));
        self.to.saturating_duration_since(self.from)
    }

    /// Counts work still in progress as failed.
    pub(super) fn cut_off(&mut self) {
        let (done, failed) = self.sum();
        self.unfinished = self.begun.saturating_sub(done + failed);
        if self.unfinished > 0 {
            self.errors.insert("unfinished".to_owned(), self.unfinished);
        }
    }

    /// Returns the total numbers done and failed.
    pub(super) fn sum(&self) -> (u64, u64) {
        let kinds = self.kinds.values();
        kinds.fold((0, self.unfinished), |(done, failed), kind| {
            (done + kind.done, failed + kind.failed)
        })
    }

    /// Returns the figures of the last full seconds.
    pub(super) fn recent(&self, now: Instant) -> Recent {
        let current = now.saturating_duration_since(self.start).as_secs();
        let whole = current.saturating_sub(RECENT_S)..current;
        let seconds = || self.recent.iter().filter(|s| whole.contains(&s.number));
        let count = (whole.end - whole.start).max(1) as f64;
        let mut times = Times::default();
        for second in seconds() {
            times.absorb(&second.times);
        }
        Recent {
            offered_per_s: seconds().map(|s| s.offered).sum::<u64>() as f64 / count,
            reached_per_s: seconds().map(|s| s.done).sum::<u64>() as f64 / count,
            latency: times.latency(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_falls_due_in_the_measured_time_counts() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut tally = Tally::new(start, at(1_000), at(3_000));
        for due in [0, 999, 1_000, 2_000, 2_999, 3_000] {
            tally.offer(at(due));
            let since = tally.begin(at(due), at(due + 150));
            tally.done(Kind::Create, at(due), since, at(due + 200));
        }
        assert_eq!(tally.begin(at(3_001), at(3_000)), at(3_000));
        tally.failed(Kind::Pay, at(2_000), "23514");
        tally.failed(Kind::Pay, at(3_001), "23514");
        tally.never_began(at(2_500), at(4_500));
        assert_eq!((tally.offered, tally.begun, tally.late), (3, 3, 4));
        assert_eq!(tally.reached, 3);
        assert_eq!(tally.sum(), (3, 1));
        assert_eq!(tally.errors, [("23514".to_owned(), 1)].into());
        assert_eq!(tally.all.count(), 4);
        assert!(
            (1_999.0..2_002.0).contains(&tally.all.max()),
            "{}",
            tally.all.max()
        );
        assert!((199.0..201.0).contains(&tally.all.quantile(0.5)));
        assert_eq!(tally.end(at(9_000)), Duration::from_secs(2));
    }

    #[test]
    fn what_was_offered_counts_though_it_is_ended_early() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut tally = Tally::new(start, start, at(60_000));
        tally.offer(at(2_001));
        assert_eq!(tally.end(at(2_000)).as_millis(), 2_001);
        tally.never_began(at(2_001), at(2_002));
        tally.offer(at(2_003));
        assert_eq!((tally.offered, tally.unstarted), (1, 1));
        let mut idle = Tally::new(start, at(5_000), at(60_000));
        assert_eq!(idle.end(at(2_000)), Duration::ZERO);
    }

    #[test]
    fn the_last_seconds_are_those_before_this_one() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut tally = Tally::new(start, start, at(60_000));
        for ms in (0..10_000).step_by(100) {
            tally.offer(at(ms));
            let took = if ms < 4_000 { 90 } else { 5 };
            tally.done(Kind::Browse, at(ms), at(ms), at(ms + took));
        }
        let recent = tally.recent(at(9_500));
        assert!((9.9..10.1).contains(&recent.reached_per_s), "{recent:?}");
        assert!(recent.latency.max < 6.0, "{recent:?}");
        assert!(tally.recent(at(60_000)).reached_per_s < 0.01);
    }
}
