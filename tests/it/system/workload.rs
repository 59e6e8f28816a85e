//! `htap-top workload` and `htap-top order` run as the real binary: the report adds up, the books are correct
//! however the load ends, and a stalled server is noticed.

use super::books::Books;
use super::{fill_one, number, shop};
use crate::it::server::{Database, Patience, block_on, until};
use crate::it::terminal::tmux::Terminal;
use htap_top::cluster::SUPERUSER;
use htap_top::pg::Client;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::io::Read as _;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub(super) fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Starts a load.
fn start(database: &Database<'_>, arguments: &str) -> Child {
    let conninfo = database.conninfo(SUPERUSER);
    program(&["workload", &conninfo, "--format", "json", "--warm-up", "0s"])
        .args(arguments.split_whitespace())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

pub(super) fn report(output: &Output) -> Value {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert_eq!(stderr, "");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for class in ["oltp", "olap"] {
        let class = &report[class];
        let count = |name: &str| class[name].as_u64().unwrap();
        assert_eq!(
            count("offered"),
            count("done") + count("failed") + count("unstarted"),
            "{class}"
        );
        let sum = |name: &str| -> u64 {
            let kinds = class["kinds"].as_object().unwrap().values();
            kinds.map(|kind| kind[name].as_u64().unwrap()).sum()
        };
        let errors = class["errors"].as_object().unwrap();
        let failed: u64 = errors.values().map(|count| count.as_u64().unwrap()).sum();
        assert_eq!(sum("done"), count("done"), "{class}");
        assert_eq!(failed, count("failed"), "{class}");
    }
    report
}

pub(super) fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
}

/// The number at a place of a report.
pub(super) fn number_of(report: &Value, place: &str) -> i64 {
    let found = report.pointer(place);
    found
        .and_then(Value::as_i64)
        .unwrap_or_else(|| panic!("no {place} in {report}"))
}

const LOADED: &str = "SELECT count(*) AS n FROM pg_stat_activity
                      WHERE application_name = 'htap-top workload' AND datname = current_database()";
const SESSIONS: &str =
    "SELECT usename, application_name, state, wait_event_type, wait_event, query_start, query
                        FROM pg_stat_activity WHERE datname = current_database()";
const HEARTBEATS: &str = "SELECT count(*) AS n FROM htap.heartbeat";

/// Waits until the load has raised the query's result above `more`; panics with the load's output.
async fn until_more(client: &Client, load: &mut Child, sql: &str, more: i64) {
    let patience = Patience::begin();
    loop {
        let n = number(client, sql).await;
        if n > more {
            return;
        }
        if let Some(status) = load.try_wait().unwrap() {
            let mut said = String::new();
            load.stderr
                .as_mut()
                .unwrap()
                .read_to_string(&mut said)
                .unwrap();
            panic!("{sql}: {n}, and the load ended, {status}: {said}");
        }
        if !patience.lasts() {
            let sessions = super::ask(client, SESSIONS).await;
            panic!("{sql}: still {n}; the load runs, with the sessions {sessions:?}");
        }
        crate::it::server::pause().await;
    }
}

#[test]
fn a_report_adds_up_and_so_do_the_books() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        for (arguments, kinds) in [
            (
                "--oltp 150 --olap 20 --hybrid 10 --duration 4s --clients 8",
                &["browse", "log_in", "create", "hybrid", "pay"][..],
            ),
            (
                "--oltp 100 --olap 10 --mix orders --duration 1s --strategy pipelined --reports mv --keys",
                &["create"],
            ),
            (
                "--oltp 100 --olap 10 --mix orders --duration 1s --strategy group --reports base --arrivals fixed \
                 --skew 0 --async-commit --ramp 1s",
                &["create"],
            ),
            (
                "--oltp 50 --olap 0 --mix create=1,browse=1 --duration 1s --strategy round-trips --keep-stock",
                &["create", "browse"],
            ),
        ] {
            let books = Books::open(&client).await;
            let output = start(&database, arguments).wait_with_output().unwrap();
            let report = report(&output);
            assert_eq!(report["interrupted"], false);
            let done = |class: &str, kind: &str| {
                report[class]["kinds"][kind]["done"].as_i64().unwrap_or(0)
            };
            for kind in kinds {
                assert!(done("oltp", kind) > 0, "{kind}: {report}");
            }
            if report["asked"]["olap_per_s"].as_f64() > Some(0.0) {
                let reports = ["hourly", "category", "segment"];
                assert!(
                    reports.iter().any(|kind| done("olap", kind) > 0),
                    "{report}"
                );
                assert_eq!(report["olap"]["failed"], 0, "{report}");
                let tells = report["asked"]["reports"] != "base";
                assert_eq!(
                    report["freshness"]["samples"].as_i64() > Some(0),
                    tells,
                    "{report}"
                );
            }
            let created = books
                .close(&client, report["delivered_pieces"].as_i64().unwrap())
                .await;
            // Requests during the ramp are not in the report.
            let reported = done("oltp", "create") + done("oltp", "hybrid");
            if report["oltp"]["failed"] == 0 && !arguments.contains("--ramp") {
                assert_eq!(created, reported, "{report}");
            }
            assert!(created >= reported, "{report}");
            let keys = number(&client, "SELECT count(*) FROM shop.order_requests").await;
            assert_eq!(
                keys > 0,
                !arguments.contains("--duration 4s"),
                "{arguments}"
            );
        }
    });
}

#[test]
fn an_interrupt_ends_it_with_its_report() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        for how in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let before = number(&client, HEARTBEATS).await;
            let mut load = start(&database, "--oltp 50 --duration 1h --clients 2");
            until_more(&client, &mut load, HEARTBEATS, before + 5).await;
            signal(&load, how);
            let report = report(&load.wait_with_output().unwrap());
            assert_eq!(report["interrupted"], true);
            assert!(report["measured_s"].as_f64().unwrap() < 60.0);
        }
        let gone = |table: &htap_top::pg::Table| table.first("n").int() == Some(0);
        until(&client, "its sessions end", LOADED, &[], gone).await;
    });
}

#[test]
fn in_a_terminal_it_shows_how_it_goes_and_then_its_report() {
    let database = block_on(shop());
    let terminal = Terminal::open(100, 30);
    terminal.line(&format!(
        "{} workload '{}' --oltp 50 --olap 10 --warm-up 1s --duration 1h",
        env!("CARGO_BIN_EXE_htap-top"),
        database.conninfo(SUPERUSER)
    ));
    let screen = terminal.until("figures", |screen| screen.contains("measured, "));
    assert_eq!(screen.matches("OLTP last 5 s").count(), 1, "{screen}");
    terminal.until("the next figures", |after| {
        after != screen && after.contains("OLAP last 5 s")
    });
    terminal.keys("C-c");
    let screen = terminal.until("the report", |screen| screen.contains("retries "));
    assert!(
        screen.contains("measured for") && screen.contains("then interrupted"),
        "{screen}"
    );
    assert!(
        screen.contains("OLTP") && screen.contains("  browse"),
        "{screen}"
    );
    assert!(
        !screen.contains("last 5 s"),
        "what was shown meanwhile is gone:\n{screen}"
    );
}

#[test]
fn a_load_that_is_killed_leaves_the_books_in_order() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        let enough = "UPDATE shop.inventory SET quantity = 1000000";
        client.batch(enough).await.unwrap();
        let books = Books::open(&client).await;
        let last = "SELECT count(*) AS n FROM shop.orders";
        for strategy in ["function", "pipelined", "group", "round-trips"] {
            let before = number(&client, last).await;
            let arguments = format!(
                "--oltp 500 --olap 5 --mix create=80,steps=20 --keep-stock --strategy {strategy}"
            );
            let mut load = start(&database, &arguments);
            until_more(&client, &mut load, last, before + 50).await;
            signal(&load, Signal::SIGKILL);
            assert!(!load.wait().unwrap().success());
        }
        let gone = |table: &htap_top::pg::Table| table.first("n").int() == Some(0);
        until(&client, "the server notices", LOADED, &[], gone).await;
        assert!(books.close(&client, 0).await >= 200);
    });
}

#[test]
fn a_server_that_stands_still_is_seen_in_the_times() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        let mut load = start(
            &database,
            "--oltp 100 --olap 5 --mix browse=1 --duration 6s --clients 2 --olap-clients 1",
        );
        let before = number(&client, HEARTBEATS).await;
        until_more(&client, &mut load, HEARTBEATS, before + 20).await;
        let pids = "SELECT pid FROM pg_stat_activity WHERE application_name = 'htap-top workload'
                    AND datname = current_database()";
        let pids: Vec<i64> = super::ask(&client, pids)
            .await
            .rows
            .iter()
            .map(|row| row[0].int().unwrap())
            .collect();
        let all = |signal| {
            for pid in &pids {
                kill(Pid::from_raw(*pid as i32), signal).unwrap();
            }
        };
        all(Signal::SIGSTOP);
        tokio::time::sleep(Duration::from_secs(2)).await;
        all(Signal::SIGCONT);
        let report = report(&load.wait_with_output().unwrap());
        let class = &report["oltp"];
        assert!(
            class["latency_ms_max"].as_f64().unwrap() > 1_900.0,
            "{report}"
        );
        // Two sessions were stalled, but all requests that arrived meanwhile were affected.
        assert!(class["late"].as_u64().unwrap() > 100, "{report}");
        assert!(
            class["latency_ms_p95"].as_f64().unwrap() > 500.0,
            "{report}"
        );
        assert_eq!(class["failed"], 0, "{report}");
    });
}

#[test]
fn a_server_that_crashes_meanwhile_costs_errors_and_no_more() {
    block_on(async {
        let server = fill_one().await;
        let database = Database {
            server: &server,
            name: "filled".to_owned(),
        };
        let client = database.connect().await;
        let mut load = start(
            &database,
            "--oltp 100 --olap 5 --mix shop --duration 1h --clients 4 --keep-stock",
        );
        until_more(&client, &mut load, HEARTBEATS, 20).await;
        drop(client);
        server.signal(Signal::SIGKILL);
        server.start_again();
        let client = database.connect().await;
        let before = number(&client, HEARTBEATS).await;
        until_more(&client, &mut load, HEARTBEATS, before + 20).await;
        until_more(&client, &mut load, LOADED, 1).await;
        signal(&load, Signal::SIGINT);
        let report = report(&load.wait_with_output().unwrap());
        let errors = report["oltp"]["errors"].as_object().unwrap();
        assert!(
            errors
                .keys()
                .any(|code| code == "connection" || code.starts_with("57P")),
            "{report}"
        );
        let done = report["oltp"]["done"].as_u64().unwrap();
        assert!(done > 0, "{report}");
    });
}

#[test]
fn what_is_wrong_is_said_before_anything_is_done() {
    let (conninfo, empty, plain) = block_on(async {
        let database = shop().await;
        let server = database.server;
        let nothing = server.database("nothing").await.conninfo(SUPERUSER);
        let empty = server.database("empty").await;
        let client = empty.connect().await;
        htap_top::system::schema::create(&client).await.unwrap();
        (
            database.conninfo(SUPERUSER),
            empty.conninfo(SUPERUSER),
            nothing,
        )
    });
    let said = |arguments: &[&str]| {
        let output = program(&[&["workload"], arguments].concat())
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().unwrap(), stderr)
    };
    for (arguments, code, why) in [
        (&[plain.as_str()][..], 1, "there is no shop, or an old one"),
        (&[&empty], 1, "the shop has no users or products"),
        (
            &["host=/nowhere dbname=x"],
            3,
            "failed to connect as htap_oltp",
        ),
        (&["hots=x"], 2, "hots"),
        (
            &[&conninfo, "--oltp", "many"],
            2,
            "a number from 0 to 100000",
        ),
        (
            &[&conninfo, "--mix", "all"],
            2,
            "expected shop, orders, lives, or shares",
        ),
        (&[&conninfo, "--clients", "1000"], 2, "1..=100"),
        (
            &[&conninfo, "--strategy", "best"],
            2,
            "expected function, pipelined, group or round-trips",
        ),
    ] {
        let (found, stderr) = said(arguments);
        assert_eq!(found, code, "{stderr}");
        assert!(stderr.contains(why), "{arguments:?}: {stderr}");
    }
}

#[test]
fn an_order_by_the_command_line() {
    let database = block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        client
            .batch("UPDATE shop.inventory SET quantity = 10")
            .await
            .unwrap();
        database
    });
    let conninfo = database.conninfo("htap_oltp");
    let order = |arguments: &str| {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let (verb, rest) = words.split_first().unwrap();
        let output = program(&[&["order", verb, "-d", &conninfo], rest].concat())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        (
            output.status.code().unwrap(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, created, stderr) =
        order("create --user 7 --line 17x3 --line 4 --key k --async --format json");
    assert_eq!(code, 0, "{stderr}");
    let created: Value = serde_json::from_str(&created).unwrap();
    let id = created["order_id"].as_i64().unwrap();
    let ok = |text: String| (0, text, String::new());
    let again = order("create --user 7 --line 4 --line 17x2 --line 17 --key k --strategy group");
    assert_eq!(again, ok(format!("order {id} is pending")));
    assert_eq!(
        order(&format!("pay {id}")),
        ok(format!("order {id} is paid"))
    );
    assert_eq!(
        order(&format!("ship {id} --async")),
        ok(format!("order {id} is shipped"))
    );
    assert_eq!(
        order(&format!("complete {id}")),
        ok(format!("order {id} is completed"))
    );
    assert_eq!(order("login 7"), ok("user 7 has logged in".to_owned()));
    let refused = |text: &str| (1, String::new(), format!("htap-top: failed to {text}"));
    assert_eq!(
        order("create --user 7 --line 17x8"),
        refused("create the order: insufficient inventory of product 17: 8 wanted, 7 in stock")
    );
    assert_eq!(order("pay 5"), refused("pay order 5: there is no order 5"));
    let (code, stdout, _) = order(&format!("cancel {id} --format json"));
    let error: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(
        (code, error["error"]["sqlstate"].as_str()),
        (1, Some("23514"))
    );
    assert_eq!(order("create --user 7 --line x").0, 2);
    let nowhere = program(&["order", "pay", "1", "-h", "/nowhere"])
        .output()
        .unwrap();
    assert_eq!(nowhere.status.code(), Some(3));
}
