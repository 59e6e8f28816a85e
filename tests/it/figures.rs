//! Figures that are true, or say which bound of the truth they are: on real servers.

use super::facts::{until, watch};
use super::server::{block_on, shared};
use htap_top::dashboard::model::Model;
use htap_top::pg::Value;

/// The row of the panel Views for this one.
fn view<'a>(model: &'a Model, name: &str, column: &str) -> &'a Value {
    let table = model.rows("views");
    let row = (0..table.rows.len()).find(|row| table.get(*row, "matviewname").text() == Some(name));
    row.map_or(&Value::Null, |row| table.get(row, column))
}

/// A refresh that was done in a transaction which stayed open, a GRANT, and a refresh that nobody saw.
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
        let refreshed = view(&headless.model, "totals", "fresh_s");
        assert!(refreshed.number() < granted.number(), "{refreshed:?}");
    });
}
