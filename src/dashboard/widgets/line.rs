//! A line through a series. Our own, because ratatui's `Chart` connects all points of a series: a gap, in which nothing was
//! measured, must stay one.

use super::axes::{Axes, ceiling};
use super::{clip, put, set};
use crate::dashboard::theme::{Role, Theme};
use crate::format::Unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Widget;

/// A line of braille dots, the newest value at the right. If there are more values than dots, each dot shows
/// the greatest of its group, so that no peak is lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LineChart<'a> {
    /// Labels at equal distances, the last one below the newest value.
    pub labels: &'a [String],
    /// The series; NaN leaves a gap.
    pub values: &'a [f64],
    /// A second series with as many values, drawn muted behind the first; empty if there is none.
    pub behind: &'a [f64],
    /// A limit, drawn as a line across and always within the axis.
    pub target: Option<f64>,
    /// Unit of the values.
    pub unit: Unit,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

/// The dots of a plot: two columns and four rows per cell.
pub(super) struct Dots {
    cells: Vec<u8>,
    plot: Rect,
}

impl Widget for LineChart<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        if area.is_empty() {
            return;
        }
        let finite = || {
            let both = self.values.iter().chain(self.behind).copied();
            both.filter(|value| value.is_finite())
        };
        if finite().next().is_none() {
            let style = self.theme.style(Role::Muted);
            put(buf, area.x, area.y, area.width, " no rows", style);
            return;
        }
        let lowest = finite().fold(0.0, f64::min);
        let target = self.target.filter(|target| target.is_finite());
        let axes = Axes {
            low: if lowest < 0.0 {
                -ceiling(-lowest, self.unit)
            } else {
                0.0
            },
            high: match finite().chain(target).fold(0.0, f64::max) {
                max if max <= 0.0 && lowest < 0.0 => 0.0,
                max => ceiling(max, self.unit),
            },
            unit: self.unit,
            theme: self.theme,
        };
        let plot = axes.draw(area, buf);
        if let Some(target) = target {
            let y = plot.y + (Dots::new(plot).row(target, &axes) / 4) as u16;
            for x in plot.x..plot.right() {
                set(buf, x, y, "╌", self.theme.style(Role::Warning));
            }
        }
        for (values, role) in [(self.behind, Role::Muted), (self.values, Role::Chart)] {
            let mut dots = Dots::new(plot);
            let mut before = None;
            for column in 0..dots.width() {
                let here = at(values, column, dots.width());
                let here = here.map(|value| dots.row(value, &axes));
                if let Some(row) = here {
                    dots.stroke(column, before.unwrap_or(row), row);
                }
                before = here;
            }
            let style = self.theme.style(role);
            dots.draw(buf, &|_| style);
        }
        if plot != area {
            let count = self.labels.len();
            let last = usize::from(plot.width) - 1;
            let start = |index: usize| plot.x + (index * last / (count - 1).max(1)) as u16;
            let starts: Vec<u16> = (0..count).map(start).collect();
            axes.draw_labels(plot, plot.bottom() + 1, &starts, self.labels, buf);
        }
    }
}

/// Returns the value at one of `columns` columns of dots.
fn at(values: &[f64], column: usize, columns: usize) -> Option<f64> {
    let count = values.len();
    let get = |index: usize| {
        let value = values.get(index).copied();
        value.filter(|value| value.is_finite())
    };
    if count == 0 {
        return None;
    }
    if count == 1 {
        return get(0).filter(|_| column + 1 == columns);
    }
    if count > columns {
        let group = column * count / columns..(column + 1) * count / columns;
        return group.filter_map(get).reduce(f64::max);
    }
    let step = (count - 1) as f64 / (columns - 1).max(1) as f64;
    let place = column as f64 * step;
    let (index, part) = (place.floor() as usize, place.fract());
    match (get(index), get(index + 1)) {
        // Each side is scaled first: the difference of two huge numbers is infinite.
        (Some(left), Some(right)) => Some(left * (1.0 - part) + right * part),
        // A value beside a gap is drawn only in the column nearest to it.
        (Some(left), None) => Some(left).filter(|_| part < step / 2.0),
        (None, Some(right)) => Some(right).filter(|_| 1.0 - part <= step / 2.0),
        (None, None) => None,
    }
}

impl Dots {
    pub(super) fn new(plot: Rect) -> Self {
        Self {
            cells: vec![0; plot.area() as usize],
            plot,
        }
    }

    pub(super) fn width(&self) -> usize {
        usize::from(self.plot.width) * 2
    }

    /// Returns the row of dots of a value, counted from the top.
    fn row(&self, value: f64, axes: &Axes<'_>) -> usize {
        let last = (usize::from(self.plot.height) * 4).saturating_sub(1);
        let share = (value / 2.0 - axes.low / 2.0) / (axes.high / 2.0 - axes.low / 2.0);
        let up = (share.clamp(0.0, 1.0) * last as f64).round();
        last.saturating_sub(up as usize)
    }

    /// Sets the dots of a column between the previous column's row and its own, so that the line is unbroken.
    pub(super) fn stroke(&mut self, column: usize, before: usize, row: usize) {
        // The previous column has drawn its own row already.
        let (from, to) = match before.cmp(&row) {
            std::cmp::Ordering::Less => (before + 1, row),
            std::cmp::Ordering::Equal => (row, row),
            std::cmp::Ordering::Greater => (row, before - 1),
        };
        for y in from..=to {
            let cell = y / 4 * usize::from(self.plot.width) + column / 2;
            let bit = match (column % 2, y % 4) {
                (0, 3) => 6,
                (1, 3) => 7,
                (0, dot) => dot,
                (_, dot) => dot + 3,
            };
            if let Some(mask) = self.cells.get_mut(cell) {
                *mask |= 1 << bit;
            }
        }
    }

    /// Draws the dots; `style` is asked for each column of cells.
    pub(super) fn draw(&self, buf: &mut Buffer, style: &dyn Fn(usize) -> Style) {
        for (position, mask) in self.plot.positions().zip(&self.cells) {
            if let Some(dots) = char::from_u32(0x2800 + u32::from(*mask)).filter(|_| *mask != 0) {
                set(
                    buf,
                    position.x,
                    position.y,
                    dots.encode_utf8(&mut [0; 4]),
                    style(usize::from(position.x - self.plot.x)),
                );
            }
        }
    }
}
