//! The list of changes since the moment marked.

use super::pair;
use crate::dashboard::compare::statements::Figures;
use crate::dashboard::compare::{Change, Comparison, What};
use crate::dashboard::model::Model;
use crate::dashboard::widgets::Entry;
use crate::format::{self, Unit};
use crate::pg::Value;
use crate::text;

/// Maximum number of changes of each kind.
const SHOWN: usize = 10;
/// Columns of a statement's text.
const TEXT: usize = 160;

/// Title and entries of the list.
pub(super) fn content<'a>(model: &Model, list: &'a Comparison) -> (String, Vec<Entry<'a>>) {
    let at_ms = model
        .baseline
        .as_ref()
        .map_or(0, |baseline| baseline.at.epoch_ms);
    let at = format::time_of_day(at_ms as f64 / 1_000.0, model.start.utc_offset_s);
    let mut entries: Vec<Entry<'_>> = Vec::new();
    if list.changes.is_empty() {
        entries.push("No figure has changed by more than a tenth.".into());
    }
    entries.extend(list.changes.iter().take(SHOWN).flat_map(of_figure));
    let rest = list.changes.len().saturating_sub(SHOWN);
    if rest > 0 {
        entries.push(format!("… {rest} smaller changes").into());
    }
    if !list.made.is_empty() {
        entries.push(Entry::Blank);
        entries.push(Entry::Head("Also changed".into()));
        entries.extend(list.made.iter().take(SHOWN).map(made));
        let rest = list.made.len().saturating_sub(SHOWN);
        if rest > 0 {
            entries.push(format!("… {rest} more").into());
        }
    }
    entries.push(Entry::Blank);
    entries.push(Entry::Head("Compared".into()));
    entries.extend(list.notes.iter().map(|note| Entry::from(note.as_str())));
    (format!("Changes since {at}"), entries)
}

fn of_figure<'a>(change: &Change) -> Vec<Entry<'a>> {
    let figure = written(change);
    let what = change.what.name().to_owned();
    let mut entries = Vec::new();
    match &change.work {
        Some((before, after)) => {
            let calls = calls(before, after);
            entries.push(pair(what, format!("mean {figure}, {calls}")));
            entries.extend(change.plan().map(|plan| pair(String::new(), plan)));
            let text = text::cut(change.name.as_str(), TEXT).into_owned();
            entries.push(pair(String::new(), text));
        }
        None if matches!(change.what, What::Tps | What::P50 | What::P99) => {
            entries.push(pair(what, figure));
        }
        None => entries.push(pair(what, format!("{}: {figure}", change.name))),
    }
    entries
}

fn calls(before: &Figures, after: &Figures) -> String {
    let calls = |figures: &Figures| Value::from(figures.calls_per_s);
    let (before, after) = (calls(before), calls(after));
    format!(
        "calls {} → {}",
        figure(&before, Unit::PerSecond, true),
        figure(&after, Unit::PerSecond, true)
    )
}

/// Both figures, and how they differ: `3.1ms → 31.0ms (×10)`.
fn written(change: &Change) -> String {
    let unit = change.what.unit();
    let work = change.work.is_some();
    let both = format!(
        "{} → {}",
        figure(&change.before, unit, work),
        figure(&change.after, unit, work)
    );
    let factor = change.factor().map(|factor| match factor {
        factor if factor >= 2.0 => format!(" (×{})", format::count(factor)),
        factor if factor <= 0.5 => format!(" (÷{})", format::count(1.0 / factor)),
        factor => format!(
            " ({})",
            format::change((factor - 1.0) * 100.0, Unit::Percent)
        ),
    });
    both + &factor.unwrap_or_default()
}

/// A figure; one of a statement that is null is not known, or there is none as it did not run.
fn figure(value: &Value, unit: Unit, work: bool) -> String {
    match value.number() {
        Some(number) => format::figure(number, unit, 0),
        None if work && unit == Unit::PerSecond => format::PENDING.to_owned(),
        None => format::NONE.to_owned(),
    }
}

fn made<'a>(change: &Change) -> Entry<'a> {
    let unit = change.what.unit();
    let told = |value: &Value| match value {
        Value::Text(text) => text.to_string(),
        Value::Unavailable => "size not known".to_owned(),
        value => figure(value, unit, false),
    };
    let name = &change.name;
    let (before, after) = (told(&change.before), told(&change.after));
    let what = match (&change.before, &change.after) {
        (Value::Null, _) => format!("{name}: new, {after}"),
        (_, Value::Null) => format!("{name}: gone, had {before}"),
        _ => format!("{name}: {before} → {after}"),
    };
    pair(change.what.name().to_owned(), what)
}
