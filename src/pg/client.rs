//! A PostgreSQL session, reduced to the few calls that this crate needs.

pub(crate) mod describe;
mod names;
pub(crate) mod session;
pub(crate) mod statement;
pub(crate) mod texts;
mod transaction;

use super::cell::Record;
use super::conninfo::Target;
use super::error::{Class, PgError};
use super::messages::{Limits, Seen};
use super::peer::Peer;
use super::table::{Table, Value};
use super::tls::{Ended, Link, Way};
use futures_util::future::join;
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use std::fmt::Write as _;
use std::iter::once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio_postgres::CancelToken;
use tokio_postgres::types::{ToSql, Type};

use names::{Name, Names};
use session::Lent;
use texts::{too_much, weight};

/// A statement parameter. Its type is sent with the statement, which saves the round trip that would look it up.
#[derive(Clone, Copy, Debug)]
pub enum Param<'a> {
    /// bigint
    Int(i64),
    /// double precision
    Float(f64),
    /// text
    Text(&'a str),
    /// bigint[]
    Ints(&'a [i64]),
    /// text[]
    Texts(&'a [String]),
    /// text, or NULL
    MaybeText(Option<&'a str>),
    /// text[] with NULLs
    MaybeTexts(&'a [Option<&'a str>]),
}

impl Param<'_> {
    fn typed(&self) -> (&(dyn ToSql + Sync), Type) {
        match self {
            Self::Int(value) => (value, Type::INT8),
            Self::Float(value) => (value, Type::FLOAT8),
            Self::Text(value) => (value, Type::TEXT),
            Self::Ints(value) => (value, Type::INT8_ARRAY),
            Self::Texts(value) => (value, Type::TEXT_ARRAY),
            Self::MaybeText(value) => (value, Type::TEXT),
            Self::MaybeTexts(value) => (value, Type::TEXT_ARRAY),
        }
    }

    /// Returns the name of its type in SQL.
    pub fn sql_type(&self) -> &'static str {
        match self {
            Self::Int(_) => "bigint",
            Self::Float(_) => "double precision",
            Self::Text(_) | Self::MaybeText(_) => "text",
            Self::Ints(_) => "bigint[]",
            Self::Texts(_) | Self::MaybeTexts(_) => "text[]",
        }
    }
}

/// Size of the chunks in which COPY's data are sent, in bytes.
const COPY_FRAME: usize = 64 * 1024;

/// An open session. Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    inner: tokio_postgres::Client,
    ended: Ended,
    seen: Arc<Seen>,
    way: Way,
    limits: Limits,
    names: Mutex<Names>,
    /// True while a transaction is open.
    pub(super) in_transaction: AtomicBool,
    /// Settings for each transaction, if a pooler is in between.
    pub(super) lent: Option<Lent>,
    /// The server, and the protection of the connection.
    pub peer: Peer,
}

impl Client {
    /// Connects and authenticates; the caller sets the deadline. The session has the server's default settings: see
    /// [`Self::set_up`].
    pub async fn connect(target: &Target) -> Result<Self, PgError> {
        let Link {
            client: inner,
            peer,
            ended,
            seen,
            way,
        } = Box::pin(super::tls::connect(target)).await?;
        Ok(Self {
            inner,
            ended,
            seen,
            way,
            limits: target.limits,
            names: Mutex::default(),
            in_transaction: AtomicBool::new(false),
            lent: None,
            peer,
        })
    }

    /// Returns the driver's error, or the reason why the session was closed, which the driver does not know.
    pub(super) fn failed(&self, error: tokio_postgres::Error) -> PgError {
        match self.why_refused() {
            Some(why) if error.as_db_error().is_none() => why,
            _ => error.into(),
        }
    }

    /// Returns the reason why the session was closed, if the cause was data from the server.
    pub(super) fn why_refused(&self) -> Option<PgError> {
        let why = self.seen.refused()?;
        Some(PgError::new(Class::Statement, why))
    }

    /// Returns the process ID of the backend, as reported when connecting; behind a pooler, the ID that the pooler
    /// reported. `None` if none was reported.
    pub fn backend_pid(&self) -> Option<u32> {
        Some(self.seen.backend()).filter(|pid| *pid > 0)
    }

    /// Returns PostgreSQL's name of the server's encoding; empty if it was not reported.
    pub fn server_encoding(&self) -> Box<str> {
        self.seen.server_encoding()
    }

    /// Runs statements without parameters or results over the simple protocol.
    #[track_caller]
    pub fn batch(&self, sql: &str) -> impl Future<Output = Result<(), PgError>> {
        self.noting(self.within(self.as_it_is(sql)))
    }

    /// Like [`Self::batch`], but in no transaction except those that `sql` begins itself.
    pub(super) async fn as_it_is(&self, sql: &str) -> Result<(), PgError> {
        let done = self.inner.batch_execute(sql).await;
        done.map_err(|error| self.failed(error))
    }

    /// Runs a statement as an unnamed prepared statement in one round trip. Its select list must contain built-in types
    /// only.
    #[track_caller]
    pub fn query(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Table, PgError>> {
        self.noting(self.within(self.rows(sql, params)))
    }

    async fn rows(&self, sql: &str, params: &[Param<'_>]) -> Result<Table, PgError> {
        let failed = |error| self.failed(error);
        let typed = params.iter().map(Param::typed);
        let rows = self.inner.query_typed_raw(sql, typed).await;
        let rows = rows.map_err(failed)?;
        pin_mut!(rows);
        let mut table = Table::default();
        let mut kept = 0;
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            if table.columns.is_empty() {
                let columns = row.columns().iter();
                table.columns = columns.map(|column| column.name().into()).collect();
            }
            let mut cells = Vec::with_capacity(row.len());
            for (position, column) in row.columns().iter().enumerate() {
                if *column.type_() == Type::RECORD {
                    // Replace the record by its cells: the caller can tell rows of different shapes apart.
                    let Record(record) = row.try_get(position).map_err(failed)?;
                    cells.extend(record);
                } else {
                    cells.push(row.try_get::<_, Value>(position).map_err(failed)?);
                }
            }
            kept += weight(&cells);
            if kept > self.limits.kept {
                return Err(PgError::new(Class::Statement, too_much(self.limits.kept)));
            }
            table.rows.push(cells);
        }
        Ok(table)
    }

    /// Runs a statement without parameters that is run repeatedly: from the second time on under a name ([`names`]), so
    /// that the server does not parse and plan it each time, which takes longer than running it. In a transaction the name
    /// may fail: [`PgError::is_name_at_fault`].
    #[track_caller]
    pub fn query_again(&self, sql: &str) -> impl Future<Output = Result<Table, PgError>> {
        self.noting(self.again(sql))
    }

    async fn again(&self, sql: &str) -> Result<Table, PgError> {
        let name = self.with_names(|names| {
            let again = names.note_run(sql);
            again.then(|| names.name(sql, "htap_top"))
        });
        let Some(Name { text: name, is_new }) = name.flatten() else {
            return self.unnamed(sql).await;
        };
        let execute = format!("EXECUTE {name}");
        let table = if is_new {
            let prepare = format!("PREPARE {name} AS {sql}");
            let prepare = self.within(self.as_it_is(&prepare));
            let (prepared, table) = join(prepare, self.unnamed(&execute)).await;
            if let Err(error) = prepared {
                self.forget_names(once(sql));
                return Err(error);
            }
            table
        } else {
            self.unnamed(&execute).await
        };
        match table {
            // A transaction has failed with it.
            Err(error)
                if self.is_name_at_fault(&error, once(sql))
                    && !self.in_transaction.load(Ordering::Relaxed) =>
            {
                self.unnamed(sql).await
            }
            other => other,
        }
    }

    async fn unnamed(&self, sql: &str) -> Result<Table, PgError> {
        self.within(self.rows(sql, &[])).await
    }

    /// Ends the session in an orderly way, and waits until it is closed.
    pub async fn close(self) {
        let mut ended = self.ended.clone();
        drop(self);
        let _ = ended.changed().await;
    }

    /// Resolves when the connection is gone.
    pub async fn closed(&self) {
        // Nothing is ever sent; the end of the sender counts as the change.
        let _ = self.ended.clone().changed().await;
    }

    /// Runs a statement as an unnamed prepared statement and returns the number of rows affected.
    #[track_caller]
    pub fn execute(
        &self,
        sql: &str,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<u64, PgError>> {
        self.noting(self.within(async move {
            let typed: Vec<_> = params.iter().map(Param::typed).collect();
            let done = self.inner.execute_typed(sql, &typed).await;
            done.map_err(|error| self.failed(error))
        }))
    }

    /// Sends `data` by COPY FROM STDIN, in the format that `sql` specifies, and returns the number of rows.
    #[track_caller]
    pub fn copy_in(&self, sql: &str, data: &[u8]) -> impl Future<Output = Result<u64, PgError>> {
        self.noting(self.send_copy(sql, data))
    }

    async fn send_copy(&self, sql: &str, data: &[u8]) -> Result<u64, PgError> {
        let failed = |error| self.failed(error);
        let sink = self.inner.copy_in(sql).await.map_err(failed)?;
        pin_mut!(sink);
        for frame in data.chunks(COPY_FRAME) {
            let frame = std::io::Cursor::new(frame.to_vec());
            sink.send(frame).await.map_err(failed)?;
        }
        sink.finish().await.map_err(failed)
    }

    /// Passes the data of COPY TO STDOUT to `take` in pieces, as they arrive; a piece may end anywhere. An error of
    /// `take` stops it and makes the session unusable.
    pub async fn copy_out<E: From<PgError>>(
        &self,
        sql: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let failed = |error| self.failed(error);
        let stream = self.inner.copy_out(sql).await.map_err(failed)?;
        pin_mut!(stream);
        while let Some(piece) = stream.try_next().await.map_err(failed)? {
            take(&piece)?;
        }
        Ok(())
    }

    /// Returns a handle that cancels the current statement of this session. The session must not be used after the
    /// request was sent: it can hit the next statement.
    pub fn canceller(&self, target: &Target) -> Canceller {
        Canceller {
            token: self.inner.cancel_token(),
            way: self.way.clone(),
            target: target.clone(),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) fn inner(&self) -> &tokio_postgres::Client {
        &self.inner
    }

    /// The server's version as it has reported it, such as `17.2`; empty if it has not.
    pub fn server_version(&self) -> &str {
        self.seen.version()
    }

    /// Returns true if the server is `htap-top columnar serve`.
    pub(super) fn is_column_store(&self) -> bool {
        self.seen.is_column_store()
    }

    /// Returns true if the connection is known to be closed.
    pub fn is_closed(&self) -> bool {
        self.inner.is_closed()
    }
}

/// Sends the protocol's cancel request for one session.
#[derive(Clone)]
pub struct Canceller {
    token: CancelToken,
    way: Way,
    target: Target,
}

impl Canceller {
    /// Sends the request. The server may act on it later, or not at all.
    pub async fn cancel(&self) -> Result<(), PgError> {
        super::tls::cancel(&self.target, &self.token, &self.way).await
    }
}

/// Quotes `name` as an SQL identifier.
pub fn quote_ident(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    let _ = write!(quoted, "\"{}\"", name.replace('"', "\"\""));
    quoted
}

/// Quotes `text` as an SQL literal, safe for any value of standard_conforming_strings.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}
