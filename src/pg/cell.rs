//! Conversion of the driver's binary cells to [`Value`].

use super::table::Value;
use crate::text::Clean;
use chrono::{DateTime, NaiveDate};
use std::error::Error;
use std::fmt::Write as _;
use tokio_postgres::types::{FromSql, Type};

/// Maximum length of a text cell, in bytes (pg_stat_activity.query can be 1 MB).
pub(super) const TEXT_CAP: usize = 16 * 1024;

/// Number of bytes that panels request of a statement's text. They request one more to detect a longer text.
const BEGINNING: usize = 2_000;

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *ty {
            Type::BOOL => Self::Bool(bool::from_sql(ty, raw)?),
            Type::INT2 => Self::Int(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => Self::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::OID | Type::XID => Self::Int(raw.try_into().map(u32::from_be_bytes)?.into()),
            Type::FLOAT4 => Self::Float(f32::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Self::Float(f64::from_sql(ty, raw)?),
            Type::NUMERIC => numeric(raw).ok_or("malformed numeric")?,
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN | Type::JSON => {
                Self::Text(Clean::of_name(raw, TEXT_CAP))
            }
            // The beginning of a text from another session, in any encoding.
            Type::BYTEA if raw.len() == BEGINNING + 1 => {
                Self::Text(Clean::from_bytes(raw, BEGINNING))
            }
            Type::BYTEA => Self::Text(Clean::from_bytes(raw, TEXT_CAP)),
            Type::TIMESTAMPTZ => Self::Text(time(i64::from_sql(&Type::INT8, raw)?).into()),
            Type::DATE => Self::Text(date(i32::from_sql(&Type::INT4, raw)?).into()),
            _ => Self::Text(format!("unsupported type {ty}: cast it to text").into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Days and microseconds from 1970 to 2000, where the server begins to count.
const DAYS: i32 = 10_957;
const MICROS: i64 = 946_684_800_000_000;

/// Writes a timestamptz, in microseconds since 2000, as the server does in a session in UTC.
fn time(micros: i64) -> String {
    let known = micros
        .checked_add(MICROS)
        .and_then(DateTime::from_timestamp_micros);
    let Some(at) = known else {
        return infinite(micros < 0);
    };
    let text = at.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text}+00")
}

/// Writes a date, in days since 2000, as the server does.
fn date(days: i32) -> String {
    let known = days.checked_add(DAYS).and_then(NaiveDate::from_epoch_days);
    known.map_or_else(|| infinite(days < 0), |day| day.to_string())
}

fn infinite(past: bool) -> String {
    let sign = if past { "-" } else { "" };
    format!("{sign}infinity")
}

/// The cells of a record, such as a whole row.
pub(super) struct Record(pub(super) Vec<Value>);

impl<'a> FromSql<'a> for Record {
    /// Parses a count, followed by type, length (-1 for NULL) and bytes of each cell (`record_send` in PostgreSQL's
    /// rowtypes.c).
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let mut rest = raw;
        let word = |rest: &mut &'a [u8]| -> Result<i32, Box<dyn Error + Sync + Send>> {
            let (head, tail) = rest.split_first_chunk().ok_or("malformed record")?;
            *rest = tail;
            Ok(i32::from_be_bytes(*head))
        };
        let count = word(&mut rest)?;
        let mut cells = Vec::new();
        for _ in 0..count {
            let ty = Type::from_oid(word(&mut rest)?.cast_unsigned()).unwrap_or(Type::UNKNOWN);
            let Ok(length) = usize::try_from(word(&mut rest)?) else {
                cells.push(Value::Null);
                continue;
            };
            let (cell, tail) = rest.split_at_checked(length).ok_or("malformed record")?;
            rest = tail;
            cells.push(Value::from_sql(&ty, cell)?);
        }
        Ok(Self(cells))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::RECORD
    }
}

/// Parses the server's binary numeric: digit count, weight, sign, display scale, base-10000 digits (`numeric_send` in
/// PostgreSQL's src/backend/utils/adt/numeric.c).
fn numeric(raw: &[u8]) -> Option<Value> {
    let mut words = raw
        .chunks_exact(2)
        .filter_map(|pair| Some(u16::from_be_bytes(pair.try_into().ok()?)));
    let count = words.next()?;
    let weight = words.next()? as i16;
    let sign = words.next()?;
    let scale = usize::from(words.next()?);
    match sign {
        0xC000 => return Some(Value::Decimal("NaN".into(), f64::NAN)),
        0xD000 => return Some(Value::Decimal("Infinity".into(), f64::INFINITY)),
        0xF000 => return Some(Value::Decimal("-Infinity".into(), f64::NEG_INFINITY)),
        _ => {}
    }
    let digits: Vec<u16> = words.take(usize::from(count)).collect();
    let digit = |position: i32| {
        usize::try_from(position)
            .ok()
            .and_then(|p| digits.get(p))
            .copied()
            .unwrap_or(0)
    };
    let mut text = String::from(if sign == 0x4000 { "-" } else { "" });
    let weight = i32::from(weight);
    if weight < 0 {
        text.push('0');
    }
    for position in 0..=weight {
        let group = digit(position);
        let _ = if position == 0 {
            write!(text, "{group}")
        } else {
            write!(text, "{group:04}")
        };
    }
    if scale > 0 {
        let groups = i32::try_from(scale.div_ceil(4)).ok()?;
        let mut fraction = String::new();
        for place in 1..=groups {
            let _ = write!(fraction, "{:04}", digit(weight + place));
        }
        text.push('.');
        text.extend(fraction.chars().take(scale));
    }
    let float = text.parse().ok()?;
    Some(Value::Decimal(text.into(), float))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn times_are_written_as_the_server_writes_them() {
        for (micros, text) in [
            (0, "2000-01-01 00:00:00+00"),
            (500_000, "2000-01-01 00:00:00.5+00"),
            (-1, "1999-12-31 23:59:59.999999+00"),
            (20_000_000, "2000-01-01 00:00:20+00"),
            (i64::MAX, "infinity"),
            (i64::MIN, "-infinity"),
        ] {
            assert_eq!(time(micros), text);
        }
        assert_eq!(date(59), "2000-02-29");
        assert_eq!(date(-1), "1999-12-31");
        assert_eq!(date(i32::MAX), "infinity");
    }

    #[test]
    fn numerics_keep_every_digit() {
        let text = |raw: &[u16]| match numeric(&words(raw)) {
            Some(Value::Decimal(text, _)) => text.to_string(),
            other => format!("{other:?}"),
        };
        assert_eq!(text(&[2, 0, 0, 2, 12, 3400]), "12.34");
        assert_eq!(text(&[2, 1, 0x4000, 0, 123, 4567]), "-1234567");
        assert_eq!(text(&[1, 0xFFFF, 0, 4, 5]), "0.0005");
        assert_eq!(text(&[1, 0xFFFE, 0, 8, 5]), "0.00000005");
        assert_eq!(text(&[0, 0, 0, 2]), "0.00");
        assert_eq!(text(&[1, 2, 0, 0, 1]), "100000000");
        assert_eq!(text(&[0, 0, 0xC000, 0]), "NaN");
        assert_eq!(text(&[0, 0, 0xD000, 0]), "Infinity");
        assert_eq!(numeric(&[1]), None);
    }
}
