//! Figures side by side, each below its title.

use super::{clip, columns_of, put, severity_style};
use crate::dashboard::cell::Severity;
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::widgets::Widget;

/// One titled figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figure<'a> {
    /// Title of the figure.
    pub title: &'a str,
    /// The figure, formatted.
    pub text: &'a str,
    /// Severity, if the figure is beyond a threshold.
    pub severity: Option<Severity>,
}

/// Figures in columns of equal width, in as many lines as needed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stat<'a> {
    /// Figures to draw.
    pub items: &'a [Figure<'a>],
    /// Theme to draw with.
    pub theme: &'a Theme,
}

impl Widget for Stat<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        if area.is_empty() {
            return;
        }
        if self.items.is_empty() {
            put(
                buf,
                area.x,
                area.y,
                area.width,
                " no rows",
                self.theme.style(Role::Muted),
            );
            return;
        }
        if area.height == 1 {
            self.line(area, buf);
            return;
        }
        let widths = self.items.iter();
        let widest = widths
            .map(|item| columns_of(item.title).max(columns_of(item.text)))
            .max();
        let cell = widest.unwrap_or_default().saturating_add(3);
        let per_line = usize::from((area.width / cell).max(1));
        let lines = self.items.len().div_ceil(per_line);
        // A blank line separates the lines of figures if there is room for all of them.
        let step = if usize::from(area.height) + 1 >= lines * 3 {
            3
        } else {
            2
        };
        for (position, item) in self.items.iter().enumerate() {
            let x = area.x + (position % per_line) as u16 * cell + 1;
            let Some(y) = u16::try_from(position / per_line * step)
                .ok()
                .and_then(|down| area.y.checked_add(down))
                .filter(|y| *y + 1 < area.bottom())
            else {
                break;
            };
            let room = area.right().saturating_sub(x).min(cell - 1);
            put(buf, x, y, room, item.title, self.theme.style(Role::Muted));
            let style = severity_style(self.theme, item.severity).add_modifier(Modifier::BOLD);
            put(buf, x, y + 1, room, item.text, style);
        }
    }
}

impl Stat<'_> {
    /// Draws all figures in one line: `orders 812  avg 50.7`.
    fn line(self, area: Rect, buf: &mut Buffer) {
        let mut x = area.x.saturating_add(1);
        for item in self.items {
            let room = area.right().saturating_sub(x);
            let need = columns_of(item.title).saturating_add(columns_of(item.text)) + 1;
            if need > room && x > area.x + 1 {
                break;
            }
            x += put(
                buf,
                x,
                area.y,
                room,
                item.title,
                self.theme.style(Role::Muted),
            ) + 1;
            let room = area.right().saturating_sub(x);
            let style = severity_style(self.theme, item.severity);
            x += put(buf, x, area.y, room, item.text, style) + 2;
        }
    }
}
