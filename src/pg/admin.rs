//! Acting on the server: signals that can only reach the session they were meant for. Each action opens its
//! own session and closes it.

use super::client::session::Settings;
use super::client::{Client, Param};
use super::conninfo::Target;
use super::error::{Class, PgError};
use super::table::Value;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Who exactly a session is: a pid alone is reused by the operating system.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Process id of the backend.
    pub pid: i64,
    /// `backend_start` as text, to the microsecond, in UTC.
    pub backend_start: String,
    /// For a cancel `query_start`, as text. For a termination `xact_start`: then only while this
    /// transaction is open; none means whatever the session does by then.
    pub since: Option<String>,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// `pg_cancel_backend`: ends the statement, the session lives on.
    Cancel,
    /// `pg_terminate_backend`: ends the session, its transaction is rolled back.
    Terminate,
}

/// Whom a signal must not reach, whatever the session's identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exclusions {
    /// Superusers.
    pub superusers: bool,
    /// Whoever is not idle in a transaction at that moment, or has not been for so many seconds.
    pub unless_idle_s: Option<u64>,
}

impl Exclusions {
    /// As conditions on a row of pg_stat_activity.
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

/// What is known after a signal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The session had changed: nothing was sent.
    Changed,
    /// The server refused to send the signal.
    Refused(PgError),
    /// Sent, and read back: the statement or the session is gone.
    Gone,
    /// Sent, and read back: it is still there.
    StillRunning,
    /// Sent or not, and what came of it, is not known.
    Unknown(PgError),
}

/// How long a signalled backend is watched.
const WATCH: Duration = Duration::from_secs(3);
/// The client's deadline for each statement here.
const DEADLINE: Duration = Duration::from_secs(5);
/// The server's deadline for each of them, before ours.
const STATEMENT: Duration = Duration::from_secs(4);

/// Sends one signal to each of `whom` and reads back what came of it.
pub async fn signal(
    target: &Target,
    signal: Signal,
    whom: &[Identity],
    exclusions: Exclusions,
) -> Vec<Verdict> {
    let settings = Settings::of_monitor(STATEMENT);
    let client = match Client::open_to_watch(target, &settings).await {
        Ok(client) => client,
        // Nothing was sent for certain.
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

/// One statement selects the signal function from pg_stat_activity, so that check and act cannot
/// come apart. A sent signal is `StillRunning` until it is read back.
async fn send(
    client: &Client,
    signal: Signal,
    identity: &Identity,
    exclusions: Exclusions,
) -> Verdict {
    let (function, still) = match signal {
        // query_start stays when the statement ends: the signal would hit nothing, or the next one.
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
