//! Marks the matches of a filter in text already drawn.

use super::{clip, columns_of};
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::ops::Range;

/// Marks on every line of `area` the byte ranges that `find` returns for the line's text. It reads the
/// screen, not the data, so it marks only visible text and works on any widget.
pub(crate) fn highlight(
    area: Rect,
    buf: &mut Buffer,
    theme: &Theme,
    find: &dyn Fn(&str) -> Vec<Range<usize>>,
) {
    let style = theme.style(Role::Match);
    for line in clip(area, buf).rows() {
        let (text, cells) = read(line, buf);
        for found in find(&text) {
            for (x, bytes) in &cells {
                if bytes.start < found.end && found.start < bytes.end {
                    let wide = columns_of(text.get(bytes.clone()).unwrap_or_default());
                    buf.set_style(clip(Rect::new(*x, line.y, wide, 1), buf), style);
                }
            }
        }
    }
}

/// Returns the text of a line, and the byte range that stands at each column.
fn read(line: Rect, buf: &Buffer) -> (String, Vec<(u16, Range<usize>)>) {
    let mut text = String::new();
    let mut cells = Vec::with_capacity(usize::from(line.width));
    let mut x = line.x;
    while let Some(cell) = buf.cell((x, line.y)).filter(|_| x < line.right()) {
        let start = text.len();
        text.push_str(cell.symbol());
        cells.push((x, start..text.len()));
        // The cell behind a wide character has no text of its own.
        x = x.saturating_add(columns_of(cell.symbol()).max(1));
    }
    (text, cells)
}
