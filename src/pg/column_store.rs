//! `htap-top columnar serve`: it speaks PostgreSQL's protocol, but answers SELECTs of one table and nothing else. So its session
//! asks for no facts and knows no settings but two.

use super::client::Client;
use super::client::session::Settings;
use super::client::texts::{Keep, weight};
use super::conninfo::Target;
use super::error::{Class, PgError};
use super::table::{Table, Value};
use crate::text::Clean;
use futures_util::future::join;
use futures_util::{TryStreamExt, pin_mut};
use std::time::Duration;
use tokio::time::timeout;
use tokio_postgres::types::{ToSql, Type};

/// Opens a session in UTC whose statements end after `longest`.
///
/// # Errors
/// Those of [`Client::open`]; [`Class::Configuration`] with a cure if only the user can help.
pub(super) async fn open(target: &Target, longest: Duration) -> Result<Client, PgError> {
    let opened = Client::open_to_watch(target, &Settings::default()).await;
    let client = opened.map_err(|error| explained(error, target))?;
    if !client.is_column_store() {
        let why = format!(
            "{} is PostgreSQL, not the column store: --columnar needs the host and port of `htap-top columnar serve` (usually \
             127.0.0.1:5439)",
            target.host_display(),
        );
        client.close().await;
        return Err(PgError::new(Class::Configuration, why));
    }
    let longest = format!("SET statement_timeout = '{}ms'", longest.as_millis());
    let set = join(client.batch("SET TimeZone = 'UTC'"), client.batch(&longest));
    let deadline = target.connect_deadline();
    let (zone, limit) = timeout(deadline, set)
        .await
        .map_err(|_| PgError::deadline(deadline.as_secs_f64()))?;
    zone.and(limit).map_err(|error| explained(error, target))?;
    Ok(client)
}

/// Returns the error with what failed and its cure.
fn explained(error: PgError, target: &Target) -> PgError {
    let (user, place) = (Clean::new(target.user()), target.host_display());
    let said = error.message.as_str();
    let cause = said.strip_prefix(&format!("{place}: ")).unwrap_or(said);
    let why = match (error.code(), error.class) {
        ("", Class::BackOff | Class::Reconnect) => {
            format!("no column store at {place}: start `htap-top columnar serve` ({cause})")
        }
        ("", _) => format!("the column store at {place}: {cause}"),
        ("08006", _) => format!("the column store at {place} cannot reach PostgreSQL: {said}"),
        ("28P01", _) => format!(
            "the column store at {place} refuses user {user} or the password: give the role's password in PostgreSQL by \
             PGPASSWORD or ~/.pgpass"
        ),
        ("0A000", _) => {
            format!("the column store at {place}: {said}: leave it out of --columnar")
        }
        _ => return error,
    };
    let class = match error.code() {
        "0A000" => Class::Configuration,
        _ => error.class,
    };
    PgError {
        sqlstate: error.sqlstate,
        ..PgError::new(class, why)
    }
}

/// Runs a SELECT. Rows beyond the limits of a panel are dropped.
///
/// # Errors
/// Those of the column store and the connection; the rows take more than a panel may.
pub(super) async fn ask(client: &Client, sql: &str) -> Result<Table, PgError> {
    let failed = |error| client.failed(error);
    let keep = Keep::OF_A_PANEL;
    let none: [(&(dyn ToSql + Sync), Type); 0] = [];
    let rows = client.inner().query_typed_raw(sql, none).await;
    let rows = rows.map_err(failed)?;
    pin_mut!(rows);
    let mut table = Table::default();
    let mut kept = 0;
    while let Some(row) = rows.try_next().await.map_err(failed)? {
        if table.columns.is_empty() {
            let columns = row.columns().iter();
            table.columns = columns.map(|column| column.name().into()).collect();
        }
        if !keep.has_room(&table, kept) {
            continue;
        }
        let cells = (0..row.len()).map(|position| row.try_get::<_, Value>(position));
        let cells: Vec<Value> = cells.collect::<Result<_, _>>().map_err(failed)?;
        kept += weight(&cells);
        table.rows.push(cells);
    }
    keep.checked(table, kept)
}
