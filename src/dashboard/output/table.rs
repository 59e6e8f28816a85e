//! Aligned text for people: without colours or control characters, safe for a pipe.

use super::health;
use super::sheet::Sheet;
use crate::dashboard::cell::{self, Cell};
use crate::dashboard::model::Model;
use crate::format;
use crate::text::{self, Clean};
use std::fmt::Write as _;

/// Maximum width of a cell, in columns; a statement's text would leave no room for the rest.
const CELL: usize = 80;
/// Gap between two columns.
const GAP: &str = "  ";

/// Returns the figures with their targets, the cause line, and the evidence for it.
pub(crate) fn summary(model: &Model, oltp: &Sheet, width: usize) -> String {
    let mut text = heading(model);
    text.push('\n');
    text += &gauges(model, width);
    text.push('\n');
    text += &cause(model);
    text.push('\n');
    text += &panel(oltp, model.start.utc_offset_s, width);
    text
}

/// Returns the figures with their targets.
pub(crate) fn gauges(model: &Model, width: usize) -> String {
    let gauges = model.gauges.iter().map(|gauge| {
        let target = if gauge.target.is_empty() {
            format::figure(gauge.limit, gauge.unit, 0)
        } else {
            gauge.target.clone()
        };
        [
            gauge.label.to_owned(),
            gauge.value.clone(),
            target,
            health(gauge.health).to_owned(),
        ]
    });
    let head = ["figure", "value", "target", "health"].map(str::to_owned);
    let mut lines = vec![head];
    lines.extend(gauges);
    aligned(&lines, &[false, true, true, false], width)
}

/// Server and version: `shop @ primary:5432  PostgreSQL 17.2`.
fn heading(model: &Model) -> String {
    let fact = model.fact();
    let version = fact.server_version().shown();
    let standby = fact.in_recovery() == Some(true);
    let standby = if standby { ", standby" } else { "" };
    format!("{}{GAP}PostgreSQL {version}{standby}\n", model.start.target)
}

/// Returns only the cause line.
pub(crate) fn cause_line(model: &Model) -> String {
    let cause = &model.cause;
    let cure = match cause.cure.as_str() {
        "" => String::new(),
        cure => format!(" ({cure})"),
    };
    let others = cause.others();
    format!(
        "{}: {}{others}{cure}\n",
        health(cause.health),
        cause.sentence
    )
}

/// The cause line with its rule and evidence.
pub(crate) fn cause(model: &Model) -> String {
    let cause = &model.cause;
    let mut lines = vec![["cause".to_owned(), cause.sentence.clone()]];
    let mut add = |name: &str, value: &str| {
        if !value.is_empty() {
            lines.push([format!("  {name}"), value.to_owned()]);
        }
    };
    add("health", health(cause.health));
    add("rule", cause.rule);
    add("cure", &cause.cure);
    for (name, value) in &cause.evidence {
        add(name, value);
    }
    aligned(&lines, &[false, false], usize::MAX)
}

/// Returns the rows of a panel below a line with its name.
pub(crate) fn panel(sheet: &Sheet, utc_offset_s: i32, width: usize) -> String {
    let name = Clean::from(sheet.name.as_str());
    let mut text = format!("{name}: {}\n", Clean::from(sheet.title.as_str()));
    let Some(rows) = &sheet.rows else {
        let why = sheet.reason.as_deref().unwrap_or("nothing is known");
        let _ = writeln!(text, "  {}", Clean::from(why));
        return text;
    };
    let lacks = lacks(sheet);
    let shown = &sheet.shown;
    let heading = |position: &usize| {
        let column = sheet.columns.get(*position);
        Clean::from(column.map_or("", |column| &column.name)).to_string()
    };
    let written = |row: &[crate::pg::Value], position: &usize| {
        let cell = row.get(*position).zip(sheet.columns.get(*position));
        cell.map_or((String::new(), false), |(value, column)| {
            let Cell { text, right, .. } = cell::cell(value, &column.spec, utc_offset_s);
            let rate = column.rate
                && value.is_known()
                && column.spec.unit != crate::format::Unit::PerSecond;
            let text = text::cut(&text, CELL).into_owned();
            (if rate { text + "/s" } else { text }, right)
        })
    };
    if let (true, Some(row)) = (sheet.single, rows.first()) {
        let lines: Vec<[String; 2]> = shown
            .iter()
            .map(|position| [format!("  {}", heading(position)), written(row, position).0])
            .collect();
        return text + &aligned(&lines, &[false, false], width) + &lacks;
    }
    let cells: Vec<Vec<(String, bool)>> = rows
        .iter()
        .map(|row| {
            shown
                .iter()
                .map(|position| written(row, position))
                .collect()
        })
        .collect();
    let right: Vec<bool> = (0..shown.len())
        .map(|column| {
            cells
                .iter()
                .any(|row| row.get(column).is_some_and(|cell| cell.1))
        })
        .collect();
    let mut lines = vec![shown.iter().map(heading).collect::<Vec<_>>()];
    lines.extend(
        cells
            .into_iter()
            .map(|row| row.into_iter().map(|cell| cell.0).collect()),
    );
    text += &aligned(&lines, &right, width);
    if rows.is_empty() {
        text += "  none\n";
    }
    text + &lacks
}

/// One line per reason why columns are not known.
fn lacks(sheet: &Sheet) -> String {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for (name, why) in &sheet.lacks {
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, names)) => names.push(name),
            None => reasons.push((why, vec![name])),
        }
    }
    let lines = reasons
        .iter()
        .map(|(why, names)| format!("  no {}: {}\n", names.join(", "), Clean::from(*why)));
    lines.collect()
}

/// Aligns the cells of several lines. Columns that do not fit into `width` are counted in a last line.
fn aligned<L: AsRef<[String]>>(lines: &[L], right: &[bool], width: usize) -> String {
    let mut widths = vec![0; right.len()];
    for line in lines {
        for (widest, cell) in widths.iter_mut().zip(line.as_ref()) {
            *widest = (*widest).max(text::width(cell));
        }
    }
    let mut room = width;
    let mut fitting = 0;
    for widest in &widths {
        let gap = if fitting == 0 { 0 } else { GAP.len() };
        // The first two columns are shown even if they do not fit.
        if fitting >= 2 && widest + gap > room {
            break;
        }
        room = room.saturating_sub(widest + gap);
        fitting += 1;
    }
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for (position, cell) in line.as_ref().iter().enumerate().take(fitting) {
            let widest = widths.get(position).copied().unwrap_or(0);
            let pad = " ".repeat(widest.saturating_sub(text::width(cell)));
            if position > 0 {
                text += GAP;
            }
            if right.get(position) == Some(&true) {
                text += &pad;
                text += cell;
            } else {
                text += cell;
                text += &pad;
            }
        }
        let text = text::cut(text.trim_end(), width);
        let _ = writeln!(out, "{text}");
    }
    let hidden = right.len() - fitting;
    if hidden > 0 {
        let columns = if hidden == 1 { "column" } else { "columns" };
        let line = format!("  … {hidden} more {columns}; --format json has all");
        let _ = writeln!(out, "{}", text::cut(&line, width));
    }
    out
}
