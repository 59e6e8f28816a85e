//! Plans of other sessions' statements: exactly as written, and never executed.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::server::{Database, Order, Server, block_on, pid, shared, until, until_waiting};
use htap_top::explain::{ExplainError, Explained, Whose, explain};
use htap_top::pg::{Client, Param, PgError};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// The statement that the backend with this pid runs.
async fn running(admin: &Client, pid: i64) -> Whose {
    admin
        .batch("SET timezone = 'UTC'; SET datestyle = 'ISO'")
        .await
        .unwrap();
    let sql = "SELECT backend_start::text AS b, query_start::text AS q FROM pg_stat_activity WHERE pid = $1";
    let table = admin.query(sql, &[Param::Int(pid)]).await.unwrap();
    let text = |name| table.first(name).text().unwrap().to_owned();
    Whose::Backend {
        pid,
        backend_start: text("b"),
        query_start: text("q"),
    }
}

fn text(explained: &Explained) -> String {
    let lines: Vec<&str> = explained
        .lines
        .iter()
        .map(htap_top::text::Clean::as_str)
        .collect();
    lines.join("\n")
}

/// A session that runs a statement until the test ends.
struct Runner {
    pid: i64,
    _task: JoinHandle<Result<(), PgError>>,
}

impl Runner {
    /// Starts a statement that must sleep.
    async fn sleeping(admin: &Client, client: Client, sql: &str) -> Self {
        let runner = Self::start(client, sql).await;
        let asleep =
            "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
        let there = |table: &htap_top::pg::Table| !table.rows.is_empty();
        until(admin, "sleeps", asleep, &[Param::Int(runner.pid)], there).await;
        runner
    }

    async fn start(client: Client, sql: &str) -> Self {
        let pid = pid(&client).await;
        let sql = sql.to_owned();
        Self {
            pid,
            _task: tokio::spawn(async move { client.batch(&sql).await }),
        }
    }

    /// Ends it: a transaction that wrote would prevent other tests from creating a slot.
    async fn end(self, admin: &Client) {
        let sql = "SELECT pg_terminate_backend($1::int8::int4)::text AS sent";
        admin.query(sql, &[Param::Int(self.pid)]).await.unwrap();
    }
}

/// The result for a statement that a superuser runs.
async fn said(database: &Database<'_>, sql: &str) -> Result<Explained, ExplainError> {
    let admin = database.connect().await;
    let runner = Runner::sleeping(&admin, database.connect().await, sql).await;
    let said = explain(&database.target(), &running(&admin, runner.pid).await).await;
    runner.end(&admin).await;
    said
}

async fn accounts(about: &str) -> Database<'static> {
    let database = shared().database(about).await;
    let admin = database.connect().await;
    let made = "CREATE TABLE accounts (aid int PRIMARY KEY, note text); CREATE SEQUENCE tickets; CREATE TABLE trace (n int);
                INSERT INTO accounts SELECT g, 'x' FROM generate_series(1, 1000) AS g; ANALYZE accounts;
                CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO trace VALUES (1) RETURNING n';
                CREATE FUNCTION sly() RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN writes(); END'";
    admin.batch(made).await.unwrap();
    database
}

/// A statement with parameters is planned on every version.
pub async fn a_generic_plan(database: &Database<'_>) {
    let admin = database.connect().await;
    let client = Arc::new(database.connect().await);
    let pid = pid(&client).await;
    let waiting = Arc::clone(&client);
    let sleeping = tokio::spawn(async move {
        let sql = "SELECT pg_sleep(600), relname::text AS relname FROM pg_class WHERE oid = $1::int8::oid";
        waiting.query(sql, &[Param::Int(1259)]).await
    });
    let asleep = "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
    let there = |table: &htap_top::pg::Table| !table.rows.is_empty();
    until(&admin, "sleeps", asleep, &[Param::Int(pid)], there).await;
    let whose = running(&admin, pid).await;
    let explained = explain(&database.target(), &whose).await.unwrap();
    let (plan, how) = (text(&explained), &explained.how);
    assert!(plan.contains("pg_class") && plan.contains("$1"), "{plan}");
    let generic = if database.server.major() >= 16 {
        "EXPLAIN (GENERIC_PLAN)"
    } else {
        "force_generic_plan"
    };
    assert!(how.contains(generic), "{how}");
    sleeping.abort();
    // The statement that the server counts, by its identifier, if it counts any.
    let counted = "SELECT queryid::text AS id FROM public.pg_stat_statements \
                   WHERE query LIKE 'SELECT count(*) FROM public.busy%' LIMIT 1";
    if let Ok(table) = admin.query(counted, &[]).await
        && let Some(queryid) = table.first("id").text()
    {
        let whose = Whose::Statement {
            schema: "public".into(),
            queryid: queryid.to_owned(),
            role: "postgres".into(),
        };
        let planned = explain(&database.target(), &whose).await;
        assert!(text(&planned.unwrap()).contains("busy"));
    }
}

#[test]
fn a_statement_is_planned_as_it_was_written() {
    block_on(async {
        let database = accounts("plan_text").await;
        // Without its line break, the comment would swallow the rest.
        let explained = said(
            &database,
            "SELECT pg_sleep(600), note -- all of it\n FROM accounts WHERE aid = 7;",
        );
        let explained = explained.await.unwrap();
        let plan = text(&explained);
        assert!(
            plan.contains("accounts_pkey") && plan.contains("aid = 7"),
            "{plan}"
        );
        assert!(
            explained.how.starts_with("EXPLAIN, not run"),
            "{}",
            explained.how
        );
        // A text longer than the limit of one cell, as pg_stat_statements keeps it.
        let admin = database.connect().await;
        admin
            .batch("CREATE EXTENSION pg_stat_statements")
            .await
            .unwrap();
        let columns: Vec<String> = (0..500)
            .map(|n| format!("aid AS a_name_as_long_as_names_get_in_reports_{n}"))
            .collect();
        let long = format!("SELECT {} FROM accounts WHERE aid = 7", columns.join(", "));
        assert!(long.len() > 20_000);
        admin.batch(&long).await.unwrap();
        let sql = "SELECT queryid::text AS id FROM pg_stat_statements WHERE query LIKE 'SELECT aid AS a_name%' LIMIT 1";
        let counted = admin.query(sql, &[]).await.unwrap();
        let whose = Whose::Statement {
            schema: "public".into(),
            queryid: counted.first("id").text().unwrap().to_owned(),
            role: "postgres".into(),
        };
        let planned = explain(&database.target(), &whose).await.unwrap();
        assert!(text(&planned).contains("accounts_pkey"), "{planned:?}");
    });
}

#[test]
fn what_does_more_than_read_is_refused_and_nothing_is_run() {
    block_on(async {
        let database = accounts("plan_refused").await;
        for (sql, why) in [
            (
                "DELETE FROM accounts WHERE aid = 1 AND pg_sleep(600) IS NULL",
                "not a query",
            ),
            (
                "WITH gone AS (DELETE FROM accounts WHERE aid = 2 RETURNING aid) SELECT pg_sleep(600) FROM gone",
                "it writes",
            ),
            (
                "SELECT pg_sleep(600) FROM accounts WHERE aid = 3 FOR UPDATE",
                "it locks rows",
            ),
            ("SELECT 1; SELECT pg_sleep(600)", "not a single statement"),
            ("DO $$ BEGIN PERFORM pg_sleep(600); END $$", "not a query"),
        ] {
            let refused = said(&database, sql).await.unwrap_err();
            assert!(
                matches!(refused, ExplainError::Refused(_)),
                "{sql}: {refused}"
            );
            assert!(refused.to_string().contains(why), "{sql}: {refused}");
        }
        let long = format!("SELECT pg_sleep(600) /* {} */", "x".repeat(6_000));
        let refused = said(&database, &long).await.unwrap_err().to_string();
        assert!(refused.contains("track_activity_query_size"), "{refused}");
        // A volatile function is not called, and an immutable one that writes cannot be.
        let admin = database.connect().await;
        let planned = said(&database, "SELECT pg_sleep(600), nextval('tickets')").await;
        assert!(planned.is_ok(), "{planned:?}");
        let tickets = admin
            .query("SELECT is_called FROM tickets", &[])
            .await
            .unwrap();
        assert!(!tickets.first("is_called").is_true());
        let runner = database.connect().await;
        let runner = Runner::sleeping(&admin, runner, "SELECT pg_sleep(600), sly()").await;
        let refused = explain(&database.target(), &running(&admin, runner.pid).await)
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, ExplainError::Server(error) if error.code() == "25006"),
            "{refused}"
        );
        runner.end(&admin).await;
        let traces = admin
            .query("SELECT count(*) AS n FROM trace", &[])
            .await
            .unwrap();
        assert_eq!(traces.first("n").int(), Some(0));
    });
}

#[test]
fn a_superuser_does_not_plan_what_others_wrote() {
    block_on(async {
        let database = accounts("plan_rights").await;
        let admin = database.connect().await;
        let (writer, reader) = (
            format!("{}_w", database.name),
            format!("{}_r", database.name),
        );
        admin
            .batch(&format!(
                "CREATE ROLE {writer} LOGIN; CREATE ROLE {reader} LOGIN; GRANT pg_monitor, pg_read_all_data TO {reader};
                 GRANT SELECT ON accounts TO {writer}"
            ))
            .await
            .unwrap();
        let sql = "SELECT pg_sleep(600) FROM accounts WHERE aid = 5";
        let runner = Runner::sleeping(&admin, database.connect_as(&writer).await, sql).await;
        let whose = running(&admin, runner.pid).await;
        let refused = explain(&database.target(), &whose)
            .await
            .unwrap_err()
            .to_string();
        assert!(refused.contains("we are a superuser"), "{refused}");
        let planned = explain(&database.target_of(&reader), &whose).await;
        assert!(text(&planned.unwrap()).contains("accounts_pkey"));
        // A role that may not read a relation cannot plan the statement and is told so; so is one that may
        // not see it.
        admin
            .batch(&format!("REVOKE pg_read_all_data FROM {reader}"))
            .await
            .unwrap();
        let refused = explain(&database.target_of(&reader), &whose)
            .await
            .unwrap_err();
        assert!(
            matches!(&refused, ExplainError::Server(error) if error.code() == "42501"),
            "{refused}"
        );
        admin
            .batch(&format!("REVOKE pg_monitor FROM {reader}"))
            .await
            .unwrap();
        let refused = explain(&database.target_of(&reader), &whose)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("pg_read_all_stats") || refused.contains("ended"),
            "{refused}"
        );
        let elsewhere = shared().database("plan_elsewhere").await;
        let refused = explain(&elsewhere.target(), &whose)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains(&format!("it runs in {}", database.name)),
            "{refused}"
        );
    });
}

#[test]
fn planning_does_not_queue_for_a_locked_table() {
    block_on(async {
        let database = accounts("plan_lock").await;
        let (admin, holder) = (database.connect().await, database.connect().await);
        holder.batch("BEGIN; LOCK TABLE accounts").await.unwrap();
        let runner = Runner::start(database.connect().await, "SELECT count(*) FROM accounts").await;
        until_waiting(&admin, runner.pid).await;
        let whose = running(&admin, runner.pid).await;
        let refused = explain(&database.target(), &whose).await.unwrap_err();
        assert!(
            matches!(&refused, ExplainError::Server(error) if error.code() == "55P03"),
            "{refused}"
        );
        let Whose::Backend {
            pid, backend_start, ..
        } = whose
        else {
            unreachable!()
        };
        let another = Whose::Backend {
            pid,
            backend_start,
            query_start: "2020-01-01 00:00:00+00".into(),
        };
        assert_eq!(
            explain(&database.target(), &another).await,
            Err(ExplainError::Gone)
        );
    });
}

/// A role that may create objects in a schema of the search_path creates functions named like the server's
/// own.
#[test]
fn what_looks_like_the_server_s_own_function_is_not_called() {
    block_on(async {
        // A size in bytes, which versions before 16 cannot parse as a size.
        let server = Server::start(&Order {
            settings: vec![("track_activity_query_size".into(), "10000".into())],
            ..Order::default()
        });
        let database = server.database("looks_like").await;
        let admin = database.connect().await;
        let traps = [
            "convert_to(text, text) RETURNS bytea",
            "encode(bytea, text) RETURNS text",
            "pg_size_bytes(text) RETURNS bigint",
            "substr(text, int, int) RETURNS text",
        ];
        for trap in traps {
            let made = format!(
                "CREATE FUNCTION public.{trap} LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$"
            );
            admin.batch(&made).await.unwrap();
        }
        admin
            .batch("ALTER ROLE postgres SET search_path = public, pg_catalog")
            .await
            .unwrap();
        let plan = said(&database, "SELECT pg_sleep(600) FROM pg_class").await;
        assert!(text(&plan.unwrap()).contains("pg_class"));
        // A text truncated inside a character.
        let long = format!("SELECT pg_sleep(600) -- {}", "€".repeat(5_000));
        let refused = said(&database, &long).await.unwrap_err().to_string();
        assert!(refused.contains("first 10000 bytes"), "{refused}");
    });
}

/// Objects that other roles can create and planning would call, each with a statement that would cause the
/// call.
const LURES: [(&str, &str); 16] = [
    ("", "SELECT pg_sleep(600), lure.hit(1)"),
    (
        "CREATE OPERATOR lure.%% (FUNCTION = lure.hits, LEFTARG = int, RIGHTARG = int)",
        "SELECT pg_sleep(600), 1 OPERATOR(lure.%%) 2",
    ),
    (
        "CREATE OPERATOR lure.= (FUNCTION = lure.is, LEFTARG = bigint, RIGHTARG = smallint)",
        "SELECT pg_sleep(600), 1::bigint = 2::smallint",
    ),
    (
        "CREATE TYPE lure.mood AS ENUM ('x'); CREATE FUNCTION lure.of(lure.mood) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT lure.hit(1)';
         CREATE CAST (lure.mood AS int) WITH FUNCTION lure.of(lure.mood)",
        "SELECT pg_sleep(600), 'x'::lure.mood::int",
    ),
    (
        "CREATE TABLE lure.indexed (a int); INSERT INTO lure.indexed VALUES (1); CREATE INDEX ON lure.indexed (a) WHERE lure.hit(1) IS NOT NULL",
        "SELECT pg_sleep(600) FROM lure.indexed WHERE a = 1",
    ),
    (
        "CREATE VIEW lure.seen AS SELECT lure.hit(1) AS a",
        "SELECT pg_sleep(600) FROM lure.seen",
    ),
    (
        "CREATE VIEW lure.told AS SELECT lure.hit(1) AS a",
        "SELECT pg_sleep(600) WHERE table_to_xml('lure.told', true, false, '') IS NOT NULL",
    ),
    // A domain's check, however the type is written, or given by its OID.
    (
        "CREATE DOMAIN lure.dom AS text CHECK (lure.hit(1) = 1); CREATE TYPE lure.pair AS (a lure.dom);
         CREATE TABLE lure.rows (a lure.dom[])",
        "SELECT pg_sleep(600) WHERE '{x}'::lure.dom[] IS NOT NULL",
    ),
    ("", "SELECT pg_sleep(600) WHERE '(x)'::lure.pair IS NOT NULL"),
    ("", "SELECT pg_sleep(600) WHERE '({x})'::lure.rows IS NOT NULL"),
    (
        "",
        "SELECT pg_sleep(600) WHERE jsonb_populate_record(NULL::lure.pair, '{\"a\": \"x\"}') IS NOT NULL",
    ),
    (
        "",
        "SELECT pg_sleep(600) FROM jsonb_to_record('{\"a\": \"x\"}') AS r (a lure.dom)",
    ),
    (
        "",
        "SELECT pg_sleep(600) FROM pg_class WHERE relname <> array_in('{x}', 'lure.dom'::regtype::oid, -1)::text",
    ),
    (
        "",
        "SELECT pg_sleep(600) WHERE domain_in('x', 'lure.dom'::regtype::oid, -1) IS NOT NULL",
    ),
    (
        "CREATE VIEW lure.by_oid AS SELECT 1 AS a FROM pg_class
           WHERE relname <> array_in('{x}', 'lure.dom'::regtype::oid, -1)::text",
        "SELECT pg_sleep(600) FROM by_oid",
    ),
    // A check whose OID argument selects the type to check.
    (
        "DO $$ BEGIN EXECUTE format('CREATE DOMAIN lure.second AS text CHECK (array_in(''{x}'', %s, -1) IS NOT NULL)',
                                    'lure.dom'::regtype::oid); END $$",
        "SELECT pg_sleep(600) WHERE '{x}'::lure.second[] IS NOT NULL",
    ),
];

#[test]
fn what_a_stranger_wrote_does_nothing_with_our_rights() {
    block_on(async {
        let database = shared().database("plan_lures").await;
        let admin = database.connect().await;
        let name = |role: &str| format!("{}_{role}", database.name);
        let (stranger, monitor) = (name("stranger"), name("monitor"));
        let made = format!(
            "CREATE ROLE {stranger} LOGIN; CREATE ROLE {monitor} LOGIN;
             GRANT pg_monitor, pg_signal_backend TO {monitor}; CREATE SCHEMA lure AUTHORIZATION {stranger};
             GRANT USAGE ON SCHEMA lure TO PUBLIC; ALTER ROLE {stranger} SET search_path = lure"
        );
        admin.batch(&made).await.unwrap();
        let victim =
            Runner::sleeping(&admin, database.connect().await, "SELECT pg_sleep(600)").await;
        let victim_of_same_role = {
            let client = database.connect_as(&stranger).await;
            Runner::sleeping(&admin, client, "SELECT pg_sleep(600)").await
        };
        let author = database.connect_as(&stranger).await;
        let pids = format!("{}, {}", victim.pid, victim_of_same_role.pid);
        // It acts only in other sessions, though its own session calls it as well.
        author
            .batch(&format!(
                "CREATE SEQUENCE lure.called;
                 CREATE FUNCTION lure.hit(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                   IF current_user = '{stranger}' THEN RETURN 1; END IF;
                   PERFORM pg_terminate_backend(pid) FROM unnest(ARRAY[{pids}]) AS pid; RETURN nextval('lure.called');
                 END $$;
                 CREATE FUNCTION lure.hits(int, int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT lure.hit(1)';
                 CREATE FUNCTION lure.is(bigint, smallint) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT lure.hit(1) = 1'"
            ))
            .await
            .unwrap();
        for (lure, sql) in LURES {
            author.batch(lure).await.unwrap();
            author
                .batch("GRANT SELECT ON ALL TABLES IN SCHEMA lure TO PUBLIC")
                .await
                .unwrap();
            let client = database.connect_as(&stranger).await;
            let runner = Runner::sleeping(&admin, client, sql).await;
            let whose = running(&admin, runner.pid).await;
            for role in ["postgres", monitor.as_str()] {
                let refused = explain(&database.target_of(role), &whose).await;
                let refused = refused.unwrap_err();
                assert!(
                    matches!(&refused, ExplainError::Refused(why) if why.contains("rights")),
                    "{role}, {sql}: {refused}"
                );
            }
            runner.end(&admin).await;
        }
        let left = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = ANY (string_to_array($1, ', ')::int[])";
        let left = admin.query(left, &[Param::Text(&pids)]).await.unwrap();
        assert_eq!(left.first("n").int(), Some(2), "a session was terminated");
        let called = admin.query("SELECT is_called FROM lure.called", &[]).await;
        assert!(!called.unwrap().first("is_called").is_true());
        victim.end(&admin).await;
        victim_of_same_role.end(&admin).await;
    });
}

/// The same name in two schemas: the plan is for the relation that the session reads, or says which one it is
/// for.
#[test]
fn a_statement_is_planned_on_the_tables_that_it_reads() {
    block_on(async {
        let database = shared().database("plan_tenants").await;
        let admin = database.connect().await;
        let made = "CREATE TABLE public.orders (id int PRIMARY KEY); CREATE EXTENSION pg_stat_statements;
                    CREATE SCHEMA \"tenant\n\u{200b}7\"; CREATE TABLE \"tenant\n\u{200b}7\".orders (id int, of_tenant int);
                    CREATE TABLE \"tenant\n\u{200b}7\".items (id int); CREATE SCHEMA other; CREATE TABLE other.items (id int);
                    INSERT INTO \"tenant\n\u{200b}7\".orders VALUES (1, 7); INSERT INTO \"tenant\n\u{200b}7\".items VALUES (1); INSERT INTO other.items VALUES (1)";
        admin.batch(made).await.unwrap();
        let client = database.connect().await;
        client
            .batch("SET search_path = \"tenant\n\u{200b}7\"")
            .await
            .unwrap();
        let sql = "SELECT pg_sleep(600) FROM orders JOIN items USING (id) JOIN other.items AS o USING (id) WHERE of_tenant = 7";
        let runner = Runner::sleeping(&admin, client, sql).await;
        let whose = running(&admin, runner.pid).await;
        let explained = explain(&database.target(), &whose).await.unwrap();
        assert!(text(&explained).contains("of_tenant = 7"), "{explained:?}");
        assert!(
            explained.how.contains("according to its locks")
                && !explained.how.contains("public.orders"),
            "{}",
            explained.how
        );
        runner.end(&admin).await;
        // The server stores no schema with its counters.
        admin
            .batch("SELECT count(*) FROM orders WHERE id = 77")
            .await
            .unwrap();
        let sql = "SELECT queryid::text AS id FROM pg_stat_statements WHERE query LIKE 'SELECT count(*) FROM orders WHERE id%' LIMIT 1";
        let counted = admin.query(sql, &[]).await.unwrap();
        let whose = Whose::Statement {
            schema: "public".into(),
            queryid: counted.first("id").text().unwrap().to_owned(),
            role: "postgres".into(),
        };
        let explained = explain(&database.target(), &whose).await.unwrap();
        assert!(
            explained.how.contains("it reads public.orders (not ")
                && explained.how.contains("orders: the server"),
            "{}",
            explained.how
        );
    });
}
