//! Applies the `[keys]` of a configuration.

use super::conflict;
use super::entry::{Entry, Section};
use super::keymap::{Bound, Keymap, PanelKeys};
use super::{Command, Key, ROWS};
use crate::text;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

impl<'de> Deserialize<'de> for Keymap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self {
            entries: Entry::all(deserializer)?,
            ..Self::default()
        })
    }
}

impl Keymap {
    /// Applies the entries, which were read from `text`. The error names line and cure.
    pub fn settle(&mut self, text: &str) -> Result<(), String> {
        let mut commands = self.commands.to_vec();
        let mut panels = BTreeMap::new();
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_by_key(|entry| entry.at);
        for entry in entries {
            let before = text.get(..entry.at).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let bound = Bound {
                keys: keys(&entry, line)?,
                line: Some(line),
            };
            if entry.section != Section::Commands {
                panels.insert((entry.section, entry.name), bound);
                continue;
            }
            let command = Command::named(&entry.name)
                .and_then(|command| commands.get_mut(command as usize))
                .ok_or_else(|| unknown(&entry.name, line))?;
            *command = bound;
        }
        self.commands = commands.into();
        self.panels = Arc::new(panels);
        conflict::check(self, &[])
    }

    /// Checks the bindings against all panels. The error names line and cure.
    pub fn check_panels(&self, panels: &[PanelKeys]) -> Result<(), String> {
        for ((section, name), bound) in self.panels.iter() {
            let names: Vec<&str> = panels.iter().map(|panel| panel.name.as_str()).collect();
            if !names.contains(&name.as_str()) {
                let meant = meant(name, &names);
                let (line, section) = (bound.line.unwrap_or(1), section.name());
                return Err(format!(
                    "line {line}: unknown panel {name:?} in [{section}]{meant}"
                ));
            }
        }
        conflict::check(self, panels)
    }
}

fn keys(entry: &Entry, line: usize) -> Result<Vec<Key>, String> {
    let what = format!("line {line}: {}.{}", entry.section.name(), entry.name);
    let names = entry.keys().map_err(|why| format!("{what} {why}"))?;
    let mut keys = Vec::new();
    for name in names {
        let key = Key::parse(name).map_err(|why| format!("{what}: {name:?}: {why}"))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

fn unknown(name: &str, line: usize) -> String {
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    let meant = meant(name, &names);
    format!(
        "line {line}: unknown command {name:?} in [keys]{meant}; `htap-top help keys` lists the commands"
    )
}

fn meant(name: &str, names: &[&str]) -> String {
    text::nearest(name, names)
        .map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::keys::Place;
    use std::path::Path;

    fn parse(text: &str) -> Result<Keymap, String> {
        let config = Config::parse(Path::new("htap.toml"), &format!("[keys]\n{text}\n"));
        let keymap = config.map_err(|error| error.to_string())?.keys;
        let panel = |name: &str, direct: Option<char>, listed: Option<char>| PanelKeys {
            name: name.to_owned(),
            direct: direct.map(Key::Char),
            listed: listed.map(Key::Char),
        };
        let panels = [
            panel("bloat", Some('5'), None),
            panel("locks", None, Some('l')),
            panel("tables", None, Some('t')),
            panel("mine", None, None),
        ];
        keymap
            .check_panels(&panels)
            .map_err(|why| format!("htap.toml: {why}"))?;
        Ok(keymap)
    }

    #[test]
    fn what_is_bound_replaces_the_default() {
        let keymap = parse(
            "refresh = \"f5\"\nquit = [\"Q\", \"ctrl-q\", \"Q\"]\nmouse = []\npanels = { mine = \"f2\", bloat = [] }\n\
             list = { mine = \"5\", locks = [\"L\", \"l\"] }",
        )
        .unwrap();
        let screen = |key| keymap.command(Place::Screen, key);
        assert_eq!(screen(Key::F(5)), Some(Command::Refresh));
        assert_eq!(screen(Key::Char('r')), None);
        assert_eq!(keymap.keys(Command::Quit), [Key::Char('Q'), Key::Ctrl('q')]);
        assert_eq!(screen(Key::Char('M')), None);
        assert_eq!(keymap.fill("{refresh} {mouse}"), "F5 mouse (unbound)");
        assert_eq!(keymap.direct("mine", None), [Key::F(2)]);
        assert_eq!(keymap.direct("bloat", Some(Key::Char('5'))), []);
        assert_eq!(
            keymap.listed("tables", Some(Key::Char('t'))),
            [Key::Char('t')]
        );
        assert_eq!(keymap.listed("mine", None), [Key::Char('5')]);
        // What another gives up is free.
        assert!(parse("refresh = \"k\"\nprevious_row = \"up\"").is_ok());
        assert!(parse("next_row = [\"t\", \"down\"]\nnext_theme = []").is_ok());
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn what_cannot_hold_is_refused_with_line_and_cure() {
        for (text, why) in [
            (
                "mouse = []\nrefersh = \"f5\"",
                "line 3: unknown command \"refersh\" in [keys]; did you mean \"refresh\"?",
            ),
            (
                "refresh = \"ctrl-i\"",
                "line 2: keys.refresh: \"ctrl-i\": a terminal sends the same as for tab; write \"tab\"",
            ),
            (
                "\nrefresh = 5",
                "line 3: keys.refresh takes a key or a list of keys",
            ),
            (
                "refresh = [\"r\", 5]",
                "line 2: keys.refresh takes a key or a list of keys",
            ),
            (
                "refresh = \"k\"",
                "line 2: keys.refresh: \"k\" is also the key of keys.previous_row; choose another key, or set keys.previous_row = [\"up\"]",
            ),
            (
                "next_theme = \"f5\"\nrefresh = \"f5\"",
                "line 3: keys.refresh: \"f5\" is also the key of keys.next_theme; choose another key, or give keys.next_theme another key",
            ),
            ("refresh = \"ctrl-c\"", "is also the key of keys.quit"),
            ("confirm = \"q\"", "is also the key of keys.quit"),
            (
                "refresh = \"5\"",
                "line 2: keys.refresh: \"5\" is also the key of keys.panels.bloat",
            ),
            (
                "panels = { locks = \"k\" }",
                "line 2: keys.panels.locks: \"k\" is also the key of keys.previous_row",
            ),
            (
                "list = { locks = \"t\" }",
                "line 2: keys.list.locks: \"t\" is also the key of keys.list.tables",
            ),
            (
                "list = { lock = \"z\" }",
                "line 2: unknown panel \"lock\" in [keys.list]; did you mean \"locks\"?",
            ),
            (
                "list = { locks = \"q\" }\nquit = \"q\"",
                "keys.quit (q) could not be used in the list of panels, where keys.list.locks opens that panel; add another key",
            ),
            (
                "next_row = \"t\"\nnext_theme = []",
                "line 2: keys.next_row (t) could not be used in the list of panels",
            ),
            (
                "confirm = \"C\"",
                "line 2: \"C\" is bound to keys.cancel and to keys.confirm: pressed twice, or held down, it would act without a confirmation",
            ),
            (
                "refresh_all = [\"R\", \"y\"]\ncopy = []",
                "\"y\" is bound to keys.refresh_all and to keys.confirm",
            ),
            (
                "quit = []",
                "line 2: keys.quit needs a key: without one the dashboard could not be left",
            ),
            ("confirm = []", "set read_only = true"),
            (
                "erase = \"x\"",
                "line 2: keys.erase: \"x\" is typed into the text; choose a key that types nothing, such as \"backspace\"",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("htap.toml: line "), "{text}: {error}");
            assert!(error.contains(why), "{text}: {error}");
        }
        let error = parse("refresh = \"f5\"\nrefresh = \"f6\"").unwrap_err();
        assert!(
            error.contains("line 3") && error.contains("duplicate key"),
            "{error}"
        );
    }
}
