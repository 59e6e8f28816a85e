//! Runs statements: SELECTs, whose rows are sent as they come, and commands of a session.

use super::command::{Command, Isolation};
use super::fault::{Fault, fault, unsupported};
use super::portal::{Portal, Source, constants};
use super::talk::{Talk, Transaction};
use super::values;
use super::wire::{put_count, put_status, put_text, put_value};
use crate::columnar::engine::Mode;
use std::sync::Arc;

impl Talk {
    /// Runs a portal, or goes on with it, for so many rows; 0 is all.
    pub(super) async fn execute(&mut self, portal: &mut Portal, most: usize) -> Result<(), Fault> {
        let prepared = Arc::clone(&portal.prepared);
        if self.transaction == Transaction::Failed && !prepared.command.ends_transaction() {
            return Err(fault(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block",
            ));
        }
        match &prepared.command {
            Command::Select(_, mode) => {
                let tag = if *mode == Mode::Run {
                    "SELECT"
                } else {
                    "EXPLAIN"
                };
                self.select(portal, *mode).await?;
                self.rows(portal, most, tag).await
            }
            Command::Constants(sql) => {
                if matches!(portal.source, Source::Ready) {
                    let limit = self.variables.timeout(self.timeout);
                    let (watch, session, _) = self.parts();
                    let row = Box::pin(watch.during(limit, constants(session, sql))).await?;
                    portal.source = Source::Texts(vec![row]);
                }
                self.texts(portal, "SELECT")
            }
            Command::Show(name) => {
                let value = match name.as_str() {
                    "transaction_isolation" if self.session.is_holding() => {
                        "repeatable read".to_owned()
                    }
                    "transaction_isolation" => "read committed".to_owned(),
                    name => self.variables.show(&mut self.session, name).await?,
                };
                portal.source = Source::Texts(vec![vec![Some(value)]]);
                self.texts(portal, "SHOW")
            }
            Command::Empty => {
                self.wire.add(b'I', |_| ());
                Ok(())
            }
            command => self.command(command).await,
        }
    }

    /// Begins a SELECT.
    async fn select(&mut self, portal: &mut Portal, mode: Mode) -> Result<(), Fault> {
        if !matches!(portal.source, Source::Ready) {
            return Ok(());
        }
        let Some(ast) = portal.statement() else {
            return Ok(());
        };
        self.forget_cancel();
        let timeout = self.variables.timeout(self.timeout);
        let zone = self.variables.time_zone().map(str::to_owned);
        let (watch, session, columnar) = self.parts();
        let answer = columnar.answer(session, ast, mode, (zone.as_deref(), timeout));
        let rows = Box::pin(watch.during(None, answer)).await?;
        let kinds = rows.schema().fields().iter().map(|field| field.data_type());
        if kinds.len() != portal.prepared.columns.len() {
            return Err(unsupported(
                "PostgreSQL and the column store read the columns of this statement differently",
            ));
        }
        for (kind, column) in kinds.zip(&portal.prepared.columns) {
            values::check(kind, column.oid)?;
        }
        portal.source = Source::Rows {
            rows: Box::new(rows),
            batch: None,
        };
        Ok(())
    }

    /// Sends rows of a SELECT.
    async fn rows(&mut self, portal: &mut Portal, most: usize, tag: &str) -> Result<(), Fault> {
        let mut sent = 0;
        while let Source::Rows { rows, batch } = &mut portal.source {
            let next = match batch.take() {
                None => {
                    let next = self.parts().0.during(None, rows.next()).await?;
                    next.map(|batch| (batch, 0))
                }
                Some(left) => Some(left),
            };
            let Some((now, at)) = next else {
                portal.source = Source::Done;
                break;
            };
            for row in at..now.num_rows() {
                if most > 0 && sent == most {
                    *batch = Some((now, row));
                    self.wire.add(b's', |_| ());
                    return Ok(());
                }
                let cells = now.columns().iter().zip(&portal.prepared.columns);
                let cells = cells
                    .zip(&portal.formats)
                    .map(|((column, described), binary)| {
                        values::value(rows, (column, row), described.oid, *binary)
                    });
                let cells = cells.collect::<Result<Vec<_>, _>>()?;
                self.row(&cells);
                sent += 1;
                if self.wire.is_full() {
                    self.wire.send().await?;
                }
            }
        }
        portal.sent += sent;
        let tag = match tag {
            "SELECT" => format!("SELECT {}", portal.sent),
            other => other.to_owned(),
        };
        self.complete(&tag);
        Ok(())
    }

    fn row(&mut self, cells: &[Option<Vec<u8>>]) {
        self.wire.add(b'D', |out| {
            put_count(out, cells.len());
            for cell in cells {
                put_value(out, cell.as_deref());
            }
        });
    }

    /// Sends rows whose texts are known.
    fn texts(&mut self, portal: &mut Portal, tag: &str) -> Result<(), Fault> {
        let Source::Texts(rows) = std::mem::replace(&mut portal.source, Source::Done) else {
            self.complete(tag);
            return Ok(());
        };
        let number = rows.len();
        for row in rows {
            let cells = row
                .iter()
                .zip(&portal.prepared.columns)
                .zip(&portal.formats);
            let cells = cells.map(|((text, column), binary)| {
                let text = text.as_deref();
                text.map(|text| values::encoded(text, column.oid, *binary))
                    .transpose()
            });
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            self.row(&cells);
        }
        let tag = if tag == "SELECT" {
            format!("SELECT {number}")
        } else {
            tag.to_owned()
        };
        self.complete(&tag);
        Ok(())
    }

    fn complete(&mut self, tag: &str) {
        self.wire.add(b'C', |out| put_text(out, tag));
    }

    /// Runs a command without rows.
    async fn command(&mut self, command: &Command) -> Result<(), Fault> {
        let tag = match command {
            Command::Begin(isolation) => {
                if self.transaction == Transaction::None {
                    self.transaction = Transaction::Open;
                    self.variables.begin();
                    self.isolate(*isolation).await;
                }
                "BEGIN"
            }
            Command::Commit | Command::Rollback => {
                let commits =
                    matches!(command, Command::Commit) && self.transaction == Transaction::Open;
                self.transaction = Transaction::None;
                self.portals.clear();
                self.session.release().await;
                self.variables.end(commits);
                if commits { "COMMIT" } else { "ROLLBACK" }
            }
            Command::Isolate(isolation) => {
                if let (Transaction::Open, Some(isolation)) = (self.transaction, isolation) {
                    self.isolate(*isolation).await;
                }
                "SET"
            }
            Command::Set { name, value, local } => {
                let (session, value) = (&mut self.session, value.as_deref());
                let told = self.variables.set(session, name, value, *local).await?;
                if let Some((name, value)) = told {
                    put_status(&mut self.wire, name, &value);
                }
                if value.is_some() { "SET" } else { "RESET" }
            }
            Command::ResetAll | Command::DiscardAll => {
                self.variables.reset();
                let zone = self.variables.show(&mut self.session, "timezone").await?;
                put_status(&mut self.wire, "TimeZone", &zone);
                if matches!(command, Command::ResetAll) {
                    "RESET"
                } else {
                    self.statements.clear();
                    "DISCARD ALL"
                }
            }
            Command::Deallocate(Some(name)) => {
                if self.statements.remove(name).is_none() {
                    let why = format!("prepared statement \"{name}\" does not exist");
                    return Err(fault("26000", why));
                }
                "DEALLOCATE"
            }
            _ => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
        };
        self.complete(tag);
        Ok(())
    }

    async fn isolate(&mut self, isolation: Isolation) {
        match isolation {
            Isolation::RepeatableRead => self.session.hold(),
            Isolation::ReadCommitted => self.session.release().await,
        }
    }
}
