//! The OLTP figures in output.

use crate::dashboard::history::Oltp;
use crate::dashboard::history::{CARRIES_P50, CARRIES_P95, CARRIES_P99, CARRIES_TPS_S};
use crate::format;
use crate::format::Unit;
use crate::pg::Value;

/// Name, unit and description of an OLTP figure, and a function that returns it.
pub(super) type OltpColumn = (&'static str, Unit, &'static str, fn(&Oltp) -> Value);

/// A percentile, pending until enough queries were timed for it.
fn carried(oltp: &Oltp, figure: Option<f64>, needed: usize) -> Value {
    pending(figure.filter(|_| oltp.timed >= needed))
}

fn pending(figure: Option<f64>) -> Value {
    figure.map_or(Value::Pending, Value::Float)
}

/// A count of sessions by state; unavailable instead of 0 if the server hides sessions from the current role.
fn seen(oltp: &Oltp, count: i64) -> Value {
    if oltp.sessions.is_empty() {
        Value::Pending
    } else if oltp.restricted > 0 && count == 0 {
        Value::Unavailable
    } else {
        Value::Int(count)
    }
}

/// The OLTP figures.
pub(crate) const OLTP: [OltpColumn; 15] = [
    (
        "tps",
        Unit::PerSecond,
        "Transactions per second, commits and rollbacks, excluding this program's own; unknown until they have \
         been counted for 4.5 seconds.",
        |o| pending(o.tps),
    ),
    (
        "tps_window_s",
        Unit::Seconds,
        "Seconds over which transactions were counted.",
        |o| pending(o.tps_window_s),
    ),
    (
        "rollback_pct",
        Unit::Percent,
        "Share of rollbacks in the transactions since the previous sample.",
        |o| o.rollback_pct.into(),
    ),
    (
        "p50_ms",
        Unit::Ms,
        "Median of the point query over the last 30 seconds, or since slow ones ended; unknown for fewer than 10.",
        |o| carried(o, o.p50_ms, CARRIES_P50),
    ),
    (
        "p95_ms",
        Unit::Ms,
        "95th percentile of the point query over the last 30 seconds, or since slow ones ended; unknown for fewer than 20.",
        |o| carried(o, o.p95_ms, CARRIES_P95),
    ),
    (
        "p99_ms",
        Unit::Ms,
        "99th percentile of the point query over the last 30 seconds, or since slow ones ended; unknown for fewer than 100.",
        |o| carried(o, o.p99_ms, CARRIES_P99),
    ),
    ("timed", Unit::Count, "Point queries in that time.", |o| {
        Value::Int(o.timed as i64)
    }),
    (
        "failed",
        Unit::Count,
        "Point queries that failed in that time.",
        |o| Value::Int(o.failed.into()),
    ),
    (
        "active",
        Unit::Count,
        "Client sessions that are executing.",
        |o| seen(o, o.active),
    ),
    (
        "waiting",
        Unit::Count,
        "Sessions waiting for a lock.",
        |o| seen(o, o.waiting),
    ),
    (
        "idle_in_transaction",
        Unit::Count,
        "Sessions idle in transaction.",
        |o| seen(o, o.idle_in_transaction),
    ),
    (
        "restricted",
        Unit::Count,
        "Sessions whose state is hidden from our role.",
        |o| {
            if o.sessions.is_empty() {
                Value::Pending
            } else {
                Value::Int(o.restricted)
            }
        },
    ),
    (
        "wal_bytes_per_s",
        Unit::Bytes,
        "WAL written per second by the whole server.",
        |o| o.wal_bytes_per_s.into(),
    ),
    (
        "cache_hit_pct",
        Unit::Percent,
        "Share of blocks found in shared_buffers, of those read since the previous sample.",
        |o| o.cache_hit_pct.into(),
    ),
    (
        "deadlocks",
        Unit::Count,
        "Deadlocks since this program started watching.",
        |o| pending(o.deadlocks),
    ),
];

/// Figures with too few samples, with the reasons.
pub(super) fn uncarried(oltp: &Oltp) -> Vec<(String, String)> {
    let percentiles = [
        ("p50_ms", CARRIES_P50),
        ("p95_ms", CARRIES_P95),
        ("p99_ms", CARRIES_P99),
    ];
    let few = percentiles
        .iter()
        .filter(|(_, needed)| oltp.timed < *needed);
    let few = few.map(|(name, needed)| {
        let why = format!("{} of {needed} point queries timed", oltp.timed);
        ((*name).to_owned(), why)
    });
    let mut lacks: Vec<_> = few.collect();
    if oltp.tps.is_none() {
        let counted = format::seconds(oltp.tps_window_s.unwrap_or(0.0));
        let needed = format::seconds(CARRIES_TPS_S);
        lacks.push(("tps".into(), format!("counted for {counted} of {needed}")));
    }
    lacks
}
