//! The row of tabs: each server's number, sign and name, its worst figure, and the rule that names the cause.

use super::sign;
use crate::dashboard::model::Model;
use crate::dashboard::tabs::{self, Label};
use crate::dashboard::theme::{Role, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

pub(super) fn draw(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let (row, left_out) = tabs::row(&model.tabs, area.width);
    let mut spans: Vec<Span<'_>> = row.iter().flat_map(|label| styled(label, theme)).collect();
    if left_out > 0 {
        let more = format!(" +{left_out}");
        spans.push(Span::styled(more, theme.style(Role::Muted)));
    }
    buf.set_line(area.x, area.y, &Line::from(spans), area.width);
}

fn styled(label: &Label<'_>, theme: &Theme) -> Vec<Span<'static>> {
    let tab = label.tab;
    let sign = sign(tab.health);
    let state = theme.style(sign.role());
    let mut name = theme.style(if tab.shown { Role::Title } else { Role::Text });
    if let Some(colour) = tab.place.colour {
        name = name.fg(colour);
    }
    // Brackets, too: not every terminal has colours.
    let (open, close) = if tab.shown { ("[", "]") } else { (" ", " ") };
    let edge = theme.style(Role::Key);
    let mut spans = vec![
        Span::styled(open, edge),
        Span::styled(format!("{} ", tab.place.number), edge),
        Span::styled(sign.symbol(), state),
        Span::styled(format!(" {}", label.name), name),
    ];
    for text in [label.figure, label.rule] {
        if !text.is_empty() {
            spans.push(Span::styled(format!(" {text}"), state));
        }
    }
    spans.push(Span::styled(close, edge));
    if tab.shown {
        for span in &mut spans {
            span.style = span.style.add_modifier(Modifier::BOLD);
        }
    }
    spans
}
