//! Incremental refresh: whatever happens, in any order, a summary equals its recomputation.

use super::{create, number, shop};
use crate::it::server::{Database, Server, block_on, until};
use htap_top::pg::{Client, Param, Value};
use htap_top::system::definition::SUMMARIES;
use htap_top::system::fill::{Fill, fill};
use htap_top::system::refresh::keeper::{self, Event};
use htap_top::system::refresh::plan::{KeepError, Pace, Plan};
use htap_top::system::refresh::verify::{Difference, verify};
use htap_top::system::refresh::{self, BUSY, Kind, MUST_REBUILD, Mode, Refresh, View};
use htap_top::system::schema;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

pub(super) fn view(name: &str) -> View {
    let (schema, name) = name.split_once('.').unwrap();
    View::new(schema, name)
}

pub(super) async fn differences(client: &Client) -> Vec<Difference> {
    let mut all = Vec::new();
    for summary in SUMMARIES {
        all.extend(verify(client, &view(summary)).await.unwrap());
    }
    all
}

/// The program with these arguments, connected as a superuser.
fn program(database: &Database<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command
        .arg("refresh")
        .args(["-d", &database.conninfo("postgres")])
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(database: &Database<'_>, arguments: &[&str]) -> (i32, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = program(database, arguments).output().unwrap();
    let text = [stdout, stderr].concat();
    (
        status.code().unwrap(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// A random event in the shop, or a superuser's intervention; it may be refused.
async fn happen(client: &Client, rng: &mut Xoshiro256PlusPlus, mine: &mut Vec<i64>) {
    let pick = |rng: &mut Xoshiro256PlusPlus, mine: &[i64]| {
        (!mine.is_empty()).then(|| mine[rng.random_range(0..mine.len())])
    };
    let order = pick(rng, mine);
    let sql = match (rng.random_range(0..24), order) {
        (0..6, _) | (_, None) => {
            let products: Vec<i64> = (0..3).map(|_| rng.random_range(1..=40)).collect();
            let user = rng.random_range(1..=200);
            let params = [Param::Int(user), Param::Ints(&products), Param::Ints(&[1, 2, 1])];
            let made = client
                .query("SELECT shop.create_order($1, $2, $3) AS id", &params)
                .await;
            mine.extend(made.ok().and_then(|made| made.first("id").int()));
            return;
        }
        (6..15, Some(id)) => format!(
            "DO $$ BEGIN CASE (SELECT status FROM shop.orders WHERE order_id = {id})
                 WHEN 0 THEN PERFORM shop.pay_order({id}); WHEN 1 THEN PERFORM shop.ship_order({id});
                 WHEN 2 THEN PERFORM shop.complete_order({id}); ELSE NULL; END CASE; END $$"
        ),
        (15, Some(id)) => format!("SELECT shop.cancel_order({id})"),
        (16, Some(id)) => format!(
            "UPDATE shop.orders SET total_amount = total_amount + 1, completed_at = completed_at + interval '7 hours'
             WHERE order_id = {id} AND status = 3"
        ),
        (17, Some(id)) => format!("UPDATE shop.order_items SET quantity = quantity + 1 WHERE order_id = {id}"),
        (18, Some(id)) => format!(
            "INSERT INTO shop.order_items SELECT order_id, created_at, 9, 7, 1, 2 FROM shop.orders WHERE order_id = {id}"
        ),
        (19, Some(id)) => format!(
            "BEGIN; DELETE FROM shop.shipments WHERE order_id = {id}; DELETE FROM shop.payments WHERE order_id = {id};
             DELETE FROM shop.order_items WHERE order_id = {id}; DELETE FROM shop.orders WHERE order_id = {id}; COMMIT"
        ),
        (20, Some(id)) => format!(
            "BEGIN; SELECT shop.complete_order({id}); SELECT pg_sleep(0.03); ROLLBACK"
        ),
        (21, _) => "UPDATE shop.users SET user_segment = CASE user_segment WHEN 'VIP' THEN 'Normal' ELSE 'VIP' END
                    WHERE user_id = 1 + floor(random() * 200)::int".to_owned(),
        (22, _) => "UPDATE shop.products SET category_id = 1 + floor(random() * 10)::int
                    WHERE product_id = 1 + floor(random() * 40)::int".to_owned(),
        (_, Some(id)) => format!("UPDATE shop.orders SET user_id = 1 + user_id % 200 WHERE order_id = {id}"),
    };
    if client.batch(&sql).await.is_err() {
        client.batch("ROLLBACK").await.unwrap();
    }
}

pub(super) async fn life(client: Client, seed: u64, rounds: usize) -> usize {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut mine = Vec::new();
    for _ in 0..rounds {
        happen(&client, &mut rng, &mut mine).await;
    }
    mine.len()
}

pub(super) fn killed(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn whatever_happens_a_summary_equals_its_recomputation() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        admin
            .batch("UPDATE shop.inventory SET quantity = 100000")
            .await
            .unwrap();
        let mut lives = tokio::task::JoinSet::new();
        for seed in 0..6 {
            lives.spawn(life(database.connect().await, seed, 150));
        }
        // Merges in steps of every size at the same time, and refreshers killed at random moments.
        let merger = refresh::connect(&database.target()).await.unwrap();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(99);
        let mut taken = 0;
        let mut refresher = None;
        while !lives.is_empty() {
            let step = rng.random_range(1..40);
            let summary = view(SUMMARIES[rng.random_range(0..3)]);
            match refresh::merge(&merger, &summary, step).await {
                Ok(done) => taken += done.changes,
                Err(error) => assert_eq!(error.code(), BUSY, "{error}"),
            }
            if rng.random_range(0..10) == 0 {
                if let Some(running) = refresher.take() {
                    killed(running);
                }
                let start = program(&database, &["--fresh", "100ms"])
                    .stdout(Stdio::null())
                    .spawn();
                refresher = Some(start.unwrap());
                merger.batch("SELECT htap.tidy()").await.unwrap();
            }
            while let Some(orders) = lives.try_join_next() {
                assert!(orders.unwrap() > 10);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if let Some(running) = refresher.take() {
            killed(running);
        }
        assert!(taken > 0, "others took all");
        assert_eq!(differences(&merger).await, []);
        let completed = "SELECT count(*) FROM shop.orders WHERE status = 3";
        let summed = "SELECT sum(order_count)::bigint FROM mart.sales_hourly";
        assert_eq!(
            number(&admin, completed).await,
            number(&admin, summed).await
        );
        let rest = "SELECT count(*) FROM htap.order_log AS l, htap.watermark AS w WHERE NOT pg_visible_in_snapshot(l.xid, w.snapshot)";
        assert_eq!(number(&admin, rest).await, 0);
        merger.batch("SELECT htap.trim_log()").await.unwrap();
        assert_eq!(
            number(&admin, "SELECT count(*) FROM htap.order_log").await,
            0
        );
    });
}

/// Creates a shipped order, which one statement then completes.
pub(super) async fn shipped(client: &Client) -> i64 {
    let order = create(client, &[1], &[1]).await.unwrap();
    for step in ["pay", "ship"] {
        let sql = format!("SELECT shop.{step}_order({order})");
        client.batch(&sql).await.unwrap();
    }
    order
}

#[test]
fn what_commits_late_is_merged_late_and_never_missed() {
    block_on(async {
        let database = shop().await;
        let (admin, slow, quick) = (
            database.connect().await,
            database.connect().await,
            database.connect().await,
        );
        let merger = refresh::connect(&database.target()).await.unwrap();
        let summary = view("mart.sales_hourly");
        let (first, second) = (shipped(&admin).await, shipped(&admin).await);
        refresh::merge(&merger, &summary, 1_000).await.unwrap();
        slow.batch(&format!("BEGIN; SELECT shop.complete_order({first})"))
            .await
            .unwrap();
        quick
            .batch(&format!("SELECT shop.complete_order({second})"))
            .await
            .unwrap();
        let done = refresh::merge(&merger, &summary, 1_000).await.unwrap();
        assert_eq!((done.changes, done.remaining), (1, false));
        let early = "SELECT (as_of < clock_timestamp() AND as_of > clock_timestamp() - interval '1 minute')::int
                     FROM htap.watermark WHERE view = 'mart.sales_hourly'";
        assert_eq!(number(&admin, early).await, 1);
        slow.batch("COMMIT").await.unwrap();
        merger.batch("SELECT htap.trim_log()").await.unwrap();
        let done = refresh::merge(&merger, &summary, 1_000).await.unwrap();
        assert_eq!(done.changes, 1, "the row of the slow one is still there");
        let done = refresh::merge(&merger, &summary, 1_000).await.unwrap();
        assert_eq!(done.changes, 0, "and is merged once");
        assert_eq!(differences(&merger).await, []);
    });
}

#[test]
fn a_backlog_is_merged_in_steps_and_its_age_is_told() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let merger = refresh::connect(&database.target()).await.unwrap();
        let summary = view("mart.sales_hourly");
        refresh::merge(&merger, &summary, 1_000).await.unwrap();
        // The number of orders needed is random, and all are of one product.
        let plenty = "UPDATE shop.inventory SET quantity = 100000 WHERE product_id = 1";
        admin.batch(plenty).await.unwrap();
        // One order in sixteen notes a snapshot up to which a step may go. Few of them may all lie within two steps.
        let noted = "SELECT count(DISTINCT seen::text) FROM htap.order_log";
        while number(&admin, noted).await < 12 {
            let order = shipped(&admin).await;
            let complete = format!("SELECT shop.complete_order({order})");
            admin.batch(&complete).await.unwrap();
        }
        let mut left = number(&admin, "SELECT count(*) FROM htap.order_log").await;
        let mut steps = 0;
        loop {
            let done = refresh::merge(&merger, &summary, 20).await.unwrap();
            let unseen = "SELECT count(*) FROM htap.order_log AS l, htap.watermark AS w
                          WHERE w.view = 'mart.sales_hourly' AND NOT pg_visible_in_snapshot(l.xid, w.snapshot)";
            let honest = "SELECT (w.as_of <= coalesce((SELECT min(l.logged_at) FROM htap.order_log AS l
                              WHERE NOT pg_visible_in_snapshot(l.xid, w.snapshot)), clock_timestamp()))::int
                          FROM htap.watermark AS w WHERE w.view = 'mart.sales_hourly'";
            assert_eq!(number(&admin, honest).await, 1);
            left -= done.changes.cast_signed();
            steps += 1;
            assert_eq!(number(&admin, unseen).await, left);
            assert_eq!(done.remaining, left > 0);
            if !done.remaining {
                break;
            }
        }
        assert!(steps > 2, "{steps}");
        // A transaction larger than the step is merged as a whole.
        admin
            .batch("BEGIN; UPDATE shop.orders SET total_amount = total_amount + 1 WHERE status = 3; COMMIT")
            .await
            .unwrap();
        let done = refresh::merge(&merger, &summary, 3).await.unwrap();
        assert!(done.changes > 1_000, "{done:?}");
        assert_eq!(differences(&merger).await, []);
    });
}

#[test]
fn what_cannot_be_merged_is_filled_anew() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let merger = refresh::connect(&database.target()).await.unwrap();
        // A write directly to a partition is captured like any other.
        let partition = "UPDATE shop.orders_default SET total_amount = 1";
        admin.batch(partition).await.unwrap();
        let month = admin
            .query(
                "SELECT tableoid::regclass::text AS month FROM shop.orders WHERE status = 3 LIMIT 1",
                &[],
            )
            .await
            .unwrap();
        let month = month.first("month").text().unwrap().to_owned();
        admin
            .batch(&format!(
                "UPDATE {month} SET total_amount = total_amount + 5 WHERE status = 3"
            ))
            .await
            .unwrap();
        assert_eq!(differences(&merger).await, []);
        admin
            .batch("TRUNCATE shop.orders, shop.order_items, shop.payments, shop.shipments")
            .await
            .unwrap();
        for summary in SUMMARIES {
            let summary = view(summary);
            let error = refresh::merge(&merger, &summary, 10).await.unwrap_err();
            assert_eq!(error.code(), MUST_REBUILD);
            assert!(error.message.as_str().contains("truncated"), "{error}");
            let done = refresh::refresh(&merger, &summary, Kind::Incremental, Mode::Incremental)
                .await
                .unwrap();
            assert!(done.rebuilt);
        }
        assert_eq!(differences(&merger).await, []);
        assert_eq!(
            number(&admin, "SELECT count(*) FROM mart.fact_sales").await,
            0
        );
        // A log that nobody reads is truncated, and the summaries know it.
        merger.batch("SELECT htap.trim_log()").await.unwrap();
        let order = shipped(&admin).await;
        let complete = format!("SELECT shop.complete_order({order})");
        admin.batch(&complete).await.unwrap();
        assert_eq!(number(&merger, "SELECT htap.trim_log(0)").await, 1);
        let error = refresh::merge(&merger, &view("mart.fact_sales"), 10).await;
        assert_eq!(error.unwrap_err().code(), MUST_REBUILD);
        for summary in SUMMARIES {
            let summary = view(summary);
            refresh::refresh(&merger, &summary, Kind::Incremental, Mode::Incremental)
                .await
                .unwrap();
        }
        assert_eq!(differences(&merger).await, []);
    });
}

#[test]
fn verify_finds_what_is_wrong_and_a_refresh_by_difference_mends_only_that() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        assert_eq!(run(&database, &["--verify"]).0, 0);
        admin
            .batch("UPDATE mart.sales_hourly SET total_sales = total_sales + 1 WHERE hour = (SELECT max(hour) FROM mart.sales_hourly);
                    DELETE FROM mart.daily_sales WHERE ctid = (SELECT min(ctid) FROM mart.daily_sales);
                    INSERT INTO mart.user_day VALUES (1, '2001-01-01', 1, 1)")
            .await
            .unwrap();
        let (code, said) = run(&database, &["--verify"]);
        assert_eq!(code, 5, "{said}");
        for wrong in [
            "mart.sales_hourly: 1 rows extra",
            "mart.sales_hourly: 1 rows missing",
            "mart.daily_sales: 1 rows missing",
            "mart.user_day: 1 rows extra, such as (1,2001-01-01,1,1)",
        ] {
            assert!(said.contains(wrong), "{wrong}: {said}");
        }
        let rows = "SELECT count(*) FROM mart.fact_sales WHERE xmin::text::bigint >= ";
        let newest = number(&admin, "SELECT txid_current()").await;
        let (code, said) = run(
            &database,
            &[
                "--mode",
                "concurrent",
                "mart.sales_hourly",
                "fact_sales",
                "segment_rfm",
            ],
        );
        assert_eq!(code, 0, "{said}");
        assert_eq!(run(&database, &["--verify"]).0, 0);
        assert_eq!(number(&admin, &format!("{rows}{newest}")).await, 0);
        let hours =
            format!("SELECT count(*) FROM mart.sales_hourly WHERE xmin::text::bigint >= {newest}");
        assert_eq!(number(&admin, &hours).await, 1);
        let kept = "SELECT count(*) FROM htap.refresh_run WHERE mode = 'concurrent' AND view = 'mart.fact_sales'
                    AND finished >= started AND rows > 0 AND wal_bytes > 0";
        assert_eq!(number(&admin, kept).await, 1);
    });
}

/// Events of a loop, until `enough` holds.
async fn told(
    database: &Database<'_>,
    plan: Plan,
    enough: impl Fn(&[Event]) -> bool,
) -> Vec<Event> {
    let (tell, mut hear) = tokio::sync::mpsc::channel(1_000);
    let target = database.target();
    let task = tokio::spawn(async move {
        keeper::keep(&target, &plan, |event| {
            let _ = tell.try_send(event);
        })
        .await
    });
    let mut events = Vec::new();
    let listen = async {
        while !enough(&events) {
            let Some(event) = hear.recv().await else {
                break;
            };
            events.push(event);
        }
    };
    tokio::time::timeout(Duration::from_secs(30), listen)
        .await
        .unwrap();
    task.abort();
    events
}

fn plan(pace: Pace) -> Plan {
    Plan {
        views: Vec::new(),
        mode: None,
        pace,
        oltp_limit: None,
    }
}

#[test]
fn one_refresher_leads_and_another_takes_over() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let mut first = program(&database, &["--fresh", "200ms"])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let leader = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 0 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        until(&admin, "one leads", leader, &[], |table| {
            table.first("n") == &Value::Int(1)
        })
        .await;
        let fresh = plan(Pace::Fresh(Duration::from_millis(200)));
        let waiting = told(&database, fresh.clone(), |events| !events.is_empty()).await;
        assert!(
            matches!(waiting[..], [Event::Waiting(Some(_))]),
            "{waiting:?}"
        );
        let waits = tokio::sync::Notify::new();
        let second = told(&database, fresh, |events| {
            if !events.is_empty() {
                waits.notify_one();
            }
            events.contains(&Event::Leading)
        });
        let end = async {
            waits.notified().await;
            first.kill().unwrap();
            first.wait().unwrap();
        };
        let (events, ()) = tokio::join!(second, end);
        assert!(
            matches!(events[..], [Event::Waiting(_), Event::Leading]),
            "{events:?}"
        );
    });
}

#[test]
fn refreshes_are_held_back_while_commits_are_slow_but_not_for_ever() {
    block_on(async {
        let database = shop().await;
        let mut plan = plan(Pace::Fresh(Duration::from_millis(100)));
        plan.views = vec!["sales_hourly".into()];
        // No commit is this fast.
        plan.oltp_limit = Some(Duration::from_nanos(1));
        let ran = |event: &Event| matches!(event, Event::Ran { .. });
        let events = told(&database, plan, |events| events.iter().any(ran)).await;
        let held = |event: &&Event| matches!(event, Event::HeldBack { .. });
        assert!(events.iter().filter(held).count() >= 2, "{events:?}");
    });
}

#[test]
fn an_owner_who_may_not_use_the_shop_refreshes_a_view_of_its_own() {
    block_on(async {
        let database = shop().await;
        let admin = database.connect().await;
        let own = "CREATE ROLE own_views LOGIN; CREATE SCHEMA own AUTHORIZATION own_views; SET ROLE own_views;
                   CREATE MATERIALIZED VIEW own.one AS SELECT pg_catalog.clock_timestamp() AS made";
        admin.batch(own).await.unwrap();
        let owner = database.target_of("own_views");
        let made = async || {
            let table = admin.query("SELECT made::text AS made FROM own.one", &[]);
            table
                .await
                .unwrap()
                .first("made")
                .text()
                .unwrap()
                .to_owned()
        };
        let before = made().await;
        let one = view("own.one");
        let refresh = Refresh::prepare(&owner, &one, Mode::Full).await.unwrap();
        refresh.run().await.unwrap();
        assert_ne!(made().await, before);
    });
}

#[test]
fn what_cannot_be_refreshed_is_refused_clearly() {
    block_on(async {
        let database = shop().await;
        let (code, said) = run(&database, &["nonesuch"]);
        assert!(
            code == 2 && said.contains("there are mart.sales_hourly"),
            "{said}"
        );
        let (code, said) = run(&database, &["sales_hourly_mv", "--mode", "incremental"]);
        assert!(code == 2 && said.contains("full or concurrent"), "{said}");
        let (code, said) = run(&database, &["--pg-cron", "--every", "5min"]);
        assert!(code == 1 && said.contains("no extension pg_cron"), "{said}");
        let (code, said) = run(&database, &["--pg-cron", "--every", "90s"]);
        assert!(code == 2 && said.contains("whole minutes"), "{said}");
        let admin = database.connect().await;
        admin.batch("CREATE ROLE nobody_much LOGIN").await.unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
            .args(["refresh", "-d", &database.conninfo("nobody_much")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(4), "{said}");
        assert!(said.contains("GRANT htap_refresh"), "{said}");
        let empty = database.server.database("no_schema").await;
        let (code, said) = run(&empty, &[]);
        assert!(code == 1 && said.contains("htap-top init"), "{said}");
        let unknown = plan(Pace::Every(Duration::from_secs(1)));
        let unknown = Plan {
            views: vec!["x".into()],
            ..unknown
        };
        let ended = keeper::keep(&database.target(), &unknown, |_| {}).await;
        assert!(matches!(ended, Err(KeepError::Unknown(..))), "{ended:?}");
        let shopper = database.connect_as("htap_oltp").await;
        let refused = refresh::merge(&shopper, &view("mart.sales_hourly"), 10).await;
        assert_eq!(refused.unwrap_err().code(), "42501");
    });
}

fn merges_on(major: u16) {
    let server = Server::of_major(major);
    block_on(async {
        let database = server.database("merges").await;
        let client = database.connect().await;
        schema::create(&client).await.unwrap();
        let now = number(&client, "SELECT (extract(epoch FROM now()) * 1000)::bigint").await;
        let what = Fill {
            orders: 500,
            seed: 3,
            end_ms: now,
        };
        fill(&database.target(), what, |_, _| {}).await.unwrap();
        schema::fill_all(&client, |_, _| {}).await.unwrap();
        client
            .batch("UPDATE shop.inventory SET quantity = 1000")
            .await
            .unwrap();
        let orders = life(database.connect().await, 5, 120).await;
        assert!(orders > 10);
        let merger = refresh::connect(&database.target()).await.unwrap();
        let done = refresh::merge(&merger, &view("mart.fact_sales"), 1_000)
            .await
            .unwrap();
        assert!(done.changes > 0);
        assert_eq!(differences(&merger).await, []);
    });
}

#[test]
fn the_oldest_and_the_newest_server_merge_alike() {
    for major in [13, 14, 16, 17, 18] {
        merges_on(major);
    }
}
