//! Output for scripts as a table, JSON, CSV or Prometheus text. Reads the model and writes text.

pub(crate) mod changes;
pub(crate) mod csv;
pub(crate) mod json;
pub(crate) mod live;
pub mod prometheus;
pub(crate) mod sheet;
pub(crate) mod table;

use super::diagnosis::{Gauge, Health};
use super::model::{Link, Model};
use super::panels::spec::Spec;
use super::rows::Panel;
use crate::format::Unit;
use sheet::Sheet;
use std::fmt::Write as _;
use std::sync::Arc;

/// Panels that Prometheus gets if none is named, besides gauges, cause and OLTP figures.
pub const DEFAULT: [Panel; 5] = [
    Panel::Database,
    Panel::Snapshots,
    Panel::Bloat,
    Panel::Views,
    Panel::Pooler,
];
/// A default panel and its maximum number of rows: there may be a thousand tables.
const WORST: (Panel, usize) = (Panel::Bloat, 20);

/// Returns the sheets of these panels; unknown names are ignored.
pub fn sheets(model: &Model, panels: &[String]) -> Vec<Sheet> {
    let feeds = panels.iter().filter_map(|name| model.feed_named(name));
    feeds
        .filter_map(|id| model.feed(id))
        .map(|feed| Sheet::of(model, feed))
        .collect()
}

/// Returns the sheets that Prometheus gets if no panel is named.
pub fn default_sheets(model: &Model) -> Vec<Sheet> {
    let mut told = vec![Sheet::oltp(model), Sheet::classes(model)];
    for panel in DEFAULT {
        let Some(feed) = model.feed_of(panel) else {
            continue;
        };
        let mut sheet = Sheet::of(model, feed);
        if let Some(rows) = sheet.rows.as_mut().filter(|_| panel == WORST.0) {
            rows.truncate(WORST.1);
        }
        told.push(sheet);
    }
    told
}

/// Names of the panels that can be requested.
pub fn names(model: &Model) -> Vec<&str> {
    model
        .panels()
        .map(|(_, feed)| feed.spec.name.as_str())
        .collect()
}

/// Returns the gauges whose target is missed.
pub fn missed(model: &Model) -> Vec<&Gauge> {
    let gauges = model.gauges.iter();
    gauges
        .filter(|gauge| gauge.health == Health::Danger)
        .collect()
}

/// Returns the reason why nothing is measured at the moment; `None` if something is.
pub fn unmeasured(model: &Model) -> Option<String> {
    match &model.fast {
        Link::Lost { error, .. } => Some(format!("not connected: {error}")),
        Link::Idle => Some("not connected yet".into()),
        Link::Live(_) if sheet::is_measured(model) => None,
        Link::Live(_) => {
            // No other panel is queried before the server's facts are known.
            let first = if model.facts.is_none() {
                Panel::Facts
            } else {
                Panel::Database
            };
            let sheet = model.feed_of(first).map(|feed| Sheet::of(model, feed));
            let why = sheet.and_then(|sheet| sheet.reason);
            let why = why.unwrap_or_else(|| "no answer yet".into());
            Some(format!("connected, but {}: {why}", first.name()))
        }
    }
}

/// Lists what is not known, each with its reason: `locks: permission denied …`.
pub fn unknown(model: &Model) -> Vec<String> {
    let unknown = model.unknown.iter();
    unknown
        .map(|unknown| match unknown.why.as_str() {
            "" => format!("{}: not measured yet", unknown.what),
            why => format!("{}: {why}", unknown.what),
        })
        .collect()
}

/// Name of a health in output: `good`.
pub fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Good => "good",
        Health::Warning => "warning",
        Health::Danger => "danger",
    }
}

/// Name of a unit in output; empty for plain figures.
pub fn unit(unit: Unit, rate: bool) -> &'static str {
    match (unit, rate) {
        (Unit::Plain, _) => "",
        (Unit::Bytes, true) => "bytes/s",
        (Unit::Bytes, false) => "bytes",
        (Unit::Ms, true) => "ms/s",
        (Unit::Ms, false) => "ms",
        (Unit::Seconds, _) => "s",
        (Unit::Percent, _) => "percent",
        (Unit::Money, _) => "money",
        (Unit::PerSecond, _) | (Unit::Count, true) => "1/s",
        (Unit::Count, false) => "count",
        (Unit::Time | Unit::Hour, _) => "epoch s",
        (Unit::Flag, _) => "flag",
    }
}

/// Names and units of all fields, as Markdown for docs/scripts.md.
pub fn markdown(panels: &[Arc<Spec>]) -> String {
    let mut text = String::from("| Panel | Rows told apart by | Fields |\n| --- | --- | --- |\n");
    let oltp = sheet::OLTP.iter();
    let oltp: Vec<String> = oltp
        .map(|(name, of, ..)| field(name, *of, name.ends_with("_per_s"), false))
        .collect();
    let _ = writeln!(text, "| (`oltp`) | | {} |", oltp.join(", "));
    for spec in panels.iter().filter(|spec| !spec.front.internal) {
        text += &row(spec);
    }
    text
}

fn row(spec: &Spec) -> String {
    let fields: Vec<String> = spec
        .told()
        .map(|name| {
            let column = sheet::described(spec, name);
            field(name, column.spec.unit, column.rate, column.counter)
        })
        .collect();
    let labels = sheet::labels(spec).join("`, `");
    let labels = if labels.is_empty() {
        String::new()
    } else {
        format!("`{labels}`")
    };
    format!("| `{}` | {labels} | {} |\n", spec.name, fields.join(", "))
}

fn field(name: &str, of: Unit, rate: bool, counter: bool) -> String {
    let mut words = vec![format!("`{name}`")];
    if !unit(of, rate).is_empty() {
        words.push(unit(of, rate).to_owned());
    }
    if counter {
        words.push("↑".into());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use crate::dashboard::panels::built_in;

    #[test]
    fn what_a_panel_names_is_a_column_that_it_describes() {
        for spec in built_in().unwrap() {
            let front = &spec.front;
            let named = front
                .labels
                .iter()
                .chain(&front.counters)
                .chain(&front.rates);
            for name in named {
                assert!(front.columns.contains_key(name), "{}: {name}", spec.name);
            }
            for name in &front.counters {
                assert!(!front.rates.contains(name), "{}: {name}", spec.name);
            }
        }
    }
}
