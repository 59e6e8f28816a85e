//! The row of tabs: each server's number, sign and name, its worst figure, and the rule that names the cause.

use super::sign;
use crate::dashboard::model::Model;
use crate::dashboard::tabs::Tab;
use crate::dashboard::theme::{Role, Theme};
use crate::text;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;
use ratatui::text::{Line, Span};

/// Maximum width of a name, in columns.
const NAME: usize = 24;
/// Like [`NAME`], if not all tabs fit otherwise.
const SHORT_NAME: usize = 10;

/// Text of a tab besides number and sign.
#[derive(Clone, Copy)]
struct Detail {
    name: usize,
    figure: bool,
    rule: bool,
}

/// From the most text to the least.
const DETAILS: [Detail; 4] = [
    Detail {
        name: NAME,
        figure: true,
        rule: true,
    },
    Detail {
        name: NAME,
        figure: true,
        rule: false,
    },
    Detail {
        name: SHORT_NAME,
        figure: true,
        rule: false,
    },
    LEAST,
];
const LEAST: Detail = Detail {
    name: SHORT_NAME,
    figure: false,
    rule: false,
};

pub(super) fn draw(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let room = usize::from(area.width);
    let written = |detail| -> Vec<Line<'_>> {
        let tabs = model.tabs.iter();
        tabs.map(|tab| line(tab, detail, theme)).collect()
    };
    let all = DETAILS.into_iter().map(written);
    let fits = |lines: &Vec<Line<'_>>| lines.iter().map(Line::width).sum::<usize>() <= room;
    let mut all = all.skip_while(|lines| !fits(lines));
    if let Some(lines) = all.next() {
        let line: Line<'_> = lines.into_iter().flat_map(|line| line.spans).collect();
        buf.set_line(area.x, area.y, &line, area.width);
        return;
    }
    some(model, theme, area, buf);
}

/// Draws as many tabs as fit, the shown one among them, and the number of the others.
fn some(model: &Model, theme: &Theme, area: Rect, buf: &mut Buffer) {
    let lines: Vec<(bool, Line<'_>)> = model
        .tabs
        .iter()
        .map(|tab| (tab.shown, line(tab, LEAST, theme)))
        .collect();
    let counter = format!(" +{} ", lines.len());
    let shown = lines.iter().find(|(shown, _)| *shown);
    let shown = shown.map_or(0, |(_, line)| line.width());
    let mut room = usize::from(area.width).saturating_sub(counter.len() + shown);
    let (mut kept, mut left_out) = (Vec::new(), 0);
    for (shown, line) in lines {
        if shown {
            kept.extend(line.spans);
        } else if left_out == 0 && line.width() <= room {
            room -= line.width();
            kept.extend(line.spans);
        } else {
            left_out += 1;
        }
    }
    let more = format!(" +{left_out}");
    kept.push(Span::styled(more, theme.style(Role::Muted)));
    buf.set_line(area.x, area.y, &Line::from(kept), area.width);
}

fn line(tab: &Tab, detail: Detail, theme: &Theme) -> Line<'static> {
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
        Span::styled(
            format!(" {}", text::cut(tab.place.name.as_str(), detail.name)),
            name,
        ),
    ];
    let mut add = |text: &str| {
        if !text.is_empty() {
            spans.push(Span::styled(format!(" {text}"), state));
        }
    };
    if detail.figure {
        add(&tab.figure);
    }
    if detail.rule {
        add(&tab.rule);
    }
    spans.push(Span::styled(close, edge));
    if tab.shown {
        for span in &mut spans {
            span.style = span.style.add_modifier(Modifier::BOLD);
        }
    }
    Line::from(spans)
}
