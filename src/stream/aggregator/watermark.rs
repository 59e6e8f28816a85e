//! Windows of event time, and when they are complete.
//!
//! The watermark of a partition is the time of its latest event, less the time by which events may arrive out of order. The
//! watermark of the topic is the least of its partitions, of those that are not idle: read to the end, and without a record
//! for some time. It decides on lateness, by the times of events alone: however long relay or aggregator were down, what
//! they left behind is not late.
//!
//! If all partitions are idle, no event moves the watermark, and the last windows would never end. So they are marked as
//! final by the clock, which decides on nothing else.

use std::time::Duration;
use tokio::time::Instant;

/// Widths and limits, in microseconds.
#[derive(Clone, Debug)]
pub(super) struct Windows {
    width: i64,
    lateness: i64,
    delay: i64,
    idle: Duration,
    /// Of the topic.
    watermark: Option<i64>,
    /// Windows that end by then are final.
    final_to: Option<i64>,
}

/// What the watermark goes by in a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The latest event.
    pub(super) max_at: Option<i64>,
    /// Everything was read.
    pub(super) at_end: bool,
    /// When the last record was read.
    pub(super) last: Instant,
}

pub(super) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros())
        .unwrap_or(i64::MAX / 4)
        .min(i64::MAX / 4)
}

impl Windows {
    pub(super) fn new(
        width: Duration,
        lateness: Duration,
        delay: Duration,
        idle: Duration,
    ) -> Self {
        Self {
            width: micros(width).max(1),
            lateness: micros(lateness),
            delay: micros(delay),
            idle,
            watermark: None,
            final_to: None,
        }
    }

    /// Goes on from what is stored.
    pub(super) fn restore(&mut self, watermark: Option<i64>, final_to: Option<i64>) {
        self.watermark = watermark;
        self.final_to = final_to;
    }

    /// Start of the window of a time.
    pub(super) fn start(&self, at: i64) -> i64 {
        at - at.rem_euclid(self.width)
    }

    pub(super) fn width(&self) -> i64 {
        self.width
    }

    pub(super) fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    pub(super) fn final_to(&self) -> Option<i64> {
        self.final_to
    }

    /// Returns true if the window of this time is no longer changed.
    pub(super) fn is_too_late(&self, at: i64) -> bool {
        let end = self.start(at).saturating_add(self.width);
        self.watermark
            .is_some_and(|watermark| end <= watermark.saturating_sub(self.lateness))
    }

    /// Events of earlier times are all too late: their duplicates need not be told from them.
    pub(super) fn forgotten(&self) -> Option<i64> {
        let watermark = self.watermark?;
        Some(
            watermark
                .saturating_sub(self.lateness)
                .saturating_sub(self.width),
        )
    }

    /// Returns true if the partition holds up nobody.
    pub(super) fn is_idle(&self, partition: &Progress) -> bool {
        partition.at_end && partition.last.elapsed() >= self.idle
    }

    /// Watermark of a partition.
    pub(super) fn of(&self, partition: &Progress) -> Option<i64> {
        partition.max_at.map(|at| at.saturating_sub(self.delay))
    }

    /// Moves the watermark, which never goes back. `now`: the server's time.
    pub(super) fn advance<'a>(&mut self, partitions: impl Iterator<Item = &'a Progress>, now: i64) {
        let partitions: Vec<&Progress> = partitions.collect();
        let active = || {
            partitions
                .iter()
                .filter(|partition| !self.is_idle(partition))
        };
        // One without an event knows no time yet.
        let least = active().map(|partition| self.of(partition)).min();
        let reached = match least {
            Some(least) => least,
            None => partitions
                .iter()
                .filter_map(|partition| self.of(partition))
                .max(),
        };
        self.watermark = self.watermark.max(reached);
        let by_clock = now
            .saturating_sub(micros(self.idle))
            .saturating_sub(self.delay);
        self.final_to = self.final_to.max(self.watermark);
        if least.is_none() && self.final_to.is_some() {
            self.final_to = self.final_to.max(Some(by_clock));
        }
    }

    /// Returns true if windows have ended since `before`.
    pub(super) fn has_ended_since(&self, before: Option<i64>) -> bool {
        match (self.final_to, before) {
            (Some(now), Some(before)) => self.start(now) > self.start(before),
            (now, None) => now.is_some(),
            (None, _) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const M: i64 = 60_000_000;

    fn windows() -> Windows {
        Windows::new(
            MINUTE,
            60 * MINUTE,
            Duration::from_secs(5),
            Duration::from_secs(10),
        )
    }

    fn progress(at: i64, at_end: bool) -> Progress {
        Progress {
            max_at: Some(at),
            at_end,
            last: Instant::now(),
        }
    }

    #[test]
    fn the_slowest_partition_holds_the_watermark_unless_it_is_idle() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut windows = windows();
            let slow = progress(100 * M, true);
            windows.advance([slow, progress(200 * M, false)].iter(), 0);
            assert_eq!(windows.watermark(), Some(100 * M - 5_000_000));
            tokio::time::advance(Duration::from_secs(11)).await;
            windows.advance([slow, progress(200 * M, false)].iter(), 0);
            assert_eq!(windows.watermark(), Some(200 * M - 5_000_000));
            assert!(windows.is_too_late(138 * M));
            assert!(!windows.is_too_late(139 * M - 1 + M));
            // A backlog that was not read is no idleness.
            let mut behind = Windows::new(MINUTE, MINUTE, Duration::ZERO, Duration::ZERO);
            behind.advance([progress(M, false), progress(9 * M, true)].iter(), 20 * M);
            assert_eq!((behind.watermark(), behind.final_to()), (Some(M), Some(M)));
        });
    }

    #[test]
    fn if_all_are_idle_the_clock_ends_windows_and_nothing_is_late_for_it() {
        let mut windows = Windows::new(MINUTE, Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let before = windows.final_to();
        windows.advance([progress(3 * M, true)].iter(), 9 * M);
        assert_eq!(
            (windows.watermark(), windows.final_to()),
            (Some(3 * M), Some(9 * M))
        );
        assert!(windows.has_ended_since(before));
        assert!(!windows.is_too_late(4 * M));
    }

    #[test]
    fn a_window_starts_before_its_times() {
        let windows = windows();
        assert_eq!(windows.start(M + 1), M);
        assert_eq!(windows.start(-1), -M);
    }
}
