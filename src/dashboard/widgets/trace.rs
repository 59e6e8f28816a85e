//! A figure over time with its target, on the axis that it shares with others.

use super::axes::ceiling;
use super::line::Dots;
use super::stack::{GUTTER, rule, scale};
use super::{blocks, clip, put_right, set};
use crate::config::Charts;
use crate::dashboard::theme::{Role, Theme};
use crate::format::{self, Unit};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::widgets::Widget;

/// A value for each step of time. What exceeds the target has the colour of danger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace<'a> {
    /// The values; NaN leaves a gap.
    pub values: &'a [f64],
    /// Target, drawn as a dotted line.
    pub target: Option<f64>,
    /// Label.
    pub label: &'a str,
    /// The newest figure, formatted.
    pub newest: &'a str,
    /// Word before it: when it was.
    pub when: &'a str,
    /// Unit of the values.
    pub unit: Unit,
    /// Characters to draw with.
    pub charts: Charts,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

impl Widget for Trace<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        if area.width <= GUTTER || area.height == 0 {
            return;
        }
        let max = self
            .values
            .iter()
            .copied()
            .filter(|value| value.is_finite());
        let max = max.fold(self.target.unwrap_or(0.0), f64::max);
        let high = ceiling(max, self.unit);
        let top = format::round(high, self.unit);
        let names = (self.label, self.when, self.newest);
        let plot = scale(area, names, &top, buf, self.theme);
        if let Some(target) = self.target.filter(|_| area.height > 1) {
            let row = (target / high * f64::from(plot.height)).ceil() as u16;
            let y = plot.bottom().saturating_sub(row.clamp(1, plot.height));
            let style = self.theme.style(Role::ChartCompare);
            let measured = self.values.iter().rposition(|value| value.is_finite());
            rule(plot, y, measured, (self.charts, style), buf);
            if y > area.y + 1 && y + 1 < area.bottom() {
                let text = format::round(target, self.unit);
                put_right(
                    buf,
                    area.x,
                    y,
                    GUTTER - 1,
                    &text,
                    self.theme.style(Role::ChartCompare),
                );
            }
        }
        if self.charts == Charts::Braille && area.height > 1 {
            self.line(plot, high, buf);
        } else {
            self.bars(plot, high, buf);
        }
    }
}

impl Trace<'_> {
    fn style(&self, value: f64) -> Style {
        let over = self.target.is_some_and(|target| value > target);
        self.theme
            .style(if over { Role::Danger } else { Role::Chart })
    }

    fn line(&self, plot: Rect, high: f64, buf: &mut Buffer) {
        let mut dots = Dots::new(plot);
        let last = (usize::from(plot.height) * 4).saturating_sub(1);
        let mut before = None;
        for column in 0..dots.width() {
            let value = self.values.get(column / 2).copied();
            let value = value.filter(|value| value.is_finite());
            let here = value.map(|value| {
                let up = ((value / high).clamp(0.0, 1.0) * last as f64).round();
                last.saturating_sub(up as usize)
            });
            if let Some(row) = here {
                dots.stroke(column, before.unwrap_or(row), row);
            }
            before = here;
        }
        let style = |column: usize| self.style(self.values.get(column).copied().unwrap_or(0.0));
        dots.draw(buf, &style);
    }

    fn bars(&self, plot: Rect, high: f64, buf: &mut Buffer) {
        for (x, value) in (plot.x..plot.right()).zip(self.values) {
            if !value.is_finite() {
                continue;
            }
            let style = self.style(*value);
            let eighths = blocks::eighths(*value, high, plot.height).max(1);
            if self.charts == Charts::Ascii {
                let up = (eighths.div_ceil(8) as u16).clamp(1, plot.height);
                set(buf, x, plot.bottom() - up, "*", style);
            } else {
                blocks::column(buf, plot, x, eighths, style);
            }
        }
    }
}
