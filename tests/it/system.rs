//! The demo's schema on a real server: its invariants under concurrency, and its installation by `init`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

mod archive;
mod books;
mod bounds;
mod capture;
mod case_study;
#[cfg(feature = "columnar")]
mod columnar;
mod init;
mod load;
mod merge;
mod orders;
mod partitions;
mod pools;
mod power;
mod refresh;
mod routing;
mod spoilt;
mod uninstall;
mod versions;
mod workload;

use crate::it::server::{Database, Server, block_on};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::{Client, Param, PgError, Table};
use htap_top::system::definition::{SUMMARIES, VIEWS};
use htap_top::system::fill::{Fill, fill};
use htap_top::system::generate::product_of_rank;
use htap_top::system::refresh as refreshing;
use htap_top::system::schema;
use tokio::sync::OnceCell;

/// This module's server with a filled database; separate, because the schema's roles belong to the whole
/// cluster.
pub async fn server() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(fill_one).await
}

pub async fn fill_one() -> Server {
    let server = Server::alone();
    let admin = Client::connect(&server.target("postgres", SUPERUSER))
        .await
        .unwrap();
    admin
        .batch("CREATE DATABASE filled TEMPLATE template0")
        .await
        .unwrap();
    let target = server.target("filled", SUPERUSER);
    let client = Client::connect(&target).await.unwrap();
    schema::create(&client).await.unwrap();
    let now = client
        .query(
            "SELECT (extract(epoch FROM now()) * 1000)::bigint AS ms",
            &[],
        )
        .await
        .unwrap();
    let what = Fill {
        orders: 3_000,
        seed: 7,
        end_ms: now.first("ms").int().unwrap(),
    };
    fill(&target, what, |_, _| {}).await.unwrap();
    schema::fill_all(&client, |_, _| {}).await.unwrap();
    server
}

/// Returns a copy of the filled database.
pub async fn shop() -> Database<'static> {
    server().await.copy("filled", "shop").await
}

/// Adds orders of the month before the shop's 30 days, which may lie in a single one; each month has its partition then.
pub async fn order_a_month_earlier(admin: &Client) {
    let orders = "
        WITH o AS (
            SELECT place, (((extract(epoch FROM f.month) + place * 9000) * 1000 - 1577836800000)::bigint << 22) AS id
            FROM generate_series(1, 40) AS place,
                 (SELECT date_trunc('month', date_trunc('month', min(created_at), 'UTC') - interval '1 day', 'UTC') FROM shop.orders) AS f (month)
        ), made AS (
            INSERT INTO shop.orders (order_id, user_id, status, total_amount, created_at, updated_at, completed_at)
            SELECT id, 1 + place, 3, 7.5, shop.order_time(id), shop.order_time(id), shop.order_time(id) FROM o
        )
        INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
        SELECT id, shop.order_time(id), 1, (SELECT min(product_id) FROM shop.products), 1, 7.5 FROM o";
    admin.batch(orders).await.unwrap();
    admin.batch("SELECT htap.house_strays()").await.unwrap();
}

async fn ask(client: &Client, sql: &str) -> Table {
    client
        .query(sql, &[])
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"))
}

pub async fn number(client: &Client, sql: &str) -> i64 {
    ask(client, sql).await.rows[0][0].int().unwrap()
}

pub async fn sqlstate(client: &Client, sql: &str) -> String {
    match client.batch(sql).await {
        Ok(()) => "00000".to_owned(),
        Err(error) => error.code().to_owned(),
    }
}

/// All catalogue entries of the shop's schemas and roles, and a list of everything else.
async fn catalogue(client: &Client) -> Vec<String> {
    let sql = "
        SELECT 'schema ' || nspname || ' ' || nspowner::regrole || coalesce(nspacl::text, '')
               || coalesce(obj_description(oid, 'pg_namespace'), '') AS line FROM pg_namespace
        UNION ALL SELECT 'role ' || oid || rolname || rolsuper || rolcanlogin || coalesce(rolconfig::text, '')
               || coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles
        UNION ALL SELECT 'setting ' || setdatabase || setrole::regrole || setconfig::text FROM pg_db_role_setting
        UNION ALL SELECT 'member ' || roleid::regrole || member::regrole FROM pg_auth_members
        UNION ALL SELECT 'relation ' || c.oid || c.oid::regclass || relkind::text || relowner::regrole
               || coalesce(relacl::text, '') || coalesce(reloptions::text, '') || relispopulated
               || coalesce(pg_get_viewdef(c.oid), '') || coalesce(pg_get_indexdef(c.oid), '')
               FROM pg_class AS c WHERE c.oid >= 16384
        UNION ALL SELECT 'column ' || attrelid::regclass || attnum || attname || atttypid::regtype || attnotnull
               || attidentity::text || coalesce(col_description(attrelid, attnum), '') FROM pg_attribute WHERE attrelid >= 16384
        UNION ALL SELECT 'constraint ' || conrelid::regclass || conname || pg_get_constraintdef(oid)
               FROM pg_constraint WHERE conrelid >= 16384
        UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT 'function ' || oid || pg_get_functiondef(oid) || coalesce(proacl::text, '')
               FROM pg_proc WHERE oid >= 16384
        UNION ALL SELECT 'extension ' || extname FROM pg_extension
        ORDER BY 1";
    let table = ask(client, sql).await;
    table
        .rows
        .iter()
        .map(|row| row[0].text().unwrap().to_owned())
        .collect()
}

#[test]
fn installed_twice_it_is_the_same() {
    block_on(async {
        let database = server().await.database("twice").await;
        let client = database.connect().await;
        schema::create(&client).await.unwrap();
        let once = catalogue(&client).await;
        assert!(once.iter().any(|line| line.contains("shop.orders")));
        let targets = number(&client, "SELECT count(*) FROM htap.view_def").await;
        schema::create(&client).await.unwrap();
        assert_eq!(once, catalogue(&client).await);
        assert_eq!(
            targets,
            number(&client, "SELECT count(*) FROM htap.view_def").await
        );
    });
}

const STOCK: &str = "SELECT sum(quantity) FROM shop.inventory";
/// The number of the newest order, to recognise those of a test.
const NEWEST: &str = "SELECT max(order_id) FROM shop.orders";

async fn create(client: &Client, products: &[i64], quantities: &[i64]) -> Result<i64, PgError> {
    let params = [
        Param::Int(1),
        Param::Ints(products),
        Param::Ints(quantities),
    ];
    let table = client
        .query("SELECT shop.create_order($1, $2, $3) AS id", &params)
        .await?;
    Ok(table.first("id").int().unwrap())
}

/// One customer after the other; returns the numbers of orders created, cancelled and out of stock.
async fn customer(client: Client, number: usize) -> [usize; 3] {
    client
        .batch("SET lock_timeout = 0; SET statement_timeout = 0")
        .await
        .unwrap();
    let mut counts = [0; 3];
    for round in 0..40 {
        // A few products common to all baskets, each in its own order.
        let mut products: Vec<i64> = (1..=4)
            .map(|line| product_of_rank((number * 7 + round * line) % 10 + 1) as i64)
            .collect();
        products.rotate_left(number % 4);
        match create(&client, &products, &[1, 2, 1, 3]).await {
            Ok(id) => {
                counts[0] += 1;
                if round % 5 == 0 {
                    let cancel = client
                        .query("SELECT shop.cancel_order($1)", &[Param::Int(id)])
                        .await;
                    assert!(cancel.unwrap().rows[0][0].is_true());
                    counts[1] += 1;
                }
            }
            Err(error) if error.code() == "HT001" => counts[2] += 1,
            Err(error) => panic!("{error}"),
        }
    }
    counts
}

#[test]
fn nothing_is_sold_twice() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        client
            .batch("UPDATE shop.inventory SET quantity = 250")
            .await
            .unwrap();
        let before = number(&client, STOCK).await;
        let newest = number(&client, NEWEST).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let session = database.connect_as("htap_oltp").await;
            tasks.spawn(customer(session, number));
        }
        let counts = tasks
            .join_all()
            .await
            .into_iter()
            .fold([0; 3], |sum, one| [0, 1, 2].map(|i| sum[i] + one[i]));
        let [created, cancelled, out_of_stock] = counts;
        assert!(
            created > 100 && cancelled > 10 && out_of_stock > 10,
            "{counts:?}"
        );
        let sold = format!(
            "SELECT coalesce(sum(i.quantity), 0) FROM shop.order_items AS i JOIN shop.orders AS o USING (order_id)
             WHERE o.status <> 4 AND o.order_id > {newest}"
        );
        assert_eq!(
            before,
            number(&client, STOCK).await + number(&client, &sold).await
        );
        let min = "SELECT min(quantity) FROM shop.inventory";
        assert!((0..10).contains(&number(&client, min).await));
        let orders = format!("SELECT count(*) FROM shop.orders WHERE order_id > {newest}");
        assert_eq!(number(&client, &orders).await, created as i64);
        let wrong = "SELECT count(*) FROM shop.orders AS o WHERE total_amount IS DISTINCT FROM
                     (SELECT sum(price * quantity) FROM shop.order_items AS i WHERE i.order_id = o.order_id)";
        assert_eq!(number(&client, wrong).await, 0);
    });
}

#[test]
fn impossible_orders_change_nothing() {
    block_on(async {
        let database = shop().await;
        let client = database.connect_as("htap_oltp").await;
        let state = "SELECT md5(string_agg(i::text, ',' ORDER BY product_id))::text
                     || (SELECT count(*) FROM shop.orders) || (SELECT count(*) FROM shop.order_items) AS state
                     FROM shop.inventory AS i";
        let before = ask(&client, state).await;
        for (call, code, why) in [
            ("1, '{}', '{}'", "22023", "at least one"),
            ("1, NULL, NULL", "22023", "at least one"),
            (
                "1, '{1,2}', '{1}'",
                "22023",
                "as many quantities as products",
            ),
            ("1, '{1,2}', '{1,0}'", "22023", "must be positive"),
            ("1, '{1,2}', '{1,-5}'", "22023", "must be positive"),
            ("1, '{1,2}', '{1,NULL}'", "22023", "must be positive"),
            (
                "1, '{1,2}', '{1,9000000000000000000}'",
                "22023",
                "at most a million",
            ),
            ("1, '{1,2,98765}', '{1,1,1}'", "23503", "no product 98765"),
            ("1, '{1,NULL}', '{1,1}'", "22023", "must be positive"),
            (
                "1, '{1,2}', '{1,900000}'",
                "HT001",
                "insufficient inventory",
            ),
            (
                "1, '{1,1,1}', '{900000,900000,900000}'",
                "HT001",
                "insufficient inventory",
            ),
            ("98765, '{1}', '{1}'", "23503", "foreign key"),
        ] {
            client.batch("BEGIN").await.unwrap();
            // There is enough of everything, except for the excessive orders.
            let error = client
                .batch(&format!("SELECT shop.create_order({call})"))
                .await
                .unwrap_err();
            client.batch("ROLLBACK").await.unwrap();
            if call.starts_with("98765") && error.code() == "HT001" {
                continue; // product 1 happens to be sold out
            }
            assert_eq!(error.code(), code, "{call}: {error}");
            assert!(error.message.as_str().contains(why), "{call}: {error}");
        }
        assert_eq!(before, ask(&client, state).await);
    });
}

#[test]
fn goods_come_back_once() {
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        client
            .batch("UPDATE shop.inventory SET quantity = 1000")
            .await
            .unwrap();
        let full = number(&client, STOCK).await;
        let order = create(&client, &[5, 3, 5], &[2, 4, 1]).await.unwrap();
        assert_eq!(number(&client, STOCK).await, full - 7);
        let cancel = format!("SELECT shop.cancel_order({order})");
        let (one, two) = (
            database.connect_as("htap_oltp").await,
            database.connect_as("htap_oltp").await,
        );
        let (first, second) = tokio::join!(sqlstate(&one, &cancel), sqlstate(&two, &cancel));
        let mut codes = [first, second];
        codes.sort();
        assert_eq!(codes, ["00000", "23514"]);
        assert_eq!(number(&client, STOCK).await, full);
        assert_eq!(sqlstate(&client, &cancel).await, "23514");
        assert_eq!(number(&client, STOCK).await, full);
        let unknown = ask(&client, "SELECT shop.cancel_order(987654321) AS was").await;
        assert!(!unknown.first("was").is_true() && unknown.first("was").is_known());
        // A shipped order is not returned to the stock.
        let order = create(&client, &[3], &[4]).await.unwrap();
        let [pay, ship] = ["pay", "ship"].map(|step| format!("SELECT shop.{step}_order({order})"));
        assert_eq!(sqlstate(&client, &pay).await, "00000");
        assert_eq!(sqlstate(&client, &pay).await, "23514", "paid twice");
        assert_eq!(sqlstate(&client, &ship).await, "00000");
        assert_eq!(
            sqlstate(&client, &format!("SELECT shop.cancel_order({order})")).await,
            "23514"
        );
        assert_eq!(number(&client, STOCK).await, full - 4);
    });
}

#[test]
fn a_status_follows_only_its_own() {
    const ALLOWED: [(i64, i64); 5] = [(0, 1), (1, 2), (2, 3), (0, 4), (1, 4)];
    block_on(async {
        let database = shop().await;
        let client = database.connect().await;
        for from in 0..5 {
            for to in (0..5).filter(|to| *to != from) {
                let prepare = format!(
                    "BEGIN; ALTER TABLE shop.orders DISABLE TRIGGER guard_status;
                     UPDATE shop.orders SET status = {from}, completed_at = CASE {from} WHEN 3 THEN created_at END
                     WHERE order_id = (SELECT min(order_id) FROM shop.orders);
                     ALTER TABLE shop.orders ENABLE TRIGGER guard_status;
                     UPDATE shop.orders SET status = {to}, completed_at = CASE {to} WHEN 3 THEN completed_at END
                     WHERE order_id = (SELECT min(order_id) FROM shop.orders)"
                );
                let code = sqlstate(&client, &prepare).await;
                client.batch("ROLLBACK").await.unwrap();
                let wanted = if ALLOWED.contains(&(from, to)) {
                    "00000"
                } else {
                    "23514"
                };
                assert_eq!(code, wanted, "from {from} to {to}");
            }
        }
        let order = create(&client, &[3], &[1]).await.unwrap();
        for step in ["pay", "ship", "complete"] {
            assert_eq!(
                sqlstate(&client, &format!("SELECT shop.{step}_order({order})")).await,
                "00000"
            );
        }
        let kept = format!(
            "SELECT (completed_at >= created_at AND updated_at = completed_at)::int FROM shop.orders WHERE order_id = {order}"
        );
        assert_eq!(number(&client, &kept).await, 1);
    });
}

#[test]
fn every_role_may_do_its_own_work_only() {
    block_on(async {
        let database = shop().await;
        let monitor = database.connect_as("htap_monitor").await;
        for view in VIEWS {
            monitor
                .batch(&format!("SELECT htap.refresh_view('{view}', true)"))
                .await
                .unwrap();
        }
        let refresher = database.connect_as("htap_refresh").await;
        let shopper = database.connect_as("htap_oltp").await;
        let olap = database.connect_as("htap_olap").await;
        for write in [
            "UPDATE shop.inventory SET quantity = 0",
            "INSERT INTO shop.categories (category_name) VALUES ('x')",
            "DELETE FROM shop.user_events",
            "CREATE TABLE shop.mine ()",
        ] {
            assert_eq!(
                sqlstate(&monitor, write).await,
                "42501",
                "htap_monitor: {write}"
            );
            assert_eq!(
                sqlstate(&refresher, write).await,
                "42501",
                "htap_refresh: {write}"
            );
            assert_eq!(sqlstate(&olap, write).await, "25006", "htap_olap: {write}");
            let forced = format!("SET default_transaction_read_only = off; {write}");
            let daring = database.connect_as("htap_olap").await;
            daring
                .batch("SET default_transaction_read_only = off")
                .await
                .unwrap();
            assert_eq!(
                sqlstate(&daring, write).await,
                "42501",
                "htap_olap: {forced}"
            );
        }
        assert_eq!(
            sqlstate(&shopper, "REFRESH MATERIALIZED VIEW mart.sales_hourly_mv").await,
            "42501"
        );
        assert_eq!(sqlstate(&shopper, "DELETE FROM shop.orders").await, "42501");
        assert_eq!(
            sqlstate(&shopper, "SELECT count(*) FROM mart.sales_hourly").await,
            "42501"
        );
    });
}

/// Panel, key, columns to compare, and the same query on the base tables.
const PANELS: [(&str, &str, &str, &str); 5] = [
    (
        include_str!("../../queries/hourly_sales.sql"),
        "hour",
        "sales orders customers",
        "SELECT extract(epoch FROM hour)::float8 AS hour, coalesce(sum(total_amount), 0) AS sales,
                count(order_id) AS orders, count(DISTINCT user_id) AS customers
         FROM generate_series(date_trunc('hour', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - interval '23 hours',
                              now(), interval '1 hour') AS h (hour)
         LEFT JOIN shop.orders ON status = 3 AND completed_at >= hour AND completed_at < hour + interval '1 hour'
         GROUP BY hour",
    ),
    (
        include_str!("../../queries/top_categories.sql"),
        "category",
        "amount quantity",
        "SELECT category_name AS category, sum(i.price * i.quantity) AS amount, sum(i.quantity) AS quantity
         FROM shop.order_items AS i JOIN shop.orders USING (order_id) JOIN shop.products USING (product_id)
         JOIN shop.categories USING (category_id)
         WHERE status = 3 AND completed_at AT TIME ZONE 'UTC' >= date_trunc('day', now() AT TIME ZONE 'UTC') - interval '6 days'
         GROUP BY 1",
    ),
    (
        include_str!("../../queries/rfm_segments.sql"),
        "segment",
        "users value",
        "WITH per_user AS (
             SELECT user_id, min(created_at) AS first, max(created_at) AS last, count(*) AS n, sum(total_amount) AS paid
             FROM shop.orders WHERE status IN (0, 1, 2, 3) GROUP BY user_id
         ), scored AS (
             SELECT *, ntile(5) OVER (ORDER BY last, user_id) AS r, ntile(5) OVER (ORDER BY n, user_id) AS f,
                    ntile(5) OVER (ORDER BY paid, user_id) AS m FROM per_user
         )
         SELECT CASE WHEN now() - first <= interval '2 days' AND n < 3 THEN 'New'
                     WHEN least(r, f, m) > 3 THEN 'VIP' WHEN least(r, f) > 2 THEN 'Loyal'
                     WHEN r < 3 AND f > 2 THEN 'At risk' WHEN r < 3 THEN 'Lost' ELSE 'Other' END AS segment,
                count(*) AS users, sum(paid) AS value
         FROM scored GROUP BY 1",
    ),
    (
        include_str!("../../queries/stock_alerts.sql"),
        "product_id",
        "quantity sold_per_hour",
        "SELECT product_id, quantity, round((
                    SELECT sum(i.quantity) FROM shop.order_items AS i JOIN shop.orders AS o USING (order_id)
                    WHERE i.product_id = s.product_id AND status = 3
                      AND completed_at >= since) * 3600 / extract(epoch FROM now() - since)::numeric, 1) AS sold_per_hour
         FROM shop.inventory AS s,
              (SELECT (date_trunc('day', now() AT TIME ZONE 'UTC') - interval '1 day') AT TIME ZONE 'UTC' AS since) AS d
         WHERE quantity < reorder_point",
    ),
    (
        include_str!("../../queries/active_users.sql"),
        "at",
        "users logins",
        "SELECT at::float8, count(DISTINCT user_id) AS users, count(user_id) AS logins
         FROM generate_series(div(extract(epoch FROM now())::numeric, 300) * 300 - 3300, extract(epoch FROM now())::numeric, 300) AS a (at)
         LEFT JOIN shop.user_events ON event_kind = 0 AND occurred_at >= to_timestamp(at::float8)
                                    AND occurred_at < to_timestamp(at::float8 + 300)
         GROUP BY at",
    ),
];

#[test]
fn the_business_panels_say_what_the_base_tables_say() {
    block_on(async {
        let database = shop().await;
        let shopper = database.connect_as("htap_oltp").await;
        for user in [1, 1, 2, 3] {
            shopper
                .query("SELECT shop.log_in($1)", &[Param::Int(user)])
                .await
                .unwrap();
        }
        shopper
            .batch("UPDATE shop.inventory SET quantity = 1000 WHERE product_id = 1")
            .await
            .unwrap();
        let order = create(&shopper, &[1], &[1]).await.unwrap();
        for step in ["pay", "ship", "complete"] {
            shopper
                .batch(&format!("SELECT shop.{step}_order({order})"))
                .await
                .unwrap();
        }
        let monitor = database.connect_as("htap_monitor").await;
        for summary in SUMMARIES {
            let (schema, name) = summary.split_once('.').unwrap();
            let merged =
                refreshing::merge(&monitor, &refreshing::View::new(schema, name), 100).await;
            assert_eq!(merged.unwrap().changes, 1, "{summary}");
        }
        for view in VIEWS {
            monitor
                .batch(&format!("SELECT htap.refresh_view('{view}', true)"))
                .await
                .unwrap();
        }
        let olap = database.connect_as("htap_olap").await;
        olap.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await
            .unwrap();
        for (panel, key, columns, base) in PANELS {
            assert!(
                number(&olap, &format!("SELECT count(*) FROM ({panel}) AS p")).await > 0,
                "{key}"
            );
            for column in columns.split(' ') {
                let sql = format!(
                    "SELECT {key}::text AS key, p.{column}::text AS shown, b.{column}::text AS base
                     FROM ({panel}) AS p FULL JOIN ({base}) AS b USING ({key})
                     WHERE p.{column}::numeric IS DISTINCT FROM b.{column}::numeric"
                );
                assert_eq!(
                    ask(&olap, &sql).await.rows,
                    Vec::<Vec<_>>::new(),
                    "{column} by {key}"
                );
            }
        }
    });
}
