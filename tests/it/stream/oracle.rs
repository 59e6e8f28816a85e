//! The oracle: orders of a shop go through a real broker, with duplicates, poison, late events and cancellations, while
//! everything that takes part is killed. At the end the figures equal a recomputation from the shop's tables.
//!
//! `tests/stream_oracle` runs it with a million events.
#![expect(clippy::print_stdout, reason = "what was seen is the result")]

mod kills;
mod noise;

use super::{differences, number};
use crate::it::broker::Broker;
use crate::it::server::{Database, Order, Patience, Server};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::{Client, Param};
use htap_top::system::fill::{Fill, fill};
use htap_top::system::schema;
use kills::{KINDS, Stage};
use noise::Noise;
use rand::rngs::Xoshiro256PlusPlus;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// Events per order, by the shares of `oracle/orders.sql`.
const EVENTS_PER_ORDER: f64 = 3.88;
/// Orders of a transaction.
const ORDERS: i64 = 500;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
#[ignore = "needs Java 17 and Kafka's jars: .ci/run runs it"]
fn figures_equal_a_recomputation_whatever_is_killed_and_whenever() {
    let wanted = Wanted {
        events: setting("HTAP_TOP_EVENTS", 20_000),
        seed: setting("HTAP_TOP_SEED", 1),
        kills: usize::try_from(setting("HTAP_TOP_KILLS", 7)).unwrap(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let limit = Duration::from_secs(240 + wanted.events / 200);
    runtime
        .block_on(async { tokio::time::timeout(limit, run(wanted)).await })
        .unwrap();
}

#[derive(Clone, Copy, Debug)]
struct Wanted {
    events: u64,
    seed: u64,
    kills: usize,
}

/// What the orders are made with, at every attempt the same.
#[derive(Clone, Debug)]
struct Trade {
    orders: i64,
    seed: i64,
    base: String,
}

async fn run(wanted: Wanted) {
    // Commits wait for a replica in some kills. Those of orders do not wait for the disk: a crash loses some.
    let durable = ("synchronous_commit".to_owned(), "on".to_owned());
    let server = Server::start(&Order {
        settings: vec![durable],
        ..Order::default()
    });
    let database = server.database("oracle").await;
    let client = database.connect().await;
    let trade = prepare(&client, &database, wanted).await;
    let folder = tempfile::Builder::new()
        .permissions(PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let data = folder.path().join("kafka");
    let broker = Broker::start(&["--data", data.to_str().unwrap()]);
    let mut stage = Stage::begin(&database, client, broker).await;
    let noise = Noise::start(stage.brokers(), wanted.seed);

    let mut rng = Xoshiro256PlusPlus::seed_from_u64(wanted.seed);
    let mut kills: Vec<_> = KINDS.into_iter().cycle().take(wanted.kills).collect();
    kills.shuffle(&mut rng);
    let mut counts = BTreeMap::new();
    let portions = i64::try_from(kills.len()).unwrap() + 1;
    for (portion, kill) in (0..).zip(kills) {
        let gate = stage.gate().await;
        let traders = trade.start(&database, portion, portions);
        if portion * 2 >= portions {
            // From here on some orders are too late for any window.
            stage.until_there_is_a_watermark().await;
        }
        let pause = Duration::from_millis(rng.random_range(0..500));
        println!("kill {}: {kill:?}", portion + 1);
        stage.kill(kill, pause, gate).await;
        *counts.entry(format!("{kill:?}")).or_insert(0) += 1;
        if portion % 3 == 2 {
            stage.fight(portion % 2 == 0).await;
        }
        for trader in traders {
            trader.await.unwrap();
        }
        stage.check();
    }
    for trader in trade.start(&database, portions - 1, portions) {
        trader.await.unwrap();
    }
    let client = database.connect().await;
    drained(&client, "SELECT count(*) FROM htap.outbox", 0).await;
    let topic = tokio::task::spawn_blocking(move || noise.end())
        .await
        .unwrap();
    let read = format!(
        "SELECT {} - sum(next_offset)::bigint FROM htap.stream_offset",
        topic.records
    );
    drained(&client, &read, 0).await;
    stage.check();

    println!(
        "{} kills: {counts:?}, {} takeovers",
        wanted.kills,
        stage.takeovers()
    );
    println!("topic: {topic:?}");
    let first = judge(&client, &trade, &topic).await;
    stage.check();
    finds_what_is_wrong(&client, &trade, first, topic.records).await;
}

async fn prepare(client: &Client, database: &Database<'_>, wanted: Wanted) -> Trade {
    schema::create(client).await.unwrap();
    let end_ms = number(
        client,
        "SELECT (extract(epoch FROM now() - interval '10 days') * 1000)::bigint",
    )
    .await;
    let history = Fill {
        orders: 200,
        seed: 7,
        end_ms,
    };
    fill(&database.target(), history, |_, _| {}).await.unwrap();
    client
        .batch(include_str!("oracle/orders.sql"))
        .await
        .unwrap();
    let base = client
        .query("SELECT (now() - interval '50 minutes')::text AS base", &[])
        .await
        .unwrap();
    Trade {
        orders: (wanted.events as f64 / EVENTS_PER_ORDER) as i64,
        seed: i64::try_from(wanted.seed).unwrap(),
        base: base.first("base").raw().unwrap().to_owned(),
    }
}

impl Trade {
    /// Starts two sessions that make a portion of the orders.
    fn start(
        &self,
        database: &Database<'_>,
        portion: i64,
        portions: i64,
    ) -> Vec<tokio::task::JoinHandle<()>> {
        let (from, to) = (
            self.orders * portion / portions,
            self.orders * (portion + 1) / portions,
        );
        let batches = (from..to).step_by(usize::try_from(ORDERS).unwrap());
        let batches: Vec<_> = batches
            .map(|first| (first + 1, to.min(first + ORDERS)))
            .collect();
        let (target, trade) = (database.target_of(SUPERUSER), self.clone());
        (0..2)
            .map(|session| {
                let (target, trade) = (target.clone(), trade.clone());
                let mine: Vec<_> = batches.iter().copied().skip(session).step_by(2).collect();
                tokio::spawn(async move {
                    let mut left = mine.into_iter().peekable();
                    // The server is killed meanwhile.
                    while left.peek().is_some() {
                        let Ok(client) = Client::connect(&target).await else {
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            continue;
                        };
                        while let Some(&(first, last)) = left.peek() {
                            let slow = first == from + 1;
                            if let Err(error) = trade.make(&client, first, last, slow).await {
                                assert!(!error.session_survives(), "{error}");
                                break;
                            }
                            left.next();
                        }
                    }
                })
            })
            .collect()
    }

    /// Makes the orders of a transaction, unless they are there already. A slow one has a transaction id for 0.3 s before
    /// it writes its events.
    async fn make(
        &self,
        client: &Client,
        first: i64,
        last: i64,
        slow: bool,
    ) -> Result<(), htap_top::pg::PgError> {
        let made = "SELECT 1 AS n FROM oracle.batch WHERE first = $1";
        if !client
            .query(made, &[Param::Int(first)])
            .await?
            .rows
            .is_empty()
        {
            return Ok(());
        }
        let params = [
            Param::Int(first),
            Param::Int(last),
            Param::Int(self.orders),
            Param::Int(self.seed),
            Param::Text(&self.base),
        ];
        let trade = format!(
            "SELECT oracle.trade($1, $2, $3, $4, $5::text::timestamptz, {slow}), set_config('synchronous_commit', 'off', true)"
        );
        client.query(&trade, &params).await.map(|_| ())
    }
}

/// Waits until the answer is this number, as long as it changes.
async fn drained(client: &Client, sql: &str, wanted: i64) {
    let (mut last, mut patience) = (i64::MIN, Patience::begin());
    loop {
        let now = number(client, sql).await;
        if now == wanted {
            return;
        }
        if now != last {
            (last, patience) = (now, Patience::begin());
        }
        assert!(patience.lasts(), "still {now}: {sql}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Compares everything with what the shop's tables say. Returns the number before that of the first order that counts.
async fn judge(client: &Client, trade: &Trade, topic: &noise::Topic) -> i64 {
    let count = async |sql: &str| number(client, sql).await;
    let events = count("SELECT sum(events)::bigint FROM oracle.batch").await;
    let too_late = count("SELECT sum(too_late)::bigint FROM oracle.batch").await;
    let late = count("SELECT count(DISTINCT event_id) FROM htap.late_event").await;
    let dead = count("SELECT count(*) FROM htap.dead_letter").await;
    let places = count("SELECT count(DISTINCT (partition, record_offset)) FROM htap.dead_letter WHERE partition >= 0").await;
    let noted = count("SELECT count(*) FROM htap.stream_event").await;
    let rows = count("SELECT count(*) FROM mart.realtime_stream WHERE orders <> 0").await;
    let revised = count("SELECT count(*) FROM mart.realtime_stream WHERE revised").await;
    let late_copies =
        count("SELECT count(*) - count(DISTINCT event_id) FROM htap.late_event").await;
    println!(
        "{events} events of {} orders; {late} too late ({too_late} expected); {dead} dead letters ({} sent); {} duplicates that \
         would count refused, {late_copies} of them too late; {revised} rows revised by late events",
        trade.orders, topic.poison, topic.copies_that_count
    );
    // Numbers of orders begin with their time: those that are too late, and the history, have smaller ones.
    let first = format!(
        "SELECT (extract(epoch FROM '{}'::timestamptz - interval '1 hour') * 1000 - 1577836800000)::bigint << 22",
        trade.base
    );
    let first = count(&first).await;
    let recomputed = format!(
        "SELECT count(*) FROM (SELECT FROM shop.orders AS o JOIN shop.order_items AS i USING (order_id, created_at)
         JOIN shop.users AS u USING (user_id) JOIN shop.products AS p USING (product_id)
         WHERE o.status = 3 AND o.order_id > {first}
         GROUP BY date_trunc('minute', o.completed_at, 'UTC'), p.category_id, u.user_segment) AS g"
    );
    let recomputed = count(&recomputed).await;
    let orders = count(&format!(
        "SELECT count(*) FROM shop.orders WHERE status = 3 AND order_id > {first}"
    ))
    .await;
    println!(
        "mart.realtime_stream: {rows} rows with orders; recomputed from {orders} completed orders: {recomputed} rows"
    );
    let differences = differences(client, first).await;
    println!("{} rows differ", differences.len());
    assert_eq!(differences, Vec::<String>::new());
    assert!(rows > 100 && recomputed == rows);
    assert_eq!(topic.records - topic.copies - topic.poison, events);
    assert_eq!((dead, places), (topic.poison, topic.poison));
    assert_eq!(late, too_late);
    assert_eq!(
        noted,
        count("SELECT count(*) FROM htap.stream_event AS e JOIN shop.orders AS o USING (order_id)")
            .await
    );
    assert!(topic.copies_that_count > 0 && topic.poison > 0 && late > 0 && topic.out_of_order > 0);
    first
}

/// The comparison reports a cent, an event that is lost, and one that counts twice; and nothing once they are put right.
async fn finds_what_is_wrong(client: &Client, trade: &Trade, first: i64, mut records: i64) {
    for (change, wrong) in [("+ 0.01", 2), ("- 0.01", 0)] {
        let sql = format!(
            "UPDATE mart.realtime_stream SET amount = amount {change} WHERE (window_start, category, segment) =
                 (SELECT window_start, category, segment FROM mart.realtime_stream WHERE orders > 0 ORDER BY 1, 2, 3 LIMIT 1)"
        );
        client.batch(&sql).await.unwrap();
        assert_eq!(differences(client, first).await.len(), wrong, "{change}");
    }
    let lose = "CREATE TABLE oracle.lost (key text, payload jsonb);
                WITH gone AS (
                    DELETE FROM htap.outbox AS b USING shop.orders AS o
                    WHERE o.order_id = b.key::bigint AND o.status = 3 AND b.payload ->> 'event' = 'completed' RETURNING b.*)
                INSERT INTO oracle.lost SELECT key, payload FROM gone";
    let send = "INSERT INTO htap.outbox (topic, key, payload) SELECT 'orders', key, payload FROM oracle.lost";
    for (done, wrong) in [(lose, true), (send, false), (send, true)] {
        client.batch("BEGIN").await.unwrap();
        if done == lose {
            trade
                .make(client, trade.orders + 1, trade.orders + 20, false)
                .await
                .unwrap();
        }
        client.batch(done).await.unwrap();
        records += number(client, "SELECT count(*) FROM htap.outbox").await;
        client.batch("COMMIT").await.unwrap();
        let read = format!("SELECT {records} - sum(next_offset)::bigint FROM htap.stream_offset");
        drained(client, &read, 0).await;
        let found = differences(client, first).await;
        assert_eq!(!found.is_empty(), wrong, "{done}: {found:?}");
    }
    assert!(number(client, "SELECT count(*) FROM oracle.lost").await > 0);
}
