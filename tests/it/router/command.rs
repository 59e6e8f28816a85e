//! `htap-top route`: its output and exit codes.

use crate::it::server::{Database, block_on};
use crate::it::system::shop;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};

struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

fn run(arguments: &[&str], input: &str) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .arg("route")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // It may have ended before it read all.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code().unwrap(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// Routes on this database; returns the JSON output.
fn routed(database: &Database<'_>, arguments: &[&str], input: &str) -> Vec<Value> {
    let conninfo = database.conninfo("htap_olap");
    let mut all = vec!["-d", &conninfo, "--format", "json"];
    all.extend(arguments);
    let ended = run(&all, input);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let lines = ended.stdout.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn decisions_are_printed_for_people_and_for_programs() {
    let database = block_on(shop());
    let answers = routed(
        &database,
        &["SELECT * FROM shop.users WHERE user_id = 7"],
        "",
    );
    let [answer] = answers.as_slice() else {
        panic!("{answers:?}")
    };
    assert_eq!(
        (&answer["node"], &answer["pool"], &answer["rule"]),
        (&"replica".into(), &"oltp".into(), &"read".into())
    );
    assert!(
        answer["reason"].as_str().unwrap().contains("costs 8"),
        "{answer}"
    );
    assert!(
        answer["cost"].as_f64().unwrap() < 10.0
            && answer["olap_cost"] == 1000.0
            && answer["offline"] == false
    );
    let answers = routed(
        &database,
        &["SELECT shop.log_in(1)", "--olap-cost", "5"],
        "",
    );
    assert_eq!(answers[0]["culprit"], "shop.log_in()");
    // A file is one session; an argument is one message.
    let script = "BEGIN;\nSELECT 1; -- ;\nCOMMIT; SELECT ';'";
    let answers = routed(&database, &["-f", "-"], script);
    let nodes: Vec<&str> = answers
        .iter()
        .map(|answer| answer["node"].as_str().unwrap())
        .collect();
    assert_eq!(nodes, ["primary", "primary", "primary", "replica"]);
    assert_eq!(answers[1]["statement"], "SELECT 1");
    let answers = routed(&database, &["SELECT 1; SELECT 2"], "");
    assert_eq!(
        (answers.len(), &answers[0]["rule"]),
        (1, &"several_statements".into())
    );
    let plain = run(
        &[
            "-d",
            &database.conninfo("htap_olap"),
            "DELETE\nFROM t",
            "SELECT 1",
        ],
        "",
    );
    let expected = "DELETE FROM t\n  primary, oltp pool (not_a_read)\n  DELETE is not a statement that \
                    reads\n\nSELECT 1\n  replica, oltp pool (read)\n  it only reads; its plan costs 0, OLAP \
                    begins at 1000\n";
    assert_eq!((plain.code, plain.stdout.as_str()), (0, expected));
    // A server that is not a standby is not a replica.
    let conninfo = database.conninfo("htap_olap");
    for replica in [conninfo.as_str(), "host=/nowhere"] {
        let answers = routed(&database, &["--replica", replica, "SELECT 1"], "");
        assert_eq!(
            (&answers[0]["node"], &answers[0]["rule"]),
            (&"primary".into(), &"no_replica".into())
        );
    }
}

#[test]
fn the_traps_are_shown_with_both_routers_decisions() {
    let database = block_on(shop());
    // A shop with 3,000 orders: cheap statements may run in the OLTP pool, too.
    for more in [&[][..], &["--olap-cost", "50"]] {
        let mut arguments = vec!["--traps"];
        arguments.extend(more);
        let answers = routed(&database, &arguments, "");
        let count =
            |key: &str, value: bool| answers.iter().filter(|answer| answer[key] == value).count();
        assert_eq!(
            (answers.len(), count("right", true)),
            (16, 16),
            "{answers:?}"
        );
        assert_eq!(
            (
                count("keywords_right", false),
                count("keywords_dangerous", true)
            ),
            (14, 6)
        );
        assert!(
            answers
                .iter()
                .all(|answer| !answer["reason"].as_str().unwrap().is_empty())
        );
    }
    let plain = run(&["-d", &database.conninfo("htap_olap"), "--traps"], "");
    assert_eq!(plain.code, 0);
    assert!(
        plain
            .stdout
            .contains("16 of 16 right; by keywords 2 right, 14 wrong"),
        "{}",
        plain.stdout
    );
    assert_eq!(plain.stdout.matches("WRONG, and dangerous").count(), 6);
    // They have no meaning elsewhere.
    let elsewhere = database
        .server
        .target("postgres", "htap_olap")
        .to_conninfo();
    let ended = run(&["-d", &elsewhere, "--traps"], "");
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("htap-top init"), "{}", ended.stderr);
}

#[test]
fn one_statement_that_cannot_be_read_spoils_no_file() {
    let script =
        "SELECT U&'d\\0061ta';\nSELECT 7_000;\nSELECT sum(a) FROM t;\nDELETE FROM t; SELECT 'open";
    let ended = run(&["--offline", "--format", "json", "-f", "-"], script);
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
    let told: Vec<(String, String)> = ended
        .stdout
        .lines()
        .map(|line| {
            let answer: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| answer[name].as_str().unwrap().to_owned();
            (text("statement"), text("rule"))
        })
        .collect();
    let told: Vec<(&str, &str)> = told.iter().map(|(sql, rule)| (&**sql, &**rule)).collect();
    assert_eq!(
        told,
        [
            ("SELECT U&'d\\0061ta'", "read"),
            ("SELECT 7_000", "unreadable"),
            ("SELECT sum(a) FROM t", "pinned"),
            ("DELETE FROM t", "pinned"),
            ("SELECT 'open", "pinned"),
        ]
    );
}

#[test]
fn what_cannot_be_routed_is_said() {
    let offline = run(&["--offline", "SELECT sum(a) FROM t"], "");
    assert_eq!(offline.code, 0);
    assert!(
        offline.stdout.contains("replica, olap pool")
            && offline.stdout.contains("without a server"),
        "{}",
        offline.stdout
    );
    for (arguments, code, what) in [
        (&[][..], 2, "--traps"),
        (&["-f", "nowhere.sql"], 2, "nowhere.sql"),
        (&["--olap-cost=-1", "x"], 2, "plan cost"),
        (&["--format", "yaml", "x"], 2, "yaml"),
        (&["--offline", "-h", "x", "x"], 2, "--offline"),
        (&["-d", "hots=x", "SELECT 1"], 2, "hots"),
        (&["-d", "host=/nowhere", "SELECT 1"], 3, "--offline"),
    ] {
        let ended = run(arguments, "SELECT 'a");
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(what) && ended.stdout.is_empty(),
            "{arguments:?}: {}",
            ended.stderr
        );
    }
    // No input is too large for it.
    let deep = format!("SELECT {}1{}", "(".repeat(5_000), ")".repeat(5_000));
    let long = format!("SELECT 1{}", " + 1".repeat(30_000));
    for sql in [
        deep.as_str(),
        &long,
        "SELECT 1; SELECT $99999999999999999999",
        "\u{1}",
        "é'é",
    ] {
        let ended = run(&["--offline", sql], "");
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert!(ended.stdout.contains("primary, oltp"), "{}", ended.stdout);
    }
}
