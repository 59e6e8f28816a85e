//! A slot that lost events, that nobody reads, that a relay may not read, or that cannot be made.

use super::{ids, in_order, slotted_shop, until_sent};
use crate::it::facts;
use crate::it::server::{Database, Order, Server, block_on};
use crate::it::stream::{Kafka, Running, number, relay, relay_plan, trade, until_relayed};
use htap_top::cluster::SUPERUSER;
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::model::Model;
use htap_top::dashboard::output::prometheus;
use htap_top::pg::Client;
use htap_top::stream::pause;
use htap_top::stream::relay::Event;
use htap_top::stream::slot::own;
use htap_top::system::schema;
use htap_top::system::uninstall::Uninstall;

/// Goods with a name that is not ASCII, and events by the slot.
const STOCK: &str = "INSERT INTO shop.users (user_name) VALUES ('a');
                         INSERT INTO shop.categories (category_name) VALUES ('B\u{fc}cher');
                         INSERT INTO shop.products (product_name, category_id, price)
                         SELECT 'p', c.category_id, 2 FROM shop.categories AS c, generate_series(1, 4);
                         INSERT INTO shop.inventory (product_id, quantity) SELECT product_id, 1000 FROM shop.products;
                         SELECT htap.switch_to_slot()";

/// Drops the slot behind the relay, which reads it at times.
async fn lose(client: &Client, slot: &str) {
    let sql = format!("SELECT pg_drop_replication_slot('{slot}')");
    while let Err(error) = client.batch(&sql).await {
        assert_eq!(error.code(), "55006");
    }
}

fn says(what: String, danger: bool) -> impl Fn(&Model) -> bool {
    move |model| {
        let mut findings = model.findings.iter();
        findings.any(|finding| {
            (finding.health == Health::Danger) == danger && finding.sentence.contains(&what)
        })
    }
}

async fn encoded<'a>(server: &'a Server, encoding: &str) -> Database<'a> {
    let name = "slot".to_owned();
    let admin = Client::connect(&server.target("postgres", SUPERUSER))
        .await
        .unwrap();
    let sql = format!(
        "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    );
    admin.batch(&sql).await.unwrap();
    Database { server, name }
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
        lose(&client, name).await;
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
        facts::until(
            &mut headless,
            "gone",
            says(
                "does not exist on this server: events of orders are lost".to_owned(),
                true,
            ),
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
            says("is further than what was sent".to_owned(), true),
        )
        .await;
        lose(&client, name).await;
        client.batch(&make("test_decoding")).await.unwrap();
        let why = end(&database, &kafka).await;
        assert!(why.contains("of plugin test_decoding"), "{why}");
        lose(&client, name).await;

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
        let unread = format!("no relay reads replication slot {}: ", database.name);
        facts::until(&mut headless, "nobody reads it", says(unread, false)).await;
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
            says("by htap_monitor (ada): ".to_owned(), false),
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
            let encoding = match major {
                16 => "SQL_ASCII",
                17 => "LATIN1",
                _ => "UTF8",
            };
            let database = encoded(&server, encoding).await;
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
            client.batch(STOCK).await.unwrap();
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
