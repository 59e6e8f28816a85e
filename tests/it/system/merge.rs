//! Merges in steps: whatever is open, commits late or is rolled back, and however small the steps are, a
//! summary equals after each step its recomputation from the shop as its watermark saw it.
//!
//! The earlier state of the shop comes from a history kept here of each row of each table, with the
//! transaction that wrote it, independent of the logs under test.

mod steps;

use super::refresh::{differences, shipped, view};
use super::{ask, number, order_a_month_earlier, shop, sqlstate};
use crate::it::server::{Database, Server, block_on, pid, until};
use htap_top::pg::{Client, Param};
use htap_top::system::definition::SUMMARIES;
use htap_top::system::refresh::{self, BUSY, Kind, MUST_REBUILD, Mode};
use htap_top::system::schema;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::fmt::Write as _;
use std::ops::Range;

/// The tables from which summaries are computed.
const KEPT: [&str; 5] = ["orders", "order_items", "users", "products", "categories"];

/// Keeps the history of [`KEPT`] from now on, and creates `past.<table>_query` for each table of a summary:
/// its expected contents as of the snapshot in the setting `past.at`.
async fn keep_history(client: &Client) {
    let mut sql = "CREATE SCHEMA past; GRANT USAGE ON SCHEMA past TO PUBLIC;".to_owned();
    for table in KEPT {
        let _ = write!(
            sql,
            "CREATE TABLE past.{table}_row (xid xid8 NOT NULL DEFAULT pg_current_xact_id(), sign int NOT NULL, line jsonb NOT NULL);
             INSERT INTO past.{table}_row SELECT '3', 1, to_jsonb(t) FROM shop.{table} AS t;
             CREATE FUNCTION past.{table}_keep() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
                 IF TG_OP <> 'INSERT' THEN INSERT INTO past.{table}_row (sign, line) VALUES (-1, to_jsonb(OLD)); END IF;
                 IF TG_OP <> 'DELETE' THEN INSERT INTO past.{table}_row (sign, line) VALUES (1, to_jsonb(NEW)); END IF;
                 RETURN NULL; END $$;
             CREATE TRIGGER keep AFTER INSERT OR UPDATE OR DELETE ON shop.{table} FOR EACH ROW EXECUTE FUNCTION past.{table}_keep();
             CREATE VIEW past.{table} AS
                 SELECT (jsonb_populate_record(NULL::shop.{table}, s.line)).* FROM (
                     SELECT line FROM past.{table}_row WHERE pg_visible_in_snapshot(xid, current_setting('past.at')::pg_snapshot)
                     GROUP BY line HAVING sum(sign) > 0) AS s;"
        );
    }
    client.batch(&sql).await.unwrap();
    // In the order of their dependencies.
    for table in [
        "sales_hourly_user",
        "sales_hourly",
        "realtime_merge",
        "fact_sales",
        "category_hourly",
        "daily_sales",
        "user_day",
        "user_rfm",
        "segment_rfm",
    ] {
        let sql = format!("SELECT pg_get_viewdef('mart.{table}_query'::regclass) AS body");
        let body = ask(client, &sql).await;
        let body = body.first("body").text().unwrap();
        let body = body
            .replace("shop.", "past.")
            .replace("past.order_time", "shop.order_time");
        let body = SUMMARIES_OF.iter().fold(body, |body, name| {
            body.replace(&format!("mart.{name}_query"), &format!("past.{name}_query"))
        });
        let sql = format!("CREATE VIEW past.{table}_query AS {body}");
        client.batch(&sql).await.unwrap();
    }
}

/// The tables whose recomputation another one reads.
const SUMMARIES_OF: [&str; 3] = ["fact_sales", "user_day", "user_rfm"];

/// The rows of a summary that differ from its expected contents as of its watermark.
async fn differences_from_past(client: &Client, summary: &str) -> Vec<String> {
    client
        .batch("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .unwrap();
    let at = format!(
        "SELECT set_config('past.at', snapshot::text, true) FROM htap.watermark WHERE view = '{summary}'"
    );
    ask(client, &at).await;
    let tables =
        format!("SELECT unnest(tables) AS name FROM htap.view_def WHERE view = '{summary}'");
    let tables = ask(client, &tables).await;
    let mut found = Vec::new();
    for row in &tables.rows {
        let table = row[0].text().unwrap();
        let short = table.split_once('.').unwrap().1;
        let columns = format!(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) AS list FROM pg_attribute
             WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped"
        );
        let columns = ask(client, &columns).await;
        let columns = columns.first("list").text().unwrap();
        let (held, right) = (
            format!("SELECT {columns} FROM {table}"),
            format!("SELECT {columns} FROM past.{short}_query"),
        );
        let sql = format!(
            "SELECT 'extra ' || e::text AS line FROM ({held} EXCEPT ALL {right}) AS e
             UNION ALL SELECT 'missing ' || m::text FROM ({right} EXCEPT ALL {held}) AS m"
        );
        let rows = ask(client, &sql).await.rows;
        let lines = rows.iter().map(|row| row[0].text().unwrap());
        found.extend(lines.map(|line| format!("{table}: {line}")));
    }
    client.batch("COMMIT").await.unwrap();
    found
}

/// A session of the shop, one of several that may each have a transaction open.
struct Shopper {
    client: Client,
    open: bool,
}

/// The events so far, for error messages, and the orders to choose from.
struct Life {
    rng: Xoshiro256PlusPlus,
    orders: Vec<i64>,
    diary: Vec<String>,
    steps: usize,
    merged: i64,
}

impl Life {
    fn one_of(&mut self, below: usize) -> usize {
        self.rng.random_range(0..below)
    }

    /// Returns a statement that changes something; it may be refused.
    fn deed(&mut self) -> String {
        let pick = self.one_of(self.orders.len().max(1));
        let order = self.orders.get(pick).copied().unwrap_or_default();
        let (user, product) = (1 + self.one_of(6), 1 + self.one_of(5));
        let second = 1 + (product + self.one_of(3)) % 5;
        match self.one_of(24) {
            0..4 => format!("SELECT shop.create_order({user}, ARRAY[{product}, {second}], ARRAY[1, 2]) AS id"),
            4 => format!(
                "SELECT order_id AS id FROM shop.create_orders(ARRAY[{user}, 1], ARRAY[1, 2, 2], ARRAY[{product}, 1, 2], ARRAY[1, 1, 1]) LIMIT 1"
            ),
            // An importer, whose clock is ahead, inserts a completed order.
            5 => format!(
                "WITH o AS (INSERT INTO shop.orders (order_id, created_at, user_id, status, total_amount, completed_at)
                     SELECT n, shop.order_time(n), {user}, 3, 50, shop.order_time(n) FROM (SELECT shop.new_order_id() + (30000::bigint << 22)) AS i (n)
                     RETURNING order_id, created_at)
                 INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
                 SELECT order_id, created_at, 1, {product}, 1, 50 FROM o RETURNING order_id AS id"
            ),
            6..13 => format!(
                "DO $$ BEGIN FOR i IN 1 .. {} LOOP CASE (SELECT status FROM shop.orders WHERE order_id = {order})
                     WHEN 0 THEN PERFORM shop.pay_order({order}); WHEN 1 THEN PERFORM shop.ship_order({order});
                     WHEN 2 THEN PERFORM shop.complete_order({order}); ELSE NULL; END CASE; END LOOP; END $$",
                1 + self.one_of(3)
            ),
            13 => format!("SELECT shop.cancel_order({order})"),
            14 => format!("UPDATE shop.orders SET total_amount = total_amount + 100 WHERE order_id = {order}"),
            15 => format!(
                "UPDATE shop.orders SET completed_at = completed_at + interval '1 hour', user_id = {user} WHERE order_id = {order} AND status = 3"
            ),
            // Regardless of the order's status: it may be another session's, and not completed yet.
            16 | 17 => format!(
                "INSERT INTO shop.order_items SELECT order_id, created_at, {}, {product}, 1, 3 FROM (VALUES ({order}::bigint, shop.order_time({order}))) AS o (order_id, created_at)",
                3 + self.one_of(20)
            ),
            18 => format!("UPDATE shop.order_items SET quantity = quantity + 1 WHERE order_id = {order}"),
            19 => format!("DELETE FROM shop.order_items WHERE order_id = {order} AND line_no > 1"),
            20 => format!(
                "WITH s AS (DELETE FROM shop.shipments WHERE order_id = {order}), p AS (DELETE FROM shop.payments WHERE order_id = {order})
                 DELETE FROM shop.order_items WHERE order_id = {order}; DELETE FROM shop.orders WHERE order_id = {order}"
            ),
            21 => format!(
                "UPDATE shop.users SET user_segment = CASE user_segment WHEN 'VIP' THEN 'Normal' ELSE 'VIP' END WHERE user_id = {user}"
            ),
            22 => format!(
                "UPDATE shop.products SET category_id = 1 + category_id % 3 WHERE product_id = {product}"
            ),
            _ => "UPDATE shop.orders SET total_amount = total_amount + 0.01 WHERE status = 3".to_owned(),
        }
    }

    /// Carries out one action of a session.
    async fn act(&mut self, shopper: &mut Shopper, name: usize) {
        let sql = if !shopper.open && self.one_of(3) > 0 {
            shopper.open = true;
            match self.one_of(4) {
                0 => "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shop.users"
                    .to_owned(),
                // A low transaction id, long before any change.
                1 => "BEGIN; SELECT pg_current_xact_id()".to_owned(),
                _ => "BEGIN".to_owned(),
            }
        } else if shopper.open && self.one_of(5) == 0 {
            shopper.open = false;
            (if self.one_of(4) == 0 {
                "ROLLBACK"
            } else {
                "COMMIT"
            })
            .to_owned()
        } else {
            let deed = self.deed();
            match self.one_of(4) {
                0 if shopper.open => format!("SAVEPOINT s; {deed}; ROLLBACK TO s"),
                1 if shopper.open => format!("SAVEPOINT s; {deed}; RELEASE s"),
                _ => deed,
            }
        };
        self.diary.push(format!("{name}: {sql}"));
        let outcome = if sql.starts_with("SELECT shop.create") || sql.starts_with("WITH o") {
            shopper.client.query(&sql, &[]).await.map(|made| {
                let id = made.first("id").int();
                self.orders.extend(id);
            })
        } else {
            shopper.client.batch(&sql).await
        };
        if let Err(error) = outcome {
            self.diary.push(format!("{name}: {}", error.code()));
            shopper.client.batch("ROLLBACK").await.unwrap();
            shopper.open = false;
        }
    }

    /// Merges in one step of some size, which may be rolled back.
    async fn merge(&mut self, database: &Database<'_>, merger: &mut Client, admin: &Client) {
        let summary = SUMMARIES[self.one_of(3)];
        let step = [1, 1, 2, 3, 5, 10, 50, 1_000, 20_000][self.one_of(9)];
        let undone = self.one_of(6);
        self.diary.push(format!("merge {summary} {step} {undone}"));
        if undone < 2 {
            merger
                .batch("BEGIN ISOLATION LEVEL REPEATABLE READ")
                .await
                .unwrap();
            let sql = format!("SELECT htap.merge('{summary}', {step})");
            let _ = merger.batch(&sql).await;
            if undone == 0 {
                merger.batch("ROLLBACK").await.unwrap();
            } else {
                let backend = pid(merger).await;
                let kill = format!("SELECT pg_terminate_backend({backend})");
                ask(admin, &kill).await;
                let gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
                until(admin, "is gone", gone, &[Param::Int(backend)], |table| {
                    table.rows[0][0].int() == Some(0)
                })
                .await;
                *merger = refresh::connect(&database.target()).await.unwrap();
            }
        } else {
            match refresh::merge(merger, &view(summary), step).await {
                Ok(done) => self.merged += done.changes.cast_signed(),
                Err(error) => panic!("{summary}: {error}\n{}", self.diary.join("\n")),
            }
        }
        self.steps += 1;
        let wrong = differences_from_past(admin, summary).await;
        assert!(
            wrong.is_empty(),
            "{summary} after a step of {step}: {wrong:#?}\n{}",
            self.diary.join("\n")
        );
        if self.one_of(4) == 0 {
            self.diary.push("trim".into());
            merger.batch("SELECT htap.trim_log()").await.unwrap();
        }
    }
}

/// A shop with few customers and products, so that transactions conflict often.
async fn small_shop(database: &Database<'_>) -> Client {
    let admin = database.connect().await;
    schema::create(&admin).await.unwrap();
    admin
        .batch(
            "INSERT INTO shop.users (user_name) SELECT 'u' || i FROM generate_series(1, 6) AS i;
             INSERT INTO shop.categories (category_name) VALUES ('a'), ('b'), ('c');
             INSERT INTO shop.products (category_id, product_name, price) SELECT 1 + i % 3, 'p' || i, i FROM generate_series(1, 5) AS i;
             INSERT INTO shop.inventory (product_id, quantity) SELECT product_id, 1000000 FROM shop.products",
        )
        .await
        .unwrap();
    schema::fill_all(&admin, |_, _| {}).await.unwrap();
    keep_history(&admin).await;
    admin
}

#[expect(clippy::print_stdout, reason = "how many were tried")]
async fn interleavings(database: &Database<'_>, seeds: Range<u64>) {
    let admin = small_shop(database).await;
    let mut merger = refresh::connect(&database.target()).await.unwrap();
    let (mut steps, mut changes) = (0, 0);
    for seed in seeds.clone() {
        let mut life = Life {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            orders: Vec::new(),
            diary: vec![format!("seed {seed}")],
            steps: 0,
            merged: 0,
        };
        let recent = "SELECT order_id FROM shop.orders ORDER BY order_id DESC LIMIT 20";
        let recent = ask(&admin, recent).await;
        life.orders
            .extend(recent.rows.iter().filter_map(|row| row[0].int()));
        let mut shoppers = Vec::new();
        for _ in 0..5 {
            let client = database.connect().await;
            // A wait for another session of this test would never end.
            client.batch("SET lock_timeout = '20ms'").await.unwrap();
            shoppers.push(Shopper {
                client,
                open: false,
            });
        }
        for _ in 0..80 {
            let at = life.one_of(shoppers.len() + 1);
            match shoppers.get_mut(at) {
                Some(shopper) => life.act(shopper, at).await,
                None => life.merge(database, &mut merger, &admin).await,
            }
        }
        for (shopper, name) in shoppers.iter_mut().zip(0..) {
            if shopper.open {
                life.diary.push(format!("{name}: COMMIT"));
                if shopper.client.batch("COMMIT").await.is_err() {
                    shopper.client.batch("ROLLBACK").await.unwrap();
                }
            }
        }
        let wrong = differences(&merger).await;
        assert_eq!(wrong, [], "{}", life.diary.join("\n"));
        steps += life.steps;
        changes += life.merged;
    }
    println!(
        "{} interleavings (seeds {seeds:?}): {steps} merges in steps, {changes} changes",
        seeds.end - seeds.start
    );
    assert!(changes > 0);
}

/// The seeds of the interleavings to try; the environment may set others, such as 1000..2000.
fn seeds(usual: Range<u64>) -> Range<u64> {
    let Ok(wanted) = std::env::var("HTAP_TOP_INTERLEAVINGS") else {
        return usual;
    };
    let (from, to) = wanted.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

fn try_on(major: u16, usual: Range<u64>) {
    let server = Server::of_major(major);
    let seeds = seeds(usual);
    for from in seeds.clone().step_by(10) {
        block_on(async {
            let database = server.database("steps").await;
            interleavings(&database, from..seeds.end.min(from + 10)).await;
        });
    }
}

#[test]
fn after_every_step_a_summary_is_what_its_watermark_saw() {
    try_on(15, 0..20);
}

#[test]
fn after_every_step_a_summary_is_what_its_watermark_saw_on_13() {
    try_on(13, 100..110);
}

async fn merge_all(merger: &Client) {
    for summary in SUMMARIES {
        let summary = view(summary);
        refresh::refresh(merger, &summary, Kind::Incremental, Mode::Incremental)
            .await
            .unwrap();
    }
}

/// Creates an order and completes it.
async fn completed(client: &Client) -> i64 {
    let order = shipped(client).await;
    let sql = format!("SELECT shop.complete_order({order})");
    client.batch(&sql).await.unwrap();
    order
}

/// Merges in steps of this many rows until nothing remains.
async fn merge_in_steps(merger: &Client, step: i64) {
    for summary in SUMMARIES {
        let summary = view(summary);
        while refresh::merge(merger, &summary, step)
            .await
            .unwrap()
            .remaining
        {}
    }
}

#[test]
fn a_large_transaction_that_commits_late_is_counted_once() {
    block_on(async {
        let database = shop().await;
        let (admin, slow) = (database.connect().await, database.connect().await);
        let merger = refresh::connect(&database.target()).await.unwrap();
        slow.batch(
            "BEGIN; UPDATE shop.orders SET total_amount = total_amount + 0.01 WHERE status = 3",
        )
        .await
        .unwrap();
        let rows = 2 * number(&admin, "SELECT count(*) FROM shop.orders WHERE status = 3").await;
        completed(&admin).await;
        merge_all(&merger).await;
        slow.batch("COMMIT").await.unwrap();
        completed(&admin).await;
        merge_in_steps(&merger, rows - 100).await;
        assert_eq!(differences(&merger).await, []);
        let counted = "SELECT (SELECT sum(order_count) FROM mart.sales_hourly)::bigint
                            - (SELECT count(*) FROM shop.orders WHERE status = 3)";
        assert_eq!(number(&admin, counted).await, 0);
    });
}

#[test]
fn a_correction_with_a_lower_number_is_not_applied_before_its_original() {
    block_on(async {
        let database = shop().await;
        let (admin, corrector) = (database.connect().await, database.connect().await);
        let merger = refresh::connect(&database.target()).await.unwrap();
        let order = shipped(&admin).await;
        let hour = format!(
            "SELECT (total_sales * 100)::bigint FROM mart.sales_hourly WHERE hour = (
                 SELECT date_trunc('hour', completed_at, 'UTC') FROM shop.orders WHERE order_id = {order})"
        );
        merge_all(&merger).await;
        corrector
            .batch("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
        admin
            .batch(&format!("SELECT shop.complete_order({order})"))
            .await
            .unwrap();
        corrector
            .batch(&format!(
                "UPDATE shop.orders SET total_amount = total_amount + 100 WHERE order_id = {order}; COMMIT"
            ))
            .await
            .unwrap();
        merge_in_steps(&merger, 1).await;
        let right = format!(
            "SELECT (sum(total_amount) * 100)::bigint FROM shop.orders WHERE status = 3
             AND date_trunc('hour', completed_at, 'UTC') = (
                 SELECT date_trunc('hour', completed_at, 'UTC') FROM shop.orders WHERE order_id = {order})"
        );
        assert_eq!(number(&admin, &hour).await, number(&admin, &right).await);
        assert_eq!(differences(&merger).await, []);
    });
}

/// Inserts a line into an order, of a product that it lacks.
fn line(order: i64) -> String {
    format!(
        "INSERT INTO shop.order_items SELECT order_id, created_at, 2, 2, 3, 7
         FROM (VALUES ({order}::bigint, shop.order_time({order}))) AS o (order_id, created_at)"
    )
}

#[test]
fn a_line_is_logged_unless_its_own_transaction_wrote_the_order() {
    block_on(async {
        let database = shop().await;
        let (admin, other) = (database.connect().await, database.connect().await);
        let merger = refresh::connect(&database.target()).await.unwrap();
        merge_all(&merger).await;
        // Begun before the order existed.
        other.batch("BEGIN; SELECT now()").await.unwrap();
        let order = completed(&admin).await;
        merge_all(&merger).await;
        let late = format!("{}; COMMIT", line(order));
        other.batch(&late).await.unwrap();
        assert_eq!(differences(&merger).await, []);
        // With an earlier snapshot PostgreSQL refuses the line, because the order does not exist for it.
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shop.users";
        other.batch(begin).await.unwrap();
        let order = completed(&admin).await;
        assert_eq!(sqlstate(&other, &line(order)).await, "23503");
        other.batch("ROLLBACK").await.unwrap();
        // Another session completes it while the line is uncommitted; likewise with a changed or deleted
        // line.
        for change in [
            "INSERT",
            "UPDATE shop.order_items SET quantity = 9",
            "DELETE FROM shop.order_items",
        ] {
            let order = shipped(&admin).await;
            let sql = match change {
                "INSERT" => line(order),
                change => format!("{change} WHERE order_id = {order}"),
            };
            other.batch(&format!("BEGIN; {sql}")).await.unwrap();
            admin
                .batch(&format!("SELECT shop.complete_order({order})"))
                .await
                .unwrap();
            merge_all(&merger).await;
            other.batch("COMMIT").await.unwrap();
            assert_eq!(differences(&merger).await, [], "{change}");
        }
        // An importer whose clock is half a minute ahead.
        let ahead = number(
            &admin,
            "WITH o AS (INSERT INTO shop.orders (order_id, created_at, user_id, status, total_amount, completed_at)
                 SELECT n, shop.order_time(n), 1, 3, 50, shop.order_time(n) FROM (SELECT shop.new_order_id() + (30000::bigint << 22)) AS i (n)
                 RETURNING order_id) SELECT order_id FROM o",
        )
        .await;
        merge_all(&merger).await;
        admin.batch(&line(ahead)).await.unwrap();
        assert_eq!(differences(&merger).await, []);
        // Lines inserted together with their order add no row to the log, however they arrive.
        merger.batch("SELECT htap.trim_log()").await.unwrap();
        admin
            .batch(
                "SELECT shop.create_order(1, ARRAY[1, 2], ARRAY[1, 1]);
                 SELECT shop.create_orders(ARRAY[1, 2], ARRAY[1, 1, 2], ARRAY[1, 2, 3], ARRAY[1, 1, 1]);
                 BEGIN; SAVEPOINT a; SELECT shop.create_order(2, ARRAY[1, 2], ARRAY[1, 1]); COMMIT",
            )
            .await
            .unwrap();
        let logged = "SELECT count(*) FROM htap.dirty_log";
        assert_eq!(number(&admin, logged).await, 0);
    });
}

#[test]
fn the_shops_functions_do_not_ask_whose_a_line_is_and_whoever_else_writes_one_does() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        admin
            .batch(
                "CREATE OR REPLACE FUNCTION htap.log_line() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE 'asked' USING ERRCODE = 'HT999'; END $$",
            )
            .await
            .unwrap();
        let customer = database.connect_as("htap_oltp").await;
        customer
            .batch(
                "SELECT shop.create_order(1, ARRAY[1, 2], ARRAY[1, 1]);
                 SELECT shop.create_orders(ARRAY[1, 2], ARRAY[1, 1, 2], ARRAY[1, 2, 3], ARRAY[1, 1, 1])",
            )
            .await
            .unwrap();
        let by_hand = "INSERT INTO shop.order_items (order_id, created_at, line_no, product_id, quantity, price)
                       SELECT order_id, created_at, 99, 1, 1, 1 FROM shop.orders ORDER BY order_id DESC LIMIT 1";
        for client in [&customer, &admin] {
            assert_eq!(sqlstate(client, by_hand).await, "HT999");
        }
    });
}

#[test]
fn what_is_no_merge_of_what_was_is_refused() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let merger = refresh::connect(&database.target()).await.unwrap();
        merge_all(&merger).await;
        let merge = "SELECT htap.merge('mart.sales_hourly')";
        let state = sqlstate(&admin, merge).await;
        assert_eq!(state, "25001", "READ COMMITTED reads what is newer");
        admin
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; UPDATE shop.orders SET total_amount = 1 WHERE order_id = (SELECT min(order_id) FROM shop.orders WHERE status = 3)")
            .await
            .unwrap();
        assert_eq!(sqlstate(&admin, merge).await, "25001", "its own changes");
        admin.batch("ROLLBACK").await.unwrap();
        // Another session has merged since the snapshot was taken.
        admin
            .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM shop.users")
            .await
            .unwrap();
        merge_all(&merger).await;
        assert_eq!(sqlstate(&admin, merge).await, BUSY);
        admin.batch("ROLLBACK").await.unwrap();
        // A watermark that sees a future transaction, and one that sees a running one.
        let running = database.connect().await;
        running
            .batch("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
        for beyond in [1_000_000, 0] {
            merge_all(&merger).await;
            let sql = format!(
                "UPDATE htap.watermark SET snapshot = format('%1$s:%1$s:', pg_snapshot_xmax(snapshot)::text::bigint + {beyond})::pg_snapshot
                 WHERE view = 'mart.sales_hourly'"
            );
            admin.batch(&sql).await.unwrap();
            let refused = refresh::merge(&merger, &view("mart.sales_hourly"), 10).await;
            assert_eq!(refused.unwrap_err().code(), MUST_REBUILD, "{beyond}");
        }
        running.batch("COMMIT").await.unwrap();
        merge_all(&merger).await;
        // Amounts that were never added cannot be subtracted: the summary is marked and filled again.
        admin
            .batch("UPDATE mart.sales_hourly SET order_count = 0, total_sales = 0;
                    UPDATE shop.orders SET completed_at = completed_at + interval '1 hour' WHERE status = 3")
            .await
            .unwrap();
        let refused = refresh::merge(&merger, &view("mart.sales_hourly"), 100_000).await;
        assert_eq!(refused.unwrap_err().code(), MUST_REBUILD);
        merge_all(&merger).await;
        assert_eq!(differences(&merger).await, []);
    });
}

#[test]
fn what_an_earlier_version_merged_is_filled_anew() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        // The state before steps went from snapshot to snapshot.
        admin
            .batch(
                "ALTER TABLE htap.order_log DROP COLUMN seen;
                 DROP TRIGGER capture_insert ON shop.order_items;
                 CREATE TRIGGER capture_insert AFTER INSERT ON shop.order_items FOR EACH ROW
                     WHEN (NEW.created_at <= now() - interval '1 millisecond') EXECUTE FUNCTION htap.log_line();
                 UPDATE mart.sales_hourly SET order_count = order_count + 1",
            )
            .await
            .unwrap();
        schema::create(&admin).await.unwrap();
        let unfilled = "SELECT count(*) FROM htap.watermark WHERE snapshot IS NULL";
        assert_eq!(number(&admin, unfilled).await, 3);
        let timed = "SELECT count(*) FROM pg_trigger WHERE tgname = 'capture_insert' AND pg_get_triggerdef(oid) LIKE '%now()%'
                     AND tgrelid IN (SELECT 'shop.order_items'::regclass UNION SELECT inhrelid FROM pg_inherits WHERE inhparent = 'shop.order_items'::regclass)";
        assert_eq!(number(&admin, timed).await, 0);
        let merger = refresh::connect(&database.target()).await.unwrap();
        merge_all(&merger).await;
        assert_eq!(differences(&merger).await, []);
        schema::create(&admin).await.unwrap();
        assert_eq!(number(&admin, unfilled).await, 0, "once");
    });
}

#[test]
fn a_month_that_comes_or_goes_meanwhile_is_not_counted_twice() {
    block_on(async {
        let database = shop().await;
        let (admin, other) = (database.connect().await, database.connect().await);
        let merger = refresh::connect(&database.target()).await.unwrap();
        order_a_month_earlier(&admin).await;
        merge_all(&merger).await;
        // Any past month.
        let fullest = "SELECT quote_literal(min(created_at)::text) AS at FROM shop.orders
                       WHERE status = 3 AND created_at < date_trunc('month', now(), 'UTC')
                       GROUP BY date_trunc('month', created_at, 'UTC') ORDER BY count(*) DESC LIMIT 1";
        let month = ask(&admin, fullest).await;
        let month = month.first("at").text().unwrap().to_owned();
        let more = "SELECT (SELECT sum(order_count) FROM mart.sales_hourly)::bigint
                         - (SELECT count(*) FROM shop.orders WHERE status = 3)";
        for change in ["detach", "attach"] {
            for work in [
                "SELECT htap.rebuild('mart.sales_hourly')",
                "SELECT htap.rebuild('mart.segment_rfm', true)",
                "SELECT relation FROM htap.verify('mart.fact_sales')",
            ] {
                // Its snapshot is taken before, and it reads the shop after.
                merger
                    .batch("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM mart.rfm_window")
                    .await
                    .unwrap();
                other
                    .batch(&format!("BEGIN; SELECT htap.{change}_month({month})"))
                    .await
                    .unwrap();
                other.batch("COMMIT").await.unwrap();
                assert_eq!(sqlstate(&merger, work).await, BUSY, "{change} {work}");
                merger.batch("ROLLBACK").await.unwrap();
                merge_all(&merger).await;
                assert_eq!(number(&admin, more).await, 0, "{change}");
                assert_eq!(differences(&merger).await, [], "{change}");
                let back = if change == "detach" {
                    "attach"
                } else {
                    "detach"
                };
                let back = format!("SELECT htap.{back}_month({month})");
                admin.batch(&back).await.unwrap();
            }
            let change = format!("SELECT htap.{change}_month({month})");
            admin.batch(&change).await.unwrap();
        }
    });
}
