//! Checks that need no SQL file: the difference between the clocks, and the detection of a pooler.

use super::{Finding, Outcome, Severity};
use crate::pg::{Client, PgError, Settings, Target};
use std::time::Duration;

/// Name and title of the checks without an SQL file.
pub const CHECKS: [(&str, &str); 2] = [
    ("clock", "client and server clocks more than a second apart"),
    (
        "pooler",
        "a connection pooler in between: sessions are shared",
    ),
];

/// Tolerated difference between the clocks, in seconds.
const SKEW_S: f64 = 1.0;

/// Number of measurements.
const ROUNDS: usize = 5;

/// Statement timeout on the server.
const STATEMENT: Duration = Duration::from_secs(10);

/// The session of the checks.
pub(super) struct Session {
    pub client: Client,
}

impl Session {
    /// Opens the session.
    pub(super) async fn open(target: &Target) -> Result<Self, PgError> {
        let settings = Settings::of_monitor(STATEMENT);
        let client = Client::open_to_watch(target, &settings).await?;
        Ok(Self { client })
    }

    /// Runs the checks of [`CHECKS`].
    pub(super) async fn checks(&self) -> [Outcome; 2] {
        [
            outcome(0, clock(&self.client, now).await),
            outcome(1, Ok(pooler(&self.client))),
        ]
    }
}

/// Returns the seconds since 1970 by this machine's clock.
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

/// Compares the server's clock with `now`, at the midpoint of the shortest of several round trips.
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
        "the server's clock is {:.1} s {side} this machine's (measured halfway through {:.1} ms): times in the \
         audit file, the server's log and this program's own log do not match",
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

/// Reports a connection pooler in between, as detected when connecting.
fn pooler(client: &Client) -> Option<Finding> {
    client.is_pooled().then(|| Finding {
        severity: Severity::Info,
        subject: "connection".into(),
        evidence: "a connection pooler is in between: each transaction may run on another backend. This program \
                   then sends its settings with each statement, for that transaction only, and leaves nothing \
                   behind; but init, partitions and a continuous refresher need a session of their own and are \
                   refused, and the times of point queries include the pooler"
            .into(),
        cure: "connect to the server's own host and port (-h, -p), not the pooler's".into(),
    })
}
