//! Exact measurement of a table or index by the extension pgstattuple, which reads every page of it.

use super::client::session::Settings;
use super::client::{Client, Param, quote_ident};
use super::conninfo::Target;
use super::error::{Class, PgError};
use super::table::Table;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Result of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// A table or materialized view. All figures but `rows` include its TOAST table.
    Table {
        /// Size in bytes.
        bytes: i64,
        /// Number of live rows.
        rows: i64,
        /// Number of dead rows, including those that vacuum cannot remove yet.
        dead_rows: i64,
        /// Size of the dead rows in bytes.
        dead_bytes: i64,
        /// Free space in bytes.
        free_bytes: i64,
    },
    /// A B-tree index.
    Index {
        /// Size in bytes.
        bytes: i64,
        /// Average fill of its leaf pages, percent; 90 right after it was built.
        density_pct: f64,
        /// Share of leaf pages that are out of order in the file, percent.
        fragmentation_pct: f64,
        /// Number of empty or deleted pages.
        unused_pages: i64,
    },
}

/// Statement timeout; reading a large table takes long.
const STATEMENT: Duration = Duration::from_secs(600);

/// Opens a session for measuring.
pub async fn open(target: &Target) -> Result<Client, PgError> {
    // The session leaves the queue for a lock soon.
    let settings = Settings::of_monitor(STATEMENT).with("lock_timeout", "1s");
    Client::open_to_watch(target, &settings).await
}

/// Measures the relation with this OID.
pub async fn measure(client: &Client, relid: i64) -> Result<Measured, PgError> {
    let about = "SELECT c.relkind::pg_catalog.text AS kind, a.amname::pg_catalog.text AS method, \
                 (SELECT n.nspname FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n \
                  ON n.oid = e.extnamespace WHERE e.extname = 'pgstattuple')::pg_catalog.text AS schema \
                 FROM pg_catalog.pg_class AS c LEFT JOIN pg_catalog.pg_am AS a ON a.oid = c.relam \
                 WHERE c.oid = $1::pg_catalog.int8::pg_catalog.oid";
    let refuse = |why: &str| Err(PgError::new(Class::Statement, why));
    let about = client.query(about, &[Param::Int(relid)]).await?;
    let Some(kind) = about.first("kind").text() else {
        return refuse("the relation is gone");
    };
    let Some(schema) = about.first("schema").raw() else {
        return refuse("it needs the extension pgstattuple: CREATE EXTENSION pgstattuple");
    };
    let is_index = kind == "i";
    if is_index && about.first("method").text() != Some("btree") {
        return refuse("only B-tree indexes can be measured");
    }
    let schema = quote_ident(schema);
    let sql = if is_index {
        format!(
            "SELECT index_size, avg_leaf_density, leaf_fragmentation, empty_pages + deleted_pages AS unused_pages \
             FROM {schema}.pgstatindex($1::pg_catalog.int8::pg_catalog.oid::pg_catalog.regclass)"
        )
    } else {
        // A table consists of its heap and its TOAST table; TOAST chunks do not count as rows.
        format!(
            "SELECT pg_catalog.sum(s.table_len)::pg_catalog.int8 AS table_len, \
             pg_catalog.sum(s.tuple_count) FILTER (WHERE r.heap)::pg_catalog.int8 AS tuple_count, \
             pg_catalog.sum(s.dead_tuple_count)::pg_catalog.int8 AS dead_tuple_count, \
             pg_catalog.sum(s.dead_tuple_len)::pg_catalog.int8 AS dead_tuple_len, \
             pg_catalog.sum(s.free_space)::pg_catalog.int8 AS free_space \
             FROM pg_catalog.pg_class AS c \
             CROSS JOIN LATERAL (VALUES (c.oid, true), (c.reltoastrelid, false)) AS r (relid, heap) \
             CROSS JOIN LATERAL {schema}.pgstattuple(r.relid::pg_catalog.regclass) AS s \
             WHERE c.oid = $1::pg_catalog.int8::pg_catalog.oid AND r.relid <> 0"
        )
    };
    let told = client.query(&sql, &[Param::Int(relid)]).await?;
    read(&told, is_index).ok_or_else(|| PgError::new(Class::Statement, "it returned no figures"))
}

fn read(told: &Table, is_index: bool) -> Option<Measured> {
    let count = |name| told.first(name).int();
    // These are NaN for an index without leaf pages.
    let percent = |name| told.first(name).number().filter(|share| share.is_finite());
    Some(if is_index {
        Measured::Index {
            bytes: count("index_size")?,
            density_pct: percent("avg_leaf_density").unwrap_or(0.0),
            fragmentation_pct: percent("leaf_fragmentation").unwrap_or(0.0),
            unused_pages: count("unused_pages")?,
        }
    } else {
        Measured::Table {
            bytes: count("table_len")?,
            rows: count("tuple_count")?,
            dead_rows: count("dead_tuple_count")?,
            dead_bytes: count("dead_tuple_len")?,
            free_bytes: count("free_space")?,
        }
    })
}
