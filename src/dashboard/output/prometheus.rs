//! Prometheus text exposition format: a gauge or counter per figure, in base units.

mod stream;

use super::sheet::{self, Column, Sheet};
use crate::dashboard::diagnosis::Health;
use crate::dashboard::diagnosis::rules::RULES;
use crate::dashboard::model::Model;
use crate::dashboard::rows::Panel;
use crate::format::Unit;
use crate::pg::Value;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::prometheus_text;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use std::collections::{BTreeSet, HashSet};

pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Prefix of all metric names.
const PREFIX: &str = "htap_top";

/// Names and values of labels.
type Labels = Vec<(String, String)>;

/// A metric with its samples.
#[derive(Debug)]
struct Family {
    name: String,
    help: String,
    counter: bool,
    samples: Vec<(Labels, f64)>,
}

/// All metrics of one exposition.
#[derive(Debug)]
struct Exposition(Vec<Family>);

/// Returns the text for these sheets, gauges and cause. A figure that is not measured has no samples.
pub fn text(model: &Model, sheets: &[Sheet]) -> Result<String, std::fmt::Error> {
    let mut taken = BTreeSet::new();
    let mut families = judgement(model);
    families.push(ages(sheets));
    families.extend(stream::families(model));
    for sheet in sheets {
        // The stream's metrics have names and labels of their own.
        if sheet.name != Panel::Stream.name() {
            families.extend(self::families(sheet));
        }
    }
    families.retain(|family| !family.samples.is_empty());
    for family in &mut families {
        family.name = sheet::unlike(&family.name, &mut taken);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Exposition(families)));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for family in &self.0 {
            let kind = if family.counter {
                MetricType::Counter
            } else {
                MetricType::Gauge
            };
            let mut metric = encoder.encode_descriptor(&family.name, &family.help, None, kind)?;
            for (labels, value) in &family.samples {
                let mut sample = metric.encode_family(labels)?;
                if family.counter {
                    sample.encode_counter::<NoLabelSet, _, f64>(value, None)?;
                } else {
                    sample.encode_gauge(value)?;
                }
            }
        }
        Ok(())
    }
}

/// Metrics for the server's availability, the gauges and their targets, and the rule that names the cause.
fn judgement(model: &Model) -> Vec<Family> {
    let up = sheet::answers(model);
    let gauge = |name: &str, help: &str, samples| Family {
        name: format!("{PREFIX}_{name}"),
        help: help.to_owned(),
        counter: false,
        samples,
    };
    let labelled = |label: &str, of: &str, value| (vec![(label.to_owned(), of.to_owned())], value);
    let flag = |yes: bool| f64::from(u8::from(yes));
    let mut families = vec![gauge(
        "up",
        "1 if the watched server answers.",
        vec![(Vec::new(), flag(up))],
    )];
    if !up {
        return families;
    }
    families.push(gauge(
        "unknown",
        "A gauge or panel that is not known, with the SQLSTATE of the reason; `once --format json` has the reason in full.",
        model
            .unknown
            .iter()
            .map(|unknown| {
                let label = |name: &str, text: &str| (name.to_owned(), text.to_owned());
                let labels = vec![
                    label("what", &unknown.what),
                    label("sqlstate", unknown.sqlstate()),
                ];
                (labels, 1.0)
            })
            .collect(),
    ));
    let known = model.gauges.iter();
    let known = known.filter(|gauge| gauge.health != Health::Unknown);
    families.push(gauge(
        "target_ratio",
        "The figure divided by its target; 1 or more misses it.",
        known
            .clone()
            .map(|gauge| labelled("gauge", gauge.label, gauge.ratio))
            .collect(),
    ));
    families.push(gauge(
        "target_missed",
        "1 if the figure misses its target.",
        known
            .map(|gauge| labelled("gauge", gauge.label, flag(gauge.health == Health::Danger)))
            .collect(),
    ));
    families.push(gauge(
        "cause",
        "1 if this rule names the cause at the moment.",
        RULES
            .iter()
            .map(|rule| labelled("rule", rule.name, flag(model.cause.rule == rule.name)))
            .collect(),
    ));
    families
}

/// The age of each panel's rows.
fn ages(sheets: &[Sheet]) -> Family {
    let told = sheets.iter().filter(|sheet| sheet.rows.is_some());
    let age = |sheet: &Sheet| {
        let label = ("panel".to_owned(), sheet.name.clone());
        Some((vec![label], sheet.age_s?))
    };
    Family {
        name: format!("{PREFIX}_panel_age_seconds"),
        help: "Age of the panel's rows.".into(),
        counter: false,
        samples: told.filter_map(age).collect(),
    }
}

/// A metric for each column with figures.
fn families(sheet: &Sheet) -> Vec<Family> {
    let Some(rows) = &sheet.rows else {
        return Vec::new();
    };
    let labelled = labelled(sheet, rows);
    let figures = sheet
        .columns
        .iter()
        .enumerate()
        .filter(|(_, column)| !column.spec.hidden && !sheet.labels.contains(&column.name));
    let family = |(position, column): (usize, &Column)| {
        let (name, factor) = metric(&sheet.name, column);
        let value = |row: &[Value]| figure(row.get(position)?, column);
        let samples = labelled
            .iter()
            .filter_map(|(labels, row)| Some((labels.clone(), value(row)? * factor)));
        Family {
            name,
            help: help(sheet, column),
            counter: column.counter,
            samples: samples.collect(),
        }
    };
    figures.map(family).collect()
}

/// Rows with their labels. Of several rows with the same labels only the first, which is the worst, is kept.
fn labelled<'a>(sheet: &Sheet, rows: &'a [Vec<Value>]) -> Vec<(Labels, &'a Vec<Value>)> {
    let mut names = BTreeSet::new();
    let columns: Vec<(String, usize)> = sheet
        .labels
        .iter()
        .filter_map(|label| {
            let name = label_name(label);
            Some((sheet::unlike(&name, &mut names), sheet.column(label)?))
        })
        .collect();
    let mut seen = HashSet::new();
    let mut told = Vec::new();
    for row in rows {
        let labels: Labels = columns
            .iter()
            .map(|(name, column)| {
                (
                    name.clone(),
                    row.get(*column).map_or_else(String::new, word),
                )
            })
            .collect();
        if seen.insert(labels.clone()) {
            told.push((labels, row));
        }
    }
    told
}

fn word(cell: &Value) -> String {
    match cell {
        Value::Null | Value::Unavailable | Value::Pending => String::new(),
        Value::Bool(yes) => yes.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) | Value::AtLeast(number) | Value::AtMost(number) => number.to_string(),
        Value::Decimal(exact, _) => exact.to_string(),
        Value::Text(text) => text.as_str().to_owned(),
    }
}

/// Returns a cell as a figure. A whole number without a unit is an identifier (a pid, an OID), not a figure.
fn figure(cell: &Value, column: &Column) -> Option<f64> {
    match cell {
        Value::Int(_) if column.spec.unit == Unit::Plain && !column.counter => None,
        other => other.number(),
    }
}

/// Returns the name of a column's metric in base units, and the factor for its figures.
fn metric(panel: &str, column: &Column) -> (String, f64) {
    let mut stem = column.name.as_str();
    stem = stem.strip_suffix("_per_s").unwrap_or(stem);
    let (ending, suffix, factor) = match column.spec.unit {
        Unit::Ms => ("_ms", "_seconds", 0.001),
        Unit::Seconds => ("_s", "_seconds", 1.0),
        Unit::Bytes => ("_bytes", "_bytes", 1.0),
        Unit::Percent => ("_pct", "_percent", 1.0),
        Unit::Time | Unit::Hour => ("_epoch", "_timestamp_seconds", 1.0),
        _ => ("", "", 1.0),
    };
    stem = stem.strip_suffix(ending).unwrap_or(stem);
    if stem == suffix.trim_start_matches('_') {
        // temp_files.bytes
        stem = "";
    }
    let mut full = format!("{PREFIX}_{panel}_{stem}");
    full = full.trim_end_matches('_').to_owned() + suffix;
    if column.rate {
        full += "_per_second";
    }
    if column.counter {
        // The encoder appends it.
        full = full.trim_end_matches("_total").to_owned();
    } else if full.ends_with("_total") {
        // Which only counters may.
        full += "_value";
    }
    (name(&full), factor)
}

/// Returns a valid name: every character except letters, digits and `_` becomes `_`.
fn name(text: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut name: String = text.chars().map(valid).collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Returns a valid label name. Prometheus reserves names that begin with `__`.
fn label_name(column: &str) -> String {
    let name = name(column);
    match name.trim_start_matches('_') {
        "" => "label".to_owned(),
        rest if rest.starts_with(|c: char| c.is_ascii_digit()) => format!("_{rest}"),
        rest => rest.to_owned(),
    }
}

fn help(sheet: &Sheet, column: &Column) -> String {
    let rate = if column.rate { " (per second)" } else { "" };
    let help = column.spec.help.split_whitespace();
    let help = help.collect::<Vec<_>>().join(" ");
    let name = if help.is_empty() {
        column.name.clone()
    } else {
        help
    };
    crate::text::Clean::from(format!("{}{rate}: {name}", sheet.title)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::panels;
    use crate::dashboard::panels::spec::ColumnSpec;

    fn named(name: &str, unit: Unit, rate: bool, counter: bool) -> String {
        let column = Column {
            name: name.into(),
            spec: ColumnSpec {
                unit,
                ..ColumnSpec::default()
            },
            rate,
            counter,
        };
        metric("p", &column).0
    }

    #[test]
    fn units_are_base_units_and_stand_last() {
        assert_eq!(
            named("p99_ms", Unit::Ms, false, false),
            "htap_top_p_p99_seconds"
        );
        assert_eq!(
            named("age_s", Unit::Seconds, false, false),
            "htap_top_p_age_seconds"
        );
        assert_eq!(
            named("size_bytes", Unit::Bytes, false, true),
            "htap_top_p_size_bytes"
        );
        assert_eq!(
            named("read_bytes", Unit::Bytes, true, false),
            "htap_top_p_read_bytes_per_second"
        );
        assert_eq!(
            named("wal_bytes_per_s", Unit::Bytes, true, false),
            "htap_top_p_wal_bytes_per_second"
        );
        assert_eq!(
            named("dead_pct", Unit::Percent, false, false),
            "htap_top_p_dead_percent"
        );
        assert_eq!(
            named("idx_scans_total", Unit::Count, false, true),
            "htap_top_p_idx_scans"
        );
        assert_eq!(
            named("total", Unit::Count, false, false),
            "htap_top_p_total_value"
        );
        assert_eq!(
            named("a \"b\"\n{é}", Unit::Count, false, false),
            "htap_top_p_a__b_____"
        );
        assert_eq!(named("", Unit::Bytes, false, false), "htap_top_p_bytes");
    }

    #[test]
    fn labels_have_valid_names() {
        for (column, label) in [
            ("view", "view"),
            ("7up", "_7up"),
            ("__name__", "name__"),
            ("é\"", "label"),
            ("", "label"),
        ] {
            assert_eq!(label_name(column), label);
        }
    }

    #[test]
    fn no_two_columns_of_a_panel_have_the_same_metric() {
        for spec in panels::built_in().unwrap() {
            let mut seen = HashSet::new();
            for name in spec.front.columns.keys() {
                let column = sheet::described(spec, name);
                let (metric, _) = metric(&spec.name, &column);
                assert!(seen.insert(metric.clone()), "{metric}");
            }
        }
    }
}
