//! A box over the screen with a list to choose from: the columns of a panel.

use super::popup::centred;
use super::{clip, columns_of, frame, put, wrap};
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::Style;
use ratatui::widgets::{Clear, Widget};

/// Columns of the box, at most and at least.
const WIDTH: (u16, u16) = (100, 40);
/// Rows for the explanation of the selected item.
const ABOUT: u16 = 3;
/// Rows that are no items: the border, what is above them and below, without the explanation.
const AROUND: u16 = 6;
/// Maximum columns of a name.
const NAME: u16 = 24;

/// An item of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// True if it is chosen.
    pub on: bool,
    /// Name.
    pub name: String,
    /// Explanation: its beginning is shown beside the name, all of it if the item is selected.
    pub about: String,
}

/// The box.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Picker<'a> {
    /// Title.
    pub title: &'a str,
    /// Words above the items, of which the one with `true` is in effect.
    pub choices: &'a [(&'a str, bool)],
    /// The items.
    pub items: &'a [Item],
    /// Position of the selected item.
    pub selected: usize,
    /// Keys and what they do, below the items.
    pub keys: &'a [(String, &'a str)],
    /// Theme to draw with.
    pub theme: &'a Theme,
}

impl Picker<'_> {
    fn place(&self, screen: Rect) -> Rect {
        let width = screen.width.saturating_sub(4).clamp(WIDTH.1, WIDTH.0);
        let items = u16::try_from(self.items.len()).unwrap_or(u16::MAX);
        let wanted = items.saturating_add(AROUND + ABOUT);
        let height = wanted.min(screen.height.saturating_sub(2));
        let (width, height) = (width.min(screen.width), height.min(screen.height));
        centred(screen, width, height)
    }

    fn style(&self, role: Role) -> Style {
        let style = Style {
            bg: None,
            ..self.theme.style(role)
        };
        self.theme.style(Role::Popup).patch(style)
    }

    /// Writes the words above the items; brackets mark the one in effect, for terminals without colours.
    fn choices(&self, line: Rect, buf: &mut Buffer) {
        let mut x = line.x;
        for (word, on) in self.choices {
            let (text, role) = if *on {
                (format!("[{word}]"), Role::Key)
            } else {
                (format!(" {word} "), Role::Popup)
            };
            let room = line.right().saturating_sub(x);
            x += put(buf, x, line.y, room, &text, self.style(role)) + 1;
        }
    }

    fn item(&self, item: &Item, selected: bool, name: u16, line: Rect, buf: &mut Buffer) {
        let (sign, role) = if item.on {
            ("[x]", Role::Popup)
        } else {
            ("[ ]", Role::Muted)
        };
        let mut style = self.style(role);
        if selected {
            style = self.theme.style(Role::Selection);
            buf.set_style(line, style);
            let bar = Style {
                bg: None,
                ..self.theme.style(Role::BorderFocus)
            };
            put(buf, line.x, line.y, 1, "▌", bar);
        }
        let room = line.width;
        put(
            buf,
            line.x + 1,
            line.y,
            room.saturating_sub(1).min(3),
            sign,
            style,
        );
        put(
            buf,
            line.x + 5,
            line.y,
            room.saturating_sub(5).min(name),
            &item.name,
            style,
        );
        let at = 7 + name;
        let beginning = item
            .about
            .split(". ")
            .next()
            .unwrap_or("")
            .trim_end_matches('.');
        put(
            buf,
            line.x + at,
            line.y,
            room.saturating_sub(at),
            beginning,
            style,
        );
    }

    /// Writes keys with what they do, as many as fit whole.
    fn keys(&self, line: Rect, buf: &mut Buffer) {
        let mut x = line.x;
        for (key, word) in self.keys {
            let needed = columns_of(key).saturating_add(columns_of(word)) + 1;
            let room = line.right().saturating_sub(x);
            if needed > room {
                return;
            }
            x += put(buf, x, line.y, room, key, self.style(Role::Key)) + 1;
            let room = line.right().saturating_sub(x);
            x += put(buf, x, line.y, room, word, self.style(Role::Popup)) + 2;
        }
    }
}

impl Widget for Picker<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = self.place(clip(area, buf));
        if area.width < 20 || area.height < AROUND + 2 {
            return;
        }
        Clear.render(area, buf);
        buf.set_style(area, self.theme.base().patch(self.theme.style(Role::Popup)));
        frame::outline(area, buf, self.style(Role::BorderFocus));
        let title = format!(" {} ", self.title);
        put(
            buf,
            area.x + 1,
            area.y,
            area.width - 2,
            &title,
            self.style(Role::Title),
        );
        let inner = area.inner(Margin::new(2, 1));
        let line = |y: u16| Rect {
            y: inner.y + y,
            height: 1,
            ..inner
        };
        self.choices(line(0), buf);
        let about = ABOUT.min(inner.height.saturating_sub(AROUND - 1));
        let rows = usize::from(inner.height.saturating_sub(about + AROUND - 2));
        // The selected item stays in the middle while there are more above and below.
        let most = self.items.len().saturating_sub(rows);
        let above = self.selected.saturating_sub(rows / 2).min(most);
        let name = self.items.iter().map(|item| columns_of(&item.name)).max();
        let name = name.unwrap_or(0).min(NAME);
        let shown = self.items.iter().enumerate().skip(above).take(rows);
        for ((place, item), y) in shown.zip(2..) {
            self.item(item, place == self.selected, name, line(y), buf);
        }
        let foot = inner.height - 1;
        let selected = self.items.get(self.selected);
        let text = selected.map_or("", |item| item.about.as_str());
        let style = self.style(Role::Muted);
        let lines = wrap(text, usize::from(inner.width));
        for (text, y) in lines.iter().zip(foot - about..foot) {
            put(buf, inner.x, inner.y + y, inner.width, text, style);
        }
        self.keys(line(foot), buf);
        if most > 0 {
            let text = format!(" {} of {} ", self.selected + 1, self.items.len());
            let wide = columns_of(&text).min(area.width - 2);
            let x = area.right() - 1 - wide;
            put(buf, x, area.bottom() - 1, wide, &text, style);
        }
    }
}
