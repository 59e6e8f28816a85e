//! A table of rows and columns. Our own, because ratatui's `Table` squeezes columns that do not fit instead of leaving
//! them out, and cuts cells without a mark.

use super::{clip, columns_of, put, put_right, set, severity_style};
use crate::dashboard::cell::{self, Cell};
use crate::dashboard::panels::spec::{ColumnSpec, Spec};
use crate::dashboard::theme::{Role, Theme};
use crate::format::{self, is_numeric};
use crate::pg::table::{Table, Value};
use crate::text;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::widgets::Widget;
use std::borrow::Cow;

/// Value of the missing cells of a row that is shorter than its table.
static NULL: Value = Value::Null;

/// Blanks between columns; one fewer if that makes more fit.
const GAP: u16 = 2;
/// Maximum width of a text column, except the flexible one.
const WIDE: u16 = 28;
/// Minimum width of a text column.
const NARROW: u16 = 8;
/// Minimum width of the first column, which names the row.
const NAME: u16 = 12;
/// Minimum width of the flexible text column.
const REST: u16 = 16;

/// A table that reads only its visible rows.
#[derive(Clone, Copy)]
pub(crate) struct DataTable<'a> {
    /// The panel's front matter.
    pub spec: &'a Spec,
    /// The rows.
    pub table: &'a Table,
    /// The rows to show, already filtered and sorted.
    pub order: &'a [usize],
    /// Names of the columns to show.
    pub columns: &'a [String],
    /// The selected row, as a position in `order`.
    pub selected: Option<usize>,
    /// Returns true if the row with this index in `table` is tagged.
    pub tagged: &'a dyn Fn(usize) -> bool,
    /// Rows scrolled out of sight above.
    pub offset: usize,
    /// Columns scrolled out of sight behind the first one, which stays.
    pub column_offset: usize,
    /// The sort column; true if descending.
    pub sort: Option<(&'a str, bool)>,
    /// If some rows do not fit, the last line counts them, followed by this text.
    pub rest: Option<&'a str>,
    /// True if room is scarce: long, common values are abbreviated, and text narrows so that more columns
    /// fit.
    pub compact: bool,
    /// True if somebody has chosen the columns one by one, so that those behind the text which takes the remaining width
    /// matter as much as the others.
    pub chosen: bool,
    /// Theme to draw with.
    pub theme: &'a Theme,
    /// True if the panel has the focus.
    pub focused: bool,
    /// Offset of local time from UTC, in seconds.
    pub utc_offset_s: i32,
}

/// A column, measured by its visible rows.
struct Column<'a> {
    name: &'a str,
    head: String,
    cells: Vec<Cell<'a>>,
    right: bool,
    timeline: bool,
    x: u16,
    width: u16,
}

impl Widget for DataTable<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        if area.is_empty() {
            return;
        }
        let (visible, hidden) = self.visible(usize::from(area.height) - 1);
        let rows: Vec<(usize, usize)> = (self.offset..).zip(visible.iter().copied()).collect();
        let tags = rows.iter().any(|(_, row)| (self.tagged)(*row));
        let margin = if tags { 2 } else { 1 }.min(area.width);
        let mut columns = self.measure(visible);
        let room = area.width - margin;
        let how = (self.compact, self.chosen);
        let (mut shown, mut gap) = fit(&mut columns, room, how);
        let sorted = |column: &Column<'_>| self.sort.is_some_and(|(name, _)| name == column.name);
        if let Some(place) = columns
            .iter()
            .position(sorted)
            .filter(|place| *place >= shown)
            && let Some(moved) = columns.get_mut(1..=place)
        {
            // What rows are sorted by is always on the screen.
            moved.rotate_right(1);
            (shown, gap) = fit(&mut columns, room, how);
        }
        let mut x = area.x + margin;
        for column in &mut columns {
            column.x = x;
            x = x.saturating_add(column.width).saturating_add(gap);
        }
        let columns = columns.get(..shown).unwrap_or(&columns);
        self.header(columns, Rect { height: 1, ..area }, buf);
        let body = area.rows().skip(1);
        for ((place, row), (line, nth)) in rows.iter().zip(body.zip(0..)) {
            self.row(columns, nth, (*place, *row), line, buf);
        }
        let muted = self.theme.style(Role::Muted);
        let last = area.y.saturating_add(1).saturating_add(rows.len() as u16);
        let x = area.x + margin;
        if self.order.is_empty() && area.height > 1 {
            put(buf, x, last, room, "no rows", muted);
        } else if let Some(rest) = self.rest.filter(|_| hidden > 0 && last < area.bottom()) {
            let text = format!("… {} more{rest}", format::count(hidden as f64));
            put(buf, x, last, room, &text, muted);
        }
    }
}

impl<'a> DataTable<'a> {
    /// Returns the part of `order` visible in `height` lines, and the number of rows after it.
    fn visible(&self, height: usize) -> (&'a [usize], usize) {
        let after = self.order.get(self.offset..).unwrap_or_default();
        // The line that counts the rest takes the place of a row, unless there is only one line.
        let lines = if self.rest.is_some() && after.len() > height && height > 1 {
            height - 1
        } else {
            height
        };
        let visible = after.get(..lines).unwrap_or(after);
        (visible, after.len() - visible.len())
    }

    fn measure(&self, visible: &[usize]) -> Vec<Column<'a>> {
        let first = self.columns.iter().take(1);
        let scrolled = self.column_offset.min(self.columns.len().saturating_sub(2));
        let rest = self.columns.iter().skip(1 + scrolled);
        let sorted = self.sort.and_then(|(sorted, _)| {
            let passed = self.columns.iter().skip(1).take(scrolled);
            passed.into_iter().find(|name| *name == sorted)
        });
        let names = first.chain(sorted).chain(rest);
        names
            .filter_map(|name| Some((name.as_str(), self.table.column(name)?)))
            .map(|(name, index)| self.column(name, index, visible))
            .collect()
    }

    fn column(&self, name: &'a str, index: usize, visible: &[usize]) -> Column<'a> {
        let none = ColumnSpec::default();
        let spec = self.spec.front.columns.get(name).unwrap_or(&none);
        let value = |row: usize| {
            let cells = self.table.rows.get(row);
            cells.and_then(|cells| cells.get(index)).unwrap_or(&NULL)
        };
        let cells: Vec<Cell<'a>> = visible
            .iter()
            .map(|row| {
                let mut cell = cell::cell(value(*row), spec, self.utc_offset_s);
                if cell.severity.is_some() && !self.significant(spec, *row) {
                    cell.severity = None;
                }
                if self.compact && name == "state" {
                    cell.text = abbreviated(cell.text);
                }
                cell
            })
            .collect();
        // One number makes a column numeric, so that a `—` in it is aligned with the digits.
        let right = is_numeric(spec.unit) || cells.iter().any(|cell| cell.right);
        let title = spec.heading(name);
        let head = match self.sort {
            Some((sorted, descending)) if sorted == name => {
                format!("{title}{}", if descending { "▼" } else { "▲" })
            }
            _ => title.to_owned(),
        };
        let widths = cells.iter().map(|cell| columns_of(&cell.text));
        let width = widths.max().unwrap_or_default().max(columns_of(&head));
        Column {
            name,
            head,
            cells,
            right,
            timeline: spec.timeline,
            x: 0,
            width,
        }
    }

    /// Returns true if a row meets every minimum (`at_least`) for being judged.
    fn significant(&self, spec: &ColumnSpec, row: usize) -> bool {
        spec.at_least.iter().all(|(name, least)| {
            let figure = self.table.get(row, name).number();
            figure.is_some_and(|figure| figure >= *least)
        })
    }

    fn header(&self, columns: &[Column<'_>], line: Rect, buf: &mut Buffer) {
        let style = self.theme.style(Role::Header);
        for column in columns {
            column.place(&column.head, line.y, style, buf);
        }
        let muted = self.theme.style(Role::Muted);
        let scrolled = self.column_offset.min(self.columns.len().saturating_sub(2));
        if scrolled > 0 {
            set(buf, line.x, line.y, "‹", muted);
        }
        if columns.len() + scrolled < self.columns.len() {
            set(buf, line.right().saturating_sub(1), line.y, "›", muted);
        }
    }

    /// Draws one row: `nth` among the visible ones, `(position in order, index in table)`.
    fn row(
        &self,
        columns: &[Column<'_>],
        nth: usize,
        (place, row): (usize, usize),
        line: Rect,
        buf: &mut Buffer,
    ) {
        let selected = self.selected == Some(place);
        // Without the focus, only the bar sign marks the selection.
        let over = if selected && self.focused {
            let style = self.theme.style(Role::Selection);
            buf.set_style(line, style);
            Some(style)
        } else {
            None
        };
        if selected {
            let role = if self.focused {
                Role::BorderFocus
            } else {
                Role::Muted
            };
            let style = Style {
                bg: None,
                ..self.theme.style(role)
            };
            set(buf, line.x, line.y, "▌", style);
        }
        if (self.tagged)(row) && line.width > 1 {
            let style = Style {
                bg: None,
                ..self.theme.style(Role::Key)
            };
            set(buf, line.x + 1, line.y, "●", style);
        }
        for column in columns {
            if let Some(cell) = column.cells.get(nth) {
                let style = self.cell_style(column.name, cell, over);
                let text = if column.timeline {
                    text::cut_front(&cell.text, usize::from(column.width))
                } else {
                    Cow::Borrowed(&*cell.text)
                };
                column.place(&text, line.y, style, buf);
            }
        }
    }

    /// Returns the style of a cell. On the selected row, colours with a meaning stay; the background is the
    /// selection's.
    fn cell_style(&self, column: &str, cell: &Cell<'_>, over: Option<Style>) -> Style {
        let role = if column == "class" {
            Role::of_class(&cell.text)
        } else {
            None
        };
        let unknown = [format::NONE, format::UNAVAILABLE, format::PENDING];
        let own = match (role, cell.severity) {
            (Some(role), _) => self.theme.style(role),
            (None, Some(_)) => severity_style(self.theme, cell.severity),
            (None, None) if unknown.contains(&&*cell.text) => self.theme.style(Role::Muted),
            (None, None) => return over.unwrap_or(self.theme.style(Role::Text)),
        };
        match over {
            None => own,
            // A reversed cell would turn the colour into its background.
            Some(over) if over.add_modifier.contains(Modifier::REVERSED) => {
                over.add_modifier(own.add_modifier)
            }
            // Muted may lack contrast on the selection's background; the other roles are tested for it.
            Some(over) if role.is_none() && cell.severity.is_none() => over,
            Some(over) => over.patch(Style { bg: None, ..own }),
        }
    }
}

/// Returns `idle in tx` for `idle in transaction`, which would take the query's room.
fn abbreviated(state: Cow<'_, str>) -> Cow<'_, str> {
    match state.strip_prefix("idle in transaction") {
        Some(rest) => Cow::Owned(format!("idle in tx{rest}")),
        None => state,
    }
}

impl Column<'_> {
    /// Writes `text` in the column's place on its side.
    fn place(&self, text: &str, y: u16, style: Style, buf: &mut Buffer) {
        if self.right {
            put_right(buf, self.x, y, self.width, text, style);
        } else {
            put(buf, self.x, y, self.width, text, style);
        }
    }
}

/// Fits the columns into `room`; returns how many are shown and the gap between them. One text column, the
/// query or else the last one, takes the remaining width. If width is short, the gap narrows first, then the
/// other text columns up to the flexible one, the widest first. The columns after it are shown if room
/// remains, unless they are `chosen`.
fn fit(columns: &mut [Column<'_>], room: u16, (compact, chosen): (bool, bool)) -> (usize, u16) {
    let query = columns.iter().position(|column| column.name == "query");
    let flexible = query.or_else(|| columns.iter().rposition(|column| !column.right));
    let wanted = flexible
        .and_then(|position| columns.get(position))
        .map(|column| column.width);
    for (position, column) in columns.iter_mut().enumerate() {
        if !column.right {
            let most = if flexible == Some(position) {
                REST
            } else if column.timeline {
                WIDE.max(room / 3)
            } else {
                WIDE
            };
            column.width = column.width.min(most);
        }
    }
    let wide = u32::from(room);
    // A statement's text is worth more than the columns after it; a name gives way to them.
    let all = chosen || query.is_none() && total(columns, GAP - 1) <= wide;
    let core = flexible.filter(|_| !all);
    let core = core.map_or(columns.len(), |position| position + 1);
    // A smaller gap is used if it brings the last column onto the screen.
    let tight = total(columns, GAP) > wide && total(columns, GAP - 1) <= wide;
    let (head, _) = columns.split_at_mut(core);
    let gap = if tight || total(head, GAP) > wide {
        GAP - 1
    } else {
        GAP
    };
    give_way(head, flexible, gap, wide, compact);
    let free = wide.saturating_sub(total(head, gap)) as u16;
    let column = flexible.and_then(|position| head.get_mut(position));
    if let Some((column, wanted)) = column.zip(wanted) {
        column.width = wanted.min(column.width.saturating_add(free));
    }
    (shown(columns, gap, wide), gap)
}

/// Narrows text columns until all fit. If that is impossible they keep their width, and the user scrolls to
/// the rest. A compact table cannot be scrolled: it shows as many columns as fit.
fn give_way(
    columns: &mut [Column<'_>],
    flexible: Option<usize>,
    gap: u16,
    room: u32,
    compact: bool,
) {
    let spare = |position: usize, column: &Column<'_>| {
        let narrow = if position == 0 { NAME } else { NARROW };
        let fixed = column.right || flexible == Some(position);
        if fixed {
            0
        } else {
            column.width.saturating_sub(narrow)
        }
    };
    let spares = columns
        .iter()
        .enumerate()
        .map(|(position, column)| u32::from(spare(position, column)));
    let least = total(columns, gap).saturating_sub(spares.sum());
    if least > room && !compact {
        return;
    }
    while total(columns, gap) > room {
        let widest = (0..columns.len())
            .filter(|at| {
                columns
                    .get(*at)
                    .is_some_and(|column| spare(*at, column) > 0)
            })
            .max_by_key(|at| columns.get(*at).map(|column| column.width));
        match widest.and_then(|at| columns.get_mut(at)) {
            Some(column) => column.width -= 1,
            None => break,
        }
    }
}

/// Total width of the columns, including the gaps between them.
fn total(columns: &[Column<'_>], gap: u16) -> u32 {
    let widths = columns
        .iter()
        .map(|column| u32::from(column.width) + u32::from(gap));
    widths.sum::<u32>().saturating_sub(u32::from(gap))
}

/// Returns how many columns fit. Numbers are shown whole, because half a number is a wrong one; text may be
/// cut.
fn shown(columns: &mut [Column<'_>], gap: u16, room: u32) -> usize {
    let mut used = 0;
    for (position, column) in columns.iter_mut().enumerate() {
        let left = room.saturating_sub(used);
        if u32::from(column.width) > left {
            let enough = position == 0 || (!column.right && left >= u32::from(NARROW));
            column.width = left as u16;
            return position + usize::from(enough);
        }
        used += u32::from(column.width) + u32::from(gap);
    }
    columns.len()
}
