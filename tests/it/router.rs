//! The router on real servers: its decisions, the promise that a reader never refuses what it gets, and the
//! executor's handling of sessions, replicas and mistakes.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

mod command;
mod executor;
mod generated;
mod pair;
mod published;
mod replica;
mod rules;
mod watched;

use crate::it::server::{Database, block_on};
use crate::it::system::shop;
use htap_top::router::catalogue::Catalogue;
use htap_top::router::traps::TRAPS;
use htap_top::router::{Decision, Node, Outcome, Pool, ReplicaState, Router, Session};

/// A router with the privileges of this database's reading role.
async fn router(database: &Database<'_>) -> Router {
    let target = database.target_of("htap_olap");
    Router::new(Catalogue::connect(target).await.unwrap())
}

/// The decision for a fresh session, with a replica that has replayed everything.
async fn decide(router: &Router, sql: &str) -> Decision {
    router
        .route(&Session::default(), sql, ReplicaState::Current)
        .await
}

/// The decisions for one session in which every statement succeeds.
async fn story(router: &Router, statements: &[&str]) -> Vec<Decision> {
    let mut session = Session::default();
    let mut decisions = Vec::new();
    for sql in statements {
        let decision = router.route(&session, sql, ReplicaState::Current).await;
        session.settle(&decision, Outcome::Done(None));
        decisions.push(decision);
    }
    decisions
}

#[test]
fn all_traps_are_decided_right() {
    block_on(async {
        let database = shop().await;
        // Three thousand orders: the smallest report costs 70, a point query 8.
        let router = router(&database).await.with_olap_cost(50.0);
        let reader = database.connect_as("htap_olap").await;
        for trap in &TRAPS {
            let decision = decide(&router, trap.sql).await;
            assert_eq!(decision.lane(), trap.right, "{}: {decision:?}", trap.sql);
            assert!(trap.is_right(&decision) && !decision.reason.is_empty());
            if decision.node == Node::Replica {
                reader.query_text(trap.sql, 10).await.unwrap();
            }
        }
    });
}

#[test]
fn the_pool_is_a_matter_of_cost_not_of_words() {
    block_on(async {
        let database = shop().await;
        let router = router(&database).await.with_olap_cost(50.0);
        for (sql, pool) in [
            (
                "SELECT count(*) FROM shop.users WHERE user_id = 7",
                Pool::Oltp,
            ),
            (
                "SELECT count(*) FROM shop.users WHERE user_id = $1",
                Pool::Oltp,
            ),
            (
                "SELECT * FROM shop.users WHERE user_id IN (1, 2, 3)",
                Pool::Oltp,
            ),
            ("SELECT * FROM shop.orders", Pool::Olap),
            ("SELECT * FROM shop.orders LIMIT 5", Pool::Oltp),
            ("SELECT * FROM shop.orders LIMIT 3000", Pool::Olap),
            (
                "SELECT o.order_id FROM shop.orders o JOIN shop.order_items i USING (order_id)",
                Pool::Olap,
            ),
            (
                "SELECT user_id FROM shop.orders WHERE total_amount > $1",
                Pool::Olap,
            ),
            ("EXPLAIN ANALYZE SELECT * FROM shop.orders", Pool::Olap),
            ("VALUES (1), (2)", Pool::Oltp),
            ("TABLE shop.orders", Pool::Olap),
            ("SELECT * FROM generate_series(1, 1000000)", Pool::Olap),
            ("SELECT * FROM generate_series(1, 10)", Pool::Oltp),
        ] {
            let decision = decide(&router, sql).await;
            assert_eq!(
                (decision.node, decision.pool),
                (Node::Replica, pool),
                "{sql}: {decision:?}"
            );
            assert!(decision.cost.is_some(), "{sql}");
        }
        // The same statement with another constant after = is not planned again; with another end of a range
        // it is.
        let first = decide(&router, "SELECT * FROM shop.orders WHERE user_id < 10").await;
        let other = decide(&router, "SELECT * FROM shop.orders WHERE user_id < 15000").await;
        assert!(first.cost < other.cost, "{first:?} {other:?}");
        let client = database.connect().await;
        client.batch("DROP TABLE shop.users CASCADE").await.unwrap();
        let known = decide(&router, "SELECT count(*) FROM shop.users WHERE user_id = 8").await;
        assert_eq!(known.node, Node::Replica);
    });
}

#[test]
fn what_is_known_is_forgotten_when_told() {
    block_on(async {
        let database = shop().await;
        let router = router(&database).await;
        let client = database.connect().await;
        let function = |volatility: &str| {
            format!(
                "CREATE OR REPLACE FUNCTION public.rate() RETURNS int LANGUAGE sql {volatility} AS 'SELECT 1'"
            )
        };
        client.batch(&function("STABLE")).await.unwrap();
        let sql = "SELECT rate()";
        assert_eq!(decide(&router, sql).await.node, Node::Replica);
        client.batch(&function("VOLATILE")).await.unwrap();
        assert_eq!(decide(&router, sql).await.node, Node::Replica, "kept");
        router.forget().await;
        assert_eq!(decide(&router, sql).await.node, Node::Primary);
    });
}
