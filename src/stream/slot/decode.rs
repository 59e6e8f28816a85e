//! What logical decoding returns: messages of pgoutput, protocol 1.

use crate::stream::outbox::Row;
use std::fmt;

/// A place in the WAL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::stream) struct Lsn(u64);

impl Lsn {
    /// From bytes since 0/0, as SQL subtracts them.
    pub(in crate::stream) fn of(bytes: i64) -> Self {
        Self(u64::try_from(bytes).unwrap_or(0))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// A row of the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// A transaction begins whose commit record is at this place.
    Begin(Lsn),
    /// It ends: the place behind its commit record, and its time in microseconds since 1970.
    Commit {
        end: Lsn,
        at: i64,
    },
    Event(Row),
    /// Somebody else's message, or a change of a table that somebody has put into the publication.
    Other,
}

/// Microseconds from 1970 to 2000, from which PostgreSQL counts.
const EPOCH: i64 = 946_684_800_000_000;

/// Reads a row: its kind is the first byte of the message, except 78, which is a message that the shop did not write.
/// Of a message there is only its content here.
pub(super) fn change(kind: i32, data: &[u8]) -> Option<Change> {
    let number = |at: usize| -> Option<[u8; 8]> { data.get(at..at + 8)?.try_into().ok() };
    Some(match kind {
        66 => Change::Begin(Lsn(u64::from_be_bytes(number(1)?))),
        67 => Change::Commit {
            end: Lsn(u64::from_be_bytes(number(10)?)),
            at: i64::from_be_bytes(number(18)?).saturating_add(EPOCH),
        },
        77 => Change::Event(event(data).unwrap_or_else(|| Row::unreadable(data))),
        78 => Change::Event(Row::unreadable(data)),
        _ => Change::Other,
    })
}

/// Reads what the trigger wrote: the event's number, the key, and the payload, with spaces in between.
fn event(data: &[u8]) -> Option<Row> {
    let mut parts = data.splitn(3, |byte| *byte == b' ');
    let event_id = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let key = parts.next()?;
    Some(Row::decoded(event_id, key, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As PostgreSQL 15 sent them.
    const BEGIN: &[u8] = &[
        0x42, 0, 0, 0, 0, 0x01, 0x51, 0x70, 0xf8, 0, 0x03, 0x04, 0x6f, 0xb3, 0x94, 0x2b, 0xdf, 0,
        0, 0x02, 0xd8,
    ];
    const COMMIT: &[u8] = &[
        0x43, 0, 0, 0, 0, 0, 0x01, 0x51, 0x70, 0xf8, 0, 0, 0, 0, 0x01, 0x51, 0x71, 0x28, 0, 0x03,
        0x04, 0x6f, 0xb3, 0x94, 0x2b, 0xdf,
    ];

    #[test]
    fn messages_of_the_server_are_read_and_nothing_else() {
        assert_eq!(change(66, BEGIN), Some(Change::Begin(Lsn(0x0151_70f8))));
        let Some(Change::Commit { end, at }) = change(67, COMMIT) else {
            panic!("a commit");
        };
        assert_eq!(end.to_string(), "0/1517128");
        // 2026-11-29 21:25 UTC
        assert_eq!(at / 60_000_000, 29_933_125);
        assert_eq!(change(67, BEGIN.get(..20).unwrap()), None, "cut off");
        assert_eq!(change(66, &[]), None);
        assert_eq!(change(73, b"I"), Some(Change::Other));
        let Some(Change::Event(row)) = change(77, b"17 5 {\"v\": 1, \"note\": \"a b\"}") else {
            panic!("an event");
        };
        assert_eq!((row.event_id(), row.key.as_slice()), (17, &b"5"[..]));
        assert_eq!(
            row.value().unwrap(),
            r#"{"event_id": 17, "v": 1, "note": "a b"}"#
        );
        let bad = [
            (77, &b"x"[..]),
            (77, b"17 5"),
            (77, b""),
            (78, b"17 5 {\"v\": 1}"),
        ];
        for (kind, data) in bad {
            let Some(Change::Event(row)) = change(kind, data) else {
                panic!("{kind}");
            };
            assert!(row.value().is_err(), "{kind} {data:?}");
        }
    }

    #[test]
    fn places_are_written_as_the_server_writes_them() {
        assert_eq!(Lsn::of(0x16_b374_d848).to_string(), "16/B374D848");
        assert_eq!(Lsn::of(-1), Lsn::default());
    }
}
