//! Published failures of other routers, with the statements from the reports.

use super::{decide, router, story};
use crate::it::server::block_on;
use crate::it::system::shop;
use htap_top::router::Node;

const TABLES: &str = "
    CREATE TABLE things (id int PRIMARY KEY, status int, counter int, max_counter int, created timestamptz);
    CREATE TABLE usertable (userid int, groupid int, name varchar(55));
    CREATE TABLE write_test_table (id bigserial PRIMARY KEY, info1 int, info2 int);
    CREATE FUNCTION test_write_test_table() RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1..10 LOOP
            INSERT INTO write_test_table (info1, info2) VALUES (i, i * i);
        END LOOP;
    END
    $$;
    GRANT SELECT ON things, usertable, write_test_table TO htap_olap";

#[test]
fn what_others_sent_to_the_replica_goes_to_the_primary() {
    block_on(async {
        let database = shop().await;
        database.connect().await.batch(TABLES).await.unwrap();
        let router = router(&database).await;
        for (source, sql) in [
            ("pgcat 829, as written there", "WITH things AS (UPDATE things WHERE id = 1 RETURNING (id) SELECT id WHERE id = 1"),
            ("pgcat 829", "WITH changed AS (UPDATE things SET status = 1 WHERE id = 1 RETURNING id) SELECT id FROM changed WHERE id = 1"),
            ("pgcat 829", "DELETE FROM things WHERE id IN (SELECT id FROM things WHERE status = 2)"),
            ("pgcat 489", "select nextval('write_test_table_id_seq')"),
            ("pgcat 485", "SELECT test_write_test_table()"),
            ("pgcat 485", "SELECT * FROM test_write_test_table()"),
            ("pgcat 750", "SELECT * FROM usertable u WHERE u.userid=3 FOR UPDATE"),
            (
                "pgcat 887",
                "SELECT things.id FROM things WHERE (things.status = $1 OR (things.counter < (things.max_counter)
                 AND things.created <= (STATEMENT_TIMESTAMP()) AND things.status = $2))
                 ORDER BY things.created ASC NULLS FIRST LIMIT 10 FOR NO KEY\nUPDATE OF things SKIP LOCKED",
            ),
            ("PgDog 134", "SELECT pg_advisory_lock(1)"),
            ("PgDog 158", "/* pgdog_shard: 0 */ SELECT nextval('write_test_table_id_seq')"),
            ("PgDog 151", "CREATE SCHEMA IF NOT EXISTS accounts"),
            (
                "elasticsearch-jdbc 357",
                "WITH new_values AS (SELECT id FROM things), upsert AS (UPDATE things t SET status = 1 FROM new_values n
                 WHERE t.id = n.id RETURNING t.*) INSERT INTO things (id) SELECT id FROM new_values n
                 WHERE NOT EXISTS (SELECT 1 FROM upsert u WHERE u.id = n.id)",
            ),
            (
                "dbhub 271",
                "WITH updated AS (\n  UPDATE things SET status = 2 WHERE id = 1 RETURNING id, status\n)\nSELECT * FROM updated",
            ),
        ] {
            let decision = decide(&router, sql).await;
            assert_eq!(decision.node, Node::Primary, "{source}: {decision:?}");
        }
    });
}

#[test]
fn what_others_took_out_of_a_transaction_stays_in_it() {
    block_on(async {
        let database = shop().await;
        database.connect().await.batch(TABLES).await.unwrap();
        let router = router(&database).await;
        for (source, statements) in [
            (
                "pgpool2 155",
                &["begin", "set transaction_read_only = 0", "commit"][..],
            ),
            (
                "pgpool2 157",
                &[
                    "begin",
                    "create table t1 (id1 int, id2 int)",
                    "select * from t1",
                    "commit",
                ],
            ),
            (
                "pgpool2 5",
                &[
                    "begin",
                    "insert into things (id) values (9)",
                    "select * from things",
                    "commit",
                ],
            ),
        ] {
            for decision in story(&router, statements).await {
                assert_eq!(decision.node, Node::Primary, "{source}: {decision:?}");
            }
        }
    });
}
