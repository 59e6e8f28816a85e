//! Prepared statements, and statements with their values.

use super::command::Command;
use super::fault::{Fault, fault};
use super::values;
use crate::columnar::error::ColumnarError;
use crate::columnar::session::Session;
use crate::columnar::store::Running;
use crate::pg::PgError;
use crate::system::archive::unescaped;
use datafusion::arrow::array::RecordBatch;
use datafusion::sql::sqlparser::ast::{Expr, Statement as Ast, Value, visit_expressions_mut};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A column of an answer.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    /// OID of its type.
    pub(super) oid: u32,
}

/// A statement, and what PostgreSQL says of it.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) command: Command,
    /// OIDs of its parameters' types.
    pub(super) params: Vec<u32>,
    pub(super) columns: Vec<Column>,
    /// Bytes of its message.
    pub(super) bytes: usize,
}

impl Prepared {
    /// Whether it answers with rows, perhaps without columns.
    pub(super) fn returns_rows(&self) -> bool {
        matches!(
            self.command,
            Command::Select(_, _) | Command::Constants(_) | Command::Show(_)
        )
    }
}

/// Where the rows come from.
pub(super) enum Source {
    /// It was not run yet.
    Ready,
    Rows {
        rows: Box<Running>,
        /// A batch of which rows are left, from this one on.
        batch: Option<(RecordBatch, usize)>,
    },
    Texts(Vec<Vec<Option<String>>>),
    Done,
}

/// A statement with its values.
pub(super) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    /// Its values, by the numbers of the parameters.
    values: Vec<Expr>,
    /// For each column, whether it is sent in the binary format.
    pub(super) formats: Vec<bool>,
    pub(super) source: Source,
    /// Rows that were sent.
    pub(super) sent: usize,
    /// Bytes of its message.
    pub(super) bytes: usize,
}

/// For each of so many values, whether it is binary: one format for each, one for all, or none, which means text.
fn formats(codes: &[i16], count: usize) -> Result<Vec<bool>, Fault> {
    let wrong = || {
        fault(
            "08P01",
            "a message has another number of formats than of values",
        )
    };
    let of = |code: &i16| match code {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(fault("22023", format!("unsupported format code: {code}"))),
    };
    match codes {
        [] => Ok(vec![false; count]),
        [all] => Ok(vec![of(all)?; count]),
        each if each.len() == count => each.iter().map(of).collect(),
        _ => Err(wrong()),
    }
}

impl Portal {
    /// A statement without values, and the formats of its columns.
    pub(super) fn new(prepared: Arc<Prepared>, results: &[i16]) -> Result<Self, Fault> {
        Ok(Self {
            formats: formats(results, prepared.columns.len())?,
            prepared,
            values: Vec::new(),
            source: Source::Ready,
            sent: 0,
            bytes: 0,
        })
    }

    /// Takes the values of the parameters.
    pub(super) fn bind(&mut self, values: &[Option<Vec<u8>>], codes: &[i16]) -> Result<(), Fault> {
        let params = &self.prepared.params;
        if values.len() != params.len() {
            return Err(fault(
                "08P01",
                format!(
                    "bind message supplies {} parameters, but the statement requires {}",
                    values.len(),
                    params.len()
                ),
            ));
        }
        let formats = formats(codes, values.len())?;
        let values = values.iter().zip(params).zip(formats);
        let values =
            values.map(|((value, oid), binary)| values::parameter(value.as_deref(), *oid, binary));
        self.values = values.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The SELECT, with its values in place of the parameters.
    pub(super) fn statement(&self) -> Option<Ast> {
        let Command::Select(ast, _) = &self.prepared.command else {
            return None;
        };
        let mut ast = (**ast).clone();
        let _ = visit_expressions_mut(&mut ast, |expr| {
            if let Expr::Value(value) = expr
                && let Value::Placeholder(name) = &value.value
                && let Some(number) = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok())
                && let Some(value) = number.checked_sub(1).and_then(|at| self.values.get(at))
            {
                *expr = value.clone();
            }
            ControlFlow::<()>::Continue(())
        });
        Some(ast)
    }
}

/// Has PostgreSQL answer a SELECT of constants and facts, which has one row.
pub(super) async fn constants(
    session: &mut Session,
    sql: &str,
) -> Result<Vec<Option<String>>, Fault> {
    let client = session.lend().await?;
    let mut copied = Vec::new();
    let copy = format!("COPY ({sql}) TO STDOUT");
    let done = client.copy_out::<PgError>(&copy, |piece| {
        copied.extend_from_slice(piece);
        Ok(())
    });
    done.await.map_err(ColumnarError::server("read facts"))?;
    session.give_back(client);
    let row = copied.strip_suffix(b"\n").unwrap_or(&copied);
    let cell = |cell: &[u8]| match cell {
        b"\\N" => None,
        cell => Some(String::from_utf8_lossy(&unescaped(cell)).into_owned()),
    };
    Ok(row.split(|byte| *byte == b'\t').map(cell).collect())
}
