//! A key, its name in the configuration, and its form on the screen.

use crate::text;
use serde::{Deserialize, Serialize};

/// A key, independent of the terminal library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A printable character, case included.
    Char(char),
    /// A letter or the space bar with Control.
    Ctrl(char),
    /// A printable character with Alt.
    Alt(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tabulator.
    Tab,
    /// Shift and tabulator.
    BackTab,
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// Cursor left.
    Left,
    /// Cursor right.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
    /// Insert.
    Insert,
    /// Delete.
    Delete,
    /// Backspace.
    Backspace,
    /// F1 to F12.
    F(u8),
}

/// Named keys: the name, the key, and the form on the screen.
const NAMED: [(&str, Key, &str); 16] = [
    ("space", Key::Char(' '), "space"),
    ("enter", Key::Enter, "Enter"),
    ("esc", Key::Esc, "Esc"),
    ("tab", Key::Tab, "Tab"),
    ("shift-tab", Key::BackTab, "S-Tab"),
    ("up", Key::Up, "↑"),
    ("down", Key::Down, "↓"),
    ("left", Key::Left, "←"),
    ("right", Key::Right, "→"),
    ("pageup", Key::PageUp, "PgUp"),
    ("pagedown", Key::PageDown, "PgDn"),
    ("home", Key::Home, "Home"),
    ("end", Key::End, "End"),
    ("insert", Key::Insert, "Ins"),
    ("delete", Key::Delete, "Del"),
    ("backspace", Key::Backspace, "Bksp"),
];
/// Letters that with Control send the same as another key.
const SAME: [(&str, &str); 4] = [
    ("i", "tab"),
    ("m", "enter"),
    ("[", "esc"),
    ("?", "backspace"),
];

impl Key {
    /// Reads a key's name: `r`, `R`, `ctrl-r`, `alt-r`, `f5`, `space`, `shift-tab`.
    ///
    /// The error says how to write it instead.
    pub fn parse(name: &str) -> Result<Self, String> {
        if let Some(only) = single(name) {
            return if text::is_plain(only) {
                Ok(Self::Char(only))
            } else {
                Err("no key types this character".to_owned())
            };
        }
        let lower = name.to_ascii_lowercase();
        if let Some((_, key, _)) = NAMED.iter().find(|(known, ..)| *known == lower) {
            return Ok(*key);
        }
        if let Some(number) = lower.strip_prefix('f').and_then(|n| n.parse::<u8>().ok()) {
            return if (1..=12).contains(&number) {
                Ok(Self::F(number))
            } else {
                Err("the function keys are f1 to f12".to_owned())
            };
        }
        if let Some(rest) = lower.strip_prefix("ctrl-") {
            return control(rest);
        }
        if lower.starts_with("alt-") {
            return alt(name.get("alt-".len()..).unwrap_or_default());
        }
        if let Some(rest) = lower.strip_prefix("shift-") {
            return Err(shift(rest));
        }
        let names: Vec<&str> = NAMED.iter().map(|(known, ..)| *known).collect();
        Err(match text::nearest(&lower, &names) {
            Some(nearest) => format!("there is no such key; did you mean \"{nearest}\"?"),
            None => format!(
                "there is no such key; a key is one character, f1 to f12, ctrl-LETTER, alt-CHARACTER, or one of {}",
                names.join(", ")
            ),
        })
    }

    /// Returns the key's name in the configuration.
    pub fn name(self) -> String {
        match self {
            Self::Char(' ') => "space".to_owned(),
            Self::Char(c) => c.to_string(),
            Self::Ctrl(c) => format!("ctrl-{}", Self::Char(c).name()),
            Self::Alt(c) => format!("alt-{c}"),
            Self::F(number) => format!("f{number}"),
            named => named_key(named).map_or_else(String::new, |(name, _)| name.to_owned()),
        }
    }

    /// Returns the key as the screen shows it.
    pub fn shown(self) -> String {
        match self {
            Self::Char(' ') => "space".to_owned(),
            Self::Char(c) => c.to_string(),
            Self::Ctrl(' ') => "Ctrl-space".to_owned(),
            Self::Ctrl(c) => format!("Ctrl-{}", c.to_ascii_uppercase()),
            Self::Alt(c) => format!("Alt-{c}"),
            Self::F(number) => format!("F{number}"),
            named => named_key(named).map_or_else(String::new, |(_, shown)| shown.to_owned()),
        }
    }

    /// Returns true if it inserts a character into text.
    pub fn types(self) -> bool {
        matches!(self, Self::Char(_))
    }
}

fn named_key(key: Key) -> Option<(&'static str, &'static str)> {
    let found = NAMED.iter().find(|(_, named, _)| *named == key);
    found.map(|(name, _, shown)| (*name, *shown))
}

/// Returns the only character of `text`, if it has exactly one.
fn single(text: &str) -> Option<char> {
    let mut chars = text.chars();
    let only = chars.next()?;
    chars.next().is_none().then_some(only)
}

fn control(rest: &str) -> Result<Key, String> {
    if let Some((_, other)) = SAME.iter().find(|(key, _)| *key == rest) {
        return Err(format!(
            "a terminal sends the same as for {other}; write \"{other}\""
        ));
    }
    match single(rest) {
        _ if rest == "space" => Ok(Key::Ctrl(' ')),
        Some(letter) if letter.is_ascii_lowercase() => Ok(Key::Ctrl(letter)),
        _ if rest.starts_with("shift-") => {
            let letter = rest.trim_start_matches("shift-");
            Err(format!(
                "a terminal cannot tell it from ctrl-{letter}; write \"ctrl-{letter}\""
            ))
        }
        _ => Err("ctrl- goes with a letter or space; a terminal does not send others".to_owned()),
    }
}

fn alt(rest: &str) -> Result<Key, String> {
    match single(rest) {
        // Terminals begin the sequences of other keys with these.
        Some('[' | 'O') => Err("a terminal begins other keys with it; choose another".to_owned()),
        Some(c) if text::is_plain(c) && c != ' ' => Ok(Key::Alt(c)),
        _ => Err("alt- goes with one character".to_owned()),
    }
}

fn shift(rest: &str) -> String {
    match single(rest) {
        Some(letter) if letter.is_alphabetic() => {
            format!("write what Shift types: \"{}\"", letter.to_uppercase())
        }
        Some(_) => "write the character that Shift types".to_owned(),
        None => "shift- goes with tab only; terminals do not send others alike".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let keys = [
            ("r", Key::Char('r')),
            ("R", Key::Char('R')),
            ("ä", Key::Char('ä')),
            ("-", Key::Char('-')),
            ("Space", Key::Char(' ')),
            ("ctrl-X", Key::Ctrl('x')),
            ("ctrl-space", Key::Ctrl(' ')),
            ("alt-X", Key::Alt('X')),
            ("F12", Key::F(12)),
            ("PageUp", Key::PageUp),
            ("shift-tab", Key::BackTab),
        ];
        for (name, key) in keys {
            assert_eq!(Key::parse(name), Ok(key), "{name}");
            assert_eq!(Key::parse(&key.name()), Ok(key), "{name}");
        }
        for (name, key, shown) in NAMED {
            assert_eq!((Key::parse(name), key.shown().as_str()), (Ok(key), shown));
        }
        assert_eq!(Key::Ctrl('z').shown(), "Ctrl-Z");
        assert_eq!(Key::F(5).shown(), "F5");
    }

    #[test]
    fn a_key_that_no_terminal_sends_is_refused_with_what_to_write() {
        for (name, why) in [
            ("ctrl-i", "write \"tab\""),
            ("ctrl-m", "write \"enter\""),
            ("ctrl-[", "write \"esc\""),
            ("ctrl-shift-x", "write \"ctrl-x\""),
            ("ctrl-1", "ctrl- goes with a letter"),
            ("alt-[", "begins other keys"),
            ("alt-enter", "alt- goes with one character"),
            ("shift-r", "write what Shift types: \"R\""),
            ("shift-up", "shift- goes with tab only"),
            ("f13", "f1 to f12"),
            ("pagdown", "did you mean \"pagedown\"?"),
            ("hyper-x", "there is no such key; a key is one character"),
            ("\u{7}", "no key types this"),
            ("", "there is no such key"),
        ] {
            let error = Key::parse(name).unwrap_err();
            assert!(error.contains(why), "{name}: {error}");
        }
    }
}
