//! The layout of the screen: a pure function of its size and the page.

mod overview;

use super::{Model, Screen};
use crate::dashboard::event::FeedId;
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
            regions.panels = overview::dense(model, body);
        }
        Screen::Overview => regions.panels = overview::overview(model, body),
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
