//! `htap-top demo --stream`: completed orders arrive in the stream's table, on Kafka or on the mock broker, and nothing is
//! left of it.

use super::{Demo, Place, nothing_is_left, playground, program};
use crate::it::server::{Patience, block_on, until};
use htap_top::pg::{Client, Target};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A demo that is ready, as it tells the dashboard.
fn started(tmp: &Path, arguments: &[&str], java_home: Option<&str>) -> (Demo, Place, Value) {
    let arguments = [&["--calm", "--lifeline", "--stream"], arguments].concat();
    let mut program = program(tmp, &arguments);
    program.envs(java_home.map(|home| ("JAVA_HOME", home)));
    let mut demo = Demo::run(&mut program);
    let line = demo.until("\"ready\"");
    let told: Value = serde_json::from_str(&line).unwrap();
    let told = &told["ready"];
    let home = PathBuf::from(told["host"].as_str().unwrap());
    let port = told["port"].as_u64().unwrap() as u16;
    let target = Target::local(&home, port, told["user"].as_str().unwrap(), "shop");
    (demo, Place { home, target }, told["stream"].clone())
}

/// Waits until completed orders are in the stream's table, and it is known how fresh that is.
async fn it_streams(place: &Place) {
    let client = Client::connect(&place.target).await.unwrap();
    let arrived = "SELECT coalesce(sum(distinct_orders), 0)::bigint AS n FROM mart.realtime_stream";
    until(&client, "orders arrive", arrived, &[], |table| {
        table.first("n").int() > Some(0)
    })
    .await;
    let running = "SELECT count(*) FILTER (WHERE component = 'relay') AS relays, count(fresh_p50_ms) AS fresh
                   FROM htap.stream_state WHERE state = 'running' AND fresh_p50_ms IS NOT DISTINCT FROM least(fresh_p50_ms, fresh_p99_ms)";
    until(&client, "freshness is known", running, &[], |table| {
        (table.first("relays").int(), table.first("fresh").int()) == (Some(1), Some(1))
    })
    .await;
}

#[test]
fn without_java_it_runs_on_the_mock_broker_and_says_so() {
    let tmp = playground();
    let (mut demo, place, told) = started(tmp.path(), &[], Some("/nowhere"));
    assert!(
        told["broker"]
            .as_str()
            .unwrap()
            .starts_with("a mock broker on ")
    );
    let note = told["note"].as_str().unwrap();
    assert!(
        note.contains("not on Apache Kafka: ") && note.contains("set JAVA_HOME"),
        "{note}"
    );
    let pids = block_on(async {
        it_streams(&place).await;
        place.processes().await
    });
    drop(demo.child.stdin.take());
    demo.ended_well();
    nothing_is_left(tmp.path(), &pids);
}

/// Processes that work below this folder.
fn at_work(folder: &Path) -> usize {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let works = processes.filter(|process| {
        std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
    });
    works.count()
}

#[test]
#[ignore = "needs Java 17 and Kafka's jars: .ci/run runs it"]
fn with_java_it_runs_on_kafka_beside_a_replica_and_ends_with_the_dashboard() {
    let tmp = playground();
    let (mut demo, place, told) = started(tmp.path(), &["--replica"], None);
    assert!(
        told["broker"]
            .as_str()
            .unwrap()
            .starts_with("Apache Kafka "),
        "{told}"
    );
    assert_eq!(told["note"], Value::Null);
    let pids = block_on(async {
        it_streams(&place).await;
        place.processes().await
    });
    assert!(at_work(tmp.path()) > 0);
    drop(demo.child.stdin.take());
    demo.ended_well();
    nothing_is_left(tmp.path(), &pids);
    // The supervisor's last `sleep` may outlive it by a moment.
    let patience = Patience::begin();
    while at_work(tmp.path()) > 0 {
        assert!(patience.lasts(), "the broker lives on");
    }
}
