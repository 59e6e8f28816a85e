//! Each rule, with statements that it decides.

use super::{decide, router, story};
use crate::it::server::block_on;
use crate::it::system::shop;
use htap_top::router::{Lsn, Node, Outcome, Pool, ReplicaState, Router, Rule, Session};

/// Everything by which a read can write or need the primary.
pub const HIDDEN: &str = "
    CREATE SCHEMA h;
    GRANT USAGE ON SCHEMA h TO htap_olap;
    CREATE TABLE h.log (n int);
    CREATE FUNCTION h.write() RETURNS int LANGUAGE sql AS 'INSERT INTO h.log VALUES (1) RETURNING n';
    CREATE FUNCTION h.pure(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
    CREATE FUNCTION h.random() RETURNS int LANGUAGE sql AS 'SELECT h.write()';
    CREATE TABLE h.t (a int, b text);
    CREATE FUNCTION h.charge(h.t) RETURNS int LANGUAGE sql AS 'SELECT h.write()';
    CREATE FUNCTION h.length(h.t) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE VIEW h.inner_view AS SELECT a, h.write() AS w FROM h.t;
    CREATE VIEW h.outer_view AS SELECT a FROM h.inner_view;
    CREATE VIEW h.counted AS SELECT nextval('shop.users_user_id_seq') AS n;
    CREATE VIEW h.fair AS SELECT a, random() AS r FROM h.t;
    CREATE MATERIALIZED VIEW h.kept AS SELECT a, clock_timestamp() AS t FROM h.t;
    CREATE TABLE h.guarded (a int);
    ALTER TABLE h.guarded ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON h.guarded USING (a > h.write());
    CREATE FUNCTION h.step(int, int) RETURNS int LANGUAGE sql AS 'SELECT h.write()';
    CREATE AGGREGATE h.total(int) (SFUNC = h.step, STYPE = int);
    CREATE UNLOGGED TABLE h.unlogged (a int);
    CREATE TABLE h.parted (a int) PARTITION BY LIST (a);
    CREATE TABLE h.parted_1 PARTITION OF h.parted FOR VALUES IN (1);
    CREATE UNLOGGED TABLE h.parted_2 PARTITION OF h.parted FOR VALUES IN (2);
    CREATE FOREIGN DATA WRAPPER nowhere;
    CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
    CREATE FOREIGN TABLE h.far (a int) SERVER nowhere;
    CREATE SEQUENCE h.s;
    CREATE FUNCTION h.defaulted(a bigint DEFAULT nextval('h.s')) RETURNS bigint LANGUAGE plpgsql STABLE AS
    'BEGIN RETURN a; END';
    CREATE VIEW h.locking AS SELECT a FROM h.t FOR UPDATE;
    CREATE VIEW h.watching AS SELECT pid FROM pg_stat_activity;
    CREATE VIEW h.listing AS SELECT table_name FROM information_schema.tables;
    GRANT SELECT ON ALL TABLES IN SCHEMA h TO htap_olap;
    GRANT SELECT ON ALL SEQUENCES IN SCHEMA h TO htap_olap;
    INSERT INTO h.t VALUES (1, 'x');
    CREATE EXTENSION tablefunc SCHEMA h;
    CREATE EXTENSION dblink SCHEMA h;
    CREATE EXTENSION pgrowlocks SCHEMA h;
    CREATE EXTENSION citext SCHEMA h;
    CREATE VIEW h.asking AS SELECT current_setting('transaction_read_only') AS s;
    GRANT SELECT ON h.asking TO htap_olap";

/// Names whose mere existence makes all statements suspect; separate, because they would affect the others.
const SHADOWS: &str = "
    CREATE FUNCTION h.differs(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT h.write() = $1';
    CREATE OPERATOR h.<!> (LEFTARG = int, RIGHTARG = int, FUNCTION = h.differs);
    CREATE TYPE h.pair AS (a int);
    CREATE FUNCTION h.as_pair(int) RETURNS h.pair LANGUAGE sql AS 'SELECT row(h.write())::h.pair';
    CREATE CAST (int AS h.pair) WITH FUNCTION h.as_pair AS IMPLICIT;
    CREATE FUNCTION h.valid(int) RETURNS boolean LANGUAGE sql AS 'SELECT h.write() = 1';
    CREATE DOMAIN h.checked AS int CHECK (h.valid(VALUE));
    CREATE TABLE h.pairs (p h.pair, q int);
    CREATE FUNCTION h.compare(int, int) RETURNS int LANGUAGE sql AS 'SELECT h.write()';
    CREATE OPERATOR h.<# (LEFTARG = int, RIGHTARG = int, FUNCTION = int4lt);
    CREATE OPERATOR h.=# (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
    CREATE OPERATOR h.># (LEFTARG = int, RIGHTARG = int, FUNCTION = int4gt);
    CREATE OPERATOR CLASS h.odd FOR TYPE int USING btree AS OPERATOR 1 h.<#, OPERATOR 3 h.=#, OPERATOR 5 h.>#,
        FUNCTION 1 h.compare(int, int);
    GRANT SELECT ON h.pairs TO htap_olap";

const PRIMARY: &[(Rule, &str)] = {
    use Rule::{
        DataModifyingCte, ForbiddenPlan, ForeignTable, HiddenStatements, NotARead, NotPlanned,
        ParseError, RowLocks, SelectInto, Sequence, ServerFunction, SessionState,
        SeveralStatements, Show, SystemView, TempTable, TransactionControl, UnloggedTable,
        Unreadable, VolatileFunction,
    };
    &[
        (SeveralStatements, ""),
        (SeveralStatements, "-- nothing"),
        (SeveralStatements, "SELECT 1; DELETE FROM h.t"),
        (SeveralStatements, "SELECT 1; SELECT 2"),
        (ParseError, "SELECT ) FROM shop.users"),
        (
            ParseError,
            "WITH things AS (UPDATE h.t WHERE a = 1 RETURNING (a) SELECT a WHERE a = 1",
        ),
        (Unreadable, "SELECT 'a"),
        (Unreadable, "SELECT U&\"\\0061"),
        (Unreadable, "SELECT U&\"\\d83d\""),
        (Unreadable, "SELECT '\\', h.write(), '\\'"),
        (NotARead, "INSERT INTO h.t SELECT sum(a) FROM h.t"),
        (
            NotARead,
            "MERGE INTO h.t USING h.t AS s ON false WHEN NOT MATCHED THEN DO NOTHING",
        ),
        (NotARead, "COPY (DELETE FROM h.t RETURNING a) TO STDOUT"),
        (NotARead, "COPY h.t TO STDOUT"),
        (NotARead, "CALL h.write()"),
        (NotARead, "DO $$BEGIN END$$"),
        (NotARead, "LOCK TABLE h.t"),
        (NotARead, "NOTIFY a"),
        (NotARead, "TRUNCATE h.t"),
        (NotARead, "REFRESH MATERIALIZED VIEW h.kept"),
        (NotARead, "CREATE TABLE h.u AS SELECT sum(a) FROM h.t"),
        (NotARead, "EXPLAIN ANALYZE DELETE FROM h.t"),
        (NotARead, "EXPLAIN (ANALYZE) CREATE TABLE h.u AS SELECT 1"),
        (NotARead, "explain (analyze off) insert into h.t values (1)"),
        (SessionState, "EXPLAIN EXECUTE p"),
        (SessionState, "SET work_mem = '1MB'"),
        (SessionState, "PREPARE p AS SELECT 1"),
        (SessionState, "DECLARE c CURSOR FOR SELECT 1"),
        (SessionState, "DISCARD ALL"),
        (TransactionControl, "BEGIN"),
        (
            TransactionControl,
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        ),
        (
            DataModifyingCte,
            "WITH d AS (DELETE FROM h.t RETURNING a) SELECT count(*) FROM d",
        ),
        (
            DataModifyingCte,
            "EXPLAIN ANALYZE WITH d AS (DELETE FROM h.t RETURNING a) SELECT count(*) FROM d",
        ),
        (
            DataModifyingCte,
            "WITH x AS (SELECT 1) INSERT INTO h.t SELECT 2",
        ),
        (RowLocks, "SELECT * FROM h.t FOR NO KEY UPDATE SKIP LOCKED"),
        (RowLocks, "SELECT (SELECT a FROM h.t LIMIT 1 FOR KEY SHARE)"),
        (SelectInto, "SELECT a INTO h.u FROM h.t"),
        (VolatileFunction, "SELECT h.write()"),
        (VolatileFunction, "SELECT \"h\" . \"write\" /* */ ( )"),
        (
            VolatileFunction,
            "SELECT 1 FROM h.t WHERE a = 1 ORDER BY h.write()",
        ),
        (
            VolatileFunction,
            "SELECT 1 FROM h.t GROUP BY a HAVING max(h.write()) > 1",
        ),
        (
            VolatileFunction,
            "SELECT CASE WHEN false THEN h.write() END",
        ),
        (VolatileFunction, "VALUES (h.write())"),
        (VolatileFunction, "SELECT * FROM h.write()"),
        (VolatileFunction, "SELECT 1 LIMIT (SELECT h.write())"),
        (VolatileFunction, "SELECT 1 --\r, h.write()"),
        (VolatileFunction, "SELECT h.random()"),
        (VolatileFunction, "SELECT h.total(a) FROM h.t"),
        (VolatileFunction, "SELECT w FROM h.inner_view"),
        (VolatileFunction, "SELECT a FROM h.outer_view"),
        (VolatileFunction, "SELECT a FROM ONLY (h.outer_view)"),
        (VolatileFunction, "TABLE h.outer_view"),
        (
            VolatileFunction,
            "SELECT a FROM h.outer_view WHERE 'x' = 'y'",
        ),
        (VolatileFunction, "SELECT * FROM h.guarded"),
        (VolatileFunction, "SELECT nextval('h.s')"),
        (VolatileFunction, "SELECT currval('h.s')"),
        (VolatileFunction, "SELECT set_config('a.b', 'c', true)"),
        (VolatileFunction, "SELECT pg_notify('a', 'b')"),
        (VolatileFunction, "SELECT pg_advisory_xact_lock(1)"),
        (VolatileFunction, "SELECT lo_create(0)"),
        (VolatileFunction, "SELECT pg_terminate_backend(1)"),
        (VolatileFunction, "SELECT pg_is_in_recovery()"),
        (VolatileFunction, "SELECT pg_current_wal_lsn()"),
        (
            VolatileFunction,
            "SELECT query_to_xml('DELETE FROM h.t', true, false, '')",
        ),
        (VolatileFunction, "SELECT setseed(0.5)"),
        (ServerFunction, "SELECT txid_current()"),
        (ServerFunction, "SELECT pg_catalog.pg_current_xact_id()"),
        (ServerFunction, "SELECT inet_server_addr()"),
        (ServerFunction, "SELECT pg_backend_pid()"),
        (ServerFunction, "SELECT pg_stat_get_live_tuples(1)"),
        (ServerFunction, "SELECT pg_my_temp_schema()"),
        (
            ServerFunction,
            "SELECT current_setting('transaction_read_only')",
        ),
        (
            ServerFunction,
            "SELECT pg_catalog.current_setting ( 'IN_HOT_STANDBY', true)",
        ),
        (
            ServerFunction,
            "SELECT current_setting('transaction' || '_read_only')",
        ),
        (ServerFunction, "SELECT current_setting(b) FROM h.t"),
        (ServerFunction, "SELECT s FROM h.asking"),
        (
            HiddenStatements,
            "SELECT * FROM h.crosstab('SELECT h.write(), 1, 1') AS c (a int, b int)",
        ),
        (
            HiddenStatements,
            "SELECT * FROM h.connectby('h.outer_view', 'a', 'a', '1', 0) AS c (a int, b int, l int)",
        ),
        (
            VolatileFunction,
            "SELECT * FROM h.dblink('', 'SELECT 1') AS d (a int)",
        ),
        (VolatileFunction, "SELECT * FROM h.pgrowlocks('h.t')"),
        (
            VolatileFunction,
            "SELECT * FROM ts_stat('SELECT h.write()::text::tsvector')",
        ),
        (
            VolatileFunction,
            "SELECT ts_rewrite('a'::tsquery, 'SELECT h.write()')",
        ),
        (
            VolatileFunction,
            "SELECT cursor_to_xml('c', 1, true, false, '')",
        ),
        (
            VolatileFunction,
            "SELECT query_to_xmlschema('SELECT h.write()', true, false, '')",
        ),
        (
            HiddenStatements,
            "SELECT table_to_xml('h.outer_view', true, false, '')",
        ),
        (
            HiddenStatements,
            "SELECT 1 FROM pg_class WHERE relname <> array_in('{x}', 17931::oid, -1)::text",
        ),
        (TempTable, "SELECT * FROM pg_temp.x"),
        (UnloggedTable, "SELECT * FROM h.unlogged"),
        (UnloggedTable, "SELECT * FROM h.parted WHERE a = 1"),
        (ForeignTable, "SELECT * FROM h.far"),
        (Sequence, "SELECT last_value FROM h.s"),
        (Sequence, "SELECT n FROM h.counted"),
        (SystemView, "SELECT * FROM pg_stat_activity"),
        (SystemView, "SELECT * FROM pg_catalog.pg_settings"),
        (SystemView, "SELECT * FROM pg_locks"),
        (SystemView, "SELECT * FROM h.watching"),
        // Only the plan reveals these.
        (ForbiddenPlan, "SELECT a FROM h.locking"),
        (VolatileFunction, "SELECT h.defaulted()"),
        (NotPlanned, "SELECT * FROM h.log_of_nothing"),
        (NotPlanned, "SELECT h.no_such_function()"),
        (NotPlanned, "SELECT $70000"),
        (Show, "SHOW transaction_read_only"),
        (Show, "show in_hot_standby"),
    ]
};

#[test]
fn what_may_write_goes_to_the_primary() {
    block_on(async {
        let database = shop().await;
        database.connect().await.batch(HIDDEN).await.unwrap();
        let router = router(&database).await;
        for (rule, sql) in PRIMARY {
            let decision = decide(&router, sql).await;
            assert_eq!(
                (decision.rule, decision.node),
                (*rule, Node::Primary),
                "{sql}: {decision:?}"
            );
            assert!(!decision.reason.is_empty(), "{sql}");
        }
    });
}

#[test]
fn what_only_reads_goes_to_the_replica() {
    block_on(async {
        let database = shop().await;
        database.connect().await.batch(HIDDEN).await.unwrap();
        let router = router(&database).await;
        let reader = database.connect_as("htap_olap").await;
        for sql in [
            "SELECT 1",
            "/* count(*) */ SELECT 'group by', $$having$$, e'\\'', \"a\" FROM (SELECT 1 AS a) AS \"sum(\"",
            "SELECT random(), clock_timestamp(), gen_random_uuid(), pg_sleep(0)",
            "SELECT a, h.pure(a), t.b, (t).a, length(b) FROM h.t",
            "SELECT r FROM h.fair",
            "SELECT * FROM h.kept",
            "SELECT * FROM h.parted_1",
            "SELECT pg_size_pretty(pg_total_relation_size('h.t'))",
            "SELECT tablename FROM pg_tables",
            "SELECT table_name FROM information_schema.tables",
            "SELECT relname FROM pg_class WHERE relkind = 'r'",
            "SELECT * FROM h.listing",
            "SELECT * FROM shop.orders TABLESAMPLE SYSTEM (10)",
            "WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n",
            "SELECT user_id, rank() OVER w FROM shop.orders WINDOW w AS (ORDER BY total_amount)",
            "SELECT status, count(*) FILTER (WHERE user_id > 5) FROM shop.orders GROUP BY GROUPING SETS ((status), ())",
            "SELECT * FROM shop.users AS u CROSS JOIN LATERAL (SELECT 1 FROM shop.orders AS o WHERE o.user_id = u.user_id LIMIT 1) AS l LIMIT 1",
            "(SELECT 1) UNION ALL (SELECT 2 ORDER BY 1 LIMIT 1) EXCEPT SELECT 3",
            "SELECT now() - interval '1 day', current_date, CURRENT_USER, extract(epoch FROM now())",
            "SELECT coalesce(NULL, 1), nullif(1, 2), greatest(1, 2), 1 BETWEEN 0 AND 2, 'a' LIKE 'b', 1 = ANY (ARRAY[1])",
            "EXPLAIN SELECT * FROM shop.orders",
            "EXPLAIN (ANALYZE, COSTS OFF) SELECT count(*) FROM shop.orders",
            "EXPLAIN (SELECT 1)",
            "SELECT current_setting('TimeZone'), 'a'::h.citext = 'A'",
            "SELECT U&'d\\0061ta', U&\"d!0061ta\" UESCAPE '!' FROM (SELECT 1 AS data) AS d",
            "SELECT sum(a) OVER (ORDER BY a ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM h.t",
            "SELECT overlay(b PLACING 'y' FROM 1 FOR 1) FROM h.t",
            "SELECT xmlelement(name a, xmlattributes(b AS c), b) FROM h.t",
            "SELECT a, count(*) FROM h.t GROUP BY a, b",
            "SHOW work_mem",
        ] {
            let decision = decide(&router, sql).await;
            assert_eq!(decision.node, Node::Replica, "{sql}: {decision:?}");
            reader
                .query_text(sql, 5)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    });
}

#[test]
fn casts_checks_and_operators_cast_their_shadow() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        client.batch(HIDDEN).await.unwrap();
        client.batch(SHADOWS).await.unwrap();
        let router = router(&database).await;
        for sql in [
            "SELECT 1 OPERATOR(h.<!>) 2",
            "SELECT a FROM h.t ORDER BY a USING OPERATOR(h.<#)",
            "SELECT 1::h.checked",
            "SELECT CAST(1 AS h.\"checked\")",
            "SELECT h.checked '1'",
            "SELECT 1::h.pair",
            "SELECT q FROM h.pairs",
        ] {
            let decision = decide(&router, sql).await;
            assert_eq!(
                (decision.rule, decision.node),
                (Rule::VolatileType, Node::Primary),
                "{sql}: {decision:?}"
            );
        }
        assert_eq!(
            decide(&router, "SELECT 1 <> 2, a FROM h.t").await.node,
            Node::Replica
        );
        // A volatile cast between two of PostgreSQL's own types may apply anywhere.
        client
            .batch(
                "CREATE FUNCTION h.f(box) RETURNS int LANGUAGE sql AS 'SELECT h.write()';
                    CREATE CAST (box AS int) WITH FUNCTION h.f AS IMPLICIT",
            )
            .await
            .unwrap();
        router.forget().await;
        assert_eq!(decide(&router, "SELECT 1").await.rule, Rule::VolatileType);
    });
}

#[test]
fn names_mean_what_the_search_path_says() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        client.batch(HIDDEN).await.unwrap();
        let name = &database.name;
        client
            .batch(&format!(
                "ALTER ROLE htap_olap IN DATABASE {name} SET search_path = h, shop"
            ))
            .await
            .unwrap();
        let router = router(&database).await;
        // h.random() comes after pg_catalog's, but either could be meant.
        for sql in [
            "SELECT random()",
            "SELECT write()",
            "SELECT a FROM outer_view",
            "SELECT charge(t) FROM t",
            "SELECT t.charge FROM t",
            "SELECT (t).charge FROM t",
        ] {
            let decision = decide(&router, sql).await;
            assert_eq!(decision.rule, Rule::VolatileFunction, "{sql}: {decision:?}");
        }
        for sql in [
            "SELECT pg_catalog.clock_timestamp(), t.length FROM t",
            "SELECT a FROM t",
            "SELECT user_id FROM users WHERE user_id = 1",
        ] {
            assert_eq!(decide(&router, sql).await.node, Node::Replica, "{sql}");
        }
    });
}

#[test]
fn without_a_server_the_unknown_goes_to_the_primary() {
    block_on(async {
        let router = Router::offline();
        for (sql, node, pool) in [
            ("SELECT sum(a) FROM t", Node::Replica, Pool::Olap),
            (
                "SELECT count(*) FROM t WHERE id = 1",
                Node::Replica,
                Pool::Oltp,
            ),
            ("SELECT * FROM t WHERE id = $1", Node::Replica, Pool::Oltp),
            (
                "SELECT a FROM t JOIN u USING (b)",
                Node::Replica,
                Pool::Olap,
            ),
            ("SELECT 1", Node::Replica, Pool::Oltp),
            ("SELECT charge(1)", Node::Primary, Pool::Oltp),
            ("SELECT * FROM charge(1)", Node::Primary, Pool::Oltp),
            ("SELECT public.sum(a) FROM t", Node::Primary, Pool::Oltp),
            ("SELECT nextval('s')", Node::Primary, Pool::Oltp),
            ("DELETE FROM t", Node::Primary, Pool::Oltp),
        ] {
            let decision = decide(&router, sql).await;
            assert_eq!(
                (decision.node, decision.pool),
                (node, pool),
                "{sql}: {decision:?}"
            );
            assert!(
                decision.offline
                    && decision.reason.contains("without a server") != (sql.starts_with("DELETE")),
                "{decision:?}"
            );
        }
    });
}

/// The statements of a session, and the server for each of them.
const STORIES: &[(&[&str], &str)] = &[
    (
        &[
            "BEGIN",
            "SELECT 1",
            "SAVEPOINT a",
            "ROLLBACK TO a",
            "SELECT 1",
            "COMMIT",
            "SELECT 1",
        ],
        "primary oltp, primary oltp, primary oltp, primary oltp, primary oltp, primary oltp, replica oltp",
    ),
    (
        &[
            "START TRANSACTION READ ONLY",
            "DELETE FROM t",
            "END",
            "DELETE FROM t",
        ],
        "replica olap, replica olap, replica olap, primary oltp",
    ),
    (
        &["BEGIN", "COMMIT AND CHAIN", "SELECT 1", "ABORT", "SELECT 1"],
        "primary oltp, primary oltp, primary oltp, primary oltp, replica oltp",
    ),
    (
        &[
            "SET a.b = 'c'",
            "SELECT 1",
            "RESET ALL",
            "SELECT 1",
            "DISCARD ALL",
            "SELECT 1",
        ],
        "primary oltp, primary oltp, primary oltp, primary oltp, primary oltp, replica oltp",
    ),
    (
        &[
            "SELECT 1 INTO TEMP t",
            "BEGIN READ ONLY",
            "COMMIT",
            "SELECT 1",
        ],
        "primary oltp, primary oltp, primary oltp, primary oltp",
    ),
    (
        &["SET LOCAL a.b = 'c'", "SELECT 1"],
        "primary oltp, replica oltp",
    ),
    (
        &["SELECT pg_advisory_lock(1)", "SELECT 1"],
        "primary oltp, primary oltp",
    ),
    (
        &[
            "BEGIN; SELECT 1",
            "SELECT 1",
            "COMMIT; SELECT 1",
            "SELECT 1",
        ],
        "primary oltp, primary oltp, primary oltp, replica oltp",
    ),
    (
        &["SELECT 'a\\' ; SET a.b = 1 --'", "SELECT 1"],
        "primary oltp, primary oltp",
    ),
    // A statement that the router could not parse, but the server accepted, may have changed anything.
    (&["SELECT 'a", "SELECT 1"], "primary oltp, primary oltp"),
    (
        &["CALL p()", "SELECT 1", "DISCARD ALL", "SELECT 1"],
        "primary oltp, primary oltp, primary oltp, replica oltp",
    ),
    (
        &["BEGIN", "DO $$BEGIN END$$", "COMMIT", "SELECT 1"],
        "primary oltp, primary oltp, primary oltp, primary oltp",
    ),
    (
        &[
            "SELECT 77 AS user_id INTO pg_temp.users",
            "SELECT * FROM users",
        ],
        "primary oltp, primary oltp",
    ),
    (
        &[
            "BEGIN READ ONLY",
            "SET TRANSACTION READ WRITE",
            "DELETE FROM t",
            "COMMIT",
            "SELECT 1",
        ],
        "replica olap, primary oltp, primary oltp, primary oltp, replica oltp",
    ),
    (
        &[
            "BEGIN READ ONLY",
            "SET LOCAL transaction_read_only = off",
            "DELETE FROM t",
            "COMMIT",
        ],
        "replica olap, primary oltp, primary oltp, primary oltp",
    ),
    (
        &[
            "BEGIN READ ONLY",
            "SHOW work_mem",
            "SET work_mem = '9MB'",
            "COMMIT",
            "SELECT 1",
        ],
        "replica olap, replica olap, primary oltp, primary oltp, primary oltp",
    ),
    // PostgreSQL itself refuses it once something was read.
    (
        &[
            "BEGIN READ ONLY",
            "SELECT 1",
            "SET TRANSACTION READ WRITE",
            "COMMIT",
        ],
        "replica olap, replica olap, replica olap, replica olap",
    ),
];

#[test]
fn a_session_stays_where_its_state_is() {
    block_on(async {
        let router = Router::offline();
        for (statements, expected) in STORIES {
            let lanes: Vec<String> = story(&router, statements)
                .await
                .iter()
                .map(|decision| decision.lane().to_string())
                .collect();
            assert_eq!(lanes.join(", "), *expected, "{statements:?}");
        }
    });
}

#[test]
fn a_session_reads_its_writes() {
    block_on(async {
        let router = Router::offline();
        let mut session = Session::default();
        let deletion = router
            .route(&session, "DELETE FROM t", ReplicaState::Current)
            .await;
        assert!(session.wants_lsn(&deletion));
        let wrote: Lsn = "1/2000".parse().unwrap();
        session.settle(&deletion, Outcome::Done(Some(wrote)));
        assert_eq!(session.wrote(), Some(wrote));
        for (replica, rule) in [
            (
                ReplicaState::Replayed("1/1FFF".parse().unwrap()),
                Rule::ReadYourWrites,
            ),
            (
                ReplicaState::Replayed("0/FFFFFFFF".parse().unwrap()),
                Rule::ReadYourWrites,
            ),
            (ReplicaState::Replayed(wrote), Rule::Read),
            (ReplicaState::Replayed("2/0".parse().unwrap()), Rule::Read),
            (ReplicaState::Absent, Rule::NoReplica),
            (ReplicaState::Unavailable, Rule::NoReplica),
        ] {
            let read = router
                .route(&session, "SELECT sum(a) FROM t", replica)
                .await;
            assert_eq!(read.rule, rule, "{replica:?}");
            assert_eq!(read.node == Node::Replica, rule == Rule::Read);
            assert_eq!(read.pool, Pool::Olap, "wherever it reads");
            assert!(!session.wants_lsn(&read));
            let begin = router.route(&session, "BEGIN READ ONLY", replica).await;
            assert_eq!(begin.node, read.node);
        }
        // A lost connection may have lost the news of a commit.
        session.settle(&deletion, Outcome::Lost(Some(Lsn::UNKNOWN)));
        let ahead = ReplicaState::Replayed("FFFFFFFF/0".parse().unwrap());
        let read = router.route(&session, "SELECT 1", ahead).await;
        assert_eq!(read.rule, Rule::ReadYourWrites);
        session.settle(&deletion, Outcome::Done(Some(wrote)));
        let read = router.route(&session, "SELECT 1", ahead).await;
        assert_eq!(read.rule, Rule::Read);
        // A failed COMMIT has ended its transaction; one that was not parsed has not.
        for (code, open) in [("40001", false), ("42601", true)] {
            let mut session = Session::default();
            for (sql, outcome) in [
                ("BEGIN", Outcome::Done(None)),
                ("COMMIT", Outcome::Failed(code)),
            ] {
                let decision = router.route(&session, sql, ReplicaState::Current).await;
                session.settle(&decision, outcome);
            }
            assert_eq!(session.transaction().is_some(), open, "{code}");
        }
        // Of several statements some may have been executed.
        let several = router
            .route(
                &Session::default(),
                "BEGIN; SET a.b = 1; x",
                ReplicaState::Current,
            )
            .await;
        let mut session = Session::default();
        session.settle(&several, Outcome::Failed("42601"));
        assert!(session.transaction().is_some() && session.pinned().is_some());
        session.lost();
        assert!(!session.holds());
    });
}

#[test]
fn positions_of_the_log_are_read_and_written() {
    for text in ["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"] {
        assert_eq!(text.parse::<Lsn>().unwrap().to_string(), text);
    }
    for text in ["", "1", "/", "1/", "g/1", "1/100000000", "-1/1"] {
        assert!(text.parse::<Lsn>().is_err(), "{text}");
    }
}

/// PostgreSQL only plans it: nothing is written, whatever the statement is.
#[test]
fn explain_of_a_write_is_no_write() {
    block_on(async {
        let router = Router::offline();
        for (sql, node) in [
            ("EXPLAIN DELETE FROM t", Node::Replica),
            ("explain verbose insert into t values (1)", Node::Replica),
            ("EXPLAIN (COSTS OFF) UPDATE t SET a = 1", Node::Replica),
            ("EXPLAIN ANALYZE DELETE FROM t", Node::Primary),
            ("EXPLAIN (BUFFERS, ANALYZE) DELETE FROM t", Node::Primary),
            ("EXPLAIN VERBOSE ANALYSE DELETE FROM t", Node::Primary),
            ("EXPLAIN CREATE TABLE u AS SELECT 1", Node::Primary),
        ] {
            assert_eq!(decide(&router, sql).await.node, node, "{sql}");
        }
    });
}
