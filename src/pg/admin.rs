//! Signals to backends that reach only the intended session. Each action opens a session of its own and closes it.

use super::client::session::Settings;
use super::client::{Client, Param};
use super::conninfo::Target;
use super::error::{Class, PgError};
use super::table::Value;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Identity of a session. A pid alone is not enough: the operating system reuses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Process ID of the backend.
    pub pid: i64,
    /// `backend_start` as text, to the microsecond, in UTC.
    pub backend_start: String,
    /// For a cancel: `query_start`, as text. For a termination: `xact_start`, as text; the session is then terminated
    /// only while this transaction is open. If `None`, it is terminated in any state.
    pub since: Option<String>,
}

/// Signal to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// `pg_cancel_backend`: ends the statement; the session survives.
    Cancel,
    /// `pg_terminate_backend`: ends the session and rolls back its transaction.
    Terminate,
}

/// Sessions that a signal must not reach, even if their identity matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Excludes superusers.
    pub superusers: bool,
    /// Excludes sessions that, at that moment, have not been idle in a transaction for at least this number of seconds.
    pub unless_idle_s: Option<u64>,
}

impl Exclusions {
    /// Formats the exclusions as conditions on a row of pg_stat_activity.
    fn conditions(self) -> String {
        let superusers = if self.superusers {
            " AND backend_type = 'client backend' AND usesysid IN (SELECT r.oid FROM pg_catalog.pg_roles AS r \
             WHERE NOT r.rolsuper)"
        } else {
            ""
        };
        let busy = self.unless_idle_s.map_or_else(String::new, |seconds| {
            format!(
                " AND state LIKE 'idle in transaction%' \
                 AND pg_catalog.clock_timestamp() - state_change >= pg_catalog.make_interval(secs => {seconds})"
            )
        });
        format!("{superusers}{busy}")
    }
}

/// Result of a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The session had changed; nothing was sent.
    Changed,
    /// The server refused to send the signal.
    Refused(PgError),
    /// The signal was sent, and a check showed that the statement or the session is gone.
    Gone,
    /// The signal was sent, and a check showed that the statement or the session is still there.
    StillRunning,
    /// Not known if the signal was sent, or what effect it had.
    Unknown(PgError),
}

/// Time for which a signalled backend is watched.
const WATCH: Duration = Duration::from_secs(3);
/// Client-side deadline for each statement in this module.
const DEADLINE: Duration = Duration::from_secs(5);
/// Server-side timeout for each of them, shorter than ours.
const STATEMENT: Duration = Duration::from_secs(4);

/// Sends a signal to each of `whom` and checks its effect.
pub async fn signal(
    target: &Target,
    signal: Signal,
    whom: &[Identity],
    exclusions: Exclusions,
) -> Vec<Verdict> {
    let settings = Settings::of_monitor(STATEMENT);
    let client = match Client::open_to_watch(target, &settings).await {
        Ok(client) => client,
        // In this case nothing was sent.
        Err(error) => return vec![Verdict::Refused(error); whom.len()],
    };
    let mut verdicts = Vec::with_capacity(whom.len());
    for identity in whom {
        verdicts.push(send(&client, signal, identity, exclusions).await);
    }
    let watched = Instant::now();
    loop {
        let mut open = false;
        for (verdict, identity) in verdicts.iter_mut().zip(whom) {
            if matches!(verdict, Verdict::StillRunning) {
                *verdict = read_back(&client, signal, identity).await;
                open |= matches!(verdict, Verdict::StillRunning);
            }
        }
        if !open || watched.elapsed() > WATCH {
            return verdicts;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Sends a signal with one statement that calls the signal function on rows of pg_stat_activity, so that check and
/// action are atomic. A sent signal is `StillRunning` until its effect is checked.
async fn send(
    client: &Client,
    signal: Signal,
    identity: &Identity,
    exclusions: Exclusions,
) -> Verdict {
    let (function, still) = match signal {
        // query_start persists after the statement ends: the signal would hit nothing, or the next statement.
        Signal::Cancel => (
            "pg_cancel_backend",
            "query_start IS NOT DISTINCT FROM NULLIF($3, '')::text::timestamptz \
             AND coalesce(state, '') NOT LIKE 'idle%'",
        ),
        Signal::Terminate => (
            "pg_terminate_backend",
            "($3 = '' OR xact_start = NULLIF($3, '')::text::timestamptz)",
        ),
    };
    let sql = format!(
        "SELECT pg_catalog.{function}(pid) AS sent FROM pg_catalog.pg_stat_activity \
         WHERE pid = $1 AND backend_start = $2::text::timestamptz \
         AND {still}{}",
        exclusions.conditions()
    );
    let since = identity.since.as_deref().unwrap_or_default();
    let params = [
        Param::Int(identity.pid),
        Param::Text(&identity.backend_start),
        Param::Text(since),
    ];
    match timeout(DEADLINE, client.query(&sql, &params)).await {
        Err(_) => Verdict::Unknown(PgError::deadline(DEADLINE.as_secs_f64())),
        Ok(Err(error)) if error.session_survives() => Verdict::Refused(error),
        Ok(Err(error)) => Verdict::Unknown(error),
        Ok(Ok(rows)) if rows.rows.is_empty() => Verdict::Changed,
        Ok(Ok(rows)) if rows.first("sent").is_true() => Verdict::StillRunning,
        Ok(Ok(_)) => Verdict::Refused(PgError::new(
            Class::Statement,
            "the server could not send the signal",
        )),
    }
}

async fn read_back(client: &Client, signal: Signal, identity: &Identity) -> Verdict {
    let sql = "SELECT (state = 'active' AND query_start IS NOT DISTINCT FROM NULLIF($3, '')::text::timestamptz) \
               AS running FROM pg_catalog.pg_stat_activity \
               WHERE pid = $1 AND backend_start = $2::text::timestamptz";
    let since = identity.since.as_deref().unwrap_or_default();
    let params = [
        Param::Int(identity.pid),
        Param::Text(&identity.backend_start),
        Param::Text(since),
    ];
    match timeout(DEADLINE, client.query(sql, &params)).await {
        Err(_) => Verdict::Unknown(PgError::deadline(DEADLINE.as_secs_f64())),
        Ok(Err(error)) => Verdict::Unknown(error),
        Ok(Ok(rows)) if rows.rows.is_empty() => Verdict::Gone,
        Ok(Ok(rows)) => match (signal, rows.first("running")) {
            (Signal::Cancel, Value::Bool(false)) => Verdict::Gone,
            _ => Verdict::StillRunning,
        },
    }
}
