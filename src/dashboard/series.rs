//! Figures over time, at equal distances.

use super::chunks::Chunks;

/// Samples kept per series: an hour at one per second.
const KEEP: usize = 3_600;

/// Figures by which a drawn series moves at a time: in between, only its newest figure is drawn anew.
const AHEAD: usize = 3;

/// A series of figures, newest last; `NaN` means "not measured".
#[derive(Clone, Debug, Default)]
pub struct Series {
    figures: Chunks<f32>,
    /// Number of figures ever appended.
    count: usize,
}

impl Series {
    /// Appends a figure.
    pub fn push(&mut self, value: Option<f64>) {
        let value = value.map_or(f32::NAN, |value| value as f32);
        self.figures.push(value, KEEP);
        self.count += 1;
    }

    /// Appends `count` times that nothing was measured.
    pub(super) fn skip(&mut self, count: usize) {
        for _ in 0..count.min(KEEP) {
            self.push(None);
        }
    }

    /// The newest `count` figures, oldest first; at most an hour.
    pub fn last(&self, count: usize) -> Vec<Option<f64>> {
        let newest = self.figures.iter().rev().take(count.min(KEEP));
        let mut figures: Vec<Option<f64>> = newest.map(figure).collect();
        figures.reverse();
        figures
    }

    /// What a drawing of `count` figures shows, oldest first: the newest ones, with room for up to [`AHEAD`] to come.
    pub fn drawn(&self, count: usize) -> Vec<Option<f64>> {
        let to_come = self.count.next_multiple_of(AHEAD) - self.count;
        let mut figures = self.last(count.saturating_sub(to_come));
        figures.extend(std::iter::repeat_n(None, to_come.min(count)));
        figures
    }

    /// The greatest of the newest `count` figures.
    pub fn max(&self, count: usize) -> Option<f64> {
        let newest = self.figures.iter().rev().take(count).filter_map(figure);
        newest.reduce(f64::max)
    }

    /// The median of the newest `count` figures before the last `skip`.
    pub fn median(&self, count: usize, skip: usize) -> Option<f64> {
        let figures = self.figures.iter().rev().skip(skip).take(count);
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

    #[test]
    fn a_drawn_series_moves_by_three_figures_at_a_time() {
        let mut series = Series::default();
        let mut drawn = |value: f64| {
            series.push(Some(value));
            series.drawn(4)
        };
        assert_eq!(drawn(1.0), [Some(1.0), None, None]);
        assert_eq!(drawn(2.0), [Some(1.0), Some(2.0), None]);
        assert_eq!(drawn(3.0), [Some(1.0), Some(2.0), Some(3.0)]);
        assert_eq!(drawn(4.0), [Some(3.0), Some(4.0), None, None]);
        assert_eq!(series.drawn(1), [None]);
    }
}
