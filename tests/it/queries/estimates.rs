//! Estimates of bloat compared with the truth, the size after a rewrite.
#![expect(clippy::panic, clippy::indexing_slicing, reason = "helpers of a test")]

use super::super::facts;
use super::super::server::{Database, block_on, shared};
use super::{sampling, statement};
use htap_top::dashboard::rows::Panel;
use htap_top::pg::{Client, Table};
use std::collections::{BTreeMap, BTreeSet};

const TABLES: &str = include_str!("kinds_of_tables.sql");
const INDEXES: &str = include_str!("kinds_of_indexes.sql");
/// Percentage points by which an estimate may be too high for fresh tables and indexes.
const PRISTINE: f64 = 2.0;
/// Percentage points by which it may be off after half of the rows were deleted and vacuumed.
const VACUUMED: f64 = 5.0;
/// Relations that may hide more bloat and are marked as lower bounds: wide rows of varying width, TOAST,
/// correlated or compressible values.
const TABLES_THAT_HIDE: [&str; 13] = [
    "toast10k",
    "toast10k (TOAST)",
    "toast22",
    "toast22 (TOAST)",
    "toast_mix",
    "toast_mix (TOAST)",
    "toast_of_two",
    "toast_of_two (TOAST)",
    "txt1000w",
    "txt1200_1850",
    "txt1300",
    "txt1500",
    "txt1900",
];
const INDEXES_THAT_HIDE: [&str; 4] = ["of_1000", "of_500", "of_600_to_800", "of_tens_and_status"];

/// Relations of a kind with their pages, with and without TOAST.
async fn pages(client: &Client, kind: char) -> BTreeMap<String, f64> {
    let sql = format!(
        "SELECT c.relname::text AS name,
                ((pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0)) / 8192.0)::float8 AS pages
         FROM pg_class AS c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = '{kind}'
         UNION ALL
         SELECT c.relname || ' (TOAST)', (pg_relation_size(c.reltoastrelid) / 8192.0)::float8
         FROM pg_class AS c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = '{kind}' AND c.reltoastrelid <> 0"
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

/// The estimates of the panel's statement in percent, and the relations marked as lower bounds.
struct Estimates {
    told: BTreeMap<String, f64>,
    hide: BTreeSet<String>,
    /// Relations without an estimate.
    unknown: BTreeSet<String>,
}

async fn estimates(database: &Database<'_>, name: &str) -> Estimates {
    let session = sampling(database, "postgres").await;
    let sql = format!(
        "SELECT coalesce(o.relname || ' (TOAST)', c.relname)::text AS name, e.bloat_pct, e.lower_bound
         FROM ({}) AS e JOIN pg_catalog.pg_class AS c ON c.oid = e.relid
         LEFT JOIN pg_catalog.pg_class AS o ON o.reltoastrelid = c.oid",
        statement(name, shared().major())
    );
    let table = session.query(&sql, &[]).await.unwrap();
    let mut all = Estimates {
        told: BTreeMap::new(),
        hide: BTreeSet::new(),
        unknown: BTreeSet::new(),
    };
    for row in 0..table.rows.len() {
        let name = table.get(row, "name").text().unwrap().to_owned();
        if table.get(row, "lower_bound").is_true() {
            all.hide.insert(name.clone());
        }
        match table.get(row, "bloat_pct").number() {
            Some(pct) => assert!(all.told.insert(name, pct).is_none()),
            None => assert!(all.unknown.insert(name)),
        }
    }
    all
}

/// Compares estimates with the size after a rewrite by `rewrite`.
async fn compare(
    database: &Database<'_>,
    client: &Client,
    (name, kind, rewrite): (&str, char, &str),
    least: usize,
    hide: &[&str],
) -> BTreeSet<String> {
    let new = estimates(database, name).await;
    let before = pages(client, kind).await;
    for (relation, pct) in &new.told {
        assert!(
            *pct <= PRISTINE,
            "{relation} is new and has {pct} % of bloat"
        );
    }
    assert!(
        new.told.len() >= least,
        "{} of {least} estimated",
        new.told.len()
    );
    let marked: Vec<&str> = new.hide.iter().map(String::as_str).collect();
    assert_eq!(marked, hide);

    // Deletes every other row of each page.
    let delete = "DO $$DECLARE t regclass; BEGIN
        FOR t IN SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' LOOP
            EXECUTE format('DELETE FROM %s WHERE (ctid::text::point)[1]::int %% 2 = 1', t);
        END LOOP; END$$";
    client.batch(delete).await.unwrap();
    client.batch("VACUUM").await.unwrap();
    client.batch("ANALYZE").await.unwrap();
    let now = pages(client, kind).await;
    let Estimates { told, hide, .. } = estimates(database, name).await;
    client.batch(rewrite).await.unwrap();
    let rewritten = pages(client, kind).await;
    let mut wrong = Vec::new();
    for (relation, pct) in &told {
        let truth = 100.0 * (1.0 - rewritten[relation] / now[relation]);
        let hides = hide.contains(relation);
        if pct - truth > VACUUMED || (truth - pct > VACUUMED && !hides) {
            wrong.push(format!(
                "{relation}: {pct:.1} for {truth:.1} % of {}",
                before[relation]
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    new.unknown
}

#[test]
fn the_bloat_of_tables_is_estimated_to_2_points_when_loaded_and_5_when_vacuumed() {
    block_on(async {
        let database = shared().database("table_kinds").await;
        let client = database.connect().await;
        client.batch(TABLES).await.unwrap();
        client.batch("VACUUM ANALYZE").await.unwrap();
        let what = ("bloat_estimate", 'r', "VACUUM FULL");
        let unknown = compare(&database, &client, what, 74, &TABLES_THAT_HIDE).await;
        assert_eq!(unknown, BTreeSet::new());
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
        let rewrite = "REINDEX TABLE indexed; REINDEX TABLE indexed_wide; REINDEX TABLE indexed_toast; REINDEX TABLE indexed_1000";
        let what = ("index_bloat_estimate", 'i', rewrite);
        let unknown = compare(&database, &client, what, 31, &INDEXES_THAT_HIDE).await;
        assert_eq!(
            unknown,
            BTreeSet::from(["of_some_toast", "of_toast"].map(str::to_owned))
        );
    });
}

/// Either a third of a TOAST table was deleted, or nothing, with the same statistics. No formula can
/// distinguish the cases, so the figure is true for both and marked.
#[test]
fn bloat_that_statistics_cannot_tell_is_a_lower_bound() {
    block_on(async {
        let database = shared().database("toast_bound").await;
        let client = database.connect().await;
        let word = TABLES.split_once("-- Makes a table").unwrap().0;
        client.batch(word).await.unwrap();
        // In the end 2,000 values of 2,010 and of 3,990 bytes: two chunks each, in the same number of pages.
        client
            .batch(
                "CREATE TABLE thinned (a int, b text);
                 ALTER TABLE thinned ALTER b SET STORAGE external;
                 CREATE TABLE whole (LIKE thinned INCLUDING STORAGE);
                 INSERT INTO thinned SELECT i, word(2010, i) FROM generate_series(1, 3000) AS i;
                 INSERT INTO whole SELECT i, word(3990, i) FROM generate_series(1, 2000) AS i",
            )
            .await
            .unwrap();
        client.batch("VACUUM ANALYZE thinned, whole").await.unwrap();
        client
            .batch("DELETE FROM thinned WHERE a % 3 = 0")
            .await
            .unwrap();
        client.batch("VACUUM ANALYZE thinned, whole").await.unwrap();
        let statistics = client
            .query(
                "SELECT s.avg_width, s.null_frac, s.n_distinct, t.reltuples, (t.relpages / 10.0)::int AS tens_of_pages
                 FROM pg_class AS c JOIN pg_class AS t ON t.oid = c.reltoastrelid
                 JOIN pg_stats AS s ON s.tablename = c.relname AND s.attname = 'b'
                 WHERE c.relname IN ('thinned', 'whole')",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(statistics.rows.len(), 2);
        assert_eq!(statistics.rows[0], statistics.rows[1]);
        let told = estimates(&database, "bloat_estimate").await;
        assert_eq!(told.hide.len(), 4, "{:?}", told.hide);
        // It is the same on the screen and in output for scripts.
        let panels = ["bloat", "bloat_estimate"];
        let mut headless = facts::watch(&database.target(), &panels);
        facts::until(&mut headless, "estimates", |model| {
            let table = model.rows(Panel::Bloat);
            let marked = |row| table.get(row, "bloat_pct").sign() == "\u{2265}";
            table.rows.len() == 2 && (0..2).all(marked)
        })
        .await;

        let before = pages(&client, 'r').await;
        client.batch("VACUUM FULL").await.unwrap();
        let after = pages(&client, 'r').await;
        let truth = |name: &str| 100.0 * (1.0 - after[name] / before[name]);
        assert!(truth("thinned (TOAST)") > 30.0 && truth("whole (TOAST)") < 1.0);
        for (relation, pct) in &told.told {
            assert!(*pct <= truth(relation) + PRISTINE, "{relation}: {pct}");
        }
    });
}
