//! Sessions whose end loses much, on a real server: a dump, a base backup, the copy and apply workers of a
//! subscription, an index being built CONCURRENTLY. None is advised to be ended first, and the loss is stated
//! before.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::blockers::{evidence, queued, waits};
use super::watch::Watch;
use super::{bank, server, waiters};
use crate::it::board::Board;
use crate::it::programs::Program;
use crate::it::server::{Database, block_on, pid, until};
use htap_top::config::Config;
use htap_top::dashboard::rows::Panel;
use htap_top::pg::Client;

/// Pid of the backend that matches, once there is one.
async fn backend(admin: &Client, what: &str, condition: &str) -> i64 {
    let sql = format!("SELECT pid::int8 AS n FROM pg_stat_activity WHERE {condition}");
    let table = until(admin, what, &sql, &[], |table| !table.rows.is_empty()).await;
    table.first("n").int().unwrap()
}

/// A table with this many rows, far more than sockets and pipes can hold.
async fn filler(admin: &Client, name: &str, rows: u32) {
    let sql = format!(
        "CREATE TABLE {name} (id int PRIMARY KEY, t text);
         INSERT INTO {name} SELECT g, repeat(md5(g::text), 3) FROM generate_series(1, {rows}) AS g"
    );
    admin.batch(&sql).await.unwrap();
}

/// Starts `pg_dump` or a similar program whose output is not read, so that it blocks.
fn unread(database: &Database<'_>, name: &str, args: &[&str]) -> Program {
    Program::start(database.server, name, "postgres", args)
}

/// Rows die and a vacuum leaves them: their holder is named with this cure.
async fn holds_rows(watch: &mut Watch, admin: &Client, who: &str, cure: &str) {
    for sql in [
        "UPDATE pgbench_accounts SET abalance = abalance + 1",
        "VACUUM pgbench_accounts",
    ] {
        admin.batch(sql).await.unwrap();
    }
    let told = |board: &Board| {
        board
            .finding("old_snapshot")
            .is_some_and(|finding| finding.sentence.contains(who))
    };
    watch.until("who holds the rows is told", told).await;
    let finding = watch.board.finding("old_snapshot").unwrap();
    assert_eq!(finding.cure, cure, "{}", finding.sentence);
}

/// The cure for the waiters, and the evidence.
fn told(watch: &Watch) -> (String, String) {
    let finding = watch.board.finding("lock_queue").unwrap();
    let facts = finding.evidence.iter();
    let facts = facts.map(|(name, value)| format!("{name}: {value}"));
    (finding.cure.clone(), facts.collect::<Vec<_>>().join("\n"))
}

/// A definition waits behind it, then three readers: it is never the first to be ended.
async fn is_ended_last(
    watch: &mut Watch,
    (database, admin): (&Database<'_>, &Client),
    table: &str,
    lost: &str,
    let_be: &str,
) {
    let alter = format!("ALTER TABLE {table} ADD note text");
    let read = format!("SELECT count(*) FROM {table}");
    let (alter_pid, altering) = waits(database, admin, &alter).await;
    watch.until("it waits", queued(1)).await;
    let (cure, facts) = told(watch);
    assert_eq!(
        cure,
        format!("{let_be}, or C on pid {alter_pid} (ALTER TABLE)")
    );
    assert!(facts.contains(lost), "{facts}");
    let mut readers = Vec::new();
    for _ in 0..3 {
        readers.push(waits(database, admin, &read).await.1);
    }
    watch.until("they wait", queued(4)).await;
    let (cure, facts) = told(watch);
    assert_eq!(cure, format!("C on pid {alter_pid} frees 3 of 4"));
    let ways = [
        format!("ending pid {alter_pid}: frees 3 of 4."),
        lost.into(),
    ];
    let found = ways.each_ref().map(|way| facts.find(way.as_str()));
    assert!(found[0].is_some() && found[0] < found[1], "{facts}");
    admin
        .batch(&format!("SELECT pg_cancel_backend({alter_pid})"))
        .await
        .unwrap();
    altering.await.unwrap().unwrap_err();
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
    watch.calm_of("lock_queue").await;
}

/// The key asks for confirmation, which states the loss.
async fn key_says_loss(watch: &mut Watch, key: char, pid: i64, lost: &str) {
    watch.keys("8").await;
    let row = |board: &Board| {
        let rows = board.model.rows(Panel::Activity);
        (0..rows.rows.len()).find(|row| rows.get(*row, "pid").int() == Some(pid))
    };
    watch
        .until("it is listed", |board| row(board).is_some())
        .await;
    for _ in 0..row(&watch.board).unwrap() {
        watch.keys("j").await;
    }
    watch.keys(&key.to_string()).await;
    let asked = watch.board.screen(160, 40);
    assert!(
        asked.contains(&format!("of pid {pid} ")) && asked.contains(lost),
        "{asked}"
    );
    let _ = watch.board.key(htap_top::dashboard::event::Key::Esc);
}

#[test]
fn a_real_dump_is_let_finish() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        filler(&admin, "filler", 200_000).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(1_000).await;
        let dump = unread(&database, "pg_dump", &["-d", &database.name]);
        let stands = "application_name = 'pg_dump' AND wait_event = 'ClientWrite'";
        let dump_pid = backend(&admin, "it dumps", stands).await;
        let who = format!("pid {dump_pid} (pg_dump, ");
        holds_rows(&mut watch, &admin, &who, "let it finish").await;
        let lost = "The dump is lost";
        is_ended_last(
            &mut watch,
            (&database, &admin),
            "pgbench_accounts",
            lost,
            "let it finish",
        )
        .await;
        key_says_loss(&mut watch, 'C', dump_pid, lost).await;
        key_says_loss(&mut watch, 'K', dump_pid, lost).await;
        drop(dump);
        watch.calm_of("old_snapshot").await;
    });
}

/// Its first session holds all locks and is idle, the others copy: several sessions block, and together they
/// are one dump.
#[test]
fn a_dump_of_several_sessions_is_let_finish() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        for name in ["filler", "filler_too"] {
            filler(&admin, name, 400_000).await;
        }
        let folder = server.socket_dir().join("dump");
        let args = ["-d", &database.name, "-F", "d", "-j", "2", "-Z", "9", "-f"];
        let args = [&args[..], &[folder.to_str().unwrap()]].concat();
        let dump = unread(&database, "pg_dump", &args);
        let copies = "application_name = 'pg_dump' AND state = 'active' AND query LIKE 'COPY public.filler %'";
        backend(&admin, "it copies", copies).await;
        dump.stop();
        let idle = "application_name = 'pg_dump' AND state = 'idle in transaction' AND query NOT LIKE 'COPY%'";
        backend(&admin, "its leader waits", idle).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        is_ended_last(
            &mut watch,
            (&database, &admin),
            "filler",
            "The dump is lost",
            "let them finish",
        )
        .await;
        drop(dump);
    });
}

/// It holds no lock and no snapshot. While it waits for its client it slows nobody down.
#[test]
fn a_base_backup_is_blamed_for_nothing_and_its_loss_is_said() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        filler(&admin, "filler", 50_000).await;
        let args = ["-D", "-", "-F", "t", "-X", "none", "-c", "fast"];
        let backup = unread(&database, "pg_basebackup", &args);
        let stands = "backend_type = 'walsender' AND wait_event = 'ClientWrite'";
        let sender = backend(&admin, "it sends", stands).await;
        let mut config = Config::default();
        config.targets.oltp_p99_ms = 0.000_001;
        let mut watch = Watch::begin(&database, config).await;
        let old = |board: &Board| {
            let rows = board.model.rows(Panel::Activity);
            (0..rows.rows.len()).any(|row| {
                rows.get(row, "pid").int() == Some(sender)
                    && rows.get(row, "query_age_s").number() >= Some(6.0)
            })
        };
        watch.until("it has lasted", old).await;
        let named = format!("pid {sender}");
        for finding in &watch.board.model.findings {
            assert!(!finding.sentence.contains(&named), "{finding:?}");
        }
        for key in ['C', 'K'] {
            key_says_loss(&mut watch, key, sender, "The base backup is lost").await;
        }
        drop(backup);
    });
}

/// A subscription between two databases of one server, which needs a slot created before.
async fn subscribe(source: &Database<'_>, goal: &Database<'_>, name: &str, copy: bool) {
    let admin = source.connect().await;
    for sql in [
        "CREATE PUBLICATION all_tables FOR ALL TABLES",
        "SELECT pg_create_logical_replication_slot('feed', 'pgoutput')",
    ] {
        admin.batch(sql).await.unwrap();
    }
    let subscriber = goal.connect().await;
    let sql = format!(
        "CREATE SUBSCRIPTION {name} CONNECTION '{}' PUBLICATION all_tables
         WITH (create_slot = false, slot_name = 'feed', copy_data = {copy})",
        source.conninfo("postgres")
    );
    subscriber.batch(&sql).await.unwrap();
}

/// Every insert blocks here, including a replication worker's.
const STAND: &str = "CREATE FUNCTION stand() RETURNS trigger LANGUAGE plpgsql AS
                         $$BEGIN PERFORM pg_sleep(600); RETURN NEW; END$$;";

#[test]
fn the_initial_copy_of_a_subscription_is_let_finish() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let source = bank(&server).await;
        let goal = server.database("goal").await;
        let (admin, subscriber) = (source.connect().await, goal.connect().await);
        filler(&admin, "filler", 200_000).await;
        let tables = format!(
            "{STAND} CREATE TABLE filler (id int PRIMARY KEY, t text);
             CREATE TRIGGER stand BEFORE INSERT ON filler FOR EACH ROW EXECUTE FUNCTION stand();
             ALTER TABLE filler ENABLE ALWAYS TRIGGER stand;
             CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, abalance int)"
        );
        subscriber.batch(&tables).await.unwrap();
        let mut watch = Watch::begin(&source, Config::default()).await;
        watch.look(1_000).await;
        subscribe(&source, &goal, "copied", true).await;
        let stands = "backend_type = 'walsender' AND wait_event = 'ClientWrite' AND query LIKE 'COPY%filler%'";
        let sender = backend(&admin, "it copies", stands).await;
        let who = "initial copy of a subscription";
        holds_rows(&mut watch, &admin, who, "let it finish").await;
        let lost = "The subscription's copy of the table starts over";
        is_ended_last(
            &mut watch,
            (&source, &admin),
            "filler",
            lost,
            "let it finish",
        )
        .await;
        key_says_loss(&mut watch, 'K', sender, lost).await;
    });
}

/// Its changes block others. Ended alone it would restart, so its subscription is disabled first.
#[test]
fn an_apply_worker_is_stopped_by_its_subscription() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let source = bank(&server).await;
        let goal = server.database("goal").await;
        let (admin, subscriber) = (source.connect().await, goal.connect().await);
        admin
            .batch("CREATE TABLE second (id int PRIMARY KEY)")
            .await
            .unwrap();
        let tables = format!(
            "{STAND} CREATE TABLE second (id int PRIMARY KEY);
             CREATE TRIGGER stand BEFORE INSERT ON second FOR EACH ROW EXECUTE FUNCTION stand();
             ALTER TABLE second ENABLE ALWAYS TRIGGER stand;
             CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, abalance int);
             INSERT INTO pgbench_accounts VALUES (1, 0)"
        );
        subscriber.batch(&tables).await.unwrap();
        subscribe(&source, &goal, "\"Sub of 2\"", false).await;
        let ready =
            "SELECT count(*) AS n FROM pg_replication_slots WHERE slot_name = 'feed' AND active";
        until(&admin, "it is read", ready, &[], |table| {
            table.first("n").int() == Some(1)
        })
        .await;
        admin
            .batch(
                "BEGIN; UPDATE pgbench_accounts SET abalance = 1 WHERE aid = 1; INSERT INTO second VALUES (1); COMMIT",
            )
            .await
            .unwrap();
        let stands = "backend_type LIKE 'logical replication%' AND wait_event = 'PgSleep'";
        let worker = backend(&subscriber, "it applies", stands).await;
        let waiting = waiters(&goal, &subscriber, 1).await;
        let mut watch = Watch::begin(&goal, Config::default()).await;
        let cause = watch.until("it waits", queued(1)).await;
        let named = format!("for pid {worker} (\"Sub of 2\"");
        assert!(cause.sentence.contains(&named), "{}", cause.sentence);
        let cure = format!(
            "ALTER SUBSCRIPTION \"Sub of 2\" DISABLE; SELECT pg_terminate_backend({worker})"
        );
        assert_eq!(cause.cure, cure);
        // The cure, word for word.
        for sql in cause.cure.split("; ") {
            subscriber.batch(sql).await.unwrap();
        }
        for waiter in waiting {
            waiter.await.unwrap().unwrap();
        }
        watch.calm_of("lock_queue").await;
        let workers = "SELECT count(*) AS n FROM pg_stat_subscription WHERE pid IS NOT NULL";
        let workers = subscriber.query(workers, &[]).await.unwrap();
        assert_eq!(workers.first("n").int(), Some(0), "it came again");
    });
}

/// It waits until all old snapshots are gone, and meanwhile blocks a vacuum and a definition.
#[test]
fn who_holds_an_index_up_is_ended_and_not_the_index() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let reader = database.connect().await;
        let reader_pid = pid(&reader).await;
        reader
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM pg_class LIMIT 1")
            .await
            .unwrap();
        let create = "CREATE INDEX CONCURRENTLY held ON pgbench_accounts (abalance)";
        let (index_pid, creating) = waits(&database, &admin, create).await;
        let (_, vacuum) = waits(&database, &admin, "VACUUM pgbench_accounts").await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        let cause = watch.until("both wait", queued(2)).await;
        let named = format!("for pid {reader_pid} ");
        assert!(cause.sentence.contains(&named), "{}", cause.sentence);
        assert_eq!(cause.cure, "K terminates it");
        let facts = evidence(&cause);
        let way = format!("ending pid {reader_pid}: frees 2 of 2. It has written nothing");
        assert!(
            facts.contains(&way) && !facts.contains(&format!("ending pid {index_pid}")),
            "{facts}"
        );
        key_says_loss(
            &mut watch,
            'C',
            index_pid,
            "An invalid index is left behind",
        )
        .await;
        admin
            .batch(&format!("SELECT pg_terminate_backend({reader_pid})"))
            .await
            .unwrap();
        creating.await.unwrap().unwrap();
        vacuum.await.unwrap().unwrap();
        watch.calm_of("lock_queue").await;
        let valid =
            "SELECT 1 AS n FROM pg_index WHERE indexrelid = 'held'::regclass AND indisvalid";
        let valid = admin.query(valid, &[]).await.unwrap();
        assert_eq!(valid.rows.len(), 1);
    });
}

#[test]
fn an_index_that_is_built_is_let_finish() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                     $$BEGIN PERFORM pg_sleep(600); RETURN $1; END$$",
            )
            .await
            .unwrap();
        let builder = database.connect().await;
        let builder_pid = pid(&builder).await;
        let building = tokio::spawn(async move {
            builder
                .batch("/* job */ CREATE INDEX CONCURRENTLY built ON pgbench_accounts (slow(aid))")
                .await
        });
        backend(
            &admin,
            "it builds",
            &format!("pid = {builder_pid} AND wait_event = 'PgSleep'"),
        )
        .await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        let lost = "An invalid index is left behind: drop it";
        let alter = "ALTER TABLE pgbench_accounts ADD note text";
        let (alter_pid, altering) = waits(&database, &admin, alter).await;
        let cause = watch.until("it waits", queued(1)).await;
        assert_eq!(
            cause.cure,
            format!("let it finish, or C on pid {alter_pid} (ALTER TABLE)")
        );
        let facts = evidence(&cause);
        assert!(facts.contains(lost), "{facts}");
        key_says_loss(&mut watch, 'C', builder_pid, lost).await;
        // The prediction comes true.
        for pid in [alter_pid, builder_pid] {
            let cancel = format!("SELECT pg_cancel_backend({pid})");
            admin.batch(&cancel).await.unwrap();
        }
        altering.await.unwrap().unwrap_err();
        building.await.unwrap().unwrap_err();
        let invalid =
            "SELECT 1 AS n FROM pg_index WHERE indexrelid = 'built'::regclass AND NOT indisvalid";
        let invalid = admin.query(invalid, &[]).await.unwrap();
        assert_eq!(invalid.rows.len(), 1);
        admin.batch("DROP INDEX CONCURRENTLY built").await.unwrap();
    });
}

/// Without a slot, the standby's feedback is held by its walsender, which would reconnect: the query on the
/// standby is the cause.
#[test]
fn a_standby_that_holds_rows_by_its_walsender_is_not_to_be_ended() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let replica = server.replica();
        let standby = Client::connect(&replica.target(&database.name, "postgres"))
            .await
            .unwrap();
        let conninfo = standby
            .query("SELECT current_setting('primary_conninfo') AS c", &[])
            .await
            .unwrap();
        let conninfo = conninfo.first("c").text().unwrap().replace('\'', "''");
        for set in [
            format!("primary_conninfo = '{conninfo} application_name=berlin'"),
            "hot_standby_feedback = on".into(),
            "wal_receiver_status_interval = '1s'".into(),
        ] {
            let set = format!("ALTER SYSTEM SET {set}");
            standby.batch(&set).await.unwrap();
        }
        standby.batch("SELECT pg_reload_conf()").await.unwrap();
        standby
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM pgbench_accounts")
            .await
            .unwrap();
        let asks = pid(&standby).await;
        let reports = "application_name = 'berlin' AND backend_xmin IS NOT NULL";
        let sender = backend(&admin, "it reports", reports).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(1_000).await;
        let who = format!("standby berlin (pid {sender})");
        holds_rows(&mut watch, &admin, &who, "find its long query").await;
        let finding = watch.board.finding("old_snapshot").unwrap();
        let there = finding.evidence.iter().find(|(name, _)| name == "there");
        let there = &there.unwrap().1;
        let other = Client::connect(&replica.target(&database.name, "postgres"))
            .await
            .unwrap();
        let found = other.query(there, &[]).await.unwrap();
        assert_eq!(found.first("pid").int(), Some(asks), "{found:?}");
        key_says_loss(
            &mut watch,
            'K',
            sender,
            "the standby or subscriber reconnects at once",
        )
        .await;
        standby.batch("COMMIT").await.unwrap();
    });
}
