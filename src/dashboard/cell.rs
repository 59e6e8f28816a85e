//! Table cells as text: an unknown value is never written as 0.

use super::panels::spec::ColumnSpec;
use crate::format::{self, Unit};
use crate::pg::Value;
use std::borrow::Cow;

/// Threshold that a figure exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Severity {
    /// Above `warn`.
    Warning,
    /// Above `danger`.
    Danger,
}

/// A table's cell, ready to be placed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell<'a> {
    /// The text.
    pub text: Cow<'a, str>,
    /// True if it is aligned to the right.
    pub right: bool,
    /// Threshold that the figure exceeds, if any.
    pub severity: Option<Severity>,
}

/// Formats one cell. `utc_offset_s` is the offset of local time from UTC in seconds, for times of day.
pub(super) fn cell<'a>(value: &'a Value, column: &ColumnSpec, utc_offset_s: i32) -> Cell<'a> {
    let text = match value {
        Value::Null => Cow::Borrowed(format::NONE),
        Value::Unavailable => Cow::Borrowed(format::UNAVAILABLE),
        Value::Pending => Cow::Borrowed(format::PENDING),
        Value::Bool(yes) => Cow::Borrowed(if *yes { "yes" } else { "no" }),
        Value::Text(text) => Cow::Borrowed(text.as_str()),
        Value::Int(number) => Cow::Owned(match column.unit {
            Unit::Plain => number.to_string(),
            unit => format::figure(*number as f64, unit, utc_offset_s),
        }),
        Value::Float(number) if column.change => Cow::Owned(format::change(*number, column.unit)),
        Value::Float(number) => Cow::Owned(format::figure(*number, column.unit, utc_offset_s)),
        Value::AtLeast(number) | Value::AtMost(number) => {
            let figure = format::figure(*number, column.unit, utc_offset_s);
            Cow::Owned(format!("{}{figure}", value.sign()))
        }
        Value::Decimal(exact, number) => match column.unit {
            // The exact text, unless it has a long tail of decimals, as averages do.
            Unit::Plain if number.is_finite() && fraction_digits(exact) <= 4 => {
                Cow::Borrowed(&**exact)
            }
            unit => Cow::Owned(format::figure(*number, unit, utc_offset_s)),
        },
    };
    let number = value
        .number()
        .filter(|_| !matches!(value, Value::Bool(_)) && column.unit != Unit::Flag);
    Cell {
        text,
        right: number.is_some() || (!value.is_known() && format::is_numeric(column.unit)),
        severity: number.and_then(|number| severity(number, column)),
    }
}

/// Returns the threshold of the column that `number` exceeds, if any.
pub(super) fn severity(number: f64, column: &ColumnSpec) -> Option<Severity> {
    let above = |threshold: Option<f64>| threshold.is_some_and(|threshold| number > threshold);
    if above(column.danger) {
        Some(Severity::Danger)
    } else if above(column.warn) {
        Some(Severity::Warning)
    } else {
        None
    }
}

fn fraction_digits(exact: &str) -> usize {
    exact
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(unit: Unit) -> ColumnSpec {
        ColumnSpec {
            unit,
            warn: Some(5.0),
            danger: Some(30.0),
            ..ColumnSpec::default()
        }
    }

    #[test]
    fn none_unknown_and_pending_are_not_zero() {
        let ages = spec(Unit::Seconds);
        assert_eq!(cell(&Value::Null, &ages, 0).text, "—");
        assert_eq!(cell(&Value::Unavailable, &ages, 0).text, "n/a");
        assert_eq!(cell(&Value::Pending, &ages, 0).text, "?");
        assert!(cell(&Value::Null, &ages, 0).right);
        assert!(!cell(&Value::Null, &spec(Unit::Plain), 0).right);
        assert_eq!(cell(&Value::Null, &ages, 0).severity, None);
    }

    #[test]
    fn a_cell_knows_its_side_and_its_severity() {
        let ages = spec(Unit::Seconds);
        let of = |value: f64| cell(&Value::Float(value), &ages, 0).severity;
        assert_eq!(of(5.0), None);
        assert_eq!(of(6.0), Some(Severity::Warning));
        assert_eq!(of(f64::INFINITY), Some(Severity::Danger));
        assert_eq!(of(f64::NAN), None);
        let plain = spec(Unit::Plain);
        assert_eq!(cell(&Value::Int(4711), &plain, 0).text, "4711");
        assert!(cell(&Value::Int(4711), &plain, 0).right);
        let name = Value::from("orders");
        assert_eq!(cell(&name, &plain, 0).text, "orders");
        assert!(!cell(&name, &plain, 0).right);
        assert_eq!(cell(&Value::Bool(true), &spec(Unit::Flag), 0).text, "yes");
        let average = Value::Decimal("18.2000000000000000".into(), 18.2);
        assert_eq!(cell(&average, &plain, 0).text, "18.2");
        let exact = Value::Decimal("12345678901234567890.12".into(), 1.234_567_890_123_456_8e19);
        assert_eq!(cell(&exact, &plain, 0).text, "12345678901234567890.12");
        assert_eq!(
            cell(&Value::Float(7.5), &spec(Unit::PerSecond), 0).text,
            "7.5/s"
        );
    }
}
