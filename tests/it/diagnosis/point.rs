//! The point query, which p99 measures: its blocker is named even if nobody else waits, and a session that
//! does not block it is not.

use super::blockers::{queued, waits};
use super::watch::Watch;
use super::{bank, server};
use crate::it::board::Board;
use crate::it::server::{Patience, block_on, pid};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::{Cause, Health};

/// Configuration whose point query reads an account.
fn config() -> Config {
    let mut config = Config::default();
    let sql = "SELECT a.abalance FROM public.pgbench_accounts AS a WHERE a.aid = 1";
    config.canary.sql = Some(sql.into());
    config
}

/// Times the point query until the condition holds; returns the cause line.
async fn failing(watch: &mut Watch, what: &str, good: impl Fn(&Cause) -> bool) -> Cause {
    let patience = Patience::begin();
    loop {
        watch.time(1).await;
        watch.look(1_000).await;
        let cause = &watch.board.model.cause;
        if good(cause) {
            return cause.clone();
        }
        assert!(patience.lasts(), "{what} never was: {cause:?}");
    }
}

fn names(cause: &Cause, who: &str) -> bool {
    (cause.label, cause.rule) == ("p99", "point_query") && cause.sentence.contains(who)
}

#[test]
fn who_locks_the_point_querys_table_is_named_though_nobody_else_waits() {
    block_on(async {
        let server = server(&[("max_prepared_transactions", "2")]);
        let database = bank(&server).await;
        let holder = database.connect().await;
        let holder_pid = pid(&holder).await;
        let bystander = database.connect().await;
        for (client, table) in [(&bystander, "other"), (&holder, "pgbench_accounts")] {
            let sql = format!("CREATE TABLE IF NOT EXISTS {table} (); BEGIN; LOCK TABLE {table}");
            client.batch(&sql).await.unwrap();
        }
        let mut watch = Watch::begin(&database, config()).await;
        let who = format!("failed in 30s: they wait for pid {holder_pid} (");
        let cause = failing(&mut watch, "it is named", |cause| names(cause, &who)).await;
        assert!(
            cause
                .sentence
                .contains("which has locked public.pgbench_accounts"),
            "{cause:?}"
        );
        assert_eq!(
            (cause.health, cause.cure.as_str()),
            (Health::Danger, "K terminates it")
        );
        holder.batch("ROLLBACK").await.unwrap();
        let ended = |cause: &Cause| names(cause, "which locked public.pgbench_accounts until");
        let cause = failing(&mut watch, "it was", ended).await;
        assert_eq!(cause.cure, "L the log");
        // The finding ends once no point query fails any more.
        watch
            .until("it is over", |board| board.finding("point_query").is_none())
            .await;
        holder
            .batch("BEGIN; LOCK TABLE pgbench_accounts; PREPARE TRANSACTION 'it''s it'")
            .await
            .unwrap();
        let prepared = |cause: &Cause| names(cause, "for prepared transaction it's it");
        let cause = failing(&mut watch, "it has no pid", prepared).await;
        assert_eq!(cause.cure, "COMMIT or ROLLBACK PREPARED, see e");
        let facts = format!("{:?}", cause.evidence);
        assert!(facts.contains("ROLLBACK PREPARED 'it''s it'"), "{facts}");
        holder.batch("ROLLBACK PREPARED 'it''s it'").await.unwrap();
    });
}

/// A dump reads the table, which blocks nobody; a definition waits for the dump, and the point query waits
/// behind that.
#[test]
fn a_definition_that_waits_before_the_point_query_is_part_of_its_cause() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let (admin, reader) = (database.connect().await, database.connect().await);
        let reader_pid = pid(&reader).await;
        reader
            .batch("BEGIN; SELECT count(*) FROM pgbench_accounts")
            .await
            .unwrap();
        let alter = "ALTER TABLE pgbench_accounts ADD COLUMN note text";
        let (_, altering) = waits(&database, &admin, alter).await;
        let mut watch = Watch::begin(&database, config()).await;
        watch.time(3).await;
        let explained = |board: &Board| {
            let finding = board.finding("lock_queue");
            finding.is_some_and(|finding| finding.explains.contains(&"p99"))
        };
        watch.until("the queue explains it", explained).await;
        let finding = watch.board.finding("lock_queue").unwrap();
        assert!(
            finding.sentence.contains(&format!("pid {reader_pid} ")),
            "{finding:?}"
        );
        assert!(watch.board.finding("point_query").is_some());
        reader.batch("ROLLBACK").await.unwrap();
        altering.await.unwrap().unwrap();
    });
}

/// The point query waits for none of them, so it is slow for another reason.
#[test]
fn a_queue_for_another_table_explains_no_missed_p99() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let (admin, dump) = (database.connect().await, database.connect().await);
        admin
            .batch("CREATE TABLE big AS SELECT 1 AS a")
            .await
            .unwrap();
        dump.batch("BEGIN; LOCK TABLE big IN ACCESS SHARE MODE")
            .await
            .unwrap();
        let alter = "ALTER TABLE big ADD COLUMN note text";
        let (_, altering) = waits(&database, &admin, alter).await;
        let mut reading = Vec::new();
        for _ in 0..3 {
            reading.push(waits(&database, &admin, "SELECT * FROM big").await.1);
        }
        let mut config = config();
        // Every point query misses this, however fast it is.
        config.targets.oltp_p99_ms = 0.000_001;
        let mut watch = Watch::begin(&database, config).await;
        let told = |board: &Board| {
            let gauges = board.model.gauges.iter();
            let bad = gauges.filter(|gauge| gauge.health == Health::Danger);
            let bad: Vec<&str> = bad.map(|gauge| gauge.label).collect();
            queued(4)(board) && ["p99", "locks"].iter().all(|label| bad.contains(label))
        };
        // Measurements count for 30 s of the board's clock, which may pass faster than the queue forms:
        // meanwhile more are made.
        let patience = Patience::begin();
        while !told(&watch.board) {
            assert!(patience.lasts(), "{:#?}", watch.board.model.gauges);
            watch.time(100).await;
            watch.look(1_000).await;
        }
        let cause = watch.board.model.cause.clone();
        assert_eq!(
            (cause.label, cause.rule),
            ("locks", "lock_queue"),
            "{cause:?}"
        );
        assert!(!cause.sentence.contains("p99"), "{cause:?}");
        assert_eq!(cause.more, 1, "{cause:?}");
        for finding in &watch.board.model.findings {
            assert!(!finding.explains.contains(&"p99"), "{finding:?}");
        }
        dump.batch("ROLLBACK").await.unwrap();
        altering.await.unwrap().unwrap();
        for waiting in reading {
            waiting.await.unwrap().unwrap();
        }
    });
}
