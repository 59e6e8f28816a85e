//! What syncs and queries report for the dashboard.

use super::damage::{ALL, alter, files};
use super::{Store, ask, hour, number};
use crate::it::server::{Patience, block_on};
use htap_top::columnar::query::{self, query};
use htap_top::columnar::sync::{self, Sync};
use htap_top::dashboard::panels;
use htap_top::pg::Table;

/// The rows of the panel.
async fn panel(store: &Store) -> Table {
    let major = i64::from(store.database.server.major());
    let sql = panels::statement("columnar", major).unwrap();
    ask(&store.client, sql).await
}

/// Rows of the panel whose first is of this state.
async fn until_state(store: &Store, state: &str) -> Table {
    let patience = Patience::begin();
    loop {
        let rows = panel(store).await;
        if rows.first("state").text() == Some(state) {
            return rows;
        }
        assert!(patience.lasts(), "not {state}: {rows:?}");
    }
}

/// Asks as a role that only reads.
async fn read(store: &Store, sql: &str) -> Result<(), String> {
    let target = store.database.target_of("htap_olap");
    let options = query::Options {
        spill: store.folder.path().to_owned(),
        ..query::Options::default()
    };
    let answered = query(&target, sql, &options, Vec::new()).await;
    answered.map_err(|error| error.to_string())
}

fn options(store: &Store, until: Option<i64>) -> sync::Options {
    sync::Options {
        folder: Some(store.folder.path().to_owned().into()),
        until,
        ..sync::Options::default()
    }
}

#[test]
fn files_and_rounds_and_queries_are_counted() {
    block_on(async {
        let store = Store::new().await;
        assert_eq!(panel(&store).await.rows.len(), 0);
        let until = hour(&store.client, "now() - interval '2 days'").await;
        let target = store.database.target();
        let (mut running, _) = Sync::begin(&target, options(&store, Some(until)), |_| ())
            .await
            .unwrap();
        let done = running.round(|_| ()).await.unwrap();
        store.client.batch("ANALYZE mart.fact_sales").await.unwrap();
        let rows = until_state(&store, "idle").await;
        let int = |name: &str| rows.first(name).int();
        assert_eq!(int("files"), Some(done.files as i64), "{rows:?}");
        assert_eq!(int("rows"), Some(done.rows as i64));
        assert_eq!(int("wrote_files"), Some(done.written as i64));
        assert_eq!(int("damaged"), Some(0));
        assert!(
            int("pid").is_some()
                && int("free_bytes") > Some(0)
                && int("disk_bytes") > int("free_bytes")
        );
        assert!(rows.first("ratio").number() > Some(1.0), "{rows:?}");
        assert!(rows.first("took_ms").number() > Some(0.0));
        assert_eq!(
            rows.first("closed_epoch").number(),
            Some(until as f64 * 3600.0)
        );
        store.client.batch("UPDATE mart.fact_sales SET quantity = quantity + 1 WHERE order_id = (SELECT min(order_id) FROM mart.fact_sales)").await.unwrap();
        assert_eq!(panel(&store).await.first("dirty_hours").int(), Some(1));
        running.round(|_| ()).await.unwrap();
        assert_eq!(panel(&store).await.first("dirty_hours").int(), Some(0));
        drop(running);
        until_state(&store, "no sync").await;

        // A process writes at most once per second: queries within that time are counted by a later one.
        let patience = Patience::begin();
        let mut asked = 0;
        while number(&store.client, "SELECT queries FROM htap.column_use").await < 2 {
            read(&store, "SELECT sum(quantity) FROM fact_sales")
                .await
                .unwrap();
            asked += 1;
            assert!(patience.lasts(), "{asked} queries");
        }
        let used = ask(&store.client, "SELECT * FROM htap.column_use").await;
        assert!(used.first("queries").int() <= Some(asked), "{used:?}");
        assert!(
            used.first("bytes_read").int() > Some(0) && used.first("rows_read").int() > Some(0),
            "{used:?}"
        );
    });
}

#[test]
fn a_sync_that_runs_writes_anew_what_a_query_found_damaged() {
    block_on(async {
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '2 days'").await;
        let target = store.database.target();
        let (mut running, _) = Sync::begin(&target, options(&store, Some(until)), |_| ())
            .await
            .unwrap();
        running.round(|_| ()).await.unwrap();
        let whole = files(&store);
        alter(&whole[0], &whole[1]);
        let nothing = running.round(|_| ()).await.unwrap();
        assert_eq!(nothing.written, 0, "its length is right");
        let error = read(&store, ALL).await.unwrap_err();
        assert!(error.contains("another content"), "{error}");
        std::fs::remove_file(&whole[1]).unwrap();
        let error = read(&store, ALL).await.unwrap_err();
        assert!(error.contains("is missing"), "{error}");
        let rows = panel(&store).await;
        assert_eq!(rows.first("damaged").int(), Some(2), "{rows:?}");
        let damage = rows.first("damage").text().unwrap();
        assert!(
            damage.ends_with("has another content than was written"),
            "{damage}"
        );
        let done = running.round(|_| ()).await.unwrap();
        assert_eq!(done.notes.len(), 2, "{done:?}");
        assert_eq!(panel(&store).await.first("damaged").int(), Some(0));
        read(&store, ALL).await.unwrap();
        store.holds_all_rows().await;

        // What is reported of a sound file is not believed.
        let wrong =
            "SELECT htap.report_column_damage(max(file_id), 'is missing') FROM htap.column_file";
        store.client.batch(wrong).await.unwrap();
        let done = running.round(|_| ()).await.unwrap();
        assert_eq!((done.written, done.notes.len()), (0, 0), "{done:?}");
        assert_eq!(panel(&store).await.first("damaged").int(), Some(0));
    });
}

#[test]
fn why_a_sync_failed_is_kept_until_one_succeeds() {
    block_on(async {
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '2 days'").await;
        let folder = store.folder.path().join("files");
        let options = sync::Options {
            folder: Some(folder.clone().into()),
            until: Some(until),
            ..sync::Options::default()
        };
        let target = store.database.target();
        let (mut running, _) = Sync::begin(&target, options.clone(), |_| ()).await.unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        std::fs::write(&folder, "a file in place of the folder").unwrap();
        let error = running.round(|_| ()).await.unwrap_err().to_string();
        let rows = until_state(&store, "failed").await;
        assert_eq!(rows.first("error").text(), Some(error.as_str()));
        drop(running);
        let begun = Sync::begin(&target, options.clone(), |_| ()).await;
        let error = begun.err().unwrap().to_string();
        let rows = until_state(&store, "failed").await;
        assert_eq!(rows.first("error").text(), Some(error.as_str()));
        std::fs::remove_file(&folder).unwrap();
        let (mut running, _) = Sync::begin(&target, options, |_| ()).await.unwrap();
        running.round(|_| ()).await.unwrap();
        let rows = until_state(&store, "idle").await;
        assert!(!rows.first("error").is_known(), "{rows:?}");
    });
}
