//! Every event is counted once, whatever is killed and whenever.

use super::{
    Kafka, aggregate, differences, last_order, number, plan, relay, relay_plan, streaming_shop,
    streaming_shop_on, trade, until_read, until_relayed,
};
use crate::it::server::{Order, Patience, Server, block_on, until};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::Client;
use htap_top::stream::aggregator::Event;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ends the sessions of relays and aggregators.
const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                         WHERE usename = 'htap_refresh' AND datname = current_database()";

#[test]
fn orders_through_relay_and_aggregator_equal_the_shop_however_often_their_sessions_end() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let last = last_order(&client).await;
        let kafka = Kafka::start();
        let relay = relay(&database, relay_plan(&kafka));
        let aggregator = aggregate(&database, plan(&kafka));
        aggregator
            .tells(|event| matches!(event, Event::Leading(_)))
            .await;
        for round in 0..12 {
            trade(&client, 40).await;
            // Anywhere in their work.
            tokio::time::sleep(Duration::from_millis(13 * round)).await;
            client.query(TERMINATE, &[]).await.unwrap();
        }
        until_relayed(&client).await;
        let sent = kafka.records();
        assert!(sent.len() >= 12 * 150);
        until_read(&client, sent.len()).await;
        assert_eq!(differences(&client, last).await, Vec::<String>::new());
        assert!(
            number(
                &client,
                "SELECT count(*) FROM mart.realtime_stream WHERE orders > 0"
            )
            .await
                > 1
        );
        drop(relay);
    });
}

#[test]
fn a_server_that_is_killed_in_mid_batch_has_all_of_it_or_nothing() {
    block_on(async {
        let server = Server::alone();
        let (database, mut client) = streaming_shop_on(&server).await;
        let last = last_order(&client).await;
        let kafka = Kafka::start();
        let _relay = relay(&database, relay_plan(&kafka));
        let _aggregator = aggregate(&database, plan(&kafka));
        let read = "SELECT coalesce(sum(next_offset), 0)::bigint AS n FROM htap.stream_offset";
        for round in 1..=3 {
            trade(&client, 200).await;
            until(&client, "a batch", read, &[], |table| {
                table.first("n").int() > Some(round * 300)
            })
            .await;
            server.kill_all();
            server.start_again();
            client = Client::connect(&server.target(&database.name, SUPERUSER))
                .await
                .unwrap();
        }
        until_relayed(&client).await;
        until_read(&client, kafka.records().len()).await;
        assert_eq!(differences(&client, last).await, Vec::<String>::new());
    });
}

#[test]
fn no_event_is_sent_whose_order_a_crash_could_undo() {
    block_on(async {
        // Nothing is written to disk but what somebody waits for.
        let lazy = [
            ("synchronous_commit", "off"),
            ("wal_writer_delay", "10s"),
            ("wal_writer_flush_after", "1GB"),
        ];
        let server = Server::start(&Order {
            settings: lazy.map(|(name, value)| (name.into(), value.into())).into(),
            ..Order::default()
        });
        let (database, mut client) = streaming_shop_on(&server).await;
        let kafka = Kafka::start();
        let _relay = relay(&database, relay_plan(&kafka));
        trade(&client, 1).await;
        let patience = Patience::begin();
        while kafka.records().is_empty() {
            assert!(patience.lasts(), "nothing was sent");
        }
        server.kill_all();
        server.start_again();
        client = Client::connect(&server.target(&database.name, SUPERUSER))
            .await
            .unwrap();
        // Numbers of events that were lost would be given out again.
        trade(&client, 1).await;
        until_relayed(&client).await;
        let mut orders = BTreeMap::new();
        for record in kafka.records() {
            let (event, order) = (&record.value["event_id"], &record.value["order_id"]);
            let (event, order) = (event.as_i64().unwrap(), order.as_i64().unwrap());
            assert_eq!(*orders.entry(event).or_insert(order), order, "{event}");
            let kept = format!("SELECT count(*) FROM shop.orders WHERE order_id = {order}");
            assert_eq!(number(&client, &kept).await, 1, "{record:?}");
        }
        assert_eq!(orders.len(), 8);
    });
}

/// An event as in `docs/stream.md`; the time in seconds of one hour.
fn event(event_id: i64, order: i64, kind: &str, second: i64, was: Option<i64>) -> Value {
    let at = |second: i64| format!("2025-11-29T12:{:02}:{:02}.5Z", second / 60, second % 60);
    let lines = json!([{"category": format!("C{}", order % 7), "quantity": 1 + order % 3, "amount": format!("{}.{:02}", order % 50, order % 100)},
                       {"category": "Books", "quantity": 2, "amount": "0.10"}]);
    let mut value = json!({"v": 1, "event": kind, "event_id": event_id, "order_id": order, "user_id": 1, "status": 3,
                           "segment": if order % 2 == 0 { "VIP" } else { "Normal" }, "at": at(second), "amount": "1.00", "lines": lines});
    if let Some(was) = was {
        value["was_at"] = json!(at(was));
    }
    value
}

/// Cents, pieces and orders by minute, category and segment.
type Sums = BTreeMap<(i64, String, String), (i64, i64, i64)>;

/// Six thousand events with duplicates, out of order, some cancelled afterwards; and what is to come out, in cents.
fn history() -> (Vec<(i32, Value)>, Sums) {
    let mut sent = Vec::new();
    let mut expected: BTreeMap<_, (i64, i64, i64)> = BTreeMap::new();
    for n in 0..4_000_i64 {
        // Forwards, with a jitter of 17 minutes.
        let second = (n * 1_800 / 4_000 + n * 7_919 % 1_000).min(3_599);
        let partition = i32::try_from(n % 4).unwrap();
        let completed = event(2 * n, n, "completed", second, None);
        sent.push((partition, completed.clone()));
        if n % 3 == 0 {
            sent.push((partition, completed));
        }
        if n % 10 == 0 {
            let cancelled = event(2 * n + 1, n, "cancelled", 3_599, Some(second));
            sent.push((partition, cancelled.clone()));
            sent.push((partition, cancelled));
            continue;
        }
        let segment = if n % 2 == 0 { "VIP" } else { "Normal" };
        for (category, cents, quantity) in [
            (format!("C{}", n % 7), n % 50 * 100 + n % 100, 1 + n % 3),
            ("Books".to_owned(), 10, 2),
        ] {
            let row = expected
                .entry((second / 60, category, segment.to_owned()))
                .or_default();
            *row = (row.0 + cents, row.1 + quantity, row.2 + 1);
        }
    }
    // Duplicates come soon, and long after.
    let again: Vec<_> = sent.iter().step_by(11).cloned().collect();
    sent.extend(again);
    (sent, expected)
}

#[test]
fn two_aggregators_that_fight_count_duplicates_reordered_and_cancelled_events_once() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let (sent, expected) = history();
        let count = sent.len();
        let values = sent
            .into_iter()
            .map(|(partition, value)| (partition, Some(value.to_string().into_bytes())));
        kafka.produce(values).await;
        let first = aggregate(&database, plan(&kafka));
        let second = aggregate(&database, plan(&kafka));
        let read = "SELECT coalesce(sum(next_offset), 0)::bigint AS n FROM htap.stream_offset";
        for _ in 0..10 {
            if number(&client, read).await >= i64::try_from(count).unwrap() {
                break;
            }
            client.query(TERMINATE, &[]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(150)).await;
            // Somebody moves on while the leader believes to lead.
            client
                .batch("UPDATE htap.stream_offset SET epoch = epoch + 1")
                .await
                .unwrap();
        }
        until_read(&client, count).await;
        let rows = client
            .query(
                "SELECT (extract(epoch FROM window_start - '2025-11-29 12:00+00') / 60)::bigint AS minute, category, segment,
                        (amount * 100)::bigint AS cents, quantity, orders
                 FROM mart.realtime_stream WHERE orders <> 0",
                &[],
            )
            .await
            .unwrap();
        let int = |row: usize, name: &str| rows.get(row, name).int().unwrap();
        let text = |row: usize, name: &str| rows.get(row, name).text().unwrap().to_owned();
        let found: BTreeMap<_, _> = (0..rows.rows.len())
            .map(|row| {
                let key = (
                    int(row, "minute"),
                    text(row, "category"),
                    text(row, "segment"),
                );
                (
                    key,
                    (int(row, "cents"), int(row, "quantity"), int(row, "orders")),
                )
            })
            .collect();
        assert_eq!(found, expected);
        drop((first, second));
    });
}

#[test]
fn who_was_fenced_changes_nothing_and_says_so() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let aggregator = aggregate(&database, plan(&kafka));
        aggregator
            .tells(|told| matches!(told, Event::Leading(_)))
            .await;
        client
            .batch("UPDATE htap.stream_offset SET epoch = epoch + 1")
            .await
            .unwrap();
        let value = event(1, 1, "completed", 1, None).to_string().into_bytes();
        kafka.produce([(2, Some(value))]).await;
        aggregator.tells(|told| *told == Event::Fenced).await;
        // It leads again, for nobody else wants to, with a greater epoch.
        until_read(&client, 1).await;
        assert!(number(&client, "SELECT min(epoch) FROM htap.stream_offset").await >= 3);
        assert_eq!(
            number(
                &client,
                "SELECT sum(orders)::bigint FROM mart.realtime_stream WHERE category = 'Books'"
            )
            .await,
            1
        );
    });
}
