//! Active sessions, latencies and what went on, on one axis of time.

mod axis;

use self::axis::{Axis, Column};
use crate::config::{Charts, WorkClass};
use crate::dashboard::feed::Feed;
use crate::dashboard::lanes::{Bar, Lane};
use crate::dashboard::load::WAITS;
use crate::dashboard::model::Model;
use crate::dashboard::rows::Rows;
use crate::dashboard::rows::timeline::TimelineBar;
use crate::dashboard::theme::{Role, Theme};
use crate::dashboard::widgets::{
    GUTTER, PARTS, Sign, Stack, Trace, Track, TrackLane, Tracks, pattern,
};
use crate::format::{self, Unit};
use crate::keys::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Widget;

/// Roles of the classes, in the order in which they are stacked.
const CLASSES: [Role; 4] = [
    Role::ClassOltp,
    Role::ClassOlap,
    Role::ClassRefresh,
    Role::ClassMaintenance,
];
/// Names of the classes, in the same order.
const CLASS_NAMES: [&str; 4] = ["oltp", "olap", "refresh", "maintenance"];
/// Roles of the kinds of waits.
const KINDS: [Role; PARTS] = [
    Role::ClassOltp,
    Role::ClassOlap,
    Role::Danger,
    Role::Warning,
    Role::Muted,
];
/// Pattern of what has no class.
const CLASSLESS: usize = 4;

/// Rows of the parts of the timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Heights {
    sessions: u16,
    p99: u16,
    /// Rows of each of transactions and OLAP answers.
    others: u16,
    lanes: u16,
    axis: u16,
}

impl Heights {
    /// Divides `height` rows. They do not depend on what goes on, so that nothing jumps. On the Overview legend and times
    /// are in the border.
    fn of(height: u16, full: bool) -> Self {
        let axis = match (full, height) {
            (false, _) => 0,
            (true, ..12) => 1,
            (true, _) => 2,
        };
        let rest = height.saturating_sub(axis + u16::from(full));
        let sessions = match rest {
            0..=39 => (rest * 3 / 10).clamp(1 + u16::from(rest > 3), 12),
            // More lanes than there are kinds of bars would stay empty.
            _ => (rest * 2 / 5).min(20),
        };
        let p99 = (rest / 5).clamp(1, 10);
        let others = match rest {
            0..=13 => 0,
            14..=19 => 1,
            20..=39 => 2,
            _ => 3,
        };
        Self {
            sessions,
            p99,
            others,
            lanes: rest.saturating_sub(sessions + p99 + 2 * others),
            axis,
        }
    }
}

/// Draws the timeline into `area`; in full screen, with its bars as a table below.
pub(super) fn draw(
    model: &Model,
    theme: &Theme,
    feed: &Feed,
    (focused, full): (bool, bool),
    area: Rect,
    buf: &mut Buffer,
) {
    let listed = if full && area.height >= 16 {
        (area.height / 3).min(11)
    } else {
        0
    };
    let height = area.height - listed;
    chart(model, theme, feed, full, Rect { height, ..area }, buf);
    let rest = Rect {
        y: area.y + height,
        height: listed,
        ..area
    };
    if listed > 0 {
        super::table(model, theme, feed, focused, full, rest, buf);
    }
}

fn chart(model: &Model, theme: &Theme, feed: &Feed, full: bool, area: Rect, buf: &mut Buffer) {
    if area.width < GUTTER + 20 || area.height < 3 {
        return;
    }
    let axis = Axis::of(model, area.width - GUTTER);
    let loads = &model.history.course.latest().loads;
    let columns = axis.columns(loads, model.timeline.by_wait);
    let heights = Heights::of(area.height, full);
    let mut y = area.y;
    let mut rows = |height: u16| {
        let place = Rect { y, height, ..area };
        y += height;
        place
    };
    let cores = model.cores();
    let charts = model.config.charts;
    if full {
        legend(model, theme, cores, rows(1), buf);
    } else {
        colour_names(model, theme, area, buf);
    }
    sessions(model, theme, &columns, cores, rows(heights.sessions), buf);
    for (figure, height) in FIGURES
        .iter()
        .zip([heights.p99, heights.others, heights.others])
    {
        figure.draw(model, theme, &columns, rows(height), buf);
    }
    let mut lanes = lanes(model, feed, &axis);
    if lanes.len() > usize::from(heights.lanes) {
        // The cause line names troubles, but not what goes on.
        lanes.sort_by_key(|lane| lane.mark.is_some());
    }
    Tracks {
        lanes: &lanes,
        charts,
        theme,
    }
    .render(rows(heights.lanes), buf);
    let below = if full {
        rows(heights.axis)
    } else {
        // The border.
        rows(1)
    };
    axis.draw(model, theme, below, buf);
    let plot = Rect {
        height: area.height - heights.axis,
        ..area
    };
    if let Some(column) = axis.cursor() {
        cursor(model, theme, column, plot, buf);
    }
}

/// Draws the moment looked at where nothing else is.
fn cursor(model: &Model, theme: &Theme, column: u16, plot: Rect, buf: &mut Buffer) {
    let symbol = match model.config.charts {
        Charts::Ascii => "|",
        Charts::Braille | Charts::Block => "│",
    };
    for y in plot.y..plot.bottom() {
        let cell = buf.cell_mut((plot.x + GUTTER + column, y));
        if let Some(cell) = cell.filter(|cell| cell.symbol() == " ") {
            cell.set_symbol(symbol).set_style(theme.style(Role::Key));
        }
    }
}

/// Draws the active sessions. The figure beside them is of the moment shown, like those of other panels.
fn sessions(
    model: &Model,
    theme: &Theme,
    columns: &[Column],
    cores: Option<f64>,
    area: Rect,
    buf: &mut Buffer,
) {
    let newest = model.history.course.loads.last();
    let active = newest.map(|load| load.classes.iter().map(|n| f64::from(*n)).sum());
    let active = active.map_or_else(String::new, |active| counted(model, active));
    let amounts: Vec<_> = columns.iter().map(Column::parts).collect();
    Stack {
        columns: &amounts,
        roles: parts(model).1,
        limit: cores,
        label: "active",
        newest: &active,
        when: when(model),
        charts: model.config.charts,
        theme,
    }
    .render(area, buf);
}

/// Names the moment whose figures are beside the charts.
fn when(model: &Model) -> &'static str {
    model.playback.map_or("now", |_| "then")
}

/// A number of active sessions; a bound if the server hides some from the current role.
fn counted(model: &Model, n: f64) -> String {
    let bound = if model.history.oltp.restricted > 0 {
        "≥"
    } else {
        ""
    };
    format!("{bound}{}", format::count(n))
}

/// A figure over time, the gauge of the same label.
struct OverTime {
    label: &'static str,
    unit: Unit,
    has_target: bool,
}

/// The figures below the active sessions.
const FIGURES: [OverTime; 3] = [
    OverTime {
        label: "p99",
        unit: Unit::Ms,
        has_target: true,
    },
    OverTime {
        label: "olap",
        unit: Unit::Ms,
        has_target: true,
    },
    OverTime {
        label: "tps",
        unit: Unit::Count,
        // It is what the system is built for, not what is wanted now.
        has_target: false,
    },
];

impl OverTime {
    fn draw(&self, model: &Model, theme: &Theme, columns: &[Column], area: Rect, buf: &mut Buffer) {
        let gauge = model.gauges.iter().find(|gauge| gauge.label == self.label);
        let values = columns.iter().map(|column| column.figure(self.label));
        let values: Vec<f64> = values.collect();
        Trace {
            values: &values,
            target: gauge.map(|gauge| gauge.limit).filter(|_| self.has_target),
            label: self.label,
            newest: gauge.map_or("", |gauge| gauge.value.as_str()),
            when: when(model),
            unit: self.unit,
            charts: model.config.charts,
            theme,
        }
        .render(area, buf);
    }
}

/// Names the patterns on one line, for the border.
pub(super) fn named(model: &Model) -> String {
    let (names, _) = parts(model);
    let charts = model.config.charts;
    let names = names.iter().enumerate();
    let names = names.map(|(part, name)| format!("{} {name}", pattern(part, charts)));
    names.collect::<Vec<_>>().join("  ")
}

/// Gives the patterns that [`named`] puts into the border above `area` the colours of their parts.
fn colour_names(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let (_, roles) = parts(model);
    let charts = model.config.charts;
    let Some(y) = area.y.checked_sub(1) else {
        return;
    };
    let is_blank = |x: u16, buf: &Buffer| buf.cell((x, y)).is_some_and(|cell| cell.symbol() == " ");
    for x in area.x + 1..area.right() {
        let alone = is_blank(x - 1, buf) && is_blank(x + 1, buf);
        let Some(cell) = buf.cell_mut((x, y)).filter(|_| alone) else {
            continue;
        };
        let mut parts = roles.iter().enumerate();
        let part = parts.find(|(part, _)| pattern(*part, charts) == cell.symbol());
        if let Some((_, role)) = part {
            cell.set_style(theme.style(*role));
        }
    }
}

/// Names and roles of the parts that active sessions are split into.
fn parts(model: &Model) -> (&'static [&'static str], &'static [Role]) {
    if model.timeline.by_wait {
        (&WAITS, &KINDS)
    } else {
        (&CLASS_NAMES, &CLASSES)
    }
}

/// Names the patterns, with the newest figures.
fn legend(model: &Model, theme: &Theme, cores: Option<f64>, area: Rect, buf: &mut Buffer) {
    let newest = model.history.course.loads.last();
    let amounts = newest.map_or([0; PARTS], |load| {
        let [first, second, third, fourth] = load.classes;
        if model.timeline.by_wait {
            load.waits
        } else {
            [first, second, third, fourth, 0]
        }
    });
    let (names, roles) = parts(model);
    let charts = model.config.charts;
    let mut spans = vec![Span::raw(" ".repeat(usize::from(GUTTER)))];
    for (part, ((name, role), n)) in names.iter().zip(roles).zip(amounts).enumerate() {
        spans.push(Span::styled(pattern(part, charts), theme.style(*role)));
        let text = format!(" {name} {}  ", counted(model, f64::from(n)));
        spans.push(Span::styled(text, theme.style(Role::Text)));
    }
    if let Some(cores) = cores {
        let dots = if charts == Charts::Ascii { "-" } else { "┄" };
        spans.push(Span::styled(dots, theme.style(Role::Warning)));
        let text = format!(" {} processors", format::count(cores));
        spans.push(Span::styled(text, theme.style(Role::Text)));
    }
    let keys = &model.config.keys;
    let other = if model.timeline.by_wait {
        "by class"
    } else {
        "by wait"
    };
    let hint = format!(
        "{} {other}  {} time ",
        keys.shown(Command::TimelineSplit),
        keys.shown(Command::TimelineSpan)
    );
    let right = Line::styled(hint, theme.style(Role::Muted));
    crate::dashboard::view::sides(area, buf, &Line::from(spans), &right);
}

/// Returns the lanes that have bars in the time shown.
fn lanes<'m>(model: &'m Model, feed: &'m Feed, axis: &Axis) -> Vec<TrackLane<'m>> {
    let selected = selected(model, feed);
    let all = &model.history.course.latest().lanes;
    let mut bars: Vec<&Bar> = all.since(axis.begins_ms()).collect();
    bars.sort_by_key(|bar| bar.start_ms);
    let of = |lane: Lane| {
        let bars = bars.iter().filter(|bar| bar.lane == lane);
        let tracks = bars.filter_map(|bar| {
            let (from, to) = axis.span(bar.start_ms, bar.until_ms(axis.now_ms()))?;
            let (role, part) = look(bar);
            Some(Track {
                from,
                to,
                name: bar.name.as_str(),
                role,
                part,
                selected: selected.is_some_and(|(lane, pid, start_ms)| {
                    (lane, pid) == (bar.lane.name(), bar.pid) && bar.start_ms.abs_diff(start_ms) < 2
                }),
            })
        });
        let mark = match lane {
            Lane::Trouble => Some(Sign::Danger.symbol()),
            Lane::Action => Some("◆"),
            _ => None,
        };
        let mark = mark.map(|mark| match model.config.charts {
            Charts::Ascii => "!",
            _ => mark,
        });
        TrackLane {
            label: lane.name(),
            mark,
            tracks: tracks.collect(),
        }
    };
    let lanes = Lane::ALL.into_iter().map(of);
    lanes.filter(|lane| !lane.tracks.is_empty()).collect()
}

/// Lane, process and beginning of the selected row.
fn selected<'m>(model: &Model, feed: &'m Feed) -> Option<(&'m str, i64, i64)> {
    if model.focus != model.feed_named(&feed.spec.name)? {
        return None;
    }
    let bar = Rows::<TimelineBar>::of(&feed.table).at(feed.selected_row()?);
    let start_ms = model.now_ms() - (model.now.epoch_ms - bar.began_ms()?);
    Some((bar.lane().text()?, bar.pid().unwrap_or(0), start_ms))
}

/// Returns a bar's colour and pattern: those of its class in the stack above.
fn look(bar: &Bar) -> (Role, usize) {
    let class = |class: WorkClass| {
        let part = WorkClass::ALL.iter().position(|one| *one == class);
        let part = part.unwrap_or(CLASSLESS);
        (CLASSES.get(part).copied().unwrap_or(Role::Chart), part)
    };
    match bar.lane {
        Lane::Trouble | Lane::LockQueue => (Role::Danger, CLASSLESS),
        Lane::Action => (Role::Key, CLASSLESS),
        Lane::IdleInTransaction => (Role::Warning, CLASSLESS),
        Lane::Statement => bar.class.map_or((Role::Chart, CLASSLESS), class),
        Lane::Refresh => class(WorkClass::Refresh),
        Lane::Maintenance | Lane::Checkpoint | Lane::Backup => class(WorkClass::Maintenance),
    }
}

#[cfg(test)]
mod tests {
    use super::Heights;

    #[test]
    fn parts_fill_the_height() {
        for (height, full) in (3..60).flat_map(|height| [(height, false), (height, true)]) {
            let Heights {
                sessions,
                p99,
                others,
                lanes,
                axis,
            } = Heights::of(height, full);
            if height >= 6 || !full {
                let legend = u16::from(full);
                assert_eq!(legend + sessions + p99 + 2 * others + lanes + axis, height);
                assert!(lanes >= 1, "{height} {full}");
            }
        }
    }
}
