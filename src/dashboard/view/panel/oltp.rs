//! Transactions, latency and sessions with their recent history.

use super::trends::{self, TrendChart};
use crate::dashboard::cell::Severity;
use crate::dashboard::feed::Feed;
use crate::dashboard::history::Oltp;
use crate::dashboard::model::Model;
use crate::dashboard::rows::Panel;
use crate::dashboard::series::Series;
use crate::dashboard::theme::{Role, Theme};
use crate::dashboard::trend::{Summary, span_ms};
use crate::dashboard::view;
use crate::dashboard::widgets::{Spark, ceiling};
use crate::format;
use crate::format::Unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// Columns of a line before its series, at least: label, figure and a gap.
const BEFORE_SERIES: u16 = 14;
/// Size from which full screen has charts.
const CHARTS_FROM: (u16, u16) = (76, 28);
/// Rows below the charts: sentences and counters.
const BELOW_CHARTS: u16 = 11;
/// The scale of a number of sessions ends there or higher: one of them is no full bar.
const FEW_SESSIONS: f64 = 4.0;

/// Samples whose greatest value makes the scale of a line: so it changes seldom.
const SCALED_OVER: usize = 900;

/// A figure with its series.
struct Row<'a> {
    label: &'a str,
    value: String,
    severity: Option<Severity>,
    series: &'a Series,
    unit: Unit,
    /// What the figure is to stay below, if there is such a limit.
    target: Option<f64>,
    /// The top of its scale is at least this.
    least: f64,
}

impl Row<'_> {
    /// Returns the value at the top of the scale, and its text: `≤50ms` for the target, else `0–200`.
    fn top(&self) -> (f64, String) {
        if let Some(target) = self.target {
            return (target, format!("≤{}", format::round(target, self.unit)));
        }
        let greatest = self.series.max(SCALED_OVER).unwrap_or(0.0);
        let top = ceiling(greatest.max(self.least), self.unit);
        (top, format!("0–{}", format::round(top, self.unit)))
    }
}

/// Draws the series, then the sentences; in full screen the counters below.
pub(super) fn draw(
    model: &Model,
    theme: &Theme,
    feed: &Feed,
    full: bool,
    area: Rect,
    buf: &mut Buffer,
) {
    if full && area.height >= CHARTS_FROM.1 && area.width >= CHARTS_FROM.0 {
        return in_full(model, theme, feed, area, buf);
    }
    let rows = rows(model);
    let mut facts = [
        sessions(model, area.width),
        rates(model),
        vec![means_line(model)],
    ];
    let lines = if area.height >= 7 {
        3
    } else {
        area.height.saturating_sub(4).min(2)
    };
    let room =
        usize::from(area.height.saturating_sub(lines)).min(if full { rows.len() } else { 5 });
    // A low panel leaves out p95.
    let few = room < 4;
    let chosen = rows.into_iter().filter(|row| !few || row.label != "p95");
    let width = usize::from(area.width.saturating_sub(BEFORE_SERIES));
    let mut y = area.y;
    for row in chosen.take(room) {
        // What has a row is not repeated below.
        let [sessions, ..] = &mut facts;
        sessions.retain(|part| !part.starts_with(row.label));
        let (top, text) = row.top();
        let spark = Spark {
            label: row.label,
            label_width: if few { 4 } else { 8 },
            value: &row.value,
            value_width: 9,
            severity: row.severity,
            series: &row.series.drawn(width),
            top: Some((top, &text)),
            theme,
        };
        spark.render(
            Rect {
                y,
                height: 1,
                ..area
            },
            buf,
        );
        y += 1;
    }
    for parts in facts.iter().take(usize::from(lines)) {
        let place = Rect {
            y,
            height: 1,
            ..area
        };
        view::figures(place, buf, parts, theme.style(Role::Text));
        y += 1;
    }
    if full && area.bottom() > y + 3 {
        let rest = Rect {
            y: y + 1,
            height: area.bottom() - y - 1,
            ..area
        };
        super::stat(model, theme, feed, rest, buf);
    }
}

/// Draws charts with axes, and the sentences and counters below.
fn in_full(model: &Model, theme: &Theme, feed: &Feed, area: Rect, buf: &mut Buffer) {
    let history = &model.history;
    let every_ms = (model.interval.as_millis() as u64).max(1);
    let taken = history.tps.last(usize::MAX).len() as u64;
    let span = span_ms(taken * every_ms);
    let count = (span / every_ms) as usize;
    let series = |series: &Series| {
        let newest = series.last(count);
        let mut values = vec![f64::NAN; count.saturating_sub(newest.len())];
        values.extend(newest.into_iter().map(|value| value.unwrap_or(f64::NAN)));
        values
    };
    let behind = |label: &str| match label {
        "p99" => series(&history.p50),
        "active" => series(&history.waiting),
        _ => Vec::new(),
    };
    // The median is drawn behind p99, and who waits behind who is active.
    let own = |row: &Row<'_>| !matches!(row.label, "p50" | "p95" | "waiting");
    let courses = rows(model).into_iter().filter(own).map(|row| {
        let values = series(row.series);
        TrendChart {
            title: match row.label {
                "p99" => "p99 and p50".into(),
                "active" => "active and waiting".into(),
                label => label.into(),
            },
            now: row.value,
            severity: row.severity,
            unit: row.unit,
            behind: behind(row.label),
            target: row.target,
            summary: Summary::of(values.iter().copied()),
            values,
        }
    });
    let courses: Vec<TrendChart> = courses.collect();
    let charts = Rect {
        height: area.height.saturating_sub(BELOW_CHARTS),
        ..area
    };
    trends::chart(&courses, span, theme, charts, buf);
    let mut y = charts.bottom();
    for parts in [
        sessions(model, area.width),
        rates(model),
        vec![means_line(model)],
    ] {
        let line = Rect {
            y,
            height: 1,
            ..area
        };
        view::figures(line, buf, &parts, theme.style(Role::Text));
        y += 1;
    }
    let rest = Rect {
        y: y + 1,
        height: area.bottom().saturating_sub(y + 1),
        ..area
    };
    super::stat(model, theme, feed, rest, buf);
}

fn rows(model: &Model) -> Vec<Row<'_>> {
    let history = &model.history;
    let oltp = &history.oltp;
    let write = |value: Option<f64>, how: fn(f64) -> String| {
        value.map_or_else(|| format::PENDING.into(), how)
    };
    let waiting = (oltp.waiting > 0).then_some(Severity::Warning);
    let wal = oltp
        .wal_bytes_per_s
        .map(|value| format!("{}/s", format::bytes(value)));
    let ms = |value| write(value, format::ms);
    let p99 = p99_severity(model);
    let tps = write(oltp.tps, format::count);
    let wal = wal.unwrap_or_else(|| format::PENDING.into());
    let (blocked, active) = (known(oltp, oltp.waiting), known(oltp, oltp.active));
    let figures = [
        ("tps", tps, None, &history.tps, Unit::PerSecond),
        ("p50", ms(oltp.p50_ms), None, &history.p50, Unit::Ms),
        ("p95", ms(oltp.p95_ms), None, &history.p95, Unit::Ms),
        ("p99", ms(oltp.p99_ms), p99, &history.p99, Unit::Ms),
        ("waiting", blocked, waiting, &history.waiting, Unit::Count),
        ("active", active, None, &history.active, Unit::Count),
        ("WAL", wal, None, &history.wal, Unit::Bytes),
    ];
    let row = |(label, value, severity, series, unit)| Row {
        label,
        value,
        severity,
        series,
        unit,
        target: (unit == Unit::Ms).then_some(model.config.targets.oltp_p99_ms),
        least: if unit == Unit::Count {
            FEW_SESSIONS
        } else {
            0.0
        },
    };
    figures.map(row).into()
}

fn p99_severity(model: &Model) -> Option<Severity> {
    let targets = &model.config.targets;
    let ratio = model.history.oltp.p99_ms? / targets.oltp_p99_ms;
    if ratio >= 1.0 {
        Some(Severity::Danger)
    } else {
        (ratio >= targets.warn_at).then_some(Severity::Warning)
    }
}

/// A count of sessions by state; unavailable instead of 0 if the server hides sessions from the current role.
fn known(oltp: &Oltp, count: i64) -> String {
    if oltp.restricted > 0 && count == 0 {
        return format::UNAVAILABLE.into();
    }
    count.to_string()
}

/// Returns `active 12`, `waiting 3`, `idle in tx 1`; the last is abbreviated if `width` requires it.
pub(in crate::dashboard::view) fn sessions(model: &Model, width: u16) -> Vec<String> {
    let oltp = &model.history.oltp;
    let named = |idle: &str| {
        vec![
            format!("active {}", known(oltp, oltp.active)),
            format!("waiting {}", known(oltp, oltp.waiting)),
            format!("{idle} {}", known(oltp, oltp.idle_in_transaction)),
        ]
    };
    let parts = named("idle in tx");
    let needed: usize = parts.iter().map(|part| part.len() + 2).sum();
    if needed > usize::from(width) + 2 {
        named("in tx")
    } else {
        parts
    }
}

fn rates(model: &Model) -> Vec<String> {
    let oltp = &model.history.oltp;
    let percent = |value: Option<f64>| value.map_or_else(|| format::NONE.into(), format::percent);
    let deadlocks = oltp
        .deadlocks
        .map_or_else(|| format::PENDING.into(), format::count);
    vec![
        format!("rollback {}", percent(oltp.rollback_pct)),
        format!("deadlocks {deadlocks}"),
        format!("cache {}", percent(oltp.cache_hit_pct)),
    ]
}

fn means_line(model: &Model) -> String {
    let statements = model.feed_of(Panel::StatementTotals);
    if statements.is_some_and(|feed| !feed.sampling.missing.is_empty()) {
        return "mean per class: needs pg_stat_statements".into();
    }
    let means = &model.history.oltp.mean_ms;
    let parts: Vec<String> = means
        .iter()
        .map(|(class, ms)| format!("{} {}", class.name(), format::ms(*ms)))
        .collect();
    if parts.is_empty() {
        return "mean per class …".into();
    }
    format!("mean {}", parts.join("  "))
}
