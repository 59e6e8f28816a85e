//! The guard: the sessions that its rules hit, and those they must spare.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::board::{Board, activity};
use super::programs::Program;
use super::server::{Database, Order, Patience, Server, block_on, pid, shared, until};
use super::terminal::tmux::Terminal;
use htap_top::config::{Config, GuardMode};
use htap_top::dashboard::action::{Action, Outcome};
use htap_top::dashboard::event::{Effect, Event};
use htap_top::pg::admin::{Signal, Verdict};
use htap_top::pg::{Client, Param, PgError, Table, Value};
use std::path::Path;
use tokio::task::JoinHandle;

const OLD_OLAP: &str = "[[guard.rule]]\nname = \"old OLAP\"\naction = \"cancel\"\nclass = \"olap\"\nlonger_than = \"60s\"\n";
const HOLD: &str =
    "[[guard.rule]]\nname = \"OLTP first\"\naction = \"hold_refreshes\"\noltp_p99_over_ms = 50\n";

fn config(text: &str) -> Config {
    Config::parse(Path::new("config.toml"), text).unwrap()
}

/// A running dashboard with these rules.
fn armed(text: &str) -> Board {
    let mut board = Board::live(config(text));
    board.model.guarding.armed = true;
    board
}

/// OLAP statements with these pids that have run for 61 s.
fn reports(pids: std::ops::Range<i64>) -> Table {
    let rows: Vec<String> = pids
        .map(|pid| {
            format!(
                "{pid}|shop|reports|bi|client backend|active|||61.0|61.0||||0.0|SELECT {pid}|2026-01-02 03:00:00+00|\
                 2026-01-02 03:03:00+00|2026-01-02 03:03:04+00|false"
            )
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let mut table = activity(&rows);
    table.ensure_column("superuser");
    for row in 0..table.rows.len() {
        table.set(row, "superuser", Value::Bool(false));
    }
    table
}

/// The rule and the pid of each requested signal.
fn hits(effects: &[Effect]) -> Vec<(String, i64)> {
    let hit = |effect: &Effect| match effect {
        Effect::Act {
            action:
                Action::Signal {
                    signal: Signal::Cancel,
                    backends,
                    rule: Some(rule),
                },
            ..
        } => Some((rule.name.to_string(), backends.first()?.identity.pid)),
        _ => None,
    };
    effects.iter().filter_map(hit).collect()
}

#[test]
fn without_the_word_act_nothing_is_sent() {
    for text in [
        OLD_OLAP.to_owned(),
        format!("[guard]\nmode = \"act\"\n{OLD_OLAP}dry_run = true\n"),
        format!("read_only = true\n[guard]\nmode = \"act\"\n{OLD_OLAP}"),
    ] {
        let mut board = armed(&text);
        assert_eq!(hits(&board.answer("activity", reports(7..8))), []);
        let said = board.said();
        assert!(
            said.starts_with("dry run, nothing is sent: guard old OLAP: cancel pid 7"),
            "{text}: {said}"
        );
    }
    let mut board = armed(&format!("[guard]\nmode = \"off\"\n{OLD_OLAP}"));
    assert_eq!(hits(&board.answer("activity", reports(7..8))), []);
    assert!(!board.said().contains("guard"), "{}", board.said());
    // A recording, or a dashboard without a screen.
    let mut board = Board::live(config(&format!("[guard]\nmode = \"act\"\n{OLD_OLAP}")));
    assert_eq!(hits(&board.answer("activity", reports(7..8))), []);
    assert_eq!(board.model.guard_mode(), GuardMode::Off);
}

#[test]
fn each_is_hit_once_and_no_more_than_the_limit_within_a_minute() {
    let mut board = armed(&format!(
        "[guard]\nmode = \"act\"\nper_minute = 3\n{OLD_OLAP}"
    ));
    let rule = "old OLAP".to_owned();
    let effects = board.answer("activity", reports(1..3));
    assert_eq!(hits(&effects), [(rule.clone(), 1), (rule.clone(), 2)]);
    let _ = board.tick(1_000);
    assert_eq!(hits(&board.answer("activity", reports(1..3))), []);
    let effects = board.answer("activity", reports(1..9));
    assert_eq!(hits(&effects), [(rule.clone(), 3)]);
    assert!(
        board.said().contains("the limit is 3 signals per minute"),
        "{}",
        board.said()
    );
    let _ = board.tick(61_000);
    let effects = board.answer("activity", reports(20..30));
    assert_eq!(hits(&effects).len(), 3);
    let mut board = armed(&format!("[guard]\nmode = \"act\"\n{OLD_OLAP}"));
    let _ = board.keys("D");
    assert_eq!(hits(&board.answer("activity", reports(1..3))), []);
    assert!(board.screen(120, 40).contains("guard off"));
    let _ = board.keys("D");
    assert!(board.screen(80, 24).contains("GUARD acts"));
    assert_eq!(hits(&board.answer("activity", reports(1..3))).len(), 2);
}

#[test]
fn whom_the_server_hides_or_has_as_superuser_is_left_alone() {
    let mut board = armed(&format!("[guard]\nmode = \"act\"\n{OLD_OLAP}"));
    for superuser in [Value::Bool(true), Value::Null] {
        let mut table = reports(1..3);
        table.set(0, "superuser", superuser.clone());
        table.set(1, "superuser", superuser);
        assert_eq!(hits(&board.answer("activity", table)), []);
    }
}

/// Other databases are left alone unless a rule names them.
#[test]
fn a_rule_is_about_the_watched_database_unless_it_says_otherwise() {
    let mut elsewhere = reports(1..2);
    elsewhere.set(0, "datname", "bank".into());
    let mut board = armed(&format!("[guard]\nmode = \"act\"\n{OLD_OLAP}"));
    assert_eq!(hits(&board.answer("activity", elsewhere.clone())), []);
    let named = format!("[guard]\nmode = \"act\"\n{OLD_OLAP}database = \"^ba\"\n");
    let mut board = armed(&named);
    assert_eq!(hits(&board.answer("activity", elsewhere)).len(), 1);
    assert_eq!(hits(&board.answer("activity", reports(1..2))), []);
}

#[test]
fn refreshes_wait_while_oltp_is_slow() {
    let mut board = armed(&format!("[guard]\nmode = \"act\"\n{HOLD}"));
    let slow = |board: &mut Board, ms: f64| {
        let _ = board.event(Event::CanaryTimed {
            latencies_ms: vec![ms; 5],
            failed: 0,
        });
        board.answer("activity", activity(&[]))
    };
    let views = super::board::table(
        "relid|schemaname|matviewname|view|kind|concurrent_ok|may_refresh|on_standby|depends_on",
        &["1|mart|v|mart.v|materialized|true|true|false|"],
    );
    let refreshes = |effects: &[Effect]| {
        let refresh = |effect: &&Effect| {
            matches!(
                effect,
                Effect::Act {
                    action: Action::Refresh { .. },
                    ..
                }
            )
        };
        effects.iter().filter(refresh).count()
    };
    let _ = slow(&mut board, 80.0);
    let _ = board.answer("views", views);
    assert_eq!(refreshes(&board.keys("7ry")), 0);
    assert!(
        board
            .said()
            .contains("guard OLTP first holds the refresh back"),
        "{}",
        board.said()
    );
    assert!(board.screen(120, 40).contains("GUARD holds refreshes"));
    // Half a minute later only fast queries are in the window.
    let _ = board.tick(31_000);
    assert_eq!(refreshes(&slow(&mut board, 1.0)), 1);
    // Held again, and dropped by the user.
    let Some(running) = board.model.running.first().map(|running| running.id) else {
        panic!("no refresh runs")
    };
    let _ = board.event(Event::ActionEnded {
        id: running,
        outcome: Outcome::Refreshed(5.0),
    });
    let _ = board.tick(31_000);
    let _ = slow(&mut board, 80.0);
    assert_eq!(refreshes(&board.keys("ryC")), 0);
    assert!(board.said().starts_with("dropped 1 "), "{}", board.said());
    assert!(board.model.queue.is_empty());
}

#[test]
fn an_outcome_of_the_guard_is_told_with_its_rule() {
    let mut board = armed(&format!("[guard]\nmode = \"act\"\n{OLD_OLAP}"));
    let effects = board.answer("activity", reports(7..8));
    let Some(Effect::Act { id, action }) = effects
        .iter()
        .find(|effect| matches!(effect, Effect::Act { .. }))
    else {
        panic!("{effects:?}")
    };
    let line = serde_json::to_string(action).unwrap();
    assert!(line.contains("\"rule\":{\"name\":\"old OLAP\""), "{line}");
    let _ = board.event(Event::ActionEnded {
        id: *id,
        outcome: Outcome::Signalled(vec![Verdict::Gone]),
    });
    assert!(
        board.said().starts_with("guard old OLAP: cancel pid 7"),
        "{}",
        board.said()
    );
}

/// Sessions of a role that the guard's rules name, one working and one idle in a transaction, and a
/// superuser's.
struct Sessions {
    role: String,
    worker: JoinHandle<Result<(), PgError>>,
    idle: Client,
    superuser: JoinHandle<Result<(), PgError>>,
    pids: [i64; 3],
}

impl Sessions {
    async fn open(database: &Database<'_>, admin: &Client) -> Self {
        let role = format!("guarded_{}", database.name);
        admin
            .batch(&format!("CREATE ROLE {role} LOGIN"))
            .await
            .unwrap();
        let (worker, idle) = (
            database.connect_as(&role).await,
            database.connect_as(&role).await,
        );
        let superuser = database.connect().await;
        let pids = [pid(&worker).await, pid(&idle).await, pid(&superuser).await];
        idle.batch("BEGIN; SELECT 1").await.unwrap();
        let sleep = |client: Client| {
            tokio::spawn(async move { client.batch("SELECT pg_sleep(600)").await })
        };
        let sessions = Self {
            role,
            worker: sleep(worker),
            idle,
            superuser: sleep(superuser),
            pids,
        };
        let asleep = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid IN ($1, $2) AND wait_event = 'PgSleep'";
        let params = [Param::Int(pids[0]), Param::Int(pids[2])];
        let both = |table: &Table| table.first("n").int() == Some(2);
        until(admin, "both sleep", asleep, &params, both).await;
        sessions
    }

    fn rules(&self, mode: &str) -> String {
        // The first rule would also hit the superuser's session if that were allowed.
        format!(
            "[guard]\nmode = \"{mode}\"\n[[guard.rule]]\nname = \"old work\"\naction = \"cancel\"\n\
             longer_than = \"1s\"\nquery = \"pg_sleep\"\n[[guard.rule]]\nname = \"left open\"\naction = \"terminate\"\n\
             role = \"^{}$\"\nlonger_than = \"1s\"\n",
            self.role
        )
    }

    /// Starts a dashboard with these rules.
    fn watched(&self, database: &Database<'_>, mode: &str) -> Terminal {
        let terminal = Terminal::open(150, 40);
        terminal.config_file("config.toml", &self.rules(mode));
        terminal.run(&format!("'{}'", database.conninfo("postgres")));
        terminal
    }
}

#[test]
fn real_sessions_are_hit_by_their_rules_and_no_others() {
    block_on(async {
        let database = shared().database("guard_acts").await;
        let admin = database.connect().await;
        let sessions = Sessions::open(&database, &admin).await;
        let terminal = sessions.watched(&database, "act");
        terminal.until("the banner", |screen| screen.contains("GUARD acts"));
        let ended = sessions.worker.await.unwrap();
        assert_eq!(
            ended.unwrap_err().code(),
            "57014",
            "its statement was cancelled"
        );
        let gone = "SELECT count(*) AS n FROM pg_stat_activity WHERE pid = $1";
        let none = |table: &Table| table.first("n").int() == Some(0);
        until(
            &admin,
            "the session is terminated",
            gone,
            &[Param::Int(sessions.pids[1])],
            none,
        )
        .await;
        assert!(sessions.idle.batch("SELECT 1").await.is_err());
        let audit = terminal.state().join("htap-top/audit.jsonl");
        let patience = Patience::begin();
        let trace = loop {
            let trace = std::fs::read_to_string(&audit).unwrap_or_default();
            if trace.matches("\"outcome\"").count() >= 2 {
                break trace;
            }
            assert!(patience.lasts(), "{trace}");
            crate::it::server::pause().await;
        };
        for (rule, pid) in [
            ("old work", sessions.pids[0]),
            ("left open", sessions.pids[1]),
        ] {
            let line = trace
                .lines()
                .find(|line| line.contains(&format!("\"name\":\"{rule}\"")));
            assert!(
                line.is_some_and(|line| line.contains(&format!("\"pid\":{pid}"))),
                "{trace}"
            );
        }
        assert_eq!(trace.matches("\"gone\"").count(), 2, "{trace}");
        assert!(
            !trace.contains(&format!("\"pid\":{}", sessions.pids[2])),
            "{trace}"
        );
        assert!(!sessions.superuser.is_finished(), "a superuser's statement");
        terminal.keys("L");
        terminal.until("the log", |screen| {
            screen.contains("guard old work: cancel pid")
                && screen.contains("guard left open: terminate pid")
        });
        terminal.keys("q");
    });
}

#[test]
fn a_dry_run_tells_and_hits_nobody() {
    block_on(async {
        let database = shared().database("guard_dry").await;
        let admin = database.connect().await;
        let sessions = Sessions::open(&database, &admin).await;
        let terminal = sessions.watched(&database, "dry_run");
        terminal.until("the banner", |screen| screen.contains("GUARD dry run"));
        terminal.keys("L");
        terminal.until("what it would do", |screen| {
            screen.contains(&format!("guard old work: cancel pid {}", sessions.pids[0]))
                && screen.contains(&format!(
                    "guard left open: terminate pid {}",
                    sessions.pids[1]
                ))
        });
        assert!(!sessions.worker.is_finished() && !sessions.superuser.is_finished());
        sessions.idle.batch("SELECT 1").await.unwrap();
        assert!(!terminal.state().join("htap-top/audit.jsonl").exists());
        terminal.keys("q");
    });
}

/// A session that streams WAL has always run for long, and time limits are not meant for it: no rule hits it.
#[test]
fn who_streams_the_log_is_hit_by_no_rule() {
    block_on(async {
        let server = Server::start(&Order {
            settings: vec![("wal_level".into(), "logical".into())],
            ..Order::default()
        });
        let database = server.database("guard_streams").await;
        let admin = database.connect().await;
        for step in [
            "CREATE ROLE streaming LOGIN REPLICATION; CREATE ROLE guarded LOGIN",
            "SELECT pg_create_logical_replication_slot('decoded', 'test_decoding')",
            "SELECT pg_create_physical_replication_slot('received')",
        ] {
            admin.batch(step).await.unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        let logical = ["-d", &database.name, "--slot=decoded", "--start", "-f", "-"];
        let logical = Program::start(&server, "pg_recvlogical", "streaming", &logical);
        let physical = ["-D", folder, "--slot=received"];
        let physical = Program::start(&server, "pg_receivewal", "streaming", &physical);
        let streaming = "SELECT count(*) AS n FROM pg_stat_activity AS a JOIN pg_stat_replication AS r USING (pid)
                         WHERE a.backend_type = 'walsender' AND r.state = 'streaming' AND a.state = 'active'
                           AND clock_timestamp() - a.query_start > interval '2s'";
        let there = |n: i64| move |table: &Table| table.first("n").int() == Some(n);
        until(&admin, "both stream", streaming, &[], there(2)).await;
        let pids =
            "SELECT string_agg(pid::text, ' ' ORDER BY pid) AS pids FROM pg_stat_replication";
        let pids = async || admin.query(pids, &[]).await.unwrap().first("pids").clone();
        let before = pids().await;
        for action in ["cancel", "terminate"] {
            // For any class, role, application and database.
            let rule = |name: &str, more: &str| {
                format!(
                    "[[guard.rule]]\nname = \"{name}\"\naction = \"{action}\"\nlonger_than = \"1s\"\n\
                     state = \"active\"\nrole = \".\"\n{more}"
                )
            };
            let rules = format!(
                "[guard]\nmode = \"act\"\n{}{}",
                rule("here", ""),
                rule("anywhere", "database = \"\"\ncostly = true\n")
            );
            let worker = database.connect_as("guarded").await;
            let worker = tokio::spawn(async move { worker.batch("SELECT pg_sleep(600)").await });
            let terminal = Terminal::open(150, 40);
            terminal.config_file("config.toml", &rules);
            terminal.run(&format!("'{}'", database.conninfo("postgres")));
            // Younger than both: the sample that hit it had spared the others.
            assert!(worker.await.unwrap().is_err(), "{action}");
            terminal.keys("q");
            let trace = terminal.state().join("htap-top/audit.jsonl");
            let trace = std::fs::read_to_string(trace).unwrap();
            assert!(!trace.contains("streaming"), "{trace}");
            assert_eq!(pids().await, before, "{action}");
        }
        drop((logical, physical));
    });
}

/// A dump would be lost, and an invalid index left behind: a rule must name them to hit them.
#[test]
fn what_loses_much_is_spared_unless_a_rule_says_costly() {
    block_on(async {
        let database = shared().database("guard_spares").await;
        let admin = database.connect().await;
        let role = format!("guarded_{}", database.name);
        admin
            .batch(&format!(
                "CREATE ROLE {role} LOGIN; GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role};
                 CREATE TABLE filler AS SELECT repeat(md5(g::text), 3) AS t FROM generate_series(1, 200000) AS g;
                 CREATE TABLE indexed AS SELECT 1 AS a;
                 CREATE FUNCTION slow(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
                     $$BEGIN PERFORM pg_sleep(600); RETURN $1; END$$;
                 RESET ROLE"
            ))
            .await
            .unwrap();
        let builder = database.connect_as(&role).await;
        let building = tokio::spawn(async move {
            builder
                .batch("CREATE INDEX CONCURRENTLY built ON indexed (slow(a))")
                .await
        });
        let dump = Program::start(database.server, "pg_dump", &role, &["-d", &database.name]);
        let both = "SELECT count(*) AS n FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'
                    AND (application_name = 'pg_dump' AND wait_event = 'ClientWrite' OR query LIKE 'CREATE INDEX%')
                    AND clock_timestamp() - query_start > interval '2s'";
        let there = |n: i64| move |table: &Table| table.first("n").int() == Some(n);
        until(&admin, "both stand", both, &[], there(2)).await;
        let config = |action: &str, more: &str| {
            format!(
                "[guard]\nmode = \"act\"\n[[guard.rule]]\nname = \"old\"\naction = \"{action}\"\nstate = \"active\"\nrole = \"^{role}$\"\n\
                 longer_than = \"1s\"\n{more}"
            )
        };
        let watched = |rules: &str| {
            let terminal = Terminal::open(150, 40);
            terminal.config_file("config.toml", rules);
            terminal.run(&format!("'{}'", database.conninfo("postgres")));
            terminal
        };
        let worker = database.connect_as(&role).await;
        let worker = tokio::spawn(async move { worker.batch("SELECT pg_sleep(600)").await });
        let terminal = watched(&config("cancel", "application = \".\"\n"));
        // Younger than both: the sample that hit it had spared the others.
        assert_eq!(worker.await.unwrap().unwrap_err().code(), "57014");
        assert_eq!(
            admin.query(both, &[]).await.unwrap().first("n").int(),
            Some(2)
        );
        terminal.keys("q");
        // A dump that waits for its client cannot be cancelled.
        let terminal = watched(&config("terminate", "costly = true\n"));
        assert!(building.await.unwrap().is_err());
        until(&admin, "the dump is gone", both, &[], there(0)).await;
        terminal.keys("q");
        drop(dump);
    });
    for named in [
        "application = \"^pg_dump\"\n",
        "query = \"(?i)concurrently\"\n",
    ] {
        let text = format!("[guard]\n{OLD_OLAP}{named}");
        let fault = Config::parse(Path::new("config.toml"), &text).unwrap_err();
        assert!(fault.to_string().contains("costly = true"), "{fault}");
        let text = format!("[guard]\n{OLD_OLAP}{named}costly = true\n");
        assert!(Config::parse(Path::new("config.toml"), &text).is_ok());
    }
}
