//! Several servers in one terminal: real servers, one of which is killed and started again.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::server::{Database, Order, Server, block_on, pid, role, shared, until};
use super::terminal::tmux::Terminal;
use htap_top::pg::Client;
use nix::sys::signal::Signal;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A role of its own, so that its statements can be counted.
const WATCHER: &str = "watcher";

async fn database<'a>(server: &'a Server, about: &str) -> Database<'a> {
    let database = server.database(about).await;
    let admin = database.connect().await;
    role(&admin, WATCHER, "IN ROLE pg_monitor, pg_signal_backend").await;
    database
}

/// The first line of the screen.
fn tabs(screen: &str) -> &str {
    screen.lines().next().unwrap_or_default()
}

/// The second line, the first one of a single server.
fn header(screen: &str) -> &str {
    screen.lines().nth(1).unwrap_or_default()
}

/// Identities of the program's sessions on a server.
async fn sessions(admin: &Client) -> Vec<String> {
    let sql = "SELECT pid || ' ' || backend_start::text AS id FROM pg_stat_activity \
               WHERE usename = 'watcher' AND application_name = 'htap-top' ORDER BY 1";
    let table = admin.query(sql, &[]).await.unwrap();
    let ids = (0..table.rows.len()).map(|row| table.get(row, "id").text().map(str::to_owned));
    ids.flatten().collect()
}

/// Statements that the program has executed on a server, and the server's time in seconds.
async fn statements(admin: &Client) -> (f64, f64) {
    let sql = "SELECT coalesce(sum(calls), 0)::float8 AS calls, \
               extract(epoch FROM clock_timestamp())::float8 AS at \
               FROM pg_stat_statements WHERE userid = 'watcher'::regrole";
    let table = admin.query(sql, &[]).await.unwrap();
    let row = table
        .first("calls")
        .number()
        .zip(table.first("at").number());
    row.unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn three_servers_have_a_tab_each_and_one_that_is_lost_disturbs_no_other() {
    let counting = [("shared_preload_libraries", "pg_stat_statements")];
    let counting = counting.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let quiet = Server::start(&Order {
        settings: counting.into(),
        ..Order::default()
    });
    let killed = Server::alone();
    block_on(async {
        let shop = database(shared(), "shop").await;
        let quiet = database(&quiet, "quiet").await;
        let lost = database(&killed, "lost").await;
        let (of_shop, of_quiet) = (shop.connect().await, quiet.connect().await);
        of_quiet
            .batch("CREATE EXTENSION pg_stat_statements")
            .await
            .unwrap();
        let terminal = Terminal::open(150, 45);
        let all =
            [&shop, &quiet, &lost].map(|database| format!("'{}'", database.conninfo(WATCHER)));
        terminal.run(&all.join(" "));
        let screen = terminal.until("three tabs, the first one shown", |screen| {
            let connecting = tabs(screen).contains("connecting");
            header(screen).contains("live") && tabs(screen).contains("3 ") && !connecting
        });
        let shown = "[1 ";
        assert!(tabs(&screen).starts_with(shown), "{screen}");
        for name in [&shop.name, &quiet.name, &lost.name] {
            assert!(tabs(&screen).contains(name.as_str()), "{screen}");
        }

        // A server in the background costs little, once it has been looked at for the first time.
        let sampled = "SELECT coalesce(max(calls), 0)::bigint AS n FROM pg_stat_statements \
                       WHERE userid = 'watcher'::regrole AND query LIKE '%xact_commit%'";
        until(&of_quiet, "it is sampled", sampled, &[], |table| {
            table.first("n").int() >= Some(2)
        })
        .await;
        let before = statements(&of_quiet).await;
        tokio::time::sleep(Duration::from_secs(12)).await;
        let after = statements(&of_quiet).await;
        let per_s = (after.0 - before.0) / (after.1 - before.1);
        assert!(per_s > 0.5, "it is not sampled: {per_s} per second");
        assert!(per_s <= 3.0, "{per_s} statements per second");

        // An action goes to the server shown, and the question names it.
        let victim = quiet.connect_as("watcher").await;
        let victim_pid = pid(&victim).await;
        let sleeping = tokio::spawn(async move { victim.query("SELECT pg_sleep(600)", &[]).await });
        terminal.keys("s");
        terminal.until("the list", |screen| {
            screen.contains("Servers") && screen.contains("A digit shows that server")
        });
        terminal.keys("2");
        terminal.until("the second one, in full", |screen| {
            header(screen).contains(&quiet.name) && header(screen).contains("live")
        });
        terminal.keys("8");
        terminal.until("the statement", |screen| screen.contains("pg_sleep(600)"));
        let found = format!("pid {victim_pid}");
        // Before the action, which has a session of its own.
        let had = (sessions(&of_shop).await, sessions(&of_quiet).await);
        assert!(had.0.len() >= 3 && had.1.len() >= 3, "{had:?}");
        terminal.keys("C");
        let question = terminal.until("the question", |screen| screen.contains("Sure?"));
        let on = format!("On {}", quiet.name);
        assert!(
            question.contains(&on) && question.contains(&found),
            "{question}"
        );
        terminal.keys("y");
        let outcome = sleeping.await.unwrap().unwrap_err();
        assert_eq!(outcome.code(), "57014");
        terminal.keys("0");

        // One is killed: the others go on with the sessions they had.
        killed.signal(Signal::SIGKILL);
        terminal.until("its tab says so", |screen| {
            tabs(screen).contains("lost ") && header(screen).contains("live")
        });
        terminal.keys("s3");
        let screen = terminal.until("it is shown as lost", |screen| {
            header(screen).contains(&lost.name) && header(screen).contains("lost")
        });
        assert!(screen.contains("cannot reach the server"), "{screen}");
        // Whatever the order is by now: twice each way returns to it.
        for keys in [".", ".", ",", ","] {
            terminal.keys(keys);
        }
        terminal.until("there and back", |screen| {
            tabs(screen).contains("[3 ") && header(screen).contains(&lost.name)
        });
        killed.start_again();
        terminal.until("it is found again", |screen| {
            header(screen).contains("live") && !tabs(screen).contains("lost ")
        });
        terminal.keys("s1");
        terminal.until("the first one", |screen| {
            header(screen).contains(&shop.name) && header(screen).contains("live")
        });
        assert_eq!(
            (sessions(&of_shop).await, sessions(&of_quiet).await),
            had,
            "the others had to connect again"
        );
        terminal.keys("M");
        let screen = terminal.until("mouse", |_| terminal.format("#{mouse_any_flag}") == "1");
        let (before, _) = screen.split_once(" 2 ").unwrap();
        let column = before.chars().count() + 3;
        terminal.keys(&format!("\x1b[<0;{column};1M"));
        terminal.until("the server whose tab was clicked", |screen| {
            header(screen).contains(&quiet.name) && tabs(screen).contains("[2 ")
        });
        terminal.keys("s1");
        terminal.until("the first one again", |screen| tabs(screen).contains("[1 "));
        terminal.keys("L");
        let log = terminal.until("the log of the first", |screen| screen.contains("Log "));
        assert!(!log.contains("connection lost"), "{log}");
        terminal.keys("q");
        terminal.until("the prompt", |screen| screen.contains("exit=0"));
    });
}

/// Runs the program; returns exit code, standard output and standard error.
fn run(arguments: &[&str], config: Option<&str>) -> (Option<i32>, String, String) {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join("htap-top")).unwrap();
    if let Some(text) = config {
        std::fs::write(home.path().join("htap-top/config.toml"), text).unwrap();
    }
    let ended = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(arguments)
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path())
        .env("XDG_STATE_HOME", home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

#[test]
fn a_check_goes_over_all_servers_and_the_worst_decides() {
    block_on(async {
        let alone = Server::alone();
        let (one, two) = (alone.database("one").await, alone.database("two").await);
        let server = |name: &str, conninfo: &str| {
            format!("[[servers]]\nname = \"{name}\"\nconninfo = \"{conninfo}\"\n")
        };
        // Other tests load the machine: these targets are always met.
        let lenient = "[targets]\noltp_p99_ms = 1e6\nsnapshot_age = \"9d\"\nolap_limit = \"9d\"\nolap_latency = \"9d\"\n\
                       oltp_connections = 9999\nolap_connections = 9999\ntps = 1e9\n";
        let good = server("first", &one.conninfo("postgres"));
        let also = server("second", &two.conninfo("postgres"));
        let gone = server("third", "host=/nonexistent user=x dbname=x");
        let config = format!("{lenient}{good}{gone}{also}");
        let (code, out, err) = run(&["once", "--check", "--wait", "60s"], Some(&config));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!((code, lines.len()), (Some(3), 3), "{out}{err}");
        let begins = ["first: ", "third: danger: failed to connect: ", "second: "];
        for (line, begin) in lines.iter().zip(begins) {
            assert!(line.starts_with(begin), "{out}");
        }
        assert!(
            err.contains("htap-top: third: failed to connect: "),
            "{err}"
        );
        // What reads one server refuses several, and what is wrong is said before anything is opened.
        for (arguments, why) in [
            (&["once"][..], "once prints the figures of one server"),
            (
                &["once", "--check", "--format", "json"],
                "leave --format and --panel out",
            ),
            (&["serve"], "serve reads one server"),
            (&["record", "x.htap"], "record reads one server"),
        ] {
            let (code, out, err) = run(arguments, Some(&config));
            assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {err}");
            assert!(err.contains(why), "{arguments:?}: {err}");
        }
        let wrong = config.replace("host=/nonexistent", "host=/nonexistent sslmode=nonsense");
        let (code, _, err) = run(&["once", "--check"], Some(&wrong));
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("server third: conninfo: "), "{err}");
        // The command line takes precedence.
        let named = one.conninfo("postgres");
        let (_, out, err) = run(
            &["once", &named, "--panel", "database", "--format", "csv"],
            Some(&config),
        );
        assert_eq!(out.lines().count(), 2, "{err}");
    });
}
