//! Checks the drawing of widgets, and that no input makes them panic.

mod anything;
mod boxes;
mod charts;
mod tables;

use crate::dashboard::theme::Theme;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// The lines of a buffer, without trailing blanks.
fn lines(buf: &Buffer) -> String {
    let width = usize::from(buf.area.width);
    let rows = buf.content.chunks(width.max(1)).map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

fn buffer(widget: impl Widget, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buf = Buffer::empty(area);
    widget.render(area, &mut buf);
    buf
}

/// Compares the drawn lines with `expected`, ignoring blank lines around them.
#[track_caller]
fn looks(buf: &Buffer, expected: &str) {
    let (drawn, expected) = (lines(buf), expected.trim_matches('\n'));
    assert_eq!(drawn.trim_matches('\n'), expected, "drawn:\n{drawn}\n");
}

fn dark() -> Theme {
    Theme::default()
}
