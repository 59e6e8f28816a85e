//! Transactions, latency and sessions with their recent history.

use crate::dashboard::cell::Severity;
use crate::dashboard::feed::Feed;
use crate::dashboard::history::{Oltp, Series};
use crate::dashboard::model::Model;
use crate::dashboard::rows::Panel;
use crate::dashboard::theme::{Role, Theme};
use crate::dashboard::widgets::Spark;
use crate::format;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// Columns of a line before its series: label, figure and a gap.
const BEFORE_SERIES: u16 = 18;

/// A figure with its series.
struct Row<'a> {
    label: &'a str,
    value: String,
    severity: Option<Severity>,
    series: &'a Series,
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
    let rows = rows(model);
    let facts = [
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
        let spark = Spark {
            label: row.label,
            label_width: 7,
            value: &row.value,
            value_width: 9,
            severity: row.severity,
            series: &row.series.last(width),
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
        crate::dashboard::view::figures(place, buf, parts, theme.style(Role::Text));
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

fn rows(model: &Model) -> Vec<Row<'_>> {
    let history = &model.history;
    let oltp = &history.oltp;
    let write = |value: Option<f64>, how: fn(f64) -> String| {
        value.map_or_else(|| format::PENDING.into(), how)
    };
    let row = |label, value, severity, series| Row {
        label,
        value,
        severity,
        series,
    };
    let waiting = (oltp.waiting > 0).then_some(Severity::Warning);
    let wal = oltp
        .wal_bytes_per_s
        .map(|value| format!("{}/s", format::bytes(value)));
    vec![
        row("tps", write(oltp.tps, format::count), None, &history.tps),
        row("p50", write(oltp.p50_ms, format::ms), None, &history.p50),
        row("p95", write(oltp.p95_ms, format::ms), None, &history.p95),
        row(
            "p99",
            write(oltp.p99_ms, format::ms),
            p99_severity(model),
            &history.p99,
        ),
        row(
            "waiting",
            known(oltp, oltp.waiting),
            waiting,
            &history.waiting,
        ),
        row("active", known(oltp, oltp.active), None, &history.active),
        row(
            "WAL",
            wal.unwrap_or_else(|| format::PENDING.into()),
            None,
            &history.wal,
        ),
    ]
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
