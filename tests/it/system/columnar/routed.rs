//! The router sends dear reads of the table to the column store, and no others; its answer is PostgreSQL's.

use super::damage::files;
use super::{Store, hour};
use crate::it::server::block_on;
use htap_top::columnar::{Columnar, Options};
use htap_top::pg::{Param, Table};
use htap_top::router::catalogue::Catalogue;
use htap_top::router::executor::{Executor, Fallback, Targets};
use htap_top::router::{Node, Pool, Router, Rule};
use std::sync::Arc;

/// An executor whose reads are dear from a cost of 20 on.
async fn executor(store: &Store) -> Executor<Targets> {
    let path = "DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = early, mart', current_database()); END$$";
    store.client.batch(path).await.unwrap();
    let reader = store.database.target_of("htap_olap");
    let columns = Columnar::open(&reader, &Options::default()).unwrap();
    let router = Router::new(Catalogue::connect(reader.clone()).await.unwrap())
        .with_olap_cost(20.0)
        .with_column_store(Arc::new(columns));
    let lanes = Targets {
        oltp: store.database.target(),
        olap: reader,
        replica: None,
    };
    Executor::new(router, lanes)
}

/// The rule by which a statement runs in a conversation of its own, and its answer.
async fn ran(executor: &Executor<Targets>, sql: &str, params: &[Param<'_>]) -> (Rule, Table) {
    let ran = executor.conversation().run(sql, params).await;
    let ran = ran.unwrap_or_else(|error| panic!("{error}: {sql}"));
    assert_eq!(ran.decision.node, Node::Primary, "{sql}");
    (ran.decision.rule, ran.table)
}

const DEAR: &str = "SELECT category, count(*), sum(sales_amount), max(sale_time) FROM fact_sales GROUP BY category ORDER BY count(*), sum(sales_amount)";

#[expect(clippy::too_many_lines, reason = "one story")]
#[test]
fn dear_reads_of_the_table_go_to_the_column_store_and_others_do_not() {
    block_on(async {
        let store = Store::new().await;
        let until = hour(&store.client, "now() - interval '2 days'").await;
        store.sync(Some(until)).await.unwrap();
        let executor = executor(&store).await;
        let reader = store.database.connect_as("htap_olap").await;
        for sql in [
            DEAR,
            "SELECT count(*) FROM mart.fact_sales /* all */ ;",
            "SELECT s.user_segment, sum(d.amount) FROM user_day AS d JOIN fact_sales AS s ON s.user_id = d.user_id \
             GROUP BY s.user_segment ORDER BY sum(d.amount)",
        ] {
            let (rule, table) = ran(&executor, sql, &[]).await;
            assert_eq!(rule, Rule::Columnar, "{sql}");
            assert_eq!(table, reader.query_text(sql, usize::MAX).await.unwrap());
        }
        let counts = executor.counts();
        let columnar = |lane: &((Rule, htap_top::router::Lane), &u64)| lane.0.0 == Rule::Columnar;
        let sent: Vec<_> = counts
            .decisions
            .iter()
            .map(|(key, n)| (*key, n))
            .filter(columnar)
            .collect();
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].0.1.pool, sent[0].1), (Pool::Olap, &3));
        let count = Param::Int(0);
        for (sql, params, why) in [
            ("EXPLAIN SELECT count(*) FROM fact_sales", &[][..], ""),
            (
                "SELECT count(*) FROM fact_sales WHERE quantity > $1",
                &[count][..],
                "",
            ),
            (
                "SELECT count(*) FROM fact_sales AS f JOIN shop.orders AS o USING (order_id)",
                &[][..],
                "",
            ),
            (
                "SELECT count(*) FROM mart.fact_sales AS a JOIN fact_sales AS b USING (order_id)",
                &[][..],
                "",
            ),
            (
                "SELECT stddev(quantity) FROM fact_sales",
                &[][..],
                "does not answer it",
            ),
            (
                "SELECT count(*) FROM fact_sales WHERE order_id = 7 AND sale_time > now() + interval '1 day'",
                &[][..],
                "",
            ),
        ] {
            let answered = executor.conversation().run(sql, params).await;
            let decision = answered
                .unwrap_or_else(|error| panic!("{error}: {sql}"))
                .decision;
            assert_ne!(decision.rule, Rule::Columnar, "{sql}");
            assert!(decision.reason.contains(why), "{sql}: {}", decision.reason);
        }

        // A transaction stays where it began; a session reads what it has written.
        let mut client = executor.conversation();
        client.run("BEGIN", &[]).await.unwrap();
        let within = client.run(DEAR, &[]).await.unwrap();
        assert_eq!(within.decision.rule, Rule::InTransaction);
        client.run("COMMIT", &[]).await.unwrap();
        let more = "UPDATE mart.fact_sales SET quantity = quantity + 1000 WHERE order_id = (SELECT min(order_id) FROM mart.fact_sales)";
        client.run(more, &[]).await.unwrap();
        let sum = "SELECT sum(quantity) FROM fact_sales";
        let after = client.run(sum, &[]).await.unwrap();
        assert_eq!(after.decision.rule, Rule::Columnar);
        assert_eq!(
            after.table,
            reader.query_text(sum, usize::MAX).await.unwrap()
        );

        // Without its files the primary answers.
        for file in files(&store) {
            std::fs::remove_file(file).unwrap();
        }
        let (rule, table) = ran(&executor, sum, &[]).await;
        assert_eq!(rule, Rule::NoReplica);
        assert_eq!(table, after.table);
        assert_eq!(
            executor.counts().fallbacks.get(&Fallback::Columnar),
            Some(&1)
        );
    });
}

#[test]
fn names_that_mean_something_else_stay_with_postgresql() {
    block_on(async {
        let store = Store::new().await;
        store.sync(None).await.unwrap();
        let dear = executor(&store).await;
        assert_eq!(ran(&dear, DEAR, &[]).await.0, Rule::Columnar);
        for (plant, remove) in [
            (
                "CREATE SCHEMA early; GRANT USAGE ON SCHEMA early TO htap_olap;
                 CREATE TABLE early.fact_sales AS SELECT * FROM mart.fact_sales; ANALYZE early.fact_sales;
                 GRANT SELECT ON early.fact_sales TO htap_olap",
                "DROP TABLE early.fact_sales",
            ),
            (
                "CREATE FUNCTION early.max(timestamptz) RETURNS timestamptz IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
                "DROP FUNCTION early.max(timestamptz)",
            ),
            (
                "CREATE FUNCTION early.same(smallint, integer) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT true';
                 CREATE OPERATOR early.= (FUNCTION = early.same, LEFTARG = smallint, RIGHTARG = integer)",
                "DROP OPERATOR early.= (smallint, integer)",
            ),
        ] {
            store.client.batch(plant).await.unwrap();
            let planted = executor(&store).await;
            assert_ne!(ran(&planted, DEAR, &[]).await.0, Rule::Columnar, "{plant}");
            store.client.batch(remove).await.unwrap();
            let removed = executor(&store).await;
            assert_eq!(ran(&removed, DEAR, &[]).await.0, Rule::Columnar, "{remove}");
        }
    });
}
