//! Figures over time, at equal distances.

use super::chunks::Chunks;

/// Samples kept per series: an hour at one per second.
const KEEP: usize = 3_600;

/// A series of figures, newest last; `NaN` means "not measured".
#[derive(Clone, Debug, Default)]
pub struct Series(Chunks<f32>);

impl Series {
    /// Appends a figure.
    pub fn push(&mut self, value: Option<f64>) {
        let value = value.map_or(f32::NAN, |value| value as f32);
        self.0.push(value, KEEP);
    }

    /// Appends `count` times that nothing was measured.
    pub(super) fn skip(&mut self, count: usize) {
        for _ in 0..count.min(KEEP) {
            self.push(None);
        }
    }

    /// The newest `count` figures, oldest first; at most an hour.
    pub fn last(&self, count: usize) -> Vec<Option<f64>> {
        let newest = self.0.iter().rev().take(count.min(KEEP));
        let mut figures: Vec<Option<f64>> = newest.map(figure).collect();
        figures.reverse();
        figures
    }

    /// The greatest of the newest `count` figures.
    pub fn max(&self, count: usize) -> Option<f64> {
        let newest = self.0.iter().rev().take(count).filter_map(figure);
        newest.reduce(f64::max)
    }

    /// The median of the newest `count` figures before the last `skip`.
    pub fn median(&self, count: usize, skip: usize) -> Option<f64> {
        let figures = self.0.iter().rev().skip(skip).take(count);
        let mut values: Vec<f64> = figures.filter_map(figure).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

fn figure(value: f32) -> Option<f64> {
    (!value.is_nan()).then_some(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_keeps_an_hour() {
        let mut series = Series::default();
        for value in 0..=KEEP {
            series.push(Some(value as f64));
        }
        assert_eq!(series.last(usize::MAX).len(), KEEP);
        series.push(None);
        assert_eq!(series.last(2), [Some(KEEP as f64), None]);
    }
}
