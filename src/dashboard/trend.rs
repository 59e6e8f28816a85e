//! The course of a figure over the last hour.

use super::chunks::Chunks;
use crate::pg::{Table, Value};
use serde::Deserialize;

/// Points kept: an hour, at one per [`APART_MS`].
const KEEP: usize = 1_800;
/// Least time between two points.
const APART_MS: u64 = 2_000;
/// Longest time between two points that a line connects, as a multiple of the usual one.
const GAP: u64 = 3;
/// Spans of time that a chart may cover, in milliseconds.
pub(crate) const SPANS_MS: [u64; 4] = [2 * 60_000, 5 * 60_000, 15 * 60_000, 60 * 60_000];

/// A figure whose course over time is drawn in full screen, in the space that the rows leave.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrendSpec {
    /// The column.
    pub column: String,
    /// What is taken of its rows.
    #[serde(default)]
    pub of: Of,
    /// Takes only rows with this text in the first column of `key`, if it is not empty.
    #[serde(default)]
    pub row: String,
    /// Title of the chart; the column's if empty.
    #[serde(default)]
    pub title: String,
}

/// The figure that is made of a column's rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// The greatest.
    #[default]
    Max,
    /// Their sum.
    Sum,
}

/// Times, as [`Moment::mono_ms`](super::event::Moment::mono_ms), and figures, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Trend(Chunks<(u64, f32)>);

/// The figures of a span of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Summary {
    /// The least.
    pub min: f64,
    /// The mean of all points.
    pub mean: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// Returns the summary of these figures; `None` without a finite one.
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut n, mut sum, mut min, mut max) = (0.0, 0.0, f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (n, sum) = (n + 1.0, sum + value);
            (min, max) = (value.min(min), value.max(max));
        }
        (n > 0.0).then(|| Self {
            min,
            mean: sum / n,
            max,
        })
    }
}

/// Returns the shortest of the usual spans that covers `ms`.
pub(crate) fn span_ms(ms: u64) -> u64 {
    let [.., hour] = SPANS_MS;
    SPANS_MS
        .into_iter()
        .find(|span| *span >= ms)
        .unwrap_or(hour)
}

impl Trend {
    /// Appends a figure, unless the newest one is too young.
    pub fn push(&mut self, at_ms: u64, value: f64) {
        let newest = self.0.iter().next_back();
        if newest.is_none_or(|(last, _)| at_ms >= last.saturating_add(APART_MS)) {
            self.0.push((at_ms, value as f32), KEEP);
        }
    }

    /// Time of the oldest point.
    pub(crate) fn since_ms(&self) -> Option<u64> {
        self.0.iter().next().map(|(at, _)| at)
    }

    /// Returns the figures since `from_ms`.
    pub(crate) fn since(&self, from_ms: u64) -> impl Iterator<Item = f64> {
        let newer = self
            .0
            .iter()
            .rev()
            .take_while(move |(at, _)| *at >= from_ms);
        newer.map(|(_, value)| f64::from(value))
    }

    /// Returns `count` figures at equal distances from `from_ms` to `to_ms`: of several points the greatest, between two
    /// points the older one; NaN where none was measured. `every_ms` is the usual time between two points.
    pub(crate) fn spread(&self, from_ms: u64, to_ms: u64, count: usize, every_ms: u64) -> Vec<f64> {
        let mut values = vec![f64::NAN; count];
        let span = to_ms.saturating_sub(from_ms).max(1);
        let place = |at: u64| {
            let share = at.saturating_sub(from_ms) as f64 / span as f64;
            ((share * count as f64) as usize).min(count.saturating_sub(1))
        };
        let mut before: Option<(u64, f64)> = None;
        for (at, value) in self
            .0
            .iter()
            .filter(|(at, _)| (from_ms..=to_ms).contains(at))
        {
            let value = f64::from(value);
            if let Some((last, old)) = before
                && at - last <= every_ms.max(APART_MS) * GAP
            {
                let between = values.iter_mut().take(place(at)).skip(place(last) + 1);
                between.for_each(|cell| *cell = old);
            }
            if let Some(cell) = values.get_mut(place(at)) {
                *cell = cell.max(value);
            }
            before = Some((at, value));
        }
        values
    }
}

/// Returns the figure that is made of a column's rows; `None` if none is known.
pub(super) fn total(table: &Table, wanted: &TrendSpec, key: &[String]) -> Option<f64> {
    let column = table.column(&wanted.column)?;
    let named = key.first().and_then(|name| table.column(name));
    let is_wanted = |row: &&Vec<Value>| {
        let name = named.and_then(|named| row.get(named)?.text());
        wanted.row.is_empty() || name == Some(&*wanted.row)
    };
    let rows = table.rows.iter().filter(is_wanted);
    rows.filter_map(|row| row.get(column)?.number())
        .reduce(match wanted.of {
            Of::Max => f64::max,
            Of::Sum => |sum, cell| sum + cell,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(points: &[(u64, f64)]) -> Trend {
        let mut trend = Trend::default();
        for (at_s, value) in points {
            trend.push(at_s * 1_000, *value);
        }
        trend
    }

    #[test]
    fn a_line_goes_on_between_samples_and_stops_where_none_was_taken() {
        let trend = trend(&[(0, 1.0), (5, 2.0), (10, 4.0), (60, 8.0)]);
        let values = trend.spread(0, 60_000, 12, 5_000);
        assert_eq!(values[..3], [1.0, 2.0, 4.0]);
        assert!(
            values[3..11].iter().all(|value| value.is_nan()),
            "{values:?}"
        );
        assert_eq!(values[11..], [8.0]);
        let fine = trend.spread(0, 12_000, 12, 5_000);
        assert_eq!(fine[..6], [1.0, 1.0, 1.0, 1.0, 1.0, 2.0]);
        assert_eq!(trend.spread(0, 60_000, 1, 5_000), [8.0], "the greatest");
    }

    #[test]
    fn points_are_not_denser_than_two_seconds() {
        let trend = trend(&[(0, 1.0), (1, 9.0), (2, 3.0)]);
        let mut values: Vec<f64> = trend.since(0).collect();
        values.reverse();
        assert_eq!(values, [1.0, 3.0]);
        let summary = Summary::of(trend.since(0)).unwrap();
        assert!((summary.mean - 2.0).abs() < 1e-9, "{summary:?}");
        assert_eq!(Summary::of([f64::NAN].into_iter()), None);
    }

    #[test]
    fn spans_are_the_usual_ones() {
        assert_eq!(
            [0, 120_000, 120_001, 300_001, 4_000_000].map(span_ms),
            [120_000, 120_000, 300_000, 900_000, 3_600_000]
        );
    }
}
