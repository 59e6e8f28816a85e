//! `htap-top demo --replica`: both servers work, and both are removed however the demo or one of them ends.

use super::{Demo, Place, entries, nothing_is_left, playground};
use crate::it::server::{PATIENCE, block_on, is_alive, until};
use htap_top::pg::{Client, Target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The primary and the replica, as the demo tells the dashboard.
struct Pair {
    primary: Place,
    replica: Place,
}

fn started(tmp: &Path, arguments: &[&str]) -> (Demo, Pair) {
    let mut demo = Demo::start(
        tmp,
        &[&["--calm", "--lifeline", "--replica"], arguments].concat(),
    );
    let line = demo.until("\"ready\"");
    let told: serde_json::Value = serde_json::from_str(&line).unwrap();
    let told = &told["ready"];
    let place = |socket: &serde_json::Value, role: &str| {
        let home = PathBuf::from(socket["host"].as_str().unwrap());
        let port = socket["port"].as_u64().unwrap() as u16;
        let target = Target::local(&home, port, told[role].as_str().unwrap(), "shop");
        Place { home, target }
    };
    let pair = Pair {
        primary: place(told, "user"),
        replica: place(&told["replica"], "olap_user"),
    };
    (demo, pair)
}

impl Pair {
    async fn processes(&self) -> Vec<i32> {
        let mut pids = self.primary.processes().await;
        pids.extend(self.replica.processes().await);
        pids
    }
}

/// The setting of the slot's bound and of feedback, and what arrives.
async fn they_work(pair: &Pair, feedback: &str) {
    let primary = Client::connect(&pair.primary.target.with_user("postgres"))
        .await
        .unwrap();
    let replica = Client::connect(&pair.replica.target).await.unwrap();
    let state = "SELECT pg_is_in_recovery() AS recovery, current_setting('hot_standby_feedback') AS feedback,
                        (SELECT count(*) FROM mart.sales_hourly_mv) AS n";
    let seen = replica.query(state, &[]).await.unwrap();
    assert!(seen.first("recovery").is_true());
    assert_eq!(seen.first("feedback").text(), Some(feedback));
    assert!(seen.first("n").int() > Some(0));
    let slot = "SELECT active, current_setting('max_slot_wal_keep_size') AS bound
                FROM pg_replication_slots WHERE slot_type = 'physical'";
    let slot = primary.query(slot, &[]).await.unwrap();
    assert!(slot.first("active").is_true(), "{slot:?}");
    assert_eq!(slot.first("bound").text(), Some("1GB"));
    let orders = "SELECT max(order_id) > 1003 AS yes FROM shop.orders";
    until(&replica, "new orders arrive", orders, &[], |table| {
        table.first("yes").is_true()
    })
    .await;
}

#[test]
fn the_replica_works_and_ends_with_the_dashboard() {
    let tmp = playground();
    for feedback in ["on", "off"] {
        let options = ["--hot-standby-feedback", feedback];
        let (mut demo, pair) = started(tmp.path(), &options);
        let pids = block_on(async {
            they_work(&pair, feedback).await;
            pair.processes().await
        });
        drop(demo.child.stdin.take());
        demo.ended_well();
        nothing_is_left(tmp.path(), &pids);
    }
}

/// Of the versions without pg_basebackup.
#[test]
fn the_replica_of_a_fetched_version_dies_first() {
    let tmp = playground();
    let (demo, pair) = started(tmp.path(), &["--pg-major", "17"]);
    let pids = block_on(async {
        they_work(&pair, "off").await;
        pair.processes().await
    });
    kill(Pid::from_raw(*pids.last().unwrap()), Signal::SIGKILL).unwrap();
    let primary = block_on(Client::connect(&pair.primary.target));
    assert!(primary.is_ok(), "the primary goes on");
    demo.signal(Signal::SIGTERM);
    demo.ended_well();
    nothing_is_left(tmp.path(), &pids);
}

#[test]
fn the_next_demo_removes_both_servers_of_a_killed_one() {
    let tmp = playground();
    let (mut demo, pair) = started(tmp.path(), &[]);
    let pids = block_on(pair.processes());
    demo.signal(Signal::SIGKILL);
    assert!(!demo.child.wait().unwrap().success());
    assert!(is_alive(*pids.last().unwrap()) && pair.replica.home.is_dir());
    let mut next = Demo::start(tmp.path(), &["--replica"]);
    next.until("starting");
    assert!(!pair.primary.home.exists() && !pair.replica.home.exists());
    let begun = Instant::now();
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(begun.elapsed() < PATIENCE, "a process lives on");
    }
    // Interrupted while the replica is built, or shortly after.
    next.until("copying the server to a replica");
    next.signal(Signal::SIGTERM);
    next.ended_well();
    assert_eq!(entries(tmp.path()), Vec::<String>::new());
}

#[test]
fn feedback_without_a_replica_is_refused() {
    let tmp = playground();
    let output = super::program(tmp.path(), &["--hot-standby-feedback", "on"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(2) && said.contains("--replica"),
        "{said}"
    );
}
