//! What is read from the topic for one transaction.

use super::watermark::Windows;
use crate::stream::dead::{beginning, hex};
use crate::stream::events::{self, Event, Sales};
use rdkafka::message::{BorrowedMessage, Message};
use rust_decimal::Decimal;
use std::collections::{BTreeMap, HashSet};

/// Limits of a batch: they bound the memory, whatever the topic holds.
pub(super) const RECORDS: usize = 10_000;
pub(super) const BYTES: usize = 4_000_000;

/// A record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) timestamp: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Record<'a> {
    pub(super) fn of(message: &'a BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or(-1),
            key: message.key(),
            value: message.payload(),
        }
    }

    /// A hash of all of it: FNV-1a, the same on every machine and in every version.
    pub(super) fn print(&self) -> u64 {
        let timestamp = self.timestamp.to_be_bytes();
        let key = self.key.unwrap_or_default();
        let value = self.value.unwrap_or_default();
        let lengths = [self.key.is_some(), self.value.is_some()].map(u8::from);
        let bytes = timestamp.iter().chain(&lengths).chain(key).chain(value);
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }

    fn size(&self) -> usize {
        self.key.map_or(0, <[u8]>::len) + self.value.map_or(0, <[u8]>::len)
    }
}

/// How far a partition was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) print: u64,
    /// The latest event.
    pub(super) max_at: Option<i64>,
}

/// A record that is no event.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) reason: String,
    /// The first bytes as hexadecimal digits, as `decode` reads them.
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) bytes: i64,
}

/// An event beyond the limit of lateness.
#[derive(Debug)]
pub(super) struct Late {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) event_id: i64,
    pub(super) kind: &'static str,
    pub(super) order_id: i64,
    pub(super) at: i64,
    pub(super) value: String,
}

/// An event that changes windows, with its place in the topic.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) event_id: i64,
    pub(super) order_id: i64,
    /// When it happened, in microseconds since 1970.
    pub(super) at: i64,
    pub(super) sales: Sales,
    /// For a dead letter, if it turns out to be one.
    key: Option<String>,
    value: String,
}

/// Key of a row of `mart.realtime_stream`: start of the window in microseconds, category, segment.
pub(super) type Key<'a> = (i64, &'a str, &'a str);

/// What a row of `mart.realtime_stream` grows by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Growth {
    pub(super) amount: Decimal,
    pub(super) quantity: i64,
    pub(super) orders: i64,
    /// Each order in one row only: that of its first category.
    pub(super) distinct_orders: i64,
}

/// A batch.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) moved: BTreeMap<i32, Moved>,
    pub(super) counted: Vec<Counted>,
    pub(super) dead: Vec<Dead>,
    pub(super) late: Vec<Late>,
    pub(super) duplicates: u64,
    pub(super) records: usize,
    pub(super) bytes: usize,
    seen: HashSet<i64>,
}

impl Batch {
    /// Returns true if it should be applied before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.records >= RECORDS || self.bytes >= BYTES
    }

    /// Passes over a record that follows `next`.
    pub(super) fn pass(&mut self, record: Record<'_>, next: i64) -> &mut Moved {
        self.records += 1;
        self.bytes += record.size();
        let moved = self.moved.entry(record.partition).or_insert(Moved {
            from: next,
            to: next,
            print: 0,
            max_at: None,
        });
        moved.to = record.offset + 1;
        moved.print = record.print();
        moved
    }

    /// Takes a record that follows `next`. `latest`: the latest time that is believed.
    pub(super) fn take(&mut self, record: Record<'_>, next: i64, windows: &Windows, latest: i64) {
        let moved = self.pass(record, next);
        match events::event(record.value, latest) {
            Ok(event) => {
                moved.max_at = moved.max_at.max(Some(event.at));
                self.sort(record, event, windows);
            }
            Err(reason) => self.dead.push(Dead {
                partition: record.partition,
                offset: record.offset,
                reason: reason.chars().take(200).collect(),
                key: record.key.map(beginning),
                value: record.value.map(beginning),
                bytes: record
                    .value
                    .map_or(0, |value| i64::try_from(value.len()).unwrap_or(i64::MAX)),
            }),
        }
    }

    fn sort(&mut self, record: Record<'_>, event: Event, windows: &Windows) {
        let Some(sales) = event.sales else {
            return;
        };
        let (partition, offset) = (record.partition, record.offset);
        let value = record.value.unwrap_or_default();
        if windows.is_too_late(sales.at) {
            self.late.push(Late {
                partition,
                offset,
                event_id: event.id,
                kind: event.kind.name(),
                order_id: event.order_id,
                at: sales.at,
                value: hex(value),
            });
        } else if self.seen.insert(event.id) {
            // Only the names can be refused by a database, those that are not ASCII.
            let suspicious = !sales.segment.is_ascii()
                || sales.lines.iter().any(|line| !line.category.is_ascii());
            self.counted.push(Counted {
                partition,
                offset,
                event_id: event.id,
                order_id: event.order_id,
                at: event.at,
                sales,
                key: record.key.filter(|_| suspicious).map(beginning),
                value: if suspicious {
                    beginning(value)
                } else {
                    String::new()
                },
            });
        } else {
            self.duplicates += 1;
        }
    }

    /// All names that are not ASCII.
    pub(super) fn foreign_names(&self) -> HashSet<String> {
        let names = self.counted.iter().flat_map(|counted| {
            let lines = counted.sales.lines.iter().map(|line| &line.category);
            lines.chain([&counted.sales.segment])
        });
        let foreign = names.filter(|name| !name.is_ascii());
        foreign.map(ToString::to_string).collect()
    }

    /// Makes dead letters of the events with one of these names.
    pub(super) fn bury(&mut self, names: &HashSet<String>, why: &str) {
        let has = |counted: &mut Counted| {
            names.contains(&*counted.sales.segment)
                || counted
                    .sales
                    .lines
                    .iter()
                    .any(|line| names.contains(&*line.category))
        };
        let buried = self.counted.extract_if(.., has).collect::<Vec<_>>();
        self.dead.extend(buried.into_iter().map(|counted| Dead {
            partition: counted.partition,
            offset: counted.offset,
            reason: why.to_owned(),
            key: counted.key,
            bytes: i64::try_from(counted.value.len() / 2).unwrap_or(i64::MAX),
            value: Some(counted.value),
        }));
    }

    /// Removes the events that were counted before.
    pub(super) fn forget(&mut self, duplicates: &HashSet<i64>) {
        self.duplicates += u64::try_from(duplicates.len()).unwrap_or(0);
        self.counted
            .retain(|counted| !duplicates.contains(&counted.event_id));
    }

    /// Sums up what the events change, in the order of the keys.
    pub(super) fn growth(&self, windows: &Windows) -> BTreeMap<Key<'_>, Growth> {
        let mut all: BTreeMap<Key<'_>, Growth> = BTreeMap::new();
        for Counted { sales, .. } in &self.counted {
            let start = windows.start(sales.at);
            for (number, line) in sales.lines.iter().enumerate() {
                let growth = all
                    .entry((start, &line.category, &sales.segment))
                    .or_default();
                // Bounded by the number of records and `events::amount`.
                growth.amount = growth
                    .amount
                    .saturating_add(line.amount * Decimal::from(sales.sign));
                growth.quantity += sales.sign * line.quantity;
                growth.orders += sales.sign;
                if number == 0 {
                    growth.distinct_orders += sales.sign;
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn windows() -> Windows {
        let minute = Duration::from_secs(60);
        Windows::new(minute, Duration::from_secs(3_600), Duration::ZERO, minute)
    }

    fn value(event_id: i64, second: u8, amount: &str) -> String {
        json!({"v": 1, "event": "completed", "event_id": event_id, "order_id": event_id, "segment": "VIP",
               "at": format!("2026-11-29T12:00:{second:02}Z"),
               "lines": [{"category": "Books", "quantity": 2, "amount": amount}]})
        .to_string()
    }

    #[test]
    fn records_are_summed_up_and_duplicates_left_out() {
        let mut batch = Batch::default();
        let texts = [
            value(1, 1, "0.10"),
            value(2, 59, "0.20"),
            value(1, 1, "0.10"),
            "x".to_owned(),
        ];
        for (text, offset) in texts.iter().zip(7..) {
            let record = Record {
                partition: 0,
                offset,
                timestamp: 0,
                key: None,
                value: Some(text.as_bytes()),
            };
            batch.take(record, 7, &windows(), i64::MAX);
        }
        assert_eq!(
            (batch.counted.len(), batch.dead.len(), batch.duplicates),
            (2, 1, 1)
        );
        let moved = batch.moved[&0];
        assert_eq!((moved.from, moved.to), (7, 11));
        let windows = windows();
        let growth = batch.growth(&windows);
        assert_eq!(growth.len(), 1);
        let growth = growth.values().next().unwrap();
        assert_eq!(
            (
                growth.amount.to_string().as_str(),
                growth.quantity,
                growth.orders
            ),
            ("0.30", 4, 2)
        );
    }

    #[test]
    fn another_record_has_another_print() {
        let record = Record {
            partition: 0,
            offset: 0,
            timestamp: 5,
            key: None,
            value: Some(b"a"),
        };
        let other = [
            Record {
                timestamp: 6,
                ..record
            },
            Record {
                value: None,
                ..record
            },
            Record {
                value: Some(b"b"),
                ..record
            },
            Record {
                key: Some(b""),
                ..record
            },
        ];
        assert!(other.iter().all(|other| other.print() != record.print()));
    }
}
