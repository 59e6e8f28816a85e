//! The layout of the screen: a pure function of its size and the page.

use super::{Model, Screen};
use crate::dashboard::event::FeedId;
use crate::dashboard::feed::Feed;
use crate::dashboard::rows::Panel;
use crate::dashboard::tabs::{self, Label};
use ratatui::layout::Rect;

/// The smallest screen that is drawn, in columns and rows.
pub const MIN_SIZE: (u16, u16) = (60, 15);

/// Areas of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Regions {
    /// The row of tabs; without height if there is only one server.
    pub tabs: Rect,
    /// Program, server, clock.
    pub header: Rect,
    /// Gauges.
    pub strip: Rect,
    /// The cause line.
    pub cause: Rect,
    /// Panels in the order of the focus.
    pub panels: Vec<(FeedId, Rect)>,
    /// Keys, or a temporary message.
    pub footer: Rect,
    /// True if panels are drawn as a few lines without a box.
    pub dense: bool,
}

/// Least and most rows of the timeline on the Overview.
const TIMELINE_ROWS: (u16, u16) = (5, 16);
/// Milliseconds for which Queries keeps the rows that it needed.
const LATELY_MS: i64 = 20_000;

/// Rows around the panels: header, strip, cause line, footer.
const AROUND: u16 = 4;

/// Returns the layout for a screen of the model's size.
pub fn regions(model: &Model) -> Regions {
    let (width, height) = model.size;
    let line = |y| Rect {
        x: 0,
        y,
        width,
        height: 1,
    };
    // The row of tabs moves everything else down.
    let top = u16::from(!model.tabs.is_empty());
    let body = Rect {
        x: 0,
        y: top + 3,
        width,
        height: height.saturating_sub(top + AROUND),
    };
    let mut regions = Regions {
        tabs: Rect {
            height: top,
            ..line(0)
        },
        header: line(top),
        strip: line(top + 1),
        cause: line(top + 2),
        footer: line(height.saturating_sub(1)),
        ..Regions::default()
    };
    match model.screen {
        Screen::Full(id) => regions.panels.push((id, body)),
        Screen::More => regions.panels = more(model, body),
        Screen::Overview if width < 100 || height < 32 => {
            regions.dense = true;
            regions.panels = dense(model, body);
        }
        Screen::Overview => regions.panels = overview(model, body),
    }
    regions
}

/// The panels on the page, in the order of the focus.
pub fn panels(model: &Model) -> Vec<FeedId> {
    regions(model)
        .panels
        .into_iter()
        .map(|(id, _)| id)
        .collect()
}

/// Number of table rows that the focused panel shows.
pub fn page_rows(model: &Model) -> usize {
    let regions = regions(model);
    let area = regions
        .panels
        .iter()
        .find(|(id, _)| *id == model.focus)
        .map_or(Rect::default(), |(_, area)| *area);
    usize::from(table_rows(area, regions.dense))
}

/// Rows for data in a panel: without the border, column heads and the line that counts the rest.
fn table_rows(area: Rect, dense: bool) -> u16 {
    area.height.saturating_sub(if dense { 2 } else { 4 })
}

/// Returns the panel at a cell, and the table row there.
pub fn hit(model: &Model, x: u16, y: u16) -> Option<(FeedId, Option<usize>)> {
    let regions = regions(model);
    let (id, area) = regions
        .panels
        .iter()
        .find(|(_, area)| area.contains((x, y).into()))?;
    let first = area.y + if regions.dense { 1 } else { 2 };
    let row = y
        .checked_sub(first)
        .filter(|row| *row < table_rows(*area, regions.dense));
    Some((*id, row.map(usize::from)))
}

/// Returns the number of the server whose tab is at this place.
pub(super) fn tab_at(model: &Model, x: u16, y: u16) -> Option<usize> {
    let area = regions(model).tabs;
    if !area.contains((x, y).into()) {
        return None;
    }
    let (row, _) = tabs::row(&model.tabs, area.width);
    let within = |label: &Label<'_>| (label.x..label.x + label.width()).contains(&usize::from(x));
    let label = row.into_iter().find(within)?;
    Some(label.tab.place.number)
}

/// Panels without digit and letter: built-in business panels and the user's own.
fn extras(model: &Model) -> Vec<FeedId> {
    model
        .visible()
        .filter(|(_, feed)| feed.is_extra())
        .map(|(id, _)| id)
        .collect()
}

/// Arranges the panels without a digit in a grid.
fn more(model: &Model, body: Rect) -> Vec<(FeedId, Rect)> {
    let ids = extras(model);
    let columns = if body.width >= 110 { 2 } else { 1 };
    let rows: Vec<&[FeedId]> = ids.chunks(columns).collect();
    let heights = shares(body.height, &vec![1; rows.len()]);
    let mut placed = Vec::new();
    let mut y = body.y;
    for (row, height) in rows.iter().zip(heights) {
        placed.extend(side_by_side(
            row,
            &vec![1; row.len()],
            Rect { y, height, ..body },
        ));
        y += height;
    }
    placed
}

/// Panels that show the shop's sales.
const SALES: [Panel; 3] = [Panel::HourlySales, Panel::TopCategories, Panel::RfmSegments];

/// Returns true if the database has a relation that a sales panel reads, or if that is not known yet.
fn sells(model: &Model) -> bool {
    let mut feeds = SALES.iter().map(|panel| model.feed_of(*panel));
    !feeds.all(lacks)
}

fn lacks(feed: Option<&Feed>) -> bool {
    feed.is_none_or(|feed| !feed.sampling.missing.is_empty())
}

/// Returns true if the database has views to refresh, or if that is not known yet.
fn has_views(model: &Model) -> bool {
    let feed = model.feed_of(Panel::Views);
    feed.is_some_and(|feed| feed.sampling.at.is_none() || !feed.table.rows.is_empty())
}

/// Top rows of panels with their heights: the sales or, in a database without a shop, waits and statements.
fn first_rows(model: &Model, spare: u16, tight: bool) -> Vec<(Vec<FeedId>, u16)> {
    if sells(model) {
        let height = if tight { 9 } else { 10 + spare / 5 };
        return vec![(ids(model, &SALES), height)];
    }
    let heights = if tight {
        [5, 6]
    } else {
        [6 + spare / 6, 8 + spare / 5]
    };
    let found = ids(model, &[Panel::Waits, Panel::Statements]).into_iter();
    let rows = found.zip(heights).map(|(id, height)| {
        // One line is enough to say what is missing.
        let height = if lacks(model.feed(id)) { 3 } else { height };
        (vec![id], height)
    });
    rows.collect()
}

fn ids(model: &Model, panels: &[Panel]) -> Vec<FeedId> {
    let panels = panels.iter();
    panels.filter_map(|panel| model.id_of(*panel)).collect()
}

/// Rows of Queries that the timeline may have: those that no backend has needed lately.
fn spare_rows(model: &Model, queries: u16) -> u16 {
    let (width, height) = model.size;
    if width < 120 || height < 40 || model.id_of(Panel::Timeline).is_none() {
        return 0;
    }
    let since_ms = model.now.mono_ms as i64 - LATELY_MS;
    let seen = model.history.course.loads.since(since_ms);
    let Some(needed) = seen.map(|load| load.rows).max() else {
        return 0;
    };
    // Border and column heads.
    let needed = needed.max(1).saturating_add(3);
    let spare = queries.saturating_sub(needed);
    if spare < TIMELINE_ROWS.0 {
        return 0;
    }
    spare.min(TIMELINE_ROWS.1)
}

/// The Overview from 100x32: sales on top, then what affects the shop, then what can be done.
fn overview(model: &Model, body: Rect) -> Vec<(FeedId, Rect)> {
    let mut extras = extras(model);
    extras.retain(|id| !lacks(model.feed(*id)));
    let beside = if body.width >= 170 && !extras.is_empty() {
        (body.width / 4).min(56)
    } else {
        0
    };
    let main = Rect {
        width: body.width - beside,
        ..body
    };
    let spare = main.height.saturating_sub(36);
    let tight = main.height < 36;
    let first = first_rows(model, spare, tight);
    let top: u16 = first.iter().map(|(_, height)| height).sum();
    let middle = if tight { 7 } else { 8 + spare / 5 };
    let views = match (has_views(model), tight) {
        (false, _) => 3,
        (true, true) => 5,
        (true, false) => 7 + (spare / 8).min(4),
    };
    let queries = main.height.saturating_sub(top + middle + views);
    let mut y = main.y;
    let mut row = |height| {
        let area = Rect { y, height, ..main };
        y += height;
        area
    };
    let mut placed = Vec::new();
    for (ids, height) in first {
        placed.extend(side_by_side(&ids, &[50, 35, 35], row(height)));
    }
    placed.extend(side_by_side(
        &ids(model, &[Panel::Database, Panel::Bloat, Panel::Snapshots]),
        &[38, 41, 41],
        row(middle),
    ));
    placed.extend(side_by_side(&ids(model, &[Panel::Views]), &[1], row(views)));
    let spare = spare_rows(model, queries);
    let activity = ids(model, &[Panel::Activity]);
    placed.extend(side_by_side(&activity, &[1], row(queries - spare)));
    if spare > 0 {
        let timeline = ids(model, &[Panel::Timeline]);
        placed.extend(side_by_side(&timeline, &[1], row(spare)));
    }
    if beside > 0 {
        let shown: Vec<FeedId> = extras
            .into_iter()
            .take(usize::from(body.height / 10).max(1))
            .collect();
        let mut y = body.y;
        for (id, height) in shown.iter().zip(shares(body.height, &vec![1; shown.len()])) {
            placed.push((
                *id,
                Rect {
                    x: main.right(),
                    y,
                    width: beside,
                    height,
                },
            ));
            y += height;
        }
    }
    placed
}

/// The Overview on a small screen: lines without boxes; sessions take the remaining lines.
fn dense(model: &Model, body: Rect) -> Vec<(FeedId, Rect)> {
    let extra = u16::from(body.height >= 18);
    let heights = [
        (Panel::HourlySales, if sells(model) { 2 } else { 0 }),
        (Panel::Database, 2),
        (Panel::Views, if has_views(model) { 2 + extra } else { 1 }),
        (Panel::Snapshots, 2 + extra),
        (Panel::Bloat, 1 + extra),
    ];
    let mut placed = Vec::new();
    let mut y = body.y;
    for (panel, height) in heights.into_iter().filter(|(_, height)| *height > 0) {
        if let Some(id) = model.id_of(panel) {
            placed.push((id, Rect { y, height, ..body }));
            y += height;
        }
    }
    if let Some(id) = model.id_of(Panel::Activity) {
        placed.push((
            id,
            Rect {
                y,
                height: body.bottom().saturating_sub(y),
                ..body
            },
        ));
    }
    placed
}

/// Places `ids` from left to right in `area`, their widths in proportion to `weights`.
fn side_by_side(ids: &[FeedId], weights: &[u16], area: Rect) -> Vec<(FeedId, Rect)> {
    let mut x = area.x;
    let widths = shares(area.width, weights.get(..ids.len()).unwrap_or(weights));
    let placed = ids.iter().zip(widths).map(|(id, width)| {
        let placed = Rect { x, width, ..area };
        x += width;
        (*id, placed)
    });
    placed.collect()
}

/// Splits `total` in proportion to `weights` without losing a column to rounding.
fn shares(total: u16, weights: &[u16]) -> Vec<u16> {
    let sum: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
    let mut seen = 0;
    let mut given = 0;
    weights
        .iter()
        .map(|weight| {
            seen += u32::from(*weight);
            let end = (u32::from(total) * seen / sum.max(1)) as u16;
            let share = end - given;
            given = end;
            share
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up() {
        assert_eq!(shares(120, &[52, 35, 33]), [52, 35, 33]);
        assert_eq!(shares(100, &[1, 1, 1]).iter().sum::<u16>(), 100);
        assert_eq!(shares(5, &[]), Vec::<u16>::new());
    }
}
