//! The conversation with a client that has logged in: requests of the simple and the extended protocol.

use super::command::Command;
use super::fault::{Fault, fault, unsupported};
use super::interrupt::{Watch, stopped};
use super::portal::{Column, Portal, Prepared};
use super::values;
use super::variables::Variables;
use super::wire::{Fields, Wire, put_count, put_error, put_text};
use crate::columnar::engine::Mode;
use crate::columnar::session::Session;
use crate::columnar::store::Columnar;
use futures_util::FutureExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Statements and portals that a session may keep, and the bytes of their texts and values.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 4 << 20;

/// State of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transaction {
    None,
    Open,
    /// Until it is rolled back, statements are refused.
    Failed,
}

/// A client's session.
pub(super) struct Talk {
    pub(super) wire: Wire,
    pub(super) columnar: Columnar,
    pub(super) session: Session,
    pub(super) variables: Variables,
    /// Longest time of a statement.
    pub(super) timeout: Option<Duration>,
    /// Told by a cancel request.
    pub(super) cancel: Arc<Notify>,
    /// True when the server ends.
    pub(super) stop: watch::Receiver<bool>,
    pub(super) statements: BTreeMap<String, Arc<Prepared>>,
    pub(super) portals: BTreeMap<String, Portal>,
    pub(super) transaction: Transaction,
}

impl Talk {
    pub(super) fn new(
        (wire, stop): (Wire, watch::Receiver<bool>),
        columnar: Columnar,
        session: Session,
        (variables, timeout): (Variables, Option<Duration>),
        cancel: Arc<Notify>,
    ) -> Self {
        Self {
            wire,
            columnar,
            session,
            variables,
            timeout,
            cancel,
            stop,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            transaction: Transaction::None,
        }
    }

    /// Answers requests until the client leaves or the server ends.
    pub(super) async fn run(&mut self) -> Result<(), Fault> {
        self.ready().await?;
        // After an error in the extended protocol, everything up to the next Sync is ignored.
        let mut skips = false;
        loop {
            let mut stop = self.stop.clone();
            let next = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return Err(stopped()),
                next = self.wire.next() => next?,
            };
            let Some((kind, fields)) = next else {
                return Ok(());
            };
            match kind {
                b'X' => return Ok(()),
                b'S' => {
                    skips = false;
                    self.sync();
                    self.ready().await?;
                }
                b'Q' => {
                    skips = false;
                    let answered = Box::pin(self.simple(fields)).await;
                    self.told(answered)?;
                    self.sync();
                    self.ready().await?;
                }
                // Data of a COPY that was refused.
                b'd' | b'c' | b'f' => {}
                _ if skips => {}
                b'H' => self.wire.send().await?,
                b'P' | b'B' | b'D' | b'E' | b'C' => {
                    let answered = Box::pin(self.extended(kind, fields)).await;
                    skips = !self.told(answered)?;
                    if skips {
                        self.wire.send().await?;
                    }
                }
                b'F' => {
                    self.told(Err(unsupported("function calls are not supported")))?;
                    self.ready().await?;
                }
                _ => return Err(fault("08P01", "invalid frontend message type")),
            }
        }
    }

    /// Tells the client of an error. Returns true if there was none.
    fn told(&mut self, answered: Result<(), Fault>) -> Result<bool, Fault> {
        match answered {
            Ok(()) => Ok(true),
            Err(Fault::Told {
                code,
                message,
                hint,
            }) => {
                put_error(&mut self.wire, "ERROR", (&code, &message, hint.as_deref()));
                if self.transaction == Transaction::Open {
                    self.transaction = Transaction::Failed;
                }
                Ok(false)
            }
            Err(lost) => Err(lost),
        }
    }

    async fn ready(&mut self) -> Result<(), Fault> {
        let state = match self.transaction {
            Transaction::None => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        };
        self.wire.add(b'Z', |out| out.push(state));
        Ok(self.wire.send().await?)
    }

    /// Portals end with the transaction.
    fn sync(&mut self) {
        if self.transaction == Transaction::None {
            self.portals.clear();
        }
    }

    async fn simple(&mut self, mut fields: Fields) -> Result<(), Fault> {
        let sql = fields.text()?;
        let prepared = Arc::new(self.prepare(&sql, &[]).await?);
        if matches!(prepared.command, Command::Empty) {
            self.wire.add(b'I', |_| ());
            return Ok(());
        }
        if !prepared.params.is_empty() {
            return Err(fault("42P02", "there is no parameter $1"));
        }
        let mut portal = Portal::new(prepared, &[])?;
        self.describe_columns(&portal.prepared, &portal.formats);
        self.execute(&mut portal, 0).await
    }

    async fn extended(&mut self, kind: u8, mut fields: Fields) -> Result<(), Fault> {
        let bytes = fields.len();
        match kind {
            b'P' => {
                let (name, sql) = (fields.text()?, fields.text()?);
                let types = fields.list(|fields| Ok(fields.i32()?.cast_unsigned()))?;
                if !name.is_empty() && self.statements.contains_key(&name) {
                    let why = format!("prepared statement \"{name}\" already exists");
                    return Err(fault("42P05", why));
                }
                self.fits(bytes)?;
                let prepared = self.prepare(&sql, &types).await?;
                let prepared = Arc::new(Prepared { bytes, ..prepared });
                self.statements.insert(name, prepared);
                self.wire.add(b'1', |_| ());
            }
            b'B' => {
                let (name, statement) = (fields.text()?, fields.text()?);
                let prepared = self.statement(&statement)?;
                let formats = fields.list(Fields::i16)?;
                let values = fields.list(|fields| match fields.i32()? {
                    -1 => Ok(None),
                    length => fields
                        .bytes(usize::try_from(length).unwrap_or(usize::MAX))
                        .map(Some),
                })?;
                let results = fields.list(Fields::i16)?;
                self.fits(bytes)?;
                let mut portal = Portal::new(prepared, &results)?;
                portal.bind(&values, &formats)?;
                portal.bytes = bytes;
                self.portals.insert(name, portal);
                self.wire.add(b'2', |_| ());
            }
            b'D' => self.describe(fields.byte()?, &fields.text()?)?,
            b'E' => {
                let (name, most) = (fields.text()?, fields.i32()?);
                let Some(mut portal) = self.portals.remove(&name) else {
                    return Err(fault("34000", format!("portal \"{name}\" does not exist")));
                };
                let most = usize::try_from(most).unwrap_or_default();
                self.execute(&mut portal, most).await?;
                self.portals.insert(name, portal);
            }
            _ => {
                let (what, name) = (fields.byte()?, fields.text()?);
                if what == b'S' {
                    self.statements.remove(&name);
                } else {
                    self.portals.remove(&name);
                }
                self.wire.add(b'3', |_| ());
            }
        }
        if !fields.is_empty() {
            return Err(fault("08P01", "a message has more fields than it should"));
        }
        Ok(())
    }

    fn statement(&self, name: &str) -> Result<Arc<Prepared>, Fault> {
        let found = self.statements.get(name).cloned();
        found.ok_or_else(|| {
            let why = format!("prepared statement \"{name}\" does not exist");
            fault("26000", why)
        })
    }

    /// Refuses what would take too much memory.
    fn fits(&self, bytes: usize) -> Result<(), Fault> {
        let statements = self.statements.values().map(|prepared| prepared.bytes);
        let portals = self.portals.values().map(|portal| portal.bytes);
        let kept: usize = statements.chain(portals).sum();
        let number = self.statements.len() + self.portals.len();
        if number >= KEPT || kept + bytes > KEPT_BYTES {
            return Err(fault(
                "53200",
                format!(
                    "a session can keep {KEPT} statements and portals of {KEPT_BYTES} bytes in all: close some"
                ),
            ));
        }
        Ok(())
    }

    /// Reads a statement, and has PostgreSQL say what it returns.
    async fn prepare(&mut self, sql: &str, types: &[u32]) -> Result<Prepared, Fault> {
        self.forget_cancel();
        let command = Command::read(sql)?;
        if self.transaction == Transaction::Failed && !command.ends_transaction() {
            return Err(fault(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        let described = match &command {
            Command::Select(_, Mode::Run) | Command::Constants(_) => {
                let limit = self.variables.timeout(self.timeout);
                let (watch, session, _) = self.parts();
                Box::pin(watch.during(limit, session.describe(sql, types))).await?
            }
            _ => crate::pg::Description::default(),
        };
        let column = |name: &str, oid| Column {
            name: name.to_owned(),
            oid,
        };
        let columns = match &command {
            Command::Select(_, Mode::Explain | Mode::Analyze) => {
                vec![column("QUERY PLAN", values::oid::TEXT)]
            }
            Command::Show(name) => vec![column(name, values::oid::TEXT)],
            _ => described
                .columns
                .iter()
                .map(|(name, oid)| column(name, *oid))
                .collect(),
        };
        Ok(Prepared {
            command,
            params: described.params,
            columns,
            bytes: sql.len(),
        })
    }

    /// What a statement needs while it works, apart from each other.
    pub(super) fn parts(&mut self) -> (Watch<'_>, &mut Session, &Columnar) {
        let watch = Watch {
            wire: &mut self.wire,
            cancel: &self.cancel,
            stop: self.stop.clone(),
        };
        (watch, &mut self.session, &self.columnar)
    }

    /// A cancel request that came before the statement is not for it.
    pub(super) fn forget_cancel(&self) {
        let _ = self.cancel.notified().now_or_never();
    }

    fn describe(&mut self, what: u8, name: &str) -> Result<(), Fault> {
        if what == b'S' {
            let prepared = self.statement(name)?;
            self.wire.add(b't', |out| {
                put_count(out, prepared.params.len());
                for oid in &prepared.params {
                    out.extend_from_slice(&oid.to_be_bytes());
                }
            });
            self.describe_or_none(&prepared, &[]);
            return Ok(());
        }
        let Some(portal) = self.portals.get(name) else {
            return Err(fault("34000", format!("portal \"{name}\" does not exist")));
        };
        let (prepared, formats) = (Arc::clone(&portal.prepared), portal.formats.clone());
        self.describe_or_none(&prepared, &formats);
        Ok(())
    }

    fn describe_or_none(&mut self, prepared: &Prepared, formats: &[bool]) {
        if prepared.returns_rows() {
            self.describe_columns(prepared, formats);
        } else {
            self.wire.add(b'n', |_| ());
        }
    }

    fn describe_columns(&mut self, prepared: &Prepared, formats: &[bool]) {
        if !prepared.returns_rows() {
            return;
        }
        self.wire.add(b'T', |out| {
            put_count(out, prepared.columns.len());
            for (place, column) in prepared.columns.iter().enumerate() {
                put_text(out, &column.name);
                // Of no table.
                out.extend_from_slice(&[0; 6]);
                out.extend_from_slice(&column.oid.to_be_bytes());
                out.extend_from_slice(&values::length(column.oid).to_be_bytes());
                // No modifier.
                out.extend_from_slice(&(-1_i32).to_be_bytes());
                let binary = formats.get(place).copied().unwrap_or_default();
                out.extend_from_slice(&i16::from(binary).to_be_bytes());
            }
        });
    }
}
