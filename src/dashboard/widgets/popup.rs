//! A box over the screen: help, the detail of a row, a confirmation.

use super::{clip, columns_of, frame, put, wrap};
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Clear, Widget};
use std::borrow::Cow;

/// One entry of a popup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry<'a> {
    /// A sentence.
    Text(Cow<'a, str>),
    /// A heading.
    Head(Cow<'a, str>),
    /// A key or a column's name, with its meaning or value.
    Pair(Cow<'a, str>, Cow<'a, str>),
    /// A warning.
    Warning(Cow<'a, str>),
    /// An empty line.
    Blank,
}

impl<'a> From<&'a str> for Entry<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Entry<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

/// A centred box, as large as its entries need and the screen allows; long lines are wrapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Popup<'a> {
    /// Title.
    pub title: &'a str,
    /// Contents of the box.
    pub entries: &'a [Entry<'a>],
    /// Lines scrolled out of sight above.
    pub scroll: usize,
    /// Maximum columns of text; wider text is wrapped.
    pub max_width: u16,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

/// One line after wrapping.
struct Line {
    left: String,
    left_role: Role,
    /// Column at which the right part starts.
    indent: u16,
    right: String,
}

/// Places a box of this size, no larger than the screen, in its middle.
pub(super) fn centred(screen: Rect, width: u16, height: u16) -> Rect {
    Rect::new(
        screen.x + (screen.width - width) / 2,
        screen.y + (screen.height - height) / 2,
        width,
        height,
    )
}

impl Popup<'_> {
    /// The box's area on a screen.
    #[cfg(test)]
    pub(crate) fn area(&self, screen: Rect) -> Rect {
        self.place(screen, self.lines(self.text_width(screen)).len())
    }

    /// Returns the greatest scroll that still moves the text.
    pub(crate) fn max_scroll(&self, screen: Rect) -> usize {
        let lines = self.lines(self.text_width(screen)).len();
        let shown = self.place(screen, lines).height.saturating_sub(2);
        lines.saturating_sub(usize::from(shown))
    }

    fn place(&self, screen: Rect, lines: usize) -> Rect {
        let lines = u16::try_from(lines).unwrap_or(u16::MAX);
        let width = self.text_width(screen).saturating_add(4).min(screen.width);
        // One line of the screen stays visible above and below, if the screen has that many.
        let height = lines
            .saturating_add(2)
            .min(screen.height.saturating_sub(2).max(3))
            .min(screen.height);
        centred(screen, width, height)
    }

    /// Columns of text: the longest entry, limited by the screen and `max_width`.
    fn text_width(&self, screen: Rect) -> u16 {
        let indent = self.indent();
        let widths = self.entries.iter().map(|entry| match entry {
            Entry::Text(text) | Entry::Head(text) | Entry::Warning(text) => longest_line(text),
            Entry::Pair(_, right) => indent.saturating_add(longest_line(right)),
            Entry::Blank => 0,
        });
        let widest = widths.max().unwrap_or_default();
        widest
            .max(columns_of(self.title).saturating_add(2))
            .max(20)
            .min(self.max_width)
            .min(screen.width.saturating_sub(8).max(16))
            .min(screen.width.saturating_sub(4))
    }

    /// Column at which the right parts of pairs start.
    fn indent(&self) -> u16 {
        let keys = self.entries.iter().filter_map(|entry| match entry {
            Entry::Pair(left, _) => Some(columns_of(left)),
            _ => None,
        });
        keys.max().map_or(0, |widest| widest.min(24) + 2)
    }

    fn lines(&self, columns: u16) -> Vec<Line> {
        let mut out = Vec::new();
        let indent = self.indent().min(columns / 2);
        let plain = |text: &str, role: Role, out: &mut Vec<Line>| {
            for left in wrap(&shorten(text), usize::from(columns)) {
                let (indent, right) = (columns, String::new());
                out.push(Line {
                    left,
                    left_role: role,
                    indent,
                    right,
                });
            }
        };
        for entry in self.entries {
            match entry {
                Entry::Text(text) => plain(text, Role::Popup, &mut out),
                Entry::Head(text) => plain(text, Role::Header, &mut out),
                Entry::Warning(text) => plain(text, Role::Warning, &mut out),
                Entry::Blank => plain("", Role::Popup, &mut out),
                Entry::Pair(key, text) => {
                    let mut key = key.to_string();
                    for right in wrap(&shorten(text), usize::from(columns - indent)) {
                        let left = std::mem::take(&mut key);
                        out.push(Line {
                            left,
                            left_role: Role::Key,
                            indent,
                            right,
                        });
                    }
                }
            }
        }
        out
    }
}

/// Returns `text` up to a length nobody would scroll through: a query can be a megabyte long.
fn shorten(text: &str) -> Cow<'_, str> {
    const LETTERS: usize = 20_000;
    if text.len() <= LETTERS {
        return Cow::Borrowed(text);
    }
    let head = text.char_indices().nth(LETTERS);
    match head.and_then(|(end, _)| text.get(..end)) {
        Some(head) => Cow::Owned(format!("{head}…")),
        None => Cow::Borrowed(text),
    }
}

/// Width of the longest line in `text`.
fn longest_line(text: &str) -> u16 {
    text.split('\n').map(columns_of).max().unwrap_or_default()
}

impl Widget for Popup<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let screen = clip(area, buf);
        let lines = self.lines(self.text_width(screen));
        let area = self.place(screen, lines.len());
        if area.width < 6 || area.height < 3 {
            return;
        }
        let base = self.theme.style(Role::Popup);
        let role = |role: Role| {
            base.patch(Style {
                bg: None,
                ..self.theme.style(role)
            })
        };
        Clear.render(area, buf);
        buf.set_style(area, self.theme.base().patch(base));
        frame::outline(area, buf, role(Role::BorderFocus));
        let title = format!(" {} ", self.title);
        put(
            buf,
            area.x + 1,
            area.y,
            area.width - 2,
            &title,
            role(Role::Title),
        );
        let inner = area.inner(Margin::new(2, 1));
        let most = lines.len().saturating_sub(usize::from(inner.height));
        let scroll = self.scroll.min(most);
        for (line, row) in lines.iter().skip(scroll).zip(inner.rows()) {
            let columns = line.indent.min(row.width);
            let gap = u16::from(!line.right.is_empty());
            put(
                buf,
                row.x,
                row.y,
                columns - gap.min(columns),
                &line.left,
                role(line.left_role),
            );
            put(
                buf,
                row.x + columns,
                row.y,
                row.width - columns,
                &line.right,
                base,
            );
        }
        if most > 0 {
            let text = match most - scroll {
                0 => format!(" ▲ {scroll} above "),
                below => format!(" ▼ {below} more "),
            };
            let wide = columns_of(&text).min(area.width - 2);
            let x = area.right() - 1 - wide;
            put(buf, x, area.bottom() - 1, wide, &text, role(Role::Muted));
        }
    }
}
