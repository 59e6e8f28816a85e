//! `doctor`: every check on all majors as three roles; each finds its trouble, and nothing on a healthy
//! server.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of a test: a failure here is a failure of the test"
)]

mod connection;
mod findings;
mod silent;

use super::server::{Database, Server, block_on, shared};
use htap_top::dashboard::diagnosis::rules;
use htap_top::doctor::{Examination, Finding, Outcome, Severity, Status, check, examine, report};
use htap_top::pg::Client;
use htap_top::system::{fill, schema};
use htap_top::text::width;
use serde_json::Value;
use std::process::Command;

/// The demo's shop on a separate server, because roles belong to the whole cluster.
async fn shop(server: &Server) -> Database<'_> {
    let database = server.database("shop").await;
    let client = database.connect().await;
    schema::create(&client).await.unwrap();
    schema::extensions(&client).await.unwrap();
    let what = fill::Fill {
        orders: 1_000,
        seed: 1,
        end_ms: now_ms(),
    };
    fill::fill(&database.target(), what, |_, _| {})
        .await
        .unwrap();
    schema::fill_all(&client, |_, _| {}).await.unwrap();
    // The doctor would complain about roles without limits.
    client
        .batch(
            "CREATE ROLE doctor_plain LOGIN CONNECTION LIMIT 5; CREATE ROLE doctor_monitor LOGIN CONNECTION LIMIT 5;
             GRANT pg_monitor TO doctor_monitor",
        )
        .await
        .unwrap();
    database
}

#[expect(clippy::disallowed_methods, reason = "the made-up history ends now")]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

async fn examined(database: &Database<'_>, role: &str) -> Examination {
    examine(&database.target_of(role)).await.unwrap()
}

fn of<'a>(examination: &'a Examination, check: &str) -> &'a Outcome {
    let found = examination.outcomes.iter().find(|made| made.check == check);
    found.unwrap_or_else(|| panic!("there is no check {check}"))
}

/// The finding of a check about a subject.
fn found<'a>(examination: &'a Examination, check: &str, subject: &str) -> &'a Finding {
    let outcome = of(examination, check);
    let finding = (outcome.findings.iter()).find(|finding| finding.subject.as_str() == subject);
    finding.unwrap_or_else(|| panic!("{check} does not find {subject}: {outcome:#?}"))
}

/// Checks that must hold for every examination.
fn is_sound(examination: &Examination, who: &str) {
    let names: Vec<_> = examination.outcomes.iter().map(|made| made.check).collect();
    for (name, _) in check::variants() {
        assert!(names.contains(&name), "{name} was forgotten as {who}");
    }
    for outcome in &examination.outcomes {
        for finding in &outcome.findings {
            assert!(
                !finding.subject.is_empty() && !finding.evidence.is_empty(),
                "{who}: {outcome:#?}"
            );
        }
        if let Some(reason) = &outcome.reason {
            let said = ["needs ", "there is no "]
                .iter()
                .any(|known| reason.as_str().contains(known));
            assert!(
                said && !reason.as_str().contains("SQLSTATE"),
                "{who}: {outcome:#?}"
            );
        }
    }
    let text = report::table(examination);
    for line in text.lines().filter(|line| !line.contains('"')) {
        assert!(width(line) <= 100, "{who}: {line}");
    }
    for finding in &of(examination, "rules").findings {
        let rule = format!("| `{}` |", finding.subject);
        assert!(rules::markdown().contains(&rule), "there is no rule {rule}");
    }
}

/// Checks that report notes on a healthy shop, with the reason.
const NOTES: [&str; 3] = [
    // Test servers are temporary.
    "durability",
    // PostgreSQL before 16.
    "rules",
    // A build of the server without contrib modules.
    "statements",
];

fn on_major(major: u16) {
    let server = Server::of_major(major);
    block_on(async {
        let database = shop(&server).await;
        let examination = examined(&database, "postgres").await;
        is_sound(&examination, "postgres");
        for outcome in &examination.outcomes {
            let fine = outcome.status() == Status::Ok
                || outcome.status() == Status::Info && NOTES.contains(&outcome.check);
            assert!(fine, "on {major}: {outcome:#?}");
        }
        let examination = examined(&database, "htap_monitor").await;
        is_sound(&examination, "htap_monitor");
        assert!(
            examination.worst() <= Some(Severity::Info),
            "{examination:#?}"
        );
        let examination = examined(&database, "doctor_monitor").await;
        is_sound(&examination, "doctor_monitor");
        found(&examination, "reading", "mart");
        let signals = found(&examination, "privileges", "doctor_monitor");
        assert_eq!(signals.severity, Severity::Info);
        let examination = examined(&database, "doctor_plain").await;
        is_sound(&examination, "doctor_plain");
        let hidden = found(&examination, "privileges", "doctor_plain");
        assert_eq!(hidden.cure.as_str(), "GRANT pg_monitor TO doctor_plain");
        let unseen = of(&examination, "summaries");
        assert_eq!(unseen.status(), Status::NotChecked);
        let views = found(
            &examination,
            "views",
            "mart.daily_sales_summary, mart.fact_sales_mv, mart.sales_hourly_mv, mart.user_behavior_mv",
        );
        let grant = if major >= 17 {
            "GRANT MAINTAIN ON mart.daily_sales_summary, mart.fact_sales_mv, mart.sales_hourly_mv, mart.user_behavior_mv TO doctor_plain"
        } else {
            "GRANT htap_refresh TO doctor_plain"
        };
        assert_eq!(views.cure.as_str(), grant);
        if of(&examination, "statements").findings.is_empty() {
            let unseen = of(&examination, "statements");
            assert_eq!(unseen.reason, None, "its settings are there for everybody");
        }
    });
}

#[test]
fn a_healthy_shop_on_13() {
    on_major(13);
}

#[test]
fn a_healthy_shop_on_14() {
    on_major(14);
}

#[test]
fn a_healthy_shop_on_15() {
    on_major(15);
}

#[test]
fn a_healthy_shop_on_16() {
    on_major(16);
}

#[test]
fn a_healthy_shop_on_17() {
    on_major(17);
}

#[test]
fn a_healthy_shop_on_18() {
    on_major(18);
}

/// Runs the program; returns exit code, output and errors.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .arg("doctor")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn the_exit_code_says_whether_something_is_to_be_done() {
    let server = Server::alone();
    block_on(async {
        let database = shop(&server).await;
        let (code, text, errors) = run(&[&database.conninfo("postgres")]);
        assert_eq!((code, errors.as_str()), (0, ""), "{text}");
        assert!(text.contains("· durability: fsync: off: this is a throw-away server"));
        assert!(text.contains("checks, clean: privileges, "), "{text}");
        let (code, text, errors) = run(&[&database.conninfo("doctor_plain")]);
        assert_eq!(code, 5, "{text}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            text.contains("summaries (needs GRANT USAGE ON SCHEMA htap TO doctor_plain; GRANT"),
            "{text}"
        );
        assert!(errors.contains("warning"), "{errors}");
    });
    let (code, _, errors) = run(&["-h", "127.0.0.1", "-p", "1", "-d", "x"]);
    assert_eq!(code, 3, "{errors}");
    assert_eq!(run(&["--format", "xml"]).0, 2);
    assert_eq!(run(&["port=none"]).0, 2);
}

#[test]
fn programs_read_one_object_with_stable_names() {
    block_on(async {
        let database = shared().database("json").await;
        let (code, text, _) = run(&["--format", "json", &database.conninfo("postgres")]);
        let json: Value = serde_json::from_str(&text).unwrap();
        let keys = |value: &Value| {
            let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys.join(" ")
        };
        assert_eq!(keys(&json), "checks worst");
        let checks = json["checks"].as_array().unwrap();
        assert_eq!(checks.len(), check::variants().count() + 2);
        let mut worst = 0;
        for check in checks {
            assert_eq!(keys(check), "check findings reason status title");
            let order = ["ok", "not_checked", "info", "warning", "danger"];
            let status = order.iter().position(|name| check["status"] == *name);
            worst = worst.max(status.unwrap_or_else(|| panic!("{check}")));
            for finding in check["findings"].as_array().unwrap() {
                assert_eq!(keys(finding), "cure evidence severity subject");
            }
        }
        let of_all = ["ok", "ok", "info", "warning", "danger"];
        assert_eq!(of_all.get(worst).copied(), json["worst"].as_str());
        assert_eq!(code, if worst >= 3 { 5 } else { 0 });
    });
}

/// No lock on a user's table, however strong, delays an examination.
async fn waits_for_no_lock(server: &Server) {
    let database = server.database("locked").await;
    let holder = database.connect().await;
    holder
        .batch(
            "CREATE TABLE months (at date NOT NULL) PARTITION BY RANGE (at);
             CREATE TABLE old PARTITION OF months FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
             CREATE MATERIALIZED VIEW view AS SELECT 1 AS id; CREATE UNIQUE INDEX ON view (id);
             BEGIN; LOCK TABLE months, old; REFRESH MATERIALIZED VIEW view",
        )
        .await
        .unwrap();
    let examination = examined(&database, "postgres").await;
    for outcome in &examination.outcomes {
        if let Some(reason) = outcome.reason.as_ref().map(htap_top::text::Clean::as_str) {
            let known =
                reason.contains("somebody has locked") || reason.starts_with("there is no htap.");
            assert!(known, "{outcome:#?}");
        }
    }
    holder.batch("ROLLBACK").await.unwrap();
}

#[test]
fn it_waits_for_no_lock() {
    block_on(async {
        waits_for_no_lock(shared()).await;
        // From 17 on, the bounds of a locked partition cannot be displayed.
        waits_for_no_lock(&Server::of_major(18)).await;
    });
}

/// Runs statements one by one, because some cannot run in a transaction.
async fn each(client: &Client, statements: &[&str]) {
    for sql in statements {
        if let Err(error) = client.batch(sql).await {
            panic!("{sql}: {error}");
        }
    }
}
