//! The column store as the router asks it.

use super::error::ColumnarError;
use super::options::Options;
use super::store::Columnar;
use crate::pg::{Client, PgError, Settings, Table, Target, Value, numbers, owners};
use crate::router::ColumnStore;
use futures_util::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

impl ColumnStore for Columnar {
    fn answers<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let planned = self.query(&format!("EXPLAIN {sql}")).await;
            planned.map(|_| ()).map_err(|error| error.to_string())
        })
    }

    fn ask<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Table, String>> {
        Box::pin(async move { table(self, sql).await.map_err(|error| error.to_string()) })
    }
}

async fn table(store: &Columnar, sql: &str) -> Result<Table, ColumnarError> {
    let mut answer = store.query(sql).await?;
    let names = answer.schema().fields().iter();
    let columns: Vec<Box<str>> = names.map(|field| field.name().as_str().into()).collect();
    let mut rows = Vec::new();
    while let Some(batch) = answer.next().await? {
        for row in 0..batch.num_rows() {
            let cell = |column| {
                let text = answer.text(column, row)?;
                Ok(text.map_or(Value::Null, |text| Value::from(text.as_str())))
            };
            let cells: Result<Vec<Value>, ColumnarError> =
                batch.columns().iter().map(cell).collect();
            rows.push(cells?);
        }
    }
    let mut table = Table {
        columns: columns.into(),
        rows,
    };
    // As those of a text that PostgreSQL answers.
    numbers(&mut table);
    Ok(table)
}

const STATEMENT: Duration = Duration::from_secs(2);

/// Returns the column store of a database if one was begun there, in a shop whose owners are trusted.
pub(crate) async fn begun(target: &Target) -> Result<Option<Arc<dyn ColumnStore>>, PgError> {
    let client = Client::open(target, &Settings::of_monitor(STATEMENT)).await?;
    if owners::unresolved(&client, "htap.column_store")
        .await?
        .is_some()
    {
        return Ok(None);
    }
    owners::trust_the_shop(&client).await?;
    let begun = "SELECT EXISTS (SELECT FROM htap.column_store) AS begun";
    if !client.query(begun, &[]).await?.first("begun").is_true() {
        return Ok(None);
    }
    let store = Columnar::open(target, &Options::default());
    Ok(store
        .ok()
        .map(|store| Arc::new(store) as Arc<dyn ColumnStore>))
}
