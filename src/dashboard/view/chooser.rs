//! The chooser of a panel's columns.

use crate::dashboard::model::{Model, Popup};
use crate::dashboard::theme::Theme;
use crate::dashboard::widgets::{Item, Picker};
use crate::keys::Command;
use ratatui::buffer::Buffer;
use ratatui::widgets::Widget;

/// Commands named below the columns, and what they do.
const KEYS: [(Command, &str); 5] = [
    (Command::ShowColumn, "show or hide"),
    (Command::SortByColumn, "sort"),
    (Command::NextProfile, "profile"),
    (Command::ResetColumns, "reset"),
    (Command::Back, "close"),
];

/// Draws the chooser, if it is open.
pub(super) fn draw(model: &Model, theme: &Theme, buf: &mut Buffer) {
    let Some(Popup::Columns(chooser)) = model.popup else {
        return;
    };
    let Some(feed) = model.feed(chooser.panel) else {
        return;
    };
    let items = model.column_lines(chooser.panel).into_iter().map(|line| {
        let sorted = match line.sorted {
            Some(true) => "▼",
            Some(false) => "▲",
            None => "",
        };
        Item {
            on: line.shown,
            name: format!("{}{sorted}", line.title),
            about: line.help,
        }
    });
    let items: Vec<Item> = items.collect();
    let keys = &model.config.keys;
    let moves = format!(
        "{} {}",
        keys.shown(Command::ColumnLeft),
        keys.shown(Command::ColumnRight)
    );
    let mut named: Vec<(String, &str)> = KEYS
        .iter()
        .map(|(command, word)| (keys.shown(*command), *word))
        .collect();
    named.insert(1, (moves, "move"));
    let title = format!("Columns · {}", feed.spec.front.title);
    Picker {
        title: &title,
        choices: &model.profiles(chooser.panel),
        items: &items,
        selected: chooser.selected,
        keys: &named,
        theme,
    }
    .render(buf.area, buf);
}
