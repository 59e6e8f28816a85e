//! The estimates of bloat beside the truth: what a rewrite leaves.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "helpers of a test")]

use super::super::server::{Database, block_on, shared};
use super::{sampling, statement};
use htap_top::pg::{Client, Table};
use std::collections::BTreeMap;

const TABLES: &str = include_str!("kinds_of_tables.sql");
const INDEXES: &str = include_str!("kinds_of_indexes.sql");
/// Points by which an estimate may be above the truth on what was just loaded or built.
const PRISTINE: f64 = 2.0;
/// Points by which it may be off after half of the rows were deleted and vacuumed.
const VACUUMED: f64 = 5.0;
/// What may hide bloat, as the panel says: very different widths, TOAST, and values that go together.
const LOWER_BOUND: [&str; 5] = [
    "bits",
    "of_tens_and_status",
    "toast22",
    "toast_mix",
    "txt1000v",
];

/// Relations of a kind and their pages, TOAST included.
async fn pages(client: &Client, kind: char) -> BTreeMap<String, f64> {
    let sql = format!(
        "SELECT c.relname::text AS name,
                ((pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)) / 8192.0)::float8 AS pages
         FROM pg_class AS c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = '{kind}'"
    );
    by_name(&client.query(&sql, &[]).await.unwrap(), "pages")
}

fn by_name(table: &Table, column: &str) -> BTreeMap<String, f64> {
    (0..table.rows.len())
        .map(|row| {
            let name = table.get(row, "name").text().unwrap().to_owned();
            let figure = table.get(row, column).number();
            let figure = figure.unwrap_or_else(|| panic!("{name} has no {column}"));
            (name, figure)
        })
        .collect()
}

/// What the panel's statement estimates, in percent.
async fn estimates(database: &Database<'_>, name: &str) -> BTreeMap<String, f64> {
    let session = sampling(database, "postgres").await;
    let sql = format!(
        "SELECT c.relname::text AS name, e.bloat_pct FROM ({}) AS e JOIN pg_catalog.pg_class AS c ON c.oid = e.relid",
        statement(name, shared().major())
    );
    by_name(&session.query(&sql, &[]).await.unwrap(), "bloat_pct")
}

/// Compares estimates with what a rewrite by `rewrite` leaves.
async fn compare(
    database: &Database<'_>,
    client: &Client,
    (name, kind, rewrite): (&str, char, &str),
    least: usize,
) {
    let told = estimates(database, name).await;
    let before = pages(client, kind).await;
    for (relation, pct) in &told {
        assert!(
            *pct <= PRISTINE,
            "{relation} is new and has {pct} % of bloat"
        );
    }
    assert!(told.len() >= least, "{} of {least} estimated", told.len());

    // Every other row of each page goes.
    let delete = "DO $$DECLARE t regclass; BEGIN
        FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('DELETE FROM %s WHERE (ctid::text::point)[1]::int %% 2 = 1', t);
        END LOOP; END$$";
    client.batch(delete).await.unwrap();
    client.batch("VACUUM").await.unwrap();
    client.batch("ANALYZE").await.unwrap();
    let now = pages(client, kind).await;
    let told = estimates(database, name).await;
    client.batch(rewrite).await.unwrap();
    let rewritten = pages(client, kind).await;
    let mut wrong = Vec::new();
    for (relation, pct) in &told {
        let truth = 100.0 * (1.0 - rewritten[relation] / now[relation]);
        let hides = LOWER_BOUND.contains(&relation.as_str());
        if pct - truth > VACUUMED || (truth - pct > VACUUMED && !hides) {
            wrong.push(format!(
                "{relation}: {pct:.1} for {truth:.1} % of {}",
                before[relation]
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_bloat_of_tables_is_estimated_to_2_points_when_loaded_and_5_when_vacuumed() {
    block_on(async {
        let database = shared().database("table_kinds").await;
        let client = database.connect().await;
        client.batch(TABLES).await.unwrap();
        client.batch("VACUUM ANALYZE").await.unwrap();
        let what = ("bloat_estimate", 'r', "VACUUM FULL");
        compare(&database, &client, what, 67).await;
    });
}

#[test]
fn the_bloat_of_indexes_is_estimated_to_2_points_when_built_and_5_when_vacuumed() {
    block_on(async {
        let database = shared().database("index_kinds").await;
        let client = database.connect().await;
        let word = TABLES.split_once("-- Makes a table").unwrap().0;
        client.batch(word).await.unwrap();
        client.batch(INDEXES).await.unwrap();
        client.batch("VACUUM ANALYZE").await.unwrap();
        let what = ("index_bloat_estimate", 'i', "REINDEX TABLE indexed");
        compare(&database, &client, what, 27).await;
    });
}
