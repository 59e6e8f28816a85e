//! Figures that are true, or state which bound of the truth they are: on real servers.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::facts::{feed, until, watch};
use super::server::{PATIENCE, Patience, Server, block_on, pid, shared};
use htap_top::dashboard::model::Model;
use htap_top::dashboard::rows::Panel;
use htap_top::pg::{Client, Value};
use tokio::time::timeout;

/// A cell of the views panel.
fn view<'a>(model: &'a Model, name: &str, column: &str) -> &'a Value {
    let table = model.rows(Panel::Views);
    let row = (0..table.rows.len()).find(|row| table.get(*row, "matviewname").text() == Some(name));
    row.map_or(&Value::Null, |row| table.get(row, column))
}

/// A refresh in a transaction that stayed open, a GRANT, and a refresh that nobody saw.
#[test]
fn a_view_is_as_old_as_what_its_refresh_read() {
    block_on(async {
        let database = shared().database("ages").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE sold AS SELECT g AS n FROM generate_series(1, 100) AS g;
                 CREATE MATERIALIZED VIEW totals AS SELECT sum(n) AS n FROM sold",
            )
            .await
            .unwrap();
        let mut headless = watch(&database.target(), &["views"]);
        until(&mut headless, "the view", |model| {
            view(model, "totals", "fresh_s").is_known()
        })
        .await;
        let fresh = view(&headless.model, "totals", "fresh_s");
        assert!(matches!(fresh, Value::AtLeast(_)), "{fresh:?}");

        let refresher = database.connect().await;
        refresher
            .batch("BEGIN; REFRESH MATERIALIZED VIEW totals")
            .await
            .unwrap();
        until(&mut headless, "a transaction of four seconds", |model| {
            view(model, "totals", "refresh_xact_s").number() >= Some(4.0)
        })
        .await;
        let first = view(&headless.model, "totals", "xmin").clone();
        refresher.batch("COMMIT").await.unwrap();
        until(&mut headless, "its end", |model| {
            view(model, "totals", "xmin").is_known() && *view(model, "totals", "xmin") != first
        })
        .await;
        let model = &headless.model;
        let (fresh, since_commit) = (
            view(model, "totals", "fresh_s").clone(),
            view(model, "totals", "refreshed_s").number().unwrap(),
        );
        assert!(
            matches!(fresh, Value::Float(age) if age >= since_commit + 4.0),
            "{fresh:?}, committed {since_commit} s ago"
        );

        let version = view(model, "totals", "xmin").clone();
        admin
            .batch("GRANT SELECT ON totals TO pg_monitor")
            .await
            .unwrap();
        until(&mut headless, "the privilege", |model| {
            view(model, "totals", "xmin").is_known() && *view(model, "totals", "xmin") != version
        })
        .await;
        let granted = view(&headless.model, "totals", "fresh_s").clone();
        assert!(
            matches!(granted, Value::Float(_)) && granted.number() >= fresh.number(),
            "{granted:?} after {fresh:?}"
        );

        let version = view(&headless.model, "totals", "xmin").clone();
        admin
            .batch("REFRESH MATERIALIZED VIEW totals")
            .await
            .unwrap();
        until(&mut headless, "a refresh", |model| {
            view(model, "totals", "xmin").is_known() && *view(model, "totals", "xmin") != version
        })
        .await;
        let anew = view(&headless.model, "totals", "fresh_s");
        assert!(anew.number() < granted.number(), "{anew:?}");
    });
}

/// Number of this program's statements that scanned all sessions: joined into one, and others.
async fn passes(admin: &Client) -> (i64, i64) {
    let sql = "SELECT coalesce(sum(calls) FILTER (WHERE query ~ 'WITH backends AS'), 0)::bigint AS joined,
                      coalesce(sum(calls) FILTER (WHERE query !~ 'WITH backends AS'), 0)::bigint AS others
               FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
               WHERE d.datname = current_database() AND query ~ 'htap-top'
                 AND query ~ 'FROM pg_catalog.pg_stat_(activity|replication|ssl|gssapi)|pg_stat_get_activity\\((NULL|\\$)'";
    let told = admin.query(sql, &[]).await.unwrap();
    let count = |name| told.first(name).int().unwrap();
    (count("joined"), count("others"))
}

/// The server copies the full texts of all sessions' statements at each pass.
#[test]
fn all_sessions_are_gone_through_once_for_all_that_shows_them() {
    block_on(async {
        let database = shared().database("passes").await;
        let admin = database.connect().await;
        admin
            .batch("CREATE EXTENSION pg_stat_statements")
            .await
            .unwrap();
        let open = database.connect().await;
        open.batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'held open'")
            .await
            .unwrap();
        let open_pid = pid(&open).await;
        let mut headless = watch(&database.target(), &[]);
        let mut first = None;
        let patience = Patience::begin();
        loop {
            assert!(patience.lasts(), "{first:?}: {:?}", passes(&admin).await);
            let _ = timeout(PATIENCE, headless.step()).await;
            let (joined, others) = passes(&admin).await;
            match first {
                None if joined >= 2 => first = Some((joined, others)),
                Some((before, alone)) if joined >= before + 4 => {
                    assert_eq!(others, alone, "passes of their own");
                    break;
                }
                _ => {}
            }
        }
        // And each panel has its own rows.
        let model = &headless.model;
        for panel in [Panel::Activity, Panel::Snapshots] {
            let table = model.rows(panel);
            let mut pids = (0..table.rows.len()).map(|row| table.get(row, "pid").int());
            assert!(
                pids.any(|pid| pid == Some(open_pid)),
                "{panel:?}: {table:?}"
            );
        }
        let sessions = model.rows(Panel::Sessions);
        assert!(
            (0..sessions.rows.len()).any(|row| {
                sessions.get(row, "datname").text() == Some(&database.name)
                    && sessions.get(row, "state").text() == Some("idle in transaction")
                    && sessions.get(row, "n").int() == Some(1)
            }),
            "{sessions:?}"
        );
    });
}

/// The server forbids functions needed for single figures: these are unknown, but the panels are shown.
#[test]
fn a_forbidden_function_costs_its_own_figures_in_each_panel() {
    block_on(async {
        let server = Server::alone();
        let database = server.database("partly").await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE TABLE stock AS SELECT 1 AS n; CREATE INDEX ON stock (n);
                 CREATE MATERIALIZED VIEW totals AS SELECT n FROM stock; ANALYZE;
                 REVOKE EXECUTE ON FUNCTION pg_relation_size(regclass), pg_relation_size(regclass, text),
                     pg_blocking_pids(int) FROM PUBLIC;
                 REVOKE SELECT ON pg_stat_progress_basebackup FROM PUBLIC;
                 CREATE ROLE figures_hosted LOGIN; GRANT pg_monitor TO figures_hosted",
            )
            .await
            .unwrap();
        let sized = ["tables", "vacuum", "bloat", "indexes", "views"];
        let panels = [&sized[..], &["progress", "locks"]].concat();
        let target = database.target_of("figures_hosted");
        let mut headless = watch(&target, &panels);
        until(&mut headless, "all panels", |model| {
            let mut feeds = panels.iter().map(|name| feed(model, name));
            feeds.all(|feed| feed.sampling.at.is_some() && feed.sampling.error.is_none())
        })
        .await;
        for name in sized {
            let table = &feed(&headless.model, name).table;
            assert!(!table.rows.is_empty(), "{name}");
            let size = table.first("size_bytes");
            assert_eq!(size, &Value::Unavailable, "{name}: {table:?}");
        }
    });
}
