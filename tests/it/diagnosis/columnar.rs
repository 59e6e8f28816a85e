//! The column store: who syncs it, what is damaged, and how full its disk is.

use crate::it::facts::{feed, until, watch};
use crate::it::server::{block_on, shared};
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::model::Model;
use htap_top::dashboard::output::{self, prometheus};
use htap_top::pg::Client;
use htap_top::system::schema;

/// The advisory lock of a sync.
const LOCK: &str = "SELECT pg_advisory_lock(hashtext('htap.columnar'), 0)";
/// A month's file, one of a day, and two of hours; hours that have changed, one of them in no file.
const FILES: &str = "
    INSERT INTO htap.column_file (relation, from_hour, to_hour, hour_rows, rows, bytes, sha256, format, as_of)
    SELECT f.relation, f.began, f.began + make_interval(hours => f.hours), array_fill(10, ARRAY[f.hours]), 10 * f.hours, 1000 * f.hours,
           sha256(''), 1, pg_current_snapshot()
    FROM (VALUES ('mart.fact_sales', timestamptz '2026-01-01 00:00+00', 744), ('mart.fact_sales', '2026-02-01 00:00+00', 24),
                 ('mart.fact_sales', '2026-02-02 00:00+00', 1), ('mart.orders', '2026-02-02 01:00+00', 1)) AS f (relation, began, hours);
    INSERT INTO htap.column_dirty (hour) VALUES ('2026-01-05 03:00+00'), ('2026-01-05 03:00+00'), ('2026-01-05 04:00+00'),
                                                ('2026-02-02 02:00+00')";

fn finding(model: &Model, rule: &str) -> Option<(Health, String, String)> {
    let found = model.findings.iter().find(|finding| finding.rule == rule)?;
    Some((found.health, found.sentence.clone(), found.cure.clone()))
}

fn says(model: &Model, rule: &str, what: &str) -> bool {
    finding(model, rule)
        .is_some_and(|(health, sentence, _)| health == Health::Warning && sentence.contains(what))
}

fn cells(model: &Model, column: &str) -> Vec<String> {
    let table = &feed(model, "columnar").table;
    let rows = 0..table.rows.len();
    rows.map(|row| {
        let cell = table.get(row, column);
        let figure = cell.number().map(|figure| format!("{figure}"));
        figure.unwrap_or_else(|| cell.text().unwrap_or("-").to_owned())
    })
    .collect()
}

fn state(model: &Model) -> String {
    cells(model, "state").into_iter().next().unwrap_or_default()
}

/// Writes the row of a sync that repeats every second.
async fn sync(admin: &Client, set: &str) {
    let row = format!(
        "INSERT INTO htap.column_sync (fresh_s) VALUES (1) ON CONFLICT (only_row) DO NOTHING; UPDATE htap.column_sync SET {set}"
    );
    admin.batch(&row).await.unwrap();
}

#[expect(clippy::too_many_lines, reason = "one story")]
#[test]
fn a_sync_that_died_failed_or_is_behind_is_told() {
    block_on(async {
        let database = shared().database("columnar_told").await;
        let admin = database.connect().await;
        schema::create(&admin).await.unwrap();
        let mut headless = watch(&database.target_of("htap_monitor"), &[]);
        until(&mut headless, "there is no column store", |model| {
            let feed = feed(model, "columnar");
            feed.sampling.at.is_some() && feed.table.rows.is_empty()
        })
        .await;
        let begin = "SELECT htap.switch_columnar(true)";
        admin.batch(begin).await.unwrap();
        until(&mut headless, "its first sync died", |model| {
            says(
                model,
                "column_sync",
                "the first sync of the column store did not finish, and none runs",
            )
        })
        .await;
        assert_eq!(state(&headless.model), "no sync");

        admin.batch(FILES).await.unwrap();
        let ago = "synced_at = clock_timestamp() - interval '2 min', writing_since = clock_timestamp() - interval '2 min'";
        sync(&admin, ago).await;
        until(&mut headless, "nobody syncs", |model| {
            says(
                model,
                "column_sync",
                "no sync of the column store has run for 2m",
            )
        })
        .await;
        let (_, _, cure) = finding(&headless.model, "column_sync").unwrap();
        assert!(cure.contains("htap-top columnar sync --fresh 1s"), "{cure}");
        let model = &headless.model;
        assert_eq!(
            cells(model, "part"),
            ["store", "fact_sales", "user_day", "orders"]
        );
        assert_eq!(cells(model, "files"), ["4", "3", "0", "1"]);
        assert_eq!(cells(model, "rows"), ["7700", "7690", "0", "10"]);
        assert_eq!(cells(model, "dirty_hours")[0], "2");
        let closed = 1_769_997_600.0; // 2026-02-02 02:00 UTC
        assert_eq!(cells(model, "closed_epoch")[0], format!("{closed}"));

        // Somebody holds the lock who may not write the store, as anybody can.
        let nobody = database.connect_as("htap_oltp").await;
        nobody.batch(LOCK).await.unwrap();
        until(&mut headless, "that is no sync", |model| {
            state(model) == "no sync" && cells(model, "pid")[0] == "-"
        })
        .await;
        nobody
            .batch("SELECT pg_advisory_unlock_all()")
            .await
            .unwrap();

        // One that works for two minutes is not behind; one that does for six is.
        let syncer = database.connect_as("htap_refresh").await;
        syncer.batch(LOCK).await.unwrap();
        until(&mut headless, "it writes", |model| {
            state(model) == "writing" && finding(model, "column_sync").is_none()
        })
        .await;
        sync(&admin, "synced_at = clock_timestamp() - interval '6 min'").await;
        until(&mut headless, "it is behind", |model| {
            says(model, "column_sync", "is behind: its last round ended 6m")
        })
        .await;
        sync(
            &admin,
            "synced_at = clock_timestamp(), writing_since = NULL",
        )
        .await;
        until(&mut headless, "it is in time", |model| {
            state(model) == "idle" && finding(model, "column_sync").is_none()
        })
        .await;

        // The clock was set back: no age is below zero.
        sync(&admin, "synced_at = clock_timestamp() + interval '1 day'").await;
        until(&mut headless, "a time to come", |model| {
            cells(model, "last_s")[0] == "0" && finding(model, "column_sync").is_none()
        })
        .await;

        let fails = "failed_at = clock_timestamp() - interval '30 s', error = 'failed to write /x: no space left on device'";
        sync(&admin, fails).await;
        until(&mut headless, "it failed", |model| {
            let what = " ago: failed to write /x: no space left on device";
            state(model) == "failed" && says(model, "column_sync", what)
        })
        .await;
        sync(
            &admin,
            "synced_at = clock_timestamp(), error = NULL, failed_at = NULL",
        )
        .await;
        let disable = "ALTER TABLE mart.fact_sales DISABLE TRIGGER log_columns_update";
        admin.batch(disable).await.unwrap();
        until(&mut headless, "changes are not logged", |model| {
            state(model) == "not logged"
                && says(
                    model,
                    "column_sync",
                    "changes of mart.fact_sales are not logged",
                )
        })
        .await;
        admin
            .batch("SELECT htap.switch_columnar(false)")
            .await
            .unwrap();
        until(&mut headless, "there is none any more", |model| {
            feed(model, "columnar").table.rows.is_empty() && finding(model, "column_sync").is_none()
        })
        .await;
        headless.end().await;
    });
}

#[test]
fn a_sync_that_runs_once_a_day_is_not_late() {
    block_on(async {
        let database = shared().database("columnar_daily").await;
        let admin = database.connect().await;
        schema::create(&admin).await.unwrap();
        admin
            .batch("SELECT htap.switch_columnar(true)")
            .await
            .unwrap();
        sync(
            &admin,
            "fresh_s = NULL, synced_at = clock_timestamp() - interval '25 hours'",
        )
        .await;
        let mut headless = watch(&database.target_of("htap_monitor"), &[]);
        until(&mut headless, "it is seen", |model| {
            state(model) == "no sync" && finding(model, "column_sync").is_none()
        })
        .await;
        sync(
            &admin,
            "synced_at = clock_timestamp() - interval '27 hours'",
        )
        .await;
        until(&mut headless, "it is late", |model| {
            says(
                model,
                "column_sync",
                "no sync of the column store has run for 1d",
            )
        })
        .await;
        headless.end().await;
    });
}

#[test]
fn damaged_files_and_a_full_disk_are_told_until_they_are_mended() {
    block_on(async {
        let database = shared().database("columnar_damage").await;
        let admin = database.connect().await;
        schema::create(&admin).await.unwrap();
        admin
            .batch("SELECT htap.switch_columnar(true)")
            .await
            .unwrap();
        admin.batch(FILES).await.unwrap();
        sync(&admin, "synced_at = clock_timestamp() + interval '1 hour', free_bytes = 5000000000, disk_bytes = 90000000000").await;
        let mut headless = watch(&database.target_of("htap_monitor"), &[]);
        until(&mut headless, "the disk is nearly full", |model| {
            says(model, "column_disk", "left on the disk of the column files")
        })
        .await;
        sync(&admin, "free_bytes = 1000000000").await;
        until(&mut headless, "it is full", |model| {
            finding(model, "column_disk").is_some_and(|(health, ..)| health == Health::Danger)
        })
        .await;
        sync(&admin, "free_bytes = 50000000000").await;
        until(&mut headless, "it has space", |model| {
            finding(model, "column_disk").is_none()
        })
        .await;

        // A role that only reads reports it; a file that is none is not noted.
        let reader = database.connect_as("htap_olap").await;
        let report = |file: &str| {
            format!(
                "BEGIN READ WRITE; SELECT htap.report_column_damage({file}, 'is missing'); COMMIT"
            )
        };
        reader.batch(&report("999999")).await.unwrap();
        let first = "(SELECT min(file_id) FROM htap.column_file)";
        reader.batch(&report(first)).await.unwrap();
        until(&mut headless, "a file is missing", |model| {
            says(
                model,
                "column_file",
                "is missing: queries that read it are refused",
            )
        })
        .await;
        assert_eq!(cells(&headless.model, "damaged")[0], "1");
        let text = prometheus::text(
            &headless.model,
            &output::sheets(&headless.model, &["columnar".to_owned()]),
        )
        .unwrap();
        for line in [
            "htap_top_columnar_files{part=\"fact_sales\"} 3.0",
            "htap_top_columnar_damaged{part=\"store\"} 1.0",
            "htap_top_columnar_bytes{part=\"orders\"} 1000.0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}: {text}");
        }
        admin.batch("DELETE FROM htap.column_damage").await.unwrap();
        until(&mut headless, "it was written anew", |model| {
            finding(model, "column_file").is_none()
        })
        .await;
        headless.end().await;
    });
}

#[test]
fn nobody_can_make_the_counts_of_queries_fail() {
    block_on(async {
        let database = shared().database("columnar_counts").await;
        let admin = database.connect().await;
        schema::create(&admin).await.unwrap();
        admin
            .batch("SELECT htap.switch_columnar(true)")
            .await
            .unwrap();
        let reader = database.connect_as("htap_olap").await;
        for values in ["-1, 0, 0", "0, 9223372036854775807, 0", "NULL, 1, 1"] {
            let count =
                format!("BEGIN READ WRITE; SELECT htap.count_column_queries({values}); COMMIT");
            reader.batch(&count).await.unwrap();
        }
        for _ in 0..2 {
            let count = "BEGIN READ WRITE; SELECT htap.count_column_queries(1000, 1000000000000000, 7); COMMIT";
            reader.batch(count).await.unwrap();
        }
        let mut headless = watch(&database.target_of("htap_monitor"), &[]);
        until(&mut headless, "queries per second", |model| {
            cells(model, "queries")
                .first()
                .is_some_and(|cell| cell == "0")
        })
        .await;
        let told = admin
            .query("SELECT queries, rows_read FROM htap.column_use", &[])
            .await
            .unwrap();
        assert_eq!(
            (told.first("queries").int(), told.first("rows_read").int()),
            (Some(2000), Some(14))
        );
        headless.end().await;
    });
}
