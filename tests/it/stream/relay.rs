//! The relay: what it sends, in which order, and what is left when a part fails.

use super::{
    Kafka, TOPIC, aggregate, number, plan, relay, relay_plan, relaying, streaming_shop, trade,
    until_read, until_relayed,
};
use crate::it::server::{Database, block_on, pid, until};
use htap_top::pg::Client;
use htap_top::stream::relay::Event;
use htap_top::system::schema;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

#[test]
fn events_of_an_order_arrive_once_in_order_and_leave_the_outbox() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let relay = relay(&database, relay_plan(&kafka));
        trade(&client, 40).await;
        until_relayed(&client).await;
        let sent = kafka.records();
        assert_eq!(sent.len(), 30 * 4 + 10 * 3);
        let mut orders: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let mut homes: BTreeMap<&str, BTreeSet<i32>> = BTreeMap::new();
        let mut ids = BTreeSet::new();
        for record in &sent {
            let key = record.key.as_deref().unwrap();
            assert_eq!(record.value["order_id"].to_string(), key);
            assert_eq!(record.value["v"], 1);
            assert!(ids.insert(record.value["event_id"].as_i64().unwrap()));
            homes.entry(key).or_default().insert(record.partition);
            orders
                .entry(key.to_owned())
                .or_default()
                .push(record.value["event"].as_str().unwrap());
        }
        assert!(
            homes.values().all(|partitions| partitions.len() == 1),
            "{homes:?}"
        );
        let completed = ["created", "paid", "shipped", "completed"];
        let cancelled = ["created", "paid", "cancelled"];
        assert!(
            orders
                .values()
                .all(|events| *events == completed || *events == cancelled),
            "{orders:?}"
        );
        as_the_shop_has_it(
            &client,
            &sent
                .iter()
                .map(|record| record.value.clone())
                .collect::<Vec<_>>(),
        )
        .await;
        let state = "SELECT count(*) AS n FROM htap.stream_state WHERE component = 'relay' AND state = 'running' AND lag_rows = 0
                     AND records = 150";
        until(&client, "the relay's state", state, &[], |table| {
            table.first("n").int() == Some(1)
        })
        .await;
        drop(relay);
        // Switched off, it costs nothing and writes nothing.
        client
            .batch("SELECT htap.switch_outbox(false)")
            .await
            .unwrap();
        trade(&client, 4).await;
        assert_eq!(number(&client, "SELECT count(*) FROM htap.outbox").await, 0);
    });
}

/// Compares the events of completed orders with their rows.
async fn as_the_shop_has_it(client: &Client, sent: &[Value]) {
    let completed: Vec<&Value> = sent
        .iter()
        .filter(|value| value["event"] == "completed")
        .collect();
    let json = serde_json::to_string(&completed).unwrap();
    let sql = format!(
        "SELECT count(*) FROM json_array_elements($json${json}$json$) AS r
         JOIN shop.orders AS o ON o.order_id = (r ->> 'order_id')::bigint JOIN shop.users AS u USING (user_id)
         WHERE (r ->> 'at')::timestamptz = o.completed_at AND (r ->> 'amount')::numeric = o.total_amount
           AND r ->> 'segment' = u.user_segment
           AND o.total_amount = (SELECT sum((l ->> 'amount')::numeric) FROM json_array_elements(r -> 'lines') AS l)"
    );
    assert_eq!(number(client, &sql).await, 30);
}

#[test]
fn a_row_waits_for_every_older_transaction() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let slow = database.connect().await;
        let event =
            r#"INSERT INTO htap.outbox (topic, key, payload) VALUES ('orders', '9', '{"v": 1}')"#;
        slow.batch(&format!("BEGIN; {event}")).await.unwrap();
        trade(&client, 1).await;
        let relay = relay(&database, relay_plan(&kafka));
        relay
            .tells(|event| matches!(event, Event::Figures(figures) if figures.lag_rows == Some(4)))
            .await;
        assert_eq!(kafka.records(), [], "an older transaction may still commit");
        slow.batch("COMMIT").await.unwrap();
        until_relayed(&client).await;
        assert_eq!(kafka.records().len(), 5);
    });
}

#[test]
fn while_the_broker_is_away_rows_stay_and_afterwards_none_is_missing() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let relay = relay(&database, relay_plan(&kafka));
        trade(&client, 4).await;
        until_relayed(&client).await;
        kafka.cluster.broker_down(1).unwrap();
        trade(&client, 4).await;
        relay
            .tells(|event| matches!(event, Event::Unreachable(_)))
            .await;
        let state = "SELECT count(*) AS n FROM htap.stream_state WHERE state = 'broker' AND error IS NOT NULL AND lag_rows = 15";
        until(&client, "the state", state, &[], |table| {
            table.first("n").int() == Some(1)
        })
        .await;
        kafka.cluster.broker_up(1).unwrap();
        until_relayed(&client).await;
        assert_eq!(kafka.records().len(), 30);
    });
}

#[test]
fn a_relay_that_dies_after_the_acknowledgement_sends_the_same_again() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        trade(&client, 4).await;
        let lock = database.connect().await;
        // The relay can read, and cannot delete.
        lock.batch("BEGIN; LOCK TABLE htap.outbox IN SHARE MODE")
            .await
            .unwrap();
        let relay = relay(&database, relay_plan(&kafka));
        let waiting = "SELECT l.pid::bigint AS pid FROM pg_locks AS l WHERE l.relation = 'htap.outbox'::regclass AND NOT l.granted";
        let waiting = until(&client, "the relay deletes", waiting, &[], |table| {
            !table.rows.is_empty()
        })
        .await;
        let backend = waiting.first("pid").int().unwrap();
        assert_ne!(backend, pid(&lock).await);
        assert_eq!(
            number(
                &client,
                &format!("SELECT pg_terminate_backend({backend})::int::bigint")
            )
            .await,
            1
        );
        relay.tells(|event| matches!(event, Event::Lost(_))).await;
        lock.batch("COMMIT").await.unwrap();
        until_relayed(&client).await;
        let sent = kafka.records();
        let ids: BTreeSet<i64> = sent
            .iter()
            .map(|record| record.value["event_id"].as_i64().unwrap())
            .collect();
        assert_eq!(ids.len(), 15, "none is missing");
        assert!(
            sent.len() > ids.len(),
            "this is what the aggregator must bear"
        );
    });
}

#[test]
fn one_relay_leads_and_another_one_takes_over() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let first = relay(&database, relay_plan(&kafka));
        first.tells(|event| *event == Event::Leading).await;
        let second = relay(&database, relay_plan(&kafka));
        let Event::Waiting(Some(leader)) = second
            .tells(|event| matches!(event, Event::Waiting(_)))
            .await
        else {
            panic!("the leader is not named");
        };
        let name = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE pid = {leader} AND usename = 'htap_refresh'"
        );
        assert_eq!(number(&client, &name).await, 1);
        drop(first);
        second.tells(|event| *event == Event::Leading).await;
        trade(&client, 4).await;
        until_relayed(&client).await;
        assert_eq!(kafka.records().len(), 15);
    });
}

#[test]
fn a_topic_of_another_shape_is_refused() {
    block_on(async {
        let (database, _) = streaming_shop().await;
        let kafka = Kafka::start();
        let mut plan = relay_plan(&kafka);
        plan.partitions = 3;
        let why = relay(&database, plan).ends().await;
        assert_eq!(
            why,
            "topic orders has 4 partitions, not 3: pass --partitions 4, or choose another topic"
        );
    });
}

#[test]
fn rows_that_are_no_event_of_this_version_are_sent_or_kept_with_a_reason() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        let kafka = Kafka::start();
        let old = r#"{"order_id": 5, "user_id": 2, "status": 0, "amount": 12.30, "created_at": "2026-01-02T03:04:05+00:00"}"#;
        let large = format!(r#"{{"v": 1, "note": "{}"}}"#, "x".repeat(2_000_000));
        client
            .batch(&format!(
                "INSERT INTO htap.outbox (topic, key, payload)
                 VALUES ('orders', '5', '{old}'), ('orders', 'k', '{{}}'), ('orders', 'l', '{large}')"
            ))
            .await
            .unwrap();
        trade(&client, 1).await;
        let relay = relay(&database, relay_plan(&kafka));
        until_relayed(&client).await;
        let sent = kafka.records();
        assert_eq!(sent.len(), 5, "{sent:?}");
        let created = sent
            .iter()
            .filter(|record| record.key.as_deref() == Some("5"));
        assert!(
            created.clone().all(
                |record| record.value["event"] == "created" && record.value["amount"] == "12.3"
            )
        );
        assert_eq!(created.count(), 1);
        let dead = "SELECT count(*) FROM htap.dead_letter WHERE partition = -1 AND octet_length(value) <= 16384 AND value_bytes >= 2";
        assert_eq!(number(&client, dead).await, 2);
        relay.tells(|event| matches!(event, Event::DeadLetter { reason, .. } if reason.contains("larger"))).await;
    });
}

#[test]
fn names_that_are_no_utf8_are_sent_from_sql_ascii() {
    block_on(async {
        let (filled, admin) = streaming_shop().await;
        let create = "CREATE DATABASE stream_ascii ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0";
        admin.batch(create).await.unwrap();
        let database = Database {
            server: filled.server,
            name: "stream_ascii".into(),
        };
        let client = database.connect().await;
        schema::create(&client).await.unwrap();
        let shop = r"INSERT INTO shop.categories (category_name) VALUES (E'caf\xe9');
            INSERT INTO shop.products (category_id, product_name, price) SELECT category_id, 'p', 3 FROM shop.categories;
            INSERT INTO shop.inventory (product_id, quantity) SELECT product_id, 1000 FROM shop.products
                ON CONFLICT (product_id) DO UPDATE SET quantity = 1000;
            INSERT INTO shop.users (user_name) VALUES ('u');
            SELECT htap.switch_outbox(true);
            INSERT INTO htap.outbox (topic, key, payload) VALUES ('orders', '1', jsonb_build_object('x', E'\xe9'))";
        client.batch(shop).await.unwrap();
        trade(&client, 1).await;
        let kafka = Kafka::start();
        let _relay = relay(&database, relay_plan(&kafka));
        let _aggregator = aggregate(&database, plan(&kafka));
        until_read(&client, 4).await;
        let counted = "SELECT count(*) FROM mart.realtime_stream WHERE category = E'caf\\357\\277\\275' AND orders = 1";
        assert_eq!(number(&client, counted).await, 1);
        let kept =
            "SELECT count(*) FROM htap.dead_letter WHERE position('\\xe9'::bytea IN value) > 0";
        assert_eq!(number(&client, kept).await, 1);
    });
}

#[test]
fn who_may_not_relay_creates_no_topic() {
    block_on(async {
        let (database, client) = streaming_shop().await;
        client
            .batch("CREATE ROLE relay_stranger LOGIN")
            .await
            .unwrap();
        let kafka = Kafka::start();
        let mut plan = relay_plan(&kafka);
        plan.broker.topic = "never".to_owned();
        let stranger = database.target_of("relay_stranger");
        let error = relaying::relay(&stranger, &plan, |event| {
            assert!(
                !matches!(event, Event::Leading | Event::Created),
                "{event:?}"
            );
        });
        let why = error.await.unwrap_err().to_string();
        assert!(why.contains("permission denied"), "{why}");
        client.batch("DROP ROLE relay_stranger").await.unwrap();
        let asking: BaseConsumer = kafka.config().create().unwrap();
        let known = asking
            .fetch_metadata(None, Duration::from_secs(30))
            .unwrap();
        assert!(known.topics().iter().all(|topic| topic.name() == TOPIC));
    });
}
