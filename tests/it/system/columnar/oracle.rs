//! Random changes, late completions, cancellations, corrections and deletions; hours that close; syncs that are killed.
//! `HTAP_TOP_COLUMNAR_MINUTES=60` makes an hour of it.

use super::{Store, ask, hour, number};
use crate::it::server::{LONGEST, block_on_within};
use crate::it::system::refresh::{differences, killed, life, view};
use htap_top::system::definition::SUMMARIES;
use htap_top::system::refresh::{self, BUSY};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Rounds and killed syncs, at least.
const ROUNDS: usize = 60;
const KILLS: usize = 20;

/// A sync as the real program, for hours before `until`.
fn program(store: &Store, until: i64) -> Child {
    let until = chrono::DateTime::from_timestamp(until * 3600, 0).unwrap();
    Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args([
            "columnar",
            "sync",
            "--fresh",
            "20ms",
            "-d",
            &store.database.conninfo("postgres"),
        ])
        .arg("--folder")
        .arg(store.folder.path())
        .args(["--until", &until.to_rfc3339()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn whatever_happens_files_and_rows_are_the_table() {
    let minutes = std::env::var("HTAP_TOP_COLUMNAR_MINUTES");
    let long = Duration::from_secs(60) * minutes.map_or(0, |minutes| minutes.parse().unwrap());
    let limit = LONGEST * 3 + long * 2;
    block_on_within(limit, async {
        let store = Store::new().await;
        let admin = &store.client;
        admin
            .batch("UPDATE shop.inventory SET quantity = 1000000")
            .await
            .unwrap();
        // The hours that close during the test are those of the last days.
        let (first, now) = (
            hour(admin, "now() - interval '4 days'").await,
            hour(admin, "now()").await + 1,
        );
        store.sync(Some(first)).await.unwrap();
        let mut lives = tokio::task::JoinSet::new();
        let mut seeds = 1_000..;
        for seed in seeds.by_ref().take(4) {
            lives.spawn(life(store.database.connect().await, seed, 240));
        }
        let merger = refresh::connect(&store.database.target()).await.unwrap();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(5);
        let mut syncing: Option<Child> = None;
        let (mut kills, mut compared, mut at_work): (usize, usize, usize) = (0, 0, 0);
        let end = tokio::time::Instant::now() + long;
        for round in 0.. {
            let over = round >= ROUNDS && tokio::time::Instant::now() >= end;
            if over && kills >= KILLS && lives.is_empty() {
                break;
            }
            let step = rng.random_range(1..60);
            match refresh::merge(&merger, &view("mart.fact_sales"), step).await {
                Ok(_) => {}
                Err(error) => assert_eq!(error.code(), BUSY, "{error}"),
            }
            match rng.random_range(0..12) {
                0 => store.holds_all_rows().await,
                1 => {
                    let corrected = "
                        UPDATE mart.fact_sales SET sale_time = sale_time - interval '25 hours'
                        WHERE order_id IN (SELECT order_id FROM mart.fact_sales ORDER BY random() LIMIT 5)";
                    admin
                        .batch(&format!("BEGIN; {corrected}; ROLLBACK"))
                        .await
                        .unwrap();
                }
                _ => {}
            }
            compared += 1;
            if let Some(child) = &mut syncing {
                // Killed while it works or sleeps, at any moment.
                let unfinished = std::fs::read_dir(store.folder.path()).unwrap();
                let working = unfinished
                    .filter_map(Result::ok)
                    .any(|file| file.file_name().to_string_lossy().ends_with(".unfinished"));
                at_work += usize::from(working);
                if working || rng.random_range(0..6) == 0 {
                    assert!(
                        child.try_wait().unwrap().is_none(),
                        "a sync ended by itself"
                    );
                    killed(syncing.take().unwrap());
                    kills += 1;
                }
            } else {
                let closed = first + (now - first) * (kills.min(20) as i64) / 20;
                syncing = Some(program(&store, closed));
                // Its session of before is gone when the next one leads.
            }
            tokio::time::sleep(Duration::from_millis(rng.random_range(5..120))).await;
            while let Some(orders) = lives.try_join_next() {
                assert!(orders.unwrap() > 0);
                if !over {
                    let (client, seed) = (store.database.connect().await, seeds.next().unwrap());
                    lives.spawn(life(client, seed, 240));
                }
            }
        }
        if let Some(child) = syncing.take() {
            killed(child);
        }
        assert!(
            compared >= ROUNDS && kills >= KILLS,
            "{compared} {kills} {at_work}"
        );
        // An hour leaves many changes, which one transaction would merge slowly.
        for summary in SUMMARIES {
            while refresh::merge(&merger, &view(summary), 50_000)
                .await
                .unwrap()
                .remaining
            {}
        }
        println!("{compared} rounds, {kills} syncs killed, {at_work} of them at work");
        assert_eq!(differences(&merger).await, []);
        store.holds_all_rows().await;
        let done = store.sync(Some(now)).await.unwrap();
        store.holds_all_rows().await;
        let named = number(admin, "SELECT count(*) FROM htap.column_file").await;
        assert_eq!(named, i64::try_from(done.files).unwrap());
        let found = std::fs::read_dir(store.folder.path()).unwrap().count();
        assert_eq!(
            found,
            done.files + 1,
            "files of the manifest and the marker, no others"
        );
        let rest = ask(admin, "SELECT count(*) FROM htap.column_dirty").await;
        assert_eq!(rest.rows[0][0].int(), Some(0));
    });
}
