//! Blockers on a real server: the right one is named, and the first cure is the one that loses least.

use super::watch::Watch;
use super::{bank, server, waiters};
use crate::it::board::Board;
use crate::it::server::{Database, Order, Server, block_on, pid, until, until_waiting};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Cause;
use htap_top::dashboard::rows::Panel;
use htap_top::pg::{Client, Param, PgError, Value};
use tokio::task::JoinHandle;

/// Starts a session whose statement waits; returns it with its pid.
pub async fn waits(
    database: &Database<'_>,
    admin: &Client,
    sql: &str,
) -> (i64, JoinHandle<Result<(), PgError>>) {
    let client = database.connect().await;
    let pid = pid(&client).await;
    let sql = sql.to_owned();
    let waiting = tokio::spawn(async move { client.batch(&sql).await });
    until_waiting(admin, pid).await;
    (pid, waiting)
}

/// A report that reads the accounts forever.
async fn report(database: &Database<'_>, admin: &Client) -> (i64, JoinHandle<Result<(), PgError>>) {
    let client = database.connect().await;
    let pid = pid(&client).await;
    let sql = "SELECT abalance, pg_sleep(600) FROM pgbench_accounts WHERE aid = 7";
    let running = tokio::spawn(async move { client.batch(sql).await });
    let sleeps = "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
    until(admin, "it reads", sleeps, &[Param::Int(pid)], |table| {
        !table.rows.is_empty()
    })
    .await;
    (pid, running)
}

pub fn queued(n: usize) -> impl Fn(&Board) -> bool {
    let plural = if n == 1 {
        "1 session waits"
    } else {
        "sessions wait"
    };
    let told = if n == 1 {
        plural.to_owned()
    } else {
        format!("{n} {plural}")
    };
    move |board| {
        board
            .finding("lock_queue")
            .is_some_and(|finding| finding.sentence.starts_with(&told))
    }
}

pub fn evidence(cause: &Cause) -> String {
    let facts = cause.evidence.iter();
    let lines: Vec<String> = facts
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    lines.join("\n")
}

/// `innocent` is the oldest, `far` is in another database, `reader` holds a lock that blocks nobody: only
/// `guilty` blocks the waiters.
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn the_guilty_one_is_named(major: Option<u16>) {
    let server = Server::start(&Order {
        major,
        settings: vec![("max_prepared_transactions".into(), "10".into())],
        ..Order::default()
    });
    let database = bank(&server).await;
    let elsewhere = server.database("elsewhere").await;
    let admin = database.connect().await;
    let prepare = async |client: &Client, sql: &str, gid: &str| {
        let sql = format!(
            "BEGIN; {sql}; PREPARE TRANSACTION '{}'",
            gid.replace('\'', "''")
        );
        client.batch(&sql).await.unwrap();
    };
    admin.batch("CREATE TABLE other (a int)").await.unwrap();
    prepare(&admin, "INSERT INTO other VALUES (1)", "innocent").await;
    let far = elsewhere.connect().await;
    prepare(&far, "CREATE TABLE far ()", "far").await;
    prepare(
        &admin,
        "SELECT txid_current(), count(*) FROM pgbench_accounts",
        "reader",
    )
    .await;
    let update = "UPDATE pgbench_accounts SET abalance = 1 WHERE aid = 1";
    prepare(&admin, update, "it's guilty").await;
    let mut waiting = waiters(&database, &admin, 2).await;
    let mut watch = Watch::begin(&database, Config::default()).await;
    watch.keys("pl").await;
    let is_named = |board: &Board| {
        let told = &board.model.cause.sentence;
        told.contains(" for prepared transaction it's guilty in database ")
    };
    let cause = watch.until("the row's holder is named", is_named).await;
    let evidence_of = evidence(&cause);
    let cures = format!(
        "in database {}: COMMIT PREPARED 'it''s guilty' or ROLLBACK PREPARED 'it''s guilty'",
        database.name
    );
    assert!(evidence_of.contains(&cures), "{evidence_of}");
    assert!(evidence_of.contains("transaction manager"), "{evidence_of}");
    for other in ["innocent", "far", "reader"] {
        assert!(!evidence_of.contains(other), "{evidence_of}");
    }
    let locks = watch.board.model.rows(Panel::Locks);
    let named = |name: &'static str| {
        let rows = 0..locks.rows.len();
        let rows = rows.filter(|row| locks.get(*row, "state").text() == Some("prepared"));
        let texts = rows.map(|row| locks.get(row, name).text().unwrap_or_default().to_owned());
        texts.collect::<Vec<_>>()
    };
    assert_eq!(named("application_name"), ["it's guilty"]);
    assert_eq!(locks.first("frees").int(), Some(2));
    // A table lock: `reader` holds one, too, which does not conflict.
    let share = "BEGIN; LOCK TABLE pgbench_accounts IN SHARE MODE; COMMIT";
    waiting.push(waits(&database, &admin, share).await.1);
    watch.until("all three wait for it", queued(3)).await;
    assert!(is_named(&watch.board), "{:?}", watch.board.model.cause);
    admin
        .batch("ROLLBACK PREPARED 'it''s guilty'")
        .await
        .unwrap();
    for waiter in waiting {
        waiter.await.unwrap().unwrap();
    }
    watch.calm_of("lock_queue").await;
    for gid in ["innocent", "reader"] {
        let sql = format!("ROLLBACK PREPARED '{gid}'");
        admin.batch(&sql).await.unwrap();
    }
    far.batch("ROLLBACK PREPARED 'far'").await.unwrap();
}

#[test]
fn of_prepared_transactions_the_one_that_blocks_is_named() {
    block_on(the_guilty_one_is_named(None));
}

#[test]
fn of_prepared_transactions_of_13_the_one_that_blocks_is_named() {
    block_on(the_guilty_one_is_named(Some(13)));
}

/// ALTER TABLE waits behind a report and blocks all later sessions: cancelling it first loses nothing.
#[test]
fn a_waiting_definition_is_cancelled_before_the_report_it_waits_for() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let (report_pid, report) = report(&database, &admin).await;
        let alter = "ALTER TABLE pgbench_accounts ADD note text";
        let (alter_pid, altering) = waits(&database, &admin, alter).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.until("it waits", queued(1)).await;
        assert_eq!(
            watch.board.finding("lock_queue").unwrap().cure,
            "C cancels it"
        );
        let mut readers = Vec::new();
        for _ in 0..3 {
            let read = "SELECT count(*) FROM pgbench_accounts";
            readers.push(waits(&database, &admin, read).await.1);
        }
        let cause = watch.until("they wait", queued(4)).await;
        assert!(
            cause.sentence.contains(&format!("for pid {report_pid} ")),
            "{}",
            cause.sentence
        );
        assert_eq!(cause.cure, format!("C on pid {alter_pid} frees 3 of 4"));
        let evidence = evidence(&cause);
        let ways = [
            format!("ending pid {alter_pid}: frees 3 of 4. Nothing is lost"),
            format!("ending pid {report_pid}: frees 4 of 4. It has written nothing"),
        ];
        let found = ways.each_ref().map(|way| evidence.find(way.as_str()));
        assert!(found[0].is_some() && found[0] < found[1], "{evidence}");
        let cancel = format!("SELECT pg_cancel_backend({alter_pid})");
        admin.batch(&cancel).await.unwrap();
        altering.await.unwrap().unwrap_err();
        for reader in readers {
            reader.await.unwrap().unwrap();
        }
        watch.calm_of("lock_queue").await;
        report.abort();
    });
}

#[test]
fn both_holders_of_a_shared_lock_are_named() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let holders = [database.connect().await, database.connect().await];
        for holder in &holders {
            let share = "BEGIN; LOCK TABLE pgbench_accounts IN SHARE MODE";
            holder.batch(share).await.unwrap();
        }
        let pids = [pid(&holders[0]).await, pid(&holders[1]).await];
        let waiting = waiters(&database, &admin, 1).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        let cause = watch.until("it waits", queued(1)).await;
        for pid in pids {
            let named = format!("pid {pid} ");
            assert!(cause.sentence.contains(&named), "{}", cause.sentence);
        }
        assert_eq!(cause.cure, "K on each of them");
        let evidence = evidence(&cause);
        assert!(evidence.contains("frees 1 of 1"), "{evidence}");
        drop(holders);
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
        watch.calm_of("lock_queue").await;
    });
}

/// Its statement has ended, but it still holds locks: there is nothing to cancel.
#[test]
fn a_refresh_that_is_done_in_an_open_transaction_is_terminated() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch("CREATE MATERIALIZED VIEW balances AS SELECT aid FROM pgbench_accounts; CREATE UNIQUE INDEX ON balances (aid)")
            .await
            .unwrap();
        let refresher = database.connect().await;
        refresher
            .batch("BEGIN; REFRESH MATERIALIZED VIEW balances")
            .await
            .unwrap();
        let (_, read) = waits(&database, &admin, "SELECT count(*) FROM balances").await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        let cause = watch
            .until("the refresh is named", |board| {
                board.model.cause.rule == "plain_refresh"
            })
            .await;
        assert!(
            cause.sentence.contains("in a transaction still open"),
            "{}",
            cause.sentence
        );
        assert_eq!(cause.cure, "K terminates it");
        refresher.batch("COMMIT").await.unwrap();
        read.await.unwrap().unwrap();
        watch.calm_of("plain_refresh").await;
    });
}

#[test]
fn a_queue_in_another_database_is_told_with_its_name() {
    block_on(async {
        let server = server(&[]);
        let database = server.database("quiet").await;
        let bank = bank(&server).await;
        let admin = bank.connect().await;
        let root = bank.connect().await;
        root.batch("BEGIN; LOCK TABLE pgbench_accounts")
            .await
            .unwrap();
        let waiting = waiters(&bank, &admin, 1).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.keys("pl").await;
        let cause = watch.until("it waits", queued(1)).await;
        let named = format!(") in database {}, idle in tx", bank.name);
        assert!(cause.sentence.contains(&named), "{}", cause.sentence);
        watch
            .until("the tree", |board| {
                board.model.rows(Panel::Locks).rows.len() == 2
            })
            .await;
        let target = watch
            .board
            .model
            .rows(Panel::Locks)
            .get(1, "target")
            .clone();
        let target = target.text().unwrap().to_owned();
        assert!(target.ends_with(&format!(" in {}", bank.name)), "{target}");
        drop(root);
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
        watch.calm_of("lock_queue").await;
    });
}

/// If it were cancelled, it would start again at once.
#[test]
fn an_autovacuum_that_prevents_wraparound_is_left_alone() {
    block_on(async {
        let server = server(&[
            ("autovacuum_naptime", "1s"),
            ("autovacuum_freeze_max_age", "100000"),
            ("autovacuum_vacuum_cost_delay", "0"),
        ]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "ALTER TABLE pgbench_accounts SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
                 UPDATE pgbench_accounts SET abalance = abalance",
            )
            .await
            .unwrap();
        let burn =
            "DO $$ BEGIN FOR n IN 1..120000 LOOP PERFORM txid_current(); COMMIT; END LOOP; END $$";
        admin.batch(burn).await.unwrap();
        let worker =
            "SELECT pid::int8 AS n FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'
                      AND query LIKE '%pgbench_accounts (to prevent wraparound)'";
        let worker = until(&admin, "it is vacuumed", worker, &[], |table| {
            !table.rows.is_empty()
        })
        .await;
        let worker = worker.first("n").int().unwrap();
        let alter = "ALTER TABLE pgbench_accounts ADD note text";
        let (alter_pid, altering) = waits(&database, &admin, alter).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        let cause = watch
            .until("it waits", |board| board.model.cause.rule == "lock_queue")
            .await;
        assert!(
            cause.sentence.contains(&format!("for pid {worker} ")),
            "{}",
            cause.sentence
        );
        assert_eq!(
            cause.cure,
            format!("let it finish, or C on pid {alter_pid} (ALTER TABLE)")
        );
        let facts = evidence(&cause);
        assert!(facts.contains("autovacuum restarts it at once"), "{facts}");
        let (_, reader) = waits(&database, &admin, "SELECT count(*) FROM pgbench_accounts").await;
        watch.until("both wait", queued(2)).await;
        let cure = &watch.board.finding("lock_queue").unwrap().cure;
        assert_eq!(*cure, format!("C on pid {alter_pid} frees 1 of 2"));
        let cancel = format!("SELECT pg_cancel_backend({alter_pid})");
        admin.batch(&cancel).await.unwrap();
        altering.await.unwrap().unwrap_err();
        reader.await.unwrap().unwrap();
        watch.calm_of("lock_queue").await;
    });
}

/// A cancelled dump is lost: that is stated before, and the key is not the advice.
#[test]
fn what_a_key_would_lose_is_said_before() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let dump = database.target().with_application_name("pg_dump");
        let dump = Client::connect(&dump).await.unwrap();
        let dump_pid = pid(&dump).await;
        let dumping = tokio::spawn(async move {
            dump.batch("BEGIN; SELECT count(*) FROM pgbench_accounts; SELECT pg_sleep(600)")
                .await
        });
        let sleeps =
            "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
        until(
            &admin,
            "it dumps",
            sleeps,
            &[Param::Int(dump_pid)],
            |table| !table.rows.is_empty(),
        )
        .await;
        let alter = "ALTER TABLE pgbench_accounts ADD note text";
        let (alter_pid, altering) = waits(&database, &admin, alter).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        let cause = watch.until("it waits", queued(1)).await;
        assert_eq!(
            cause.cure,
            format!("let it finish, or C on pid {alter_pid} (ALTER TABLE)")
        );
        let facts = evidence(&cause);
        assert!(facts.contains("The dump is lost"), "{facts}");
        watch.keys("8C").await;
        let asked = watch.board.screen(140, 40);
        assert!(
            asked.contains(&format!("Cancel the statement of pid {dump_pid} "))
                && asked.contains("The dump is lost"),
            "{asked}"
        );
        dumping.abort();
        let end = format!("SELECT pg_terminate_backend({dump_pid})");
        admin.batch(&end).await.unwrap();
        altering.await.unwrap().unwrap();
    });
}

/// A role that may not end the session is told who may; no key is offered that the server would refuse.
#[test]
fn a_session_that_we_may_not_end_is_told_with_who_may() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE ROLE watcher LOGIN; GRANT pg_monitor TO watcher; CREATE ROLE app LOGIN;
                 GRANT ALL ON pgbench_accounts TO app",
            )
            .await
            .unwrap();
        let mut watch = Watch::begin_as(&database, "watcher", Config::default()).await;
        for (role, who) in [
            ("postgres", "a superuser may end it"),
            ("app", "app or pg_signal_backend may end it"),
        ] {
            let root = database.connect_as(role).await;
            let root_pid = pid(&root).await;
            root.batch("BEGIN; UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 1")
                .await
                .unwrap();
            let waiting = waiters(&database, &admin, 1).await;
            let cause = watch.until("it waits", queued(1)).await;
            let end = format!("SELECT pg_terminate_backend({root_pid})");
            assert_eq!(cause.cure, format!("{who}: {end}"));
            database.connect_as(role).await.batch(&end).await.unwrap();
            for waiter in waiting {
                waiter.await.unwrap().unwrap();
            }
            watch.calm_of("lock_queue").await;
        }
        admin
            .batch("GRANT pg_signal_backend TO watcher")
            .await
            .unwrap();
        let root = database.connect_as("app").await;
        let root_pid = pid(&root).await;
        root.batch("BEGIN; UPDATE pgbench_accounts SET abalance = 7 WHERE aid = 1")
            .await
            .unwrap();
        let waiting = waiters(&database, &admin, 1).await;
        let cause = watch.until("it waits", queued(1)).await;
        assert_eq!(cause.cure, "K terminates it");
        std::sync::Arc::make_mut(&mut watch.board.model.config).read_only = true;
        let cause = watch.until("it waits", queued(1)).await;
        assert_eq!(
            cause.cure,
            format!("read-only here: end it elsewhere: SELECT pg_terminate_backend({root_pid})")
        );
        drop(root);
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
    });
}

/// The blockers of fifty are queried; the others may wait for the same one.
#[test]
fn where_not_all_are_asked_the_figures_are_at_least() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let root = database.connect().await;
        root.batch("BEGIN; LOCK TABLE pgbench_accounts IN SHARE MODE")
            .await
            .unwrap();
        let waiting = waiters(&database, &admin, 55).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.keys("pl").await;
        watch
            .until("the tree", |board| {
                let locks = board.model.rows(Panel::Locks);
                locks.first("unasked").int() == Some(5) && locks.first("frees").is_known()
            })
            .await;
        let model = &watch.board.model;
        assert_eq!(
            model.rows(Panel::Locks).first("frees"),
            &Value::AtLeast(50.0)
        );
        assert_eq!(
            model.rows(Panel::Activity).first("blocks"),
            &Value::AtLeast(50.0)
        );
        let sentence = &model.cause.sentence;
        assert!(
            sentence.contains("≥50 of 55 waiting sessions"),
            "{sentence}"
        );
        drop(root);
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
    });
}
