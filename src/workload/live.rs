//! Current state of a load.

use super::shop::lock;
use super::state::{Class, Run};
use super::summary::errors;
use super::tally::{Latency, Recent};
use crate::format;
use crate::system::pools::AdmissionCounts;
use crate::text;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;
use tokio::time::Instant;

/// The current state and the totals of a load. As text: a few lines of at most 100 columns, always the same number.
#[derive(Clone, Debug)]
pub(crate) struct Live {
    /// The current phase.
    pub phase: Phase,
    /// Time until the end.
    pub left: Duration,
    /// Figures of the transactions.
    pub oltp: LiveClass,
    /// Figures of the reports.
    pub olap: LiveClass,
    /// Freshness of the latest answer that reported it.
    pub fresh: Option<Duration>,
    /// Number of retries so far.
    pub retries: u64,
    /// Number of deadlocks so far.
    pub deadlocks: u64,
    /// Counts of the admission control for reports.
    pub admission: AdmissionCounts,
    /// Number of errors by SQLSTATE, of both classes.
    pub errors: BTreeMap<String, u64>,
}

/// A phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The rates are rising, or the warm-up is running. Not measured.
    WarmUp,
    /// The measured time.
    Measured,
}

/// Figures of a class of work.
#[derive(Clone, Debug)]
pub(crate) struct LiveClass {
    /// Figures of the last seconds.
    pub recent: Recent,
    /// Offered per second, in the measured time so far.
    pub offered_per_s: f64,
    /// Done per second, in the measured time so far.
    pub reached_per_s: f64,
    /// Number done, in the measured time so far.
    pub done: u64,
    /// Number failed, in the measured time so far.
    pub failed: u64,
    /// Number due but not begun, now.
    pub waiting: usize,
    /// Latencies in the measured time so far.
    pub latency: Latency,
}

impl Run {
    pub(super) fn live(&self, now: Instant, from: Instant, end: Instant) -> Live {
        let measured_s = now.saturating_duration_since(from).as_secs_f64();
        let mut errors = lock(&self.oltp.tally).errors.clone();
        for (code, count) in &lock(&self.olap.tally).errors {
            *errors.entry(code.clone()).or_default() += count;
        }
        Live {
            phase: if now < from {
                Phase::WarmUp
            } else {
                Phase::Measured
            },
            left: end.saturating_duration_since(now),
            oltp: self.oltp.live(now, measured_s),
            olap: self.olap.live(now, measured_s),
            fresh: lock(&self.freshness).last,
            retries: self.orders.retries(),
            deadlocks: self.orders.deadlocks(),
            admission: self.sender.lanes().admission(),
            errors,
        }
    }
}

impl Class {
    fn live(&self, now: Instant, measured_s: f64) -> LiveClass {
        let tally = lock(&self.tally);
        let (done, failed) = tally.sum();
        let per_s = |count: u64| {
            if measured_s > 0.0 {
                count as f64 / measured_s
            } else {
                0.0
            }
        };
        LiveClass {
            recent: tally.recent(now),
            offered_per_s: per_s(tally.offered),
            reached_per_s: per_s(tally.reached),
            done,
            failed,
            waiting: self.queue.len(),
            latency: tally.all.latency(),
        }
    }
}

/// Maximum width of a line.
const COLUMNS: usize = 100;

const HEADING: &str =
    "               offered/s reached/s     p50     p99   p99.9     max     done  failed waiting";

impl fmt::Display for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::WarmUp => "warm-up",
            Phase::Measured => "measured",
        };
        let left = format::seconds(self.left.as_secs_f64());
        writeln!(
            f,
            "{phase}, {left} left; Ctrl-C ends it and prints the report"
        )?;
        writeln!(f, "{HEADING}")?;
        for (name, class) in [("OLTP", &self.oltp), ("OLAP", &self.olap)] {
            let Recent {
                offered_per_s,
                reached_per_s,
                latency,
            } = class.recent;
            writeln!(
                f,
                "{name} last 5 s  {offered_per_s:>9.1} {reached_per_s:>9.1} {} {:>25}",
                times(&latency),
                class.waiting
            )?;
            writeln!(
                f,
                "     in all    {:>9.1} {:>9.1} {} {:>8} {:>7}",
                class.offered_per_s,
                class.reached_per_s,
                times(&class.latency),
                class.done,
                class.failed
            )?;
        }
        let fresh = self.fresh.map_or_else(
            || "freshness unknown".to_owned(),
            |fresh| format!("freshness {}", format::ms(fresh.as_secs_f64() * 1e3)),
        );
        let AdmissionCounts {
            running,
            waiting,
            rejected_full,
            rejected_late,
            ..
        } = self.admission;
        writeln!(
            f,
            "{fresh}; {} retries, {} deadlocks; reports: {running} run, {waiting} wait, {} rejected",
            self.retries,
            self.deadlocks,
            rejected_full + rejected_late
        )?;
        let failed = errors(&self.errors);
        let failed = if failed.is_empty() {
            "nothing"
        } else {
            &failed
        };
        writeln!(f, "{}", text::cut(&format!("failed: {failed}"), COLUMNS))
    }
}

fn times(latency: &Latency) -> String {
    let Latency {
        p50,
        p99,
        p999,
        max,
        ..
    } = *latency;
    [p50, p99, p999, max]
        .map(|ms| format!("{:>7}", format::ms(ms)))
        .join(" ")
}
