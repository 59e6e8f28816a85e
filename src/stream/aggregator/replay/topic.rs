//! Reads the topic between offsets.

use super::compare::{Aside, Held};
use super::{From, Windows};
use crate::stream::StreamError;
use crate::stream::aggregator::batch::{Batch, Record};
use crate::stream::aggregator::reader::{ANSWER, CONSUMER};
use crate::stream::kafka::{Broker, Context};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time without a record.
const SILENCE: Duration = Duration::from_secs(30);
/// By how much events of a partition may be out of order, in microseconds: events before the first offset are earlier than
/// the event there and this.
const DISORDER: i64 = 60_000_000;

/// A partition.
#[derive(Debug)]
struct Partition {
    /// The offset to read next.
    next: i64,
    /// Read up to this offset.
    end: i64,
    /// The hash of the last record.
    print: Option<u64>,
    /// Records before the first one are missing.
    cut: bool,
    /// Time of the first event.
    first_at: Option<i64>,
}

/// The topic.
pub(super) struct Topic {
    consumer: BaseConsumer<Context>,
    context: Context,
    name: String,
    partitions: BTreeMap<i32, Partition>,
    heard: Instant,
}

fn refused<T>(why: String) -> Result<T, StreamError> {
    Err(StreamError::Refused(why))
}

impl Topic {
    pub(super) async fn open(
        broker: &Broker,
        from: &From,
        held: &Held,
    ) -> Result<Self, StreamError> {
        let name = broker.topic.clone();
        match broker.partitions().await? {
            None => return refused(format!("there is no topic {name}")),
            Some((_, cluster)) if cluster != held.cluster => {
                return refused(format!(
                    "topic {name} is in the Kafka cluster {cluster}, and was counted in {}",
                    held.cluster
                ));
            }
            Some(_) => {}
        }
        let context = Context::default();
        let consumer: BaseConsumer<Context> = broker.client(&CONSUMER, context.clone())?;
        let mut partitions = BTreeMap::new();
        for (number, left) in &held.partitions {
            let known = consumer.fetch_watermarks(&name, *number, ANSWER);
            let (low, high) = known.map_err(|error| StreamError::Broker(error.to_string()))?;
            let wanted = match from {
                From::Beginning => None,
                From::Offset(offset) => Some(*offset),
                From::Offsets(offsets) => offsets.get(number).copied(),
            };
            let first = wanted.unwrap_or(low);
            if high < left.next {
                return refused(format!(
                    "partition {number} was counted up to offset {}, and ends at {high}: it is not the topic that was counted",
                    left.next
                ));
            }
            if first < low {
                return refused(format!(
                    "partition {number} begins at offset {low}: earlier records were removed"
                ));
            }
            // All that is counted is gone from the topic, or before the first offset.
            let first = first.min(left.next);
            let partition = Partition {
                next: first,
                end: first,
                print: None,
                cut: first > 0,
                first_at: None,
            };
            partitions.insert(*number, partition);
        }
        Ok(Self {
            consumer,
            context,
            name,
            partitions,
            heard: Instant::now(),
        })
    }

    /// Reads on, up to these offsets.
    pub(super) fn seek(&mut self, held: &Held) -> Result<(), StreamError> {
        let mut list = TopicPartitionList::new();
        for (number, partition) in &mut self.partitions {
            partition.end = held.partitions.get(number).map_or(0, |left| left.next);
            if partition.next < partition.end {
                let offset = Offset::Offset(partition.next);
                let added = list.add_partition_offset(&self.name, *number, offset);
                added.map_err(|error| StreamError::Client(error.to_string()))?;
            }
        }
        self.heard = Instant::now();
        let assigned = self.consumer.assign(&list);
        assigned.map_err(|error| StreamError::Client(error.to_string()))
    }

    /// Takes what has arrived, until the batch is full. Returns how many records were passed over as dead letters.
    pub(super) fn read(&mut self, batch: &mut Batch, windows: &Windows, aside: &Aside) -> u64 {
        let mut dead = 0;
        while !batch.is_full() {
            let Some(polled) = self.consumer.poll(Duration::ZERO) else {
                break;
            };
            let message = match polled {
                Ok(message) => message,
                Err(KafkaError::PartitionEOF(number)) => {
                    // Records before the end may have been compacted away.
                    if let Some(partition) = self.partitions.get_mut(&number) {
                        partition.next = partition.next.max(partition.end);
                    }
                    continue;
                }
                Err(error) => {
                    self.context.note_error(&error);
                    break;
                }
            };
            let (number, offset) = (message.partition(), message.offset());
            let Some(partition) = self.partitions.get_mut(&number) else {
                continue;
            };
            if offset >= partition.end {
                partition.next = partition.next.max(partition.end);
                continue;
            }
            if offset < partition.next {
                continue;
            }
            let record = Record::of(&message);
            if aside.is_dead(number, offset, record.timestamp) {
                batch.pass(record, partition.next);
                dead += 1;
            } else {
                batch.take(record, partition.next, windows, i64::MAX);
            }
            partition.next = offset + 1;
            if let Some(moved) = batch.moved.get(&number) {
                partition.print = Some(moved.print);
                partition.first_at = partition.first_at.or(moved.max_at);
            }
            self.heard = Instant::now();
        }
        dead
    }

    /// Returns true if all is read up to these offsets.
    pub(super) fn is_read(&self, held: &Held) -> Result<bool, StreamError> {
        let lacks = |number: &i32, partition: &Partition| {
            let end = held.partitions.get(number).map_or(0, |left| left.next);
            partition.next < end
        };
        let mut partitions = self.partitions.iter();
        let lacking = partitions.find(|(number, partition)| lacks(number, partition));
        let Some((number, partition)) = lacking else {
            return Ok(true);
        };
        if self.heard.elapsed() < SILENCE {
            return Ok(false);
        }
        let why = self.context.error();
        let why = why.unwrap_or_else(|| "no record for 30 s".to_owned());
        Err(StreamError::Broker(format!(
            "partition {number} at offset {}: {why}",
            partition.next
        )))
    }

    /// Refuses a topic whose last records are not those that were counted.
    pub(super) fn verify(&self, held: &Held) -> Result<(), StreamError> {
        for (number, partition) in &self.partitions {
            let stored = held.partitions.get(number);
            let stored = stored.and_then(|left| left.print.as_deref());
            let read = partition.print.map(|print| format!("{print:x}"));
            if let (Some(stored), Some(read)) = (stored, read)
                && stored != read
            {
                return refused(format!(
                    "partition {number} has another record before offset {} than the one that was counted: it is not the \
                     topic that was counted",
                    partition.next
                ));
            }
        }
        Ok(())
    }

    /// The first window, in microseconds, from which on none holds an event before the first offsets; `None`: all.
    pub(super) fn whole_since(&self, held: &Held, width: i64) -> Option<i64> {
        let cut = self
            .partitions
            .iter()
            .filter(|(_, partition)| partition.cut);
        let last = cut.filter_map(|(number, partition)| {
            let max_at = held.partitions.get(number).and_then(|left| left.max_at);
            match partition.first_at {
                Some(at) => Some(at.saturating_add(DISORDER)),
                None => max_at,
            }
        });
        let last = last.max()?;
        Some(last - last.rem_euclid(width) + width)
    }
}
