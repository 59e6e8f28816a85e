//! The tables that the column store holds beside `mart.fact_sales`: days of customers, and orders, whose months come and go and
//! whose closed hours still change.

use super::{Store, hour, number};
use crate::it::server::block_on;
use crate::it::system::order_a_month_earlier;
use htap_top::columnar::ColumnarError;
use htap_top::pg::Client;
use parquet::file::metadata::ParquetMetaDataReader;

const DIRTY: &str = "SELECT count(*) FROM htap.column_dirty WHERE relation = 'mart.orders'";

/// The number of files of orders.
async fn files(store: &Store) -> i64 {
    let files = "SELECT count(*) FROM htap.column_file WHERE relation = 'mart.orders'";
    number(&store.client, files).await
}

/// Completes or cancels an order of a closed hour, which is none of a customer's last ones.
async fn change(client: &Client) {
    let change = "
        UPDATE shop.orders SET total_amount = total_amount + 1, updated_at = now()
        WHERE order_id = (SELECT order_id FROM shop.orders WHERE created_at < now() - interval '9 days' ORDER BY random() LIMIT 1)";
    client.batch(change).await.unwrap();
}

#[test]
fn orders_and_days_are_answered_as_postgresql_does() {
    block_on(async {
        let store = Store::new().await;
        store.sync(None).await.unwrap();
        assert!(files(&store).await > 0);
        for sql in [
            "SELECT status, count(*), sum(total_amount), min(created_at), max(completed_at) FROM orders GROUP BY status",
            "SELECT count(*) FROM mart.orders WHERE completed_at IS NULL",
            "SELECT count(*) FROM orders WHERE status = 'cancelled' AND created_at >= now() - interval '20 days'",
            "SELECT status, count(*) FROM orders WHERE created_at >= date_trunc('day', now()) GROUP BY status",
            "SELECT day, count(*), sum(orders), sum(amount) FROM user_day GROUP BY day",
            "SELECT count(*), sum(amount) FROM user_day WHERE day >= current_date - 10 AND day < current_date - 2",
            "SELECT count(*), sum(amount) FROM user_day WHERE day = current_date",
            "SELECT user_id, sum(orders), sum(amount), max(day) FROM mart.user_day WHERE day > current_date - 180 GROUP BY user_id",
            "SELECT o.status, count(*), sum(s.sales_amount) FROM orders AS o JOIN fact_sales AS s ON s.order_id = o.order_id
             GROUP BY o.status",
            "SELECT d.day, sum(d.amount), sum(x.amount) FROM user_day AS d
             JOIN (SELECT user_id, created_at::date AS day, sum(total_amount) AS amount FROM orders GROUP BY 1, 2) AS x
             ON x.user_id = d.user_id AND x.day = d.day GROUP BY d.day",
        ] {
            store.agrees(sql, "UTC").await;
            store.agrees(sql, "America/New_York").await;
        }
        // What the conditions prune, and that each table counts for itself.
        let plan = store
            .asked(
                "EXPLAIN SELECT count(*) FROM user_day WHERE day < current_date - 100",
                "UTC",
            )
            .await
            .unwrap()
            .join("\n");
        let all = "SELECT count(*) FROM htap.column_file WHERE relation = 'mart.user_day'";
        let all = number(&store.client, all).await;
        assert!(
            plan.contains(&format!("of {all} are read")) && !plan.contains(" 0 are pruned"),
            "{plan}"
        );
        let error = store
            .asked("SELECT * FROM shop.orders", "UTC")
            .await
            .unwrap_err();
        assert!(matches!(error, ColumnarError::Unsupported(_)), "{error}");
    });
}

#[test]
fn what_changes_in_closed_hours_of_orders_is_logged_and_what_is_open_is_not() {
    block_on(async {
        let store = Store::new().await;
        let client = &store.client;
        store.sync(None).await.unwrap();
        assert_eq!(number(client, DIRTY).await, 0);
        // An order of now.
        let made = "
            SELECT shop.create_order(u.user_id, ARRAY[p.product_id], ARRAY[1]::bigint[], NULL)
            FROM (SELECT min(user_id) AS user_id FROM shop.users) AS u, (SELECT min(product_id) AS product_id FROM shop.products) AS p";
        client
            .batch("UPDATE shop.inventory SET quantity = 1000")
            .await
            .unwrap();
        client.batch(made).await.unwrap();
        assert_eq!(number(client, DIRTY).await, 0);
        store.holds_all_rows().await;
        change(client).await;
        assert_eq!(number(client, DIRTY).await, 1);
        store.holds_all_rows().await;
        // With one snapshot for all its statements a transaction cannot know what is closed.
        client
            .batch(&format!(
                "BEGIN ISOLATION LEVEL REPEATABLE READ; {made}; COMMIT"
            ))
            .await
            .unwrap();
        assert_eq!(number(client, DIRTY).await, 2);
        // Gone, and come back in another hour of another month.
        client
            .batch(
                "DELETE FROM shop.payments; DELETE FROM shop.shipments; DELETE FROM shop.order_items
                 WHERE order_id = (SELECT min(order_id) FROM shop.orders);
                 DELETE FROM shop.orders WHERE order_id = (SELECT min(order_id) FROM shop.orders)",
            )
            .await
            .unwrap();
        store.holds_all_rows().await;
        let done = store.sync(None).await.unwrap();
        assert_eq!((done.written, number(client, DIRTY).await), (2, 0));
        store.holds_all_rows().await;
        // As a replica writes.
        client
            .batch("SET session_replication_role = replica")
            .await
            .unwrap();
        change(client).await;
        client
            .batch("RESET session_replication_role")
            .await
            .unwrap();
        store.holds_all_rows().await;
    });
}

/// An order that was written before its hour was closed, by a transaction that has not ended then.
#[test]
fn an_hour_is_not_closed_before_all_who_may_write_it_unlogged_have_ended() {
    block_on(async {
        let store = Store::new().await;
        let client = &store.client;
        let first = hour(client, "now() - interval '20 days'").await;
        store.sync(Some(first)).await.unwrap();
        let before = files(&store).await;
        let late = store.database.connect().await;
        late.batch("BEGIN").await.unwrap();
        // In an hour that is open to this transaction.
        late.batch(
            "UPDATE shop.orders SET total_amount = total_amount + 1000
             WHERE order_id = (SELECT order_id FROM shop.orders WHERE created_at < now() - interval '10 days' ORDER BY order_id DESC LIMIT 1)",
        )
        .await
        .unwrap();
        assert_eq!(number(&late, DIRTY).await, 0, "logged for nothing");
        let done = store.sync(None).await.unwrap();
        assert!(
            done.notes.iter().any(|note| note.contains("has not ended")),
            "{done:?}"
        );
        assert_eq!(
            files(&store).await,
            before,
            "an hour was closed under a transaction"
        );
        late.batch("COMMIT").await.unwrap();
        store.holds_all_rows().await;
        let done = store.sync(None).await.unwrap();
        assert_eq!(done.notes, [""; 0]);
        assert!(files(&store).await > before);
        store.holds_all_rows().await;
    });
}

#[test]
fn months_that_are_made_attached_and_detached_are_seen() {
    block_on(async {
        let store = Store::new().await;
        let client = &store.client;
        order_a_month_earlier(client).await;
        let first = "SELECT extract(epoch FROM date_trunc('month', min(created_at), 'UTC'))::bigint FROM shop.orders";
        let month = format!("to_timestamp({})", number(client, first).await);
        store.sync(None).await.unwrap();
        let rows = format!(
            "SELECT count(*) FROM shop.orders WHERE created_at >= {month} AND created_at < {month} + interval '1 month'"
        );
        assert!(number(client, &rows).await > 0);
        for change in ["detach_month", "attach_month"] {
            client
                .batch(&format!("SELECT htap.{change}({month})"))
                .await
                .unwrap();
            assert!(number(client, DIRTY).await >= 28 * 24);
            store.agrees("SELECT * FROM orders", "UTC").await;
            store.sync(None).await.unwrap();
            store.agrees("SELECT * FROM orders", "UTC").await;
        }
        client
            .batch("SELECT htap.make_months(ahead => 6)")
            .await
            .unwrap();
        store.agrees("SELECT * FROM orders", "UTC").await;
        // By hand: nothing of it is logged, so the files do not count any more.
        let part = "shop.orders_default";
        for change in [
            format!("ALTER TABLE shop.orders DETACH PARTITION {part}"),
            format!("ALTER TABLE shop.orders ATTACH PARTITION {part} DEFAULT"),
            "ALTER TABLE shop.orders DISABLE TRIGGER log_columns".to_owned(),
            format!("ALTER TABLE {part} DISABLE TRIGGER log_columns_truncate"),
        ] {
            client.batch(&change).await.unwrap();
            let error = store
                .asked("SELECT count(*) FROM orders", "UTC")
                .await
                .unwrap_err();
            assert!(
                error.to_string().contains("htap-top columnar sync"),
                "{change}: {error}"
            );
            // Who makes or detaches a month next does not hide it.
            client.batch("BEGIN").await.unwrap();
            let made = "SELECT htap.make_months(ahead => 9)";
            client.batch(made).await.unwrap();
            let all = "SELECT count(*) FROM htap.column_dirty WHERE relation = 'mart.orders' AND hour IS NULL";
            let hidden = number(client, all).await == 0;
            client.batch("ROLLBACK").await.unwrap();
            assert!(
                !hidden || change.contains("TABLE shop.orders DISABLE"),
                "{change}"
            );
            // The other tables are answered.
            store.agrees("SELECT * FROM fact_sales", "UTC").await;
            store.sync(None).await.unwrap();
            store.agrees("SELECT * FROM orders", "UTC").await;
        }
        // All rows of a partition.
        let newest = "SELECT min(order_id) FROM shop.orders";
        assert!(number(client, newest).await > 0);
        client.batch("TRUNCATE shop.orders CASCADE").await.unwrap();
        store.agrees("SELECT * FROM orders", "UTC").await;
        store.sync(None).await.unwrap();
        store.agrees("SELECT * FROM orders", "UTC").await;
    });
}

#[test]
fn a_table_that_is_not_wanted_costs_nothing_and_is_refused() {
    block_on(async {
        let store = Store::new().await;
        let client = &store.client;
        store.sync(None).await.unwrap();
        client
            .batch("SELECT htap.switch_columns('mart.orders', false)")
            .await
            .unwrap();
        let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'log\\_columns%' AND tgrelid NOT IN ('mart.fact_sales'::regclass, 'mart.user_day'::regclass)";
        assert_eq!(number(client, triggers).await, 0);
        let error = store
            .asked("SELECT count(*) FROM orders", "UTC")
            .await
            .unwrap_err();
        assert!(
            matches!(&error, ColumnarError::Unsupported(why) if why.contains("switch_columns('mart.orders', true)")),
            "{error}"
        );
        store.agrees("SELECT * FROM user_day", "UTC").await;
        // A sync does not begin it again.
        change(client).await;
        store.sync(None).await.unwrap();
        assert_eq!((files(&store).await, number(client, DIRTY).await), (0, 0));
        client
            .batch("SELECT htap.switch_columns('mart.orders', true)")
            .await
            .unwrap();
        store.agrees("SELECT * FROM orders", "UTC").await;
        store.sync(None).await.unwrap();
        assert!(files(&store).await > 0);
        store.holds_all_rows().await;
    });
}

/// Amounts of 18 digits are integers in files; one with more makes only its own file wider.
#[test]
fn an_amount_of_many_digits_makes_its_own_file_wider() {
    block_on(async {
        let store = Store::new().await;
        let large = "
            UPDATE mart.fact_sales SET sales_amount = 123456789012345678.90
            WHERE (order_id, line_no) = (SELECT order_id, line_no FROM mart.fact_sales ORDER BY sale_time LIMIT 1)";
        store.client.batch(large).await.unwrap();
        // A month that is not over, so that its days have files of their own.
        let day = "date_trunc('month', now() - interval '14 days', 'UTC') + interval '20 days'";
        let until = hour(&store.client, day).await;
        let done = store.sync(Some(until)).await.unwrap();
        assert!(done.written > 5, "{done:?}");
        let mut digits = Vec::new();
        for file in std::fs::read_dir(store.folder.path()).unwrap() {
            let file = file.unwrap();
            if file.file_name().to_string_lossy().starts_with("fact_sales") {
                let file = std::fs::File::open(file.path()).unwrap();
                let footer = ParquetMetaDataReader::new()
                    .parse_and_finish(&file)
                    .unwrap();
                let schema = footer.file_metadata().schema_descr();
                let columns = schema.columns().iter();
                let amount = columns.filter(|column| column.name() == "sales_amount");
                digits.extend(amount.map(|column| column.type_precision()));
            }
        }
        digits.sort_unstable();
        assert_eq!(digits.pop(), Some(20));
        assert!(
            digits.len() > 4 && digits.iter().all(|few| *few == 18),
            "{digits:?}"
        );
        for sql in [
            "SELECT * FROM fact_sales",
            "SELECT category, sum(sales_amount), max(sales_amount), count(*) FILTER (WHERE sales_amount > 100000000000000000) FROM fact_sales GROUP BY category",
            "SELECT order_id FROM fact_sales WHERE sales_amount >= 123456789012345678.9",
        ] {
            store.agrees(sql, "UTC").await;
        }
    });
}
