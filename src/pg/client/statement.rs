//! Statements that a session keeps prepared, and several statements in one message.
//!
//! They are PREPAREd in SQL ([`super::names`]) and EXECUTEd over the simple protocol with their values as literals. The
//! driver's own prepared statements would save the server some microseconds of parsing. But a message of the simple
//! protocol is a transaction of its own: several statements take one round trip, succeed or fail together, and leave no
//! transaction open even if the task that sent them is dropped.

use super::{Client, Param, quote_literal};
use crate::pg::error::PgError;
use crate::pg::table::{Table, Value};
use futures_util::future::join;
use futures_util::{TryStreamExt, pin_mut};
use std::fmt::Write as _;
use tokio_postgres::SimpleQueryMessage;

/// A statement of this program that is run repeatedly. Its text contains `$1`, `$2`, … only as parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement {
    /// A word; the name that the server shows begins with it.
    pub name: &'static str,
    /// The parameters' types, in SQL.
    pub types: &'static [&'static str],
    /// The text.
    pub sql: &'static str,
}

/// A prepared statement of a message, and its values.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a>(pub &'a Statement, pub &'a [Param<'a>]);

/// Result of a call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// The rows; every cell is text, as in the simple protocol.
    pub table: Table,
    /// Number of rows returned or affected.
    pub rows: u64,
}

impl Answer {
    /// Returns the cell in `row` of the column called `name`, if it is an integer.
    pub fn int(&self, row: usize, name: &str) -> Option<i64> {
        self.text(row, name)?.parse().ok()
    }

    /// Returns the cell in `row` of the column called `name`; `None` for NULL.
    pub fn text(&self, row: usize, name: &str) -> Option<&str> {
        self.table.get(row, name).text()
    }
}

impl Client {
    /// Runs a prepared statement.
    #[track_caller]
    pub fn run(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> impl Future<Output = Result<Answer, PgError>> {
        self.noting(async move {
            let mut answers = self.run_message(&[Call(statement, params)]).await?;
            Ok(answers.pop().unwrap_or_default())
        })
    }

    /// Runs all calls in one message, which is one round trip and, unless a transaction is open, one transaction. The
    /// answers come in the order of the calls. The first failure ends the message, and its error is returned.
    #[track_caller]
    pub fn run_all(
        &self,
        calls: &[Call<'_>],
    ) -> impl Future<Output = Result<Vec<Answer>, PgError>> {
        self.noting(self.run_message(calls))
    }

    async fn run_message(&self, calls: &[Call<'_>]) -> Result<Vec<Answer>, PgError> {
        let message = self.message(calls);
        let answered = if message.prepare.is_empty() {
            self.within(self.answers(&message.execute)).await
        } else {
            let prepare = self.within(self.as_it_is(&message.prepare));
            let (prepared, answered) = join(prepare, self.answers(&message.execute)).await;
            if let Err(error) = prepared {
                self.forget_names(texts(calls));
                return Err(error);
            }
            answered
        };
        match answered {
            // Nothing was done: it was rejected before it ran, or what ran before it was undone.
            Err(error) if self.is_name_at_fault(&error, texts(calls)) => {
                self.within(self.answers(&plain(calls))).await
            }
            other => other,
        }
    }

    fn message(&self, calls: &[Call<'_>]) -> Message {
        let named = self.with_names(|names| {
            let mut message = Message::default();
            for Call(statement, params) in calls {
                let name = names.name(statement.sql, statement.name);
                if name.is_new {
                    statement.prepare(&name.text, &mut message.prepare);
                }
                separate(&mut message.execute);
                execute(&name.text, params, &mut message.execute);
            }
            message
        });
        named.unwrap_or_else(|| Message {
            execute: plain(calls),
            ..Message::default()
        })
    }

    async fn answers(&self, sql: &str) -> Result<Vec<Answer>, PgError> {
        let failed = |error| self.failed(error);
        let stream = self.inner().simple_query_raw(sql).await.map_err(failed)?;
        pin_mut!(stream);
        let mut answers = Vec::new();
        let mut table = Table::default();
        while let Some(message) = stream.try_next().await.map_err(failed)? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    table.columns = columns.iter().map(|column| column.name().into()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    let mut cells = Vec::with_capacity(row.len());
                    for position in 0..row.len() {
                        cells.push(
                            row.try_get(position)
                                .map_err(failed)?
                                .map_or(Value::Null, Value::from),
                        );
                    }
                    table.rows.push(cells);
                }
                SimpleQueryMessage::CommandComplete(rows) => {
                    let table = std::mem::take(&mut table);
                    answers.push(Answer { table, rows });
                }
                _ => {}
            }
        }
        Ok(answers)
    }
}

#[derive(Default)]
struct Message {
    prepare: String,
    execute: String,
}

impl Statement {
    fn prepare(&self, name: &str, out: &mut String) {
        let _ = write!(out, "PREPARE {name}");
        if !self.types.is_empty() {
            let _ = write!(out, " ({})", self.types.join(", "));
        }
        let _ = write!(out, " AS {}; ", self.sql);
    }

    /// Writes the text with the values in place of the parameters.
    fn with_values(&self, params: &[Param<'_>], out: &mut String) {
        let mut parts = self.sql.split('$');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let digits = part.bytes().take_while(u8::is_ascii_digit).count();
            let (number, rest) = part.split_at(digits);
            let position = number.parse().unwrap_or(0_usize).wrapping_sub(1);
            match (params.get(position), self.types.get(position)) {
                (Some(param), Some(of)) => {
                    out.push('(');
                    literal(param, out);
                    let _ = write!(out, ")::{of}");
                }
                _ => {
                    let _ = write!(out, "${number}");
                }
            }
            out.push_str(rest);
        }
    }
}

/// Texts of the statements.
fn texts<'a>(calls: &'a [Call<'_>]) -> impl Iterator<Item = &'a str> {
    calls.iter().map(|Call(statement, _)| statement.sql)
}

/// Writes the calls without names.
fn plain(calls: &[Call<'_>]) -> String {
    let mut sql = String::new();
    for Call(statement, params) in calls {
        separate(&mut sql);
        statement.with_values(params, &mut sql);
    }
    sql
}

/// Writes the separator between statements.
fn separate(sql: &mut String) {
    if !sql.is_empty() {
        sql.push_str("; ");
    }
}

fn execute(name: &str, params: &[Param<'_>], out: &mut String) {
    let _ = write!(out, "EXECUTE {name}");
    for (position, param) in params.iter().enumerate() {
        out.push_str(if position == 0 { "(" } else { ", " });
        literal(param, out);
    }
    if !params.is_empty() {
        out.push(')');
    }
}

/// Writes a value as an SQL literal; its type follows from the context.
fn literal(param: &Param<'_>, out: &mut String) {
    match param {
        Param::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Param::Float(value) => {
            let _ = write!(out, "'{value}'");
        }
        Param::Text(text) | Param::MaybeText(Some(text)) => out.push_str(&quote_literal(text)),
        Param::MaybeText(None) => out.push_str("NULL"),
        Param::Ints(values) => {
            out.push_str("'{");
            for (position, value) in values.iter().enumerate() {
                let comma = if position == 0 { "" } else { "," };
                let _ = write!(out, "{comma}{value}");
            }
            out.push_str("}'");
        }
        Param::Texts(texts) => texts_literal(texts.iter().map(|text| Some(text.as_str())), out),
        Param::MaybeTexts(texts) => texts_literal(texts.iter().copied(), out),
    }
}

fn texts_literal<'a>(texts: impl Iterator<Item = Option<&'a str>>, out: &mut String) {
    out.push_str("ARRAY[");
    for (position, text) in texts.enumerate() {
        if position > 0 {
            out.push(',');
        }
        out.push_str(&text.map_or_else(|| "NULL".to_owned(), quote_literal));
    }
    out.push_str("]::text[]");
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: Statement = Statement {
        name: "look",
        types: &["bigint", "bigint[]", "text", "text[]"],
        sql: "SELECT $1, $2 || $1, $3, $4, '{}'",
    };

    #[test]
    fn values_become_literals() {
        let texts = ["a'b".to_owned(), "c\\".to_owned()];
        let params = [
            Param::Int(-7),
            Param::Ints(&[1, -2]),
            Param::Text("it's"),
            Param::Texts(&texts),
        ];
        let mut out = String::new();
        execute("look_1", &params, &mut out);
        assert_eq!(
            out,
            "EXECUTE look_1(-7, '{1,-2}', 'it''s', ARRAY['a''b', E'c\\\\']::text[])"
        );
        out.clear();
        STATEMENT.with_values(&params, &mut out);
        assert!(
            out.starts_with("SELECT (-7)::bigint, ('{1,-2}')::bigint[] || (-7)::bigint, ('it''s')::text, (ARRAY["),
            "{out}"
        );
        assert!(out.ends_with("]::text[])::text[], '{}'"), "{out}");
        out.clear();
        execute("none", &[], &mut out);
        assert_eq!(out, "EXECUTE none");
        out.clear();
        let nothing = [
            Param::MaybeText(None),
            Param::Ints(&[]),
            Param::MaybeTexts(&[None]),
        ];
        execute("x", &nothing, &mut out);
        assert_eq!(out, "EXECUTE x(NULL, '{}', ARRAY[NULL]::text[])");
    }

    #[test]
    fn a_statement_is_prepared_with_its_types() {
        let mut out = String::new();
        STATEMENT.prepare("look_1", &mut out);
        assert!(
            out.starts_with("PREPARE look_1 (bigint, bigint[], text, text[]) AS SELECT $1"),
            "{out}"
        );
    }
}
