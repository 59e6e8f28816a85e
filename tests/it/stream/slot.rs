//! Events from a replication slot: the same as from the outbox, whatever is killed, switched, dropped or forged.

use super::{
    Kafka, Running, aggregate, differences, last_order, number, plan, relay, relay_plan, trade,
    until_read, until_relayed,
};
use crate::it::facts;
use crate::it::server::{Database, Order, Server, block_on, until};
use crate::it::system::fill_one;
use htap_top::cluster::SUPERUSER;
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::output::prometheus;
use htap_top::pg::Client;
use htap_top::stream::pause;
use htap_top::stream::relay::Event;
use htap_top::stream::slot::own;
use htap_top::system::schema;
use htap_top::system::uninstall::Uninstall;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::OnceCell;

/// A shop on this module's server, where htap_refresh may use slots, with one of the database's name.
async fn shop() -> (Database<'static>, Client) {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    static NUMBER: AtomicU32 = AtomicU32::new(1);
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
    let server = server.await;
    let name = format!("slot_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let admin = Client::connect(&server.target("postgres", SUPERUSER))
        .await
        .unwrap();
    admin
        .batch(&format!("CREATE DATABASE {name} TEMPLATE filled"))
        .await
        .unwrap();
    let database = Database { server, name };
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
            for _ in 0..30 {
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
            32 * 15,
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

/// What a relay says that cannot go on.
async fn end(database: &Database<'_>, kafka: &Kafka) -> String {
    relay(database, relay_plan(kafka)).ends().await
}

#[test]
fn a_slot_that_lost_events_is_told_and_never_read_on() {
    block_on(async {
        let (database, client) = slotted_shop().await;
        let name = &database.name;
        let kafka = Kafka::start();
        let running: Running<Event> = relay(&database, relay_plan(&kafka));
        running.tells(|event| matches!(event, Event::Slot(_))).await;
        trade(&client, 4).await;
        until_sent(&client).await;
        let drop_slot = format!(
            "DO $$ BEGIN PERFORM pg_drop_replication_slot('{name}'); EXCEPTION WHEN object_in_use THEN
                 PERFORM pg_sleep(0.01); RAISE; END $$"
        );
        while client.batch(&drop_slot).await.is_err() {}
        let why = running.ends().await;
        assert!(why.contains("lost") || why.contains("dropped"), "{why}");
        let state =
            "SELECT count(*) FROM htap.stream_state WHERE state = 'reset' AND error IS NOT NULL";
        assert_eq!(number(&client, state).await, 1);
        let why = end(&database, &kafka).await;
        assert!(
            why.contains(&format!("{name} does not exist on this server")),
            "{why}"
        );
        let mut headless = facts::watch(&database.target_of("htap_monitor"), &[]);
        let says = |what: &'static str| {
            move |model: &htap_top::dashboard::model::Model| {
                let mut findings = model.findings.iter();
                findings.any(|finding| {
                    finding.health == Health::Danger && finding.sentence.contains(what)
                })
            }
        };
        facts::until(
            &mut headless,
            "gone",
            says("does not exist on this server: events of orders are lost"),
        )
        .await;

        let make = |plugin: &str| {
            format!("SELECT pg_create_logical_replication_slot('{name}', '{plugin}')")
        };
        trade(&client, 4).await;
        client.batch(&make("pgoutput")).await.unwrap();
        let why = end(&database, &kafka).await;
        assert!(
            why.contains("it was made anew, or somebody else reads it"),
            "{why}"
        );
        facts::until(
            &mut headless,
            "moved",
            says("is further than what was sent"),
        )
        .await;
        client.batch(&drop_slot).await.unwrap();
        client.batch(&make("test_decoding")).await.unwrap();
        let why = end(&database, &kafka).await;
        assert!(why.contains("of plugin test_decoding"), "{why}");
        client.batch(&drop_slot).await.unwrap();

        // Anew, on purpose.
        let refused = own::remove(&client, true).await.unwrap_err().to_string();
        assert!(refused.contains("events are written for slot"), "{refused}");
        client
            .batch("SELECT htap.switch_outbox(false)")
            .await
            .unwrap();
        assert!(!own::remove(&client, false).await.unwrap().existed);
        own::create(&client, name).await.unwrap();
        client.batch("SELECT htap.switch_to_slot()").await.unwrap();
        let _relay = relay(&database, relay_plan(&kafka));
        trade(&client, 4).await;
        until_sent(&client).await;
        assert_eq!(ids(&kafka).len(), 30, "the second of three trades is lost");
    });
}

#[test]
fn a_slot_that_nobody_reads_is_told_and_a_paused_relay_leaves_it() {
    block_on(async {
        let (database, client) = slotted_shop().await;
        let kafka = Kafka::start();
        let hold = "UPDATE htap.stream_slot SET sent_at = clock_timestamp() - interval '1 min'";
        client.batch(hold).await.unwrap();
        let mut headless = facts::watch(&database.target_of("htap_monitor"), &[]);
        let says = |what: String| {
            move |model: &htap_top::dashboard::model::Model| {
                model
                    .findings
                    .iter()
                    .any(|finding| finding.sentence.contains(&what))
            }
        };
        let unread = format!("no relay reads replication slot {}: ", database.name);
        facts::until(&mut headless, "nobody reads it", says(unread)).await;
        let text = prometheus::text(&headless.model, &[]).unwrap();
        assert!(
            text.contains(&format!(
                "htap_top_stream_slot_wal_bytes{{slot=\"{}\"}}",
                database.name
            )),
            "{text}"
        );
        assert!(!text.contains("htap_top_stream_outbox_rows "), "{text}");

        let monitor = pause::open(&database.target_of("htap_monitor"))
            .await
            .unwrap();
        pause::switch(&monitor, true, "ada").await.unwrap();
        let relay = relay(&database, relay_plan(&kafka));
        relay.tells(|event| *event == Event::Paused).await;
        trade(&client, 4).await;
        facts::until(
            &mut headless,
            "paused",
            says("by htap_monitor (ada): ".to_owned()),
        )
        .await;
        assert_eq!(kafka.records(), []);
        let uninstall = Uninstall::prepare(&database.target()).await;
        let why = uninstall.unwrap_err().to_string();
        assert!(why.contains("htap-top stream slot drop"), "{why}");
        pause::switch(&monitor, false, "ada").await.unwrap();
        until_sent(&client).await;
        assert_eq!(kafka.records().len(), 15);

        // It is dropped when nothing of it is left to send, and the relay goes on with the outbox.
        client
            .batch("SELECT htap.switch_outbox(true)")
            .await
            .unwrap();
        until_sent(&client).await;
        // The relay reads it at times.
        while let Err(error) = own::remove(&client, false).await {
            assert!(error.to_string().contains("is active"), "{error}");
        }
        trade(&client, 4).await;
        until_relayed(&client).await;
        assert_eq!(kafka.records().len(), 30);
        let left = "SELECT count(*) FROM pg_publication WHERE pubname = 'htap_events'";
        assert_eq!(number(&client, left).await, 0);
        assert!(Uninstall::prepare(&database.target()).await.is_ok());
    });
}

#[test]
fn what_a_slot_lacks_is_said_on_all_majors() {
    block_on(async {
        for major in [13, 14, 16, 17, 18] {
            let server = Server::of_major(major);
            let database = server.database("slot").await;
            let client = database.connect().await;
            schema::create(&client).await.unwrap();
            let refused = async || own::create(&client, "s").await.unwrap_err().to_string();
            if major == 13 {
                assert!(refused().await.contains("from PostgreSQL 14 on"));
                continue;
            }
            let early = client
                .batch("SELECT htap.switch_to_slot()")
                .await
                .unwrap_err();
            assert_eq!(early.code(), "55000");
            own::create(&client, "s").await.unwrap();
            assert!(
                refused()
                    .await
                    .contains("there is a slot for events already: s")
            );
            let stock = "INSERT INTO shop.users (user_name) VALUES ('a');
                         INSERT INTO shop.categories (category_name) VALUES ('B\u{fc}cher');
                         INSERT INTO shop.products (product_name, category_id, price)
                         SELECT 'p', c.category_id, 2 FROM shop.categories AS c, generate_series(1, 4);
                         INSERT INTO shop.inventory (product_id, quantity) SELECT product_id, 1000 FROM shop.products;
                         SELECT htap.switch_to_slot()";
            client.batch(stock).await.unwrap();
            let kafka = Kafka::start();
            let why = end(&database, &kafka).await;
            assert!(
                why.contains("ALTER ROLE \"htap_refresh\" REPLICATION"),
                "{why}"
            );
            client
                .batch("ALTER ROLE htap_refresh REPLICATION")
                .await
                .unwrap();
            let _relay = relay(&database, relay_plan(&kafka));
            trade(&client, 4).await;
            until_sent(&client).await;
            let sent = kafka.records();
            assert_eq!(sent.len(), 15, "{major}");
            assert!(in_order(&kafka));
            assert!(
                sent.iter()
                    .any(|record| record.value["lines"][0]["category"] == "B\u{fc}cher"),
                "{sent:?}"
            );
        }
        let server = Server::start(&Order {
            settings: vec![("wal_level".into(), "replica".into())],
            ..Order::default()
        });
        let database = server.database("slot").await;
        let client = database.connect().await;
        schema::create(&client).await.unwrap();
        let why = own::create(&client, "s").await.unwrap_err().to_string();
        assert!(
            why.contains("ALTER SYSTEM SET wal_level = logical"),
            "{why}"
        );
        let plain = database.connect_as("htap_monitor").await;
        let why = own::create(&plain, "s").await.unwrap_err().to_string();
        assert!(why.contains("wal_level"), "{why}");
    });
}
