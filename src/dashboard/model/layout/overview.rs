//! The Overview. A panel gets the rows that it has needed lately; what one does not need, another gets. An empty panel is a
//! line.

use super::{extras, shares, side_by_side};
use crate::dashboard::event::FeedId;
use crate::dashboard::feed::Feed;
use crate::dashboard::model::Model;
use crate::dashboard::panels::spec::Chart;
use crate::dashboard::rows::Panel;
use ratatui::layout::Rect;

/// Rows of the timeline: the fewest that show anything, and those that it gets before other panels get all that they need.
const TIMELINE_ROWS: (u16, u16) = (5, 16);
/// Milliseconds for which Queries keeps the rows that it needed.
const LATELY_MS: i64 = 20_000;
/// Border and column heads of a table.
const AROUND_TABLE: u16 = 3;
/// Rows in which OLTP shows all that it has.
const OLTP_ROWS: u16 = 10;
/// Rows of Queries on a small screen, so that a few more backends do not move anything.
const FEW_QUERIES: u16 = 5;

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

fn ids(model: &Model, panels: &[Panel]) -> Vec<FeedId> {
    let panels = panels.iter();
    panels.filter_map(|panel| model.id_of(*panel)).collect()
}

/// Rows of a table that a panel has needed lately; `None` if that is not known, or if a text stands in their place.
fn needed(model: &Model, panel: Panel) -> Option<u16> {
    let feed = model.feed_of(panel)?;
    let known = feed.sampling.at.is_some() && feed.sampling.missing.is_empty();
    known.then(|| feed.needed.rows())
}

/// Returns true if a panel has been empty for a while.
fn is_empty(model: &Model, panel: Panel) -> bool {
    needed(model, panel) == Some(0)
}

/// Rows of a panel's box: at most `most`, fewer if it needs fewer, one if it is empty.
fn rows(model: &Model, panel: Panel, most: u16) -> u16 {
    match needed(model, panel) {
        Some(0) => 1,
        Some(rows) => rows.saturating_add(AROUND_TABLE).min(most),
        None => most,
    }
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
    let panels = [Panel::Waits, Panel::Statements].into_iter();
    let placed = panels.zip(heights).filter_map(|(panel, height)| {
        let id = model.id_of(panel)?;
        // A box of one line is enough to say what is missing.
        let height = if lacks(model.feed(id)) {
            3
        } else if is_empty(model, panel) {
            1
        } else {
            // All else is below: with each row more or less it would move.
            height
        };
        Some((vec![id], height))
    });
    placed.collect()
}

/// Rows that Queries has needed lately, with its border; `None` if that is not known.
fn queries_need(model: &Model) -> Option<u16> {
    let since_ms = model.now.mono_ms as i64 - LATELY_MS;
    let seen = model.history.course.loads.since(since_ms);
    let rows = seen.map(|load| load.rows).max()?;
    Some(rows.max(1).saturating_add(AROUND_TABLE))
}

/// Heights of the Overview's rows of panels below the first ones.
struct Heights {
    middle: u16,
    views: u16,
    queries: u16,
    timeline: u16,
}

impl Heights {
    fn of(model: &Model, main: Rect, top: u16) -> Self {
        let spare = main.height.saturating_sub(36);
        let tight = main.height < 36;
        let middle = if tight { 7 } else { 8 + spare / 5 };
        let bloat = needed(model, Panel::Bloat).map(|rows| rows.saturating_add(AROUND_TABLE));
        let snapshots =
            needed(model, Panel::Snapshots).map(|rows| rows.saturating_add(AROUND_TABLE));
        let wanted = match (bloat, snapshots) {
            (Some(bloat), Some(snapshots)) => bloat.max(snapshots).max(OLTP_ROWS),
            _ => u16::MAX,
        };
        let both = is_empty(model, Panel::Bloat) && is_empty(model, Panel::Snapshots);
        // Then OLTP has a line below it.
        let middle = middle.min(wanted) + u16::from(both);
        let views = if tight { 5 } else { 7 + (spare / 8).min(4) };
        let views = rows(model, Panel::Views, views);
        let rest = main.height.saturating_sub(top + middle + views);
        let mut heights = Self {
            middle,
            views,
            queries: rest,
            timeline: 0,
        };
        heights.share(model, wanted);
        heights
    }

    /// Gives away the rows that Queries does not need: to the timeline, then to panels with more rows than they show.
    fn share(&mut self, model: &Model, middle: u16) {
        let Some(queries) = queries_need(model) else {
            return;
        };
        let mut spare = self.queries.saturating_sub(queries);
        let (width, height) = model.size;
        let has_timeline = model.id_of(Panel::Timeline).is_some();
        if has_timeline && width >= 120 && height >= 40 {
            if spare < TIMELINE_ROWS.0 {
                return;
            }
            give(&mut spare, &mut self.timeline, TIMELINE_ROWS.1);
        }
        give(
            &mut spare,
            &mut self.views,
            rows(model, Panel::Views, u16::MAX),
        );
        if middle != u16::MAX {
            give(&mut spare, &mut self.middle, middle);
        }
        if self.timeline > 0 {
            self.timeline += std::mem::take(&mut spare);
        }
        self.queries = queries + spare;
    }
}

/// Gives a panel rows up to a height, as many as there are.
fn give(spare: &mut u16, to: &mut u16, up_to: u16) {
    let given = up_to.saturating_sub(*to).min(*spare);
    *to += given;
    *spare -= given;
}

/// The Overview from 100x32: sales on top, then what affects the shop, then what can be done.
pub(super) fn overview(model: &Model, body: Rect) -> Vec<(FeedId, Rect)> {
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
    let first = first_rows(model, main.height.saturating_sub(36), main.height < 36);
    let top: u16 = first.iter().map(|(_, height)| height).sum();
    let heights = Heights::of(model, main, top);
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
    placed.extend(middle(model, row(heights.middle)));
    let mut whole = |panel, height| {
        if height > 0 {
            placed.extend(side_by_side(&ids(model, &[panel]), &[1], row(height)));
        }
    };
    whole(Panel::Views, heights.views);
    whole(Panel::Activity, heights.queries);
    whole(Panel::Timeline, heights.timeline);
    if beside > 0 {
        let column = Rect {
            x: main.right(),
            width: beside,
            ..body
        };
        placed.extend(aside(model, &extras, column));
    }
    placed
}

/// OLTP, Bloat and Snapshots side by side; an empty one is a line below the others.
fn middle(model: &Model, area: Rect) -> Vec<(FeedId, Rect)> {
    let panels = [Panel::Bloat, Panel::Snapshots];
    let (empty, full): (Vec<Panel>, Vec<Panel>) = panels
        .into_iter()
        .partition(|panel| is_empty(model, *panel));
    if empty.is_empty() {
        let all = ids(model, &[Panel::Database, Panel::Bloat, Panel::Snapshots]);
        return side_by_side(&all, &[38, 41, 41], area);
    }
    let line = Rect {
        y: area.bottom().saturating_sub(1),
        height: 1,
        ..area
    };
    let above = Rect {
        height: area.height.saturating_sub(1),
        ..area
    };
    let oltp = ids(model, &[Panel::Database]);
    let (full, empty) = (ids(model, &full), ids(model, &empty));
    if full.is_empty() {
        let mut placed = side_by_side(&oltp, &[1], above);
        placed.extend(side_by_side(&empty, &[1, 1], line));
        return placed;
    }
    // OLTP keeps its last row, and the line is below the other panel only.
    let mut placed = side_by_side(&[oltp, full].concat(), &[50, 70], area);
    let Some((_, right)) = placed.last_mut() else {
        return placed;
    };
    right.height = above.height;
    let line = Rect {
        x: right.x,
        width: right.width,
        ..line
    };
    placed.extend(side_by_side(&empty, &[1], line));
    // In the order of the focus.
    let place = |id: &FeedId| {
        panels
            .iter()
            .position(|panel| model.id_of(*panel) == Some(*id))
    };
    placed.sort_by_key(|(id, _)| place(id));
    placed
}

/// Panels without a digit beside the others: tables get the rows that they need, charts the rest.
fn aside(model: &Model, extras: &[FeedId], area: Rect) -> Vec<(FeedId, Rect)> {
    let most = usize::from(area.height / 10).max(1);
    let shown = extras.get(..most.min(extras.len())).unwrap_or(extras);
    let mut heights = shares(area.height, &vec![1; shown.len()]);
    let mut left = 0;
    let mut charts = Vec::new();
    for (id, height) in shown.iter().zip(&mut heights) {
        match model.feed(*id) {
            Some(feed) if feed.spec.front.chart == Chart::Table && feed.sampling.at.is_some() => {
                let need = feed.needed.rows().max(1).saturating_add(AROUND_TABLE);
                left += height.saturating_sub(need);
                *height = need.min(*height);
            }
            _ => charts.push(height),
        }
    }
    let more = shares(left, &vec![1; charts.len()]);
    for (height, more) in charts.into_iter().zip(more) {
        *height += more;
    }
    let mut y = area.y;
    let placed = shown.iter().zip(heights).map(|(id, height)| {
        let place = Rect { y, height, ..area };
        y += height;
        (*id, place)
    });
    placed.collect()
}

/// The Overview on a small screen: lines without boxes; sessions take the remaining lines, but not more than they need while
/// other panels have more rows to show.
pub(super) fn dense(model: &Model, body: Rect) -> Vec<(FeedId, Rect)> {
    let extra = u16::from(body.height >= 18);
    // With column heads; an empty panel is a line.
    let wanted = |panel| {
        let rows = needed(model, panel)?;
        Some(if rows == 0 { 1 } else { rows.saturating_add(1) })
    };
    let fit = |panel, most: u16| wanted(panel).map_or(most, |wanted| wanted.min(most));
    let mut heights = [
        (Panel::HourlySales, if sells(model) { 2 } else { 0 }),
        (Panel::Database, 2),
        (Panel::Views, fit(Panel::Views, 2 + extra)),
        (Panel::Snapshots, fit(Panel::Snapshots, 2 + extra)),
        (Panel::Bloat, fit(Panel::Bloat, 1 + extra)),
    ];
    let used: u16 = heights.iter().map(|(_, height)| height).sum();
    let rest = body.height.saturating_sub(used);
    // No border.
    let queries = queries_need(model).map_or(rest, |need| (need - 2).max(FEW_QUERIES));
    let mut spare = rest.saturating_sub(queries);
    for (panel, height) in heights.iter_mut().skip(2) {
        give(&mut spare, height, wanted(*panel).unwrap_or(0));
    }
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
