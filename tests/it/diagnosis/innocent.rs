//! On a real server: bystanders are not accused, a session that is named takes part, and no danger is hidden
//! by a lesser one.

use super::watch::Watch;
use super::{bank, cure, server};
use crate::it::board::Board;
use crate::it::server::{block_on, pid, until};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::{Cause, Gauge, Health};
use htap_top::dashboard::output;
use htap_top::dashboard::rows::Panel;
use htap_top::pg::{Client, Param};
use std::time::Duration;

/// Returns true if the line or its evidence mentions one of these backends.
fn accuses(cause: &Cause, pids: &[i64]) -> bool {
    pids.iter().any(|pid| {
        let named = format!("pid {pid} ");
        let facts = cause.evidence.iter();
        cause.sentence.contains(&named)
            || facts
                .clone()
                .any(|(name, value)| format!("{name} ").contains(&named) || value.contains(&named))
    })
}

/// One session sleeps, one is idle, one has an open transaction that holds nothing: p99 is missed because six
/// others scan a table without an index.
#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn bystanders_are_not_named_for_a_missed_p99() {
    block_on(async {
        let server = server(&[
            ("autovacuum", "off"),
            ("max_parallel_workers_per_gather", "0"),
        ]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE noidx AS SELECT g AS id, repeat('x', 20) AS t FROM generate_series(1, 300000) AS g;
                 ANALYZE noidx; CREATE ROLE shop_app LOGIN; GRANT SELECT ON noidx TO shop_app",
            )
            .await
            .unwrap();
        let (sleeper, idle, open) = (
            database.connect().await,
            database.connect().await,
            database.connect().await,
        );
        let mut bystanders = Vec::new();
        for client in [&sleeper, &idle, &open] {
            bystanders.push(pid(client).await);
        }
        idle.batch("SELECT 1").await.unwrap();
        open.batch("BEGIN; SELECT 1").await.unwrap();
        let sleeping = tokio::spawn(async move { sleeper.batch("SELECT pg_sleep(600)").await });
        let aged = "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND clock_timestamp() - query_start > interval '8s'";
        until(
            &admin,
            "it sleeps",
            aged,
            &[Param::Int(bystanders[0])],
            |table| !table.rows.is_empty(),
        )
        .await;
        let mut config = Config::default();
        // Every point query misses this, however fast it is.
        config.targets.oltp_p99_ms = 0.000_001;
        let mut watch = Watch::begin(&database, config).await;
        for _ in 0..10 {
            watch.time_points().await;
            watch.look(1_000).await;
            let cause = &watch.board.model.cause;
            assert!(!accuses(cause, &bystanders), "{cause:?}");
        }
        let cause = watch.board.model.cause.clone();
        assert_eq!((cause.label, cause.rule), ("p99", ""), "{cause:?}");
        assert!(
            cause.sentence.contains("no backend stands out"),
            "{cause:?}"
        );
        let mut scans = Vec::new();
        for _ in 0..6 {
            let reader = database.connect_as("shop_app").await;
            scans.push(tokio::spawn(async move {
                loop {
                    if let Err(error) = reader.batch("SELECT t FROM noidx WHERE id = 7").await {
                        return error;
                    }
                }
            }));
        }
        let told = |board: &Board| {
            let cause = &board.model.cause;
            assert!(!accuses(cause, &bystanders), "{cause:?}");
            matches!(cause.rule, "processors" | "seq_scans")
                && cause.sentence.contains("shop_app")
                && cause.sentence.contains("noidx")
        };
        watch.until("the scans are told", told).await;
        // The line is based on both.
        let rules = ["processors", "seq_scans"];
        watch
            .until("both rules tell it", |board| {
                rules.iter().all(|rule| board.finding(rule).is_some())
            })
            .await;
        admin
            .batch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop_app'",
            )
            .await
            .unwrap();
        for scan in scans {
            scan.await.unwrap();
        }
        sleeping.abort();
    });
}

/// A late view, which may be an everyday event, hides neither the exhaustion of ids nor a lost slot.
#[test]
fn a_danger_is_told_before_a_late_view() {
    block_on(async {
        let server = server(&[
            ("autovacuum", "off"),
            ("track_commit_timestamp", "on"),
            ("max_slot_wal_keep_size", "1MB"),
            ("max_wal_size", "1GB"),
            ("checkpoint_timeout", "1h"),
        ]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        for sql in [
            "CREATE MATERIALIZED VIEW nightly AS SELECT count(*) FROM pgbench_accounts",
            "CREATE TABLE filler (t text)",
            "SELECT pg_create_physical_replication_slot('cdc', true)",
        ] {
            admin.batch(sql).await.unwrap();
        }
        let mut config = Config::default();
        config.targets.freshness = Some(Duration::from_millis(500));
        let mut watch = Watch::begin(&database, config).await;
        let is_late = |board: &Board| board.model.cause.rule == "late_view";
        watch.until("the view is late", is_late).await;
        let aged = format!(
            "UPDATE pg_database SET datfrozenxid = mod(txid_current() + 4294967296 - 1550000000, 4294967296)::text::xid
             WHERE datname = '{}'",
            database.name
        );
        admin.batch(&aged).await.unwrap();
        let cause = watch
            .until("the ids are told", |board| {
                board.model.cause.rule == "wraparound"
            })
            .await;
        assert!(
            cause.sentence.contains("are 1.55G old"),
            "{}",
            cause.sentence
        );
        assert_eq!(cause.more, 1, "{:?}", watch.board.model.findings);
        watch.keys("e").await;
        let why = watch.board.screen(120, 40);
        assert!(why.contains("nightly"), "{why}");
        let _ = watch.board.key(htap_top::dashboard::event::Key::Esc);
        admin
            .batch("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 60000)")
            .await
            .unwrap();
        admin.batch("CHECKPOINT").await.unwrap();
        let lost = |board: &Board| {
            let finding = board.finding("replication");
            board.model.cause.more == 2
                && finding.is_some_and(|finding| finding.sentence.contains("has lost its WAL"))
        };
        watch.until("the slot is lost", lost).await;
        cure(&admin, "VACUUM (FREEZE)").await;
        let cause = watch
            .until("then the slot is told", |board| {
                board.model.cause.rule == "replication"
            })
            .await;
        assert_eq!(cause.more, 1, "{:?}", watch.board.model.findings);
        cure(&admin, &cause.cure).await;
        watch.until("only the view is late", is_late).await;
    });
}

#[test]
fn idle_connections_of_one_application_are_told_by_its_name() {
    block_on(async {
        let server = server(&[("max_connections", "400"), ("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin.batch("CREATE ROLE app LOGIN").await.unwrap();
        let target = database
            .target_of("app")
            .with_application_name("storefront");
        let mut pool = Vec::new();
        for _ in 0..300 {
            pool.push(Client::connect(&target).await.unwrap());
        }
        let mut watch = Watch::begin(&database, Config::default()).await;
        let cause = watch
            .until("they are told", |board| {
                board.model.cause.rule == "connections"
            })
            .await;
        let named = "connections are taken, 300 by storefront (app), 300 of them idle";
        assert!(cause.sentence.contains(named), "{}", cause.sentence);
        drop(pool);
        watch
            .until("they are gone", |board| {
                board.finding("connections").is_none()
            })
            .await;
    });
}

/// By the planner's estimate it fits into memory, but it does not.
#[test]
fn a_hash_aggregate_on_disk_is_told_while_its_files_are_there() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let hasher = database.connect().await;
        let hasher_pid = pid(&hasher).await;
        let groups = "SELECT a.aid, b.aid, 'a group of its own, ' || a.aid AS t, count(*)
                      FROM pgbench_accounts AS a, (SELECT aid FROM pgbench_accounts WHERE aid <= 75) AS b GROUP BY 1, 2, 3";
        hasher
            .batch(&format!(
                "SET work_mem = '1MB'; SET enable_sort = off; SET enable_incremental_sort = off; SET enable_indexscan = off;
                 SET enable_indexonlyscan = off; SET cursor_tuple_fraction = 1; BEGIN;
                 DECLARE grouped CURSOR FOR {groups}; FETCH 1 FROM grouped"
            ))
            .await
            .unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        let told = |board: &Board| {
            board.finding("temp_files").is_some_and(|finding| {
                finding.sentence.contains(&format!("pid {hasher_pid} "))
                    && finding.sentence.contains("MB in temporary files")
                    && finding.cure == "K terminates it"
            })
        };
        watch.until("the files are told", told).await;
        hasher.batch("COMMIT").await.unwrap();
        watch.calm_of("temp_files").await;
    });
}

/// The owner of a view refreshes it at will: its usual age is not a target that somebody set.
#[test]
fn a_strangers_view_is_no_missed_target() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE ROLE wolf LOGIN; CREATE SCHEMA evil AUTHORIZATION wolf;
                 CREATE MATERIALIZED VIEW told AS SELECT count(*) FROM pgbench_accounts",
            )
            .await
            .unwrap();
        let wolf = database.connect_as("wolf").await;
        wolf.batch("CREATE MATERIALIZED VIEW evil.wolf AS SELECT now() AS n")
            .await
            .unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        for _ in 0..6 {
            watch.look(2_000).await;
            wolf.batch("REFRESH MATERIALIZED VIEW evil.wolf")
                .await
                .unwrap();
        }
        let late = |board: &Board| {
            board.finding("late_view").is_some_and(|finding| {
                finding.sentence.starts_with("evil.wolf is ")
                    && finding
                        .sentence
                        .contains("its own refreshes kept it within")
            })
        };
        let cause = watch.until("it is late by its own history", late).await;
        assert_eq!((cause.rule, cause.health), ("late_view", Health::Warning));
        assert_eq!(output::missed(&watch.board.model), Vec::<&Gauge>::new());
        let fresh = |board: &Board| {
            let gauges = board.model.gauges.iter();
            gauges.filter(|gauge| gauge.label == "fresh").count()
        };
        assert_eq!(fresh(&watch.board), 0, "nobody set a target");
        // A target that somebody set is judged, however late the other view is.
        let mut config = Config::default();
        let target = Duration::from_secs(3);
        config.freshness.insert("public.told".into(), target);
        let mut watch = Watch::begin(&database, config).await;
        for _ in 0..6 {
            watch.look(2_000).await;
            for sql in [
                "REFRESH MATERIALIZED VIEW evil.wolf",
                "REFRESH MATERIALIZED VIEW told",
            ] {
                admin.batch(sql).await.unwrap();
            }
        }
        let missed = |board: &Board| {
            let gauges = output::missed(&board.model);
            let finding = board.finding("late_view");
            gauges.iter().any(|gauge| gauge.label == "fresh")
                && finding.is_some_and(|finding| finding.sentence.starts_with("public.told is "))
        };
        watch.until("what is wanted is missed", missed).await;
        let rows = watch.board.model.rows(Panel::Views);
        let own = |row: &usize| rows.get(*row, "target_own").is_true();
        let late = (0..rows.rows.len()).filter(own);
        assert_eq!(late.count(), 1, "{rows:?}");
    });
}
