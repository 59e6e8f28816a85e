//! The axes shared by bar charts and line charts.

use super::{columns_of, put, put_right, set};
use crate::dashboard::theme::{Role, Theme};
use crate::format;
use crate::format::Unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// A value axis from `low` to `high` and a category axis below it.
pub(super) struct Axes<'a> {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) unit: Unit,
    pub(super) theme: &'a Theme,
}

/// Round numbers of seconds from a minute to a day.
const ROUND_S: [f64; 12] = [
    60.0, 120.0, 300.0, 600.0, 1_200.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 28_800.0, 43_200.0,
    86_400.0,
];

/// Returns the least number that is round in its unit and not below `max`; 1 for anything not positive and finite.
pub(crate) fn ceiling(max: f64, unit: Unit) -> f64 {
    if !max.is_finite() || max <= 0.0 {
        return 1.0;
    }
    // Bytes are shown in units of 1,024; up to a day, a time has no decimal steps.
    let whole = match unit {
        Unit::Bytes => 1024f64.powf((max.log2() / 10.0).floor().max(0.0)),
        Unit::Seconds if (20.0..=86_400.0).contains(&max) => {
            let round = [30.0].iter().chain(&ROUND_S).find(|top| **top >= max);
            return round.copied().unwrap_or(max);
        }
        _ => 1.0,
    };
    let max_of = max / whole;
    let power = 10f64.powf(max_of.log10().floor());
    [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power * whole)
        .find(|top| *top >= max)
        .filter(|top| top.is_finite())
        .unwrap_or(max)
}

impl Axes<'_> {
    /// Draws the value axis and the line of the category axis into `area`; returns the area left for the
    /// plot. Without room for axes the plot takes all of `area`.
    pub(super) fn draw(&self, area: Rect, buf: &mut Buffer) -> Rect {
        let rows = area.height.saturating_sub(2);
        let labels = self.labels(rows);
        let wide = labels.iter().map(|(_, text)| columns_of(text)).max();
        let wide = wide.unwrap_or_default().saturating_add(2);
        if rows < 2 || area.width < wide.saturating_add(8) {
            return area;
        }
        let axis = area.x + wide;
        let style = self.theme.style(Role::Muted);
        let line = self.theme.style(Role::Border);
        for row in 0..=rows {
            set(
                buf,
                axis,
                area.y + row,
                if row == rows { "┼" } else { "│" },
                line,
            );
        }
        for x in axis + 1..area.right() {
            set(buf, x, area.y + rows, "─", line);
        }
        for (row, text) in &labels {
            put_right(buf, area.x, area.y + row, wide - 1, text, style);
            if *row < rows {
                set(buf, axis, area.y + row, "┤", line);
            }
        }
        Rect::new(axis + 1, area.y, area.right() - axis - 1, rows)
    }

    /// Rows and texts of the labels: top, middle, bottom. A label gives the value at the upper edge of its
    /// row.
    fn labels(&self, rows: u16) -> Vec<(u16, String)> {
        let text = |row: u16| {
            let share = f64::from(rows - row) / f64::from(rows.max(1));
            format::round(self.low + (self.high - self.low) * share, self.unit)
        };
        let mut out = vec![(0, text(0)), (rows, text(rows))];
        if rows >= 4 {
            out.push((rows / 2, text(rows / 2)));
        }
        out
    }

    /// Writes the labels of the categories below `plot`: as many as fit, counted from the newest. `starts`
    /// are the first columns of the categories.
    pub(super) fn draw_labels(
        &self,
        plot: Rect,
        y: u16,
        starts: &[u16],
        labels: &[String],
        buf: &mut Buffer,
    ) {
        let widest = labels.iter().map(|label| columns_of(label)).max();
        let need = widest.unwrap_or_default().saturating_add(2);
        let Some(stride) = stride(starts, need) else {
            return;
        };
        let style = self.theme.style(Role::Muted);
        let mut limit = plot.right();
        let pairs = starts.iter().zip(labels).rev();
        for (position, (start, label)) in pairs.enumerate() {
            if position % stride != 0 {
                continue;
            }
            // The newest label moves to the left if it would otherwise be cut.
            let wide = columns_of(label);
            let x = (*start).min(plot.right().saturating_sub(wide)).max(plot.x);
            if x.saturating_add(wide) <= limit {
                put(buf, x, y, wide, label, style);
                limit = x.saturating_sub(1);
            }
        }
    }
}

/// Returns the least interval between categories at which labels of `need` columns fit; round for hours.
fn stride(starts: &[u16], need: u16) -> Option<usize> {
    let (first, last) = (starts.first()?, starts.last()?);
    if starts.len() == 1 {
        return Some(1);
    }
    let step = f64::from(last - first) / (starts.len() - 1) as f64;
    [1, 2, 3, 4, 6, 8, 12, 24, 48, 96, 192]
        .into_iter()
        .find(|stride| step * *stride as f64 >= f64::from(need))
        .or(Some(starts.len()))
}

#[cfg(test)]
mod tests {
    use super::{Unit, ceiling};

    #[test]
    fn the_axis_ends_on_a_round_number() {
        for (max, top) in [
            (0.0, 1.0),
            (57_300.0, 60_000.0),
            (0.013, 0.02),
            (100.0, 100.0),
            (f64::NAN, 1.0),
        ] {
            let drawn = ceiling(max, Unit::Count);
            assert!((drawn - top).abs() < 1e-9, "{max}: {drawn}");
        }
        for (max, unit, top) in [
            (1_500_000.0, Unit::Bytes, 2.0 * 1_048_576.0),
            (300.0 * 1024.0, Unit::Bytes, 300.0 * 1024.0),
            (91.0, Unit::Seconds, 120.0),
            (25.0, Unit::Seconds, 30.0),
            (3.1, Unit::Seconds, 4.0),
            (90_000.0, Unit::Seconds, 100_000.0),
        ] {
            let drawn = ceiling(max, unit);
            assert!((drawn - top).abs() < 1e-9, "{max}: {drawn}");
        }
        for unit in [Unit::Count, Unit::Bytes, Unit::Seconds] {
            assert!(ceiling(f64::MAX, unit).is_finite());
            assert!(ceiling(5e-324, unit) > 0.0);
        }
    }
}
