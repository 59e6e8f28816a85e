//! Silent troubles on a real server: each is reported.

use super::watch::Watch;
use super::{bank, cure, server};
use crate::it::board::Board;
use crate::it::server::{Patience, block_on, pid, until, until_waiting};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::rows::Panel;

#[test]
fn a_failing_archiver_is_told_until_it_works() {
    block_on(async {
        let server = server(&[("archive_mode", "on"), ("archive_command", "false")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(5_000).await;
        admin.batch("SELECT pg_switch_wal()").await.unwrap();
        watch
            .until("it is told", |board| board.finding("archiver").is_some())
            .await;
        let finding = watch.board.finding("archiver").unwrap();
        assert_eq!(finding.health, Health::Danger);
        assert!(
            finding.sentence.contains("archive_command fails at 0000"),
            "{}",
            finding.sentence
        );
        for sql in [
            "ALTER SYSTEM SET archive_command = 'true'",
            "SELECT pg_reload_conf()",
        ] {
            admin.batch(sql).await.unwrap();
        }
        let patience = Patience::begin();
        while watch.board.finding("archiver").is_some() {
            // After three failures the archiver waits a minute, unless there is more to do.
            assert!(
                patience.seconds() < 90,
                "{:?}",
                watch.board.model.rows(Panel::Wal)
            );
            admin
                .batch("SELECT pg_logical_emit_message(true, 'x', 'y'); SELECT pg_switch_wal()")
                .await
                .unwrap();
            watch.look(5_000).await;
        }
    });
}

#[test]
fn deadlocks_are_told_while_they_happen() {
    block_on(async {
        let server = server(&[("deadlock_timeout", "50ms")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(1_000).await;
        let (a, b) = (database.connect().await, database.connect().await);
        let b_pid = pid(&b).await;
        let update = |aid: i32| {
            format!("UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = {aid}")
        };
        a.batch(&format!("BEGIN; {}", update(1))).await.unwrap();
        b.batch(&format!("BEGIN; {}", update(2))).await.unwrap();
        let (one, two) = tokio::join!(
            async {
                until_waiting(&admin, b_pid).await;
                a.batch(&update(2)).await
            },
            async { b.batch(&update(1)).await },
        );
        assert!(one.is_err() || two.is_err());
        drop((a, b));
        watch
            .until("it is told", |board| {
                board.finding("deadlocks").is_some_and(|finding| {
                    finding
                        .sentence
                        .starts_with("1 deadlock in the last minute")
                })
            })
            .await;
    });
}

#[test]
fn sequential_scans_for_want_of_an_index_are_told_with_their_reader() {
    block_on(async {
        let server = server(&[("max_parallel_workers_per_gather", "0")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE noidx AS SELECT g AS id, repeat('x', 20) AS t FROM generate_series(1, 200000) AS g;
                 ANALYZE noidx",
            )
            .await
            .unwrap();
        let target = database.target().with_application_name("shop_app");
        let reader = htap_top::pg::Client::connect(&target).await.unwrap();
        let reader_pid = pid(&reader).await;
        let reading = tokio::spawn(async move {
            loop {
                if let Err(error) = reader.batch("SELECT * FROM noidx WHERE id = 7").await {
                    return error;
                }
            }
        });
        let mut watch = Watch::begin(&database, Config::default()).await;
        let patience = Patience::begin();
        while watch
            .board
            .finding("seq_scans")
            .is_none_or(|finding| !finding.sentence.contains("shop_app"))
        {
            assert!(
                patience.lasts(),
                "{:?}",
                watch.board.model.rows(Panel::Bloat)
            );
            watch.look(5_000).await;
        }
        let finding = watch.board.finding("seq_scans").unwrap();
        assert_eq!(finding.subject, "noidx");
        assert!(
            finding.sentence.contains("sequential scans/s"),
            "{}",
            finding.sentence
        );
        admin
            .batch(&format!("SELECT pg_terminate_backend({reader_pid})"))
            .await
            .unwrap();
        reading.await.unwrap();
        watch.calm_of("seq_scans").await;
    });
}

/// A logical slot that nobody reads keeps rows of the system catalogues only.
#[test]
fn a_slot_that_keeps_the_catalogues_bloated_is_named_with_its_cure() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch("SELECT pg_create_logical_replication_slot('left', 'pgoutput')")
            .await
            .unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(5_000).await;
        let churn = "DO $$ BEGIN FOR i IN 1..400 LOOP EXECUTE 'CREATE TABLE churn (a int, b int, c int, d int, e int, f int)';
                     EXECUTE 'DROP TABLE churn'; END LOOP; END $$";
        let patience = Patience::begin();
        loop {
            admin.batch(churn).await.unwrap();
            let counted = "SELECT pg_stat_get_dead_tuples('pg_attribute'::regclass) AS n";
            until(&admin, "they are counted", counted, &[], |table| {
                table.first("n").int() >= Some(4_000)
            })
            .await;
            watch.look(5_000).await;
            admin.batch("VACUUM pg_attribute").await.unwrap();
            watch.look(5_000).await;
            let found = watch.board.finding("dead_rows");
            if found.is_some_and(|found| found.cure.contains("pg_drop_replication_slot('left')")) {
                break;
            }
            assert!(
                patience.lasts(),
                "{found:?} {:?}",
                watch.board.model.rows(Panel::Bloat)
            );
        }
        let found = watch.board.finding("dead_rows").unwrap();
        assert!(
            found.sentence.contains("pg_attribute")
                && found.sentence.contains("replication slot left"),
            "{}",
            found.sentence
        );
    });
}

/// An integer column is exhausted before its bigint sequence.
#[test]
fn a_sequence_near_the_end_of_its_column_is_told() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(1_000).await;
        assert_eq!(watch.board.finding("sequences"), None);
        // `alone` belongs to no column.
        admin
            .batch(
                "CREATE SEQUENCE alone MAXVALUE 100; SELECT setval('alone', 97);
                 CREATE SEQUENCE next; CREATE TABLE fed (id int DEFAULT nextval('next')); SELECT setval('next', 2140000000)",
            )
            .await
            .unwrap();
        watch.look(60_000).await;
        watch.look(1_000).await;
        let finding = watch.board.finding("sequences").unwrap();
        assert_eq!(
            (finding.health, finding.subject.as_str()),
            (Health::Danger, "public.next")
        );
        assert!(
            finding
                .sentence
                .contains("the most that public.fed.id (integer) holds"),
            "{}",
            finding.sentence
        );
        let all_at_once = finding
            .evidence
            .iter()
            .find(|(name, _)| name == "all at once");
        let all_at_once = all_at_once.unwrap().1.clone();
        for sql in all_at_once
            .split("; ")
            .filter(|sql| sql.starts_with("ALTER"))
        {
            admin.batch(sql).await.unwrap();
        }
        watch.look(60_000).await;
        watch.look(1_000).await;
        let finding = watch.board.finding("sequences").unwrap();
        assert_eq!(
            finding.cure,
            "ALTER SEQUENCE public.alone AS bigint NO MAXVALUE"
        );
        cure(&admin, &finding.cure.clone()).await;
        watch.look(60_000).await;
        watch.calm_of("sequences").await;
        admin
            .batch(
                "CREATE SEQUENCE \"Odd\nname\" AS int; SELECT setval('\"Odd\nname\"', 2140000000)",
            )
            .await
            .unwrap();
        watch.look(60_000).await;
        watch.look(1_000).await;
        let finding = watch.board.finding("sequences").unwrap();
        assert_eq!(
            finding.cure,
            "ALTER SEQUENCE public.U&\"Odd\\+00000Aname\" AS bigint NO MAXVALUE"
        );
        cure(&admin, &finding.cure.clone()).await;
        watch.look(60_000).await;
        watch.calm_of("sequences").await;
    });
}

/// The statements that switch autovacuum on and that vacuum at once.
fn cures(watch: &Watch) -> (String, String) {
    let finding = watch.board.finding("dead_rows").unwrap();
    let mut facts = finding.evidence.iter();
    let (_, by_hand) = facts.find(|(name, _)| name == "once, by hand").unwrap();
    (finding.cure.clone(), by_hand.clone())
}

/// A relation consists of its heap and its TOAST table: dead rows in the latter are reported, as well as
/// missing autovacuum.
#[test]
fn dead_rows_in_toast_are_told() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE docs (id int, t text) WITH (toast.autovacuum_enabled = off);
                 ALTER TABLE docs ALTER t SET STORAGE EXTERNAL;
                 INSERT INTO docs SELECT g, repeat(md5(g::text), 200) FROM generate_series(1, 4000) AS g;
                 UPDATE docs SET t = t || 'x'",
            )
            .await
            .unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        let patience = Patience::begin();
        while watch
            .board
            .finding("dead_rows")
            .is_none_or(|found| found.subject != "docs (TOAST)")
        {
            assert!(
                patience.lasts(),
                "{:?}",
                watch.board.model.rows(Panel::Bloat)
            );
            watch.look(5_000).await;
        }
        let found = watch.board.finding("dead_rows").unwrap();
        let due = found.evidence.iter().find(|(name, _)| name == "autovacuum");
        assert_eq!(due.unwrap().1, "autovacuum is off for it");
        watch.keys("pv").await;
        let vacuum = watch.board.model.rows(Panel::Vacuum);
        let row = (0..vacuum.rows.len())
            .find(|row| vacuum.get(*row, "relation").text() == Some("docs (TOAST)"))
            .unwrap();
        assert!(vacuum.get(row, "n_dead").int() > Some(10_000), "{vacuum:?}");
        assert!(vacuum.get(row, "autovacuum_off").is_true());
        let (switch, vacuum) = cures(&watch);
        assert_eq!(
            switch,
            "ALTER TABLE public.docs RESET (toast.autovacuum_enabled)"
        );
        assert_eq!(vacuum, "VACUUM public.docs");
        cure(&admin, &switch).await;
        cure(&admin, &vacuum).await;
        watch.calm_of("dead_rows").await;
        // The statement works whatever the table's name is.
        admin
            .batch(
                "CREATE SCHEMA \"Sch\"; CREATE TABLE \"Sch\".\"od\"\"d\n'name\" WITH (autovacuum_enabled = off) AS
                     SELECT g AS a FROM generate_series(1, 20000) AS g;
                 DELETE FROM \"Sch\".\"od\"\"d\n'name\"",
            )
            .await
            .unwrap();
        watch
            .until("it is told", |board| board.finding("dead_rows").is_some())
            .await;
        let (switch, vacuum) = cures(&watch);
        let name = "\"Sch\".U&\"od\"\"d\\+00000A'name\"";
        assert_eq!(
            switch,
            format!("ALTER TABLE {name} RESET (autovacuum_enabled)")
        );
        assert_eq!(vacuum, format!("VACUUM {name}"));
        cure(&admin, &switch).await;
        cure(&admin, &vacuum).await;
        watch.calm_of("dead_rows").await;
    });
}

/// An idle session outside of a transaction holds an advisory lock that others wait for.
#[test]
fn an_idle_holder_of_an_advisory_lock_is_named() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let holder = database.connect().await;
        let holder_pid = pid(&holder).await;
        holder.batch("SELECT pg_advisory_lock(5)").await.unwrap();
        let waiter = database.connect().await;
        let waiter_pid = pid(&waiter).await;
        let waiting = tokio::spawn(async move { waiter.batch("SELECT pg_advisory_lock(5)").await });
        until_waiting(&admin, waiter_pid).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        let cause = watch
            .until("it is named", |board| {
                board.model.cause.rule == "lock_queue"
                    && board
                        .model
                        .cause
                        .sentence
                        .contains(&format!("for pid {holder_pid} "))
            })
            .await;
        assert!(cause.sentence.contains("idle"), "{}", cause.sentence);
        holder.batch("SELECT pg_advisory_unlock(5)").await.unwrap();
        waiting.await.unwrap().unwrap();
        watch.calm_of("lock_queue").await;
    });
}

/// A transaction with hundreds of subtransactions among two hundred thousand others: to look up the ids of
/// its rows, readers need more pages than there are buffers.
#[test]
fn waits_for_subtransactions_are_told_with_the_transaction_to_end() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let writer = database.connect().await;
        let writer_pid = pid(&writer).await;
        let burner = database.connect().await;
        let spread = "BEGIN; DO $$ BEGIN FOR i IN 1..300 LOOP
                          BEGIN UPDATE pgbench_accounts SET abalance = 1 WHERE aid = i;
                          EXCEPTION WHEN division_by_zero THEN NULL; END;
                          PERFORM pg_sleep(0.02);
                      END LOOP; END $$";
        let burn =
            "DO $$ BEGIN FOR n IN 1..200000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$";
        let (written, burnt) = tokio::join!(writer.batch(spread), burner.batch(burn));
        written.unwrap();
        burnt.unwrap();
        for _ in 0..8 {
            let reader = database.connect().await;
            tokio::spawn(async move {
                let sql = "DO $$ DECLARE n int; BEGIN LOOP
                               SELECT count(*) INTO n FROM pgbench_accounts WHERE aid <= 300; COMMIT;
                           END LOOP; END $$";
                reader.batch(sql).await
            });
        }
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch
            .until("it is told", |board| board.finding("slru").is_some())
            .await;
        let finding = watch.board.finding("slru").unwrap();
        assert!(
            finding.sentence.contains("waiting for Subtrans buffers"),
            "{}",
            finding.sentence
        );
        let end = format!("K on pid {writer_pid}, the oldest transaction; ");
        assert!(finding.cure.starts_with(&end), "{}", finding.cure);
        let terminate = format!("SELECT pg_terminate_backend({writer_pid})");
        admin.batch(&terminate).await.unwrap();
        watch
            .until("it is over", |board| board.finding("slru").is_none())
            .await;
        let readers = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%INTO n FROM%'
                       AND pid <> pg_backend_pid()";
        admin.batch(readers).await.unwrap();
    });
}

/// Autovacuum is off for the TOAST table, for the table, or for the server.
#[test]
fn dead_rows_for_which_autovacuum_does_not_come_are_told_with_what_switches_it_on() {
    block_on(async {
        let server = server(&[("autovacuum_naptime", "1s")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE SCHEMA \"My\"; CREATE TABLE \"My\".docs (id int, t text);
                 ALTER TABLE \"My\".docs ALTER t SET STORAGE EXTERNAL;
                 ALTER TABLE \"My\".docs SET (toast.autovacuum_enabled = off);
                 INSERT INTO \"My\".docs SELECT g, repeat('x', 9000) FROM generate_series(1, 3000) AS g;
                 UPDATE \"My\".docs SET t = t || 'y'",
            )
            .await
            .unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        let told = |start: &'static str, words: &'static str| {
            move |board: &Board| {
                board.finding("dead_rows").is_some_and(|finding| {
                    finding.sentence.starts_with(start)
                        && finding
                            .sentence
                            .ends_with(&format!("never vacuumed, {words}"))
                })
            }
        };
        let toast = told("My.docs (TOAST): ", "autovacuum is off for it");
        watch.until("the TOAST is told", toast).await;
        let switch = "ALTER TABLE \"My\".docs RESET (toast.autovacuum_enabled)";
        assert_eq!(
            cures(&watch),
            (switch.to_owned(), "VACUUM \"My\".docs".to_owned())
        );
        cure(&admin, switch).await;
        admin.batch("DROP TABLE \"My\".docs").await.unwrap();
        admin
            .batch(
                "CREATE TABLE step AS SELECT 0 AS n;
                 CREATE MATERIALIZED VIEW heap WITH (autovacuum_enabled = off) AS
                     SELECT n + g AS g FROM step, generate_series(1, 20000) AS g;
                 CREATE UNIQUE INDEX ON heap (g); UPDATE step SET n = 100000;
                 REFRESH MATERIALIZED VIEW CONCURRENTLY heap",
            )
            .await
            .unwrap();
        let heap = told("heap: ", "autovacuum is off for it");
        watch.until("the view is told", heap).await;
        let switch = "ALTER MATERIALIZED VIEW public.heap RESET (autovacuum_enabled)";
        assert_eq!(cures(&watch).0, switch);
        cure(
            &admin,
            "ALTER SYSTEM SET autovacuum = off; SELECT pg_reload_conf()",
        )
        .await;
        let off = told("heap: ", "autovacuum is off on this server");
        watch.until("the server is told", off).await;
        cure(&admin, switch).await;
        cure(&admin, &cures(&watch).0).await;
        let gone = |board: &Board| board.finding("dead_rows").is_none();
        watch.until("autovacuum comes", gone).await;
    });
}
