//! Parts of a statement that some servers forbid: a hosted server may refuse a function that all others have.
//!
//! `/*?COLUMNS*/ part /*:INSTEAD*/` in a panel's file marks such a part. The file is valid SQL as it is; if
//! the server refuses the part, INSTEAD is sent in its place, and the columns that depend on it are n/a.

use crate::pg::{PgError, Table, Value};
use crate::text::Clean;
use std::collections::BTreeMap;

/// A part that may be forbidden.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part<'a> {
    /// Columns that are unknown without it.
    columns: &'a str,
    /// Text of the part.
    sql: &'a str,
    /// Text sent in its place.
    instead: &'a str,
}

/// A piece of a statement.
enum Piece<'a> {
    Plain(&'a str),
    Part(Part<'a>),
}

/// The parts of a statement that the server refuses, by number, with the reasons.
#[derive(Clone, Debug, Default)]
pub struct Forbidden {
    parts: BTreeMap<usize, Clean>,
    /// True if the statement fails even without any part, so the parts are not the reason.
    innocent: bool,
}

impl Forbidden {
    /// Takes in an error; returns true if the statement is worth another attempt without the parts that the
    /// error names. If it names none, all parts are left out once as an experiment.
    pub fn learn(&mut self, source: &str, error: &PgError) -> bool {
        if self.innocent {
            return false;
        }
        let parts: Vec<Part<'_>> = parts(source).collect();
        let message = error.message.as_str();
        let left: Vec<usize> = (0..parts.len())
            .filter(|number| !self.parts.contains_key(number))
            .collect();
        if left.is_empty() {
            self.parts.clear();
            self.innocent = !parts.is_empty();
            return false;
        }
        let named = |number: &&usize| {
            let part = parts.get(**number);
            part.is_some_and(|part| names(part.sql).any(|name| has_word(message, name)))
        };
        let mut refused: Vec<usize> = left.iter().filter(named).copied().collect();
        if refused.is_empty() {
            refused = left;
        }
        let why = Clean::from(error.to_string());
        self.parts
            .extend(refused.into_iter().map(|number| (number, why.clone())));
        true
    }

    /// Forgets all refusals, since the server or the role may have changed.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Returns true if the server refuses any part.
    pub fn any(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Returns the statement to send.
    pub fn write(&self, source: &str) -> String {
        let mut sql = String::with_capacity(source.len());
        let mut number = 0;
        for piece in pieces(source) {
            match piece {
                Piece::Plain(text) => sql.push_str(text),
                Piece::Part(part) => {
                    let forbidden = self.parts.contains_key(&number);
                    sql.push_str(if forbidden { part.instead } else { part.sql });
                    number += 1;
                }
            }
        }
        sql
    }

    /// Returns the columns that are not known, with the reasons.
    pub fn columns<'a>(&'a self, source: &'a str) -> impl Iterator<Item = (&'a str, &'a Clean)> {
        // Asked at every judgement: usually nothing is refused, and nothing needs to be searched.
        let source = if self.any() { source } else { "" };
        let refused = parts(source)
            .enumerate()
            .filter_map(|(number, part)| Some((part.columns, self.parts.get(&number)?)));
        refused.flat_map(|(columns, why)| columns.split_whitespace().map(move |name| (name, why)))
    }

    /// Marks the unknown columns of an answer.
    pub fn mark(&self, source: &str, table: &mut Table) {
        if !self.any() {
            return;
        }
        for (name, _) in self.columns(source) {
            if table.column(name).is_none() {
                continue;
            }
            for row in 0..table.rows.len() {
                if *table.get(row, name) == Value::Null {
                    table.set(row, name, Value::Unavailable);
                }
            }
        }
    }
}

fn parts(source: &str) -> impl Iterator<Item = Part<'_>> {
    pieces(source).filter_map(|piece| match piece {
        Piece::Part(part) => Some(part),
        Piece::Plain(_) => None,
    })
}

fn pieces(source: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = source;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((before, marked)) = rest.split_once("/*?") else {
            return Some(Piece::Plain(std::mem::take(&mut rest)));
        };
        if !before.is_empty() {
            rest = rest.get(before.len()..).unwrap_or_default();
            return Some(Piece::Plain(before));
        }
        let part = marked.split_once("*/").and_then(|(columns, more)| {
            let (sql, more) = more.split_once("/*:")?;
            let (instead, more) = more.split_once("*/")?;
            let (sql, instead) = (sql.trim(), instead.trim());
            Some((
                Part {
                    columns,
                    sql,
                    instead,
                },
                more,
            ))
        });
        match part {
            Some((part, more)) => {
                rest = more;
                Some(Piece::Part(part))
            }
            None => Some(Piece::Plain(std::mem::take(&mut rest))),
        }
    })
}

/// Returns the names of the server's functions and views in a part, as they appear in error messages.
fn names(sql: &str) -> impl Iterator<Item = &str> {
    let words = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| (word.starts_with("pg_") || word.ends_with("_xml")) && *word != "pg_catalog")
}

/// Returns true if `message` contains `name` as a whole word or, for a view, the function behind it such as
/// `pg_stat_get_archiver`.
fn has_word(message: &str, name: &str) -> bool {
    let mut words = message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.any(|word| word == name || word.replacen("_get_", "_", 1) == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::panels;
    use crate::pg::Class;

    const SQL: &str = "SELECT /*?a b*/ pg_catalog.pg_one() /*:NULL::int8*/ AS a, 2 AS c, \
                       /*?d*/ (SELECT x FROM pg_catalog.pg_two) /*:NULL*/ AS d";

    fn error(message: &str) -> PgError {
        PgError::new(Class::Statement, message)
    }

    #[test]
    fn what_an_error_names_is_left_out() {
        let mut forbidden = Forbidden::default();
        let plain = forbidden.write(SQL);
        assert!(
            plain.contains("pg_one() AS a") && !plain.contains("/*"),
            "{plain}"
        );
        assert!(forbidden.learn(SQL, &error("permission denied for function pg_one")));
        let sql = forbidden.write(SQL);
        assert!(
            sql.contains("NULL::int8 AS a") && sql.contains("pg_two"),
            "{sql}"
        );
        let columns: Vec<&str> = forbidden.columns(SQL).map(|(name, _)| name).collect();
        assert_eq!(columns, ["a", "b"]);
    }

    #[test]
    fn where_nothing_is_named_all_are_tried_and_given_back() {
        let mut forbidden = Forbidden::default();
        assert!(forbidden.learn(SQL, &error("not supported here, nor is pg_one_more")));
        assert!(!forbidden.write(SQL).contains("pg_"));
        assert!(!forbidden.learn(SQL, &error("division by zero")));
        assert!(!forbidden.any(), "they were not the reason");
        assert!(!forbidden.learn(SQL, &error("division by zero")));
        forbidden.forget();
        assert!(forbidden.learn(SQL, &error("pg_two")));
    }

    #[test]
    fn every_part_names_columns_that_its_panel_has() {
        for spec in panels::built_in().unwrap() {
            let majors: Vec<i64> = (13..=18).collect();
            for major in majors {
                let sql = panels::statement(&spec.name, major).unwrap();
                assert_eq!(
                    sql.matches("/*?").count(),
                    parts(sql).count(),
                    "{}: a mark is not closed",
                    spec.name
                );
                for part in parts(sql) {
                    assert!(!part.instead.contains("pg_stat"), "{}", spec.name);
                    for column in part.columns.split_whitespace() {
                        assert!(sql.contains(column), "{}: {column}", spec.name);
                    }
                }
            }
        }
    }
}
