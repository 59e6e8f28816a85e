//! The results of a load: JSON for programs, a table for people.

use super::routed::Routed;
use super::shop::lock;
use super::state::{Before, Class, Run};
use super::tally::{Latency, Times};
use crate::format;
use crate::system::orders::Commit;
use crate::system::pools::AdmissionCounts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The report of a load. The names in its JSON are stable: a later version may add some, but removes none. Latencies
/// count from the time at which the work was due, so that they show a stalled server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// Measured time in seconds; all figures but `delivered_pieces` refer to it.
    pub measured_s: f64,
    /// True if it ended early.
    pub interrupted: bool,
    /// Options of the load.
    pub asked: Requested,
    /// Results of the transactions.
    pub oltp: ClassSummary,
    /// Results of the reports.
    pub olap: ClassSummary,
    /// Freshness of the reports' answers.
    pub freshness: Freshness,
    /// Number of transactions and steps retried after a deadlock, a serialization failure, or a lost session.
    pub retries: u64,
    /// Number of deadlocks of this load.
    pub deadlocks: u64,
    /// Number of deadlocks in the whole database meanwhile; `null` if the server did not report it.
    pub database_deadlocks: Option<i64>,
    /// Counts of the admission control for reports, since the start.
    pub admission: Admission,
    /// Where the reads went, since the start.
    pub routed: Routed,
    /// Number of pieces delivered to stock before the start.
    pub delivered_pieces: i64,
    /// Average number of this machine's processors busy with this program; `null` if not available.
    pub cpu_own: Option<f64>,
    /// Average number of this machine's processors busy with other processes, including the server if it runs here.
    pub cpu_others: Option<f64>,
}

/// Options of the load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Requested {
    /// Transactions per second.
    pub oltp_per_s: f64,
    /// Reports per second.
    pub olap_per_s: f64,
    /// Hybrid transactions per second.
    pub hybrid_per_s: f64,
    /// `poisson` or `fixed`.
    pub arrivals: &'static str,
    /// `function`, `pipelined`, `group` or `round-trips`.
    pub strategy: &'static str,
    /// `synchronous` or `asynchronous`.
    pub commit: &'static str,
    /// `rollup`, `mv` or `base`.
    pub reports: &'static str,
    /// Exponent of the products' popularity.
    pub skew: f64,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Number of sessions for transactions.
    pub clients: usize,
    /// Number of sessions for reports.
    pub olap_clients: usize,
    /// Maximum number of concurrent reports.
    pub olap_running: usize,
}

/// Results of a class of work. `offered` = `done` + `failed` + `unstarted`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct ClassSummary {
    /// Number due.
    pub offered: u64,
    /// Number done.
    pub done: u64,
    /// Number failed; `errors` has the reasons.
    pub failed: u64,
    /// Number never begun, because all sessions were in use until the end.
    pub unstarted: u64,
    /// Number begun more than 100 ms after they were due, or never.
    pub late: u64,
    /// Offered per second.
    pub offered_per_s: f64,
    /// Number done per second of the measured time, no matter when due: the throughput of the server.
    pub reached_per_s: f64,
    /// Latencies of all work done, and of work never begun up to the end.
    #[serde(flatten)]
    pub latency: Latency,
    /// Number of errors by SQLSTATE, or by a keyword if the server sent none.
    pub errors: BTreeMap<String, u64>,
    /// Results by kind.
    pub kinds: BTreeMap<&'static str, KindSummary>,
}

/// Results of a kind of work.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct KindSummary {
    /// Number done.
    pub done: u64,
    /// Number failed.
    pub failed: u64,
    /// Latencies of the work done.
    #[serde(flatten)]
    pub latency: Latency,
}

/// Freshness of answers: the time from the commit of the first missing transaction to the query. Zero if nothing was
/// measured, that is, if `samples` is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Freshness {
    /// Number of answers that reported their freshness.
    pub samples: u64,
    /// Median.
    #[serde(rename = "freshness_ms_p50")]
    pub p50: f64,
    /// 99th percentile.
    #[serde(rename = "freshness_ms_p99")]
    pub p99: f64,
    /// Maximum.
    #[serde(rename = "freshness_ms_max")]
    pub max: f64,
}

impl From<&Times> for Freshness {
    fn from(times: &Times) -> Self {
        Self {
            samples: times.count(),
            p50: times.quantile(0.5),
            p99: times.quantile(0.99),
            max: times.max(),
        }
    }
}

/// Counts of the admission control for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Admission {
    /// Number admitted.
    pub admitted: u64,
    /// Number that had to wait.
    pub queued: u64,
    /// Number rejected.
    pub rejected: u64,
}

impl From<AdmissionCounts> for Admission {
    fn from(counts: AdmissionCounts) -> Self {
        Self {
            admitted: counts.admitted,
            queued: counts.queued,
            rejected: counts.rejected_full + counts.rejected_late,
        }
    }
}

impl Run {
    pub(super) fn summary(
        &self,
        measured: Duration,
        interrupted: bool,
        before: Option<Before>,
        after: Before,
    ) -> Summary {
        let seconds = measured.as_secs_f64();
        let usage = before.and_then(|before| after.processors?.since(before.processors?, seconds));
        let database_deadlocks = before.and_then(|b| Some(after.deadlocks? - b.deadlocks?));
        Summary {
            measured_s: round(seconds),
            interrupted,
            asked: self.asked(),
            oltp: self.oltp.summary(seconds),
            olap: self.olap.summary(seconds),
            freshness: Freshness::from(&lock(&self.freshness).times),
            retries: self.orders.retries(),
            deadlocks: self.orders.deadlocks(),
            database_deadlocks,
            admission: self.sender.lanes().admission().into(),
            routed: Routed::of(&self.sender),
            delivered_pieces: self.delivered,
            cpu_own: usage.map(|usage| round(usage.own)),
            cpu_others: usage.map(|usage| round(usage.others)),
        }
    }

    fn asked(&self) -> Requested {
        let options = &self.options;
        Requested {
            oltp_per_s: options.oltp_per_s,
            olap_per_s: options.olap_per_s,
            hybrid_per_s: options.hybrid_per_s,
            arrivals: options.spread.name(),
            strategy: options.strategy.name(),
            commit: match options.commit {
                Commit::Synchronous => "synchronous",
                Commit::Asynchronous => "asynchronous",
            },
            reports: options.reports.name(),
            skew: options.skew,
            seed: options.seed,
            clients: options.clients,
            olap_clients: options.olap_clients,
            olap_running: options.olap_running,
        }
    }
}

impl Class {
    fn summary(&self, seconds: f64) -> ClassSummary {
        let tally = lock(&self.tally);
        let (done, failed) = tally.sum();
        let per_s = |count: u64| {
            if seconds > 0.0 {
                round(count as f64 / seconds)
            } else {
                0.0
            }
        };
        ClassSummary {
            offered: tally.offered,
            done,
            failed,
            unstarted: tally.unstarted,
            late: tally.late,
            offered_per_s: per_s(tally.offered),
            reached_per_s: per_s(tally.reached),
            latency: tally.all.latency(),
            errors: tally.errors.clone(),
            kinds: tally
                .kinds
                .iter()
                .map(|(kind, series)| {
                    let summary = KindSummary {
                        done: series.done,
                        failed: series.failed,
                        latency: series.times.latency(),
                    };
                    (kind.name(), summary)
                })
                .collect(),
        }
    }
}

/// Rounds to two decimals; also removes artefacts such as 0.30000000000000004.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = if self.interrupted {
            ", then interrupted"
        } else {
            ""
        };
        writeln!(
            f,
            "measured for {}{ended}\n",
            format::seconds(self.measured_s)
        )?;
        writeln!(f, "{HEADING}")?;
        for (name, class) in [("OLTP", &self.oltp), ("OLAP", &self.olap)] {
            if class.offered > 0 {
                class.write(f, name)?;
            }
        }
        writeln!(f)?;
        for (name, class) in [("OLTP", &self.oltp), ("OLAP", &self.olap)] {
            class.write_troubles(f, name)?;
        }
        if self.freshness.samples > 0 {
            let Freshness { p50, p99, max, .. } = self.freshness;
            writeln!(
                f,
                "fresh  p50 {}, p99 {}, stalest {}",
                format::ms(p50),
                format::ms(p99),
                format::ms(max)
            )?;
        }
        writeln!(f, "retries {}, deadlocks {}", self.retries, self.deadlocks)?;
        write!(f, "{}", self.routed)?;
        if let (Some(own), Some(others)) = (self.cpu_own, self.cpu_others) {
            writeln!(
                f,
                "cpu    {own:.2} processors by this program, {others:.2} by all others here (including the server, if it is local)"
            )?;
        }
        Ok(())
    }
}

const HEADING: &str = "           offered/s reached/s     p50     p95     p99   p99.9     max     done  failed unstarted";

impl ClassSummary {
    fn write(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        writeln!(
            f,
            "{name:<10} {:>9.1} {:>9.1} {} {:>8} {:>7} {:>9}",
            self.offered_per_s,
            self.reached_per_s,
            times(&self.latency),
            self.done,
            self.failed,
            self.unstarted
        )?;
        for (kind, figures) in &self.kinds {
            writeln!(
                f,
                "  {kind:<28} {} {:>8} {:>7}",
                times(&figures.latency),
                figures.done,
                figures.failed
            )?;
        }
        Ok(())
    }

    fn write_troubles(&self, f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
        if !self.errors.is_empty() {
            writeln!(f, "{name}   failed: {}", errors(&self.errors))?;
        }
        if self.late > 0 {
            writeln!(
                f,
                "{name}   {} of {} began more than 100 ms late",
                self.late, self.offered
            )?;
        }
        Ok(())
    }
}

/// Formats the number of errors by SQLSTATE, with their meaning.
pub(super) fn errors(counts: &BTreeMap<String, u64>) -> String {
    let errors = counts.iter().map(|(code, count)| match meaning(code) {
        Some(meaning) => format!("{count} x {code} ({meaning})"),
        None => format!("{count} x {code}"),
    });
    errors.collect::<Vec<_>>().join(", ")
}

fn times(latency: &Latency) -> String {
    let Latency {
        p50,
        p95,
        p99,
        p999,
        max,
        ..
    } = *latency;
    [p50, p95, p99, p999, max]
        .map(|ms| format!("{:>7}", format::ms(ms)))
        .join(" ")
}

/// Returns the meaning of a SQLSTATE that may occur in a load.
fn meaning(code: &str) -> Option<&'static str> {
    Some(match code {
        "HT001" => "insufficient inventory",
        "HT002" => "request key used before",
        "23503" => "no such user or product",
        "23514" => "step out of turn",
        "40P01" => "deadlock",
        "40001" => "serialization failure",
        "55P03" => "lock timeout",
        "57014" => "statement timeout, or cancelled",
        "57P01" => "terminated",
        "57P02" => "server crashed",
        "57P03" => "server starting or stopping",
        "53300" => "too many connections",
        "connection" => "session lost or refused",
        _ => return None,
    })
}
