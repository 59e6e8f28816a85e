//! The sampling sessions during failures: their reports, and their recovery.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

mod column_store;

use super::server::{Database, PATIENCE, Server, block_on, shared, until};
use htap_top::pg::canary;
use htap_top::pg::sampler::{self, Job, Report, ServerKind, SessionConfig, SessionId, Tally};
use htap_top::pg::{Class, PgError, Settings, Table, Target, Value};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

/// A session started as by the runtime.
struct Session {
    ask: Sender<Vec<Job>>,
    reports: Receiver<Report>,
    wake: watch::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

fn config(server: Duration, client: Duration) -> SessionConfig {
    SessionConfig {
        settings: Settings::of_monitor(server),
        transaction: false,
        deadline: client,
        lazy: false,
        late: false,
        hands_back: false,
        kind: ServerKind::Postgres,
        ended: Tally::default(),
        others: Tally::default(),
    }
}

const LONG: Duration = Duration::from_secs(60);

fn start(target: &Target, config: SessionConfig) -> Session {
    let (ask, queue) = channel(8);
    let (report, reports) = channel(64);
    let (wake, woken) = watch::channel(());
    let queue = Arc::new(Mutex::new(queue));
    let task = tokio::spawn(sampler::run(
        SessionId::Fast,
        target.clone(),
        config,
        queue,
        report,
        woken,
    ));
    Session {
        ask,
        reports,
        wake,
        task,
    }
}

fn job(id: u16, sql: &str) -> Job {
    Job {
        id,
        sql: sql.into(),
        as_text: false,
        once: false,
    }
}

impl Session {
    async fn next(&mut self) -> Report {
        loop {
            let report = timeout(PATIENCE * 2, self.reports.recv())
                .await
                .unwrap_or_else(|_| panic!("no report"))
                .unwrap();
            if !matches!(report, Report::Ended { .. }) {
                return report;
            }
        }
    }

    /// Wakes it, as a key does.
    fn wake(&self) {
        self.wake.send_replace(());
    }

    async fn opened(&mut self) {
        loop {
            match self.next().await {
                Report::Ended { .. } | Report::Lost { .. } => {}
                Report::Opened { session, .. } => {
                    assert_eq!(session, SessionId::Fast);
                    return;
                }
                other @ Report::Answered { .. } => panic!("{other:?}"),
            }
        }
    }

    async fn lost(&mut self) -> (PgError, u32, Option<u64>) {
        match self.next().await {
            Report::Lost {
                error,
                attempt,
                retry_in_ms,
                ..
            } => (error, attempt, retry_in_ms),
            other => panic!("{other:?}"),
        }
    }

    async fn ask(&self, jobs: Vec<Job>) {
        self.ask.send(jobs).await.unwrap();
    }

    async fn answer(&mut self) -> (u16, Result<Table, PgError>) {
        match self.next().await {
            Report::Answered {
                id,
                outcome,
                took_ms,
            } => {
                assert!(took_ms > 0.0 && took_ms < 600_000.0, "{took_ms}");
                (id, outcome)
            }
            other => panic!("{other:?}"),
        }
    }

    /// Checks that it answers again.
    async fn lives(&mut self) {
        self.ask(vec![job(7, "SELECT 7::int8 AS n")]).await;
        let (id, outcome) = self.answer().await;
        assert_eq!((id, outcome.unwrap().first("n")), (7, &Value::Int(7)));
    }
}

async fn database(server: &Server) -> Database<'_> {
    server.database("sampler").await
}

#[test]
fn all_statements_of_a_batch_are_answered_each_by_itself() {
    block_on(async {
        let database = database(shared()).await;
        let mut session = start(&database.target(), config(LONG, LONG));
        session.opened().await;
        session
            .ask(vec![
                job(1, "SELECT 1::int8 AS n"),
                job(2, "SELECT n FROM nowhere"),
                job(3, "SELECT 1 / 0"),
                job(4, "SELECT 4::int8 AS n"),
            ])
            .await;
        let mut codes = Vec::new();
        for id in 1..=4 {
            let (answered, outcome) = session.answer().await;
            assert_eq!(answered, id);
            codes.push(
                outcome
                    .map(|table| table.first("n").int())
                    .map_err(|error| (error.class, error.code().to_owned())),
            );
        }
        let failed = |code: &str| Err((Class::Statement, code.to_owned()));
        assert_eq!(
            codes,
            [Ok(Some(1)), failed("42P01"), failed("22012"), Ok(Some(4))]
        );
        session.lives().await;
        drop(session.ask);
        session.task.await.unwrap();
    });
}

#[test]
fn a_panel_that_sends_too_much_has_an_error_and_the_others_go_on() {
    block_on(async {
        let database = database(shared()).await;
        let mut session = start(&database.target(), config(LONG, LONG));
        session.opened().await;
        let panel = |id, sql: &str| Job {
            as_text: true,
            ..job(id, sql)
        };
        // Long cells are truncated, visibly.
        session
            .ask(vec![panel(
                1,
                "SELECT repeat('x', 5000000) AS long, 7 AS n",
            )])
            .await;
        let table = session.answer().await.1.unwrap();
        let text = table.first("long").text().unwrap();
        assert!(
            text.len() < 20_000 && text.ends_with("x…"),
            "{}",
            text.len()
        );
        assert_eq!(table.first("n"), &Value::Int(7));
        // Too many of them are an error; the session continues.
        let many = "SELECT repeat('x', 20000) AS long FROM generate_series(1, 1000)";
        session.ask(vec![panel(1, many)]).await;
        let error = session.answer().await.1.unwrap_err();
        assert!(
            error
                .message
                .as_str()
                .contains("exceed the limit of 4.0 MB"),
            "{error}"
        );
        assert!(error.session_survives());
        session.lives().await;
        // A single enormous row ends the session, but no other answer is lost.
        let row = "SELECT repeat('x', 100000000) AS long";
        session
            .ask(vec![
                job(1, "SELECT 1::int8 AS n"),
                panel(2, row),
                job(3, "SELECT 3::int8 AS n"),
            ])
            .await;
        let (first, second) = (session.answer().await, session.answer().await);
        assert_eq!((first.0, first.1.unwrap().first("n")), (1, &Value::Int(1)));
        let error = second.1.unwrap_err();
        assert_eq!(
            (second.0, error.message.as_str()),
            (2, "the server sent a row of 95 MB; the limit is 8.0 MB")
        );
        assert!(error.ends_session());
        session.lost().await;
        session.opened().await;
        let third = session.answer().await;
        assert_eq!((third.0, third.1.unwrap().first("n")), (3, &Value::Int(3)));
        session.lives().await;
    });
}

#[test]
fn a_statement_that_comes_again_is_prepared_where_names_last() {
    block_on(async {
        let database = database(shared()).await;
        let client = database.connect().await;
        client
            .batch("CREATE TABLE plain AS SELECT 7::int8 AS n")
            .await
            .unwrap();
        let names = async || {
            let sql =
                "SELECT count(*) AS n FROM pg_prepared_statements WHERE name LIKE 'htap_top_%'";
            let table = client.query(sql, &[]).await.unwrap();
            table.first("n").int().unwrap()
        };
        let sql: Arc<str> = "SELECT * FROM plain -- with a comment at its end".into();
        let mut prepared = Vec::new();
        for _ in 0..3 {
            let table = client.query_again(&sql).await.unwrap();
            assert_eq!(table.first("n"), &Value::Int(7));
            prepared.push(names().await);
        }
        assert_eq!(prepared, [0, 1, 1], "once is not again");
        // The table's columns change.
        client
            .batch("ALTER TABLE plain ADD more int8 DEFAULT 8")
            .await
            .unwrap();
        for _ in 0..3 {
            let table = client.query_again(&sql).await.unwrap();
            assert_eq!(table.first("more"), &Value::Int(8));
        }
        // A statement that cannot be prepared reports the reason.
        let wrong: Arc<str> = "SELECT n FROM nowhere".into();
        for _ in 0..3 {
            let error = client.query_again(&wrong).await.unwrap_err();
            assert_eq!(error.code(), "42P01");
        }
        // Behind a pooler the next server connection does not know the statement.
        client.batch("DEALLOCATE ALL").await.unwrap();
        for _ in 0..3 {
            let table = client.query_again(&sql).await.unwrap();
            assert_eq!(table.first("n"), &Value::Int(7));
        }
        assert_eq!(names().await, 0, "it has learnt to use no names");
    });
}

#[test]
fn a_statement_that_takes_too_long_is_ended_and_the_session_goes_on() {
    block_on(async {
        let database = database(shared()).await;
        let mut session = start(&database.target(), config(Duration::from_millis(200), LONG));
        session.opened().await;
        session
            .ask(vec![job(1, "SELECT 1 AS n FROM pg_sleep(600)")])
            .await;
        let (_, outcome) = session.answer().await;
        let error = outcome.unwrap_err();
        assert_eq!((error.class, error.code()), (Class::Timeout, "57014"));
        session.lives().await;
    });
}

#[test]
fn a_killed_backend_is_replaced() {
    block_on(async {
        let database = database(shared()).await;
        let admin = database.connect().await;
        let mut session = start(&database.target(), config(LONG, LONG));
        session.opened().await;
        session
            .ask(vec![job(1, "SELECT pg_backend_pid()::int8 AS n")])
            .await;
        let pid = session.answer().await.1.unwrap().first("n").int().unwrap();
        admin
            .batch(&format!("SELECT pg_terminate_backend({pid})"))
            .await
            .unwrap();
        // While it is idle, without a query.
        let (error, attempt, retry) = session.lost().await;
        assert_eq!(
            (error.class, attempt, retry),
            (Class::Reconnect, 0, Some(0))
        );
        session.opened().await;
        session.lives().await;
        // In the middle of a statement.
        session
            .ask(vec![
                job(1, "SELECT 1::int8 AS n FROM pg_sleep(600)"),
                job(2, "SELECT 2::int8 AS n"),
            ])
            .await;
        let sql = "SELECT pid::int8 AS pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
        let sleeping = until(&admin, "sleeps", sql, &[], |table| !table.rows.is_empty()).await;
        let pid = sleeping.first("pid").int().unwrap();
        admin
            .batch(&format!("SELECT pg_terminate_backend({pid})"))
            .await
            .unwrap();
        for id in 1..=2 {
            let (answered, outcome) = session.answer().await;
            assert!(
                answered == id && outcome.is_err_and(|error| !error.session_survives()),
                "{id}"
            );
        }
        session.lost().await;
        session.opened().await;
        session.lives().await;
    });
}

#[test]
fn a_killed_and_restarted_server_is_found_again() {
    block_on(async {
        let server = Server::alone();
        let database = database(&server).await;
        let mut session = start(&database.target(), config(LONG, LONG));
        session.opened().await;
        session.lives().await;
        server.signal(Signal::SIGKILL);
        let (_, attempt, _) = session.lost().await;
        assert_eq!(attempt, 0, "first the loss is told, then the attempts");
        let mut last = 0;
        while last < 3 {
            let (error, attempt, retry) = session.lost().await;
            assert_eq!(attempt, last + 1);
            assert!(
                matches!(error.class, Class::BackOff | Class::Reconnect),
                "{error:?}"
            );
            assert!(
                retry.is_some_and(|ms| ms <= 400),
                "a server that is down is asked often: {retry:?}"
            );
            last = attempt;
        }
        server.start_again();
        session.opened().await;
        session.lives().await;
    });
}

#[test]
fn a_server_that_stands_still_is_given_up_and_found_again() {
    block_on(async {
        let server = Server::alone();
        let database = database(&server).await;
        let target = database.target();
        let mut session = start(&target, config(LONG, Duration::from_secs(1)));
        session.opened().await;
        session
            .ask(vec![job(1, "SELECT pg_backend_pid()::int8 AS n")])
            .await;
        let backend = session.answer().await.1.unwrap().first("n").int().unwrap();
        let backend = Pid::from_raw(i32::try_from(backend).unwrap());
        // The whole server is stopped: running backends and the postmaster.
        server.signal(Signal::SIGSTOP);
        kill(backend, Signal::SIGSTOP).unwrap();
        session
            .ask(vec![
                job(1, "SELECT 1::int8 AS n"),
                job(2, "SELECT 2::int8 AS n"),
            ])
            .await;
        for id in 1..=2 {
            let (answered, outcome) = session.answer().await;
            assert_eq!((answered, outcome.unwrap_err().class), (id, Class::Timeout));
        }
        let (error, attempt, _) = session.lost().await;
        assert_eq!((error.class, attempt), (Class::Timeout, 0));
        // A new connection is accepted by the kernel and never served: the attempt times out.
        let (error, attempt, retry) = session.lost().await;
        assert_eq!((attempt, retry.is_some()), (1, true), "{error}");
        kill(backend, Signal::SIGCONT).unwrap();
        server.signal(Signal::SIGCONT);
        session.opened().await;
        session.lives().await;
    });
}

#[test]
fn what_only_the_user_can_mend_is_tried_again_when_woken() {
    block_on(async {
        let database = database(shared()).await;
        let admin = database.connect().await;
        let name = format!("{}_later", database.name);
        let mut session = start(
            &database.server.target(&name, "postgres"),
            config(LONG, LONG),
        );
        let (error, attempt, retry) = session.lost().await;
        assert_eq!((error.code(), attempt, retry), ("3D000", 1, None));
        session.wake();
        assert_eq!(session.lost().await.1, 2);
        admin
            .batch(&format!("CREATE DATABASE {name} TEMPLATE template0"))
            .await
            .unwrap();
        session.wake();
        session.opened().await;
        session.lives().await;
    });
}

/// A fix made during an attempt may have come too late for it.
#[test]
fn woken_during_an_attempt_it_makes_another() {
    block_on(async {
        let database = database(shared()).await;
        let server = database.server.socket_dir();
        let folder = tempfile::tempdir().unwrap();
        let name = format!(".s.PGSQL.{}", database.server.port());
        let door = UnixListener::bind(folder.path().join(&name)).unwrap();
        let nowhere = format!("{}_nowhere", database.name);
        let port = database.server.port();
        let target = Target::local(folder.path(), port, "postgres", &nowhere);
        let mut session = start(&target, config(LONG, LONG));
        for attempt in 1..=2 {
            let (mut client, _) = door.accept().await.unwrap();
            if attempt == 1 {
                session.wake();
            }
            let mut backend = UnixStream::connect(server.join(&name)).await.unwrap();
            let _ = copy_bidirectional(&mut client, &mut backend).await;
            let (error, count, retry) = session.lost().await;
            assert_eq!((error.code(), count, retry), ("3D000", attempt, None));
        }
    });
}

#[test]
fn a_lazy_session_waits_for_its_first_statement() {
    block_on(async {
        let database = database(shared()).await;
        let admin = database.connect().await;
        let lazy = SessionConfig {
            lazy: true,
            late: false,
            kind: ServerKind::Postgres,
            transaction: true,
            ..config(LONG, LONG)
        };
        let target = database.target().with_application_name("lazy");
        let mut session = start(&target, lazy);
        let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'lazy' AND datname = current_database()";
        assert_eq!(
            admin.query(sql, &[]).await.unwrap().first("n"),
            &Value::Int(0)
        );
        let level = "SELECT current_setting('transaction_isolation') AS level, current_setting('transaction_read_only') AS ro";
        session.ask(vec![job(1, level)]).await;
        session.opened().await;
        let (_, outcome) = session.answer().await;
        let table = outcome.unwrap();
        assert_eq!(
            (table.first("level").text(), table.first("ro").text()),
            (Some("repeatable read"), Some("on"))
        );
        session.ask(vec![job(1, "CREATE TABLE x (id int)")]).await;
        assert_eq!(session.answer().await.1.unwrap_err().code(), "25006");
        session.lives().await;
        // Each statement's transaction is over: nothing is held.
        let sql = "SELECT state FROM pg_stat_activity WHERE application_name = 'lazy' AND datname = current_database()";
        until(&admin, "idle", sql, &[], |table| {
            table.first("state").text() == Some("idle")
        })
        .await;
    });
}

#[test]
fn the_point_query_is_timed() {
    block_on(async {
        let database = database(shared()).await;
        let (report, mut reports) = channel(8);
        let (point, points) = tokio::sync::watch::channel(None);
        let quick = canary::Pace {
            apart: Duration::from_millis(5),
            soon: true,
        };
        let (pace, paces) = watch::channel(quick);
        let (_wake, woken) = watch::channel(());
        let task = tokio::spawn(canary::canary(
            database.target(),
            config(LONG, LONG),
            points,
            paces,
            report,
            woken,
        ));
        let mut next = async || {
            timeout(PATIENCE, reports.recv())
                .await
                .unwrap_or_else(|_| panic!("no report"))
                .unwrap()
        };
        point.send_replace(Some("SELECT 1 AS n".into()));
        let (latencies, failed) = next().await;
        assert!(
            !latencies.is_empty()
                && failed == 0
                && latencies.iter().all(|ms| *ms > 0.0 && ms.is_finite())
        );
        // A failing query counts as failed and does not end the timing.
        point.send_replace(Some("SELECT n FROM nowhere".into()));
        while next().await.1 == 0 {}
        point.send_replace(Some("SELECT 1 AS n".into()));
        while next().await.1 > 0 {}
        // A change of the pace takes effect at once, not after the pause before.
        let apart = Duration::from_secs(3_600);
        pace.send_replace(canary::Pace { apart, soon: false });
        pace.send_replace(quick);
        next().await;
        drop(reports);
        timeout(PATIENCE, task)
            .await
            .unwrap_or_else(|_| panic!("it goes on for nobody"))
            .unwrap();
    });
}
