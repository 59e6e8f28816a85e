//! The box around a panel, and the message that can replace its figures. Our own instead of ratatui's `Block`: its titles
//! overwrite each other, but the note, which may say that data are old, must stay whole; and it took a quarter of the
//! instructions of a frame, because it merges each of its cells with what is there.

use super::{clip, columns_of, put, set, wrap};
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::{Margin, Rect};
use ratatui::style::{Modifier, Style};

/// A panel's box: `╭ 1 Hourly sales · 24 h ─── 1.24M today ╮`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Panel<'a> {
    /// Key that opens it full screen.
    pub key: Option<&'a str>,
    /// Title, shown at the left.
    pub title: &'a str,
    /// Note, shown at the right: a sum, or the age of old data.
    pub note: Option<&'a str>,
    /// True if it has the focus.
    pub focused: bool,
    /// True if its data are old.
    pub stale: bool,
    /// Theme to draw with.
    pub theme: &'a Theme,
}

impl Panel<'_> {
    /// Draws the box and returns the area inside.
    pub(crate) fn render(&self, area: Rect, buf: &mut Buffer) -> Rect {
        let area = clip(area, buf);
        if area.width < 2 || area.height < 2 {
            put(
                buf,
                area.x,
                area.y,
                area.width,
                self.title,
                self.theme.style(Role::Title),
            );
            return Rect::ZERO;
        }
        let border = self.theme.style(if self.focused {
            Role::BorderFocus
        } else {
            Role::Border
        });
        outline(area, buf, border);
        self.head(area, buf);
        area.inner(Margin::new(1, 1))
    }

    /// Draws it as a line, `─ 6 Snapshots ─ nobody holds a snapshot ───`, which says why there is no more.
    pub(crate) fn line(&self, text: &str, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        let style = self.theme.style(if self.focused {
            Role::BorderFocus
        } else {
            Role::Border
        });
        for x in area.x..area.right() {
            set(buf, x, area.y, "─", style);
        }
        let title = self.key.map_or(0, |key| columns_of(key) + 1) + columns_of(self.title);
        self.head(area, buf);
        let x = area.x.saturating_add(title + 5);
        let room = area.right().saturating_sub(x + 2);
        if self.note.is_none() && room > 8 {
            let muted = self.theme.style(Role::Muted);
            put(buf, x - 1, area.y, 1, " ", muted);
            let used = put(buf, x, area.y, room, text, muted);
            put(buf, x + used, area.y, 1, " ", muted);
        }
    }

    fn head(&self, area: Rect, buf: &mut Buffer) {
        let role = if self.stale { Role::Stale } else { Role::Title };
        let style = self.theme.style(role);
        // The corner and a blank at both ends stay free.
        let room = area.width.saturating_sub(4);
        let key = self.key.map_or_else(String::new, |key| format!("{key} "));
        let title = columns_of(&key).saturating_add(columns_of(self.title));
        let note = self.note.map_or(0, columns_of);
        // If both do not fit, the note wins, as it may say that data are old; the title keeps ten columns.
        let title = title.min(room.saturating_sub(note + 4).max(10)).min(room);
        let note = note.min(room.saturating_sub(title + 4));
        let mut x = area.x + 2;
        if title == 0 {
            return;
        }
        put(buf, x - 1, area.y, 1, " ", style);
        let used = put(buf, x, area.y, title, &key, self.theme.style(Role::Key));
        x += used;
        x += put(
            buf,
            x,
            area.y,
            title - used,
            shorter(self.title, title - used),
            style,
        );
        put(buf, x, area.y, 1, " ", style);
        if let Some(text) = self.note.filter(|_| note >= 3) {
            let role = if self.stale { Role::Stale } else { Role::Muted };
            let style = self.theme.style(role);
            let x = area.right() - 2 - note;
            put(buf, x - 1, area.y, 1, " ", style);
            put(buf, x, area.y, note, text, style);
            put(buf, x + note, area.y, 1, " ", style);
        }
    }
}

/// Returns `title` without its explanation if all of it does not fit: `RFM segments · 18…` would name another
/// span of time.
fn shorter(title: &str, room: u16) -> &str {
    let name = title.split(" · ").next().unwrap_or(title);
    let filtered = title.contains(" · /");
    if columns_of(title) > room && !filtered {
        name
    } else {
        title
    }
}

/// Draws a rounded border just inside `area`, which has two rows and columns at least.
pub(super) fn outline(area: Rect, buf: &mut Buffer, style: Style) {
    let (right, bottom) = (area.right() - 1, area.bottom() - 1);
    for x in area.x + 1..right {
        set(buf, x, area.y, "─", style);
        set(buf, x, bottom, "─", style);
    }
    for y in area.y + 1..bottom {
        set(buf, area.x, y, "│", style);
        set(buf, right, y, "│", style);
    }
    let corners = [
        (area.x, area.y, "╭"),
        (right, area.y, "╮"),
        (area.x, bottom, "╰"),
        (right, bottom, "╯"),
    ];
    for (x, y, corner) in corners {
        set(buf, x, y, corner, style);
    }
}

/// Restyles everything already drawn in `area` as old data.
pub(crate) fn grey(area: Rect, buf: &mut Buffer, theme: &Theme) {
    let role = theme.style(Role::Stale);
    let mut style = Style::new()
        .bg(theme.background)
        .remove_modifier(Modifier::all())
        .patch(role);
    // `patch` keeps removed modifiers removed; the modifiers of the role must win.
    style.sub_modifier = Modifier::all().difference(role.add_modifier);
    buf.set_style(clip(area, buf), style);
}

/// Writes a sentence into a panel, wrapped, with a blank column on both sides.
pub(crate) fn message(area: Rect, buf: &mut Buffer, text: &str, style: Style) {
    let mut area = clip(area, buf);
    if area.width > 4 {
        area = area.inner(Margin::new(1, 0));
    }
    let lines = wrap(text, usize::from(area.width));
    let cut = lines.len() > usize::from(area.height);
    for (row, line) in area.rows().zip(lines) {
        let used = put(buf, row.x, row.y, row.width, &line, style);
        if cut && row.bottom() == area.bottom() {
            set(buf, row.x + used.min(row.width - 1), row.y, "…", style);
        }
    }
}
