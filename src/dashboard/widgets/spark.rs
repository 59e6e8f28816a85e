//! A figure with its recent history beside it, which is ratatui's `Sparkline`.

use super::{blocks, clip, columns_of, put, put_right, severity_style};
use crate::dashboard::cell::Severity;
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{RenderDirection, Sparkline, Widget};

/// With less room for bars, the scale is not written.
const LEAST_BARS: u16 = 8;

/// `tps   2,104 ▅▆▆▇`: label, figure, and bars of which the newest is at the right. It takes the whole height
/// of its area.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spark<'a> {
    /// Label of the figure.
    pub label: &'a str,
    /// Width of the label, in columns.
    pub label_width: u16,
    /// The figure, formatted.
    pub value: &'a str,
    /// Width of the figure, in columns; the figure is right-aligned.
    pub value_width: u16,
    /// Severity, if the figure is beyond a threshold.
    pub severity: Option<Severity>,
    /// History, the newest last; `None` if nothing was measured.
    pub series: &'a [Option<f64>],
    /// Value of a full bar, and its text at the right of the bars. Without it, the greatest value shown is a full bar.
    pub top: Option<(f64, &'a str)>,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

impl Widget for Spark<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        if area.is_empty() {
            return;
        }
        let y = area.bottom() - 1;
        let label = self.label_width.min(area.width);
        put(
            buf,
            area.x,
            y,
            label,
            self.label,
            self.theme.style(Role::Muted),
        );
        let room = area.width - label;
        let value = self.value_width.min(room);
        let style = severity_style(self.theme, self.severity);
        put_right(buf, area.x + label, y, value, self.value, style);
        let left = label + value + 1;
        if left >= area.width {
            return;
        }
        let mut plot = Rect::new(area.x + left, area.y, area.width - left, area.height);
        if let Some((_, text)) = self.top {
            let wide = columns_of(text) + 1;
            if plot.width >= wide + LEAST_BARS {
                plot.width -= wide;
                let muted = self.theme.style(Role::Muted);
                put_right(buf, plot.right(), y, wide, text, muted);
            }
        }
        let skipped = self.series.len().saturating_sub(usize::from(plot.width));
        let shown = self.series.get(skipped..).unwrap_or_default();
        let finite = shown.iter().flatten().copied();
        let greatest = finite.filter(|value| value.is_finite()).fold(0.0, f64::max);
        let max = self.top.map_or(greatest, |(top, _)| top);
        let style = match self.severity {
            None => self.theme.style(Role::Chart),
            Some(_) => style,
        };
        let scale = u32::from(plot.height) * 8;
        // A measured zero is a low line; a value that was not measured is blank. The top eighth stays free, so that a
        // line does not touch the one above it.
        let bars = shown.iter().rev().map(|value| {
            let value = value.filter(|value| !value.is_nan())?;
            let eighths = blocks::eighths(value, max, plot.height);
            Some(u64::from(eighths.clamp(1, scale - 1)))
        });
        Sparkline::default()
            .data(bars)
            .max(u64::from(scale))
            .direction(RenderDirection::RightToLeft)
            .absent_value_symbol(" ")
            .style(style)
            .render(plot, buf);
    }
}
