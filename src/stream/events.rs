//! The records of the topic, as `docs/stream.md` describes them. Whatever the topic holds, a record is an event or has a
//! reason why it is none.

use chrono::DateTime;
use rust_decimal::Decimal;
use serde::Deserialize;
use std::borrow::Cow;

/// The version of the records.
const VERSION: u64 = 1;
/// Longest record that is read, in bytes.
pub(super) const LONGEST: usize = 1_048_576;
/// Longest name of a category or a segment, in characters, as the shop has it.
const NAME: usize = 200;
/// Most lines, and pieces of a line: 32,767 lines of at most a million pieces.
const LINES: usize = 32_767;
const PIECES: i64 = 32_767_000_000;
/// Bounds of times, in microseconds: 2000 and 2200.
const EARLIEST: i64 = 946_684_800_000_000;
const LATEST: i64 = 7_258_118_400_000_000;

/// What happened to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Created,
    Paid,
    Shipped,
    Completed,
    Cancelled,
}

impl Kind {
    /// Its name in the records.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Paid => "paid",
            Self::Shipped => "shipped",
            Self::Completed => "completed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The lines of an order in one category.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) category: Box<str>,
    pub(super) quantity: i64,
    pub(super) amount: Decimal,
}

/// What an event changes: sales are added, or taken back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sales {
    /// 1, or -1 if they are taken back.
    pub(super) sign: i64,
    /// When they were made, in microseconds since 1970: it decides on the window.
    pub(super) at: i64,
    pub(super) segment: Box<str>,
    pub(super) lines: Vec<Line>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: Kind,
    pub(super) id: i64,
    pub(super) order_id: i64,
    /// In microseconds since 1970.
    pub(super) at: i64,
    pub(super) sales: Option<Sales>,
}

#[derive(Deserialize)]
struct Written<'a> {
    v: u64,
    event: Kind,
    event_id: i64,
    order_id: i64,
    #[serde(borrow)]
    at: Cow<'a, str>,
    #[serde(borrow, default)]
    was_at: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    amount: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    segment: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    lines: Option<Vec<WrittenLine<'a>>>,
}

#[derive(Deserialize)]
struct WrittenLine<'a> {
    #[serde(borrow)]
    category: Cow<'a, str>,
    quantity: i64,
    #[serde(borrow)]
    amount: Cow<'a, str>,
}

/// What tells the version, whatever else there is.
#[derive(Deserialize)]
struct Versioned {
    v: u64,
}

/// Returns the event of a record, or the reason why it is none. `latest`: the latest time that is believed, in
/// microseconds since 1970.
pub(super) fn event(value: Option<&[u8]>, latest: i64) -> Result<Event, String> {
    let value = value.ok_or("a record without a value (tombstone)")?;
    if value.len() > LONGEST {
        return Err(format!(
            "the record has {} bytes, more than {LONGEST}",
            value.len()
        ));
    }
    let text = std::str::from_utf8(value).map_err(|_| "not UTF-8")?;
    // An array would be taken for the fields in their order.
    if text.trim_ascii_start().starts_with('[') {
        return Err("not an object in JSON".to_owned());
    }
    let written: Written<'_> =
        serde_json::from_str(text).map_err(|error| unreadable(text, &error))?;
    if written.v != VERSION {
        return Err(unknown_version(written.v));
    }
    understood(written, latest)
}

/// Returns why a record cannot be read: whatever its version is, or it is no record.
fn unreadable(text: &str, error: &serde_json::Error) -> String {
    match serde_json::from_str::<Versioned>(text) {
        Ok(Versioned { v: VERSION }) => format!("not an event of an order: {error}"),
        Ok(Versioned { v }) => unknown_version(v),
        Err(error) if error.is_data() => "no schema version (v)".to_owned(),
        Err(_) => "not JSON".to_owned(),
    }
}

fn unknown_version(version: u64) -> String {
    if version > VERSION {
        format!("newer schema: {version}, and this program knows {VERSION}")
    } else {
        format!("unknown schema version {version}")
    }
}

fn understood(written: Written<'_>, latest: i64) -> Result<Event, String> {
    let at = time("at", &written.at)?;
    if at > latest {
        return Err(format!("the time {} is still to come", written.at));
    }
    if let Some(text) = &written.amount {
        amount(text)?;
    }
    let was_at = written
        .was_at
        .map(|text| time("was_at", &text))
        .transpose()?;
    let counted = match (written.event, was_at) {
        (Kind::Completed, _) => Some((1, at)),
        (Kind::Cancelled, Some(was_at)) if was_at > at => {
            return Err("cancelled before it was completed".to_owned());
        }
        (Kind::Cancelled, Some(was_at)) => Some((-1, was_at)),
        _ => None,
    };
    let sales = match counted {
        Some((sign, at)) => {
            let segment = written.segment.ok_or("no segment")?;
            let lines = written.lines.ok_or("no lines")?;
            Some(Sales {
                sign,
                at,
                segment: name("segment", &segment)?,
                lines: merged(lines)?,
            })
        }
        None => None,
    };
    Ok(Event {
        kind: written.event,
        id: written.event_id,
        order_id: written.order_id,
        at,
        sales,
    })
}

fn time(field: &str, text: &str) -> Result<i64, String> {
    let parsed = DateTime::parse_from_rfc3339(text)
        .map_err(|_| format!("{field} is not a time as in RFC 3339"))?;
    let at = parsed.timestamp_micros();
    if (EARLIEST..LATEST).contains(&at) {
        Ok(at)
    } else {
        Err(format!("{field} is not between the years 2000 and 2200"))
    }
}

/// Reads an exact amount: of 0 to 10^16, with up to 4 decimals. `NaN` and exponents are none.
fn amount(text: &str) -> Result<Decimal, String> {
    let wrong = || "an amount is not a decimal number from 0 on".to_owned();
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let amount = Decimal::from_str_exact(text).map_err(|_| wrong())?;
    if !plain || text.is_empty() || amount.is_sign_negative() {
        return Err(wrong());
    }
    if amount.scale() > 4 || amount >= Decimal::from(10_000_000_000_000_000_i64) {
        return Err("an amount is absurd: it has more than 16 digits or 4 decimals".to_owned());
    }
    Ok(amount)
}

fn name(field: &str, text: &str) -> Result<Box<str>, String> {
    if text.chars().count() > NAME || text.contains('\0') {
        return Err(format!(
            "{field} has more than {NAME} characters, or a zero"
        ));
    }
    Ok(text.into())
}

/// Reads the lines; each category comes once, so that its order counts once.
fn merged(written: Vec<WrittenLine<'_>>) -> Result<Vec<Line>, String> {
    if written.len() > LINES {
        return Err(format!("more than {LINES} lines"));
    }
    let mut lines: Vec<Line> = Vec::with_capacity(written.len());
    for line in written {
        if !(1..=PIECES).contains(&line.quantity) {
            return Err(format!("the quantity {} is absurd", line.quantity));
        }
        lines.push(Line {
            category: name("category", &line.category)?,
            quantity: line.quantity,
            amount: amount(&line.amount)?,
        });
    }
    lines.sort_by(|a, b| a.category.cmp(&b.category));
    let twice = lines
        .windows(2)
        .any(|pair| matches!(pair, [a, b] if a.category == b.category));
    if twice {
        return Err("a category comes twice".to_owned());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const AT: &str = "2026-11-29T12:00:00.123456Z";

    fn completed() -> serde_json::Value {
        json!({"v": 1, "event": "completed", "event_id": 17, "order_id": 5, "user_id": 3, "segment": "VIP", "status": 3,
               "at": AT, "amount": "12.34", "novel": [1, {"a": 2}],
               "lines": [{"category": "Books", "quantity": 2, "amount": "12.34"}]})
    }

    fn read(value: &serde_json::Value) -> Result<Event, String> {
        event(Some(value.to_string().as_bytes()), LATEST)
    }

    #[test]
    fn an_event_is_read_with_unknown_fields() {
        let read = read(&completed()).unwrap();
        assert_eq!(
            (read.id, read.order_id, read.kind),
            (17, 5, Kind::Completed)
        );
        let sales = read.sales.unwrap();
        assert_eq!((sales.sign, sales.at), (1, read.at));
        assert_eq!(read.at % 1_000_000, 123_456);
        assert_eq!(sales.lines[0].amount.to_string(), "12.34");
    }

    #[test]
    fn a_cancellation_is_of_the_window_that_it_was_in() {
        let mut value = completed();
        value["event"] = json!("cancelled");
        assert_eq!(read(&value).unwrap().sales, None);
        value["was_at"] = json!("2026-11-28T10:00:00+00:00");
        let sales = read(&value).unwrap().sales.unwrap();
        assert_eq!(sales.sign, -1);
        assert!(sales.at < read(&completed()).unwrap().at);
        value["was_at"] = json!("2026-12-28T10:00:00+00:00");
        assert!(read(&value).is_err());
    }

    #[test]
    fn poison_has_a_reason() {
        let with = |field: &str, new: serde_json::Value| {
            let mut value = completed();
            value[field] = new;
            read(&value).unwrap_err()
        };
        let line = |quantity: i64, amount: &str| json!([{"category": "Books", "quantity": quantity, "amount": amount}]);
        for (reason, expected) in [
            (event(None, LATEST).unwrap_err(), "tombstone"),
            (event(Some(b"{"), LATEST).unwrap_err(), "not JSON"),
            (event(Some(b"[1]"), LATEST).unwrap_err(), "not an object"),
            (event(Some(b"{}"), LATEST).unwrap_err(), "schema version"),
            (event(Some(&[0xff, 0xfe]), LATEST).unwrap_err(), "not UTF-8"),
            (
                event(Some(&vec![b' '; LONGEST + 1]), LATEST).unwrap_err(),
                "bytes",
            ),
            (with("v", json!(2)), "newer schema"),
            (with("event", json!("lost")), "not an event"),
            (with("event_id", json!("x")), "not an event"),
            (with("at", json!("yesterday")), "RFC 3339"),
            (with("at", json!("1970-01-01T00:00:00Z")), "2000"),
            (with("amount", json!("NaN")), "amount"),
            (with("amount", json!(12.34)), "not an event"),
            (with("segment", json!("x".repeat(201))), "segment"),
            (with("lines", line(0, "1")), "quantity"),
            (with("lines", line(1, "-1")), "amount"),
            (with("lines", line(1, "NaN")), "amount"),
            (with("lines", line(1, "1e300")), "amount"),
            (with("lines", line(1, "")), "amount"),
            (with("lines", line(1, "99999999999999999999")), "absurd"),
            (with("lines", line(1, "0.00001")), "absurd"),
            (with("lines", json!(null)), "no lines"),
        ] {
            assert!(reason.contains(expected), "{reason}: {expected}");
        }
        let value = completed().to_string();
        let early = event(Some(value.as_bytes()), 1).unwrap_err();
        assert!(early.contains("still to come"), "{early}");
    }
}
