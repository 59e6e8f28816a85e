//! The real program in a real terminal, on a real server.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

mod columns;
mod stalled;
pub mod tmux;

use super::server::{Database, Order, Patience, Server, block_on, is_alive, pid, shared, until};
use htap_top::dashboard::terminal::Screen;
use htap_top::pg::Param;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use tmux::Terminal;

/// A database like pgbench's, without the shop.
async fn bank(server: &Server) -> Database<'_> {
    let database = server.database("bank").await;
    let admin = database.connect().await;
    admin
        .batch(
            "CREATE TABLE accounts (aid int PRIMARY KEY, abalance int);
             CREATE SEQUENCE tickets; INSERT INTO accounts SELECT g, 0 FROM generate_series(1, 1000) AS g;
             CREATE MATERIALIZED VIEW totals AS SELECT sum(abalance) AS total FROM accounts; ANALYZE",
        )
        .await
        .unwrap();
    database
}

/// Returns true if the first line says that it is live.
fn live(screen: &str) -> bool {
    screen
        .lines()
        .next()
        .is_some_and(|header| header.contains("live"))
}

/// A terminal in which the program runs on this database and is live.
fn started(database: &Database<'_>, width: u16, height: u16, arguments: &str) -> Terminal {
    let terminal = Terminal::open(width, height);
    terminal.run(&format!("{arguments} '{}'", database.conninfo("postgres")));
    terminal.until("live", live);
    terminal
}

/// Checks that the program has ended and restored the terminal.
fn assert_given_back(terminal: &Terminal) -> String {
    let screen = terminal.until("the prompt", |screen| screen.contains("exit="));
    let state = terminal.format("#{alternate_on} #{cursor_flag} #{mouse_any_flag}");
    assert_eq!(state, "0 1 0", "alternate screen, cursor, mouse");
    assert_eq!(terminal.settings_after(), terminal.settings, "stty -a");
    screen
}

#[test]
fn the_first_screen_is_alive() {
    block_on(async {
        let database = bank(shared()).await;
        let terminal = started(&database, 120, 40, "");
        let screen = terminal.until("live data", |screen| {
            screen.contains("public.totals") && screen.contains("accounts")
        });
        assert!(
            screen.contains(&format!("PostgreSQL {}", shared().major())),
            "{screen}"
        );
        assert!(
            screen.contains("Waits")
                && screen.contains("Statements")
                && !screen.contains("Hourly sales"),
            "a database without a shop has other panels on top:\n{screen}"
        );
        let clock = |screen: &str| screen.lines().next().unwrap_or_default().to_owned();
        let before = clock(&screen);
        terminal.until("the clock goes on", |screen| {
            clock(screen) != before && live(screen)
        });
        terminal.keys("?");
        let help = terminal.until("help", |screen| screen.contains("Help"));
        assert!(
            help.contains("refresh the selected materialized view"),
            "{help}"
        );
        terminal.keys("Escape");
        terminal.until("no help", |screen| {
            !screen.contains("Help ") && live(screen)
        });
        terminal.keys("q");
        assert!(assert_given_back(&terminal).contains("exit=0"));
    });
}

#[test]
fn every_way_out_gives_the_terminal_back() {
    block_on(async {
        let database = bank(shared()).await;
        for way in ["q", "C-c", "TERM", "HUP", "INT"] {
            let terminal = started(&database, 100, 35, "");
            let program = terminal.program();
            let patience = Patience::begin();
            match way {
                "TERM" => kill(Pid::from_raw(program), Signal::SIGTERM).unwrap(),
                "HUP" => kill(Pid::from_raw(program), Signal::SIGHUP).unwrap(),
                "INT" => kill(Pid::from_raw(program), Signal::SIGINT).unwrap(),
                key => terminal.keys(key),
            }
            assert_given_back(&terminal);
            assert!(!is_alive(program), "{way}");
            assert!(patience.seconds() < 10, "{way}: {} s", patience.seconds());
        }
        // The window is closed.
        let terminal = started(&database, 100, 35, "");
        let program = terminal.program();
        drop(terminal);
        let patience = Patience::begin();
        while is_alive(program) {
            assert!(patience.lasts(), "it outlives its window");
        }
    });
}

#[test]
fn a_resize_storm_is_survived() {
    block_on(async {
        let database = bank(shared()).await;
        let terminal = started(&database, 80, 24, "");
        for (width, height) in [
            (1, 1),
            (200, 60),
            (2, 60),
            (200, 2),
            (59, 15),
            (60, 14),
            (60, 15),
            (99, 32),
            (100, 31),
            (170, 50),
            (3, 3),
            (120, 40),
        ] {
            terminal.resize(width, height);
        }
        let screen = terminal.until("the last size", |screen| {
            live(screen) && screen.lines().count() == 40
        });
        assert!(screen.lines().next().unwrap().contains("htap-top"));
        terminal.resize(40, 10);
        terminal.until("too small", |screen| screen.contains("has 40x10"));
        terminal.resize(80, 24);
        terminal.until("large enough", live);
        terminal.keys("q");
        assert_given_back(&terminal);
    });
}

#[test]
fn it_can_be_suspended() {
    block_on(async {
        let database = bank(shared()).await;
        let terminal = started(&database, 100, 35, "");
        let program = terminal.program();
        for way in ["key", "signal"] {
            match way {
                "key" => terminal.keys("C-z"),
                _ => kill(Pid::from_raw(program), Signal::SIGTSTP).unwrap(),
            }
            terminal.until("the shell", |screen| screen.contains("Stopped"));
            assert_eq!(
                terminal.format("#{alternate_on} #{cursor_flag}"),
                "0 1",
                "{way}"
            );
            terminal.line("clear; fg");
            terminal.until("back again", live);
            assert_eq!(
                terminal.format("#{alternate_on} #{cursor_flag}"),
                "1 0",
                "{way}"
            );
        }
        terminal.keys("q");
        terminal.until("the prompt", |screen| {
            !live(screen) && screen.trim_end().ends_with('$')
        });
        assert_eq!(terminal.format("#{alternate_on} #{cursor_flag}"), "0 1");
        assert_eq!(terminal.settings_after(), terminal.settings);
    });
}

#[test]
fn a_killed_server_is_told_and_found_again() {
    block_on(async {
        let server = Server::alone();
        let database = bank(&server).await;
        let terminal = Terminal::open(140, 45);
        terminal.own_panel("mine", "Mine", "SELECT now()::text AS at");
        terminal.run(&format!("'{}'", database.conninfo("postgres")));
        terminal.until("live", |screen| {
            live(screen) && screen.contains("public.totals")
        });
        terminal.keys("9");
        terminal.until("the pool answers", |screen| {
            screen.contains("Mine") && screen.contains("20")
        });
        terminal.keys("0");
        server.signal(Signal::SIGKILL);
        let lost = terminal.until("lost", |screen| {
            screen
                .lines()
                .next()
                .is_some_and(|header| header.contains("lost"))
        });
        assert!(lost.contains("cannot reach the server"), "{lost}");
        terminal.until("old data are marked", |screen| {
            screen.contains(" old") && screen.contains("public.totals")
        });
        server.start_again();
        terminal.until("live again", live);
        terminal.keys("9");
        terminal.until("the pool answers again", |screen| {
            live(screen) && screen.contains("Mine") && !screen.contains(" old")
        });
        terminal.keys("L");
        terminal.until("the log", |screen| {
            screen.contains("connection lost") && screen.contains("connected again")
        });
        terminal.keys("q");
        assert_given_back(&terminal);
    });
}

#[test]
fn what_cannot_be_reached_is_told_clearly() {
    block_on(async {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let server = Server::start(&Order {
            listen_port: Some(port),
            ..Order::default()
        });
        let database = bank(&server).await;
        database
            .connect()
            .await
            .batch("CREATE ROLE keyed LOGIN PASSWORD 'right'")
            .await
            .unwrap();
        let tcp = format!("host=127.0.0.1 port={port} user=keyed");
        for (conninfo, words, ends) in [
            (
                format!("{tcp} password=canary-wrong dbname={}", database.name),
                vec!["password authentication failed", "press c"],
                3,
            ),
            (
                format!("{} dbname=nowhere", database.conninfo("postgres")),
                vec!["nowhere", "does not exist", "press c"],
                3,
            ),
            (
                "host=nosuchhost.invalid user=x dbname=x".to_owned(),
                vec!["cannot reach the server", "nosuchhost.invalid"],
                3,
            ),
            (
                format!("host=/nonexistent port={port} user=x dbname=x"),
                vec!["cannot reach the server", "/nonexistent"],
                3,
            ),
        ] {
            let terminal = Terminal::open(160, 40);
            terminal.run(&format!("'{conninfo}'"));
            let screen = terminal.until("the reason", |screen| {
                words.iter().all(|word| screen.contains(word))
            });
            assert!(screen.contains("cannot reach the server"), "{screen}");
            assert!(
                !live(&screen) && !screen.contains("canary-wrong"),
                "{screen}"
            );
            terminal.keys("q");
            terminal.until("exit code", |screen| {
                screen.contains(&format!("exit={ends}"))
            });
        }
        // The password is corrected in another window; c tries again.
        let terminal = Terminal::open(160, 40);
        terminal.run(&format!("'{tcp} password=soon dbname={}'", database.name));
        terminal.until("refused", |screen| {
            screen.contains("password authentication failed")
        });
        database
            .connect()
            .await
            .batch("ALTER ROLE keyed PASSWORD 'soon'")
            .await
            .unwrap();
        terminal.keys("c");
        terminal.until("live", live);
    });
}

/// Runs the program without a terminal; returns its exit code and its stderr.
fn blind(arguments: &[&str], home: &std::path::Path) -> (Option<i32>, String) {
    let ended = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("TERM", "xterm")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (
        ended.status.code(),
        String::from_utf8_lossy(&ended.stderr).into_owned(),
    )
}

#[test]
fn without_a_terminal_it_says_so() {
    let home = tempfile::tempdir().unwrap();
    let (code, message) = blind(&["-h", "/nonexistent"], home.path());
    assert_eq!(code, Some(2), "{message}");
    assert!(
        message.contains("needs a terminal") && !message.contains('\u{1b}'),
        "{message}"
    );
}

#[test]
fn a_wrong_configuration_names_line_and_cure() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("wrong.toml");
    std::fs::write(&file, "theme = \"dark\"\nintervall = \"1s\"\n").unwrap();
    let (code, message) = blind(&["--config", &file.to_string_lossy()], home.path());
    assert_eq!(code, Some(2), "{message}");
    for word in [
        "wrong.toml",
        "line 2",
        "intervall",
        "did you mean `interval`?",
    ] {
        assert!(message.contains(word), "{word} is not in {message}");
    }
    // Every command that reads the configuration tells of keys, of panels' too.
    for (text, why) in [
        ("[keys]\nrefresh = \"k\"\n", "line 2: keys.refresh: \"k\""),
        (
            "[keys.list]\nlock = \"z\"\n",
            "line 2: unknown panel \"lock\"",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let path = file.to_string_lossy();
        for arguments in [&["--config", &path][..], &["once", "--config", &path]] {
            let (code, message) = blind(arguments, home.path());
            assert_eq!(code, Some(2), "{arguments:?}: {message}");
            let place = format!("{path}: {why}");
            assert!(message.contains(&place), "{arguments:?}: {message}");
        }
    }
    let (code, message) = blind(&["--theme", "drak"], home.path());
    assert_eq!(code, Some(2), "{message}");
    assert!(
        message.contains("drak") && message.contains("dark"),
        "{message}"
    );
    let (code, message) = blind(&["--no-such-option"], home.path());
    assert_eq!(code, Some(2), "{message}");
    let (code, message) = blind(&["--config", "/nonexistent/x.toml"], home.path());
    assert_eq!(code, Some(2), "{message}");
    assert!(message.contains("/nonexistent/x.toml"), "{message}");
}

#[test]
fn own_panels_and_keys_work_and_broken_ones_are_told() {
    block_on(async {
        let database = bank(shared()).await;
        let terminal = Terminal::open(120, 40);
        // By the role's search path, which its front matter requests.
        terminal.own_panel(
            "balance",
            "Balances",
            "-- search_path = \"role\"\nSELECT count(*) AS accounts, 'x\u{1b}[31my' AS text FROM accounts",
        );
        terminal.own_panel("fails", "Fails", "SELECT 1 / 0 AS x FROM public.accounts");
        terminal.own_panel(
            "breaks_out",
            "Breaks out",
            "SET TRANSACTION READ WRITE; INSERT INTO public.accounts VALUES (-1, 0) RETURNING aid",
        );
        terminal.own_panel(
            "writes",
            "Writes",
            "SELECT nextval('public.tickets') AS ticket",
        );
        terminal.config_file("queries/broken.sql", "SELECT 1");
        terminal.config_file(
            "config.toml",
            "[keys]\nmore_panels = \"f9\"\nlog = \"alt-l\"\nquit = \"ctrl-q\"\n[keys.panels]\nbalance = \"A\"\n",
        );
        terminal.run(&format!("'{}'", database.conninfo("postgres")));
        terminal.until("live", |screen| {
            live(screen) && screen.contains("public.totals")
        });
        terminal.keys("F9");
        let screen = terminal.until("page 9", |screen| {
            screen.contains("Balances")
                && screen.contains("1000")
                && screen.contains("division by zero")
        });
        assert!(live(&screen));
        terminal.until("read-only", |screen| {
            screen.contains("in a read-only") && screen.contains("syntax error")
        });
        terminal.keys("M-l");
        terminal.until("the log", |screen| screen.contains("broken.sql"));
        terminal.escape("broken.sql");
        terminal.keys("A");
        terminal.until("one's own panel in full", |screen| {
            // The cause line may still say what is not known.
            screen.contains("A Balances") && !screen.contains("Fails")
        });
        let admin = database.connect().await;
        let sql = "SELECT 1 AS n FROM accounts WHERE aid = -1
                   UNION ALL SELECT 2 FROM public.tickets WHERE is_called";
        assert_eq!(
            admin.query(sql, &[]).await.unwrap().rows.len(),
            0,
            "a panel has written"
        );
        terminal.keys("C-q");
        assert_given_back(&terminal);
    });
}

#[test]
fn a_key_cancels_a_real_statement_and_leaves_a_trace() {
    block_on(async {
        let database = bank(shared()).await;
        let (admin, victim) = (database.connect().await, database.connect().await);
        let victim_pid = pid(&victim).await;
        let sleeping = tokio::spawn(async move {
            let ended = victim.batch("SELECT pg_sleep(600)").await;
            (victim, ended)
        });
        let sql = "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'";
        until(&admin, "sleeps", sql, &[Param::Int(victim_pid)], |table| {
            !table.rows.is_empty()
        })
        .await;
        // If the audit file cannot be written, no action is carried out.
        let terminal = Terminal::open(140, 40);
        terminal.config_file("config.toml", "audit_file = \"/dev/null/audit.jsonl\"\n");
        terminal.run(&format!("'{}'", database.conninfo("postgres")));
        terminal.until("live", live);
        terminal.keys("8/");
        terminal.line(&format!("^{victim_pid}$"));
        let only = |screen: &str| {
            screen.contains(&victim_pid.to_string())
                && screen.contains("PgSleep")
                && !screen.contains("filter:")
        };
        terminal.until("the victim", only);
        terminal.keys("C");
        terminal.until("the question", |screen| {
            screen.contains(&format!("pid {victim_pid}")) && screen.contains("Sure?")
        });
        terminal.keys("y");
        terminal.until("refused", |screen| {
            screen.contains("audit file cannot be written")
        });
        assert!(!sleeping.is_finished());
        terminal.keys("q");
        assert_given_back(&terminal);
        let log = terminal.state().join("log");
        let terminal = started(&database, 140, 40, &format!("--log '{}'", log.display()));
        terminal.keys("8/");
        terminal.line(&format!("^{victim_pid}$"));
        terminal.until("the victim", only);
        terminal.keys("C");
        terminal.until("the question", |screen| screen.contains("Sure?"));
        terminal.keys("y");
        terminal.until("proof", |screen| screen.contains("gone"));
        let (_victim, ended) = sleeping.await.unwrap();
        assert_eq!(ended.unwrap_err().code(), "57014");
        terminal.keys("q");
        assert_given_back(&terminal);
        let trace = std::fs::read_to_string(terminal.state().join("htap-top/audit.jsonl")).unwrap();
        let lines: Vec<serde_json::Value> = trace
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert!(
            lines.len() == 2
                && lines[0].get("intent").is_some()
                && lines[1].get("outcome").is_some(),
            "{trace}"
        );
        assert!(trace.contains(&victim_pid.to_string()));
        let log = std::fs::read_to_string(log).unwrap();
        let asked = format!("action asked for id=1 kind=cancel pid={victim_pid} by=key");
        assert!(
            log.contains(&asked) && log.contains("action ended id=1 outcome=gone"),
            "{log}"
        );
        assert!(!log.contains("pg_sleep"), "{log}");
    });
}

/// Variable that makes this test panic inside a terminal.
const PANIC: &str = "HTAP_TOP_TEST_PANIC";

#[test]
fn a_panic_gives_the_terminal_back() {
    if std::env::var_os(PANIC).is_some() {
        let _screen = Screen::take().unwrap();
        let broken = std::thread::spawn(|| panic!("a panic in a task"));
        let _ = broken.join();
        // Without dropping the screen: the hook alone must have restored the terminal.
        std::process::exit(101);
    }
    let terminal = Terminal::open(120, 40);
    let test = std::env::current_exe().unwrap();
    let name = "it::terminal::a_panic_gives_the_terminal_back";
    terminal.line(&format!(
        "clear; {PANIC}=1 '{}' --exact {name} --nocapture; echo exit''=$?",
        test.display()
    ));
    let screen = assert_given_back(&terminal);
    assert!(
        screen.contains("a panic in a task") && screen.contains("exit=101"),
        "{screen}"
    );
}
