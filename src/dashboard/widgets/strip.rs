//! The status strip: one sign, figure and target per measure.

use super::{clip, columns_of, put};
use crate::dashboard::cell::Severity;
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;

/// State of a figure relative to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Sign {
    /// Not measured.
    Unknown,
    /// Within target.
    Ok,
    /// Beyond target.
    Warning,
    /// Far beyond target.
    Danger,
}

impl Sign {
    /// The character that shows the state; colour only repeats it.
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Unknown => "·",
            Self::Ok => "✔",
            Self::Warning => "▲",
            Self::Danger => "✖",
        }
    }

    /// The role whose style shows the state.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Unknown => Role::Muted,
            Self::Ok => Role::Ok,
            Self::Warning => Role::Warning,
            Self::Danger => Role::Danger,
        }
    }
}

impl From<Option<Severity>> for Sign {
    fn from(severity: Option<Severity>) -> Self {
        match severity {
            None => Self::Ok,
            Some(Severity::Warning) => Self::Warning,
            Some(Severity::Danger) => Self::Danger,
        }
    }
}

/// One figure of the strip: `✖ p99 31ms/50`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StripItem {
    /// State relative to the target.
    pub sign: Sign,
    /// Label of the figure.
    pub label: String,
    /// The figure, formatted.
    pub value: String,
    /// The target, formatted; `None` if there is none.
    pub target: Option<String>,
}

/// Figures from left to right in the order given; those that do not fit are counted: `+3`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strip<'a> {
    /// The figures, worst first.
    pub items: &'a [StripItem],
    /// Theme to draw with.
    pub theme: &'a Theme,
}

impl StripItem {
    fn columns(&self) -> u16 {
        let target = self
            .target
            .as_deref()
            .map_or(0, |target| columns_of(target) + 1);
        let words = columns_of(&self.label).saturating_add(columns_of(&self.value));
        words.saturating_add(target).saturating_add(3)
    }
}

impl Widget for Strip<'_> {
    fn render(self, area: Rect, buf: &mut Buffer) {
        let area = clip(area, buf);
        let mut x = area.x.saturating_add(1);
        for (position, item) in self.items.iter().enumerate() {
            let after = self.items.len() - position - 1;
            let counter = if after == 0 {
                0
            } else {
                2 + columns_of(&format!("+{after}"))
            };
            let room = area.right().saturating_sub(x);
            if position > 0 && item.columns().saturating_add(counter) > room {
                let more = format!("+{}", after + 1);
                put(buf, x, area.y, room, &more, self.theme.style(Role::Muted));
                return;
            }
            x = self.item(item, x, area, buf).saturating_add(2);
        }
    }
}

impl Strip<'_> {
    /// Draws one figure and returns the column after it.
    fn item(&self, item: &StripItem, start: u16, area: Rect, buf: &mut Buffer) -> u16 {
        let muted = self.theme.style(Role::Muted);
        let state = self.theme.style(item.sign.role());
        let (label, value) = match item.sign {
            // Figures are what one looks for from afar.
            Sign::Ok => (muted, self.theme.style(Role::Title)),
            Sign::Unknown => (muted, muted),
            Sign::Warning | Sign::Danger => (state, state),
        };
        let target = item.target.as_deref().map(|target| format!("/{target}"));
        let target = target.unwrap_or_default();
        let parts = [
            (item.sign.symbol(), state),
            (" ", muted),
            (item.label.as_str(), label),
            (" ", muted),
            (item.value.as_str(), value),
            (target.as_str(), muted),
        ];
        let mut x = start;
        for (text, style) in parts {
            x += put(buf, x, area.y, area.right().saturating_sub(x), text, style);
        }
        x
    }
}
