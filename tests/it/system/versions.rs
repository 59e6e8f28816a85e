//! The life of the schema on several majors: installed, filled, installed again, removed; and version 1, as
//! released, upgraded with all its rows.

use super::init::refused;
use super::{ask, catalogue, number};
use crate::it::server::{Database, Server, block_on};
use htap_top::pg::Client;
use htap_top::system::generate::Shape;
use htap_top::system::init::{Load, init};
use htap_top::system::survey::Survey;
use htap_top::system::uninstall::Uninstall;

/// The files of version 1, in order.
const VERSION_1: [&str; 5] = [
    include_str!("version_1/01_roles.sql"),
    include_str!("version_1/02_shop.sql"),
    include_str!("version_1/03_functions.sql"),
    include_str!("version_1/04_mart.sql"),
    include_str!("version_1/05_htap.sql"),
];

#[test]
fn the_schema_comes_and_goes_on_13() {
    block_on(comes_and_goes(13));
}

#[test]
fn the_schema_comes_and_goes_on_15() {
    block_on(comes_and_goes(15));
}

#[test]
fn the_schema_comes_and_goes_on_18() {
    block_on(comes_and_goes(18));
}

async fn comes_and_goes(major: u16) {
    let server = Server::of_major(major);
    assert_eq!(server.major(), major);
    let database = server.database("life").await;
    let client = database.connect().await;
    client
        .batch("CREATE TABLE public.mine (id int PRIMARY KEY); CREATE SCHEMA other; CREATE ROLE other LOGIN")
        .await
        .unwrap();
    let before = catalogue(&client).await;
    let load = Load {
        shape: Shape::of(2_000, 40),
        seed: 3,
        jobs: 2,
    };
    init(&database.target(), Some(load), |_| {}).await.unwrap();
    let installed = catalogue(&client).await;
    let done = init(&database.target(), Some(load), |_| {}).await.unwrap();
    assert!(done.created.is_empty() && done.loaded_before, "{done:?}");
    assert_eq!(installed, catalogue(&client).await);
    let survey = Survey::of(&client).await.unwrap();
    let foreign: Vec<_> = survey.foreign().collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let fresh = anatomy(&client).await;

    let old = server.database("old").await;
    an_upgrade_keeps_everything(&old, &fresh).await;
    for name in [&database, &old] {
        let prepared = Uninstall::prepare(&name.target()).await.unwrap();
        prepared.run(|_| {}).await.unwrap();
    }
    assert_eq!(before, catalogue(&client).await);
}

/// The objects of the schema, without numbers that differ between databases and without the history's
/// partitions.
async fn anatomy(client: &Client) -> Vec<String> {
    let sql = "
        WITH grants AS (
            SELECT oid, string_agg(g.grantee::regrole || ' ' || g.privilege_type, ', ' ORDER BY g.grantee::regrole::text, g.privilege_type) AS acl
            FROM pg_class, aclexplode(relacl) AS g WHERE g.grantee <> relowner GROUP BY oid
        ), relation AS (
            SELECT c.*, n.nspname FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = relnamespace
            WHERE n.nspname IN ('shop', 'mart', 'htap') AND c.relname !~ '_\\d{4}_\\d{2}'
        )
        SELECT 'schema ' || nspname || ' ' || nspowner::regrole || obj_description(oid, 'pg_namespace') AS line
        FROM pg_namespace WHERE nspname IN ('shop', 'mart', 'htap')
        UNION ALL SELECT 'relation ' || c.oid::regclass || c.relkind::text || c.relowner::regrole || coalesce(g.acl, '')
               || coalesce(c.reloptions::text, '') || coalesce(pg_get_viewdef(c.oid), '')
               FROM relation AS c LEFT JOIN grants AS g USING (oid)
        UNION ALL SELECT 'column ' || attrelid::regclass || ' ' || attname || atttypid::regtype || attnotnull || attidentity::text
               FROM pg_attribute JOIN relation AS c ON c.oid = attrelid WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm')
        UNION ALL SELECT 'index ' || pg_get_indexdef(c.oid) FROM relation AS c WHERE relkind IN ('i', 'I')
        UNION ALL SELECT 'constraint ' || conrelid::regclass || conname || pg_get_constraintdef(p.oid)
               FROM pg_constraint AS p JOIN relation AS c ON c.oid = conrelid
        UNION ALL SELECT 'trigger ' || pg_get_triggerdef(t.oid) FROM pg_trigger AS t JOIN relation AS c ON c.oid = tgrelid WHERE NOT tgisinternal
        UNION ALL SELECT 'function ' || regexp_replace(pg_get_functiondef(p.oid),
                         '\\s*?WHEN ''order_items_\\d{4}_\\d{2}'' THEN.*?NEW.created_at;', '', 'g') || proowner::regrole FROM pg_proc AS p
               WHERE pronamespace IN ('shop'::regnamespace, 'mart'::regnamespace, 'htap'::regnamespace)
        ORDER BY 1";
    let table = ask(client, sql).await;
    assert!(table.rows.len() > 300, "{}", table.rows.len());
    let lines = table.rows.iter();
    lines.map(|row| row[0].text().unwrap().to_owned()).collect()
}

/// Half a year of orders, four of five completed, three thousand at the same moment; and a configured target.
const ROWS_1: &str = "
    INSERT INTO shop.categories (category_name) VALUES ('a'), ('b');
    INSERT INTO shop.products (category_id, product_name, price) SELECT g % 2 + 1, 'p' || g, g FROM generate_series(1, 20) AS g;
    INSERT INTO shop.inventory (product_id, quantity) SELECT g, 100 + g FROM generate_series(1, 20) AS g;
    INSERT INTO shop.users (user_name) SELECT 'u' || g FROM generate_series(1, 50) AS g;
    INSERT INTO shop.user_events (user_id) SELECT user_id FROM shop.users;
    INSERT INTO shop.orders (user_id, status, total_amount, created_at, updated_at, completed_at)
    SELECT g % 50 + 1, CASE WHEN g % 5 = 0 THEN 1 ELSE 3 END, g, t, t, CASE WHEN g % 5 <> 0 THEN t + interval '1 hour' END
    FROM generate_series(1, 9000) AS g,
         LATERAL (SELECT now() - CASE WHEN g > 6000 THEN interval '1 day' ELSE g * interval '43.21 min' END AS t) AS x;
    INSERT INTO shop.order_items (order_id, line_no, product_id, quantity, price)
    SELECT order_id, l, (order_id + l) % 20 + 1, l, total_amount FROM shop.orders, generate_series(1, 2) AS l;
    UPDATE htap.refresh_target SET freshness = '7 minutes' WHERE view = 'mart.fact_sales_mv';
    INSERT INTO htap.refresh_run (view, mode) VALUES ('mart.fact_sales_mv', 'full')";

/// Facts that an upgrade, which renumbers orders, must preserve.
const KEPT: &str = "
    SELECT (SELECT string_agg(concat_ws(' ', user_id, status, total_amount, date_trunc('milliseconds', created_at), updated_at, completed_at),
                              ',' ORDER BY date_trunc('milliseconds', created_at), order_id) FROM shop.orders)
        || (SELECT string_agg(concat_ws(' ', o.total_amount, line_no, product_id, i.quantity, price),
                              ',' ORDER BY date_trunc('milliseconds', o.created_at), order_id, line_no)
            FROM shop.order_items AS i JOIN shop.orders AS o USING (order_id))
        || (SELECT string_agg(i::text, ',' ORDER BY product_id) FROM shop.inventory AS i)
        || (SELECT string_agg(u::text, ',' ORDER BY user_id) FROM shop.users AS u)
        || (SELECT string_agg(e::text, ',' ORDER BY event_id) FROM shop.user_events AS e)
        || (SELECT string_agg(concat_ws(' ', run_id, view, mode, started, finished, rows), ',') FROM htap.refresh_run)";

async fn an_upgrade_keeps_everything(old: &Database<'_>, fresh: &[String]) {
    let client = old.connect().await;
    let script = format!("BEGIN; {} COMMIT; {ROWS_1}", VERSION_1.join("\n"));
    client.batch(&script).await.unwrap();
    let kept = ask(&client, KEPT).await;
    let before = Survey::of(&client).await.unwrap();
    assert_eq!(before.version, Some(1));
    assert_eq!(before.foreign().count(), 0);

    // Dependent objects of a recreated table are named, and nothing is changed.
    client
        .batch("CREATE VIEW public.report AS SELECT * FROM shop.orders; CREATE INDEX mine_idx ON shop.order_items (product_id);
                CREATE TABLE shop.mine (user_id bigint REFERENCES shop.users)")
        .await
        .unwrap();
    let untouched = catalogue(&client).await;
    let why = refused(init(&old.target(), None, |_| {}).await);
    assert!(
        why.contains("index shop.mine_idx, view public.report. "),
        "{why}"
    );
    assert_eq!(untouched, catalogue(&client).await);
    let load = Load {
        shape: Shape::of(100, 1),
        seed: 1,
        jobs: 1,
    };
    client
        .batch("DROP VIEW public.report; DROP INDEX shop.mine_idx")
        .await
        .unwrap();
    let why = refused(init(&old.target(), Some(load), |_| {}).await);
    assert!(why.contains("already holds rows"), "{why}");
    // Halfway through, an order that version 2 cannot hold.
    let late =
        "INSERT INTO shop.orders (user_id, total_amount, created_at) VALUES (1, 1, 'infinity')";
    client.batch(late).await.unwrap();
    init(&old.target(), None, |_| {}).await.unwrap_err();
    client
        .batch("DELETE FROM shop.orders WHERE created_at = 'infinity'")
        .await
        .unwrap();
    assert_eq!(ask(&client, KEPT).await, kept);
    assert_eq!(Survey::of(&client).await.unwrap().version, Some(1));

    let done = init(&old.target(), None, |_| {}).await.unwrap();
    assert!(done.was == Some(1) && done.filled.len() == 7, "{done:?}");
    assert!(done.to_string().contains("from version 1 to 3"), "{done}");
    assert_eq!(ask(&client, KEPT).await, kept);
    the_shop_works_on(&client).await;
    let target = "SELECT extract(epoch FROM freshness)::bigint FROM htap.view_def WHERE view = 'mart.fact_sales_mv'";
    assert_eq!(number(&client, target).await, 420);
    let mine = "DROP TABLE shop.mine";
    client.batch(mine).await.unwrap();
    assert_eq!(anatomy(&client).await, fresh);
    let again = catalogue(&client).await;
    let done = init(&old.target(), None, |_| {}).await.unwrap();
    assert!(done.was == Some(3) && done.created.is_empty());
    assert_eq!(again, catalogue(&client).await);
}

async fn the_shop_works_on(client: &Client) {
    for (what, sql, wanted) in [
        ("strays", "SELECT htap.strays()", 0),
        (
            "order numbers that do not say their time",
            "SELECT count(*) FROM shop.orders WHERE created_at <> shop.order_time(order_id)",
            0,
        ),
        (
            "lines",
            "SELECT count(*) FROM shop.order_items JOIN shop.orders USING (order_id, created_at)",
            18_000,
        ),
        (
            "paid orders without a payment",
            "SELECT count(*) FROM shop.orders LEFT JOIN shop.payments AS p USING (order_id, created_at)
             WHERE status IN (1, 2, 3) AND (p.amount IS DISTINCT FROM total_amount OR p.paid_at < created_at)",
            0,
        ),
        (
            "shipped orders without a shipment",
            "SELECT count(*) FROM shop.orders LEFT JOIN shop.shipments AS s USING (order_id, created_at)
             WHERE status IN (2, 3) AND s.order_id IS NULL",
            0,
        ),
        ("payments", "SELECT count(*) FROM shop.payments", 9_000),
        ("log rows", "SELECT count(*) FROM htap.order_log", 0),
        ("facts", "SELECT count(*) FROM mart.fact_sales", 14_400),
        (
            "leftovers",
            "SELECT count(*) FROM pg_namespace WHERE nspname = 'htap_upgrade'",
            0,
        ),
    ] {
        assert_eq!(number(client, sql).await, wanted, "{what}");
    }
    client
        .batch("SELECT shop.pay_order(shop.create_order(1, '{1,2}', '{1,1}'))")
        .await
        .unwrap();
    for view in ["mart.sales_hourly", "mart.fact_sales", "mart.segment_rfm"] {
        let differences = format!("SELECT count(*) FROM htap.verify('{view}')");
        assert_eq!(number(client, &differences).await, 0, "{view}");
    }
}
