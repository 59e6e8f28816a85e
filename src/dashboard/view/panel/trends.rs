//! The course of a panel's figures, in the space that its rows leave in full screen.

use crate::dashboard::cell::Severity;
use crate::dashboard::feed::Feed;
use crate::dashboard::model::Model;
use crate::dashboard::panels::spec::Chart;
use crate::dashboard::theme::Theme;
use crate::dashboard::trend::{Summary, Trend, span_ms};
use crate::dashboard::view;
use crate::dashboard::widgets::{self, LineChart};
use crate::format;
use crate::format::Unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// Rows of the smallest chart that tells anything: its title, the axis with its labels, five of dots.
const LEAST_ROWS: u16 = 8;
/// Rows of the tallest chart of a row of charts.
const MOST_ROWS: u16 = 17;
/// Columns from which two charts stand side by side.
const TWO_ABREAST: u16 = 100;
/// Figures of a chart: as many as the widest one has columns of dots.
const FIGURES: usize = 240;

/// A figure with its course.
pub(super) struct TrendChart {
    /// Name of the figure.
    pub(super) title: String,
    /// The newest value, as text.
    pub(super) now: String,
    /// Severity of the newest value.
    pub(super) severity: Option<Severity>,
    /// Unit of the values.
    pub(super) unit: Unit,
    /// The values, at equal distances, the newest last.
    pub(super) values: Vec<f64>,
    /// Values of a figure that belongs to it.
    pub(super) behind: Vec<f64>,
    /// What it is compared with.
    pub(super) target: Option<f64>,
    /// Least, mean and greatest value.
    pub(super) summary: Option<Summary>,
}

/// Draws what the panel file lists, below the rows of a table or the figures of a single row.
pub(super) fn draw(model: &Model, theme: &Theme, feed: &Feed, area: Rect, buf: &mut Buffer) {
    let used = match feed.spec.front.chart {
        Chart::Table => feed.cursor.order.len().saturating_add(2),
        Chart::Stat => usize::from(area.height / 2),
        _ => return,
    };
    let used = u16::try_from(used).unwrap_or(u16::MAX);
    let left = area.height.saturating_sub(used);
    if left < LEAST_ROWS {
        return;
    }
    let now_ms = model.now.mono_ms;
    let oldest = feed.trends.iter().filter_map(Trend::since_ms).min();
    let span = span_ms(oldest.map_or(0, |oldest| now_ms.saturating_sub(oldest)));
    let from_ms = now_ms.saturating_sub(span);
    let every_ms = model.pace(feed).as_millis() as u64;
    let wanted = feed.spec.front.trends.iter().zip(&feed.trends);
    let courses = wanted.filter_map(|(wanted, trend)| {
        let column = feed.spec.column(&wanted.column);
        let title = match wanted.title.as_str() {
            "" => column.heading(&wanted.column).to_owned(),
            title => title.to_owned(),
        };
        let newest = trend.since(from_ms).next()?;
        Some(TrendChart {
            title,
            now: format::compact(newest, column.unit, model.start.utc_offset_s),
            severity: None,
            unit: column.unit,
            values: trend.spread(from_ms, now_ms, FIGURES, every_ms),
            behind: Vec::new(),
            target: None,
            summary: Summary::of(trend.since(from_ms)),
        })
    });
    let courses: Vec<TrendChart> = courses.collect();
    let place = Rect {
        y: area.y + used,
        height: left,
        ..area
    };
    chart(&courses, span, theme, place, buf);
}

/// Draws charts over the last `span_ms`, in one or two columns, as many as fit.
pub(super) fn chart(
    courses: &[TrendChart],
    span_ms: u64,
    theme: &Theme,
    area: Rect,
    buf: &mut Buffer,
) {
    let abreast = if area.width >= TWO_ABREAST && courses.len() > 1 {
        2
    } else {
        1
    };
    let fit = usize::from(area.height / LEAST_ROWS).min(courses.len().div_ceil(abreast));
    let Some(height) = u16::try_from(fit)
        .ok()
        .and_then(|fit| area.height.checked_div(fit))
    else {
        return;
    };
    // With an odd height the middle of the axis is a row of its own, and its label half of the top.
    let height = (height.min(MOST_ROWS) - 1) | 1;
    let width = area.width / abreast as u16;
    for (place, course) in courses.iter().take(fit * abreast).enumerate() {
        let (column, row) = (place % abreast, place / abreast);
        let here = Rect {
            x: area.x + width * column as u16,
            y: area.y + height * row as u16,
            width: width - u16::from(abreast > 1 && column == 0),
            height,
        };
        one(course, span_ms, theme, here, buf);
    }
}

fn one(course: &TrendChart, span_ms: u64, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let text = |value: f64| format::compact(value, course.unit, 0);
    let mut parts = vec![format!("{} {}", course.title, course.now)];
    let target = course
        .target
        .map(|target| format::round(target, course.unit));
    parts.extend(target.map(|target| format!("target {target}")));
    if let Some(summary) = course.summary {
        parts.push(format!("min {}", text(summary.min)));
        parts.push(format!("mean {}", text(summary.mean)));
        parts.push(format!("max {}", text(summary.max)));
    }
    let head = Rect { height: 1, ..area };
    let style = widgets::severity_style(theme, course.severity);
    view::figures(head, buf, &parts, style);
    let labels = [ago(span_ms), ago(span_ms / 2), "now".to_owned()];
    LineChart {
        labels: &labels,
        values: &course.values,
        behind: &course.behind,
        target: course.target,
        unit: course.unit,
        theme,
    }
    .render(
        Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1),
            ..area
        },
        buf,
    );
}

/// `15m ago`, `7m30s ago`
fn ago(ms: u64) -> String {
    let text = format::seconds(ms as f64 / 1000.0);
    format!("{} ago", text.strip_suffix("00s").unwrap_or(&text))
}
