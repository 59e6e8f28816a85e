//! Replication on real servers: a standby that does not follow, and a primary that has lost a standby.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::watch::Watch;
use super::{bank, cure, server};
use crate::it::server::{Database, Server, block_on, on_any_disk, until};
use htap_top::config::Config;
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::rows::Panel;
use htap_top::pg::Client;

async fn standby<'a>(replica: &'a Server, database: &Database<'_>) -> Database<'a> {
    let there = Database {
        server: replica,
        name: database.name.clone(),
    };
    let client = Client::connect(&replica.target("postgres", "postgres"))
        .await
        .unwrap();
    let sql = "SELECT count(*) AS n FROM pg_stat_wal_receiver WHERE status = 'streaming'";
    until(&client, "it streams", sql, &[], |table| {
        table.first("n").int() == Some(1)
    })
    .await;
    there
}

#[test]
fn a_paused_replay_is_told_on_both_sides() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let replica = server.replica();
        let there = standby(&replica, &database).await;
        let mut here = Watch::begin(&database, Config::default()).await;
        let mut watch = Watch::begin(&there, Config::default()).await;
        watch.look(5_000).await;
        assert_eq!(watch.board.finding("replication"), None);
        let client = there.connect().await;
        client.batch("SELECT pg_wal_replay_pause()").await.unwrap();
        admin
            .batch("CREATE TABLE filler AS SELECT repeat('x', 1000) AS t FROM generate_series(1, 12000)")
            .await
            .unwrap();
        watch
            .until("the pause is told", |board| {
                board.finding("replication").is_some_and(|finding| {
                    finding
                        .sentence
                        .starts_with("replay is paused on this standby: 1")
                        && finding.sentence.contains(" MB")
                })
            })
            .await;
        assert_eq!(
            watch.board.finding("replication").unwrap().cure,
            "SELECT pg_wal_replay_resume()"
        );
        let lag = watch
            .board
            .model
            .rows(Panel::Replication)
            .first("lag_s")
            .number();
        assert!(lag.is_some_and(|lag| lag < 60.0), "{lag:?}");
        here.look(5_000).await;
        let table = here.board.model.rows(Panel::Replication);
        let row = (0..table.rows.len())
            .find(|row| table.get(*row, "kind").text() == Some("replica"))
            .unwrap();
        assert!(
            table.get(row, "lag_bytes").int() > Some(10_000_000),
            "{table:?}"
        );
        assert!(table.get(row, "lag_s").is_known(), "{table:?}");
        client.batch("SELECT pg_wal_replay_resume()").await.unwrap();
        watch
            .until("it goes on", |board| board.finding("replication").is_none())
            .await;
    });
}

#[test]
fn a_standby_whose_primary_is_gone_is_told() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let replica = server.replica();
        let there = standby(&replica, &database).await;
        let mut watch = Watch::begin(&there, Config::default()).await;
        watch.look(5_000).await;
        assert_eq!(watch.board.finding("replication"), None);
        drop(server);
        watch
            .until("the missing receiver is told", |board| {
                let finding = board.finding("replication");
                finding.is_some_and(|finding| finding.sentence.contains("has received no WAL for"))
            })
            .await;
        let finding = watch.board.finding("replication").unwrap();
        assert_eq!(finding.health, Health::Danger);
        assert!(
            finding.cure.contains("primary_conninfo"),
            "{}",
            finding.cure
        );
        assert_eq!(watch.board.model.cause.health, Health::Danger);
    });
}

/// The WAL that the standby requests was removed: its receiver starts, is refused, and starts again.
#[test]
fn a_standby_whose_wal_was_removed_is_told() {
    block_on(async {
        let server = server(&[
            ("wal_keep_size", "0"),
            ("max_wal_size", "32MB"),
            ("min_wal_size", "32MB"),
        ]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let replica = server.replica();
        let there = standby(&replica, &database).await;
        let client = there.connect().await;
        // The standby has no primary while the WAL it needs is removed.
        let conninfo = client
            .query("SELECT current_setting('primary_conninfo') AS c", &[])
            .await
            .unwrap();
        let conninfo = conninfo.first("c").text().unwrap().replace('\'', "''");
        for sql in [
            "ALTER SYSTEM SET primary_conninfo = 'host=/nowhere'",
            "SELECT pg_reload_conf()",
        ] {
            client.batch(sql).await.unwrap();
        }
        let gone = "SELECT count(*) AS n FROM pg_stat_replication";
        until(&admin, "it is gone", gone, &[], |table| {
            table.first("n").int() == Some(0)
        })
        .await;
        admin.batch("CREATE TABLE filler (t text)").await.unwrap();
        for _ in 0..4 {
            admin
                .batch("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
                .await
                .unwrap();
            admin.batch("SELECT pg_switch_wal()").await.unwrap();
            admin.batch("CHECKPOINT").await.unwrap();
        }
        client
            .batch(&format!("ALTER SYSTEM SET primary_conninfo = '{conninfo}'"))
            .await
            .unwrap();
        client.batch("SELECT pg_reload_conf()").await.unwrap();
        let mut watch = Watch::begin(&there, Config::default()).await;
        watch
            .until("it is told", |board| {
                board.finding("replication").is_some_and(|finding| {
                    finding.cure.contains("pg_basebackup")
                        && finding.sentence.contains("no receiver lasts")
                })
            })
            .await;
    });
}

#[test]
fn a_primary_tells_a_standby_that_vanished_and_one_that_commits_wait_for() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        let replica = server.replica();
        let _there = standby(&replica, &database).await;
        let mut watch = Watch::begin(&database, Config::default()).await;
        // One sample per second: it must exist for a while before it counts.
        watch
            .until("it is there", |board| {
                board.model.rows(Panel::Replication).first("state").text() == Some("streaming")
            })
            .await;
        let patience = crate::it::server::Patience::begin();
        while patience.seconds() < 6 {
            watch.look(5_000).await;
        }
        assert_eq!(watch.board.finding("replication"), None);
        drop(replica);
        watch
            .until("it is missed", |board| {
                let finding = board.finding("replication");
                finding.is_some_and(|finding| finding.sentence.contains("disconnected"))
            })
            .await;
        for sql in [
            "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (one, two)'",
            "SELECT pg_reload_conf()",
        ] {
            admin.batch(sql).await.unwrap();
        }
        watch
            .until("commits wait", |board| {
                let finding = board.finding("replication");
                finding.is_some_and(|finding| {
                    finding.health == Health::Danger && finding.sentence.contains("missing: 1 of 1")
                })
            })
            .await;
        let told = watch.board.finding("replication").unwrap().cure.clone();
        cure(&admin, told.strip_prefix("start it, or ").unwrap()).await;
        watch
            .until("commits wait for nobody", |board| {
                let finding = board.finding("replication");
                finding.is_none_or(|finding| finding.health < Health::Danger)
            })
            .await;
    });
}

#[test]
fn a_slot_that_is_left_behind_and_one_that_is_dropped_are_told() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let admin = database.connect().await;
        admin
            .batch("SELECT pg_create_physical_replication_slot('left', true); CREATE TABLE filler (t text)")
            .await
            .unwrap();
        let mut watch = Watch::begin(&database, Config::default()).await;
        watch.look(5_000).await;
        assert_eq!(watch.board.finding("replication"), None);
        admin
            .batch("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
            .await
            .unwrap();
        watch
            .until("it grows", |board| {
                board.finding("replication").is_some_and(|finding| {
                    finding.sentence.contains("replication slot left keeps")
                        && finding.sentence.contains("of it came since")
                        && finding.cure.contains("pg_drop_replication_slot('left')")
                })
            })
            .await;
        let patience = crate::it::server::Patience::begin();
        while patience.seconds() < 5 {
            watch.look(5_000).await;
        }
        admin
            .batch("SELECT pg_drop_replication_slot('left')")
            .await
            .unwrap();
        watch
            .until("it is gone", |board| {
                let finding = board.finding("replication");
                finding.is_some_and(|finding| finding.sentence.contains("slot left was dropped"))
            })
            .await;
        let told = watch.board.finding("replication").unwrap().cure.clone();
        cure(&admin, &told).await;
        watch
            .until("it is back", |board| board.finding("replication").is_none())
            .await;
    });
}

/// A single run, as in a script.
fn once(conninfo: &str) -> (Option<i32>, String) {
    let home = on_any_disk();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(["once", conninfo, "--check", "--wait", "30s"])
        .env("XDG_CONFIG_HOME", home.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

#[test]
fn one_look_at_a_standby_to_which_nothing_comes_tells_why() {
    block_on(async {
        let server = server(&[]);
        let database = bank(&server).await;
        let replica = server.replica();
        let there = standby(&replica, &database).await;
        let conninfo = there.conninfo("postgres");
        let (code, told) = once(&conninfo);
        assert_eq!(code, Some(0), "{told}");
        let client = there.connect().await;
        let gone = "SELECT count(*) AS n FROM pg_stat_wal_receiver";
        let set = async |settings: &[&str]| {
            for setting in settings {
                let sql = format!("ALTER SYSTEM SET {setting}");
                client.batch(&sql).await.unwrap();
            }
            client.batch("SELECT pg_reload_conf()").await.unwrap();
            until(&client, "none receives", gone, &[], |table| {
                table.first("n").int() == Some(0)
            })
            .await;
        };
        set(&["primary_conninfo = 'host=/nowhere'"]).await;
        let (code, told) = once(&conninfo);
        assert_eq!(code, Some(5), "{told}");
        let why = "danger: this standby receives no WAL: no receiver runs";
        assert!(told.starts_with(why), "{told}");
        set(&["primary_conninfo = ''"]).await;
        let set_here = "SELECT count(*) AS n FROM pg_settings WHERE name = 'primary_conninfo' AND setting = ''";
        until(&client, "it has none", set_here, &[], |table| {
            table.first("n").int() == Some(1)
        })
        .await;
        let (code, told) = once(&conninfo);
        assert_eq!(code, Some(5), "{told}");
        let why =
            "danger: this standby receives no WAL: primary_conninfo and restore_command are empty";
        assert!(told.starts_with(why), "{told}");
        assert!(
            told.contains("(ALTER SYSTEM SET primary_conninfo = "),
            "{told}"
        );
        // WAL from an archive is not received, so only its age shows.
        set(&["restore_command = 'false'"]).await;
        let (code, told) = once(&conninfo);
        assert_eq!(code, Some(0), "{told}");
        let mut watch = Watch::begin(&there, Config::default()).await;
        watch
            .until("its lag is told", |board| {
                let gauges = board.model.gauges.iter();
                let mut lags = gauges.filter(|gauge| gauge.label == "lag");
                lags.any(|lag| lag.health == Health::Good && lag.value.starts_with('≤'))
            })
            .await;
        assert_eq!(watch.board.finding("replication"), None);
    });
}
