//! Rules on a real server, in the situations they are for: each reports the right sentence with pid, table
//! and cure, and stops when the situation is over.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

mod bars;
mod blockers;
mod columnar;
mod costly;
mod horizon;
mod innocent;
mod names;
mod point;
mod silent;
mod standby;
mod told;
mod watch;

use super::board::Board;
use super::server::{Database, Order, Patience, Server, block_on, pid, until, until_waiting};
use htap_top::config::Config;
use htap_top::dashboard::event::Key;
use htap_top::dashboard::rows::Panel;
use htap_top::pg::{Client, Param, PgError};
use std::time::Duration;
use tokio::task::JoinHandle;
use watch::Watch;

fn server(settings: &[(&str, &str)]) -> Server {
    let settings = settings
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Server::start(&Order {
        settings: settings.collect(),
        ..Order::default()
    })
}

/// Accounts as created by pgbench, in a schema with another owner: unrelated to the shop.
async fn bank(server: &Server) -> Database<'_> {
    let database = server.database("bank").await;
    let admin = database.connect().await;
    admin
        .batch(
            "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, abalance int NOT NULL DEFAULT 0) WITH (fillfactor = 100);
             INSERT INTO pgbench_accounts SELECT g FROM generate_series(1, 20000) AS g;
             ALTER TABLE pgbench_accounts SET (autovacuum_enabled = off)",
        )
        .await
        .unwrap();
    admin
        .batch("VACUUM ANALYZE pgbench_accounts")
        .await
        .unwrap();
    database
}

/// Carries out a cure statement by statement, ignoring the prefix and suffix meant for people.
async fn cure(client: &Client, cure: &str) {
    let statements = cure
        .split("; ")
        .map(|part| part.rsplit(": ").next().unwrap_or(part));
    let is_statement = |part: &&str| part.starts_with(|c: char| c.is_ascii_uppercase());
    let mut done = 0;
    for sql in statements.filter(is_statement) {
        client.batch(sql).await.unwrap();
        done += 1;
    }
    assert!(done > 0, "no statement: {cure}");
}

/// Sessions that wait for one row, each behind the previous one.
async fn waiters(
    database: &Database<'_>,
    admin: &Client,
    n: usize,
) -> Vec<JoinHandle<Result<(), PgError>>> {
    let mut waiting = Vec::new();
    for _ in 0..n {
        let client = database.connect().await;
        let pid = pid(&client).await;
        waiting.push(tokio::spawn(async move {
            client
                .batch("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 1")
                .await
        }));
        until_waiting(admin, pid).await;
    }
    waiting
}

#[test]
fn one_root_and_twenty_waiters_are_a_tree_of_twenty_one_nodes() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let root = database.connect().await;
        let root_pid = pid(&root).await;
        root.batch("BEGIN; UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 1")
            .await
            .unwrap();
        let waiting = waiters(&database, &admin, 20).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.keys("pl").await;
        let cause = watch
            .until("the queue is named", |board| {
                board.model.cause.rule == "lock_queue"
            })
            .await;
        assert!(
            cause.sentence.contains("20 sessions wait"),
            "{}",
            cause.sentence
        );
        assert!(
            cause.sentence.contains(&format!("pid {root_pid} ")),
            "{}",
            cause.sentence
        );
        assert_eq!(cause.cure, "K terminates it");
        watch
            .until("the tree", |board| {
                board.model.rows(Panel::Locks).rows.len() == 21
            })
            .await;
        let locks = watch.board.model.rows(Panel::Locks);
        let number = |row, name| locks.get(row, name).int();
        assert_eq!(
            (number(0, "pid"), number(0, "frees")),
            (Some(root_pid), Some(20))
        );
        assert_eq!(
            locks
                .get(20, "tree")
                .text()
                .unwrap()
                .trim_start()
                .chars()
                .next(),
            Some('└')
        );
        let target = locks.get(1, "target").text().unwrap_or_default();
        assert!(target.contains("pgbench_accounts"), "{target}");
        // Ending the root releases all of them.
        admin
            .batch(&format!("SELECT pg_terminate_backend({root_pid})"))
            .await
            .unwrap();
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
        watch.calm_of("lock_queue").await;
        assert_eq!(watch.board.model.rows(Panel::Locks).rows.len(), 0);
    });
}

/// The blockers of fifty out of sixty waiters are queried; three more waiters wait for another session.
#[test]
fn who_waits_for_another_is_not_laid_to_the_root_of_most() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let other = database.connect().await;
        other
            .batch("BEGIN; SELECT pg_advisory_xact_lock(5)")
            .await
            .unwrap();
        let mut apart = Vec::new();
        for _ in 0..3 {
            let client = database.connect().await;
            let pid = pid(&client).await;
            apart.push(tokio::spawn(async move {
                client.batch("SELECT pg_advisory_xact_lock(5)").await
            }));
            until_waiting(&admin, pid).await;
        }
        let mut watch = Watch::begin(&database, Config::default()).await;
        let root = database.connect().await;
        let root_pid = pid(&root).await;
        root.batch("BEGIN; UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 1")
            .await
            .unwrap();
        let mut waiting = waiters(&database, &admin, 7).await;
        let told = |waiting: &str| {
            let sentence = format!("{waiting} up to ");
            let root = format!(" for pid {root_pid} ");
            move |board: &Board| {
                let told = &board.model.cause.sentence;
                told.starts_with(&sentence) && told.contains(&root)
            }
        };
        watch
            .until("seven of ten", told("7 of 10 waiting sessions wait"))
            .await;
        waiting.extend(waiters(&database, &admin, 53).await);
        watch
            .until(
                "as many as were asked",
                told("≥47 of 63 waiting sessions wait"),
            )
            .await;
        let gauges = &watch.board.model.gauges;
        let locks = gauges.iter().find(|gauge| gauge.label == "locks").unwrap();
        assert!(locks.value.starts_with("63 wait "), "{}", locks.value);
        drop((root, other));
        for waiter in waiting.into_iter().chain(apart) {
            waiter.await.unwrap().unwrap();
        }
        watch.calm_of("lock_queue").await;
    });
}

/// pgbench on skewed rows during one long snapshot, in a database without the shop.
#[test]
fn a_long_snapshot_is_named_with_the_table_it_hurts() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let reader = database.connect().await;
        let reader_pid = pid(&reader).await;
        reader
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgbench_accounts")
            .await
            .unwrap();
        let mut config = Config::default();
        config.targets.snapshot_age = Duration::from_secs(6);
        let mut watch = Watch::begin(&database, config).await;
        for _ in 0..4 {
            for sql in [
                "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid <= 5000",
                "VACUUM pgbench_accounts",
            ] {
                admin.batch(sql).await.unwrap();
            }
            watch.look(5_000).await;
        }
        let cause = watch
            .until("the snapshot is named", |board| {
                board.model.cause.rule == "old_snapshot"
                    && board.model.cause.sentence.contains("dead rows")
            })
            .await;
        let sentence = &cause.sentence;
        assert!(
            sentence.contains(&format!("pid {reader_pid} ")),
            "{sentence}"
        );
        assert!(
            sentence.contains("pgbench_accounts") && sentence.contains("in vain"),
            "{sentence}"
        );
        assert_eq!(cause.cure, "K terminates it");
        watch.keys("e").await;
        let why = watch.board.screen(140, 50);
        assert!(
            why.contains("transactions since") && why.contains("vacuum"),
            "{why}"
        );
        let _ = watch.board.key(Key::Esc);
        reader.batch("COMMIT").await.unwrap();
        watch.calm_of("old_snapshot").await;
        // Autovacuum of another table may hold the horizon for a moment and need another run.
        let patience = Patience::begin();
        while watch.board.finding("dead_rows").is_some() {
            assert!(patience.lasts(), "the dead rows stay");
            admin.batch("VACUUM pgbench_accounts").await.unwrap();
            watch.look(5_000).await;
        }
    });
}

#[test]
fn a_prepared_transaction_that_blocks_is_named() {
    block_on(async {
        let server = server(&[("max_prepared_transactions", "5")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch("BEGIN; UPDATE pgbench_accounts SET abalance = 1 WHERE aid = 1; PREPARE TRANSACTION 'forgotten'")
            .await
            .unwrap();
        let waiting = waiters(&database, &admin, 2).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.keys("pl").await;
        let cause = watch
            .until("it is named", |board| {
                board.model.cause.rule == "lock_queue"
            })
            .await;
        assert!(
            cause.sentence.contains("prepared transaction forgotten"),
            "{}",
            cause.sentence
        );
        assert!(cause.cure.contains("ROLLBACK PREPARED"), "{}", cause.cure);
        let locks = watch.board.model.rows(Panel::Locks);
        assert_eq!(locks.first("tree").text(), Some("prepared"));
        assert_eq!(locks.first("frees").int(), Some(2));
        admin.batch("ROLLBACK PREPARED 'forgotten'").await.unwrap();
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
        watch.calm_of("lock_queue").await;
    });
}

#[test]
fn a_plain_refresh_that_locks_readers_out_is_named() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE knob AS SELECT 0 AS seconds;
                 CREATE MATERIALIZED VIEW balances AS
                     SELECT aid, pg_sleep((SELECT seconds FROM knob))::text AS slept FROM pgbench_accounts WHERE aid = 1;
                 CREATE UNIQUE INDEX ON balances (aid);
                 UPDATE knob SET seconds = 600",
            )
            .await
            .unwrap();
        let (refresher, reader) = (database.connect().await, database.connect().await);
        let (refresher_pid, reader_pid) = (pid(&refresher).await, pid(&reader).await);
        let refresh =
            tokio::spawn(
                async move { refresher.batch("REFRESH MATERIALIZED VIEW balances").await },
            );
        let sleeps =
            "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
        until(
            &admin,
            "it refreshes",
            sleeps,
            &[Param::Int(refresher_pid)],
            |table| !table.rows.is_empty(),
        )
        .await;
        let read = tokio::spawn(async move { reader.batch("SELECT count(*) FROM balances").await });
        until_waiting(&admin, reader_pid).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        let cause = watch
            .until("the refresh is named", |board| {
                board.model.cause.rule == "plain_refresh"
            })
            .await;
        let sentence = &cause.sentence;
        assert!(
            sentence.contains(&format!("pid {refresher_pid} ")),
            "{sentence}"
        );
        assert!(
            sentence.contains("readers of public.balances"),
            "{sentence}"
        );
        assert_eq!(cause.cure, "C cancels it, r refreshes CONCURRENTLY");
        let cancel = format!("SELECT pg_cancel_backend({refresher_pid})");
        admin.batch(&cancel).await.unwrap();
        refresh.await.unwrap().unwrap_err();
        read.await.unwrap().unwrap();
        watch.calm_of("plain_refresh").await;
    });
}

#[test]
fn used_up_connections_are_told_with_their_users() {
    block_on(async {
        let server = server(&[
            ("max_connections", "16"),
            ("superuser_reserved_connections", "3"),
        ]);
        let database = bank(&server).await;
        let mut pool = Vec::new();
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(1_000).await;
        assert_eq!(watch.board.finding("connections"), None);
        let greedy = database.target().with_application_name("greedy-pool");
        for _ in 0..12 {
            if let Ok(client) = Client::connect(&greedy).await {
                pool.push(client);
            }
        }
        let cause = watch
            .until("they are told", |board| {
                board.model.cause.rule == "connections"
            })
            .await;
        assert!(
            cause.sentence.contains("by greedy-pool (postgres)"),
            "{}",
            cause.sentence
        );
        assert!(
            cause.sentence.contains("of them idle"),
            "{}",
            cause.sentence
        );
        drop(pool);
        watch.calm_of("connections").await;
    });
}

#[test]
fn checkpoints_forced_by_wal_are_told_and_reset_counters_too() {
    block_on(async {
        let server = server(&[("max_wal_size", "32MB"), ("min_wal_size", "32MB")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin.batch("CREATE TABLE filler (t text)").await.unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(5_000).await;
        for _ in 0..4 {
            // Each writes more than a quarter of max_wal_size; the explicit checkpoint stands for the one
            // that the volume would trigger.
            admin
                .batch("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000); CHECKPOINT")
                .await
                .unwrap();
            watch.look(5_000).await;
        }
        watch
            .until("they are told", |board| {
                board.finding("checkpoints").is_some()
            })
            .await;
        let finding = watch.board.finding("checkpoints").unwrap();
        assert!(
            finding.sentence.contains("max_wal_size is 32 MB"),
            "{}",
            finding.sentence
        );
        assert_eq!(
            finding.cure,
            "ALTER SYSTEM SET max_wal_size = '64MB'; SELECT pg_reload_conf()"
        );
        cure(&admin, &finding.cure.clone()).await;
        let raised = "SELECT current_setting('max_wal_size') AS s";
        until(&admin, "it is raised", raised, &[], |table| {
            table.first("s").text() == Some("64MB")
        })
        .await;
        admin.batch("SELECT pg_stat_reset()").await.unwrap();
        watch
            .until("the reset is told", |board| {
                board.finding("counters_reset").is_some()
            })
            .await;
        watch
            .until("and soon no more", |board| {
                board.finding("counters_reset").is_none()
            })
            .await;
    });
}

#[test]
fn a_view_with_now_among_its_columns_is_told() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE MATERIALIZED VIEW stamped AS SELECT aid, abalance, now() AS made FROM pgbench_accounts;
                 CREATE UNIQUE INDEX ON stamped (aid); ANALYZE stamped",
            )
            .await
            .unwrap();
        for _ in 0..2 {
            admin
                .batch("REFRESH MATERIALIZED VIEW CONCURRENTLY stamped")
                .await
                .unwrap();
        }
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch
            .until("it is told", |board| {
                board
                    .finding("now_view")
                    .is_some_and(|finding| finding.subject == "public.stamped")
            })
            .await;
        admin.batch("VACUUM stamped").await.unwrap();
        watch.calm_of("now_view").await;
    });
}

#[test]
fn a_slot_that_nobody_reads_is_told_before_its_wal_is_lost() {
    block_on(async {
        let server = server(&[
            ("max_slot_wal_keep_size", "1MB"),
            ("wal_level", "replica"),
            ("max_wal_size", "1GB"),
            ("checkpoint_timeout", "1h"),
        ]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch("SELECT pg_create_physical_replication_slot('forgotten', true); CREATE TABLE filler (t text)")
            .await
            .unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(5_000).await;
        assert_eq!(watch.board.finding("replication"), None);
        admin
            .batch("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 60000)")
            .await
            .unwrap();
        let cause = watch
            .until("it is told", |board| {
                board.model.cause.rule == "replication"
            })
            .await;
        assert!(
            cause.sentence.contains("slot forgotten") && cause.sentence.contains("nobody reads it"),
            "{}",
            cause.sentence
        );
        // A checkpoint removes WAL beyond the limit.
        admin.batch("CHECKPOINT").await.unwrap();
        let cause = watch
            .until("it is lost", |board| {
                board
                    .model
                    .cause
                    .sentence
                    .contains("slot forgotten has lost its WAL")
            })
            .await;
        cure(&admin, &cause.cure).await;
        watch.calm_of("replication").await;
    });
}

#[test]
fn parallel_workers_that_are_all_taken_are_told() {
    block_on(async {
        let server = server(&[("max_parallel_workers", "2"), ("max_worker_processes", "8")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql PARALLEL SAFE AS
                     $$BEGIN PERFORM pg_advisory_lock_shared(77); PERFORM pg_advisory_unlock_shared(77); RETURN $1; END$$;
                 SELECT pg_advisory_lock(77)",
            )
            .await
            .unwrap();
        let reporter = database.connect().await;
        let reporter_pid = pid(&reporter).await;
        let report = tokio::spawn(async move {
            reporter
                .batch(
                    "SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0;
                     SET max_parallel_workers_per_gather = 2; SELECT sum(slow(aid)) FROM pgbench_accounts",
                )
                .await
        });
        until_waiting(&admin, reporter_pid).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch
            .until("they are told", |board| {
                board
                    .finding("workers")
                    .is_some_and(|finding| finding.subject == format!("pid {reporter_pid}"))
            })
            .await;
        admin
            .batch(&format!(
                "SELECT pg_cancel_backend({reporter_pid}); SELECT pg_advisory_unlock(77)"
            ))
            .await
            .unwrap();
        report.await.unwrap().unwrap_err();
        watch.calm_of("workers").await;
    });
}

#[test]
fn a_sort_on_disk_is_told_while_its_files_are_there() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let sorter = database.connect().await;
        let sorter_pid = pid(&sorter).await;
        // Some 400 MB in an open cursor.
        sorter
            .batch(
                "SET work_mem = '64kB'; BEGIN;
                 DECLARE sorted CURSOR FOR SELECT repeat(md5(g::text), 30) FROM generate_series(1, 400000) AS g ORDER BY 1;
                 FETCH 1 FROM sorted",
            )
            .await
            .unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        let told = |board: &Board| {
            board.finding("temp_files").is_some_and(|finding| {
                finding.sentence.contains(&format!("pid {sorter_pid} "))
                    && finding.sentence.contains("MB in temporary files")
                    && finding.cure == "K terminates it"
            })
        };
        watch.until("the files are told", told).await;
        sorter.batch("COMMIT").await.unwrap();
        watch.calm_of("temp_files").await;
    });
}

/// Index reads all over a table larger than the cache take buffers from all others.
#[test]
fn a_replaced_cache_is_told_with_who_replaces_it() {
    block_on(async {
        let server = Server::start(&Order {
            major: Some(17),
            // Only the reader takes buffers from others.
            settings: vec![
                ("shared_buffers".into(), "2MB".into()),
                ("autovacuum".into(), "off".into()),
            ],
            ..Order::default()
        });
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE large (id int PRIMARY KEY, filler text);
                 INSERT INTO large SELECT g, repeat('x', 400) FROM generate_series(1, 60000) AS g",
            )
            .await
            .unwrap();
        let reader = database.connect().await;
        let reader_pid = pid(&reader).await;
        // A session reports its reads only at the end of a top-level statement.
        let reading = tokio::spawn(async move {
            let sql = "SET enable_seqscan = off; SET enable_bitmapscan = off;
                       DO $$ DECLARE k int; BEGIN FOR n IN 1..2000 LOOP
                           k := 1 + (random() * 59999)::int;
                           PERFORM length(filler) FROM large WHERE id = k;
                       END LOOP; END $$";
            loop {
                if let Err(error) = reader.batch(sql).await {
                    return error;
                }
            }
        });
        let mut watch = Watch::begin(&database, Config::default()).await;
        let told = |board: &Board| {
            board
                .finding("cache")
                .is_some_and(|finding| finding.subject == "client backend, normal")
        };
        watch.until("it is told", told).await;
        let ended = format!("SELECT pg_terminate_backend({reader_pid})");
        admin.batch(&ended).await.unwrap();
        reading.await.unwrap();
        // With so few buffers this program's queries evict some, too: many in the instant between two
        // samples.
        let over = |board: &Board| board.finding("cache").is_none();
        watch.until("it is told no more", over).await;
    });
}

/// Back-to-back refreshes leave autovacuum, which tries every second, no chance to lock the view.
#[test]
fn refreshes_that_never_let_autovacuum_in_are_told() {
    block_on(async {
        // Else the rows of CREATE are a reason for a vacuum, too, which may come before the first refresh.
        let server = server(&[
            ("autovacuum_naptime", "1s"),
            ("autovacuum_vacuum_insert_threshold", "-1"),
        ]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        // Each refresh replaces every row and holds the view's lock for over a second.
        admin
            .batch(
                "CREATE MATERIALIZED VIEW drawn AS SELECT aid, random() AS lot FROM pgbench_accounts, (SELECT pg_sleep(1)) AS slow;
                 CREATE UNIQUE INDEX ON drawn (aid); ANALYZE drawn",
            )
            .await
            .unwrap();
        let refresher = database.connect().await;
        let refresher_pid = pid(&refresher).await;
        let refreshing = tokio::spawn(async move {
            loop {
                let sql = "REFRESH MATERIALIZED VIEW CONCURRENTLY drawn";
                if let Err(error) = refresher.batch(sql).await {
                    return error;
                }
            }
        });
        let mut watch = Watch::begin(&database, Config::default()).await;
        let told = |board: &Board| {
            board.finding("starved_vacuum").is_some_and(|finding| {
                finding.subject == "public.drawn"
                    && finding.cure.contains("VACUUM public.drawn in between")
            })
        };
        watch.until("it is told", told).await;
        let vacuums =
            "SELECT autovacuum_count AS n FROM pg_stat_all_tables WHERE relname = 'drawn'";
        let vacuums = admin.query(vacuums, &[]).await.unwrap();
        assert_eq!(vacuums.first("n").int(), Some(0), "it was let in");
        let vacuum = watch.board.finding("starved_vacuum").unwrap().cure.clone();
        admin
            .batch(&format!("SELECT pg_terminate_backend({refresher_pid})"))
            .await
            .unwrap();
        refreshing.await.unwrap();
        let vacuum = vacuum.split_once(", or ").unwrap().1;
        admin
            .batch(vacuum.strip_suffix(" in between").unwrap())
            .await
            .unwrap();
        watch.calm_of("starved_vacuum").await;
    });
}

/// Six hundred million transactions would take too long, so the database's age is set.
#[test]
fn a_database_whose_ids_run_out_is_told_until_it_is_vacuumed() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let aged = format!(
            "UPDATE pg_database SET datfrozenxid = mod(txid_current() + 4294967296 - 600000000, 4294967296)::text::xid
             WHERE datname = '{}'",
            database.name
        );
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(10_000).await;
        assert_eq!(watch.board.finding("wraparound"), None);
        admin.batch(&aged).await.unwrap();
        watch
            .until("it is told", |board| board.finding("wraparound").is_some())
            .await;
        let finding = watch.board.finding("wraparound").unwrap();
        assert_eq!(finding.subject, database.name);
        assert!(
            finding.sentence.contains("are 600M old: 1.54G left"),
            "{}",
            finding.sentence
        );
        cure(&admin, &finding.cure.clone()).await;
        watch.calm_of("wraparound").await;
    });
}

/// A quiet server with a load of ordinary transactions: no sample leads to a finding.
#[test]
fn an_ordinary_load_makes_no_rule_speak() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let clients = [database.connect().await, database.connect().await];
        let mut watch = Watch::begin(&database, Config::default()).await;
        for round in 0..60 {
            for (n, client) in clients.iter().enumerate() {
                client
                    .batch(&format!(
                        "BEGIN; UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = {}; SELECT count(*) FROM pgbench_accounts; COMMIT",
                        round * 2 + n + 1
                    ))
                    .await
                    .unwrap();
            }
            watch.look(1_000).await;
            let found: Vec<_> = watch
                .board
                .model
                .findings
                .iter()
                .map(|finding| &finding.sentence)
                .collect();
            assert_eq!(found, Vec::<&String>::new(), "round {round}");
        }
    });
}
