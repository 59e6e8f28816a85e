//! What a session itself tells: whether the clocks agree, and whether it is one session at all.

use super::{Finding, Outcome, Severity};
use crate::pg::{Client, PgError, Table, Target, sampler};
use tokio::time::Instant;

/// Name and title of the checks that are no SQL file.
pub const CHECKS: [(&str, &str); 2] = [
    ("clock", "client and server clocks more than a second apart"),
    (
        "pooler",
        "a connection pooler in between: sessions that are not one's own",
    ),
];

/// Clocks may differ by this much, in seconds.
const SKEW_S: f64 = 1.0;

/// A pooler's server connection is older than ours by more than this, in seconds.
const OLDER_S: f64 = 1.0;

/// How often each is asked.
const ROUNDS: usize = 5;

/// A session, and when we began to open it.
pub(super) struct Session {
    pub client: Client,
    begun: Instant,
}

impl Session {
    /// Opens it.
    pub async fn open(target: &Target) -> Result<Self, PgError> {
        let begun = Instant::now();
        let client = sampler::connect_to_watch(target, "").await?;
        Ok(Self { client, begun })
    }

    /// The checks of [`CHECKS`].
    pub async fn checks(&self) -> [Outcome; 2] {
        let opened_s = self.begun.elapsed().as_secs_f64();
        let pooler = pooler(&self.client, opened_s).await;
        [
            outcome(0, clock(&self.client, now).await),
            outcome(1, pooler),
        ]
    }
}

/// Seconds since 1970 by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "this clock is what is checked")]
fn now() -> f64 {
    chrono::Utc::now().timestamp_micros() as f64 / 1e6
}

fn outcome(position: usize, found: Result<Option<Finding>, PgError>) -> Outcome {
    let (check, title) = CHECKS.get(position).copied().unwrap_or_default();
    let (findings, reason) = match found {
        Ok(finding) => (finding.into_iter().collect(), None),
        Err(error) => (Vec::new(), Some(error.to_string().as_str().into())),
    };
    Outcome {
        check,
        title: title.to_owned(),
        findings,
        reason,
    }
}

/// Compares the server's clock with `now`, half-way of the shortest of some round trips.
pub async fn clock(client: &Client, now: impl Fn() -> f64) -> Result<Option<Finding>, PgError> {
    let sql = "SELECT extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8 AS at";
    let mut best: Option<(f64, f64)> = None;
    for _ in 0..ROUNDS {
        let before = now();
        let answer = client.query(sql, &[]).await?;
        let trip = (now() - before).max(0.0);
        let skew = answer.first("at").number().unwrap_or(before) - (before + trip / 2.0);
        if best.is_none_or(|(shortest, _)| trip < shortest) {
            best = Some((trip, skew));
        }
    }
    Ok(best.and_then(|(trip, skew)| skewed(trip, skew)))
}

fn skewed(trip: f64, skew: f64) -> Option<Finding> {
    if skew.abs() <= SKEW_S + trip / 2.0 {
        return None;
    }
    let side = if skew > 0.0 { "ahead of" } else { "behind" };
    let evidence = format!(
        "the server's clock is {:.1} s {side} this machine's (measured half-way of {:.1} ms): times in the audit \
         file, in the server's log and in this program's own log do not fit together",
        skew.abs(),
        trip * 1000.0
    );
    Some(Finding {
        severity: Severity::Warning,
        subject: "clock".into(),
        evidence: evidence.into(),
        cure: "timedatectl set-ntp true, on the machine whose clock is wrong".into(),
    })
}

/// Whether statements of one session are answered by different backends, or by one that is older than the
/// session, which was begun `opened_s` seconds ago.
pub async fn pooler(client: &Client, opened_s: f64) -> Result<Option<Finding>, PgError> {
    let sql = "
        SELECT a.pid::pg_catalog.int8 AS pid,
               extract(epoch FROM pg_catalog.clock_timestamp() - a.backend_start)::pg_catalog.float8 AS age_s
        FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a";
    let first = client.query(sql, &[]).await?;
    let mut pids = vec![first.first("pid").int()];
    for _ in 1..ROUNDS {
        pids.push(client.query(sql, &[]).await?.first("pid").int());
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pooled(&first, pids.len(), opened_s))
}

fn pooled(first: &Table, backends: usize, opened_s: f64) -> Option<Finding> {
    let older_s = first.first("age_s").number().unwrap_or(0.0) - opened_s;
    let (severity, evidence) = if backends > 1 {
        let evidence = format!(
            "{ROUNDS} statements of this session were answered by {backends} backends: a pooler in transaction mode. \
             SET, advisory locks and prepared statements do not last, and time limits of this program may not hold"
        );
        (Severity::Warning, evidence)
    } else if older_s > OLDER_S {
        let evidence = format!(
            "the backend is {older_s:.0} s older than this session: a pooler lends its connections. Each session of \
             this program takes one of the pool, and in transaction mode SET and advisory locks do not last"
        );
        (Severity::Info, evidence)
    } else {
        return None;
    };
    Some(Finding {
        severity,
        subject: "connection".into(),
        evidence: evidence.into(),
        cure: "give the server's own host and port (-h, -p), not the pooler's".into(),
    })
}
