//! The executor: the servers on which statements really run, and the errors it recovers from.

use super::pair::{Pair, shop_copy};
use super::router;
use crate::it::server::{Database, Patience, block_on, until};
use crate::it::system::number;
use htap_top::pg::Param;
use htap_top::router::executor::{Executor, Fallback, Targets};
use htap_top::router::{Barred, Node, Pool, Rule};
use std::sync::Arc;

/// `lie()` is declared read-only, but writes.
const LIAR: &str = "
    CREATE TABLE public.log (n int);
    GRANT SELECT, INSERT ON public.log TO htap_oltp;
    GRANT SELECT ON public.log TO htap_olap;
    CREATE FUNCTION public.write() RETURNS int LANGUAGE sql AS 'INSERT INTO public.log VALUES (1) RETURNING n';
    CREATE FUNCTION public.lie() RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN public.write(); END'";

async fn executor(pair: &Pair, database: &Database<'_>) -> Executor<Targets> {
    let lanes = pair.targets(&database.name, "htap_oltp", "htap_olap");
    let executor = Executor::new(router(database).await, lanes);
    let status = executor.ready().await.unwrap();
    assert_eq!(status.barred, None, "{status:?}");
    executor
}

#[test]
fn a_lie_is_found_out_and_mended_once() {
    block_on(async {
        let (pair, database) = shop_copy(LIAR).await;
        let admin = database.connect().await;
        let executor = executor(pair, &database).await;
        let mut client = executor.conversation();
        let ran = client.run("SELECT lie() AS n", &[]).await.unwrap();
        assert_eq!(
            (ran.decision.node, ran.decision.rule),
            (Node::Replica, Rule::Read)
        );
        assert!(ran.again, "{ran:?}");
        assert_eq!(ran.table.first("n").int(), Some(1));
        assert_eq!(number(&admin, "SELECT count(*) FROM log").await, 1);
        assert_eq!(executor.counts().misroutes(), 1);
        assert!(client.session().wrote().is_some(), "it wrote after all");
        // Inside a transaction nothing may run elsewhere.
        client.run("BEGIN READ ONLY", &[]).await.unwrap();
        let refused = client.run("SELECT lie()", &[]).await.unwrap_err();
        assert_eq!(refused.code(), "25006");
        client.run("COMMIT", &[]).await.unwrap();
        assert_eq!(number(&admin, "SELECT count(*) FROM log").await, 1);
        assert_eq!(executor.counts().misroutes(), 1);
        // Any other error is passed to the client.
        let error = client.run("SELECT 1 / (SELECT 0)", &[]).await.unwrap_err();
        assert_eq!(error.code(), "22012");
        let counts = executor.counts();
        let others = counts.fallbacks.iter();
        let others =
            others.filter(|(why, _)| !matches!(why, Fallback::ReadOnly | Fallback::NotCaughtUp));
        assert_eq!(others.count(), 0, "{counts:?}");
    });
}

#[test]
fn a_reader_of_reports_stays_in_the_olap_pool_until_it_writes() {
    block_on(async {
        let (pair, database) = shop_copy(LIAR).await;
        let admin = database.connect().await;
        admin
            .batch("CREATE FUNCTION public.reader() RETURNS text LANGUAGE sql AS 'SELECT current_user::text'")
            .await
            .unwrap();
        let executor = executor(pair, &database).await;
        let mut client = executor.conversation().reading_in(Pool::Olap);
        let ran = client.run("SELECT public.reader() AS role", &[]).await;
        let ran = ran.unwrap();
        assert_eq!(ran.decision.rule, Rule::VolatileFunction);
        assert_eq!(ran.decision.node, Node::Primary);
        assert_eq!(ran.table.first("role").text(), Some("htap_olap"));
        assert!(!ran.again);
        let ran = client.run("SELECT public.write() AS n", &[]).await.unwrap();
        assert!(ran.again, "{ran:?}");
        assert_eq!(number(&admin, "SELECT count(*) FROM log").await, 1);
        // A lock of the session must not stay behind in a session of the pool.
        let ran = client.run("SELECT pg_advisory_lock(1)", &[]).await.unwrap();
        assert_eq!(ran.decision.pool, Pool::Oltp, "{:?}", ran.decision);
        assert!(client.session().holds());
        // An ordinary client of the same executor goes where it belongs.
        let mut client = executor.conversation();
        let ran = client.run("SELECT public.reader() AS role", &[]).await;
        let ran = ran.unwrap();
        assert_eq!(ran.table.first("role").text(), Some("htap_oltp"));
    });
}

#[test]
fn statements_run_where_they_belong() {
    block_on(async {
        let (pair, database) = shop_copy(LIAR).await;
        let executor = Arc::new(executor(pair, &database).await);
        let whom = "SELECT current_user::text AS role";
        let other = Arc::clone(&executor);
        // Conversations may run in separate tasks.
        let reader = tokio::spawn(async move { other.conversation().run(whom, &[]).await });
        let ran = reader.await.unwrap().unwrap();
        assert_eq!(ran.table.first("role").text(), Some("htap_olap"));
        let mut client = executor.conversation();
        for (sql, role) in [
            ("BEGIN", None),
            (whom, Some("htap_oltp")),
            ("INSERT INTO log VALUES (2)", None),
            ("ROLLBACK", None),
            ("SET application_name = 'kept'", None),
            (
                "SELECT current_setting('application_name') AS role",
                Some("kept"),
            ),
            ("DISCARD ALL", None),
            ("BEGIN READ ONLY", None),
        ] {
            let ran = client.run(sql, &[]).await.unwrap();
            assert_eq!(ran.table.first("role").text(), role, "{sql}");
        }
        assert_eq!(
            client.session().transaction().map(|lane| lane.pool),
            Some(Pool::Olap)
        );
        client.run("END", &[]).await.unwrap();
        assert!(!client.session().holds());
        // Parameters, with the types they are sent with.
        let products = [1, 2, 3];
        let sql = "SELECT count(*) AS n FROM shop.products WHERE product_id = ANY ($1)";
        let ran = client.run(sql, &[Param::Ints(&products)]).await.unwrap();
        assert_eq!(ran.decision.pool, Pool::Oltp, "{:?}", ran.decision);
        assert_eq!(ran.table.first("n").int(), Some(3));
        let counts = executor.counts();
        let inside = counts
            .decisions
            .iter()
            .filter(|((rule, _), _)| *rule == Rule::InTransaction);
        assert_eq!(inside.map(|(_, count)| count).sum::<u64>(), 4, "{counts:?}");
    });
}

#[test]
fn who_is_no_replica_gets_no_reads() {
    block_on(async {
        let (_, database) = shop_copy(LIAR).await;
        let reader = database.target_of("htap_olap");
        let lanes = Targets {
            oltp: database.target_of("htap_oltp"),
            olap: reader.clone(),
            // The primary itself.
            replica: Some((reader.clone(), reader)),
        };
        let executor = Executor::new(router(&database).await, lanes);
        let mut client = executor.conversation();
        let ran = client.run("SELECT 1 AS n", &[]).await.unwrap();
        assert_eq!(ran.decision.node, Node::Primary, "not looked at yet");
        let status = executor.ready().await.unwrap();
        assert_eq!(status.barred, Some(Barred::Promoted), "{status:?}");
        for write in [
            "INSERT INTO log VALUES (3)",
            "BEGIN; INSERT INTO log VALUES (4); COMMIT",
            "SELECT write()",
        ] {
            let before = client.session().wrote();
            client.run(write, &[]).await.unwrap();
            assert!(client.session().wrote() > before, "{write}");
        }
        let count = "SELECT count(*) AS n FROM log";
        let ran = client.run(count, &[]).await.unwrap();
        assert_eq!(
            (ran.decision.rule, ran.decision.node),
            (Rule::NoReplica, Node::Primary)
        );
        assert_eq!(ran.table.first("n").number(), Some(3.0));
        let counts = executor.counts();
        assert_eq!(counts.on(|lane| lane.node == Node::Replica), 0);
        assert_eq!(
            counts.fallbacks[&Fallback::Barred(Barred::Promoted)],
            1,
            "{counts:?}"
        );
    });
}

#[test]
fn a_lost_connection_ends_its_transaction() {
    block_on(async {
        let (pair, database) = shop_copy(LIAR).await;
        let admin = database.connect().await;
        let executor = executor(pair, &database).await;
        let mut client = executor.conversation();
        client.run("BEGIN", &[]).await.unwrap();
        let pid = client
            .run("SELECT pg_backend_pid() AS pid", &[])
            .await
            .unwrap();
        let pid = pid.table.first("pid").int().unwrap();
        let gone = "SELECT pid FROM pg_stat_activity WHERE pid = $1";
        admin
            .query("SELECT pg_terminate_backend($1::int)", &[Param::Int(pid)])
            .await
            .unwrap();
        until(&admin, "it ends", gone, &[Param::Int(pid)], |table| {
            table.rows.is_empty()
        })
        .await;
        client
            .run("INSERT INTO log VALUES (5)", &[])
            .await
            .unwrap_err();
        assert!(!client.session().holds());
        let ran = client.run("SELECT 1", &[]).await.unwrap();
        assert_eq!(ran.decision.node, Node::Replica, "nothing was committed");
        client.run("INSERT INTO log VALUES (6)", &[]).await.unwrap();
        assert_eq!(number(&admin, "SELECT max(n) FROM log").await, 6);
    });
}

#[test]
fn ddl_of_a_client_is_seen() {
    block_on(async {
        let (pair, database) = shop_copy("GRANT CREATE ON SCHEMA public TO htap_oltp").await;
        let executor = executor(pair, &database).await;
        let mut client = executor.conversation();
        let create = |volatility: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql {volatility} AS 'SELECT 1'"
            )
        };
        client.run(&create("STABLE"), &[]).await.unwrap();
        pair.caught_up().await;
        // On a busy machine the replica may be behind at first.
        let patience = Patience::begin();
        loop {
            let mut other = executor.conversation();
            let other = other.run("SELECT f()", &[]).await.unwrap();
            if other.decision.node == Node::Replica {
                break;
            }
            assert!(patience.lasts(), "{:?}", other.decision);
        }
        client.run(&create("VOLATILE"), &[]).await.unwrap();
        let other = executor
            .conversation()
            .run("SELECT f()", &[])
            .await
            .unwrap();
        assert_eq!(other.decision.rule, Rule::VolatileFunction);
    });
}
