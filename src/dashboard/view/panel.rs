//! One panel in its box, on the Overview or full screen.

mod note;
pub(super) mod oltp;
mod placeholder;
mod timeline;
mod trends;

pub use placeholder::{COLUMN_STORE, placeholder};

use crate::dashboard::cell;
use crate::dashboard::cell::Severity;
use crate::dashboard::feed::{Feed, Room};
use crate::dashboard::model::Model;
use crate::dashboard::panels::spec::Chart;
use crate::dashboard::rows;
use crate::dashboard::theme::{Role, Theme};
use crate::dashboard::widgets::{
    self, BarChart, DataTable, Figure, LineChart, Panel, Ranking, Stat,
};
use crate::format::Unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// Width from which the Overview shows the client behind a pooler, too.
const WIDE: u16 = 140;

/// Draws `feed` into `area`.
pub(super) fn draw(
    model: &Model,
    theme: &Theme,
    feed: &Feed,
    focused: bool,
    full: bool,
    area: Rect,
    buf: &mut Buffer,
) {
    let stale = model.is_stale(feed);
    let note = note::note(model, feed, stale);
    let title = title(model, feed);
    let key = feed.direct.first().map(|key| key.shown());
    let panel = Panel {
        key: key.as_deref(),
        title: &title,
        note: note.as_deref(),
        focused,
        stale,
        theme,
    };
    if area.height == 1 {
        let text = placeholder(model, feed);
        let text = text.as_deref().unwrap_or(feed.spec.front.nothing());
        return panel.line(text, area, buf);
    }
    let inner = panel.render(area, buf);
    if let Some(text) = placeholder(model, feed) {
        widgets::message(inner, buf, &text, theme.style(Role::Muted));
        return;
    }
    contents(model, theme, feed, focused, full, inner, buf);
    if stale {
        widgets::grey(inner, buf, theme);
    }
}

fn title(model: &Model, feed: &Feed) -> String {
    match &feed.cursor.filter {
        None if feed.panel == Some(rows::Panel::Timeline) => {
            let minutes = model.timeline_ms() / 60_000;
            format!("{} · {minutes} minutes", feed.spec.front.title)
        }
        Some(filter) => format!("{} · /{}", feed.spec.front.title, filter.text),
        None => feed.spec.front.title.clone(),
    }
}

fn contents(
    model: &Model,
    theme: &Theme,
    feed: &Feed,
    focused: bool,
    full: bool,
    area: Rect,
    buf: &mut Buffer,
) {
    if feed.panel == Some(rows::Panel::Database) {
        oltp::draw(model, theme, feed, full, area, buf);
        return;
    }
    if feed.panel == Some(rows::Panel::Timeline) {
        timeline::draw(model, theme, feed, (focused, full), area, buf);
        return;
    }
    // In full screen, a chart stands above its figures.
    let chart_rows = match feed.spec.front.chart {
        Chart::Table => 0,
        _ if full && area.height >= 14 => area.height / 2,
        _ => area.height,
    };
    let chart_area = Rect {
        height: chart_rows,
        ..area
    };
    match &feed.spec.front.chart {
        Chart::Table => {}
        Chart::Bars {
            x,
            y,
            compare,
            partial,
        } => bars(
            model,
            theme,
            feed,
            (x, y, compare, partial),
            chart_area,
            buf,
        ),
        Chart::Line { x, y } => line(model, theme, feed, (x, y), chart_area, buf),
        Chart::Ranking { x, y } => {
            let items: Vec<(&str, f64)> = (0..feed.table.rows.len())
                .map(|row| {
                    (
                        feed.table.get(row, x).text().unwrap_or("—"),
                        feed.table.get(row, y).number().unwrap_or(0.0),
                    )
                })
                .collect();
            Ranking {
                items: &items,
                unit: feed.spec.column(y).unit,
                theme,
            }
            .render(chart_area, buf);
        }
        Chart::Stat => stat(model, theme, feed, chart_area, buf),
    }
    let rest = Rect {
        y: area.y + chart_rows,
        height: area.height - chart_rows,
        ..area
    };
    if rest.height > 0 {
        table(model, theme, feed, focused, full, rest, buf);
    }
    if full {
        trends::draw(model, theme, feed, area, buf);
    }
}

/// Draws the feed's rows as a table.
pub(super) fn table(
    model: &Model,
    theme: &Theme,
    feed: &Feed,
    focused: bool,
    full: bool,
    area: Rect,
    buf: &mut Buffer,
) {
    if feed.cursor.order.is_empty() {
        let text = if feed.table.rows.is_empty() {
            feed.spec.front.nothing().to_owned()
        } else {
            let keys = &model.config.keys;
            keys.fill("no row matches the filter; {back} clears it")
        };
        widgets::message(area, buf, &text, theme.style(Role::Muted));
        return;
    }
    let mut columns = feed.columns(Room {
        full,
        ..model.room()
    });
    if feed.panel == Some(rows::Panel::Activity) {
        // They are there only if the pooler is watched, or the host is read.
        let wanted = full || feed.has_own_columns();
        let behind = model.start.pooler.is_some() && (wanted || model.size.0 >= WIDE);
        let hosted = model.shows_host();
        columns.retain(|name| (behind || name != "pooler_client") && (hosted || name != "cpu_pct"));
    }
    let tagged = |row: usize| {
        !feed.cursor.tagged.is_empty() && feed.cursor.tagged.contains(&feed.identity(row))
    };
    DataTable {
        spec: &feed.spec,
        table: &feed.table,
        order: &feed.cursor.order,
        columns: &columns,
        selected: focused.then_some(feed.cursor.selected),
        tagged: &tagged,
        offset: feed.cursor.offset,
        column_offset: if full { feed.cursor.column_offset } else { 0 },
        sort: feed
            .cursor
            .sort
            .as_ref()
            .map(|(name, descending)| (&**name, *descending)),
        rest: Some(if feed.panel == Some(rows::Panel::Activity) {
            ", less harmful"
        } else {
            ""
        }),
        compact: !full,
        chosen: feed.lists_columns(full),
        theme,
        focused,
        utc_offset_s: model.start.utc_offset_s,
    }
    .render(area, buf);
    if let Some(filter) = &feed.cursor.filter {
        let body = Rect {
            y: area.y + 1,
            height: area.height.saturating_sub(1),
            ..area
        };
        widgets::highlight(body, buf, theme, &|text| filter.found(text));
    }
}

fn labels(model: &Model, feed: &Feed, column: &str) -> Vec<String> {
    let spec = feed.spec.column(column);
    let cell = |row| {
        cell::cell(feed.table.get(row, column), &spec, model.start.utc_offset_s)
            .text
            .into_owned()
    };
    (0..feed.table.rows.len()).map(cell).collect()
}

fn numbers(feed: &Feed, column: &str) -> Vec<f64> {
    (0..feed.table.rows.len())
        .map(|row| feed.table.get(row, column).number().unwrap_or(f64::NAN))
        .collect()
}

fn line(
    model: &Model,
    theme: &Theme,
    feed: &Feed,
    (x, y): (&str, &str),
    area: Rect,
    buf: &mut Buffer,
) {
    LineChart {
        labels: &labels(model, feed, x),
        values: &numbers(feed, y),
        behind: &[],
        target: None,
        unit: feed.spec.column(y).unit,
        theme,
    }
    .render(area, buf);
}

type BarColumns<'a> = (
    &'a String,
    &'a String,
    &'a Option<String>,
    &'a Option<String>,
);

fn bars(
    model: &Model,
    theme: &Theme,
    feed: &Feed,
    columns: BarColumns<'_>,
    area: Rect,
    buf: &mut Buffer,
) {
    let (x, y, compare, partial) = columns;
    let labels = labels(model, feed, x);
    let values = numbers(feed, y);
    let compared = compare.as_ref().map(|name| numbers(feed, name));
    let partial: Vec<bool> = partial
        .as_ref()
        .map(|name| {
            (0..feed.table.rows.len())
                .map(|row| feed.table.get(row, name).is_true())
                .collect()
        })
        .unwrap_or_default();
    let foot = area.height >= 5;
    let chart = Rect {
        height: area.height - u16::from(foot),
        ..area
    };
    let unit = feed.spec.column(y).unit;
    BarChart {
        labels: &labels,
        values: &values,
        compare: compared.as_deref(),
        partial: &partial,
        unit,
        theme,
    }
    .render(chart, buf);
    if foot {
        let line = Rect {
            y: chart.bottom(),
            height: 1,
            ..area
        };
        let parts = newest(model, feed, x, compare.as_deref());
        super::figures(line, buf, &parts, theme.style(Role::Text));
    }
}

/// Returns the newest row's figures, each with its title: `now`, `sales 41.2k`, `orders 812`.
pub(super) fn newest(model: &Model, feed: &Feed, x: &str, compare: Option<&str>) -> Vec<String> {
    let Some(last) = feed.table.rows.len().checked_sub(1) else {
        return Vec::new();
    };
    let mut parts = vec!["now".to_owned()];
    for name in feed.columns(Room::ALL) {
        let spec = feed.spec.column(&name);
        if name == x || Some(name.as_str()) == compare || spec.unit == Unit::Flag {
            continue;
        }
        let title = spec.heading(&name);
        let cell = cell::cell(feed.table.get(last, &name), &spec, model.start.utc_offset_s);
        parts.push(format!("{title} {}", cell.text));
    }
    parts
}

pub(super) fn stat(model: &Model, theme: &Theme, feed: &Feed, area: Rect, buf: &mut Buffer) {
    let columns = feed.columns(Room::ALL);
    let figures: Vec<(String, String, Option<Severity>)> = columns
        .iter()
        .map(|name| {
            let spec = feed.spec.column(name);
            let cell = cell::cell(feed.table.first(name), &spec, model.start.utc_offset_s);
            let title = spec.heading(name).to_owned();
            (title, cell.text.into_owned(), cell.severity)
        })
        .collect();
    let items: Vec<Figure<'_>> = figures
        .iter()
        .map(|(title, text, severity)| Figure {
            title,
            text,
            severity: *severity,
        })
        .collect();
    Stat {
        items: &items,
        theme,
    }
    .render(area, buf);
}
