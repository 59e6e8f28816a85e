//! A real streaming replica: a session reads its own writes, on the replica or on the primary.

use super::pair::Pair;
use crate::it::server::{PATIENCE, Patience, block_on, until};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::Client;
use htap_top::router::catalogue::Catalogue;
use htap_top::router::executor::{Conversation, Executor, Fallback, Policy, Ran, Targets};
use htap_top::router::{Lsn, Node, Pool, Router, Rule};
use std::time::Duration;

const SETUP: &str = "
    CREATE ROLE reader LOGIN;
    ALTER ROLE reader SET default_transaction_read_only = on;
    CREATE TABLE notes (n int);
    CREATE UNLOGGED TABLE drafts (n int);
    GRANT SELECT ON notes, drafts TO reader;
    CREATE FUNCTION secret() RETURNS bigint LANGUAGE plpgsql STABLE AS
    $$ BEGIN RETURN (SELECT count(*) FROM drafts); END $$;
    CREATE FUNCTION lie() RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN txid_current(); END $$";

async fn start() -> Pair {
    Pair::start(&[("synchronous_commit", "on")], SETUP).await
}

/// It looks once at the beginning, and then only for those who wait.
async fn executor(pair: &Pair) -> Executor<Targets> {
    let reader = pair.primary.target("postgres", "reader");
    let policy = Policy {
        look: Duration::from_secs(3_600),
        ..Policy::default()
    };
    let executor = Executor::with_policy(
        Router::new(Catalogue::connect(reader).await.unwrap()),
        pair.targets("postgres", SUPERUSER, "reader"),
        policy,
    );
    let status = executor.ready().await.unwrap();
    assert_eq!(status.barred, None, "{status:?}");
    executor
}

async fn count(client: &mut Conversation<'_, Targets>) -> (Ran, f64) {
    let ran = client
        .run("SELECT count(*) AS n FROM notes", &[])
        .await
        .unwrap();
    let n = ran.table.first("n").number().unwrap();
    (ran, n)
}

async fn write(client: &mut Conversation<'_, Targets>) {
    let insert = "INSERT INTO notes VALUES (1)";
    let ran = client.run(insert, &[]).await.unwrap();
    assert_eq!(ran.decision.node, Node::Primary);
}

#[test]
fn a_real_replica_serves_what_it_can() {
    block_on(async {
        let pair = start().await;
        let executor = executor(&pair).await;
        let standby = pair.standby_admin().await;
        a_session_reads_its_writes(&executor, &standby).await;
        what_a_replica_cannot_do_the_primary_does(&executor).await;
        drop(pair.standby);
        let (ran, n) = count(&mut executor.conversation()).await;
        assert!((n - 29.0).abs() < 0.5);
        assert_eq!(
            (ran.decision.rule, ran.decision.node),
            (Rule::NoReplica, Node::Primary)
        );
    });
}

async fn a_session_reads_its_writes(executor: &Executor<Targets>, standby: &Client) {
    let mut client = executor.conversation();
    let (ran, _) = count(&mut client).await;
    assert_eq!(
        (ran.decision.node, ran.decision.pool),
        (Node::Replica, Pool::Oltp),
        "nothing written yet"
    );

    standby.batch("SELECT pg_wal_replay_pause()").await.unwrap();
    let paused = "SELECT pg_get_wal_replay_pause_state() AS state";
    until(standby, "replay stands still", paused, &[], |table| {
        table.first("state").text() == Some("paused")
    })
    .await;
    write(&mut client).await;
    let (ran, n) = count(&mut client).await;
    assert_eq!(
        (ran.decision.rule, ran.decision.node, n),
        (Rule::ReadYourWrites, Node::Primary, 1.0)
    );
    let decision = ran.decision;
    assert!(decision.replayed < decision.wrote && decision.replayed > Some(Lsn(0)));
    let (ran, n) = count(&mut executor.conversation()).await;
    assert_eq!(
        (ran.decision.node, n),
        (Node::Replica, 0.0),
        "who wrote nothing may read what is old"
    );

    standby
        .batch("SELECT pg_wal_replay_resume()")
        .await
        .unwrap();
    let patience = Patience::begin();
    loop {
        let (ran, n) = count(&mut client).await;
        assert!((n - 1.0).abs() < 0.5, "older than its own write: {ran:?}");
        if ran.decision.node == Node::Replica {
            break;
        }
        assert!(patience.lasts(), "not within {PATIENCE:?}: {ran:?}");
    }
    for written in 2..30 {
        write(&mut client).await;
        let (ran, n) = count(&mut client).await;
        assert!((n - f64::from(written)).abs() < 0.5, "{ran:?}");
    }
}

async fn what_a_replica_cannot_do_the_primary_does(executor: &Executor<Targets>) {
    let mut client = executor.conversation();
    let where_am_i = "SELECT pg_is_in_recovery() AS standby";
    let ran = client.run(where_am_i, &[]).await.unwrap();
    assert_eq!(ran.decision.node, Node::Primary);
    let mut client = executor.conversation();
    for sql in ["SELECT secret()", "SELECT lie()"] {
        let ran = client.run(sql, &[]).await.unwrap();
        assert!(ran.again && ran.decision.node == Node::Replica, "{ran:?}");
    }
    let counts = executor.counts();
    assert_eq!(
        (counts.misroutes(), counts.reruns[&Fallback::NotOnStandby]),
        (1, 1),
        "{counts:?}"
    );
}

/// Settings and temporary objects of a client are available to its later statements.
#[test]
fn what_a_session_has_made_is_read_where_it_is() {
    block_on(async {
        let pair = start().await;
        let admin = pair.admin().await;
        admin
            .batch("CREATE TABLE users AS SELECT 1 AS user_id; GRANT SELECT ON users TO reader")
            .await
            .unwrap();
        let executor = executor(&pair).await;
        for (made, user_id) in [
            ("SELECT 77 AS user_id INTO pg_temp.users", 77.0),
            (
                "DO $$ BEGIN CREATE TEMP TABLE users AS SELECT 78 AS user_id; END $$",
                78.0,
            ),
        ] {
            let mut client = executor.conversation();
            client.run(made, &[]).await.unwrap();
            let ran = client.run("SELECT user_id FROM users", &[]).await.unwrap();
            assert_eq!(ran.table.first("user_id").number(), Some(user_id), "{made}");
        }
        // A transaction that only reads until it declares otherwise.
        let mut client = executor.conversation();
        let began = client.run("BEGIN READ ONLY", &[]).await.unwrap();
        assert_eq!(began.decision.node, Node::Replica);
        let set = client.run("SET TRANSACTION READ WRITE", &[]).await.unwrap();
        assert_eq!(set.decision.node, Node::Primary);
        client
            .run("INSERT INTO notes VALUES (1)", &[])
            .await
            .unwrap();
        client.run("COMMIT", &[]).await.unwrap();
        let notes = admin.query("SELECT count(*) AS n FROM notes", &[]).await;
        assert_eq!(notes.unwrap().first("n").int(), Some(1));
        // Errors of PostgreSQL on one server are errors here.
        client.run("BEGIN READ ONLY", &[]).await.unwrap();
        client.run("SELECT 1", &[]).await.unwrap();
        let refused = client.run("SET TRANSACTION READ WRITE", &[]).await;
        assert!(refused.is_err());
        client.run("ROLLBACK", &[]).await.unwrap();
        // A session-level setting survives the transaction.
        for sql in ["BEGIN READ ONLY", "SET work_mem = '77MB'", "COMMIT"] {
            client.run(sql, &[]).await.unwrap();
        }
        let ran = client.run("SHOW work_mem", &[]).await.unwrap();
        assert_eq!(ran.table.first("work_mem").text(), Some("77MB"));
    });
}
