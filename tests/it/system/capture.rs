//! Writes that bypass the capture triggers: the refresher's check finds and names them, piece by piece.

use super::refresh::{differences, shipped, view};
use super::{ask, number, order_a_month_earlier, shop};
use crate::it::server::{Database, block_on, on_any_disk};
use htap_top::doctor::examine;
use htap_top::pg::Client;
use htap_top::system::definition::SUMMARIES;
use htap_top::system::refresh::keeper::{self, Event};
use htap_top::system::refresh::plan::{Pace, Plan};
use htap_top::system::refresh::{self, Kind, Mode};
use std::process::{Command, Stdio};
use std::time::Duration;

async fn refresh_all(client: &Client, mode: Mode) {
    for summary in SUMMARIES {
        let summary = view(summary);
        refresh::refresh(client, &summary, Kind::Incremental, mode)
            .await
            .unwrap();
    }
}

/// The result of a whole round of checks of a summary; each check covers `pieces`.
async fn round(client: &Client, summary: &str, pieces: i64) -> Option<String> {
    let check = format!("SELECT htap.check_capture('{summary}', {pieces}) AS what");
    let more = format!(
        "SELECT count(*) FROM htap.watermark WHERE view = '{summary}' AND checked_to IS NOT NULL"
    );
    loop {
        let found = ask(client, &check).await;
        if number(client, &more).await == 0 {
            return found.first("what").text().map(str::to_owned);
        }
    }
}

async fn rounds(client: &Client) -> Vec<Option<String>> {
    rounds_of(client, 70).await
}

async fn rounds_of(client: &Client, pieces: i64) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for summary in SUMMARIES {
        found.push(round(client, summary, pieces).await);
    }
    found
}

/// The state of the summaries in the views panel.
fn states(database: &Database<'_>) -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .arg("once")
        .args(["-d", &database.conninfo("htap_monitor")])
        .args(["--panel", "views", "--format", "json"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = told["panels"]["views"].as_array().unwrap();
    let incremental = rows.iter().filter(|row| row["kind"] == "incremental");
    incremental
        .map(|row| row["state"].as_str().unwrap().to_owned())
        .collect()
}

/// The output of `once --check`.
fn judgement(database: &Database<'_>) -> String {
    let home = on_any_disk();
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(["once", "--check", "--wait", "2s"])
        .env("XDG_CONFIG_HOME", home.path())
        .args(["-d", &database.conninfo("htap_monitor")])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_captured_is_not_accused() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let merger = refresh::connect(&database.target()).await.unwrap();
        assert_eq!(rounds(&merger).await, [None, None, None]);
        // Not merged yet, or only partly.
        let order = shipped(&admin).await;
        admin
            .batch(&format!(
                "SELECT shop.complete_order({order});
                 UPDATE shop.orders SET total_amount = total_amount + 1 WHERE status = 3 AND user_id % 3 = 0;
                 UPDATE shop.orders SET user_id = 1 + user_id % 50 WHERE status = 3 AND user_id % 7 = 0;
                 UPDATE shop.order_items SET quantity = quantity + 1 WHERE line_no = 1"
            ))
            .await
            .unwrap();
        assert_eq!(rounds(&merger).await, [None, None, None]);
        refresh::merge(&merger, &view("mart.sales_hourly"), 50)
            .await
            .unwrap();
        assert_eq!(rounds(&merger).await, [None, None, None]);
        refresh_all(&merger, Mode::Incremental).await;
        assert_eq!(rounds(&merger).await, [None, None, None]);
        assert!(states(&database).iter().all(|state| state == "idle"));
        let checked =
            "SELECT count(*) FROM htap.watermark WHERE checked_at > now() - interval '1 hour'";
        assert_eq!(number(&admin, checked).await, 3);
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn what_bypasses_capture_is_found_and_named() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let merger = refresh::connect(&database.target()).await.unwrap();
        // The two fullest months are to be removed.
        order_a_month_earlier(&admin).await;
        assert_eq!(rounds(&merger).await, [None, None, None]);
        let fullest =
            "SELECT substr(tableoid::regclass::text, 13) AS month FROM shop.orders WHERE status = 3
                       GROUP BY tableoid ORDER BY count(*) DESC LIMIT 2";
        let fullest = ask(&admin, fullest).await;
        let suffix = |at: usize| fullest.rows[at][0].text().unwrap().to_owned();
        let (suffix, truncated) = (suffix(0), suffix(1));
        let one = "(SELECT order_id FROM shop.orders WHERE status = 3 ORDER BY order_id LIMIT 1 OFFSET 1234)";
        for (what, bypass) in [
            (
                "one amount, by a replica's role",
                format!("UPDATE shop.orders SET total_amount = total_amount + 1 WHERE order_id = {one}"),
            ),
            (
                "one line, by a replica's role",
                format!("UPDATE shop.order_items SET quantity = quantity + 1 WHERE order_id = {one}"),
            ),
            (
                "a new order, by a replica's role",
                "INSERT INTO shop.orders (order_id, created_at, user_id, status, total_amount, completed_at)
                 SELECT n, shop.order_time(n), 5, 3, 77, shop.order_time(n) FROM (SELECT shop.new_order_id()) AS i (n)"
                    .to_owned(),
            ),
            (
                "a month detached by hand",
                format!(
                    "ALTER TABLE shop.orders DETACH PARTITION shop.orders_{suffix};
                     ALTER TABLE shop.order_items DETACH PARTITION shop.order_items_{suffix}"
                ),
            ),
        ] {
            admin
                .batch(&format!(
                    "BEGIN; SET LOCAL session_replication_role = replica; {bypass}; COMMIT"
                ))
                .await
                .unwrap();
            let wrong = differences(&merger).await;
            let wrong: Vec<bool> = SUMMARIES
                .iter()
                .map(|summary| {
                    let tables: &[&str] = match *summary {
                        "mart.sales_hourly" => &["mart.sales_hourly"],
                        "mart.fact_sales" => &["mart.fact_sales"],
                        _ => &["mart.user_day"],
                    };
                    wrong.iter().any(|d| tables.contains(&d.relation.as_str()))
                })
                .collect();
            assert!(wrong.contains(&true), "{what}");
            let found = rounds(&merger).await;
            for (found, wrong) in found.iter().zip(&wrong) {
                assert_eq!(found.is_some(), *wrong, "{what}: {found:?}");
            }
            let named = states(&database);
            let named = named.iter().filter(|state| state.starts_with("not captured: "));
            assert_eq!(named.count(), wrong.iter().filter(|wrong| **wrong).count(), "{what}");
            refresh_all(&merger, Mode::Full).await;
            assert!(states(&database).iter().all(|state| state == "idle"), "{what}");
            assert_eq!(rounds(&merger).await, [None, None, None], "{what}");
        }
        // A truncated month: the first customers reveal it.
        admin
            .batch(&format!(
                "TRUNCATE shop.order_items_{truncated}, shop.payments_{truncated}, shop.shipments_{truncated}, shop.orders_{truncated}"
            ))
            .await
            .unwrap();
        let first = ask(
            &merger,
            "SELECT htap.check_capture('mart.segment_rfm') AS what",
        )
        .await;
        let first = first.first("what").text().unwrap().to_owned();
        assert!(first.contains("the shop has 0 orders of 0"), "{first}");
        // Once found, it stays until a whole round finds nothing.
        ask(&merger, "SELECT htap.check_capture('mart.segment_rfm', 1)").await;
        let said = states(&database);
        assert!(
            said.iter()
                .any(|state| state.starts_with("not captured: customer ")),
            "{said:?}"
        );
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn totals_that_are_no_sums_are_found_and_doctor_says_what_to_do() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let merger = refresh::connect(&database.target()).await.unwrap();
        assert_eq!(rounds(&merger).await, [None, None, None]);
        let one = |table: &str, key: &str| {
            format!("({key}) = (SELECT {key} FROM mart.{table} ORDER BY {key} OFFSET 5 LIMIT 1)")
        };
        for (summary, table, key, damage) in [
            (
                0,
                "sales_hourly",
                "hour",
                "UPDATE mart.sales_hourly SET unique_customers = unique_customers + 1",
            ),
            (0, "sales_hourly", "hour", "DELETE FROM mart.sales_hourly"),
            (
                0,
                "realtime_merge",
                "window_start",
                "UPDATE mart.realtime_merge SET total_amount = total_amount + 1",
            ),
            (
                1,
                "category_hourly",
                "hour, category",
                "UPDATE mart.category_hourly SET order_count = order_count + 1",
            ),
            (
                1,
                "category_hourly",
                "hour, category",
                "DELETE FROM mart.category_hourly",
            ),
            (
                1,
                "daily_sales",
                "sale_date, product_id",
                "UPDATE mart.daily_sales SET total_quantity = total_quantity + 1",
            ),
            (
                1,
                "daily_sales",
                "sale_date, product_id",
                "DELETE FROM mart.daily_sales",
            ),
            (
                2,
                "user_rfm",
                "user_id",
                "UPDATE mart.user_rfm SET orders = orders + 1",
            ),
            (
                2,
                "user_rfm",
                "user_id",
                "UPDATE mart.user_rfm SET user_segment = 'nobody'",
            ),
            (
                2,
                "segment_rfm",
                "1",
                "UPDATE mart.segment_rfm SET users = users + 1",
            ),
        ] {
            let damage = match key {
                "1" => damage.to_owned(),
                key => format!("{damage} WHERE {}", one(table, key)),
            };
            admin.batch(&damage).await.unwrap();
            let found = rounds_of(&merger, 1_000).await;
            for (at, what) in found.iter().enumerate() {
                assert_eq!(what.is_some(), at == summary, "{damage}: {found:?}");
            }
            let told = examine(&database.target()).await.unwrap();
            let mut told = told
                .outcomes
                .iter()
                .filter(|o| o.check == "summaries")
                .flat_map(|o| &o.findings);
            let told = told.next().unwrap_or_else(|| panic!("{damage}"));
            assert_eq!(told.subject.as_str(), SUMMARIES[summary]);
            assert!(
                told.evidence
                    .as_str()
                    .contains(found[summary].as_deref().unwrap()),
                "{told:?}"
            );
            assert!(
                told.cure
                    .as_str()
                    .ends_with(&format!(" --mode full {}", SUMMARIES[summary])),
                "{told:?}"
            );
            let rebuilt = view(SUMMARIES[summary]);
            refresh::refresh(&merger, &rebuilt, Kind::Incremental, Mode::Full)
                .await
                .unwrap();
        }
        assert_eq!(rounds(&merger).await, [None, None, None]);
    });
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn a_trigger_that_logs_nothing_is_named_at_the_next_look() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let merger = refresh::connect(&database.target()).await.unwrap();
        let partition = ask(
            &admin,
            "SELECT tableoid::regclass::text AS name FROM shop.orders LIMIT 1",
        )
        .await;
        let partition = partition.first("name").text().unwrap().to_owned();
        admin
            .batch(&format!(
                "ALTER TABLE {partition} DISABLE TRIGGER capture_update"
            ))
            .await
            .unwrap();
        // By the refresher itself.
        let (tell, mut hear) = tokio::sync::mpsc::channel(1_000);
        let target = database.target();
        let plan = Plan {
            views: Vec::new(),
            mode: None,
            pace: Pace::Fresh(Duration::from_millis(500)),
            oltp_limit: None,
        };
        let keeping = tokio::spawn(async move {
            keeper::keep(&target, &plan, |event| {
                let _ = tell.try_send(event);
            })
            .await
        });
        let listening = async {
            while let Some(event) = hear.recv().await {
                if let Event::Uncaptured { what, .. } = event {
                    return what;
                }
            }
            String::new()
        };
        let what = tokio::time::timeout(Duration::from_secs(60), listening)
            .await
            .unwrap();
        keeping.abort();
        let named = format!("trigger capture_update of {partition} is disabled");
        assert_eq!(what, named);
        let said = states(&database);
        assert!(said.contains(&format!("not captured: {named}")), "{said:?}");
        let judged = judgement(&database);
        assert!(
            judged.contains("is wrong, or will be") && judged.contains(&named),
            "{judged}"
        );
        admin
            .batch(&format!(
                "ALTER TABLE {partition} ENABLE TRIGGER capture_update"
            ))
            .await
            .unwrap();
        assert_eq!(rounds(&merger).await, [None, None, None]);
        for (sql, named) in [
            (
                "ALTER TABLE shop.users DISABLE TRIGGER ALL",
                "trigger capture_update of shop.users is disabled",
            ),
            (
                "ALTER TABLE shop.users ENABLE TRIGGER ALL; DROP TRIGGER capture_truncate ON shop.orders",
                "trigger capture_truncate of shop.orders is missing",
            ),
        ] {
            admin.batch(sql).await.unwrap();
            let gap = ask(&merger, "SELECT htap.capture_gap() AS gap").await;
            assert_eq!(gap.first("gap").text(), Some(named));
        }
    });
}
