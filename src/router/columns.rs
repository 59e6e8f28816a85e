//! Reads that a column store can answer: the interface to one, and which statements mean `mart.fact_sales` and nothing else.

use super::catalogue::Catalogue;
use super::names::{Call, Names};
use crate::pg::{PgError, Table};
use futures_util::future::BoxFuture;
use std::collections::BTreeSet;
use std::fmt;

/// A column store, which answers reads of `mart.fact_sales` as the primary does in a snapshot of its own.
pub trait ColumnStore: fmt::Debug + Send + Sync {
    /// Tells whether it answers the statement as PostgreSQL does; the reason if not. Reads no rows.
    fn answers<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), String>>;

    /// Answers the statement; the reason if it cannot. PostgreSQL is asked then.
    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Table, String>>;
}

/// The table, as a plan writes it, and without its schema.
const TABLE: &str = "mart.fact_sales";
const NAME: &str = "fact_sales";

/// Returns true if the statement reads `mart.fact_sales` alone, and its other names and operators are PostgreSQL's own, as
/// those of the column store are.
pub(super) async fn means_sales(
    catalogue: &Catalogue,
    scanned: &BTreeSet<String>,
    known: &Names,
) -> Result<bool, PgError> {
    let scanned = scanned.iter().all(|name| name == TABLE) && !scanned.is_empty();
    // Written in one way everywhere, it is the same table everywhere.
    let named = known.relations.iter().filter(|(_, name)| name == NAME);
    let schemas: BTreeSet<&str> = named.map(|(schema, _)| schema.as_str()).collect();
    let alone = schemas.len() == 1 && schemas.iter().all(|schema| ["", "mart"].contains(schema));
    if !scanned || !alone || !catalogue.is_plain(&known.all_operators()).await? {
        return Ok(false);
    }
    let calls: Vec<Call> = known.calls.iter().cloned().collect();
    let functions = catalogue.functions(&calls).await?;
    Ok(functions.iter().all(|function| function.built_in))
}
