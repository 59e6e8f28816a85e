//! Months: only the requested ones are read, missing ones are created, and they are detached and attached
//! with everything that belongs to them.

use super::init::{load, run};
use super::{ask, number, sqlstate};
use crate::it::server::{Database, Server, block_on};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::{Client, Param};
use htap_top::system::archive::{Archive, Format, archive};
use htap_top::system::init::init;
use htap_top::system::partitions::{self, Month, PartitionError, State};
use htap_top::system::refresh;
use std::path::Path;
use std::str::FromStr;

/// The month `back` months ago by the server's clock.
pub(super) async fn month(client: &Client, back: i64) -> Month {
    let sql = "SELECT to_char(now() AT TIME ZONE 'UTC' - make_interval(months => $1::integer), 'YYYY-MM') AS month";
    let table = client.query(sql, &[Param::Int(back)]).await.unwrap();
    Month::from_str(table.first("month").text().unwrap()).unwrap()
}

fn first_of(month: Month) -> String {
    format!("'{month}-01 00:00+00'::timestamptz")
}

/// Merges all logged changes and checks the summaries.
pub(super) async fn the_summaries_follow(client: &Client) {
    for view in ["sales_hourly", "fact_sales", "segment_rfm"] {
        let summary = refresh::View::new("mart", view);
        while refresh::merge(client, &summary, 1_000)
            .await
            .unwrap()
            .remaining
        {}
        let differences = format!("SELECT * FROM htap.verify('mart.{view}')");
        let found = ask(client, &differences).await;
        assert!(found.rows.is_empty(), "{view}: {found:?}");
    }
}

/// The partitions and their dependent objects, by name.
async fn anatomy(client: &Client) -> Vec<String> {
    let sql = "
        WITH piece AS (SELECT oid, relname FROM pg_class WHERE relnamespace = 'shop'::regnamespace AND relkind = 'r' AND relname ~ '_\\d{4}_\\d{2}$')
        SELECT relname || ' ' || coalesce(pg_get_expr(relpartbound, oid), '') AS line FROM pg_class JOIN piece USING (oid, relname)
        UNION ALL SELECT relname || ' ' || conname || pg_get_constraintdef(c.oid) || (conparentid <> 0) FROM pg_constraint AS c JOIN piece AS p ON p.oid = conrelid
        UNION ALL SELECT relname || ' ' || pg_get_indexdef(indexrelid) || EXISTS (SELECT FROM pg_inherits WHERE inhrelid = indexrelid)
                  FROM pg_index JOIN piece AS p ON p.oid = indrelid
        UNION ALL SELECT relname || ' ' || pg_get_triggerdef(t.oid) || tgenabled::text FROM pg_trigger AS t JOIN piece AS p ON p.oid = tgrelid WHERE NOT tgisinternal
        ORDER BY 1";
    let table = ask(client, sql).await;
    let lines = table.rows.iter();
    lines.map(|row| row[0].text().unwrap().to_owned()).collect()
}

#[test]
fn months_come_and_go_on_13() {
    block_on(come_and_go(13));
}

#[test]
fn months_come_and_go_on_15() {
    block_on(come_and_go(15));
}

#[test]
fn months_come_and_go_on_18() {
    block_on(come_and_go(18));
}

async fn come_and_go(major: u16) {
    let server = Server::of_major(major);
    let database = server.database("months").await;
    init(&database.target(), Some(load(3_000, 1)), |_| {})
        .await
        .unwrap();
    let client = partitions::connect(&database.target()).await.unwrap();
    a_query_reads_the_months_it_asks_for(&client).await;
    a_stray_moves_into_its_month(&client).await;
    a_month_leaves_and_comes_back(&client).await;
    what_is_not_over_stays(&client).await;
    the_scheduler_makes_what_is_missing(&database, &client).await;
}

/// Partitions of `table` that a statement scans, and how.
async fn scans(client: &Client, table: &str, sql: &str) -> Vec<String> {
    let plan = ask(client, &format!("EXPLAIN (COSTS OFF) {sql}")).await;
    let lines = plan.rows.iter().map(|row| row[0].text().unwrap());
    let scan = |line: &&str| line.contains("Scan") && line.contains(&format!(" on {table}_2"));
    let read: Vec<String> = lines
        .filter(scan)
        .map(|line| line.trim().to_owned())
        .collect();
    assert!(!read.is_empty(), "{plan:?}");
    read
}

async fn a_query_reads_the_months_it_asks_for(client: &Client) {
    let last = month(client, 1).await;
    let (from, until) = (first_of(last), first_of(last.following()));
    let table = format!("orders{}", last.suffix());
    let range = format!(
        "SELECT sum(total_amount) FROM shop.orders WHERE created_at >= {from} AND created_at < {until}"
    );
    let read = scans(client, "orders", &range).await;
    assert!(
        read.len() == 1 && read[0].contains(&format!(" on {table}")),
        "{read:?}"
    );
    let joined = format!(
        "SELECT count(*) FROM shop.orders AS o JOIN shop.order_items AS i ON i.order_id = o.order_id AND i.created_at = o.created_at
         WHERE o.created_at >= {from} AND o.created_at < {until} AND i.created_at >= {from} AND i.created_at < {until}"
    );
    for table in ["orders", "order_items"] {
        assert_eq!(scans(client, table, &joined).await.len(), 1);
    }
    let all = "SELECT count(total_amount) FROM shop.orders";
    let (all, listing) = (
        scans(client, "orders", all).await,
        partitions::list(client).await.unwrap(),
    );
    assert_eq!(all.len(), listing.months.len());

    let id = number(client, &format!("SELECT min(order_id) FROM shop.{table}")).await;
    let one = format!(
        "SELECT status FROM shop.orders WHERE order_id = {id} AND created_at = shop.order_time({id})"
    );
    let read = scans(client, "orders", &one).await;
    assert!(
        read.len() == 1 && read[0].contains(&format!("{table}_pkey")),
        "{read:?}"
    );
    // A statement planned once for all orders does not begin to scan the others, either.
    client
        .batch("SET plan_cache_mode = force_generic_plan; PREPARE one (bigint) AS SELECT status FROM shop.orders WHERE order_id = $1 AND created_at = shop.order_time($1)")
        .await
        .unwrap();
    let read = scans(client, "orders", &format!("EXECUTE one ({id})")).await;
    assert_eq!(read.len(), 1, "{read:?}");
    client.batch("RESET plan_cache_mode").await.unwrap();
}

/// Inserts a completed order of the given time, with all its rows.
async fn order_at(client: &Client, at: &str) {
    let sql = format!(
        "WITH one AS (
             SELECT ((extract(epoch FROM at) * 1000)::bigint - 1577836800000) << 22 | 7 AS id, at FROM (SELECT date_trunc('milliseconds', {at}) AS at) AS t
         ), ordered AS (
             INSERT INTO shop.orders (order_id, created_at, user_id, status, total_amount, completed_at)
             SELECT id, at, 1, 3, 10, at + interval '1 hour' FROM one RETURNING order_id
         ), lines AS (
             INSERT INTO shop.order_items SELECT id, at, 1, 1, 1, 10 FROM one
         ), paid AS (
             INSERT INTO shop.payments (order_id, created_at, amount) SELECT id, at, 10 FROM one
         )
         INSERT INTO shop.shipments (order_id, created_at) SELECT id, at FROM one"
    );
    client.batch(&sql).await.unwrap();
}

async fn a_stray_moves_into_its_month(client: &Client) {
    order_at(client, "'2021-03-05 12:00+00'::timestamptz").await;
    order_at(client, "'2021-03-31 23:59:59.999+00'::timestamptz").await;
    order_at(client, "'2021-05-01 00:00+00'::timestamptz").await;
    the_summaries_follow(client).await;
    let listing = partitions::list(client).await.unwrap();
    assert_eq!(listing.strays, 3);
    assert!(listing.warnings()[0].contains("3 orders fit no month"));
    let content =
        "SELECT string_agg(f::text, ',' ORDER BY order_id) AS content FROM mart.fact_sales AS f";
    let before = ask(client, content).await;
    let made = partitions::make(client, 3, || panic!("waits for a lock")).await;
    assert_eq!(made.unwrap(), 2);
    let listing = partitions::list(client).await.unwrap();
    assert!(listing.strays == 0 && listing.warnings().is_empty());
    let first: Vec<String> = listing.months[..2]
        .iter()
        .map(|m| m.month.to_string())
        .collect();
    assert_eq!(first, ["2021-03", "2021-05"]);
    for table in ["orders", "order_items", "payments", "shipments"] {
        let moved = format!("SELECT count(*) FROM shop.{table}_2021_03");
        assert_eq!(number(client, &moved).await, 2, "{table}");
    }
    the_summaries_follow(client).await;
    assert_eq!(before, ask(client, content).await);
    assert_eq!(
        sqlstate(client, "DELETE FROM shop.orders_2021_03").await,
        "23503",
        "lines refer to orders"
    );
    assert_eq!(partitions::make(client, 3, || {}).await.unwrap(), 0);
}

async fn state(client: &Client, month: Month) -> State {
    let listing = partitions::list(client).await.unwrap();
    let found = listing.months.into_iter().find(|m| m.month == month);
    found.unwrap().state
}

async fn a_month_leaves_and_comes_back(client: &Client) {
    let gone = month(client, 1).await;
    let everything = "SELECT md5(string_agg(o::text, ',' ORDER BY order_id)) || (SELECT md5(string_agg(i::text, ',' ORDER BY order_id, line_no)) FROM shop.order_items AS i)
                      || (SELECT md5(string_agg(f::text, ',' ORDER BY order_id, line_no)) FROM mart.fact_sales AS f) || (SELECT md5(string_agg(s::text, ',' ORDER BY hour)) FROM mart.sales_hourly AS s)
                      FROM shop.orders AS o";
    the_summaries_follow(client).await;
    let (before, pieces) = (ask(client, everything).await, anatomy(client).await);
    let there = a_month_leaves(client, gone).await;
    it_comes_back_with_what_came_late(client, gone, there).await;
    assert_eq!(before, ask(client, everything).await);
    assert_eq!(pieces, anatomy(client).await);
    let error = partitions::attach(client, gone, || {}).await.unwrap_err();
    assert!(error.to_string().contains("is not detached"), "{error}");
}

/// Detaches the month; returns its number of orders.
async fn a_month_leaves(client: &Client, gone: Month) -> i64 {
    let table = format!("shop.orders{}", gone.suffix());
    let all = number(client, "SELECT count(*) FROM shop.orders").await;
    let there = number(client, &format!("SELECT count(*) FROM {table}")).await;
    assert!(there > 100);
    let detach = format!(
        "SELECT htap.detach_month({} + interval '3 days')",
        first_of(gone)
    );
    client
        .batch("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .unwrap();
    assert_eq!(sqlstate(client, &detach).await, "25001");
    client.batch("ROLLBACK").await.unwrap();
    assert_eq!(number(client, &detach).await, there);
    assert_eq!(
        number(client, "SELECT count(*) FROM shop.orders").await,
        all - there
    );
    the_summaries_follow(client).await;
    let left = format!(
        "SELECT count(*) FROM mart.fact_sales WHERE order_id IN (SELECT order_id FROM {table})"
    );
    assert_eq!(number(client, &left).await, 0);
    assert_eq!(sqlstate(client, &detach).await, "55000", "twice");
    assert_eq!(state(client, gone).await, State::Detached);
    assert_eq!(
        number(
            client,
            "SELECT htap.make_months(now() - interval '1 month')::bigint"
        )
        .await,
        0
    );
    assert_eq!(
        sqlstate(client, &format!("DELETE FROM {table}")).await,
        "23503",
        "its lines still refer to it"
    );
    there
}

/// A late order of that month waits in the default partition.
async fn it_comes_back_with_what_came_late(client: &Client, gone: Month, there: i64) {
    order_at(
        client,
        &format!("{} + interval '1 hour 17 min 0.123 s'", first_of(gone)),
    )
    .await;
    the_summaries_follow(client).await;
    assert_eq!(number(client, "SELECT htap.strays()").await, 1);
    let attached = partitions::attach(client, gone, || {}).await.unwrap();
    assert_eq!(attached, there + 1);
    assert_eq!(number(client, "SELECT htap.strays()").await, 0);
    assert_eq!(state(client, gone).await, State::Attached);
    the_summaries_follow(client).await;
    let late = format!(
        "SELECT min(order_id) FROM shop.orders WHERE user_id = 1 AND created_at = {} + interval '1 hour 17 min 0.123 s'",
        first_of(gone)
    );
    let late = number(client, &late).await;
    client
        .batch(&format!("DELETE FROM shop.shipments WHERE order_id = {late}; DELETE FROM shop.payments WHERE order_id = {late};
                         DELETE FROM shop.order_items WHERE order_id = {late}; DELETE FROM shop.orders WHERE order_id = {late}"))
        .await
        .unwrap();
    the_summaries_follow(client).await;
}

async fn what_is_not_over_stays(client: &Client) {
    for offset in ["0", "1"] {
        let detach = format!("SELECT htap.detach_month(now() + interval '{offset} months')");
        assert_eq!(sqlstate(client, &detach).await, "55000");
    }
    let running = month(client, 0).await;
    let wanted = |before| Archive {
        before,
        to: None,
        format: Format::Csv,
        drop: false,
    };
    let refused = archive(client, &wanted(running.following()), |_| {}).await;
    assert!(matches!(refused, Err(PartitionError::Refused(why)) if why.contains("is not over")));
    assert_eq!(
        sqlstate(client, "SELECT htap.detach_month('1999-01-01')").await,
        "55000",
        "there is none"
    );
    assert_eq!(
        sqlstate(client, "SELECT htap.drop_month('2021-05-01')").await,
        "55000",
        "it is attached"
    );
}

async fn the_scheduler_makes_what_is_missing(database: &Database<'_>, client: &Client) {
    let refresher = database.connect_as("htap_refresh").await;
    assert_eq!(
        number(&refresher, "SELECT htap.maintain()::bigint").await,
        0
    );
    let coming = ask(
        client,
        "SELECT suffix FROM htap.month_of(now() + interval '3 months')",
    )
    .await;
    let suffix = coming.first("suffix").text().unwrap();
    client
        .batch(&format!(
            "DROP TABLE shop.shipments{suffix}, shop.payments{suffix}, shop.order_items{suffix}, shop.orders{suffix}"
        ))
        .await
        .unwrap();
    let listing = partitions::list(client).await.unwrap();
    assert!(
        listing.warnings()[0].starts_with("no partitions for "),
        "{listing:?}"
    );
    assert_eq!(
        number(&refresher, "SELECT htap.maintain()::bigint").await,
        1
    );
    assert!(
        partitions::list(client)
            .await
            .unwrap()
            .warnings()
            .is_empty()
    );
    let shopper = database.connect_as("htap_oltp").await;
    assert_eq!(sqlstate(&shopper, "SELECT htap.maintain()").await, "42501");
}

#[test]
fn locks_of_others_are_waited_for_not_queued_behind() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("locked").await;
        init(&database.target(), Some(load(2_000, 1)), |_| {})
            .await
            .unwrap();
        let client = partitions::connect(&database.target()).await.unwrap();
        let gone = month(&client, 1).await;
        let buyer = database.connect_as("htap_oltp").await;
        buyer
            .batch("SET idle_in_transaction_session_timeout = 0; BEGIN; UPDATE shop.inventory SET quantity = 1000; SELECT shop.create_order(1, '{1}', '{1}')")
            .await
            .unwrap();
        let mut buyer = Some(buyer);
        let mut pauses = 0;
        let wanted = Archive {
            before: gone.following(),
            to: None,
            format: Format::Csv,
            drop: false,
        };
        let archived = archive(&client, &wanted, |what| {
            if what.starts_with("waiting") {
                pauses += 1;
                // Its session ends, and so does its transaction.
                buyer = None;
            }
        });
        let archived = archived.await.unwrap();
        assert!(pauses >= 1 && archived.iter().all(|month| month.detached.is_some()));
        the_summaries_follow(&client).await;
    });
}

/// A report locks the shop's tables while a month is to be detached and attached: orders continue meanwhile.
#[test]
fn who_waits_to_take_a_month_out_holds_up_no_order() {
    let server = Server::alone();
    block_on(async {
        let database = server.database("queue").await;
        init(&database.target(), Some(load(2_000, 1)), |_| {})
            .await
            .unwrap();
        let client = partitions::connect(&database.target()).await.unwrap();
        let gone = month(&client, 1).await;
        client
            .batch("UPDATE shop.inventory SET quantity = 1000000 WHERE product_id = 1")
            .await
            .unwrap();
        let shopper = database.connect_as("htap_oltp").await;
        let report = database.connect_as("htap_olap").await;
        let wanted = Archive {
            before: gone.following(),
            to: None,
            format: Format::Csv,
            drop: false,
        };
        for leaves in [true, false] {
            report
                .batch("BEGIN; SELECT count(*) FROM shop.orders, shop.users")
                .await
                .unwrap();
            let waits = std::cell::Cell::new(0);
            let change = async {
                if leaves {
                    let waiting = |what: &str| {
                        waits.set(waits.get() + i32::from(what.starts_with("waiting")));
                    };
                    archive(&client, &wanted, waiting).await.unwrap();
                } else {
                    let waiting = || waits.set(waits.get() + 1);
                    partitions::attach(&client, gone, waiting).await.unwrap();
                }
            };
            let orders = async {
                while waits.get() == 0 {
                    for order in [
                        "SELECT shop.create_order(1, '{1}', '{1}')",
                        "UPDATE shop.orders SET updated_at = now() WHERE status = 0 AND user_id = -1",
                    ] {
                        if let Err(error) = shopper.query(order, &[]).await {
                            panic!("{order}: {error}");
                        }
                    }
                }
                report.batch("COMMIT").await.unwrap();
            };
            tokio::join!(change, orders);
        }
        the_summaries_follow(&client).await;
    });
}

#[test]
fn the_command_lists_makes_archives_and_attaches() {
    let server = Server::alone();
    let folder = tempfile::tempdir().unwrap();
    let (database, running, gone) = block_on(async {
        let database = server.database("command").await;
        let client = database.connect().await;
        client.batch("CREATE ROLE plain LOGIN").await.unwrap();
        (database, month(&client, 0).await, month(&client, 1).await)
    });
    let conninfo = database.conninfo(SUPERUSER);
    let (code, _, stderr) = run(&["partitions", &conninfo]);
    assert!(
        code == 1 && stderr.contains("htap-top init installs it"),
        "{stderr}"
    );
    assert_eq!(
        run(&["init", &conninfo, "--scale", "0.02", "--days", "70"]).0,
        0
    );
    let (code, stdout, stderr) = run(&["partitions", &conninfo]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(
        stdout.contains(&format!("{running}  attached"))
            && stdout.contains("default  attached         0"),
        "{stdout}"
    );
    let (_, stdout, _) = run(&["partitions", &conninfo, "--format", "json"]);
    let months = json(&stdout)["months"].as_array().unwrap().clone();
    assert!(months.len() >= 6 && months.iter().all(|month| month["state"] == "attached"));
    assert!(
        months
            .iter()
            .map(|month| month["orders"].as_i64().unwrap())
            .sum::<i64>()
            > 1_500
    );
    let (code, stdout, _) = run(&["partitions", "make", "--ahead", "5", &conninfo]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "created the partitions of 2 months\n")
    );
    archived_and_attached_by_command(&conninfo, folder.path(), running, gone);
    assert_eq!(
        run(&["partitions", "make", &database.conninfo("plain")]).0,
        4
    );
    assert_eq!(run(&["partitions", "host=/nowhere"]).0, 3);
    assert_eq!(run(&["partitions", "attach", "May", &conninfo]).0, 2);
}

fn json(stdout: &str) -> serde_json::Value {
    serde_json::from_str(stdout).unwrap()
}

fn archived_and_attached_by_command(conninfo: &str, folder: &Path, running: Month, gone: Month) {
    let to = folder.to_str().unwrap();
    let before = running.to_string();
    let (code, stdout, stderr) = run(&[
        "partitions",
        "archive",
        conninfo,
        "--before",
        &before,
        "--to",
        to,
        "--format",
        "parquet",
    ]);
    assert_eq!(code, 0, "{stderr}");
    assert!(
        stdout.contains(&format!("{gone}: detached ")) && stdout.contains("rows are in 4 files"),
        "{stdout}"
    );
    let (_, stdout, _) = run(&["partitions", "-d", conninfo, "--format", "json"]);
    assert!(
        json(&stdout)["months"]
            .as_array()
            .unwrap()
            .iter()
            .any(|month| month["state"] == "detached")
    );
    let (code, stdout, stderr) = run(&["partitions", "attach", &gone.to_string(), conninfo]);
    assert!(
        code == 0 && stdout.starts_with(&format!("attached {gone} with ")),
        "{stdout}{stderr}"
    );
    let late = running.following().to_string();
    let (code, _, stderr) = run(&["partitions", "archive", conninfo, "--before", &late]);
    assert!(code == 1 && stderr.contains("is not over"), "{stderr}");
}
