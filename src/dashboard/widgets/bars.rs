//! Bars along an axis, such as sales by hour. Our own, because ratatui's `BarChart` has no axis of values, and it
//! labels bars, not the times between them.

use super::axes::{Axes, ceiling};
use super::{blocks, clip, put, set};
use crate::dashboard::theme::{Role, Theme};
use crate::format::Unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::widgets::Widget;

/// Upright bars, the newest at the right. If there are more bars than columns, only the newest are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BarChart<'a> {
    /// Labels of the bars.
    pub labels: &'a [String],
    /// Heights; NaN leaves a gap.
    pub values: &'a [f64],
    /// Heights to compare with, such as those of the day before.
    pub compare: Option<&'a [f64]>,
    /// True for every bar that is incomplete.
    pub partial: &'a [bool],
    /// Unit of the heights.
    pub unit: Unit,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

/// Place of one bar.
#[derive(Clone, Copy)]
struct Slot {
    index: usize,
    x: u16,
    width: u16,
}

impl Widget for BarChart<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        if area.is_empty() {
            return;
        }
        if self.values.is_empty() {
            let style = self.theme.style(Role::Muted);
            put(buf, area.x, area.y, area.width, " no rows", style);
            return;
        }
        let axes = Axes {
            low: 0.0,
            high: ceiling(self.max(self.values.len()), self.unit),
            unit: self.unit,
            theme: self.theme,
        };
        let plot = axes.draw(area, buf);
        let slots = slots(self.values.len(), plot);
        for slot in &slots {
            self.bar(*slot, plot, axes.high, plot != area, buf);
        }
        if plot != area {
            let starts: Vec<u16> = slots.iter().map(|slot| slot.x).collect();
            let first = slots.first().map_or(0, |slot| slot.index);
            let labels = self.labels.get(first..).unwrap_or_default();
            axes.draw_labels(plot, plot.bottom() + 1, &starts, labels, buf);
        }
    }
}

impl BarChart<'_> {
    /// Returns the greatest of the `newest` heights and of the heights they are compared with.
    fn max(&self, newest: usize) -> f64 {
        let tail = |values: &[f64]| {
            let skipped = values.len().saturating_sub(newest);
            let newest = values.iter().skip(skipped).copied();
            newest.filter(|value| value.is_finite()).fold(0.0, f64::max)
        };
        tail(self.values).max(self.compare.map_or(0.0, tail))
    }

    fn bar(&self, slot: Slot, plot: Rect, high: f64, marks: bool, buf: &mut Buffer) {
        let value = self.values.get(slot.index).copied().unwrap_or(f64::NAN);
        let partial = self.partial.get(slot.index).copied().unwrap_or_default();
        let eighths = blocks::eighths(value, high, plot.height);
        let columns = slot.x..slot.x.saturating_add(slot.width);
        if value < 0.0 {
            // Nothing is drawn below the axis, so a negative value needs a mark to differ from none.
            let style = self.theme.style(Role::Warning);
            for x in columns.clone() {
                set(buf, x, plot.bottom().saturating_sub(1), "▼", style);
            }
        }
        for x in columns.clone() {
            if partial {
                let style = self.theme.style(Role::ChartPartial);
                let rows = ((eighths + 4) / 8).max(eighths.min(1)) as u16;
                for y in plot.bottom().saturating_sub(rows)..plot.bottom() {
                    set(buf, x, y, "▒", style);
                }
            } else {
                let style = self.theme.style(Role::Chart);
                blocks::column(buf, plot, x, eighths, style);
            }
        }
        let before = self
            .compare
            .and_then(|compare| compare.get(slot.index))
            .copied();
        if let Some(before) = before.filter(|before| marks && *before > 0.0) {
            self.mark(
                columns,
                plot,
                blocks::eighths(before, high, plot.height),
                buf,
            );
        }
    }

    /// Marks the height of the comparison: a line above the bar, or inside it.
    fn mark(&self, columns: std::ops::Range<u16>, plot: Rect, eighths: u32, buf: &mut Buffer) {
        let row = (eighths.saturating_sub(1) / 8) as u16;
        let y = plot.bottom().saturating_sub(row + 1).max(plot.y);
        for x in columns {
            match buf.cell((x, y)).map(|cell| cell.symbol().to_owned()) {
                Some(symbol) if symbol == " " => {
                    set(buf, x, y, "─", self.theme.style(Role::ChartCompare));
                }
                Some(symbol) if symbol == "█" => {
                    let style = self.theme.style(Role::Chart);
                    let style = style.add_modifier(Modifier::REVERSED);
                    set(buf, x, y, "─", style);
                }
                // Both tops fall into one cell: the difference is too small to draw.
                _ => {}
            }
        }
    }
}

/// Spreads the newest bars over the plot. Bars narrower than three columns touch and fill the width unevenly;
/// wider ones are equally wide, each followed by a gap.
fn slots(bars: usize, plot: Rect) -> Vec<Slot> {
    let shown = bars.min(usize::from(plot.width));
    let Some(step) = usize::from(plot.width).checked_div(shown) else {
        return Vec::new();
    };
    let start = |bar: usize| plot.x + (bar * usize::from(plot.width) / shown) as u16;
    (0..shown)
        .map(|bar| Slot {
            index: bars - shown + bar,
            x: start(bar),
            width: if step >= 3 {
                step as u16 - 1
            } else {
                start(bar + 1) - start(bar)
            },
        })
        .collect()
}
