//! The stream on real servers, with librdkafka's broker in this process: whatever is killed, repeated, late or poison, the
//! figures equal a recomputation.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

mod exactly_once;
mod flink;
mod late;
mod oracle;
mod paused;
mod poison;
mod relay;
mod replaced;
mod replayed;
mod shown;
mod slot;
mod switched;

use crate::it::server::{Database, Patience, Server, until};
use crate::it::system::shop;
use htap_top::pg::{Client, Param};
use htap_top::stream::{Broker, StreamError, aggregator, instance, relay as relaying};
use htap_top::system::fill::{Fill, fill};
use htap_top::system::schema;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

const PARTITIONS: i32 = 4;
const TOPIC: &str = "orders";

/// A broker with an empty topic.
struct Kafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
}

/// A record as it is in the topic.
#[derive(Clone, Debug, PartialEq)]
struct Sent {
    partition: i32,
    offset: i64,
    key: Option<String>,
    value: Value,
}

impl Kafka {
    fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, PARTITIONS, 1).unwrap();
        Self { cluster }
    }

    fn broker(&self) -> Broker {
        Broker {
            brokers: self.cluster.bootstrap_servers(),
            topic: TOPIC.to_owned(),
            settings: Vec::new(),
        }
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers());
        config
            .set("group.id", "test")
            .set("enable.partition.eof", "true");
        config.set("message.max.bytes", "20000000");
        config
    }

    /// Sends records as another program would.
    async fn produce<V: Into<Option<Vec<u8>>>>(&self, records: impl IntoIterator<Item = (i32, V)>) {
        produce(&self.config(), records).await;
    }

    /// Everything in the topic.
    fn records(&self) -> Vec<Sent> {
        let consumer: BaseConsumer = self.config().create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(TOPIC, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut found, mut ended) = (Vec::new(), 0);
        let patience = Patience::begin();
        while ended < PARTITIONS {
            assert!(patience.lasts(), "{ended} partitions were read");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => found.push(Sent {
                    partition: message.partition(),
                    offset: message.offset(),
                    key: message
                        .key()
                        .map(|key| String::from_utf8(key.to_vec()).unwrap()),
                    value: serde_json::from_slice(message.payload().unwrap_or(b"null"))
                        .unwrap_or(Value::Null),
                }),
                Some(Err(KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        found
    }
}

async fn produce<V: Into<Option<Vec<u8>>>>(
    config: &ClientConfig,
    records: impl IntoIterator<Item = (i32, V)>,
) {
    let producer: FutureProducer = config.create().unwrap();
    for (partition, value) in records {
        let value = value.into();
        let mut record: FutureRecord<'_, str, [u8]> = FutureRecord::to(TOPIC).partition(partition);
        record.payload = value.as_deref();
        drop(producer.send_result(record).unwrap());
    }
    tokio::task::spawn_blocking(move || producer.flush(Duration::from_secs(30)).unwrap())
        .await
        .unwrap();
}

/// A completed order of one piece, as a record.
fn completed(event_id: i64, at: &str, category: &str) -> Value {
    json!({"v": 1, "event": "completed", "event_id": event_id, "order_id": event_id, "user_id": 1, "status": 3,
           "segment": "VIP", "at": at, "amount": "1.00",
           "lines": [{"category": category, "quantity": 1, "amount": "1.00"}]})
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// A relay or an aggregator that runs until it is dropped, and what it tells.
struct Running<E> {
    task: JoinHandle<StreamError>,
    told: Arc<Mutex<Vec<E>>>,
}

impl<E> Drop for Running<E> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<E: Clone + std::fmt::Debug> Running<E> {
    /// Waits for an event.
    async fn tells(&self, what: impl Fn(&E) -> bool) -> E {
        let patience = Patience::begin();
        loop {
            let found = self
                .told
                .lock()
                .unwrap()
                .iter()
                .find(|event| what(event))
                .cloned();
            if let Some(event) = found {
                return event;
            }
            assert!(
                !self.task.is_finished() && patience.lasts(),
                "told {:?}",
                self.told.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for its end.
    async fn ends(mut self) -> String {
        let error = tokio::time::timeout(Duration::from_secs(60), &mut self.task).await;
        error
            .unwrap_or_else(|_| panic!("told {:?}", self.told.lock().unwrap()))
            .unwrap()
            .to_string()
    }
}

fn relay_plan(kafka: &Kafka) -> relaying::Plan {
    relay_plan_of(kafka.broker())
}

fn relay_plan_of(broker: Broker) -> relaying::Plan {
    relaying::Plan {
        name: instance("relay"),
        broker,
        partitions: PARTITIONS,
        replication: 1,
    }
}

fn relay(database: &Database<'_>, plan: relaying::Plan) -> Running<relaying::Event> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let target = database.target_of("htap_refresh");
    let teller = Arc::clone(&told);
    let task = tokio::spawn(async move {
        let ended =
            relaying::relay(&target, &plan, |event| teller.lock().unwrap().push(event)).await;
        ended.unwrap_err()
    });
    Running { task, told }
}

fn plan(kafka: &Kafka) -> aggregator::Plan {
    plan_of(kafka.broker())
}

fn plan_of(broker: Broker) -> aggregator::Plan {
    aggregator::Plan::new(instance("aggregator"), broker)
}

fn aggregate(database: &Database<'_>, plan: aggregator::Plan) -> Running<aggregator::Event> {
    let told = Arc::new(Mutex::new(Vec::new()));
    let target = database.target_of("htap_refresh");
    let teller = Arc::clone(&told);
    let task = tokio::spawn(async move {
        let ended =
            aggregator::aggregate(&target, &plan, |event| teller.lock().unwrap().push(event)).await;
        ended.unwrap_err()
    });
    Running { task, told }
}

const STREAMS: &str =
    "UPDATE shop.inventory SET quantity = 1000000; SELECT htap.switch_outbox(true)";

/// A shop that writes its outbox.
async fn streaming_shop() -> (Database<'static>, Client) {
    let database = shop().await;
    let client = database.connect().await;
    client.batch(STREAMS).await.unwrap();
    (database, client)
}

/// The same on a server of the test's own.
async fn streaming_shop_on(server: &Server) -> (Database<'_>, Client) {
    let database = server.database("stream").await;
    let client = database.connect().await;
    schema::create(&client).await.unwrap();
    let end_ms = number(&client, "SELECT (extract(epoch FROM now()) * 1000)::bigint").await;
    let what = Fill {
        orders: 200,
        seed: 7,
        end_ms,
    };
    fill(&database.target(), what, |_, _| {}).await.unwrap();
    client.batch(STREAMS).await.unwrap();
    (database, client)
}

/// Orders of all kinds, in one transaction: of four, three are completed and one is cancelled.
async fn trade(client: &Client, orders: u32) {
    let sql = format!(
        "DO $$ DECLARE id bigint; buyers bigint[] := ARRAY(SELECT user_id FROM shop.users ORDER BY user_id LIMIT 50);
                       goods bigint[] := ARRAY(SELECT product_id FROM shop.products ORDER BY product_id LIMIT 40);
         BEGIN FOR n IN 1..{orders} LOOP
             id := shop.create_order(buyers[1 + n % cardinality(buyers)],
                                     ARRAY[goods[1 + n % cardinality(goods)], goods[1 + (7 * n + 3) % cardinality(goods)]],
                                     ARRAY[1 + n % 3, 2]);
             PERFORM shop.pay_order(id);
             IF n % 4 = 0 THEN PERFORM shop.cancel_order(id);
             ELSE PERFORM shop.ship_order(id); PERFORM shop.complete_order(id); END IF;
         END LOOP; END $$"
    );
    client.batch(&sql).await.unwrap();
}

/// Waits until nothing is left in the outbox.
async fn until_relayed(client: &Client) {
    let sql = "SELECT count(*) AS n FROM htap.outbox";
    until(client, "the outbox is empty", sql, &[], |table| {
        table.first("n").int() == Some(0)
    })
    .await;
}

/// Waits until this many records were counted.
async fn until_read(client: &Client, records: usize) {
    let sql = "SELECT coalesce(sum(next_offset), 0)::bigint AS n FROM htap.stream_offset";
    let records = i64::try_from(records).unwrap();
    until(client, "all records were read", sql, &[], |table| {
        table.first("n").int() == Some(records)
    })
    .await;
}

/// The rows in which the figures differ from those of the shop's orders after `last`, in either direction.
async fn differences(client: &Client, last: i64) -> Vec<String> {
    let sql = "
        WITH stream AS (
            SELECT window_start, category, segment, amount, quantity, orders FROM mart.realtime_stream WHERE orders <> 0
        ), batch AS (
            SELECT date_trunc('minute', o.completed_at, 'UTC'), c.category_name, u.user_segment, sum(i.price * i.quantity),
                   sum(i.quantity)::bigint, count(DISTINCT o.order_id)
            FROM shop.orders AS o JOIN shop.order_items AS i USING (order_id, created_at) JOIN shop.users AS u USING (user_id)
            JOIN shop.products AS p USING (product_id) JOIN shop.categories AS c USING (category_id)
            WHERE o.status = 3 AND o.order_id > $1 GROUP BY 1, 2, 3
        )
        SELECT 'too much: ' || d::text AS line FROM (SELECT * FROM stream EXCEPT ALL SELECT * FROM batch) AS d
        UNION ALL SELECT 'missing: ' || d::text FROM (SELECT * FROM batch EXCEPT ALL SELECT * FROM stream) AS d";
    let table = client.query(sql, &[Param::Int(last)]).await.unwrap();
    let lines = 0..table.rows.len();
    lines
        .map(|row| table.get(row, "line").text().unwrap().to_owned())
        .collect()
}

async fn last_order(client: &Client) -> i64 {
    let sql = "SELECT max(order_id) AS n FROM shop.orders";
    client
        .query(sql, &[])
        .await
        .unwrap()
        .first("n")
        .int()
        .unwrap()
}

async fn number(client: &Client, sql: &str) -> i64 {
    let table = client
        .query(sql, &[])
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
    table
        .rows
        .first()
        .and_then(|row| row.first()?.int())
        .unwrap_or_else(|| panic!("{sql}"))
}
