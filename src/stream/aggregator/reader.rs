//! Reads the partitions from where the database says, and makes sure that they are the ones that were read before.
//!
//! The broker knows nothing of what was read. So reading begins with the last record that was counted: it must be there,
//! and be the same. Otherwise the topic was made anew, or lost its end, and what its offsets mean is not known. This is
//! checked again after each failure of a connection, because a broker may come back with another topic of the same name.

use super::apply::{Shown, Stored};
use super::batch::{Batch, Record};
use super::watermark::{Progress, Windows};
use crate::stream::StreamError;
use crate::stream::kafka::{Broker, Context};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time to wait for an answer about offsets.
pub(super) const ANSWER: Duration = Duration::from_secs(5);
/// Shortest time between two new beginnings after a failed connection.
const AGAIN: Duration = Duration::from_secs(1);

/// Settings of the consumer: it neither has a group nor decides about offsets, and what it reads ahead is bounded.
pub(super) const CONSUMER: [(&str, &str); 12] = [
    // The library wants a name, and uses it for nothing.
    ("group.id", "htap-top"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("auto.offset.reset", "error"),
    ("enable.partition.eof", "true"),
    ("allow.auto.create.topics", "false"),
    ("queued.max.messages.kbytes", "4096"),
    ("fetch.message.max.bytes", "262144"),
    ("fetch.max.bytes", "2097152"),
    // The queue is small: it is filled again as soon as there is room.
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "50"),
    ("statistics.interval.ms", "1000"),
];

/// A partition.
#[derive(Debug)]
struct Partition {
    /// The offset to read next.
    next: i64,
    /// The hash of the record before `next`.
    print: Option<u64>,
    /// That record is expected first.
    checking: bool,
    progress: Progress,
    /// The offset after what was applied.
    applied: i64,
}

/// The partitions of the topic.
pub(super) struct Reader {
    consumer: BaseConsumer<Context>,
    context: Context,
    topic: String,
    partitions: BTreeMap<i32, Partition>,
    assigned: Instant,
    disturbed: bool,
}

/// The error of a topic that has replaced the one that was read before.
pub(super) fn replaced(topic: &str, why: &str) -> StreamError {
    StreamError::Replaced(format!(
        "topic {topic} is not the one that was read before: {why}. Nothing was read or skipped. If it is to be read from its \
         beginning, pass --new-topic: events that were counted before are recognised for as long as --lateness says"
    ))
}

impl Reader {
    pub(super) fn new(broker: &Broker, stored: &[Stored]) -> Result<Self, StreamError> {
        let context = Context::default();
        let consumer = broker.client(&CONSUMER, context.clone())?;
        let now = Instant::now();
        let partitions = stored.iter().map(|stored| {
            let partition = Partition {
                next: stored.next,
                print: stored.print,
                checking: false,
                progress: Progress {
                    max_at: stored.max_at,
                    at_end: false,
                    last: now,
                },
                applied: stored.next,
            };
            (stored.partition, partition)
        });
        let mut reader = Self {
            consumer,
            context,
            topic: broker.topic.clone(),
            partitions: partitions.collect(),
            assigned: now,
            disturbed: false,
        };
        reader.assign(true)?;
        Ok(reader)
    }

    /// Reads from the record before the next one, or, without a check, from the next one.
    fn assign(&mut self, check: bool) -> Result<(), StreamError> {
        let mut list = TopicPartitionList::new();
        for (number, partition) in &mut self.partitions {
            partition.checking = check && partition.print.is_some() && partition.next > 0;
            partition.progress.at_end = false;
            let offset = match partition.next {
                0 => Offset::Beginning,
                next => Offset::Offset(next - i64::from(partition.checking)),
            };
            let added = list.add_partition_offset(&self.topic, *number, offset);
            added.map_err(|error| StreamError::Client(error.to_string()))?;
        }
        self.assigned = Instant::now();
        let assigned = self.consumer.assign(&list);
        assigned.map_err(|error| StreamError::Client(error.to_string()))
    }

    /// Takes what has arrived, until the batch is full.
    pub(super) fn read(
        &mut self,
        batch: &mut Batch,
        windows: &Windows,
        latest: i64,
    ) -> Result<(), StreamError> {
        self.disturbed |= self.context.was_disturbed();
        // Not in the middle of a batch, whose records would be read again.
        if self.disturbed && batch.records == 0 && self.assigned.elapsed() >= AGAIN {
            self.disturbed = false;
            self.assign(true)?;
        }
        while !batch.is_full() {
            // The message borrows the consumer, not the rest.
            let Some(polled) = self.consumer.poll(Duration::ZERO) else {
                return Ok(());
            };
            match polled {
                Ok(message) => {
                    let taken = take(&message, &mut self.partitions, batch, windows, latest);
                    taken.map_err(|why| replaced(&self.topic, &why))?;
                    self.context.note_success();
                }
                Err(KafkaError::PartitionEOF(number)) => {
                    self.context.note_success();
                    let partition = self.partitions.get_mut(&number);
                    if let Some(partition) = partition {
                        partition.progress.at_end = true;
                        if partition.checking {
                            return Err(replaced(&self.topic, &shorter(number, partition.next)));
                        }
                    }
                }
                Err(error) if is_out_of_range(&error) => return self.explain(batch),
                Err(error) => {
                    self.context.note_error(&error);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// An offset is not in the topic: finds out whose, and why.
    fn explain(&mut self, batch: &Batch) -> Result<(), StreamError> {
        for (number, partition) in &self.partitions {
            let known = self.consumer.fetch_watermarks(&self.topic, *number, ANSWER);
            let (low, high) = known.map_err(|error| StreamError::Broker(error.to_string()))?;
            let next = partition.next;
            if next > 0 && next < low {
                let gone = low - next;
                return Err(replaced(
                    &self.topic,
                    &format!(
                        "{gone} records of partition {number} were removed before they were read (offsets {next} to {low})"
                    ),
                ));
            }
            if next > high {
                return Err(replaced(&self.topic, &shorter(*number, next)));
            }
        }
        // Only the records that were read already are gone: there is nothing to compare with.
        if batch.records == 0 {
            self.assign(false)
        } else {
            self.disturbed = true;
            Ok(())
        }
    }

    /// The batch was applied.
    pub(super) fn note_applied(&mut self, batch: &Batch) {
        for (number, moved) in &batch.moved {
            if let Some(partition) = self.partitions.get_mut(number) {
                partition.applied = moved.to;
            }
        }
    }

    /// What the watermark goes by.
    pub(super) fn progress(&self) -> impl Iterator<Item = &Progress> {
        self.partitions
            .values()
            .map(|partition| &partition.progress)
    }

    /// Number of records that were not applied, if the ends are known.
    pub(super) fn lag(&self) -> Option<u64> {
        let mut all = 0;
        for (number, partition) in &self.partitions {
            let end = self.end(*number, partition)?;
            all += u64::try_from(end - partition.applied).unwrap_or(0);
        }
        Some(all)
    }

    /// The end of a partition; what was read is older than what the client reports.
    fn end(&self, number: i32, partition: &Partition) -> Option<i64> {
        if partition.progress.at_end {
            return Some(partition.next);
        }
        Some(self.context.end(number)?.max(partition.next))
    }

    pub(super) fn shown<'a>(&'a self, windows: &'a Windows) -> impl Iterator<Item = Shown> + 'a {
        self.partitions.iter().map(|(number, partition)| Shown {
            partition: *number,
            end: self.end(*number, partition),
            watermark: windows.of(&partition.progress),
            idle: windows.is_idle(&partition.progress),
        })
    }

    /// The last error, if nothing has arrived since.
    pub(super) fn error(&self) -> Option<String> {
        self.context.error()
    }
}

fn shorter(number: i32, next: i64) -> String {
    format!("partition {number} was read up to offset {next}, and ends before it")
}

fn is_out_of_range(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
    )
}

/// Takes a message, or returns why the topic is another one.
fn take(
    message: &BorrowedMessage<'_>,
    partitions: &mut BTreeMap<i32, Partition>,
    batch: &mut Batch,
    windows: &Windows,
    latest: i64,
) -> Result<(), String> {
    let (number, offset) = (message.partition(), message.offset());
    let Some(partition) = partitions.get_mut(&number) else {
        return Ok(());
    };
    let record = Record::of(message);
    if offset < partition.next {
        if std::mem::take(&mut partition.checking) && partition.print != Some(record.print()) {
            return Err(format!(
                "partition {number} has another record at offset {offset}, the last one that was counted"
            ));
        }
        return Ok(());
    }
    // The record may have been compacted away.
    partition.checking = false;
    batch.take(record, partition.next, windows, latest);
    partition.next = offset + 1;
    partition.print = batch.moved.get(&number).map(|moved| moved.print);
    partition.progress.max_at = batch
        .moved
        .get(&number)
        .and_then(|moved| moved.max_at)
        .max(partition.progress.max_at);
    partition.progress.at_end = false;
    partition.progress.last = Instant::now();
    Ok(())
}
