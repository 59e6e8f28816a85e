//! One panel in its box, on the Overview or full screen.

pub(super) mod oltp;
mod placeholder;
mod trends;

use crate::config::WorkClass;
pub use placeholder::placeholder;

use crate::dashboard::cell;
use crate::dashboard::cell::Severity;
use crate::dashboard::feed::Feed;
use crate::dashboard::model::{Link, Model};
use crate::dashboard::panels::spec::{Chart, Pool};
use crate::dashboard::rows::{self, Rows, read};
use crate::dashboard::theme::{Role, Theme};
use crate::dashboard::widgets::{
    self, BarChart, DataTable, Figure, LineChart, Panel, Ranking, Stat,
};
use crate::format;
use crate::format::Unit;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// Width below which the Overview's query columns leave out the less important figures.
const NARROW: u16 = 100;
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
    let note = note(model, feed, stale);
    let title = title(feed);
    let key = feed.direct.first().map(|key| key.shown());
    let panel = Panel {
        key: key.as_deref(),
        title: &title,
        note: note.as_deref(),
        focused,
        stale,
        theme,
    };
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

fn title(feed: &Feed) -> String {
    match &feed.cursor.filter {
        Some(filter) => format!("{} · /{}", feed.spec.front.title, filter.text),
        None => feed.spec.front.title.clone(),
    }
}

/// Returns the note at the right of the title: trouble first, else a figure of the panel.
fn note(model: &Model, feed: &Feed, stale: bool) -> Option<String> {
    if let Some(note) = model.olap_note(feed).filter(|_| model.link(feed).usable()) {
        return Some(note);
    }
    if stale {
        let age = model.age_s(feed).map(format::seconds).unwrap_or_default();
        let link = model.link(feed);
        let why = match (link, &model.fast) {
            (lost, _) if feed.spec.front.pool == Pool::Pooler => super::unconnected(lost),
            (Link::Lost { given_up: true, .. }, _) => ", not connected".into(),
            (Link::Lost { attempt, .. }, _) | (_, Link::Lost { attempt, .. }) => {
                format!(", {}", super::connecting(*attempt))
            }
            _ if model.is_in_background() => ", in the background".into(),
            _ => ", no answer".into(),
        };
        return Some(format!("{age} old{why}"));
    }
    if let (Some(error), Some(_)) = (&feed.sampling.error, feed.sampling.at) {
        let age = model.age_s(feed).map(format::seconds).unwrap_or_default();
        return Some(format!("{age} old: {error}"));
    }
    match feed.panel? {
        rows::Panel::Activity => Some(hidden_note(model).unwrap_or_else(|| sessions_note(model))),
        rows::Panel::Waits => hidden_note(model),
        rows::Panel::Statements => model.statements_note(),
        rows::Panel::Pooler => model.pooler_note(),
        rows::Panel::Host => model.host_note(),
        rows::Panel::HourlySales => {
            let hours = Rows::<read::HourlySales>::of(&feed.table).iter();
            let sales = hours.filter_map(|row| row.sales());
            let known = feed.sampling.at.is_some();
            known.then(|| format!("{} in all", format::short(sales.sum())))
        }
        rows::Panel::Database => (model.history.oltp.reset).then(|| "counters were reset".into()),
        rows::Panel::Views => model.running.first().map(|running| {
            format!(
                "{}, {}",
                running.action.describe(),
                format::seconds(model.now.since(running.since))
            )
        }),
        _ => None,
    }
}

/// Returns how many sessions the server hides from the current role and how to see them, if it hides any.
fn hidden_note(model: &Model) -> Option<String> {
    let restricted = model.history.oltp.restricted;
    let role = model.fact().current_user().text().unwrap_or("this role");
    (restricted > 0).then(|| format!("{restricted} sessions hidden: GRANT pg_monitor TO {role}"))
}

fn sessions_note(model: &Model) -> String {
    let sessions = &model.history.oltp.sessions;
    let count = |class| sessions.get(&class).copied().unwrap_or(0);
    let (short, long) = (count(WorkClass::Oltp), count(WorkClass::Olap));
    format!("{short} oltp · {long} olap")
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
    let mut columns = feed.columns(!full);
    if model.size.0 < NARROW && !full && feed.panel == Some(rows::Panel::Activity) {
        // Blockers and the query matter more than these.
        columns.retain(|name| name != "usename" && name != "xmin_age");
    }
    if feed.panel == Some(rows::Panel::Activity) {
        // They are there only if the pooler is watched, or the host is read.
        let behind = model.start.pooler.is_some() && (full || model.size.0 >= WIDE);
        let hosted = model.shows_host() && (full || model.size.0 >= NARROW);
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
    for name in feed.columns(false) {
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
    let columns = feed.columns(false);
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
