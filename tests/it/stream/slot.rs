//! Events from a replication slot: the same as from the outbox, whatever is killed, switched, dropped or forged.

mod lost;

use super::{
    Kafka, aggregate, differences, last_order, number, plan, relay, relay_plan, trade, until_read,
    until_relayed,
};
use crate::it::server::{Database, Server, block_on, until};
use crate::it::system::fill_one;
use htap_top::cluster::SUPERUSER;
use htap_top::pg::Client;
use htap_top::stream::relay::Event;
use htap_top::stream::slot::own;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::OnceCell;

/// A shop on this module's server, where htap_refresh may use slots, with one of the database's name.
async fn shop() -> (Database<'static>, Client) {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    let server = SERVER.get_or_init(|| async {
        let server = fill_one().await;
        let admin = Client::connect(&server.target("postgres", SUPERUSER))
            .await
            .unwrap();
        admin
            .batch("ALTER ROLE htap_refresh REPLICATION")
            .await
            .unwrap();
        server
    });
    let database = server.await.copy("filled", "slot").await;
    let client = database.connect().await;
    client
        .batch("UPDATE shop.inventory SET quantity = 1000000")
        .await
        .unwrap();
    own::create(&client, &database.name).await.unwrap();
    (database, client)
}

/// The same, and events are written for the slot.
async fn slotted_shop() -> (Database<'static>, Client) {
    let (database, client) = shop().await;
    client.batch("SELECT htap.switch_to_slot()").await.unwrap();
    (database, client)
}

/// Waits until the slot was sent to the present end of the WAL, and advanced.
async fn until_sent(client: &Client) {
    let end = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint";
    let end = number(client, end).await;
    let sql = format!(
        "SELECT least(s.sent_to, r.confirmed_flush_lsn) >= '0/0'::pg_lsn + {end}::numeric AS done
         FROM htap.stream_slot AS s JOIN pg_replication_slots AS r ON r.slot_name = s.slot"
    );
    until(client, "the slot was sent", &sql, &[], |table| {
        table.first("done").is_true()
    })
    .await;
}

/// Numbers of events, by order in the order of the topic.
fn orders(kafka: &Kafka) -> BTreeMap<String, Vec<String>> {
    let mut orders: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in kafka.records() {
        let event = record.value["event"].as_str().unwrap().to_owned();
        orders.entry(record.key.unwrap()).or_default().push(event);
    }
    orders
}

fn in_order(kafka: &Kafka) -> bool {
    let completed = ["created", "paid", "shipped", "completed"];
    let cancelled = ["created", "paid", "cancelled"];
    orders(kafka)
        .values()
        .all(|events| *events == completed || *events == cancelled)
}

fn ids(kafka: &Kafka) -> BTreeSet<i64> {
    let records = kafka.records().into_iter();
    records
        .map(|record| record.value["event_id"].as_i64().unwrap())
        .collect()
}

#[test]
fn a_slot_has_the_events_of_the_outbox_in_order_and_switching_loses_none() {
    block_on(async {
        let (database, client) = shop().await;
        let last = last_order(&client).await;
        let kafka = Kafka::start();
        let relay = relay(&database, relay_plan(&kafka));
        let aggregator = aggregate(&database, plan(&kafka));
        client
            .batch("SELECT htap.switch_outbox(true)")
            .await
            .unwrap();
        trade(&client, 4).await;
        until_relayed(&client).await;
        let of_outbox = kafka.records();
        assert_eq!(of_outbox.len(), 15);

        // While orders are written, in either direction.
        let (to_slot, to_outbox) = (
            "SELECT htap.switch_to_slot()",
            "SELECT htap.switch_outbox(true)",
        );
        let writer = database.connect().await;
        let writing = async {
            for _ in 0..12 {
                trade(&writer, 4).await;
            }
        };
        let switching = async {
            for _ in 0..3 {
                client.batch(to_slot).await.unwrap();
                until_sent(&client).await;
                client.batch(to_outbox).await.unwrap();
            }
            client.batch(to_slot).await.unwrap();
        };
        tokio::join!(writing, switching);
        let rolled_back = "BEGIN; SELECT shop.create_order(min(u.user_id), ARRAY[1], ARRAY[1]) FROM shop.users AS u; ROLLBACK";
        client.batch(rolled_back).await.unwrap();
        trade(&client, 4).await;
        assert_eq!(number(&client, "SELECT count(*) FROM htap.outbox").await, 0);
        until_sent(&client).await;
        let sent = kafka.records();
        assert_eq!(
            ids(&kafka).len(),
            14 * 15,
            "none is missing, and none comes of what was rolled back"
        );
        assert!(in_order(&kafka), "{:?}", orders(&kafka));
        // A record of the same form.
        let fields = |of: &[super::Sent]| -> BTreeSet<String> {
            let mut completed = of
                .iter()
                .filter(|record| record.value["event"] == "completed");
            completed
                .next_back()
                .unwrap()
                .value
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect()
        };
        assert_eq!(fields(&sent), fields(&of_outbox));
        until_read(&client, sent.len()).await;
        assert_eq!(differences(&client, last).await, Vec::<String>::new());
        let state = "SELECT count(*) AS n FROM htap.stream_state WHERE component = 'relay' AND state = 'running'
                     AND lag_rows IS NULL AND lag_bytes >= 0 AND lag_ms < 60000";
        until(&client, "the relay's state", state, &[], |table| {
            table.first("n").int() == Some(1)
        })
        .await;
        drop((relay, aggregator));
    });
}

/// One order whose events are on both sides of a switch.
#[test]
fn what_is_left_on_the_other_side_of_a_switch_is_sent_first() {
    block_on(async {
        let (database, client) = shop().await;
        let kafka = Kafka::start();
        let create = "SELECT shop.create_order(u.user_id, ARRAY[p.product_id], ARRAY[1]) FROM
                      (SELECT min(user_id) AS user_id FROM shop.users) AS u,
                      (SELECT min(product_id) AS product_id FROM shop.products) AS p";
        let done = async |what: &str, id: i64| {
            client
                .batch(&format!("SELECT shop.{what}_order({id})"))
                .await
                .unwrap();
        };
        let slow = database.connect().await;
        slow.batch("BEGIN; SELECT pg_current_xact_id()")
            .await
            .unwrap();
        client
            .batch("SELECT htap.switch_outbox(true)")
            .await
            .unwrap();
        let first = number(&client, create).await;
        done("pay", first).await;
        client.batch("SELECT htap.switch_to_slot()").await.unwrap();
        done("ship", first).await;
        let running = relay(&database, relay_plan(&kafka));
        let waits =
            "SELECT count(*) AS n FROM htap.stream_state WHERE lag_rows IS NULL AND lag_ms > 1000";
        until(&client, "the slot waits", waits, &[], |table| {
            table.first("n").int() == Some(1)
        })
        .await;
        assert_eq!(kafka.records(), [], "the outbox cannot be read yet");
        slow.batch("COMMIT").await.unwrap();
        until_sent(&client).await;
        assert_eq!(
            orders(&kafka)[&first.to_string()],
            ["created", "paid", "shipped"]
        );

        drop(running);
        let second = number(&client, create).await;
        client
            .batch("SELECT htap.switch_outbox(true)")
            .await
            .unwrap();
        done("pay", second).await;
        let _running = relay(&database, relay_plan(&kafka));
        until_relayed(&client).await;
        until_sent(&client).await;
        assert_eq!(orders(&kafka)[&second.to_string()], ["created", "paid"]);
    });
}

#[test]
fn a_relay_that_dies_after_the_acknowledgement_sends_the_same_again_and_it_counts_once() {
    block_on(async {
        let (database, client) = slotted_shop().await;
        let last = last_order(&client).await;
        let kafka = Kafka::start();
        trade(&client, 4).await;
        // The relay can read, and cannot note what was acknowledged.
        let lock = database.connect().await;
        lock.batch("BEGIN; LOCK TABLE htap.stream_slot IN SHARE MODE")
            .await
            .unwrap();
        let relay = relay(&database, relay_plan(&kafka));
        let waiting = "SELECT l.pid::bigint AS pid FROM pg_locks AS l
                       WHERE l.relation = 'htap.stream_slot'::regclass AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                         AND NOT l.granted";
        let waiting = until(&client, "the relay notes", waiting, &[], |table| {
            !table.rows.is_empty()
        })
        .await;
        let backend = waiting.first("pid").int().unwrap();
        number(
            &client,
            &format!("SELECT pg_terminate_backend({backend})::int::bigint"),
        )
        .await;
        relay.tells(|event| matches!(event, Event::Lost(_))).await;
        lock.batch("COMMIT").await.unwrap();
        until_sent(&client).await;
        assert_eq!(ids(&kafka).len(), 15, "none is missing");
        let sent = kafka.records().len();
        assert!(sent > 15, "this is what the aggregator must bear");
        let _aggregator = aggregate(&database, plan(&kafka));
        until_read(&client, sent).await;
        assert_eq!(differences(&client, last).await, Vec::<String>::new());
        // What was noted is not sent again, even if the slot was not advanced.
        drop(relay);
        let noted = "UPDATE htap.stream_slot SET sent_to = pg_current_wal_insert_lsn()";
        trade(&client, 4).await;
        client.batch(noted).await.unwrap();
        trade(&client, 4).await;
        let _relay = super::relay(&database, relay_plan(&kafka));
        until_sent(&client).await;
        assert_eq!(ids(&kafka).len(), 30);
    });
}

/// One transaction of many events, more than a batch, and some that the shop did not write.
#[test]
fn a_large_transaction_is_sent_in_parts_and_what_is_forged_is_not() {
    block_on(async {
        let (database, client) = slotted_shop().await;
        let kafka = Kafka::start();
        let _relay = relay(&database, relay_plan(&kafka));
        let many = "SELECT count(pg_logical_emit_message(true, 'htap.outbox', sha256(s.secret || sha256(s.secret || m)) || m))
                    FROM generate_series(1, 25000) AS n, htap.stream_slot AS s,
                         LATERAL (SELECT convert_to(n || ' ' || n % 100 || ' {\"v\": 1, \"n\": ' || n || '}', 'UTF8') AS m) AS v";
        number(&client, many).await;
        let reader = database.connect_as("htap_olap").await;
        reader
            .batch("SET default_transaction_read_only = off;
                    SELECT pg_logical_emit_message(true, 'htap.outbox', repeat('x', 32) || '7 7 {\"v\": 1}');
                    SELECT pg_logical_emit_message(false, 'htap.outbox', '7 7 {\"v\": 1}');
                    SELECT pg_logical_emit_message(true, 'other', '7 7 {\"v\": 1}')")
            .await
            .unwrap();
        let secret = reader.batch("SELECT secret FROM htap.stream_slot").await;
        assert_eq!(secret.unwrap_err().code(), "42501");
        until_sent(&client).await;
        let mut last: BTreeMap<String, i64> = BTreeMap::new();
        let sent = kafka.records();
        assert_eq!(sent.len(), 25_000);
        for record in sent {
            let n = record.value["n"].as_i64().unwrap();
            let before = last.insert(record.key.unwrap(), n);
            assert!(before < Some(n), "{before:?} {n}");
        }
        let dead = "SELECT count(*) FROM htap.dead_letter WHERE partition = -1 AND reason LIKE '%the shop did not write'
                    AND value_bytes = octet_length(value) AND convert_from(value, 'UTF8') LIKE 'xx%'";
        assert_eq!(number(&client, dead).await, 1);
        assert_eq!(
            number(&client, "SELECT count(*) FROM htap.dead_letter").await,
            1
        );
    });
}
