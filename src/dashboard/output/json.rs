//! JSON: raw figures in the units listed in docs/scripts.md; an unknown figure is null.

use super::sheet::Sheet;
use super::{health, unit};
use crate::dashboard::model::Model;
use crate::pg::Value;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Told<'a> {
    at: Option<String>,
    server: Server<'a>,
    gauges: Vec<Gauge<'a>>,
    cause: Cause<'a>,
    oltp: Option<Row<'a>>,
    panels: Panels<'a>,
    reasons: BTreeMap<String, &'a str>,
    unknown: Vec<NotKnown<'a>>,
}

#[derive(Serialize)]
struct NotKnown<'a> {
    what: &'a str,
    why: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Server<'a> {
    target: &'a str,
    database: Option<&'a str>,
    role: Option<&'a str>,
    version: Option<&'a str>,
    version_num: Option<i64>,
    standby: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct Gauge<'a> {
    name: &'a str,
    value: Option<f64>,
    target: f64,
    unit: &'static str,
    ratio: Option<f64>,
    health: &'static str,
    text: &'a str,
}

#[derive(Serialize)]
pub(super) struct Cause<'a> {
    rule: Option<&'a str>,
    gauge: Option<&'a str>,
    health: &'static str,
    sentence: &'a str,
    cure: Option<&'a str>,
    others: usize,
    evidence: Vec<Fact<'a>>,
}

#[derive(Serialize)]
struct Fact<'a> {
    name: &'a str,
    value: &'a str,
}

/// Returns all of it as one object and a newline.
pub(crate) fn text(
    model: &Model,
    oltp: &Sheet,
    sheets: &[Sheet],
) -> Result<String, serde_json::Error> {
    let at = chrono::DateTime::from_timestamp_millis(model.now.epoch_ms);
    let row = oltp.rows.as_ref().and_then(|rows| rows.first());
    let told = Told {
        at: at.map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)),
        server: server(model),
        gauges: model.gauges.iter().map(gauge).collect(),
        cause: cause(model),
        oltp: row.map(|cells| Row { sheet: oltp, cells }),
        panels: Panels(sheets),
        reasons: sheets.iter().chain([oltp]).flat_map(reasons).collect(),
        unknown: model
            .unknown
            .iter()
            .map(|unknown| NotKnown {
                what: &unknown.what,
                why: Some(unknown.why.as_str()).filter(|why| !why.is_empty()),
            })
            .collect(),
    };
    let mut text = serde_json::to_string_pretty(&told)?;
    text.push('\n');
    Ok(text)
}

/// Reasons why a panel or some of its columns are null: `wal`, `wal.wal_lsn_bytes`.
fn reasons(sheet: &Sheet) -> impl Iterator<Item = (String, &str)> {
    let whole = sheet.reason.as_deref();
    let whole = whole.map(|why| (sheet.name.clone(), why));
    let lacks = sheet.lacks.iter();
    let lacks = lacks.map(|(name, why)| (format!("{}.{name}", sheet.name), why.as_str()));
    whole.into_iter().chain(lacks)
}

pub(super) fn server(model: &Model) -> Server<'_> {
    let fact = model.fact();
    Server {
        target: model.start.target.as_str(),
        database: fact.current_database().text(),
        role: fact.current_user().text(),
        version: fact.server_version().text(),
        version_num: fact.server_version_num(),
        standby: (model.facts.as_ref()).map(|_| fact.in_recovery() == Some(true)),
    }
}

pub(super) fn cause(model: &Model) -> Cause<'_> {
    let cause = &model.cause;
    let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
    Cause {
        rule: some(cause.rule),
        gauge: some(cause.label).filter(|label| *label != cause.rule),
        health: health(cause.health),
        sentence: &cause.sentence,
        cure: Some(cause.cure.as_str()).filter(|cure| !cure.is_empty()),
        others: cause.more,
        evidence: cause
            .evidence
            .iter()
            .map(|(name, value)| Fact { name, value })
            .collect(),
    }
}

pub(super) fn gauge(gauge: &crate::dashboard::diagnosis::Gauge) -> Gauge<'_> {
    let known = gauge.health != crate::dashboard::diagnosis::Health::Unknown;
    let finite = |figure: &f64| known && figure.is_finite();
    Gauge {
        name: gauge.label,
        value: gauge.figure.filter(finite),
        target: gauge.limit,
        unit: unit(gauge.unit, false),
        ratio: Some(gauge.ratio).filter(finite),
        health: health(gauge.health),
        text: &gauge.value,
    }
}

/// Panels by name; null if nothing is known.
struct Panels<'a>(&'a [Sheet]);

impl Serialize for Panels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for sheet in self.0 {
            let rows = sheet.rows.as_ref().map(|rows| {
                let rows = rows.iter();
                rows.map(|cells| Row { sheet, cells }).collect::<Vec<_>>()
            });
            map.serialize_entry(&sheet.name, &rows)?;
        }
        map.end()
    }
}

/// A row: its columns in their order, then `_unknown` for nulls that are not SQL NULL, and `_bounds` for
/// figures that are only a bound, `≥` or `≤`.
pub(super) struct Row<'a> {
    pub(super) sheet: &'a Sheet,
    pub(super) cells: &'a [Value],
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut unknown = BTreeMap::new();
        let mut map = serializer.serialize_map(None)?;
        for (column, cell) in self.sheet.columns.iter().zip(self.cells) {
            map.serialize_entry(&column.name, &Cell(cell))?;
            if let Some(why) = why(cell) {
                unknown.insert(column.name.as_str(), why);
            }
        }
        if !unknown.is_empty() {
            map.serialize_entry("_unknown", &unknown)?;
        }
        let cells = self.sheet.columns.iter().zip(self.cells);
        let bounds: BTreeMap<&str, &str> = cells
            .filter(|(_, cell)| !cell.sign().is_empty())
            .map(|(column, cell)| (column.name.as_str(), cell.sign()))
            .collect();
        if !bounds.is_empty() {
            map.serialize_entry("_bounds", &bounds)?;
        }
        map.end()
    }
}

/// Returns the reason why a cell that is not SQL NULL is null.
fn why(cell: &Value) -> Option<&'static str> {
    match cell {
        Value::Unavailable => Some("unavailable"),
        Value::Pending => Some("pending"),
        Value::Float(number) | Value::Decimal(_, number) if number.is_nan() => Some("NaN"),
        Value::Float(number) | Value::Decimal(_, number) if *number == f64::INFINITY => {
            Some("Infinity")
        }
        Value::Float(number) | Value::Decimal(_, number) if *number == f64::NEG_INFINITY => {
            Some("-Infinity")
        }
        _ => None,
    }
}

struct Cell<'a>(&'a Value);

impl Serialize for Cell<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Bool(yes) => serializer.serialize_bool(*yes),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(number)
            | Value::Decimal(_, number)
            | Value::AtLeast(number)
            | Value::AtMost(number)
                if number.is_finite() =>
            {
                serializer.serialize_f64(*number)
            }
            Value::Text(text) => serializer.serialize_str(text.as_str()),
            _ => serializer.serialize_none(),
        }
    }
}
