//! The timeline's bars on a real server: each begins and ends when the work did, by the server's own clock.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::server;
use super::watch::Watch;
use crate::it::board::Board;
use crate::it::server::{Patience, block_on, pid};
use htap_top::config::{Config, PanelConfig};
use htap_top::dashboard::lanes::{Bar, Lane};
use htap_top::pg::Client;
use std::time::Duration;

/// Seconds between two samples, and what a busy machine may add.
const SAMPLE_S: f64 = 1.0 + 0.5;

/// Seconds since the epoch, by the server.
async fn clock(client: &Client) -> f64 {
    let sql = "SELECT extract(epoch FROM clock_timestamp())::float8 AS s";
    let table = client.query(sql, &[]).await.unwrap();
    table.first("s").number().unwrap()
}

fn bars(board: &Board, lane: Lane) -> Vec<&Bar> {
    let all = board.model.history.course.lanes.since(i64::MIN);
    all.filter(|bar| bar.lane == lane).collect()
}

/// The only bar of a lane whose name contains this.
fn bar<'b>(board: &'b Board, lane: Lane, name: &str) -> &'b Bar {
    let bars = bars(board, lane);
    let mut found = bars.iter().filter(|bar| bar.name.as_str().contains(name));
    let bar = found.next().unwrap();
    assert!(found.next().is_none(), "{bars:#?}");
    bar
}

/// Runs a statement on a session of its own; returns when it began and ended.
fn timed(client: Client, sql: &'static str) -> tokio::task::JoinHandle<(f64, f64)> {
    tokio::spawn(async move {
        let begun = clock(&client).await;
        client.batch(sql).await.unwrap();
        (begun, clock(&client).await)
    })
}

/// Checks that a bar is within a sample of these times. `zero_s` is the server's time at the model's zero.
fn agrees(bar: &Bar, zero_s: f64, (begun_s, ended_s): (f64, f64)) {
    let at = |ms: i64| zero_s + ms as f64 / 1000.0;
    let off = (
        at(bar.start_ms) - begun_s,
        at(bar.end_ms.unwrap()) - ended_s,
    );
    let small = |off: f64| off.abs() < SAMPLE_S;
    assert!(small(off.0) && small(off.1), "{off:?} {bar:#?}");
}

/// A table that takes a while to vacuum, and a view that takes two seconds to refresh.
async fn prepare(admin: &Client) {
    admin
        .batch(
            "CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 200000) AS g;
             CREATE MATERIALIZED VIEW slow AS SELECT 1 AS n FROM pg_sleep(2) WITH NO DATA;
             DELETE FROM t WHERE id % 2 = 0",
        )
        .await
        .unwrap();
}

#[test]
fn bars_begin_and_end_when_the_work_did() {
    block_on(async {
        let server = server(&[("autovacuum", "off")]);
        let database = server.database("bars").await;
        let admin = database.connect().await;
        prepare(&admin).await;
        let mut config = Config::default();
        let often = PanelConfig {
            interval: Some(Duration::from_secs(1)),
            ..PanelConfig::default()
        };
        config.panels.insert("wal".into(), often);
        let mut watch = Watch::begin(&database, config).await;
        let mut now_s = clock(&admin).await;
        // The moment of the model that is the server's epoch.
        let zero_s = now_s - watch.board.model.now_ms() as f64 / 1000.0;

        let idle = database.connect().await;
        let idle_pid = pid(&idle).await;
        idle.batch("BEGIN; SELECT 1").await.unwrap();
        let began = "SELECT extract(epoch FROM xact_start)::float8 AS s FROM pg_stat_activity WHERE state ~ '^idle in'";
        let left_open_s = admin.query(began, &[]).await.unwrap();
        let left_open_s = left_open_s.first("s").number().unwrap();
        let refresh = timed(database.connect().await, "REFRESH MATERIALIZED VIEW slow");
        let slowly = database.connect().await;
        // Two seconds at least, whether the checkpoint has written the pages before or not.
        slowly
            .batch("SET vacuum_cost_delay = 20; SET vacuum_cost_limit = 200; SET vacuum_cost_page_hit = 20")
            .await
            .unwrap();
        let vacuum = timed(slowly, "VACUUM t");
        let checkpoint = timed(database.connect().await, "CHECKPOINT");

        let (mut ended, mut committed_s) = (false, None);
        let patience = Patience::begin();
        while !ended {
            let then_s = clock(&admin).await;
            watch.look(((then_s - now_s) * 1000.0) as u64).await;
            now_s = zero_s + watch.board.model.now_ms() as f64 / 1000.0;
            let left_open = bars(&watch.board, Lane::IdleInTransaction);
            if !left_open.is_empty() && committed_s.is_none() {
                idle.batch("COMMIT").await.unwrap();
                committed_s = Some(clock(&admin).await);
            }
            let over = |lane| {
                bars(&watch.board, lane)
                    .iter()
                    .any(|bar| bar.end_ms.is_some())
            };
            ended = over(Lane::Refresh)
                && over(Lane::Maintenance)
                && over(Lane::Checkpoint)
                && over(Lane::IdleInTransaction);
            let course = &watch.board.model.history.course;
            assert!(patience.lasts(), "{course:#?}");
        }

        let board = &watch.board;
        let refreshed = refresh.await.unwrap();
        agrees(bar(board, Lane::Refresh, "slow"), zero_s, refreshed);
        let vacuumed = vacuum.await.unwrap();
        agrees(bar(board, Lane::Maintenance, "VACUUM t"), zero_s, vacuumed);
        let written = checkpoint.await.unwrap();
        agrees(bar(board, Lane::Checkpoint, "requested"), zero_s, written);
        let left_open = bar(board, Lane::IdleInTransaction, &format!("pid {idle_pid}"));
        agrees(left_open, zero_s, (left_open_s, committed_s.unwrap()));
    });
}
