//! How long it takes until an event is in the figures: from the event's own time to the commit of the batch that counts it.
//!
//! Both are of the database's clock. An order's event happens before the order is committed, and the time of the batch is read
//! when its commit is known: so a figure is never too small.

use super::watermark::micros;
use hdrhistogram::Histogram;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Figures are those of the last minute.
const WINDOW: Duration = Duration::from_secs(60);
/// Length of its parts, which are forgotten as a whole.
const PART: Duration = Duration::from_secs(5);
/// Longest time that is told apart, in microseconds: a year.
const LONGEST: u64 = 31_622_400_000_000;

/// Times of the last minute, in microseconds, with two significant digits.
#[derive(Debug, Default)]
pub(super) struct Freshness {
    parts: VecDeque<(Instant, Histogram<u32>)>,
}

impl Freshness {
    /// Notes the events of a batch that was committed at `now`, in microseconds since 1970.
    pub(super) fn note(&mut self, events: impl Iterator<Item = i64>, now: i64) {
        let mut events = events.peekable();
        if events.peek().is_none() {
            return;
        }
        let Some(part) = self.current() else { return };
        for at in events {
            let took = u64::try_from(now.saturating_sub(at)).unwrap_or(0);
            // It grows as needed.
            let _ = part.record(took.min(LONGEST));
        }
    }

    fn current(&mut self) -> Option<&mut Histogram<u32>> {
        let is_over = |(begun, _): &(Instant, _)| begun.elapsed() >= PART;
        if self.parts.back().is_none_or(is_over) {
            self.parts
                .push_back((Instant::now(), Histogram::new(2).ok()?));
        }
        self.parts.back_mut().map(|(_, part)| part)
    }

    /// Returns median and 99th percentile in milliseconds; `None` if nothing was counted in the last minute.
    pub(super) fn percentiles(&mut self) -> Option<(f64, f64)> {
        self.parts.retain(|(begun, _)| begun.elapsed() < WINDOW);
        let mut all = Histogram::<u32>::new(2).ok()?;
        for (_, part) in &self.parts {
            all.add(part).ok()?;
        }
        let of = |share| all.value_at_quantile(share) as f64 / 1_000.0;
        (!all.is_empty()).then(|| (of(0.5), of(0.99)))
    }
}

/// The server's time, by our own clock since it was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// In microseconds since 1970.
    at: i64,
    /// Before it was asked for: so it is never behind the server's.
    asked: Instant,
}

impl Clock {
    pub(super) fn new(at: i64, asked: Instant) -> Self {
        Self { at, asked }
    }

    pub(super) fn now(&self) -> i64 {
        self.at.saturating_add(micros(self.asked.elapsed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_last_minute_counts() {
        let mut freshness = Freshness::default();
        assert_eq!(freshness.percentiles(), None);
        // One that came after an outage, then a hundred quick ones; a time to come counts as none.
        freshness.note([0].into_iter(), 3_600_000_000);
        tokio::time::advance(PART).await;
        freshness.note((0..99).map(|_| 0), 200_000);
        freshness.note([5].into_iter(), 0);
        let (p50, p99) = freshness.percentiles().unwrap();
        assert!((195.0..205.0).contains(&p50), "{p50}");
        assert!((195.0..205.0).contains(&p99), "{p99}");
        freshness.note([0, 0].into_iter(), 3_600_000_000);
        let (_, p99) = freshness.percentiles().unwrap();
        assert!((3_500_000.0..3_700_000.0).contains(&p99), "{p99}");
        tokio::time::advance(WINDOW).await;
        assert_eq!(freshness.percentiles(), None);
    }
}
