//! The limits of what the shop's roles may write into the control tables, so that they cannot damage them.

use super::super::facts;
use super::{ask, number, sqlstate};
use crate::it::server::{Database, Server, block_on};
use htap_top::cluster::SUPERUSER;
use htap_top::dashboard::rows::Panel;
use htap_top::system::generate::Shape;
use htap_top::system::init::{Load, init};

async fn shop(server: &Server) -> Database<'_> {
    let database = server.database("bounds").await;
    let load = Load {
        shape: Shape::of(500, 20),
        seed: 5,
        jobs: 1,
    };
    init(&database.target(), Some(load), |_| {}).await.unwrap();
    database
}

#[test]
fn a_heartbeat_has_the_number_and_time_that_the_server_gives_it() {
    block_on(async {
        let server = Server::alone();
        let database = shop(&server).await;
        let admin = database.connect().await;
        for role in ["htap_oltp", "htap_refresh", "htap_monitor"] {
            let client = database.connect_as(role).await;
            let beat = "INSERT INTO htap.heartbeat DEFAULT VALUES RETURNING seq";
            assert_eq!(sqlstate(&client, beat).await, "00000", "{role}");
            for forged in [
                "INSERT INTO htap.heartbeat (committed_at) VALUES (now() + interval '10 years')",
                "INSERT INTO htap.heartbeat (seq) OVERRIDING SYSTEM VALUE VALUES (9000000000000000000)",
                "INSERT INTO htap.heartbeat (seq, committed_at) OVERRIDING SYSTEM VALUE VALUES (9000000000000000000, now())",
                "UPDATE htap.heartbeat SET committed_at = 'infinity'",
            ] {
                assert_eq!(sqlstate(&client, forged).await, "42501", "{role}: {forged}");
            }
            let forged = "INSERT INTO htap.heartbeat (nothing) VALUES (true)";
            assert_eq!(sqlstate(&client, forged).await, "23514", "{role}");
        }

        // Values that an earlier version permitted: a tidy removes those in the future, an upgrade the
        // others.
        let forged = "INSERT INTO htap.heartbeat (seq, committed_at) OVERRIDING SYSTEM VALUE
                      VALUES (9000000000000000000, now() + interval '10 years'), (8000000000000000000, now());
                      UPDATE htap.watermark SET heartbeat = 9000000000000000000";
        admin.batch(forged).await.unwrap();
        let refresher = database.connect_as("htap_refresh").await;
        refresher.batch("SELECT htap.tidy()").await.unwrap();
        let newest = "SELECT max(seq) FROM htap.heartbeat";
        assert_eq!(number(&admin, newest).await, 8_000_000_000_000_000_000);
        init(&database.target(), None, |_| {}).await.unwrap();
        assert!(number(&admin, newest).await < 100);
        let believed = "SELECT count(*) FROM htap.watermark WHERE heartbeat >= 100";
        assert_eq!(number(&admin, believed).await, 0);
    });
}

/// Values that break computations, with the statement by which a refresher would write them.
const BLINDING: [&str; 8] = [
    "UPDATE htap.watermark SET as_of = 'infinity'",
    "UPDATE htap.watermark SET as_of = '-infinity'",
    "UPDATE htap.watermark SET checked_at = 'infinity'",
    "UPDATE htap.view_def SET freshness = interval '178000000 years'",
    "INSERT INTO htap.refresh_run (view, mode, started, finished) VALUES ('mart.sales_hourly', 'full', now(), 'infinity')",
    "INSERT INTO htap.refresh_run (view, mode, started, finished) VALUES ('mart.fact_sales_mv', 'full', '-infinity', now())",
    "INSERT INTO htap.refresh_run (view, mode, as_of, finished) VALUES ('mart.fact_sales_mv', 'full', 'infinity', '2199-12-31')",
    "INSERT INTO htap.refresh_run (view, mode, rows) VALUES ('mart.fact_sales_mv', 'full', -1)",
];

#[test]
#[expect(clippy::too_many_lines, reason = "one story")]
fn a_refresher_cannot_blind_who_reads_the_summaries() {
    block_on(async {
        let server = Server::alone();
        let database = shop(&server).await;
        let admin = database.connect().await;
        let refresher = database.connect_as("htap_refresh").await;
        for sql in BLINDING {
            assert_eq!(sqlstate(&refresher, sql).await, "23514", "{sql}");
        }
        for sql in [
            "UPDATE htap.order_log SET logged_at = 'infinity'",
            "INSERT INTO htap.dirty_log (what, logged_at) VALUES ('all', 'infinity')",
            "DELETE FROM htap.watermark",
        ] {
            assert_eq!(sqlstate(&refresher, sql).await, "42501", "{sql}");
        }

        // An older schema with each of these values: an upgrade clears the cell but keeps the row.
        admin
            .batch(
                "ALTER TABLE htap.watermark DROP CONSTRAINT watermark_times_check;
                 ALTER TABLE htap.view_def DROP CONSTRAINT view_def_freshness_check;
                 ALTER TABLE htap.refresh_run DROP CONSTRAINT refresh_run_figures_check",
            )
            .await
            .unwrap();
        let views = number(&admin, "SELECT count(*) FROM htap.view_def").await;
        let events = "INSERT INTO shop.user_events (user_id, event_kind, occurred_at) SELECT min(user_id), 0, 'infinity' FROM shop.users";
        let shopper = database.connect_as("htap_oltp").await;
        let _ = sqlstate(&shopper, events).await;
        let panels = ["summaries", "views", "active_users"];
        for sql in BLINDING {
            refresher.batch(sql).await.unwrap();
            let mut headless = facts::watch(&database.target(), &panels);
            facts::until(&mut headless, sql, |model| {
                let answered = |name: &&str| {
                    let feed = facts::feed(model, name);
                    feed.sampling.error.is_none() && !feed.table.columns.is_empty()
                };
                panels.iter().all(answered)
                    && model.rows(Panel::Summaries).rows.len() as i64 == views
            })
            .await;
            let doctor = std::process::Command::new(env!("CARGO_BIN_EXE_htap-top"))
                .args(["doctor", "-d", &database.conninfo(SUPERUSER)])
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&doctor.stdout);
            assert!(
                !said.contains("22008") && !said.contains("22003") && !said.contains("infinit"),
                "{sql}: {said}"
            );
            for report in ["category_mv", "hourly_mv", "segment_mv"] {
                let path = format!(
                    "{}/queries/reports/{report}.sql",
                    env!("CARGO_MANIFEST_DIR")
                );
                let text = std::fs::read_to_string(path).unwrap();
                admin.query(&text, &[]).await.unwrap();
            }
        }

        // An upgrade corrects it.
        init(&database.target(), None, |_| {}).await.unwrap();
        let left = ask(
            &admin,
            "SELECT count(*) FILTER (WHERE NOT isfinite(w.as_of) OR NOT isfinite(w.checked_at)) AS times,
                    (SELECT count(*) FROM htap.view_def WHERE freshness > '366 days') AS targets,
                    (SELECT count(*) FROM htap.refresh_run WHERE NOT isfinite(finished) OR NOT isfinite(started) OR rows < 0) AS runs
             FROM htap.watermark AS w",
        )
        .await;
        for column in ["times", "targets", "runs"] {
            assert_eq!(left.first(column).int(), Some(0), "{column}");
        }
    });
}
