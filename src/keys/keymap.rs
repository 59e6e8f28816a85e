//! The keys in effect: the default ones, as changed by the configuration.

use super::entry::{Entry, Section};
use super::{Command, Context, Key, ROWS, Row};
use crate::format;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// The state of the screen in which a key is pressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A page or a popup.
    Screen,
    /// A confirmation is open.
    Question,
    /// The chooser of columns is open.
    Columns,
    /// A filter or a number is edited.
    Editing,
}

/// Keys of a command or a panel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Bound {
    /// The keys; empty if it is unbound.
    pub(super) keys: Vec<Key>,
    /// Line of the configuration that binds them; `None` for the default.
    pub(super) line: Option<usize>,
}

/// A panel and its default keys.
#[derive(Clone, Debug)]
pub struct PanelKeys {
    /// The panel's name.
    pub name: String,
    /// Opens it from every page.
    pub direct: Option<Key>,
    /// Opens it from the list of panels.
    pub listed: Option<Key>,
}

/// The keys of all commands and panels.
#[derive(Clone, Debug)]
pub struct Keymap {
    /// Keys of the commands, in the order of the table.
    pub(super) commands: Arc<[Bound]>,
    /// Keys of panels that the configuration binds.
    pub(super) panels: Arc<BTreeMap<(Section, String), Bound>>,
    /// Entries of the configuration that are not applied yet.
    pub(super) entries: Vec<Entry>,
}

impl Default for Keymap {
    fn default() -> Self {
        let bound = |row: &Row| Bound {
            keys: row.keys.to_vec(),
            line: None,
        };
        Self {
            commands: ROWS.iter().map(bound).collect(),
            panels: Arc::default(),
            entries: Vec::new(),
        }
    }
}

impl Keymap {
    /// Returns the command of `key` at this place, if any.
    pub fn command(&self, place: Place, key: Key) -> Option<Command> {
        let fits = |row: &Row| match row.context {
            Context::Everywhere => matches!(place, Place::Screen | Place::Columns) || !key.types(),
            Context::Screen => {
                place == Place::Screen || place == Place::Columns && row.command.is_for_chooser()
            }
            Context::Question => place == Place::Question,
            Context::Columns => place == Place::Columns,
            Context::Editing => place == Place::Editing,
        };
        let mut rows = ROWS.iter().zip(self.commands.iter());
        let found = rows.find(|(row, bound)| fits(row) && bound.keys.contains(&key));
        found.map(|(row, _)| row.command)
    }

    /// Returns the keys of a command, the one to show first.
    pub fn keys(&self, command: Command) -> &[Key] {
        let bound = self.commands.get(command as usize);
        bound.map_or(&[], |bound| &bound.keys)
    }

    /// Returns the keys that open a panel from every page.
    pub fn direct(&self, panel: &str, default: Option<Key>) -> Vec<Key> {
        self.of_panel(Section::Panels, panel, default)
    }

    /// Returns the keys that open a panel from the list of panels.
    pub fn listed(&self, panel: &str, default: Option<Key>) -> Vec<Key> {
        self.of_panel(Section::List, panel, default)
    }

    fn of_panel(&self, section: Section, panel: &str, default: Option<Key>) -> Vec<Key> {
        let bound = self.panels.get(&(section, panel.to_owned()));
        bound.map_or_else(|| default.into_iter().collect(), |bound| bound.keys.clone())
    }

    /// Returns the key of a command for use in a sentence: `C`, or `cancel (unbound)`.
    pub fn shown(&self, command: Command) -> String {
        let name = command.row().map_or("", |row| row.name);
        let first = self.keys(command).first();
        first.map_or_else(|| format!("{name} (unbound)"), |key| key.shown())
    }

    /// Replaces commands in braces with their keys: `{back} returns to live`.
    ///
    /// The text must not contain anything that a server sent.
    pub fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let named = after
                .split_once('}')
                .and_then(|(name, after)| Some((Command::named(name)?, after)));
            rest = if let Some((command, after)) = named {
                filled.push_str(&self.shown(command));
                after
            } else {
                filled.push('{');
                after
            };
        }
        filled.push_str(rest);
        filled
    }

    /// Returns the lines of the help: the keys of each command and its description.
    pub fn help(&self) -> impl Iterator<Item = (String, String)> {
        ROWS.iter().zip(self.commands.iter()).map(|(row, bound)| {
            let keys = shown(&bound.keys);
            (keys, self.fill(row.help))
        })
    }

    /// Returns the commands of the footer that have a key, with that key and their word.
    pub fn footer(&self) -> impl Iterator<Item = (Command, String, &'static str)> {
        let rows = ROWS.iter().zip(self.commands.iter());
        rows.filter_map(|(row, bound)| {
            let first = bound.keys.first().filter(|_| !row.footer.is_empty())?;
            Some((row.command, first.shown(), row.footer))
        })
    }
}

/// Returns keys as the help shows them: `j ↓`, `1…8`; a dash for none.
pub fn shown(keys: &[Key]) -> String {
    let digit = |key: &Key| match key {
        Key::Char(c) => c.to_digit(10),
        _ => None,
    };
    let numbers: Option<Vec<u32>> = keys.iter().map(digit).collect();
    let in_row = |numbers: &&Vec<u32>| {
        let mut pairs = numbers.iter().zip(numbers.iter().skip(1));
        numbers.len() > 2 && pairs.all(|(one, next)| *next == one + 1)
    };
    match numbers.as_ref().filter(in_row).map(Vec::as_slice) {
        Some([first, .., last]) => format!("{first}…{last}"),
        _ if keys.is_empty() => format::NONE.to_owned(),
        _ => {
            let keys: Vec<String> = keys.iter().map(|key| key.shown()).collect();
            keys.join(" ")
        }
    }
}

/// Returns the table of commands with their default keys as Markdown, for docs/keys.md.
pub fn markdown() -> String {
    let keymap = Keymap::default();
    let mut text = "| Key | Command | What it does |\n| --- | --- | --- |\n".to_owned();
    for (row, (_, help)) in ROWS.iter().zip(keymap.help()) {
        let keys: Vec<String> = row
            .keys
            .iter()
            .map(|key| format!("`{}`", key.shown()))
            .collect();
        let _ = writeln!(text, "| {} | `{}` | {help} |", keys.join(" "), row.name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_variants_are_in_one_order() {
        for row in ROWS {
            assert_eq!(row.command.row().map(|row| row.name), Some(row.name));
            assert_eq!(Command::named(row.name), Some(row.command));
        }
    }

    #[test]
    fn a_key_means_what_its_place_gives_it() {
        let keymap = Keymap::default();
        for (place, key, command) in [
            (Place::Screen, Key::Char('y'), Some(Command::Copy)),
            (Place::Question, Key::Char('y'), Some(Command::Confirm)),
            (Place::Editing, Key::Char('y'), None),
            (Place::Screen, Key::Char('q'), Some(Command::Quit)),
            (Place::Editing, Key::Char('q'), None),
            (Place::Question, Key::Char('q'), None),
            (Place::Editing, Key::Ctrl('c'), Some(Command::Quit)),
            (Place::Question, Key::Ctrl('c'), Some(Command::Quit)),
            (Place::Screen, Key::Ctrl('u'), Some(Command::PageUp)),
            (Place::Editing, Key::Ctrl('u'), Some(Command::EraseAll)),
            (Place::Screen, Key::Char('Z'), None),
        ] {
            assert_eq!(keymap.command(place, key), command, "{place:?} {key:?}");
        }
    }

    #[test]
    fn sentences_name_keys_and_leave_other_braces_alone() {
        let keymap = Keymap::default();
        assert_eq!(keymap.fill("{cancel} or {why}, {pid} {"), "C or e, {pid} {");
        let digits: Vec<Key> = "12345678".chars().map(Key::Char).collect();
        assert_eq!(shown(&digits), "1…8");
        assert_eq!(shown(&[Key::Char('1'), Key::F(2)]), "1 F2");
        assert_eq!(shown(&[]), format::NONE);
        // Every command that a help names exists.
        for (_, help) in keymap.help() {
            assert!(!help.contains('{'), "{help}");
        }
    }
}
