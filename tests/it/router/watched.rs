//! The replica as it is watched: no stale read however it is delayed, none from a server that is no replica of this
//! primary, none lost with it.

use super::pair::{Pair, Pools, quick, until_barred};
use crate::it::server::{PATIENCE, Patience, block_on, until};
use htap_top::pg::{Param, Statement};
use htap_top::router::catalogue::Catalogue;
use htap_top::router::executor::{Counts, Executor, Fallback, Policy};
use htap_top::router::{Barred, Lsn, Node, Pool, Router, Rule};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinSet;

const SETUP: &str = "
    CREATE ROLE reader LOGIN;
    ALTER ROLE reader SET default_transaction_read_only = on;
    CREATE ROLE sync_on LOGIN; ALTER ROLE sync_on SET synchronous_commit = on;
    CREATE ROLE sync_off LOGIN; ALTER ROLE sync_off SET synchronous_commit = off;
    CREATE ROLE sync_local LOGIN; ALTER ROLE sync_local SET synchronous_commit = local;
    CREATE TABLE public.trial (client bigint PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50);
    INSERT INTO public.trial SELECT g, 0 FROM generate_series(0, 63) AS g;
    GRANT SELECT, UPDATE ON public.trial TO sync_on, sync_off, sync_local;
    GRANT SELECT ON public.trial TO reader";

const WRITE: &str = "UPDATE public.trial SET n = $2 WHERE client = $1";
const READ: Statement = Statement {
    name: "trial",
    types: &["bigint"],
    sql: "SELECT n FROM public.trial WHERE client = $1",
};

async fn executor(pair: &Pair, writer: &str, policy: Policy) -> Arc<Executor<Pools>> {
    let target = |role: &str| pair.primary.target("postgres", role);
    let there = pair.standby.target("postgres", "reader");
    let lanes = Pools::new(
        [target(writer), target("reader")],
        Some([there.clone(), there]),
    );
    let router = Router::new(Catalogue::connect(target("reader")).await.unwrap());
    let executor = Arc::new(Executor::with_policy(router, lanes, policy));
    executor.ready().await.unwrap();
    until_barred(&executor, None).await;
    executor
}

/// Number of trials per commit mode; `HTAP_TOP_TRIALS=10000` makes more of them.
fn trials() -> i64 {
    let wanted = std::env::var("HTAP_TOP_TRIALS").ok();
    wanted.and_then(|text| text.parse().ok()).unwrap_or(160)
}

/// Number of clients that write and read at the same time.
fn clients(trials: i64) -> i64 {
    if trials < 1_000 { 8 } else { 48 }
}

/// Writes and reads, in turn; every read must include the write before it. Returns the counts.
async fn write_and_read(pair: &Pair, writer: &str, policy: Policy, trials: i64) -> Counts {
    let executor = executor(pair, writer, policy).await;
    let number = clients(trials);
    let mut clients = JoinSet::new();
    for client in 0..number {
        let executor = Arc::clone(&executor);
        clients.spawn(async move {
            let mut conversation = executor.conversation();
            let start = conversation
                .call(&READ, &[Param::Int(client)])
                .await
                .unwrap();
            let start: i64 = start.table.first("n").text().unwrap().parse().unwrap();
            for trial in start + 1..=start + trials / number {
                let params = [Param::Int(client), Param::Int(trial)];
                conversation.run(WRITE, &params).await.unwrap();
                let read = &[Param::Int(client)];
                let ran = conversation.call(&READ, read).await.unwrap();
                let n: i64 = ran.table.first("n").text().unwrap().parse().unwrap();
                assert_eq!(n, trial, "stale: {ran:?}");
            }
        });
    }
    while let Some(done) = clients.join_next().await {
        done.unwrap();
    }
    executor.counts()
}

#[expect(clippy::print_stdout, reason = "the distribution is what is looked at")]
fn told(mode: &str, delayed: &str, counts: &Counts) {
    let on = |node| counts.on(|lane| lane.node == node);
    let waits = counts.waits;
    println!(
        "{mode:<10} {delayed:<8} reads on the replica {:>5}, fallbacks {:?}, run again {:?}; waits {} p50 {:.1} ms p99 {:.1} ms longest {:.1} ms mean {:.1} ms",
        on(Node::Replica),
        counts.fallbacks,
        counts.reruns,
        waits.waits,
        waits.wait_ms_p50,
        waits.wait_ms_p99,
        waits.wait_ms_max,
        waits.wait_ms_sum / waits.waits.max(1) as f64
    );
}

/// Delays replay at random until it is told to stop.
async fn delay(pair: &Pair, stop: &AtomicBool) {
    let standby = pair.standby_admin().await;
    while !stop.load(Ordering::Relaxed) {
        match rand::random_range(0..6) {
            0 => {
                standby.batch("SELECT pg_wal_replay_pause()").await.unwrap();
                tokio::time::sleep(Duration::from_millis(rand::random_range(1..150))).await;
                standby
                    .batch("SELECT pg_wal_replay_resume()")
                    .await
                    .unwrap();
            }
            1 => {
                let ms = rand::random_range(0..120);
                let set = format!("ALTER SYSTEM SET recovery_min_apply_delay = '{ms}ms'");
                standby.batch(&set).await.unwrap();
                standby.batch("SELECT pg_reload_conf()").await.unwrap();
                tokio::time::sleep(Duration::from_millis(rand::random_range(50..400))).await;
            }
            _ => {
                let reset = "ALTER SYSTEM RESET recovery_min_apply_delay";
                standby.batch(reset).await.unwrap();
                standby.batch("SELECT pg_reload_conf()").await.unwrap();
                tokio::time::sleep(Duration::from_millis(rand::random_range(1..200))).await;
            }
        }
    }
    let reset = "ALTER SYSTEM RESET recovery_min_apply_delay";
    standby.batch(reset).await.unwrap();
    standby
        .batch("SELECT pg_wal_replay_resume()")
        .await
        .unwrap();
    standby.batch("SELECT pg_reload_conf()").await.unwrap();
}

#[test]
fn no_read_is_older_than_the_reader_s_own_write() {
    block_on(never_stale("sync_on"));
}

#[test]
fn no_read_is_older_than_the_reader_s_own_asynchronous_write() {
    block_on(never_stale("sync_off"));
}

#[test]
fn no_read_is_older_than_the_reader_s_own_local_write() {
    block_on(never_stale("sync_local"));
}

/// First with a replica that replays as it can, then with one that is delayed at random.
async fn never_stale(mode: &str) {
    let pair = Arc::new(Pair::start(&[], SETUP).await);
    let counts = write_and_read(&pair, mode, quick(), trials() / 2).await;
    told(mode, "", &counts);
    assert!(
        counts.on(|lane| lane.node == Node::Replica) > 0,
        "{counts:?}"
    );
    assert!(
        counts.waits.waits > 0 && counts.reruns.is_empty(),
        "{counts:?}"
    );
    let stop = Arc::new(AtomicBool::new(false));
    let delaying = tokio::spawn({
        let (pair, stop) = (Arc::clone(&pair), Arc::clone(&stop));
        async move { delay(&pair, &stop).await }
    });
    let counts = write_and_read(&pair, mode, quick(), trials()).await;
    stop.store(true, Ordering::Relaxed);
    delaying.await.unwrap();
    pair.caught_up().await;
    told(mode, "delayed", &counts);
    let late = counts.fallbacks.keys();
    let late = late.filter(|why| {
        !matches!(
            why,
            Fallback::NotCaughtUp
                | Fallback::Barred(Barred::Paused | Barred::Lagging)
                | Fallback::Conflict
        )
    });
    assert_eq!(late.count(), 0, "{counts:?}");
}

/// With synchronous_commit = off the flush position after a commit is before it: only the insert position will do.
#[test]
fn a_commit_that_is_not_flushed_has_a_position_that_includes_it() {
    block_on(async {
        let settings = [("wal_writer_delay", "10s")];
        let pair = Pair::start(&settings, SETUP).await;
        let policy = Policy {
            wait_unflushed: Some(Duration::from_millis(1)),
            ..Policy::default()
        };
        let executor = executor(&pair, "sync_off", policy).await;
        let admin = pair.admin().await;
        let standby = pair.standby_admin().await;
        let mut unflushed = 0;
        for n in 1..20 {
            let mut client = executor.conversation();
            let params = [Param::Int(1), Param::Int(n)];
            client.run(WRITE, &params).await.unwrap();
            let flushed = admin
                .query("SELECT pg_current_wal_flush_lsn()::text AS lsn", &[])
                .await
                .unwrap();
            let flushed: Lsn = flushed.first("lsn").text().unwrap().parse().unwrap();
            let wrote = client.session().wrote().unwrap();
            unflushed += u32::from(flushed < wrote);
            let ran = client.call(&READ, &[Param::Int(1)]).await.unwrap();
            assert_eq!(
                ran.table.first("n").text(),
                Some(n.to_string().as_str()),
                "{ran:?}"
            );
            let there = "SELECT (SELECT n FROM public.trial WHERE client = 1) AS n, pg_last_wal_replay_lsn()::text AS lsn";
            let there = standby.query(there, &[]).await.unwrap();
            let seen = there.first("n").int().unwrap();
            // The position is read after the row, so it may be later.
            if seen < n {
                let replayed: Lsn = there.first("lsn").text().unwrap().parse().unwrap();
                let again = "SELECT n FROM public.trial WHERE client = 1";
                let again = standby.query(again, &[]).await.unwrap();
                assert!(
                    replayed < wrote || again.first("n").int() == Some(n),
                    "{replayed} includes {wrote}, but not the row"
                );
            }
        }
        assert!(unflushed > 10, "{unflushed}");
        // Once it is flushed, the replica serves it without anybody writing more.
        admin.batch("CHECKPOINT").await.unwrap();
        pair.caught_up().await;
    });
}

#[test]
fn the_wait_follows_the_primary_s_setting() {
    block_on(async {
        let settings = [("wal_writer_delay", "10ms")];
        let pair = Pair::start(&settings, SETUP).await;
        let policy = Policy {
            look: Duration::from_millis(50),
            ..Policy::default()
        };
        let executor = executor(&pair, "sync_off", policy).await;
        let admin = pair.admin().await;
        // Nothing is flushed for ten seconds, and the wait ends at its bound.
        admin
            .batch("ALTER SYSTEM SET wal_writer_delay = '1s'")
            .await
            .unwrap();
        admin.batch("SELECT pg_reload_conf()").await.unwrap();
        let patience = Patience::begin();
        let mut n = 0;
        loop {
            n += 1;
            let mut client = executor.conversation();
            let params = [Param::Int(2), Param::Int(n)];
            client.run(WRITE, &params).await.unwrap();
            client.call(&READ, &[Param::Int(2)]).await.unwrap();
            // With 10 ms it would be given up after 110.
            if executor.counts().waits.wait_ms_max > 200.0 {
                break;
            }
            assert!(patience.lasts(), "not within {PATIENCE:?}");
        }
    });
}

#[test]
fn a_paused_replica_gets_no_reads_until_it_has_caught_up() {
    block_on(async {
        let pair = Pair::start(&[], SETUP).await;
        let executor = executor(&pair, "sync_on", quick()).await;
        let standby = pair.standby_admin().await;
        let mut client = executor.conversation().reading_in(Pool::Olap);
        let read = &[Param::Int(3)];
        let ran = client.call(&READ, read).await.unwrap();
        assert_eq!(
            (ran.decision.node, ran.decision.pool),
            (Node::Replica, Pool::Olap)
        );
        standby.batch("SELECT pg_wal_replay_pause()").await.unwrap();
        until_barred(&executor, Some(Barred::Paused)).await;
        let before = executor.counts().waits;
        let ran = client.call(&READ, read).await.unwrap();
        assert_eq!(
            (ran.decision.node, ran.decision.rule, ran.again),
            (Node::Primary, Rule::ReplicaLags, false)
        );
        // Who wrote does not wait either.
        client
            .run(WRITE, &[Param::Int(3), Param::Int(7)])
            .await
            .unwrap();
        let ran = client.call(&READ, read).await.unwrap();
        assert_eq!(ran.table.first("n").text(), Some("7"));
        assert_eq!(executor.counts().waits, before);
        assert_eq!(
            executor.counts().fallbacks[&Fallback::Barred(Barred::Paused)],
            2
        );
        standby
            .batch("SELECT pg_wal_replay_resume()")
            .await
            .unwrap();
        until_barred(&executor, None).await;
        let ran = client.call(&READ, read).await.unwrap();
        assert_eq!(ran.table.first("n").text(), Some("7"));
        let status = executor.replica_status().unwrap();
        assert!(status.opened >= 1 && status.since_s < 30.0, "{status:?}");
    });
}

#[test]
fn a_lag_in_bytes_keeps_reads_away_until_it_is_made_up() {
    block_on(async {
        let pair = Pair::start(&[], SETUP).await;
        let standby = pair.standby_admin().await;
        let small = Policy {
            lag_bytes: 100_000,
            lag: Duration::from_secs(3_600),
            ..quick()
        };
        let executor = executor(&pair, "sync_on", small).await;
        let set = "ALTER SYSTEM SET recovery_min_apply_delay = '3s'";
        standby.batch(set).await.unwrap();
        standby.batch("SELECT pg_reload_conf()").await.unwrap();
        let admin = pair.admin().await;
        let bulk = "CREATE TABLE bulk AS SELECT g, repeat('x', 100) AS x FROM generate_series(1, 5000) AS g";
        admin.batch(bulk).await.unwrap();
        // Records before the next commit are applied at once; it is the commit that is delayed.
        admin
            .batch("INSERT INTO bulk SELECT * FROM bulk")
            .await
            .unwrap();
        until_barred(&executor, Some(Barred::Lagging)).await;
        until_barred(&executor, None).await;
        let status = executor.replica_status().unwrap();
        assert!(
            status.lag_bytes.is_some_and(|lag| lag < 100_000),
            "{status:?}"
        );
    });
}

/// A report of some hundred milliseconds.
const REPORT: Statement = Statement {
    name: "report",
    types: &["bigint"],
    sql: "SELECT pg_catalog.count(*) + 0 * pg_catalog.sum(pg_catalog.length(pg_catalog.repeat('x', 1 + (g % 50)::int))) AS n
          FROM pg_catalog.generate_series(1, $1) AS g",
};

#[test]
fn no_answer_is_lost_with_the_replica() {
    block_on(async {
        let pair = Pair::start(&[], SETUP).await;
        let executor = executor(&pair, "sync_on", quick()).await;
        let mut readers = JoinSet::new();
        for _ in 0..6 {
            let executor = Arc::clone(&executor);
            readers.spawn(async move {
                let mut client = executor.conversation().reading_in(Pool::Olap);
                let mut answers = 0;
                let patience = Patience::begin();
                let mut after = 0;
                while after < 5 {
                    let ran = client.call(&REPORT, &[Param::Int(300_000)]).await.unwrap();
                    assert_eq!(ran.table.first("n").text(), Some("300000"), "{ran:?}");
                    answers += 1;
                    after += u32::from(executor.replica_status().unwrap().opened > 0);
                    assert!(patience.lasts(), "it is not noticed");
                }
                answers
            });
        }
        let standby = pair.standby_admin().await;
        let running = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE 'EXECUTE report%' AND state = 'active'";
        until(&standby, "reports run", running, &[], |table| {
            table.first("n").int() >= Some(4)
        })
        .await;
        pair.standby.kill_all();
        let mut answers = 0;
        while let Some(done) = readers.join_next().await {
            answers += done.unwrap();
        }
        let counts = executor.counts();
        println!(
            "{answers} answers, run again {:?}, fallbacks {:?}",
            counts.reruns, counts.fallbacks
        );
        assert_eq!(counts.statements(), answers, "each has one answer");
        let lost = Fallback::Barred(Barred::Lost);
        assert!(counts.reruns[&lost] >= 1, "{counts:?}");
        assert_eq!(
            executor.replica_status().unwrap().barred,
            Some(Barred::Lost)
        );
        // Nobody waits for it, and it comes back by itself.
        pair.standby.start_again();
        until_barred(&executor, None).await;
        let mut client = executor.conversation();
        let ran = client.call(&READ, &[Param::Int(4)]).await.unwrap();
        assert_eq!(ran.decision.node, Node::Replica);
    });
}

#[test]
fn a_promoted_replica_answers_nothing_any_more() {
    block_on(async {
        let pair = Pair::start(&[], SETUP).await;
        // It does not look by itself: the statement itself finds out.
        let policy = Policy {
            look: Duration::from_secs(3_600),
            ..Policy::default()
        };
        let executor = executor(&pair, "sync_on", policy).await;
        let read = &[Param::Int(5)];
        let mut client = executor.conversation();
        let ran = client.call(&READ, read).await.unwrap();
        assert_eq!(ran.decision.node, Node::Replica);
        let standby = pair.standby_admin().await;
        standby.batch("SELECT pg_promote()").await.unwrap();
        standby
            .batch("UPDATE public.trial SET n = -1")
            .await
            .unwrap();
        for attempt in 0..50 {
            let ran = client.call(&READ, read).await.unwrap();
            assert_eq!(ran.table.first("n").text(), Some("0"), "{attempt}: {ran:?}");
            if attempt == 0 {
                assert!(ran.again, "{ran:?}");
            }
        }
        let promoted = Fallback::Barred(Barred::Promoted);
        let counts = executor.counts();
        assert_eq!(counts.reruns[&promoted], 1, "{counts:?}");
        assert_eq!(
            executor.replica_status().unwrap().barred,
            Some(Barred::Promoted)
        );
    });
}

#[test]
fn a_copy_of_another_server_gets_no_reads() {
    block_on(async {
        let pair = Pair::start(&[], SETUP).await;
        let other = Pair::start(&[], SETUP).await;
        let admin = other.admin().await;
        admin.batch("UPDATE public.trial SET n = -1").await.unwrap();
        let target = |role: &str| pair.primary.target("postgres", role);
        let there = other.standby.target("postgres", "reader");
        let lanes = Pools::new(
            [target("sync_on"), target("reader")],
            Some([there.clone(), there]),
        );
        let router = Router::new(Catalogue::connect(target("reader")).await.unwrap());
        let executor = Executor::with_policy(router, lanes, quick());
        let status = executor.ready().await.unwrap();
        assert_eq!(status.barred, Some(Barred::Foreign), "{status:?}");
        let mut client = executor.conversation();
        let ran = client.call(&READ, &[Param::Int(6)]).await.unwrap();
        assert_eq!(ran.table.first("n").text(), Some("0"), "{ran:?}");
        assert!(ran.decision.reason.contains("system identifier"));
    });
}
