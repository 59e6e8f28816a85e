//! Sessions of this program: the settings that their statements rely on, and the detection of poolers.
//!
//! A role, a database or a connection string may change any setting that affects the meaning of a statement. So each
//! session fixes all of these in one place, here. On a direct connection it does so once, when connecting. Behind a
//! connection pooler nothing may outlive a transaction: the next transaction may run on another backend, and state left
//! in this one affects the next client. There each statement is sent in a transaction that begins with the settings,
//! for that transaction only (`set_config(…, true)`), in the same round trip.
//!
//! A pooler is detected by the process ID that the server reports when connecting, for cancel requests: a pooler
//! reports an invented one, while the backend knows its real one. A pooler that passes on the real one is detected by a
//! backend that is older than the session.

use super::{Client, quote_literal};
use crate::pg::conninfo::Target;
use crate::pg::error::{Class, PgError};
use crate::pg::logged;
use futures_util::future::join3;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// The schemas in which our statements look up names: the server's own; temporary objects come last, and are never used
/// for functions and operators.
pub(crate) const SEARCH_PATH: &str = "pg_catalog, pg_temp";

/// Settings that change the meaning of a statement or the text of its answer. Those unknown to a server are left out.
const MEANING: [(&str, &str); 28] = [
    ("search_path", SEARCH_PATH),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("escape_string_warning", "off"),
    ("operator_precedence_warning", "off"),
    ("quote_all_identifiers", "off"),
    ("transform_null_equals", "off"),
    ("array_nulls", "on"),
    ("xmloption", "content"),
    ("datestyle", "ISO, MDY"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("extra_float_digits", "1"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("row_security", "on"),
    ("restrict_nonsystem_relation_kind", ""),
    ("plpgsql.extra_errors", "none"),
    ("plpgsql.extra_warnings", "none"),
    ("exit_on_error", "off"),
    ("client_min_messages", "warning"),
    ("debug_print_parse", "off"),
    ("debug_print_rewritten", "off"),
    ("debug_print_plan", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
];

/// Settings that a statement written by the user must find as in the user's own sessions: [`MEANING`] without those
/// that only affect messages and logs, and without quote_all_identifiers, with which REFRESH CONCURRENTLY always fails.
const OF_THE_USER: [&str; 17] = [
    "search_path",
    "standard_conforming_strings",
    "backslash_quote",
    "transform_null_equals",
    "array_nulls",
    "xmloption",
    "datestyle",
    "intervalstyle",
    "timezone",
    "extra_float_digits",
    "bytea_output",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "row_security",
    "plpgsql.extra_errors",
    "plpgsql.extra_warnings",
];

/// Limits that would end a session waiting for its next statement, or a long transaction of ours.
const LIMITS: [(&str, &str); 2] = [("idle_session_timeout", "0"), ("transaction_timeout", "0")];

/// Settings of a session that only reads for monitoring: no parallel workers, no JIT, no writes.
const LOOKING: [(&str, &str); 7] = [
    // A statement ends with its client.
    (CONNECTION_CHECK, "1s"),
    ("default_transaction_read_only", "on"),
    ("idle_in_transaction_session_timeout", "10s"),
    ("jit", "off"),
    ("max_parallel_workers_per_gather", "0"),
    ("force_parallel_mode", "off"),
    ("debug_parallel_query", "off"),
];

/// From PostgreSQL 14 on; setting it fails if the server's operating system does not support it.
const CONNECTION_CHECK: &str = "client_connection_check_interval";

/// Logging settings that only a superuser may change: monitoring should not fill the log.
const QUIET: [(&str, &str); 13] = [
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
    ("log_min_duration_sample", "-1"),
    ("log_transaction_sample_rate", "0"),
    ("log_duration", "off"),
    ("log_statement_stats", "off"),
    ("log_parser_stats", "off"),
    ("log_planner_stats", "off"),
    ("log_executor_stats", "off"),
    ("log_lock_waits", "off"),
    ("log_temp_files", "-1"),
    ("auto_explain.log_min_duration", "-1"),
    ("session_replication_role", "origin"),
];

/// Name and value of a setting.
type Setting = (Cow<'static, str>, Cow<'static, str>);

/// The settings of a session. If empty, the session keeps the server's settings, also behind a pooler.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    all: Vec<Setting>,
    /// Settings made only if the role is a superuser.
    of_superuser: Vec<Setting>,
    /// True if each transaction is read-only.
    looks: bool,
    /// True if texts arrive in the database's own bytes, so that an inconvertible one does not fail a statement.
    any_text: bool,
}

fn owned(settings: &[(&'static str, &'static str)]) -> impl Iterator<Item = Setting> {
    let pair = |(name, value): &(&'static str, &'static str)| ((*name).into(), (*value).into());
    settings.iter().map(pair).collect::<Vec<_>>().into_iter()
}

impl Settings {
    /// Returns the settings of a session that runs statements for an application: they fix the meaning of statements;
    /// resource limits are set on the application's role.
    pub fn of_application() -> Self {
        Self {
            all: owned(&MEANING).collect(),
            ..Self::default()
        }
    }

    /// Returns the settings of a session that changes something and may take long: it waits for locks up to
    /// `lock_timeout`, and has no other limit.
    pub fn of_work(lock_timeout: Duration) -> Self {
        Self::of_application()
            .limited(Duration::ZERO, lock_timeout)
            .with("idle_in_transaction_session_timeout", "0")
    }

    /// Returns the settings of a session that only monitors: it blocks nobody and does not wait long.
    pub fn of_monitor(statement_timeout: Duration) -> Self {
        let mut settings =
            Self::of_application().limited(statement_timeout, Duration::from_millis(100));
        settings.all.extend(owned(&LOOKING));
        settings.of_superuser = owned(&QUIET).collect();
        settings.looks = true;
        settings
    }

    /// Returns the settings of a session that reads for reports, with this work_mem: like a monitor's, but parallel
    /// workers and JIT follow the role's settings.
    pub fn of_analysis(statement_timeout: Duration, work_mem: &str) -> Self {
        let mut settings = Self::of_monitor(statement_timeout);
        settings
            .all
            .retain(|(name, _)| name != "jit" && name != "max_parallel_workers_per_gather");
        settings.with("work_mem", work_mem.to_owned())
    }

    fn limited(mut self, statement_timeout: Duration, lock_timeout: Duration) -> Self {
        self.all.extend(owned(&LIMITS));
        self.with("statement_timeout", milliseconds(statement_timeout))
            .with("lock_timeout", milliseconds(lock_timeout))
    }

    /// Adds a setting, or replaces its value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        self.all.retain(|(known, _)| known != name);
        self.all.push((name.into(), value.into()));
        self
    }

    /// Makes the settings those of a session that reads others' texts with any bytes: the server converts no text.
    /// Texts that are sent must be ASCII.
    #[must_use]
    pub fn reading_any_text(mut self) -> Self {
        self.any_text = true;
        self
    }

    /// Returns true if the session keeps the server's settings.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.of_superuser.is_empty()
    }

    /// Returns the begin of the transaction around a statement behind a pooler.
    fn opening(&self, mode: Option<&str>) -> String {
        let mode = match mode {
            Some(mode) if !mode.is_empty() => mode,
            _ if self.looks => "ISOLATION LEVEL READ COMMITTED READ ONLY",
            _ => "ISOLATION LEVEL READ COMMITTED",
        };
        format!("BEGIN {mode}; {}", self.select(true))
    }

    /// Returns the statement that applies the settings, to the transaction or to the whole session. The search path is
    /// not fixed at this point, so it qualifies all names.
    fn select(&self, of_transaction: bool) -> String {
        let mut rows = String::new();
        for (settings, superuser) in [(&self.all, false), (&self.of_superuser, true)] {
            for (name, value) in settings {
                let comma = if rows.is_empty() { "" } else { ", " };
                let (name, value) = (quote_literal(name), quote_literal(value));
                let _ = write!(rows, "{comma}({name}, {value}, {superuser})");
            }
        }
        format!(
            "/* htap-top */ SELECT pg_catalog.count(pg_catalog.set_config(s.name, s.value, {of_transaction})) AS n \
             FROM (VALUES {rows}) AS s (name, value, of_superuser) \
             WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL AND (NOT s.of_superuser \
             OR pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on') \
             AND (s.name OPERATOR(pg_catalog.<>) '{CONNECTION_CHECK}' OR pg_catalog.version() OPERATOR(pg_catalog.~~) '%linux%')"
        )
    }
}

fn milliseconds(duration: Duration) -> String {
    duration.as_millis().min(2_147_483_647).to_string()
}

/// Returns the statements after which a transaction runs a user's SQL: it resolves names, and reads and writes values,
/// as in the role's own sessions. Until the transaction ends, it must not run our own statements.
pub(crate) fn as_the_user() -> String {
    let mut sql = String::new();
    for name in OF_THE_USER {
        let after = if sql.is_empty() { "" } else { "; " };
        let _ = write!(sql, "{after}SET LOCAL {name} TO DEFAULT");
    }
    sql
}

/// Settings of a session behind a pooler, applied in each transaction.
#[derive(Debug)]
pub(in crate::pg) struct Lent(Settings);

/// Selects the backend's pid and age. The search path is not fixed at this point.
const WHO: &str = "/* htap-top */
    SELECT a.pid::pg_catalog.int8 AS pid,
           extract(epoch FROM pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) a.backend_start)::pg_catalog.float8 AS age_s
    FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a";

/// The same without the age, in case a provider forbids reading it.
const WHO_ALONE: &str = "/* htap-top */ SELECT pg_catalog.pg_backend_pid()::pg_catalog.int8 AS pid, NULL::pg_catalog.float8 AS age_s";

/// A backend that is older than the session by more than this, in seconds, existed before it.
const OLDER_S: f64 = 1.0;

/// Text in the error of a connection that rejects transactions.
const STATEMENT_POOLING: &str = "statement pooling mode";

impl Client {
    /// Connects, authenticates and fixes the session's settings within the deadline of `target`.
    ///
    /// # Errors
    /// Errors of the server and the connection; [`Class::Reconnect`] if there is no answer in time.
    pub async fn open(target: &Target, settings: &Settings) -> Result<Self, PgError> {
        let begun = Instant::now();
        // On the heap: it is larger than the rest of most futures that await it.
        let opening = Box::pin(async {
            let client = Self::connect(target).await?;
            client.set_up(settings, begun).await
        });
        let deadline = target.connect_deadline();
        timeout(deadline, opening).await.unwrap_or_else(|_| {
            Err(PgError::new(
                Class::Reconnect,
                format!("no answer within {} s", deadline.as_secs()),
            ))
        })
    }

    /// Like [`Self::open`], for our own statements that read others' texts with any bytes.
    ///
    /// # Errors
    /// The same as [`Self::open`].
    pub async fn open_to_watch(target: &Target, settings: &Settings) -> Result<Self, PgError> {
        Self::open(target, &settings.clone().reading_any_text()).await
    }

    /// Detects a pooler, and fixes the session's settings. `begun` is the time at which connecting began.
    pub async fn set_up(mut self, settings: &Settings, begun: Instant) -> Result<Self, PgError> {
        if settings.is_empty() {
            return Ok(self);
        }
        let settings = if settings.any_text && self.converts() {
            settings.clone().with("client_encoding", "SQL_ASCII")
        } else {
            settings.clone()
        };
        let told = match self.query(WHO, &[]).await {
            Err(error) if error.code() == "42501" => self.query(WHO_ALONE, &[]).await?,
            told => told?,
        };
        let opened_s = begun.elapsed().as_secs_f64();
        let older_s = told.first("age_s").number().unwrap_or(0.0) - opened_s;
        let is_named = told.first("pid").int() == self.backend_pid().map(i64::from);
        if is_named && older_s <= OLDER_S {
            self.query(&settings.select(false), &[]).await?;
            return Ok(self);
        }
        self.peer.pooled = true;
        logged::pooled(&self.peer);
        self.lent = Some(Lent(settings));
        // A connection without transactions is useless, and it is better to know now. The messages are sent one after
        // the other: after a refusal the backend has no client to answer the second one to.
        self.begin("").await.map_err(unpooled)?;
        self.rollback().await?;
        Ok(self)
    }

    /// Returns true if a connection pooler is in between.
    pub fn is_pooled(&self) -> bool {
        self.peer.pooled
    }

    /// Returns an error if a pooler is in between; `what` names the work that needs a session of its own.
    pub fn need_own_session(&self, what: &str) -> Result<(), PgError> {
        if !self.is_pooled() {
            return Ok(());
        }
        Err(PgError::new(
            Class::Configuration,
            format!(
                "a connection pooler is in between, and {what} needs a session of its own: connect to the \
                 server directly (-h, -p)"
            ),
        ))
    }

    /// Returns the begin of a transaction of this mode, including the settings if a pooler is in between.
    pub(in crate::pg) fn opening(&self, mode: &str) -> String {
        match &self.lent {
            Some(Lent(settings)) => settings.opening(Some(mode)),
            None => format!("BEGIN {mode}"),
        }
    }

    /// Returns true if another task can use the session: it is open, and in no transaction.
    pub fn is_free(&self) -> bool {
        !self.is_closed() && self.is_idle()
    }

    /// Returns true if no transaction begun here is open.
    pub(in crate::pg) fn is_idle(&self) -> bool {
        !self.in_transaction.load(Ordering::Relaxed)
    }

    /// Returns true if the database's texts are not in UTF-8, unlike ours.
    fn converts(&self) -> bool {
        !matches!(&*self.server_encoding(), "UTF8" | "")
    }

    /// Runs `ask`, which sends a statement that is not ASCII, in a session that reads any text. Meanwhile the server
    /// converts.
    pub(in crate::pg) async fn as_written<T>(
        &self,
        sql: &str,
        ask: impl Future<Output = Result<T, PgError>>,
    ) -> Result<T, PgError> {
        if sql.is_ascii() || !self.converts() {
            return ask.await;
        }
        // Within a transaction the setting lasts until its end.
        let local = if self.is_idle() { "" } else { "LOCAL " };
        let (utf8, any) = (
            format!("SET {local}client_encoding = 'UTF8'"),
            format!("SET {local}client_encoding = 'SQL_ASCII'"),
        );
        let (before, answer, after) = join3(self.as_it_is(&utf8), ask, self.as_it_is(&any)).await;
        before?;
        let answer = answer?;
        after.map(|()| answer)
    }

    /// Runs one statement, in a transaction with the session's settings if a pooler is in between. Everything is sent
    /// at once, so that no transaction stays open even if the task is dropped.
    pub(in crate::pg) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, PgError>>,
    ) -> Result<T, PgError> {
        if self.lent.is_none() || !self.is_idle() {
            return work.await;
        }
        let opening = self.opening("");
        let (opened, done, ended) =
            join3(self.as_it_is(&opening), work, self.as_it_is("COMMIT")).await;
        opened.map_err(unpooled)?;
        let done = done?;
        ended.map(|()| done)
    }
}

/// Explains that a connection that rejects transactions cannot be used.
fn unpooled(error: PgError) -> PgError {
    if !error.message.as_str().contains(STATEMENT_POOLING) {
        return error;
    }
    PgError::new(
        Class::Configuration,
        "a connection pooler in statement pooling mode is in between, which allows no transactions: connect to \
         the server directly (-h, -p), or to a pool in transaction or session mode",
    )
}
