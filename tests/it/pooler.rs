//! A real PgBouncer in between, together with an application: connections are returned unchanged.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

mod bouncer;
mod console;

use super::server::{Database, block_on, until};
use super::system;
use super::terminal::tmux::Terminal;
use bouncer::Bouncer;
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::classify::Classifier;
use htap_top::explain::{Whose, explain};
use htap_top::pg::admin::{self, Exclusions, Identity, Signal, Verdict};
use htap_top::pg::{Class, Client, Param, PgError, Settings, Table, measure};
use htap_top::system::refresh::{Mode, Refresh, View};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Connections per role and database in the pool.
const SIZE: u8 = 4;

/// The session state that other clients may encounter. A pooler itself restores application_name and
/// client_encoding for each client.
const STATE: &str = "
    SELECT concat_ws(' | ', current_user, session_user,
        (SELECT string_agg(name || ' = ' || setting, ', ' ORDER BY name) FROM pg_settings
         WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding')),
        (SELECT string_agg(name || ': ' || statement, ', ') FROM pg_prepared_statements),
        (SELECT string_agg(name, ', ') FROM pg_cursors),
        (SELECT string_agg(relname, ', ') FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
        (SELECT string_agg(objid::text, ', ') FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
        (SELECT string_agg(c, ', ') FROM pg_listening_channels() AS c)) AS state, pg_backend_pid()::bigint AS pid";

/// The state of all pooled connections, as an application sees it.
async fn lent(bouncer: &Bouncer, dbname: &str, user: &str) -> Vec<String> {
    let target = bouncer.target(dbname, user);
    let mut held = Vec::new();
    let mut states = Vec::new();
    let mut pids = Vec::new();
    for _ in 0..SIZE {
        let client = Client::connect(&target).await.unwrap();
        // In its transaction it keeps its connection.
        client.batch("BEGIN").await.unwrap();
        let told = client.query(STATE, &[]).await.unwrap();
        states.push(told.first("state").text().unwrap().to_owned());
        pids.push(told.first("pid").int().unwrap());
        held.push(client);
    }
    for client in held {
        client.batch("ROLLBACK").await.unwrap();
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), usize::from(SIZE), "each its own: {pids:?}");
    states
}

/// An application that writes continuously, using names without schemas, and the statements that failed.
struct Application {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    task: JoinHandle<Vec<String>>,
}

impl Application {
    async fn start(bouncer: &Bouncer, dbname: &str, user: &str) -> Self {
        let target = bouncer.target(dbname, user);
        let client = Client::connect(&target).await.unwrap();
        client
            .batch("CREATE TABLE IF NOT EXISTS app (id bigserial, at timestamptz DEFAULT now(), text text)")
            .await
            .unwrap();
        let (stop, written) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let task = tokio::spawn({
            let (stop, written) = (Arc::clone(&stop), Arc::clone(&written));
            async move {
                let mut failed = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // Each of them may get another connection.
                    for sql in [
                        "INSERT INTO app (text) VALUES ('a')",
                        "UPDATE app SET text = 'b\\' WHERE id = (SELECT max(id) FROM app)",
                        "DELETE FROM app WHERE id < (SELECT max(id) - 100 FROM app)",
                        "SELECT pg_sleep(0.001)",
                    ] {
                        match client.batch(sql).await {
                            Ok(()) => written.fetch_add(1, Ordering::Relaxed),
                            Err(error) => {
                                failed.push(format!("{sql}: {error}"));
                                0
                            }
                        };
                    }
                    if client.is_closed() {
                        break;
                    }
                }
                failed
            }
        });
        Self {
            stop,
            written,
            task,
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.task.await.unwrap();
        assert_eq!(failed, Vec::<String>::new());
        assert!(self.written.load(Ordering::Relaxed) > 0);
    }
}

/// Runs the program; returns its output and errors, and its exit code.
async fn ran(arguments: Vec<String>) -> (i32, String) {
    tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
            .args(&arguments)
            .env("XDG_CONFIG_HOME", folder.path())
            .env("XDG_STATE_HOME", folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        (output.status.code().unwrap(), said)
    })
    .await
    .unwrap()
}

/// Any exit code, because the doctor may have findings.
const ANY: i32 = -1;

/// The commands that may run through a pooler, and the expected end of their output.
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn commands(
    conninfo: &dyn Fn(&str) -> String,
    product: i64,
    file: &Path,
) -> Vec<(Vec<String>, i32, &'static str)> {
    let words = |text: &str, user: &str| -> Vec<String> {
        let words = text.split(' ').map(|word| match word {
            "@" => conninfo(user),
            word => word.replace('~', " "),
        });
        words.collect()
    };
    vec![
        (
            words("once @ --wait 30s --format json", "postgres"),
            0,
            "\"panels\"",
        ),
        (
            words("once @ --wait 30s --panel activity", "postgres"),
            0,
            "",
        ),
        (
            words("doctor @", "postgres"),
            ANY,
            "a connection pooler is in between",
        ),
        (
            words(
                &format!("record {} @ --duration 2s --interval 500ms", file.display()),
                "postgres",
            ),
            0,
            "",
        ),
        (words("refresh -d @", "postgres"), 0, "mart.fact_sales"),
        (words("refresh -d @", "htap_refresh"), 0, "mart.fact_sales"),
        (
            words("refresh --verify -d @", "htap_refresh"),
            0,
            "equal to its recomputation",
        ),
        (
            words("route -d @ SELECT~count(*)~FROM~shop.orders", "htap_olap"),
            0,
            "replica",
        ),
        (
            words(
                &format!("order create -d @ --user 1 --line {product}x1"),
                "htap_oltp",
            ),
            0,
            "is pending",
        ),
        (
            words("refresh --fresh 1s -d @", "htap_refresh"),
            3,
            "connect to the server directly",
        ),
        (
            words("init -d @", "postgres"),
            3,
            "connect to the server directly",
        ),
        (
            words("init --uninstall --yes -d @", "postgres"),
            3,
            "connect to the server directly",
        ),
        (
            words("partitions @", "postgres"),
            3,
            "connect to the server directly",
        ),
    ]
}

async fn product(database: &Database<'_>) -> i64 {
    let client = database.connect().await;
    let sql = "SELECT product_id FROM shop.inventory ORDER BY quantity DESC LIMIT 1";
    let told = client.query(sql, &[]).await.unwrap();
    told.first("product_id").int().unwrap()
}

/// Runs every command through a pool in this mode.
async fn all_commands(mode: &str) {
    let database = system::shop().await;
    let bouncer = Bouncer::start(database.server, mode, SIZE, "").await;
    let roles = ["postgres", "htap_oltp", "htap_refresh", "htap_olap"];
    let mut before = Vec::new();
    for role in roles {
        before.push(lent(&bouncer, &database.name, role).await);
    }
    let application = Application::start(&bouncer, &database.name, "postgres").await;
    let conninfo = |user: &str| bouncer.conninfo(&database.name, user);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording");
    for (arguments, code, says) in commands(&conninfo, product(&database).await, &file) {
        let line = arguments.join(" ");
        let (ended, said) = ran(arguments).await;
        assert!(
            (ended == code || code == ANY) && said.contains(says),
            "{mode}: {line}: exit {ended}, wanted {code} and \"{says}\":\n{said}"
        );
    }
    application.end().await;
    for (role, before) in roles.iter().zip(before) {
        let after = lent(&bouncer, &database.name, role).await;
        assert_eq!(after, before, "{mode}: {role}");
    }
}

#[test]
fn no_command_leaves_anything_in_a_transaction_pool() {
    block_on(all_commands("transaction"));
}

#[test]
fn no_command_leaves_anything_in_a_session_pool() {
    block_on(all_commands("session"));
}

#[test]
fn statement_pooling_is_refused_with_the_reason() {
    block_on(async {
        let database = system::shop().await;
        let bouncer = Bouncer::start(database.server, "statement", SIZE, "").await;
        let application = Application::start(&bouncer, &database.name, "postgres").await;
        let target = bouncer.target(&database.name, "postgres");
        let settings = Settings::of_monitor(Duration::from_secs(3));
        let error = Client::open(&target, &settings).await.unwrap_err();
        assert_eq!(error.class, Class::Configuration, "{error}");
        let conninfo = bouncer.conninfo(&database.name, "postgres");
        for line in [
            "once @",
            "doctor @",
            "refresh -d @",
            "init -d @",
            "partitions @",
            "order pay -d @ 1",
        ] {
            let words = line.split(' ').map(|word| match word {
                "@" => conninfo.clone(),
                word => word.to_owned(),
            });
            let (code, said) = ran(words.collect()).await;
            assert!(
                code == 3 && said.contains("statement pooling"),
                "{line}: {code}: {said}"
            );
        }
        application.end().await;
    });
}

/// All keys that act, in a terminal.
#[test]
fn no_key_leaves_anything_in_a_transaction_pool() {
    block_on(async {
        let database = system::shop().await;
        let bouncer = Bouncer::start(database.server, "transaction", SIZE, "").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE EXTENSION IF NOT EXISTS pgstattuple SCHEMA public;
                 CREATE TABLE public.rates (rate numeric); INSERT INTO public.rates VALUES (2);
                 CREATE FUNCTION public.rate() RETURNS numeric LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT rate FROM rates); END';
                 CREATE MATERIALIZED VIEW public.priced AS SELECT rate() AS rate;
                 CREATE UNIQUE INDEX ON public.priced (rate)",
            )
            .await
            .unwrap();
        let before = lent(&bouncer, &database.name, "postgres").await;
        let application = Application::start(&bouncer, &database.name, "postgres").await;
        let terminal = Terminal::open(150, 45);
        terminal.run(&format!(
            "'{}'",
            bouncer.conninfo(&database.name, "postgres")
        ));
        let screen = terminal.until("live", |screen| screen.contains("live"));
        assert!(screen.contains("(through a pooler)"), "{screen}");
        for key in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0", "p", "L"] {
            terminal.keys(key);
            terminal.until("still live", |screen| screen.contains("live"));
        }
        let log = terminal.until("the log", |screen| screen.contains("Log"));
        assert!(log.contains("connected through a pooler"), "{log}");
        terminal.keys("Escape");
        act(&bouncer, &database).await;
        terminal.keys("q");
        terminal.until("the prompt", |screen| screen.contains("exit=0"));
        application.end().await;
        assert_eq!(lent(&bouncer, &database.name, "postgres").await, before);
    });
}

/// The actions of the keys `r`, `C`, `K`, `m` and `E`.
async fn act(bouncer: &Bouncer, database: &Database<'_>) {
    let target = bouncer.target(&database.name, "postgres");
    for mode in [Mode::Full, Mode::Concurrent, Mode::Incremental] {
        let view = match mode {
            Mode::Incremental => View::new("mart", "sales_hourly"),
            _ => View::new("public", "priced"),
        };
        let refresh = Refresh::prepare(&target, &view, mode).await.unwrap();
        refresh.run().await.unwrap();
    }
    let client = database.connect().await;
    let sql = "SELECT rate::text AS rate FROM public.priced";
    let rate = client.query(sql, &[]).await.unwrap();
    assert_eq!(rate.first("rate").text(), Some("2"));
    let relid = client
        .query(
            "SELECT 'public.priced'::regclass::oid::bigint AS relid",
            &[],
        )
        .await
        .unwrap();
    let measuring = measure::open(&target).await.unwrap();
    let relid = relid.first("relid").int().unwrap();
    measure::measure(&measuring, relid).await.unwrap();
    for signal in [Signal::Cancel, Signal::Terminate] {
        let mut victim = Victim::sleep(database).await;
        if signal == Signal::Terminate {
            // In any transaction.
            victim.identity.since = None;
        }
        let verdicts =
            admin::signal(&target, signal, &[victim.identity], Exclusions::default()).await;
        assert_eq!(verdicts, [Verdict::Gone]);
        assert!(victim.task.await.unwrap().is_err());
    }
    let victim = Victim::sleep(database).await;
    let whose = Whose::Backend {
        pid: victim.identity.pid,
        backend_start: victim.identity.backend_start.clone(),
        query_start: victim.identity.since.clone().unwrap(),
    };
    let plan = explain(&target, &whose).await.unwrap();
    assert!(!plan.lines.is_empty(), "{plan:?}");
    victim.task.abort();
}

/// A session that runs a statement.
struct Victim {
    identity: Identity,
    task: JoinHandle<Result<Table, PgError>>,
}

impl Victim {
    async fn sleep(database: &Database<'_>) -> Self {
        let (client, admin) = (database.connect().await, database.connect().await);
        let sql = "SELECT pg_backend_pid()::bigint AS pid";
        let pid = client.query(sql, &[]).await.unwrap().first("pid").int();
        // With a parameter: planning it needs a named statement.
        let sleep = "SELECT 1 AS n FROM pg_catalog.pg_sleep(600) WHERE $1::bigint > 0";
        let task = tokio::spawn(async move { client.query(sleep, &[Param::Int(1)]).await });
        let params = [Param::Int(pid.unwrap())];
        let asleep =
            "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
        until(&admin, "it sleeps", asleep, &params, |table| {
            !table.rows.is_empty()
        })
        .await;
        // Only now: a backend's wait event is read later than its query_start, which each message of the protocol sets
        // anew, so one row may hold the time of the message before.
        let who = "SELECT to_char(backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') AS backend_start,
                          to_char(query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') AS query_start
                   FROM pg_stat_activity WHERE pid = $1";
        let who = admin.query(who, &params).await.unwrap();
        let text = |name| who.first(name).text().unwrap().to_owned();
        let identity = Identity {
            pid: pid.unwrap(),
            backend_start: text("backend_start"),
            since: Some(text("query_start")),
        };
        Self { identity, task }
    }
}

/// A pooler that appends each client's address to its name: this program's own sessions are recognised
/// nevertheless.
#[test]
fn our_own_sessions_are_known_behind_a_pooler_that_adds_addresses() {
    block_on(async {
        let database = system::shop().await;
        let settings = "application_name_add_host = 1";
        let bouncer = Bouncer::start(database.server, "transaction", SIZE, settings).await;
        let target = bouncer
            .target(&database.name, "postgres")
            .with_application_name("htap-top");
        let settings = Settings::of_monitor(Duration::from_secs(20));
        let first = Client::open(&target, &settings).await.unwrap();
        let second = Client::open(&target, &settings).await.unwrap();
        // It keeps its connection.
        second.begin("").await.unwrap();
        // Other tests have databases of their own.
        let sql = "SELECT application_name FROM pg_catalog.pg_stat_activity
                   WHERE state LIKE 'idle in%' AND datname = current_database()";
        let told = first.query(sql, &[]).await.unwrap();
        let name = told.first("application_name").text().unwrap().to_owned();
        assert!(name.starts_with("htap-top - 127.0.0.1:"), "{name}");
        let classifier = Classifier::new(Vec::new(), vec!["postgres".into()]);
        assert!(classifier.is_own("postgres", &name));
        let major = i64::from(database.server.major());
        for panel in ["activity", "locks", "waits", "progress", "sessions"] {
            let sql = panels::statement(panel, major).unwrap();
            let told = first.query(sql, &[]).await.unwrap();
            let shown = (0..told.rows.len()).any(|row| {
                told.get(row, "application_name")
                    .text()
                    .is_some_and(|name| name.starts_with("htap-top"))
            });
            assert!(!shown, "{panel}: {told:?}");
        }
        second.rollback().await.unwrap();
    });
}
