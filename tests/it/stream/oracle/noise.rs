//! A reader of the topic that sends copies of some records to any partition, and poison, and counts what is there.

use super::super::poison::poison;
use super::super::{PARTITIONS, TOPIC};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What is in the topic at the end.
#[derive(Debug, Default)]
pub(super) struct Topic {
    pub(super) records: i64,
    /// Records of events that had another record before.
    pub(super) copies: i64,
    /// Of these, the ones of events that change figures.
    pub(super) copies_that_count: i64,
    /// Of the copies, those sent from here; the relay sent the others.
    pub(super) copies_made: i64,
    /// Records that are no events.
    pub(super) poison: i64,
    /// Records that are earlier than one before them in their partition.
    pub(super) out_of_order: i64,
}

#[derive(Deserialize)]
struct Known<'a> {
    event_id: i64,
    event: &'a str,
    at: &'a str,
    was_at: Option<&'a str>,
}

pub(super) struct Noise {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Topic>,
}

impl Noise {
    pub(super) fn start(brokers: String, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let thread = std::thread::spawn(move || Maker::new(&brokers, seed).run(&told));
        Self { stop, thread }
    }

    /// Sends no more, and returns what is in the topic when all of it was read.
    pub(super) fn end(self) -> Topic {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

struct Maker {
    consumer: BaseConsumer,
    producer: FutureProducer,
    rng: Xoshiro256PlusPlus,
    poison: Vec<Option<Vec<u8>>>,
    seen: HashSet<i64>,
    latest: BTreeMap<i32, String>,
    read: BTreeMap<i32, i64>,
    topic: Topic,
}

impl Maker {
    fn new(brokers: &str, seed: u64) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers);
        let producer = config
            .clone()
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .create()
            .unwrap();
        config
            .set("group.id", "noise")
            .set("queued.max.messages.kbytes", "4096");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            list.add_partition_offset(TOPIC, partition, Offset::Beginning)
                .unwrap();
        }
        consumer.assign(&list).unwrap();
        // The broker takes no record of more than a megabyte.
        let poison = poison().into_iter();
        let poison =
            poison.filter(|value| value.as_ref().is_none_or(|value| value.len() < 1_000_000));
        Self {
            consumer,
            producer,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            poison: poison.collect(),
            seen: HashSet::new(),
            latest: BTreeMap::new(),
            read: BTreeMap::new(),
            topic: Topic::default(),
        }
    }

    fn run(mut self, stop: &AtomicBool) -> Topic {
        while !stop.load(Ordering::Relaxed) {
            self.turn(true);
        }
        self.producer.flush(Duration::from_secs(120)).unwrap();
        while !self.is_at_end() {
            self.turn(false);
        }
        self.topic
    }

    fn is_at_end(&self) -> bool {
        (0..PARTITIONS).all(|partition| {
            let ends = self
                .consumer
                .fetch_watermarks(TOPIC, partition, Duration::from_secs(30));
            self.read.get(&partition).copied().unwrap_or(0) >= ends.unwrap().1
        })
    }

    /// Reads what is there, at most for a moment.
    fn turn(&mut self, sending: bool) {
        for _ in 0..1_000 {
            // An error is one of the connection, which comes back.
            let Some(Ok(message)) = self.consumer.poll(Duration::from_millis(50)) else {
                return;
            };
            let (partition, offset) = (message.partition(), message.offset());
            let key = message.key().map(<[u8]>::to_vec);
            let value = message.payload().map(<[u8]>::to_vec);
            self.read.insert(partition, offset + 1);
            self.count(partition, value.as_deref());
            if !sending {
                continue;
            }
            if self.rng.random_range(0..1_000) < 30 && self.send(key.as_deref(), value.as_deref()) {
                self.topic.copies_made += 1;
            }
            if self.rng.random_range(0..1_000) < 1 {
                let value = self.poison[self.rng.random_range(0..self.poison.len())].clone();
                self.send(None, value.as_deref());
            }
        }
    }

    fn count(&mut self, partition: i32, value: Option<&[u8]>) {
        self.topic.records += 1;
        let good = !value.is_some_and(|value| self.poison.iter().flatten().any(|bad| bad == value));
        let known = value.and_then(|value| serde_json::from_slice::<Known<'_>>(value).ok());
        let Some(known) = known.filter(|_| good) else {
            self.topic.poison += 1;
            return;
        };
        let latest = self.latest.entry(partition).or_default();
        if known.at < latest.as_str() {
            self.topic.out_of_order += 1;
        } else {
            known.at.clone_into(latest);
        }
        if !self.seen.insert(known.event_id) {
            self.topic.copies += 1;
            self.topic.copies_that_count +=
                i64::from(known.event == "completed" || known.was_at.is_some());
        }
    }

    fn send(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> bool {
        let mut record: FutureRecord<'_, [u8], [u8]> = FutureRecord::to(TOPIC);
        (record.key, record.payload) = (key, value);
        record.partition = Some(self.rng.random_range(0..PARTITIONS));
        // Refused only if its queue is full.
        self.producer.send_result(record).is_ok()
    }
}
