//! One role's writes and session settings damage nothing for the others.

use super::{ask, number, shop, sqlstate};
use crate::it::server::block_on;
use htap_top::system::refresh::keeper::{self, Event};
use htap_top::system::refresh::plan::{Pace, Plan};
use std::time::Duration;

#[test]
fn no_amount_is_nan_and_no_name_is_longer_than_an_index_takes() {
    block_on(async {
        let database = shop().await;
        let application = database.connect_as("htap_oltp").await;
        for sql in [
            "UPDATE shop.orders SET total_amount = 'NaN'",
            "UPDATE shop.products SET price = 'NaN'",
            "UPDATE shop.order_items SET price = 'NaN'",
            "UPDATE shop.categories SET category_name = repeat('x', 201)",
            "UPDATE shop.products SET product_name = repeat('x', 201)",
            "UPDATE shop.users SET user_name = repeat('x', 201)",
        ] {
            assert_eq!(sqlstate(&application, sql).await, "23514", "{sql}");
        }
    });
}

#[test]
fn an_order_of_times_to_come_goes_nowhere_and_makes_no_partitions() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let application = database.connect_as("htap_oltp").await;
        // One month each, in the past (from 2020 on) and in the future.
        application
            .batch(
                "INSERT INTO shop.orders (order_id, user_id, total_amount, created_at)
                 SELECT i, 9, 1, shop.order_time(i)
                 FROM generate_series(1, 200) AS g CROSS JOIN LATERAL
                      (SELECT (extract(epoch FROM timestamptz '2020-02-01 00:00+00' + make_interval(months => g)) * 1000)::bigint
                              - 1577836800000 << 22 AS i) AS n",
            )
            .await
            .unwrap();
        let late = "SELECT max(order_id) FROM shop.orders";
        let late = number(&admin, late).await;
        let pay = format!("SELECT shop.pay_order({late})");
        assert_eq!(sqlstate(&application, &pay).await, "23514");
        let cancel = format!("SELECT shop.cancel_order({late})");
        assert_eq!(sqlstate(&application, &cancel).await, "00000");
        let made = number(&admin, "SELECT htap.house_strays()").await;
        assert!((1..=24).contains(&made), "{made}");
        let newest = "SELECT (max(month) <= (now() + interval '4 months'))::int FROM htap.partition WHERE attached";
        assert_eq!(number(&admin, newest).await, 1);
    });
}

/// A scheduler's session may format dates and names in any way.
#[test]
fn partitions_are_those_of_utc_whatever_the_session_is_set_to() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let bounds = "SELECT string_agg(c.relname || ' ' || pg_get_expr(c.relpartbound, c.oid), E'\\n' ORDER BY c.relname) AS bounds
             FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'shop' WHERE c.relispartition";
        let plain = "SET DateStyle = 'ISO'; SET TimeZone = 'UTC'; SET quote_all_identifiers = off; SET standard_conforming_strings = on";
        admin.batch(plain).await.unwrap();
        let wanted = ask(&admin, bounds).await;
        let last =
            "SELECT string_agg(format('shop.%I', partition), ', ') AS last FROM htap.partition
                    WHERE month = (SELECT max(month) FROM htap.partition)";
        let newest = ask(&admin, last).await;
        let newest = newest.first("last").text().unwrap().to_owned();
        admin
            .batch(&format!(
                "DELETE FROM htap.object WHERE kind = 'partition' AND identity = ANY (string_to_array('{newest}', ', ')); DROP TABLE {newest}"
            ))
            .await
            .unwrap();
        let scheduler = database.connect_as("htap_refresh").await;
        for settings in [
            "SET DateStyle = 'SQL, MDY'; SET TimeZone = '<UTC>-15'",
            "SET DateStyle = 'German'; SET TimeZone = 'Asia/Kolkata'",
            "SET quote_all_identifiers = on; SET standard_conforming_strings = off; SET escape_string_warning = off",
        ] {
            scheduler.batch(settings).await.unwrap();
            scheduler.batch("SELECT htap.maintain()").await.unwrap();
            admin.batch(settings).await.unwrap();
            // Detach and attach as an administrator.
            let old = "SELECT htap.detach_month(m), htap.attach_month(m) FROM (SELECT now() - interval '1 month' AS m) AS x";
            admin.batch(old).await.unwrap();
            admin.batch(plain).await.unwrap();
            assert_eq!(ask(&admin, bounds).await, wanted, "{settings}");
        }
        let faults = "SELECT count(*) FROM htap.partition WHERE NOT attached";
        assert_eq!(number(&admin, faults).await, 0);
    });
}

/// Any role may take any advisory lock.
#[test]
fn a_stranger_s_locks_stop_no_refresh() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        admin.batch("CREATE ROLE locker LOGIN").await.unwrap();
        let locker = database.connect_as("locker").await;
        locker
            .batch(
                "SELECT pg_advisory_lock(hashtext(word), hashtext(view))
                 FROM unnest('{htap.merge,htap.partition}'::text[]) AS word,
                      unnest('{mart.sales_hourly,mart.fact_sales,mart.segment_rfm}'::text[]) AS view;
                 SELECT pg_advisory_lock(hashtext('htap.refresher'), 0), pg_advisory_lock(hashtext('htap.partition'), 0)",
            )
            .await
            .unwrap();
        let (tell, mut hear) = tokio::sync::mpsc::channel(1_000);
        let target = database.target_of("htap_refresh");
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
        let ran = async {
            loop {
                match hear.recv().await.unwrap() {
                    Event::Ran { .. } => break,
                    Event::Leading => {}
                    other => panic!("{other:?}"),
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), ran)
            .await
            .unwrap();
        keeping.abort();
        admin.batch("SELECT htap.maintain()").await.unwrap();
        admin
            .batch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'locker'",
            )
            .await
            .unwrap();
        drop(locker);
        admin.batch("DROP ROLE locker").await.unwrap();
    });
}
