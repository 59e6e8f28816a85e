//! Columns of stacked amounts over time: each part with a pattern of its own, so that colour only repeats it.

use super::axes::ceiling;
use super::{blocks, clip, put, put_right, set};
use crate::config::Charts;
use crate::dashboard::theme::{Role, Theme};
use crate::format;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Widget;

/// Parts of a column at most.
pub(crate) const PARTS: usize = 5;
/// Patterns of the parts, from the bottom: as blocks, and in ASCII.
const PATTERNS: [(&str, &str); PARTS] =
    [("█", "#"), ("▓", "="), ("▒", "+"), ("░", "."), ("╱", "/")];
/// Columns of the labels at the left of a plot on a common axis of time.
pub(crate) const GUTTER: u16 = 12;

/// A column for each step of time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stack<'a> {
    /// The amounts, from the bottom; `None` if nothing was measured.
    pub columns: &'a [Option<[f32; PARTS]>],
    /// Roles of the parts.
    pub roles: &'a [Role],
    /// A height to compare with.
    pub limit: Option<f64>,
    /// Label.
    pub label: &'a str,
    /// The newest figure, formatted.
    pub newest: &'a str,
    /// Word before it: when it was.
    pub when: &'a str,
    /// Characters to draw with.
    pub charts: Charts,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

/// Returns the pattern of a part.
pub(crate) fn pattern(part: usize, charts: Charts) -> &'static str {
    let (block, ascii) = PATTERNS.get(part).copied().unwrap_or((" ", " "));
    if charts == Charts::Ascii {
        ascii
    } else {
        block
    }
}

impl Widget for Stack<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        if area.width <= GUTTER || area.height == 0 {
            return;
        }
        let total = |parts: &[f32; PARTS]| f64::from(parts.iter().sum::<f32>());
        let max = self.columns.iter().flatten().map(total);
        let max = max.fold(self.limit.unwrap_or(0.0), f64::max);
        let high = ceiling(max.max(2.0), format::Unit::Count);
        let plot = scale(
            area,
            (self.label, self.when, self.newest),
            &format::round(high, format::Unit::Count),
            buf,
            self.theme,
        );
        let per_cell = high / f64::from(plot.height);
        if let Some(limit) = self.limit {
            let row = (limit / per_cell).ceil() as u16;
            let y = plot.bottom().saturating_sub(row.clamp(1, plot.height));
            let measured = self.columns.iter().rposition(Option::is_some);
            let style = self.theme.style(Role::Warning);
            rule(plot, y, measured, (self.charts, style), buf);
        }
        for (x, parts) in (plot.x..plot.right()).zip(self.columns) {
            if let Some(parts) = parts {
                self.column(x, plot, per_cell, parts, buf);
            }
        }
    }
}

impl Stack<'_> {
    fn column(&self, x: u16, plot: Rect, per_cell: f64, parts: &[f32; PARTS], buf: &mut Buffer) {
        let total = f64::from(parts.iter().sum::<f32>());
        for (row, y) in (0..plot.height).zip((plot.y..plot.bottom()).rev()) {
            let low = f64::from(row) * per_cell;
            if low >= total {
                break;
            }
            let Some(part) = most(parts, low, low + per_cell) else {
                continue;
            };
            let role = self.roles.get(part).copied().unwrap_or(Role::Chart);
            let style = self.theme.style(role);
            let filled = (total - low) / per_cell;
            let symbol = if self.charts != Charts::Ascii && part == 0 && filled < 1.0 {
                blocks::lower(blocks::eighths(filled, 1.0, 1))
            } else if filled < 0.3 && row > 0 {
                // Less than the pattern could show.
                continue;
            } else {
                pattern(part, self.charts)
            };
            set(buf, x, y, symbol, style);
        }
    }
}

/// Returns the part that fills most of what lies between two heights.
fn most(parts: &[f32; PARTS], low: f64, high: f64) -> Option<usize> {
    let mut below = 0.0;
    let mut found = (0.0, None);
    for (part, amount) in parts.iter().enumerate() {
        let top = below + f64::from(*amount);
        let here = top.min(high) - below.max(low);
        if here > found.0 {
            found = (here, Some(part));
        }
        below = top;
    }
    found.1
}

/// Writes label and scale into the gutter and returns the plot beside it.
pub(super) fn scale(
    area: Rect,
    (label, when, newest): (&str, &str, &str),
    high: &str,
    buf: &mut Buffer,
    theme: &Theme,
) -> Rect {
    let muted = theme.style(Role::Muted);
    let line = theme.style(Role::Border);
    let axis = area.x + GUTTER - 1;
    let used = put(
        buf,
        area.x,
        area.y,
        GUTTER - 2,
        label,
        theme.style(Role::Title),
    ) + 1;
    // Without rows for both, the newest figure tells more than the scale.
    let text = theme.style(Role::Text);
    match area.height {
        1 => put_right(buf, area.x + used, area.y, GUTTER - 1 - used, newest, text),
        height => {
            put_right(buf, area.x + used, area.y, GUTTER - 1 - used, high, muted);
            let y = area.y + 1;
            // A bare figure looks like another label of the scale.
            let mut used = 0;
            if !newest.is_empty() {
                used = put(buf, area.x, y, GUTTER - 1, when, muted) + 1;
                used += put(buf, area.x + used, y, GUTTER - 1 - used, newest, text);
            }
            if height > 2 || used + 2 < GUTTER {
                put_right(buf, area.x, area.bottom() - 1, GUTTER - 1, "0", muted);
            }
        }
    }
    for y in area.y..area.bottom() {
        set(buf, axis, y, if y == area.y { "┤" } else { "│" }, line);
    }
    Rect {
        x: axis + 1,
        width: area.width - GUTTER,
        ..area
    }
}

/// Draws a dotted line across a plot, as far as something was measured: what is to come stays empty.
pub(super) fn rule(
    plot: Rect,
    y: u16,
    measured: Option<usize>,
    (charts, style): (Charts, Style),
    buf: &mut Buffer,
) {
    let symbol = if charts == Charts::Ascii { "-" } else { "┄" };
    let columns = measured.map_or(usize::from(plot.width), |last| last + 1);
    for x in (plot.x..plot.right()).take(columns) {
        set(buf, x, y, symbol, style);
    }
}
