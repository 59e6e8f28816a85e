//! Counts of decisions, waits, and of what was run elsewhere.

use super::session::Barred;
use super::{Lane, Rule};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Reason why a read that a replica could have served ran on the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fallback {
    /// The breaker was open.
    Barred(Barred),
    /// The replica did not replay the session's last write within the limit.
    NotCaughtUp,
    /// The position of the session's last write is not known.
    UnknownWrite,
    /// Recovery cancelled the statement: replay removed rows that it still needed, or needed its lock.
    Conflict,
    /// A standby cannot run it: it reads an unlogged table, or does what recovery forbids.
    NotOnStandby,
    /// The read-only role or server refused it: it writes, although it is declared not to. A misroute.
    ReadOnly,
    /// The column store had no answer, although it had planned the statement: a file is damaged, or it ran out of memory.
    Columnar,
}

impl Fallback {
    /// Returns its name in JSON and in `htap.routing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Barred(why) => why.name(),
            Self::NotCaughtUp => "not_caught_up",
            Self::UnknownWrite => "unknown_write",
            Self::Conflict => "conflict",
            Self::NotOnStandby => "not_on_standby",
            Self::ReadOnly => "read_only",
            Self::Columnar => "columnar",
        }
    }
}

/// Waits for the replica to replay a session's last write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waits {
    /// Number of waits.
    pub waits: u64,
    /// Sum in milliseconds.
    pub wait_ms_sum: f64,
    /// Median in milliseconds; 0 if there was none.
    pub wait_ms_p50: f64,
    /// 99th percentile in milliseconds; 0 if there was none.
    pub wait_ms_p99: f64,
    /// Longest in milliseconds.
    pub wait_ms_max: f64,
}

/// Totals since the executor was made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    /// Number of statements by rule and lane, as they were decided.
    pub decisions: BTreeMap<(Rule, Lane), u64>,
    /// Number of reads that ran on the primary in place of the replica, by reason; with [`Fallback::ReadOnly`] also
    /// those that the OLAP pool of the primary refused.
    pub fallbacks: BTreeMap<Fallback, u64>,
    /// Those of them that had been sent to the replica, or the read-only role, and were run again.
    pub reruns: BTreeMap<Fallback, u64>,
    /// Waits for the session's own write, whether they ended in time or not.
    pub waits: Waits,
}

impl Counts {
    /// Returns the number of statements.
    pub fn statements(&self) -> u64 {
        self.decisions.values().sum()
    }

    /// Returns the number of statements that a read-only session refused and that were run again on the primary.
    pub fn misroutes(&self) -> u64 {
        self.fallbacks
            .get(&Fallback::ReadOnly)
            .copied()
            .unwrap_or(0)
    }

    /// Returns the number of statements on lanes that `of` selects.
    pub fn on(&self, of: impl Fn(Lane) -> bool) -> u64 {
        let chosen = self.decisions.iter().filter(|((_, lane), _)| of(*lane));
        chosen.map(|(_, count)| count).sum()
    }
}

/// Upper limit of a recorded wait, in microseconds.
const LONGEST: u64 = 60_000_000;

/// The counts while they are kept.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    counts: Counts,
    /// Microseconds. `None` only if the limits were invalid.
    waits: Option<Histogram<u64>>,
    sum: Duration,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            counts: Counts::default(),
            waits: Histogram::new_with_bounds(1, LONGEST, 2).ok(),
            sum: Duration::ZERO,
        }
    }
}

impl Recorder {
    pub(super) fn decided(&mut self, rule: Rule, lane: Lane) {
        *self.counts.decisions.entry((rule, lane)).or_default() += 1;
    }

    pub(super) fn fell_back(&mut self, why: Fallback) {
        *self.counts.fallbacks.entry(why).or_default() += 1;
    }

    pub(super) fn ran_again(&mut self, why: Fallback) {
        self.fell_back(why);
        *self.counts.reruns.entry(why).or_default() += 1;
    }

    pub(super) fn waited(&mut self, wait: Duration) {
        self.sum += wait;
        if let Some(waits) = &mut self.waits {
            waits.saturating_record((wait.as_micros() as u64).clamp(1, LONGEST));
        }
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        if let Some(waits) = &self.waits {
            let ms = |us: u64| us as f64 / 1e3;
            counts.waits = Waits {
                waits: waits.len(),
                wait_ms_sum: self.sum.as_secs_f64() * 1e3,
                wait_ms_p50: ms(waits.value_at_quantile(0.5)),
                wait_ms_p99: ms(waits.value_at_quantile(0.99)),
                wait_ms_max: ms(waits.max()),
            };
        }
        counts
    }
}
