//! The widgets that panels consist of.
//!
//! Every widget clips its area to the buffer first and then only writes inside, because ratatui panics on a
//! write outside of the buffer. A widget reads only its own fields.

mod bars;
mod frame;
mod highlight;
mod line;
mod picker;
mod popup;
mod ranking;
mod spark;
mod stack;
mod stat;
mod strip;
mod table;
mod trace;
mod tracks;

mod axes;
mod blocks;
mod wrap;

#[cfg(test)]
mod tests;

pub(super) use axes::ceiling;
pub(super) use bars::BarChart;
pub(super) use frame::{Panel, grey, message};
pub(super) use highlight::highlight;
pub(super) use line::LineChart;
pub(super) use picker::{Item, Picker};
pub(super) use popup::{Entry, Popup};
pub(super) use ranking::Ranking;
pub(super) use spark::Spark;
pub(super) use stack::{GUTTER, PARTS, Stack, pattern};
pub(super) use stat::{Figure, Stat};
pub(super) use strip::{Sign, Strip, StripItem};
pub(super) use table::DataTable;
pub(super) use trace::Trace;
pub(super) use tracks::{Track, TrackLane, Tracks};
pub(super) use wrap::wrap;

use crate::dashboard::cell::Severity;
use crate::dashboard::theme::{Role, Theme};
use crate::text;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// Columns that no terminal exceeds.
const WIDEST: u16 = 1024;

/// Returns the part of `area` that lies in the buffer.
fn clip(area: Rect, buf: &Buffer) -> Rect {
    let clipped = area.intersection(buf.area);
    if clipped.is_empty() {
        Rect::ZERO
    } else {
        clipped
    }
}

/// Writes `text` from column `x`, cut to `columns`, and returns the columns written.
fn put(buf: &mut Buffer, x: u16, y: u16, columns: u16, text: &str, style: Style) -> u16 {
    if columns == 0 || !buf.area.contains((x, y).into()) {
        return 0;
    }
    let room = columns.min(buf.area.right().saturating_sub(x));
    let cut = text::cut(head(text, room), usize::from(room));
    let (plain, rest) = match cut.strip_suffix('…') {
        Some(plain) => (plain, "…"),
        None => (&*cut, ""),
    };
    if plain.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
        // Fast path for one letter per column, which is nearly all text: finding graphemes costs more than
        // drawing.
        let start = buf.index_of(x, y);
        let cells = buf.content.get_mut(start..).unwrap_or_default().iter_mut();
        for (cell, letter) in cells.zip(plain.chars().chain(rest.chars())) {
            cell.set_char(letter).set_style(style);
        }
        return (plain.len() + rest.chars().count()) as u16;
    }
    let (end, _) = buf.set_stringn(x, y, &cut, usize::from(room), style);
    end.saturating_sub(x)
}

/// Writes `text` so that it ends before column `x + columns`.
fn put_right(buf: &mut Buffer, x: u16, y: u16, columns: u16, text: &str, style: Style) {
    let pad = columns.saturating_sub(columns_of(text));
    put(
        buf,
        x.saturating_add(pad),
        y,
        columns.saturating_sub(pad),
        text,
        style,
    );
}

/// Sets one cell if it lies in the buffer.
fn set(buf: &mut Buffer, x: u16, y: u16, symbol: &str, style: Style) {
    if let Some(cell) = buf.cell_mut((x, y)) {
        cell.set_symbol(symbol).set_style(style);
    }
}

/// Returns the width of `text`; for text wider than any terminal, some width beyond [`WIDEST`].
fn columns_of(text: &str) -> u16 {
    u16::try_from(text::width(head(text, WIDEST))).unwrap_or(u16::MAX)
}

/// Returns the part of `text` that can matter within `columns`: a query can be a megabyte long, and measuring
/// all of it would be slow. Cleaned text has at most four combining marks per letter.
fn head(text: &str, columns: u16) -> &str {
    let letters = (usize::from(columns) + 2) * 5;
    if text.len() <= letters {
        return text;
    }
    text.char_indices()
        .nth(letters)
        .and_then(|(end, _)| text.get(..end))
        .unwrap_or(text)
}

/// Returns the style of a figure by its severity.
pub(super) fn severity_style(theme: &Theme, severity: Option<Severity>) -> Style {
    theme.style(match severity {
        None => Role::Text,
        Some(Severity::Warning) => Role::Warning,
        Some(Severity::Danger) => Role::Danger,
    })
}
