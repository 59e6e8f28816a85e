//! OLTP figures of a time: the mean of its transactions per second, and the median of its percentiles.

use crate::dashboard::history::{History, WINDOW_S};
use crate::dashboard::series::Series;

/// Least number of samples for a figure.
const LEAST: usize = 5;

/// The series up to one moment. Clones of series share their entries.
#[derive(Clone, Debug, Default)]
pub struct Curves {
    /// Number of samples until then.
    taken: u64,
    tps: Series,
    p50: Series,
    p99: Series,
}

/// OLTP figures of a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Oltp {
    /// Length of the time in seconds, as far as the series reach back.
    pub seconds: f64,
    /// Mean of the transactions per second.
    pub tps: Option<f64>,
    /// Median of the medians of the point query that were shown.
    pub p50_ms: Option<f64>,
    /// Median of the 99th percentiles that were shown.
    pub p99_ms: Option<f64>,
}

impl Curves {
    /// The series as they are now, after `taken` samples.
    pub fn of(history: &History, taken: u64) -> Self {
        Self {
            taken,
            tps: history.tps.clone(),
            p50: history.p50.clone(),
            p99: history.p99.clone(),
        }
    }

    /// Number of samples from this moment to the one at which there were `taken`.
    fn samples(&self, taken: u64) -> usize {
        usize::try_from(taken.saturating_sub(self.taken)).unwrap_or(usize::MAX)
    }

    /// Returns the figures of the time before this moment that has as many samples as the `seconds` since.
    pub fn before(&self, taken: u64, seconds: f64) -> Oltp {
        let count = self.samples(taken);
        let every_s = seconds / count.max(1) as f64;
        self.figures(count, every_s, 0)
    }

    /// Returns the figures from this moment to another, `seconds` later. A percentile covers the queries of half a minute, so
    /// those of the first half minute are left out: they tell of the time before, too.
    pub fn until(&self, now: &Self, seconds: f64) -> Oltp {
        let count = self.samples(now.taken);
        let every_s = seconds / count.max(1) as f64;
        let mixed = (WINDOW_S / every_s.max(0.001)).ceil() as usize;
        now.figures(count, every_s, mixed)
    }

    fn figures(&self, count: usize, every_s: f64, mixed: usize) -> Oltp {
        let known = |series: &Series, count: usize| {
            let known: Vec<f64> = series.last(count).into_iter().flatten().collect();
            Some(known).filter(|known| known.len() >= LEAST)
        };
        let median = |series: &Series| {
            let mut known = known(series, count.saturating_sub(mixed))?;
            known.sort_by(f64::total_cmp);
            known.get(known.len() / 2).copied()
        };
        Oltp {
            seconds: self.tps.last(count).len() as f64 * every_s,
            tps: known(&self.tps, count)
                .map(|known| known.iter().sum::<f64>() / known.len() as f64),
            p50_ms: median(&self.p50),
            p99_ms: median(&self.p99),
        }
    }
}
