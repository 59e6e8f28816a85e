//! The differences between two periods, for people and scripts.

use super::json::Row;
use super::sheet::{Column, Sheet};
use super::{table, unit};
use crate::dashboard::compare::statements::Figures;
use crate::dashboard::compare::{Change, Comparison};
use crate::dashboard::panels::spec::ColumnSpec;
use crate::format;
use crate::pg::Value;
use crate::text::Clean;
use serde::Serialize;
use std::fmt::Write as _;

/// A recording, as the output names it.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Named {
    /// The file.
    pub file: String,
    /// The target of its sessions.
    pub target: String,
    /// Version of the server.
    pub version: String,
    /// Its first moment, in local time of the machine that recorded it.
    pub from: String,
    /// Its last moment.
    pub to: String,
}

#[derive(Serialize)]
struct Told<'a> {
    before: &'a Named,
    after: &'a Named,
    notes: &'a [String],
    changes: Vec<Row<'a>>,
}

/// A column for scripts: its name, and what it tells of a change.
type Field = (&'static str, fn(&Change) -> Value);

const COLUMNS: [Field; 14] = [
    ("what", |change| change.what.name().into()),
    ("name", |change| Value::Text(change.name.clone())),
    ("unit", |change| unit(change.what.unit(), false).into()),
    ("before", |change| change.before.clone()),
    ("after", |change| change.after.clone()),
    ("factor", |change| change.factor().into()),
    ("weight", |change| change.weight.into()),
    ("calls_per_s_before", |change| {
        of(change, false, |it| it.calls_per_s)
    }),
    ("calls_per_s_after", |change| {
        of(change, true, |it| it.calls_per_s)
    }),
    ("rows_per_call_before", |change| {
        of(change, false, |it| it.rows_per_call)
    }),
    ("rows_per_call_after", |change| {
        of(change, true, |it| it.rows_per_call)
    }),
    ("blocks_per_call_before", |change| {
        of(change, false, |it| it.blocks_per_call)
    }),
    ("blocks_per_call_after", |change| {
        of(change, true, |it| it.blocks_per_call)
    }),
    ("plan", |change| {
        change
            .plan()
            .map_or(Value::Null, |plan| plan.as_str().into())
    }),
];

fn of(change: &Change, after: bool, figure: fn(&Figures) -> Option<f64>) -> Value {
    let side = |(before, now): &(Figures, Figures)| figure(if after { now } else { before });
    change.work.as_ref().and_then(side).into()
}

/// Returns all changes with their figures, those that somebody made last.
pub(crate) fn sheet(comparison: &Comparison) -> Sheet {
    let all = comparison.changes.iter().chain(&comparison.made);
    let row = |change: &Change| COLUMNS.iter().map(|(_, told)| told(change)).collect();
    let columns = COLUMNS.iter().map(|(name, _)| *name);
    named(columns, all.map(row).collect())
}

fn named<'a>(columns: impl Iterator<Item = &'a str>, rows: Vec<Vec<Value>>) -> Sheet {
    let column = |name: &str| Column {
        name: name.to_owned(),
        spec: ColumnSpec::default(),
        ..Column::default()
    };
    let columns: Vec<Column> = columns.map(column).collect();
    Sheet {
        name: "changes".into(),
        title: "the largest first".into(),
        single: false,
        shown: (0..columns.len()).collect(),
        columns,
        labels: Vec::new(),
        rows: Some(rows),
        reason: None,
        lacks: Vec::new(),
        forbidden: false,
        age_s: None,
    }
}

/// Returns the `most` largest changes, and as many that somebody made, as aligned text.
pub(crate) fn text(
    before: &Named,
    after: &Named,
    comparison: &Comparison,
    most: usize,
    width: usize,
) -> String {
    let mut text = String::new();
    for (side, named) in [("before", before), ("after ", after)] {
        let Named {
            file,
            target,
            version,
            from,
            to,
        } = named;
        let _ = writeln!(
            text,
            "{side}: {file}: {target}, PostgreSQL {version}, {from} to {to}"
        );
    }
    for note in &comparison.notes {
        let _ = writeln!(text, "{}", Clean::from(note.as_str()));
    }
    let figure = |value: &Value, change: &Change| match value {
        Value::Text(text) => Value::Text(text.clone()),
        value => match value.number() {
            Some(number) => format::figure(number, change.what.unit(), 0)
                .as_str()
                .into(),
            None => value.clone(),
        },
    };
    let calls = |change: &Change, after: bool| {
        let calls = of(change, after, |it| it.calls_per_s);
        match (change.work.is_some(), calls.number()) {
            (true, None) => Value::Pending,
            (_, Some(calls)) => format::count(calls).as_str().into(),
            (false, None) => Value::Null,
        }
    };
    let row = |change: &Change| {
        let factor = change
            .factor()
            .map(|factor| format!("×{}", format::count(factor)));
        vec![
            change.what.name().into(),
            figure(&change.before, change),
            figure(&change.after, change),
            factor.map_or(Value::Null, |factor| factor.as_str().into()),
            calls(change, false),
            calls(change, true),
            Value::Text(change.name.clone()),
        ]
    };
    let columns = [
        "what", "before", "after", "factor", "calls/s", "then", "name",
    ];
    let largest = comparison.changes.iter().take(most);
    let rows = largest.chain(comparison.made.iter().take(most)).map(row);
    text += &table::panel(&named(columns.into_iter(), rows.collect()), 0, width);
    let all = comparison.changes.len() + comparison.made.len();
    let left =
        comparison.changes.len().saturating_sub(most) + comparison.made.len().saturating_sub(most);
    if left > 0 {
        let _ = writeln!(
            text,
            "  {left} of {all} are not shown: --format json or csv has all"
        );
    }
    text
}

/// Returns all of it as one JSON object and a newline.
pub(crate) fn json(
    before: &Named,
    after: &Named,
    comparison: &Comparison,
) -> Result<String, serde_json::Error> {
    let sheet = sheet(comparison);
    let rows = sheet.rows.iter().flatten();
    let told = Told {
        before,
        after,
        notes: &comparison.notes,
        changes: rows
            .map(|cells| Row {
                sheet: &sheet,
                cells,
            })
            .collect(),
    };
    Ok(serde_json::to_string_pretty(&told)? + "\n")
}
