//! Steps stay small, and the months that a merge reads stay attached.

use super::{differences_from_past, merge_all, small_shop};
use crate::it::server::{Server, block_on, pid, until};
use crate::it::system::refresh::{differences, view};
use crate::it::system::{ask, number, shop, sqlstate};
use htap_top::pg::{Client, Param};
use htap_top::system::definition::SUMMARIES;
use htap_top::system::refresh::{self, BUSY};

#[test]
fn a_month_that_goes_and_comes_back_within_a_rebuild_is_seen() {
    block_on(async {
        let database = shop().await;
        let (admin, blocker) = (database.connect().await, database.connect().await);
        let merger = refresh::connect(&database.target()).await.unwrap();
        // With a default partition, readers of orders block attaching a month.
        admin
            .batch(
                "SELECT htap.house_strays();
                 DROP TABLE shop.shipments_default, shop.payments_default, shop.order_items_default, shop.orders_default",
            )
            .await
            .unwrap();
        merge_all(&merger).await;
        let fullest = "SELECT c.oid::regclass::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
                       FROM (SELECT tableoid FROM shop.orders WHERE status = 3 GROUP BY 1 ORDER BY count(*) DESC LIMIT 1) AS o
                       JOIN pg_class AS c ON c.oid = o.tableoid";
        let fullest = ask(&admin, fullest).await;
        let (name, bounds) = (
            fullest.first("name").text().unwrap(),
            fullest.first("bounds").text().unwrap(),
        );
        let snapshot =
            "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM mart.rfm_window";
        merger.batch(snapshot).await.unwrap();
        admin
            .batch(&format!("ALTER TABLE shop.orders DETACH PARTITION {name}"))
            .await
            .unwrap();
        // The rebuild has read the shop for its first table and is blocked at its second.
        blocker
            .batch("BEGIN; SELECT FROM mart.sales_hourly_user LIMIT 1 FOR UPDATE")
            .await
            .unwrap();
        let backend = pid(&merger).await;
        let work = sqlstate(&merger, "SELECT htap.rebuild('mart.sales_hourly')");
        let meanwhile = async {
            let held =
                "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND query LIKE '%rebuild%'
                          AND (wait_event_type = 'Lock' OR state <> 'active')";
            until(
                &admin,
                "is held up, or done",
                held,
                &[Param::Int(backend)],
                |table| table.rows[0][0].int() == Some(1),
            )
            .await;
            let attach = format!("ALTER TABLE shop.orders ATTACH PARTITION {name} {bounds}");
            admin.batch(&attach).await.unwrap();
            blocker.batch("COMMIT").await.unwrap();
        };
        let (state, ()) = tokio::join!(work, meanwhile);
        assert_eq!(state, BUSY);
        merger.batch("ROLLBACK").await.unwrap();
        assert_eq!(differences(&merger).await, []);
    });
}

/// Completes orders, with one transaction per step.
async fn lives(client: &Client, orders: usize) -> Vec<i64> {
    let mut made = Vec::new();
    for at in 0..orders {
        let order = format!(
            "SELECT shop.create_order({}, ARRAY[{}, {}], ARRAY[1, 2])",
            1 + at % 6,
            1 + at % 5,
            1 + (at + 1) % 5
        );
        let order = number(client, &order).await;
        for step in ["pay", "ship", "complete"] {
            let sql = format!("SELECT shop.{step}_order({order})");
            client.batch(&sql).await.unwrap();
        }
        made.push(order);
    }
    made
}

#[test]
fn a_step_stays_small_whatever_changes_again_behind_it() {
    let server = Server::of_major(15);
    block_on(async {
        let database = server.database("bounded").await;
        let admin = small_shop(&database).await;
        let merger = refresh::connect(&database.target()).await.unwrap();
        let mut orders = lives(&admin, 200).await;
        orders.extend(lives(&admin, 200).await);
        // Each of the first ones changes again, and so does the row they share.
        for order in &orders[..60] {
            for sql in [
                format!(
                    "UPDATE shop.orders SET total_amount = total_amount + 1, user_id = 1 + user_id % 6 WHERE order_id = {order}"
                ),
                format!(
                    "UPDATE shop.order_items SET quantity = quantity + 1 WHERE order_id = {order} AND line_no = 1"
                ),
                format!("DELETE FROM shop.order_items WHERE order_id = {order} AND line_no = 2"),
            ] {
                admin.batch(&sql).await.unwrap();
            }
        }
        let gone = orders[..10]
            .iter()
            .map(i64::to_string)
            .collect::<Vec<_>>()
            .join(", ");
        for sql in [
            "UPDATE shop.users SET user_segment = 'VIP' WHERE user_id = 1",
            "UPDATE shop.users SET user_segment = 'Business' WHERE user_id = 1",
            "UPDATE shop.products SET category_id = 1 + category_id % 3",
            "UPDATE shop.categories SET category_name = category_name || '!'",
            &format!(
                "DELETE FROM shop.shipments WHERE order_id IN ({gone}); DELETE FROM shop.payments WHERE order_id IN ({gone});
                 DELETE FROM shop.order_items WHERE order_id IN ({gone}); DELETE FROM shop.orders WHERE order_id IN ({gone})"
            ),
        ] {
            admin.batch(sql).await.unwrap();
        }
        lives(&admin, 40).await;
        for summary in SUMMARIES {
            let mut steps = Vec::new();
            loop {
                let done = refresh::merge(&merger, &view(summary), 50).await.unwrap();
                steps.push(done.changes);
                let wrong = differences_from_past(&admin, summary).await;
                assert!(wrong.is_empty(), "{summary} after {steps:?}: {wrong:#?}");
                if !done.remaining {
                    break;
                }
            }
            // Past snapshots are noted with one order in sixteen; a change of the row shared by all orders
            // makes all of them stale.
            let small = steps.iter().filter(|changes| **changes < 200).count();
            assert!(
                small + 3 >= steps.len() && steps.len() >= 6,
                "{summary}: {steps:?}"
            );
        }
        assert_eq!(differences(&merger).await, []);
    });
}
