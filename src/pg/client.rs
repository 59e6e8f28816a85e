//! One PostgreSQL session behind the few calls this crate needs.

pub mod session;
pub mod statement;
pub mod texts;

use super::cell::Record;
use super::conninfo::Target;
use super::error::{Class, PgError};
use super::messages::{Limits, Seen};
use super::peer::Peer;
use super::table::{Table, Value};
use super::tls::{Ended, Link, Way};
use futures_util::future::join;
use futures_util::{SinkExt, TryStreamExt, pin_mut};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use tokio_postgres::CancelToken;
use tokio_postgres::types::{ToSql, Type};

use session::Lent;
use statement::{NO_SUCH_STATEMENT, RESULT_CHANGED, Statements};
use texts::{too_much, weight};

/// A statement parameter. Named types, so that no statement needs a round trip to learn its own.
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

    /// The name of its type in SQL.
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

/// Bytes of COPY's data sent at a time.
const COPY_FRAME: usize = 64 * 1024;

/// The names of statements that came more than once.
#[derive(Debug, Default)]
struct Named {
    names: HashMap<Arc<str>, Option<String>>,
    /// Behind a pooler names do not last.
    useless: bool,
}

/// How well the session knows a statement.
enum Known {
    No,
    Twice(String),
    Named(String),
}

/// An open session. Dropping it closes the connection.
#[derive(Debug)]
pub struct Client {
    inner: tokio_postgres::Client,
    ended: Ended,
    seen: Arc<Seen>,
    way: Way,
    limits: Limits,
    named: Mutex<Named>,
    statements: Statements,
    /// True if a transaction was begun and not ended.
    pub(super) in_transaction: AtomicBool,
    /// Where a pooler is in between.
    pub(super) lent: Option<Lent>,
    /// Where and how it is connected.
    pub peer: Peer,
}

impl Client {
    /// Connects and authenticates; the caller sets the deadline. The session is as it comes: see
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
            named: Mutex::default(),
            statements: Statements::default(),
            in_transaction: AtomicBool::new(false),
            lent: None,
            peer,
        })
    }

    /// The driver's error, or why the session was given up, which the driver does not know.
    pub(super) fn failed(&self, error: tokio_postgres::Error) -> PgError {
        match self.why_refused() {
            Some(why) if error.as_db_error().is_none() => why,
            _ => error.into(),
        }
    }

    /// Why the session was given up, where that was for what the server sent.
    pub(super) fn why_refused(&self) -> Option<PgError> {
        let why = self.seen.refused()?;
        Some(PgError::new(Class::Statement, why))
    }

    /// The process of the server that has this session, as it was told at connecting: behind a pooler it is
    /// the pooler's word. `None` where nothing was told.
    pub fn backend_pid(&self) -> Option<u32> {
        Some(self.seen.backend()).filter(|pid| *pid > 0)
    }

    /// The server's encoding by PostgreSQL's name; empty where it was not told.
    pub fn server_encoding(&self) -> Box<str> {
        self.seen.server_encoding()
    }

    /// Runs statements without parameters or results, by the simple protocol.
    pub async fn batch(&self, sql: &str) -> Result<(), PgError> {
        self.within(self.as_it_is(sql)).await
    }

    /// As [`Self::batch`], in no transaction but those that `sql` begins itself.
    pub(super) async fn as_it_is(&self, sql: &str) -> Result<(), PgError> {
        let done = self.inner.batch_execute(sql).await;
        done.map_err(|error| self.failed(error))
    }

    /// Runs one statement by an unnamed prepared statement in one round trip. The select list must
    /// hold built-in types only.
    pub async fn query(&self, sql: &str, params: &[Param<'_>]) -> Result<Table, PgError> {
        self.within(self.rows(sql, params)).await
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
                    // Its cells come in its place: rows of several shapes, for who knows to tell them apart.
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

    /// Runs a statement without parameters that comes again and again: from the second time on by a
    /// name, so that the server need not parse and plan it each time, which takes longer than running
    /// it. Behind a pooler there are no names. Should one go unnoticed: the name is PREPAREd in SQL and has
    /// random digits, because another session's server connection may answer, where the same name must not
    /// mean another statement. Where it does not exist this session uses no names from then on.
    pub async fn query_again(&self, sql: &Arc<str>) -> Result<Table, PgError> {
        let table = match self.known(sql) {
            Known::No => return self.query(sql, &[]).await,
            Known::Twice(name) => {
                let prepare = format!("PREPARE {name} AS {sql}");
                let execute = format!("EXECUTE {name}");
                let (prepared, table) = join(self.batch(&prepare), self.query(&execute, &[])).await;
                if let Err(error) = prepared {
                    self.forget(sql);
                    return Err(error);
                }
                table
            }
            Known::Named(name) => self.query(&format!("EXECUTE {name}"), &[]).await,
        };
        match table {
            Err(error) if error.code() == NO_SUCH_STATEMENT => self.use_no_names(),
            // An extension was updated, or a view made anew: its columns are others now.
            Err(error) if error.code() == RESULT_CHANGED => self.forget(sql),
            other => return other,
        }
        self.query(sql, &[]).await
    }

    fn known(&self, sql: &Arc<str>) -> Known {
        let Ok(mut named) = self.named.lock() else {
            return Known::No;
        };
        if named.useless || self.lent.is_some() {
            return Known::No;
        }
        match named.names.get(sql) {
            Some(Some(name)) => Known::Named(name.clone()),
            Some(None) => {
                let name = format!("htap_top_{:016x}", rand::random::<u64>());
                named.names.insert(Arc::clone(sql), Some(name.clone()));
                Known::Twice(name)
            }
            None => {
                named.names.insert(Arc::clone(sql), None);
                Known::No
            }
        }
    }

    fn forget(&self, sql: &Arc<str>) {
        if let Ok(mut named) = self.named.lock() {
            named.names.remove(sql);
        }
    }

    fn use_no_names(&self) {
        if let Ok(mut named) = self.named.lock() {
            named.useless = true;
            named.names.clear();
        }
    }

    /// Takes leave of the server, and waits until it is heard.
    pub async fn close(self) {
        let mut ended = self.ended.clone();
        drop(self);
        let _ = ended.changed().await;
    }

    /// Resolves when the connection is gone.
    pub async fn closed(&self) {
        // Nothing is ever sent: it changes by its sender's end.
        let _ = self.ended.clone().changed().await;
    }

    /// Runs one statement by an unnamed prepared statement and returns the number of rows it touched.
    pub async fn execute(&self, sql: &str, params: &[Param<'_>]) -> Result<u64, PgError> {
        let typed: Vec<_> = params.iter().map(Param::typed).collect();
        let done = async {
            let done = self.inner.execute_typed(sql, &typed).await;
            done.map_err(|error| self.failed(error))
        };
        self.within(done).await
    }

    /// Sends `data` by COPY FROM STDIN, in whatever format `sql` says, and returns the number of rows.
    pub async fn copy_in(&self, sql: &str, data: &[u8]) -> Result<u64, PgError> {
        let failed = |error| self.failed(error);
        let sink = self.inner.copy_in(sql).await.map_err(failed)?;
        pin_mut!(sink);
        for frame in data.chunks(COPY_FRAME) {
            let frame = std::io::Cursor::new(frame.to_vec());
            sink.send(frame).await.map_err(failed)?;
        }
        sink.finish().await.map_err(failed)
    }

    /// Hands what COPY TO STDOUT sends to `take`, piece by piece as it comes; a piece may end anywhere. An
    /// error of `take` ends it, and the session is of no use after that.
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

    /// A token that cancels whatever runs on this session. The session must not be used again
    /// after it was sent: the request can hit the next statement.
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

    pub(super) fn statements(&self) -> &Statements {
        &self.statements
    }

    /// Returns true if the connection is known to be gone.
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
    /// Sends the request. The server acts on it later, or not at all.
    pub async fn cancel(&self) -> Result<(), PgError> {
        super::tls::cancel(&self.target, &self.token, &self.way).await
    }
}

/// `name` as a quoted SQL identifier.
pub fn quote_ident(name: &str) -> String {
    let mut quoted = String::with_capacity(name.len() + 2);
    let _ = write!(quoted, "\"{}\"", name.replace('"', "\"\""));
    quoted
}

/// `text` as a quoted SQL literal, safe whatever standard_conforming_strings says.
pub fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') {
        format!(" E'{}'", quoted.replace('\\', "\\\\"))
    } else {
        format!("'{quoted}'")
    }
}
