//! Plans of statements that others run: as they are written, and never run by us.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::server::{Database, Order, Server, block_on, pid, shared, until, until_waiting};
use htap_top::pg::{Client, Param, PgError};
use htap_top::system::explain::{ExplainError, Explained, Whose, explain};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What the backend with this pid runs.
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
    /// The statement must sleep.
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

    /// Ends it: what wrote would keep other tests from making a slot.
    async fn end(self, admin: &Client) {
        let sql = "SELECT pg_terminate_backend($1::int8::int4)::text AS sent";
        admin.query(sql, &[Param::Int(self.pid)]).await.unwrap();
    }
}

/// What is said of a statement that a superuser runs.
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

/// A statement with parameters is planned, on whatever version.
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
    // The one that the server counts, by its identifier, where it counts any.
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
        // Without its line's end the comment would swallow the rest.
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
        // A text longer than what one cell may hold, as pg_stat_statements keeps it.
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
        // A volatile function is not called, and an immutable one that writes cannot.
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
        // Who may not read it cannot plan it, and is told so; who may not see it, too.
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

/// Who may create in a schema of our search_path makes functions by the names of the server's own.
#[test]
fn what_looks_like_the_server_s_own_function_is_not_called() {
    block_on(async {
        // A size that is told in bytes, which versions before 16 cannot read back as a size.
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
        // A text that is cut before a character that is not whole.
        let long = format!("SELECT pg_sleep(600) -- {}", "€".repeat(5_000));
        let refused = said(&database, &long).await.unwrap_err().to_string();
        assert!(refused.contains("first 10000 bytes"), "{refused}");
    });
}
