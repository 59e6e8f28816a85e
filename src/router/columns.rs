//! Reads that a column store can answer: the interface to one, and which statements mean its tables and nothing else.

use super::catalogue::Catalogue;
use super::names::{Call, Names};
use crate::pg::{PgError, Table};
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::fmt;

/// A column store, which answers reads of `mart.fact_sales` and `mart.user_day` as the primary does in a snapshot of its own.
pub trait ColumnStore: fmt::Debug + Send + Sync {
    /// Tells whether it answers the statement as PostgreSQL does; the reason if not. Reads no rows.
    fn answers<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), String>>;

    /// Answers the statement; the reason if it cannot. PostgreSQL is asked then.
    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Table, String>>;
}

/// The tables, as a plan writes them, and without their schema. A view such as `mart.orders` is in no plan.
const TABLES: [(&str, &str); 2] = [
    ("mart.fact_sales", "fact_sales"),
    ("mart.user_day", "user_day"),
];

/// Returns true if the statement reads tables of the column store alone, and its other names and operators are PostgreSQL's own, as
/// those of the column store are.
pub(super) async fn means_held(
    catalogue: &Catalogue,
    scanned: &BTreeSet<String>,
    known: &Names,
) -> Result<bool, PgError> {
    let held = |scanned: &String| {
        let table = TABLES.iter().find(|(table, _)| table == scanned);
        table.is_some_and(|(_, bare)| is_one(known, bare))
    };
    if scanned.is_empty()
        || !scanned.iter().all(held)
        || !catalogue.is_plain(&known.all_operators()).await?
    {
        return Ok(false);
    }
    let calls: Vec<Call> = known.calls.iter().cloned().collect();
    let functions = catalogue.functions(&calls).await?;
    Ok(functions.iter().all(|function| function.built_in))
}

/// Whether a name means the same table everywhere: it is written in one way.
fn is_one(known: &Names, name: &str) -> bool {
    let named = known.relations.iter().filter(|(_, other)| other == name);
    let schemas: BTreeSet<&str> = named.map(|(schema, _)| schema.as_str()).collect();
    schemas.len() == 1 && schemas.iter().all(|schema| ["", "mart"].contains(schema))
}
