//! Values on the wire, as text and in PostgreSQL's binary formats.

use super::fault::{Fault, fault, unsupported};
use crate::columnar::store::Running;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType as SqlType, ExactNumberInfo, Expr, TimezoneInfo, UnaryOperator, Value,
};

/// OIDs of types, as pg_type has them.
pub(super) mod oid {
    pub(in super::super) const BOOL: u32 = 16;
    pub(in super::super) const NAME: u32 = 19;
    pub(in super::super) const INT8: u32 = 20;
    pub(in super::super) const INT2: u32 = 21;
    pub(in super::super) const INT4: u32 = 23;
    pub(in super::super) const TEXT: u32 = 25;
    pub(in super::super) const OID: u32 = 26;
    pub(in super::super) const FLOAT8: u32 = 701;
    pub(in super::super) const UNKNOWN: u32 = 705;
    pub(in super::super) const BPCHAR: u32 = 1042;
    pub(in super::super) const VARCHAR: u32 = 1043;
    pub(in super::super) const DATE: u32 = 1082;
    pub(in super::super) const TIMESTAMPTZ: u32 = 1184;
    pub(in super::super) const NUMERIC: u32 = 1700;
}

/// Length of a type's values in pg_type.
pub(super) fn length(of: u32) -> i16 {
    match of {
        oid::BOOL => 1,
        oid::INT2 => 2,
        oid::INT4 | oid::OID | oid::DATE => 4,
        oid::INT8 | oid::FLOAT8 | oid::TIMESTAMPTZ => 8,
        oid::NAME => 64,
        _ => -1,
    }
}

/// Days and microseconds from 1970 to 2000, where PostgreSQL begins to count.
const DAYS: i32 = 10_957;
const MICROS: i64 = 946_684_800_000_000;

/// Refuses a column whose values the column store does not have.
pub(super) fn check(kind: &DataType, of: u32) -> Result<(), Fault> {
    let known = match kind {
        DataType::Null => true,
        DataType::Boolean => of == oid::BOOL,
        kind if kind.is_integer() => {
            matches!(of, oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC)
        }
        DataType::Decimal128(_, 0) => matches!(of, oid::INT8 | oid::NUMERIC),
        DataType::Decimal128(_, _) => of == oid::NUMERIC,
        DataType::Float64 => of == oid::FLOAT8,
        DataType::Utf8 | DataType::Utf8View => matches!(of, oid::TEXT | oid::VARCHAR),
        DataType::Date32 => of == oid::DATE,
        DataType::Timestamp(_, _) => of == oid::TIMESTAMPTZ,
        _ => false,
    };
    if known {
        return Ok(());
    }
    Err(unsupported(
        "a column of the answer has a type that the column store does not have",
    ))
}

/// A value of an answer; `None` is NULL.
pub(super) fn value(
    rows: &Running,
    (column, row): (&ArrayRef, usize),
    of: u32,
    binary: bool,
) -> Result<Option<Vec<u8>>, Fault> {
    if column.is_null(row) {
        return Ok(None);
    }
    match (of, binary, column.data_type()) {
        (oid::DATE, true, DataType::Date32) => {
            let day = column.as_primitive::<Date32Type>().value(row);
            Ok(Some(day.saturating_sub(DAYS).to_be_bytes().to_vec()))
        }
        (oid::TIMESTAMPTZ, true, DataType::Timestamp(_, _)) => {
            let at = column.as_primitive::<TimestampMicrosecondType>();
            let at = at.value(row).saturating_sub(MICROS);
            Ok(Some(at.to_be_bytes().to_vec()))
        }
        _ => {
            let text = rows.text(column, row)?;
            text.map(|text| encoded(&text, of, binary)).transpose()
        }
    }
}

/// A value of which PostgreSQL's text is known.
pub(super) fn encoded(text: &str, of: u32, binary: bool) -> Result<Vec<u8>, Fault> {
    let range = |name: &'static str| move |_| fault("22003", format!("{name} out of range"));
    // What PostgreSQL would refuse to compute is refused in either format.
    Ok(match of {
        oid::INT2 => {
            let number: i16 = text.parse().map_err(range("smallint"))?;
            either(text, binary, &number.to_be_bytes())
        }
        oid::INT4 => {
            let number: i32 = text.parse().map_err(range("integer"))?;
            either(text, binary, &number.to_be_bytes())
        }
        oid::INT8 => {
            let number: i64 = text.parse().map_err(range("bigint"))?;
            either(text, binary, &number.to_be_bytes())
        }
        oid::OID if binary => {
            let number: u32 = text.parse().map_err(range("oid"))?;
            number.to_be_bytes().to_vec()
        }
        oid::BOOL if binary => vec![u8::from(text == "t")],
        oid::NUMERIC if binary => numeric(text)
            .ok_or_else(|| fault("22003", format!("{text} has too many digits for numeric")))?,
        oid::FLOAT8 if binary => {
            let number: Result<f64, _> = text.parse();
            let number = number.map_err(|_| fault("22P02", "a malformed double precision"))?;
            number.to_be_bytes().to_vec()
        }
        oid::DATE | oid::TIMESTAMPTZ if binary => {
            return Err(unsupported(
                "this value is not supported in the binary format",
            ));
        }
        _ => text.as_bytes().to_vec(),
    })
}

fn either(text: &str, binary: bool, bytes: &[u8]) -> Vec<u8> {
    if binary { bytes } else { text.as_bytes() }.to_vec()
}

/// Digits of one of numeric's digits, which are to base 10000.
const GROUP: usize = 4;

/// A numeric in PostgreSQL's binary format (numeric_send).
fn numeric(text: &str) -> Option<Vec<u8>> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let scale = u16::try_from(decimals.len()).ok()?;
    let whole = whole.trim_start_matches('0');
    let before = (GROUP - whole.len() % GROUP) % GROUP;
    let after = (GROUP - decimals.len() % GROUP) % GROUP;
    let all = format!(
        "{}{whole}{decimals}{}",
        "0".repeat(before),
        "0".repeat(after)
    );
    let groups = all.as_bytes().chunks(GROUP);
    let groups = groups.map(|group| std::str::from_utf8(group).ok()?.parse::<u16>().ok());
    let mut groups: Vec<u16> = groups.collect::<Option<_>>()?;
    let mut weight = i16::try_from((whole.len() + before) / GROUP).ok()? - 1;
    let leading = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..leading);
    weight -= i16::try_from(leading).ok()?;
    while groups.pop_if(|group| *group == 0).is_some() {}
    if groups.is_empty() {
        weight = 0;
    }
    let sign: u16 = if negative && !groups.is_empty() {
        0x4000
    } else {
        0
    };
    let mut bytes = u16::try_from(groups.len()).ok()?.to_be_bytes().to_vec();
    bytes.extend_from_slice(&weight.to_be_bytes());
    for word in [sign, scale].iter().chain(&groups) {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    Some(bytes)
}

/// Reads a numeric in PostgreSQL's binary format. `None` if it is NaN, infinite or none.
fn decimal(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> = bytes
        .chunks_exact(2)
        .filter_map(|word| Some(u16::from_be_bytes(*word.first_chunk()?)))
        .collect();
    let [count, weight, sign, scale, groups @ ..] = words.as_slice() else {
        return None;
    };
    let negative = match *sign {
        0 => false,
        0x4000 => true,
        _ => return None,
    };
    let (weight, scale) = (i32::from(weight.cast_signed()), usize::from(*scale));
    let fits = (-100..100).contains(&weight) && scale <= 100;
    if groups.len() != usize::from(*count) || groups.iter().any(|group| *group > 9999) || !fits {
        return None;
    }
    let group = |place: i32| {
        let group = usize::try_from(weight - place).ok();
        let group = group.and_then(|group| groups.get(group));
        format!("{:04}", group.copied().unwrap_or_default())
    };
    let whole: String = (0..=weight.max(0)).rev().map(group).collect();
    let whole = whole.trim_start_matches('0');
    let below = i32::try_from(scale.div_ceil(GROUP)).ok()?;
    let decimals: String = (1..=below).map(|place| group(-place)).collect();
    let decimals = decimals.get(..scale)?;
    let sign = if negative { "-" } else { "" };
    let zero = if whole.is_empty() { "0" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    Some(format!("{sign}{zero}{whole}{point}{decimals}"))
}

/// The value of a parameter, as the statement could write it.
pub(super) fn parameter(value: Option<&[u8]>, of: u32, binary: bool) -> Result<Expr, Fault> {
    let Some(bytes) = value else {
        return Ok(literal(Value::Null));
    };
    let malformed = || {
        fault(
            "22P03",
            "a parameter's value is malformed, or of a type that is not supported",
        )
    };
    let text = match (of, binary) {
        (oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::UNKNOWN, _) | (_, false) => {
            String::from_utf8(bytes.to_vec()).ok()
        }
        (oid::BOOL, true) => match bytes {
            [0] => Some("f".to_owned()),
            [1] => Some("t".to_owned()),
            _ => None,
        },
        (oid::INT2, true) => exact(bytes).map(i16::from_be_bytes).map(|n| n.to_string()),
        (oid::INT4, true) => exact(bytes).map(i32::from_be_bytes).map(|n| n.to_string()),
        (oid::INT8, true) => exact(bytes).map(i64::from_be_bytes).map(|n| n.to_string()),
        (oid::NUMERIC, true) => decimal(bytes),
        (oid::DATE, true) => exact(bytes).map(i32::from_be_bytes).and_then(|day| {
            let day = chrono::NaiveDate::from_epoch_days(day.checked_add(DAYS)?)?;
            Some(day.format("%Y-%m-%d").to_string())
        }),
        (oid::TIMESTAMPTZ, true) => exact(bytes).map(i64::from_be_bytes).and_then(|at| {
            let at = chrono::DateTime::from_timestamp_micros(at.checked_add(MICROS)?)?;
            Some(at.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string())
        }),
        _ => None,
    };
    text.and_then(|text| written(text, of))
        .ok_or_else(malformed)
}

fn exact<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn quoted(text: String) -> Expr {
    literal(Value::SingleQuotedString(text))
}

fn literal(value: Value) -> Expr {
    Expr::Value(value.into())
}

/// A value of this type in SQL. `None` if its text is not one.
fn written(text: String, of: u32) -> Option<Expr> {
    let cast = |value: Expr, to: SqlType| Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(value),
        data_type: to,
        array: false,
        format: None,
    };
    Some(match of {
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::UNKNOWN => quoted(text),
        oid::BOOL => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "1" | "yes" => literal(Value::Boolean(true)),
            "f" | "false" | "off" | "0" | "no" => literal(Value::Boolean(false)),
            _ => return None,
        },
        oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC => {
            let text = text.trim();
            let digits = text.strip_prefix('-').unwrap_or(text);
            let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
            let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let number = !whole.is_empty() && plain(whole) && plain(decimals);
            if !number || (of != oid::NUMERIC && digits.len() != whole.len()) {
                return None;
            }
            // Without decimals it would be a bigint.
            let whole = of == oid::NUMERIC && digits.len() == whole.len();
            let precision = digits.len() as u64;
            let number = literal(Value::Number(digits.to_owned(), false));
            let number = if whole {
                let kind = ExactNumberInfo::PrecisionAndScale(precision, 0);
                cast(number, SqlType::Numeric(kind))
            } else {
                number
            };
            if text.starts_with('-') {
                Expr::UnaryOp {
                    op: UnaryOperator::Minus,
                    expr: Box::new(number),
                }
            } else {
                number
            }
        }
        oid::DATE => cast(quoted(text), SqlType::Date),
        oid::TIMESTAMPTZ => cast(quoted(text), SqlType::Timestamp(None, TimezoneInfo::Tz)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_are_the_same_in_binary() {
        for text in [
            "0",
            "1",
            "-1",
            "9999",
            "10000",
            "100000000",
            "12345678.90",
            "0.1",
            "0.00012",
            "-0.00000001",
            "120000.0000",
            "99999999999999999999999999.123456789012",
            "0.00",
        ] {
            let bytes = numeric(text).unwrap();
            assert_eq!(decimal(&bytes).as_deref(), Some(text));
        }
        // As PostgreSQL sends 12345.678.
        let sent = [0, 3, 0, 1, 0, 0, 0, 3, 0, 1, 9, 41, 26, 124];
        assert_eq!(numeric("12345.678").unwrap(), sent);
        for wrong in [
            &[][..],
            &[0, 1, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0xC0, 0, 0, 0],
            &[0, 1, 0, 0, 0, 0, 0, 0, 255, 255],
        ] {
            assert_eq!(decimal(wrong), None);
        }
    }
}
