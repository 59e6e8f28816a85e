//! A real streaming replica: a session reads its own writes, there or on the primary.

use crate::it::server::{Order, PATIENCE, Patience, Server, block_on, until};
use htap_top::demo::cluster::SUPERUSER;
use htap_top::pg::Client;
use htap_top::system::router::catalogue::Catalogue;
use htap_top::system::router::executor::{Executor, Targets, replica_state};
use htap_top::system::router::{Lsn, Node, Pool, ReplicaState, Router, Rule};

const SETUP: &str = "
    CREATE ROLE reader LOGIN;
    ALTER ROLE reader SET default_transaction_read_only = on;
    CREATE TABLE notes (n int);
    CREATE UNLOGGED TABLE drafts (n int);
    GRANT SELECT ON notes, drafts TO reader;
    CREATE FUNCTION secret() RETURNS bigint LANGUAGE plpgsql STABLE AS
    $$ BEGIN RETURN (SELECT count(*) FROM drafts); END $$;
    CREATE FUNCTION lie() RETURNS bigint LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN txid_current(); END $$";

#[test]
fn a_session_reads_its_writes_from_a_real_replica() {
    // Otherwise a commit is not even sent before the WAL writer's next round.
    let primary = Server::start(&Order {
        settings: vec![("synchronous_commit".into(), "on".into())],
        ..Order::default()
    });
    let admin = primary.target("postgres", SUPERUSER);
    block_on(async {
        let client = Client::connect(&admin).await.unwrap();
        client.batch(SETUP).await.unwrap();
    });
    let standby = primary.replica();
    block_on(async {
        let lanes = Targets {
            oltp: admin.clone(),
            olap: primary.target("postgres", "reader"),
            replica: Some((
                standby.target("postgres", "reader"),
                standby.target("postgres", "reader"),
            )),
        };
        let catalogue = Catalogue::connect(primary.target("postgres", "reader"))
            .await
            .unwrap();
        let executor = Executor::new(Router::new(catalogue), lanes);
        let replica = Client::connect(&standby.target("postgres", SUPERUSER))
            .await
            .unwrap();
        assert!(matches!(
            replica_state(&replica).await,
            Ok(ReplicaState::Replayed(_))
        ));
        let counted = "SELECT count(*) AS n, pg_is_in_recovery() AS standby FROM notes";
        let read = "SELECT count(*) AS n FROM notes";
        let mut client = executor.conversation();

        // Nothing written: the replica reads.
        let ran = client.run(read, &[]).await.unwrap();
        assert_eq!(
            (ran.decision.node, ran.decision.pool),
            (Node::Replica, Pool::Oltp),
            "{ran:?}"
        );

        // Replay stands still: the primary reads, and has the row.
        replica.batch("SELECT pg_wal_replay_pause()").await.unwrap();
        until(
            &replica,
            "paused",
            "SELECT pg_get_wal_replay_pause_state() AS s",
            &[],
            |table| table.first("s").text() == Some("paused"),
        )
        .await;
        client
            .run("INSERT INTO notes VALUES (1)", &[])
            .await
            .unwrap();
        let ran = client.run(read, &[]).await.unwrap();
        assert_eq!(
            (ran.decision.rule, ran.decision.node),
            (Rule::ReadYourWrites, Node::Primary),
            "{ran:?}"
        );
        assert_eq!(ran.table.first("n").number(), Some(1.0));
        assert!(ran.decision.replayed < ran.decision.wrote && ran.decision.replayed > Some(Lsn(0)));
        // Another client wrote nothing, and may read what is old.
        let other = executor.conversation().run(read, &[]).await.unwrap();
        assert_eq!(
            (other.decision.node, other.table.first("n").number()),
            (Node::Replica, Some(0.0))
        );

        // It goes on: as soon as the row is there, the replica reads again.
        replica
            .batch("SELECT pg_wal_replay_resume()")
            .await
            .unwrap();
        let patience = Patience::begin();
        loop {
            let ran = client.run(read, &[]).await.unwrap();
            assert_eq!(
                ran.table.first("n").number(),
                Some(1.0),
                "never older than its own write"
            );
            if ran.decision.node == Node::Replica {
                break;
            }
            assert!(patience.lasts(), "not within {PATIENCE:?}: {ran:?}");
        }

        // Read by read, on a replica that follows: always what was written last.
        for n in 2..30 {
            client
                .run(&format!("INSERT INTO notes VALUES ({n})"), &[])
                .await
                .unwrap();
            let ran = client.run(read, &[]).await.unwrap();
            assert_eq!(ran.table.first("n").number(), Some(f64::from(n)), "{ran:?}");
        }
        // Which server answered is nobody's business but the primary's.
        let ran = client.run(counted, &[]).await.unwrap();
        assert_eq!(ran.decision.node, Node::Primary);

        // What only a standby refuses is run on the primary.
        let mut other = executor.conversation();
        for sql in ["SELECT secret()", "SELECT lie()"] {
            let ran = other.run(sql, &[]).await.unwrap();
            assert!(ran.again && ran.decision.node == Node::Replica, "{ran:?}");
        }
        let counts = executor.counts();
        assert_eq!((counts.misroutes, counts.fallbacks), (1, 1), "{counts:?}");

        // The replica is gone: reads go on.
        drop(standby);
        let ran = other.run(read, &[]).await.unwrap();
        assert_eq!(ran.table.first("n").number(), Some(29.0));
        assert!(ran.decision.node == Node::Primary || ran.again, "{ran:?}");
    });
}
