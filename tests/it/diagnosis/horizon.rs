//! Snapshots on a real server: a session reported to keep dead rows does keep them, and no other is accused.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::watch::Watch;
use super::{bank, server};
use crate::it::board::Board;
use crate::it::server::{Database, Patience, Server, block_on, pid, until};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::{Gauge, Health};
use htap_top::dashboard::rows::Panel;
use htap_top::pg::{Client, Table};
use std::time::Duration;

/// Configuration with a snapshot target that is passed while a test waits.
fn config() -> Config {
    let mut config = Config::default();
    config.targets.snapshot_age = Duration::from_secs(4);
    config
}

fn gauge(board: &Board) -> &Gauge {
    let mut gauges = board.model.gauges.iter();
    gauges.find(|gauge| gauge.label == "snapshot").unwrap()
}

/// The first holder listed that keeps rows of ordinary tables in this database.
fn oldest(table: &Table) -> Option<usize> {
    (0..table.rows.len()).find(|row| {
        table.get(*row, "own_database").is_true()
            && table.get(*row, "kind").text() != Some("slot_catalog")
    })
}

/// The age of the oldest snapshot, as reported.
fn age_s(board: &Board) -> Option<f64> {
    let table = board.model.rows(Panel::Snapshots);
    table.get(oldest(table)?, "age_s").number()
}

/// Samples for this many seconds of the server's time.
async fn watch_for(watch: &mut Watch, seconds: u64, mut each: impl AsyncFnMut(&Board)) {
    let patience = Patience::begin();
    while patience.seconds() < seconds {
        watch.look(1_000).await;
        each(&watch.board).await;
    }
}

async fn counted(client: &Client, dead: i64) {
    let sql = "SELECT pg_stat_get_dead_tuples('pgbench_accounts'::regclass) AS n";
    until(client, "they are counted", sql, &[], |table| {
        table.first("n").int() >= Some(dead)
    })
    .await;
}

fn innocent(board: &Board) {
    assert_eq!(board.finding("old_snapshot"), None);
    assert_ne!(board.model.cause.label, "snapshot");
    let health = gauge(board).health;
    assert!(health <= Health::Good, "{:?}", gauge(board));
}

/// Rows that died before a snapshot do not wait for it: VACUUM removes them while it is held.
#[test]
fn dead_rows_older_than_the_snapshot_do_not_wait_for_it() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let mut watch = Watch::begin(&database, config()).await;
        for _ in 0..5 {
            admin
                .batch("UPDATE pgbench_accounts SET abalance = abalance + 1")
                .await
                .unwrap();
        }
        counted(&admin, 90_000).await;
        let reader = database.connect().await;
        reader
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgbench_accounts")
            .await
            .unwrap();
        watch_for(&mut watch, 12, async |board| innocent(board)).await;
        assert!(age_s(&watch.board) >= Some(10.0), "it is old all the same");
        let dead = watch.board.model.rows(Panel::Bloat).first("n_dead").int();
        assert!(dead >= Some(90_000), "{dead:?}");
        // Rows that die from now on are kept.
        admin
            .batch("UPDATE pgbench_accounts SET abalance = abalance + 1")
            .await
            .unwrap();
        // The table's name comes from a panel that is sampled less often.
        watch
            .until("the snapshot is named", |board| {
                board.finding("old_snapshot").is_some_and(|finding| {
                    finding
                        .sentence
                        .contains("≤20k dead rows kept in pgbench_accounts")
                })
            })
            .await;
        let finding = watch.board.finding("old_snapshot").unwrap();
        assert_eq!(finding.cure, "K terminates it");
    });
}

/// A report on tables that nobody writes, while another table is loaded.
#[test]
fn a_report_for_which_nothing_waits_is_not_accused() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin.batch("CREATE TABLE loaded (id int)").await.unwrap();
        let reporter = database.connect().await;
        let reporter_pid = pid(&reporter).await;
        let report = tokio::spawn(async move {
            reporter
                .batch("SELECT count(*), pg_sleep(60) FROM pgbench_accounts")
                .await
        });
        let mut watch = Watch::begin(&database, config()).await;
        watch_for(&mut watch, 12, async |board| {
            admin
                .batch("INSERT INTO loaded SELECT generate_series(1, 1000)")
                .await
                .unwrap();
            innocent(board);
        })
        .await;
        assert!(age_s(&watch.board) >= Some(10.0), "it is old all the same");
        let cancel = format!("SELECT pg_cancel_backend({reporter_pid})");
        admin.batch(&cancel).await.unwrap();
        report.await.unwrap().unwrap_err();
    });
}

/// Each statement of a READ COMMITTED transaction takes its own snapshot.
#[test]
fn short_statements_in_a_long_transaction_hold_no_old_snapshot() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let mut watch = Watch::begin(&database, config()).await;
        let reader = database.connect().await;
        let reader_pid = pid(&reader).await;
        let reading = tokio::spawn(async move {
            reader.batch("BEGIN").await?;
            loop {
                reader.batch("SELECT pg_sleep(0.05)").await?;
            }
            #[expect(unreachable_code, reason = "tells the type of the block")]
            Ok::<(), htap_top::pg::PgError>(())
        });
        let mut seen = 0;
        watch_for(&mut watch, 12, async |board| {
            let table = board.model.rows(Panel::Snapshots);
            if let Some(row) = oldest(table) {
                seen += 1;
                let age = table.get(row, "age_s").number().unwrap_or(f64::MAX);
                assert!(age < 2.0, "{table:?}");
            }
            // Nor does it precede the harmful sessions.
            let activity = board.model.rows(Panel::Activity);
            let works = |row: &usize| {
                activity.get(*row, "pid").int() == Some(reader_pid)
                    && activity.get(*row, "state").text() == Some("active")
            };
            if let Some(row) = (0..activity.rows.len()).find(works) {
                let harm = activity.get(row, "harm").number();
                assert!(harm < Some(2.0), "{activity:?}");
            }
        })
        .await;
        assert!(seen > 3, "it was not seen at work");
        let admin = database.connect().await;
        let end = format!("SELECT pg_terminate_backend({reader_pid})");
        admin.batch(&end).await.unwrap();
        reading.await.unwrap().unwrap_err();
    });
}

/// While nobody writes, a snapshot's own age is reported, not that of its xmin.
#[test]
fn while_nobody_writes_a_snapshot_ages_by_the_clock() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let mut watch = Watch::begin(&database, config()).await;
        watch_for(&mut watch, 8, async |_| {}).await;
        let reader = database.connect().await;
        reader
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1")
            .await
            .unwrap();
        watch_for(&mut watch, 6, async |_| {}).await;
        let age = age_s(&watch.board);
        assert!(age.is_some_and(|age| (4.0..=7.5).contains(&age)), "{age:?}");
    });
}

async fn replay_begins(primary: &Server, database: &Database<'_>) {
    let admin = database.connect().await;
    let sql = "SELECT xmin::text AS xmin FROM pg_replication_slots WHERE slot_name = 'standby'";
    until(&admin, "the standby reports", sql, &[], |table| {
        table.first("xmin").is_known()
    })
    .await;
    assert!(primary.major() >= 13);
}

/// A standby with hot_standby_feedback and no query reports an xmin that advances.
#[test]
fn a_healthy_standby_with_feedback_is_young() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch("SELECT pg_create_physical_replication_slot('standby')")
            .await
            .unwrap();
        let replica = server.replica();
        let standby = Client::connect(&replica.target(&database.name, "postgres"))
            .await
            .unwrap();
        for set in [
            "primary_slot_name = 'standby'",
            "hot_standby_feedback = on",
            "wal_receiver_status_interval = '5s'",
        ] {
            standby
                .batch(&format!("ALTER SYSTEM SET {set}"))
                .await
                .unwrap();
        }
        standby.batch("SELECT pg_reload_conf()").await.unwrap();
        replay_begins(&server, &database).await;
        let mut watch = Watch::begin(&database, config()).await;
        watch_for(&mut watch, 15, async |board| {
            admin
                .batch("UPDATE pgbench_accounts SET abalance = 1 WHERE aid <= 10")
                .await
                .unwrap();
            let table = board.model.rows(Panel::Snapshots);
            let slot = |row: &usize| table.get(*row, "kind").text() == Some("slot");
            if let Some(row) = oldest(table).filter(slot) {
                let age = |column| table.get(row, column).number();
                let age = age("age_s").or(age("age_least_s")).unwrap_or(0.0);
                assert!(age < 3.0, "{table:?}");
            }
        })
        .await;
        // A long query on the standby holds it.
        standby
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgbench_accounts")
            .await
            .unwrap();
        let update = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid <= 3000";
        let patience = Patience::begin();
        while watch.board.finding("old_snapshot").is_none() {
            assert!(
                patience.seconds() < 90,
                "{:?}",
                watch.board.model.rows(Panel::Snapshots)
            );
            admin.batch(update).await.unwrap();
            watch.look(1_000).await;
        }
        let finding = watch.board.finding("old_snapshot").unwrap();
        assert!(
            finding
                .sentence
                .starts_with("replication slot standby holds a"),
            "{}",
            finding.sentence
        );
    });
}

/// Rows that die in the first seconds of a snapshot are not known to have died after it until a vacuum leaves
/// them.
#[test]
fn rows_that_died_at_once_are_counted_when_a_vacuum_leaves_them() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let mut watch = Watch::begin(&database, config()).await;
        watch_for(&mut watch, 8, async |_| {}).await;
        let reader = database.connect().await;
        reader
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgbench_accounts")
            .await
            .unwrap();
        watch.look(1_000).await;
        assert!(oldest(watch.board.model.rows(Panel::Snapshots)).is_some());
        admin
            .batch("UPDATE pgbench_accounts SET abalance = abalance + 1")
            .await
            .unwrap();
        counted(&admin, 20_000).await;
        // No more rows die.
        watch_for(&mut watch, 14, async |_| {}).await;
        admin.batch("VACUUM pgbench_accounts").await.unwrap();
        let told = |board: &Board| {
            board.finding("old_snapshot").is_some_and(|finding| {
                finding
                    .sentence
                    .contains("≤20k dead rows kept in pgbench_accounts")
            })
        };
        watch.until("they are told", told).await;
        // A later snapshot keeps none of them.
        let next = database.connect().await;
        next.batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgbench_accounts")
            .await
            .unwrap();
        watch_for(&mut watch, 8, async |_| {}).await;
        reader.batch("COMMIT").await.unwrap();
        watch_for(&mut watch, 12, async |board| {
            assert_eq!(board.finding("old_snapshot"), None);
        })
        .await;
    });
}

/// The statement that ends it can be copied, whatever its name is.
#[test]
fn a_prepared_transaction_that_holds_rows_is_told_with_its_statements() {
    block_on(async {
        let server = server(&[("autovacuum", "off"), ("max_prepared_transactions", "2")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let mut watch = Watch::begin(&database, config()).await;
        watch.look(1_000).await;
        admin
            .batch("CREATE TABLE other (a int); BEGIN; INSERT INTO other VALUES (1); PREPARE TRANSACTION 'it''s\nodd'")
            .await
            .unwrap();
        for sql in [
            "UPDATE pgbench_accounts SET abalance = abalance + 1",
            "VACUUM pgbench_accounts",
        ] {
            admin.batch(sql).await.unwrap();
        }
        watch
            .until("it is told", |board| {
                board.finding("old_snapshot").is_some()
            })
            .await;
        let finding = watch.board.finding("old_snapshot").unwrap();
        let end = finding
            .evidence
            .iter()
            .find(|(name, _)| name == "to end it");
        let rollback = "ROLLBACK PREPARED U&'it''s\\+00000Aodd'";
        assert!(end.unwrap().1.contains(rollback), "{finding:?}");
        admin.batch(rollback).await.unwrap();
        watch.calm_of("old_snapshot").await;
    });
}
