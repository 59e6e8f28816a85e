//! Checks of bindings: one key with two meanings, keys that cannot be reached, no way out, a key that both asks and
//! confirms.

use super::entry::Section;
use super::keymap::{Bound, PanelKeys, shown};
use super::{Command, Context, Key, Keymap, ROWS, Row};

/// A command or panel with its keys.
struct Claim<'a> {
    /// Its name in the configuration: `keys.refresh`, `keys.list.locks`.
    name: String,
    /// Row of a command; `None` for a panel.
    row: Option<&'static Row>,
    /// Its table in the configuration.
    section: Section,
    bound: &'a Bound,
}

impl Claim<'_> {
    /// Returns true if both cannot have the same key.
    fn excludes(&self, other: &Self) -> bool {
        let of_screen = |claim: &Self| {
            claim.section == Section::Panels
                || claim.row.is_some_and(|row| row.context == Context::Screen)
        };
        let context = |claim: &Self| claim.row.map(|row| row.context);
        let list = |claim: &Self| claim.section == Section::List;
        let in_chooser = |claim: &Self| {
            claim
                .row
                .is_some_and(|row| row.context == Context::Columns || row.command.is_for_chooser())
        };
        match (context(self), context(other)) {
            _ if list(self) || list(other) => list(self) && list(other),
            (Some(Context::Everywhere), _) | (_, Some(Context::Everywhere)) => true,
            (Some(Context::Columns), _) | (_, Some(Context::Columns)) => {
                in_chooser(self) && in_chooser(other)
            }
            (Some(a), Some(b)) => a == b,
            _ => of_screen(self) && of_screen(other),
        }
    }

    fn line(&self) -> usize {
        self.bound.line.unwrap_or(0)
    }

    /// Returns how to free the key: `set keys.next_row = ["down"]`.
    fn without(&self, key: Key) -> String {
        let names = self.bound.keys.iter().filter(|other| **other != key);
        let names: Vec<String> = names.map(|key| format!("{:?}", key.name())).collect();
        match names.as_slice() {
            [] => format!("give {} another key", self.name),
            names => format!("set {} = [{}]", self.name, names.join(", ")),
        }
    }
}

/// Returns the first fault; `panels` are all panels, or empty while they are not known.
pub(super) fn check(keymap: &Keymap, panels: &[PanelKeys]) -> Result<(), String> {
    let of_panels = of_panels(keymap, panels);
    let mut claims: Vec<Claim<'_>> = ROWS
        .iter()
        .zip(keymap.commands.iter())
        .map(|(row, bound)| Claim {
            name: format!("keys.{}", row.name),
            row: Some(row),
            section: Section::Commands,
            bound,
        })
        .collect();
    for claim in &claims {
        usable(claim)?;
    }
    asks_or_confirms(&claims)?;
    claims.extend(of_panels.iter().map(|(section, name, bound)| Claim {
        name: format!("{}.{name}", section.name()),
        row: None,
        section: *section,
        bound,
    }));
    once(&claims)?;
    readable(&claims)
}

/// Returns the keys of all panels, default or configured.
fn of_panels(keymap: &Keymap, panels: &[PanelKeys]) -> Vec<(Section, String, Bound)> {
    let both = panels.iter().flat_map(|panel| {
        [
            (Section::Panels, panel, panel.direct),
            (Section::List, panel, panel.listed),
        ]
    });
    let bound = both.map(|(section, panel, default)| {
        let key = (section, panel.name.clone());
        let said = keymap.panels.get(&key).cloned();
        let bound = said.unwrap_or_else(|| Bound {
            keys: default.into_iter().collect(),
            line: None,
        });
        (section, panel.name.clone(), bound)
    });
    bound.collect()
}

/// Checks that a command that must have a key has one, and that keys of editing insert no character.
fn usable(claim: &Claim<'_>) -> Result<(), String> {
    let (Some(row), name) = (claim.row, &claim.name) else {
        return Ok(());
    };
    if row.command.is_needed() && claim.bound.keys.is_empty() {
        let cure = match row.command {
            Command::Confirm => "; to switch actions off, set read_only = true",
            _ => "",
        };
        return Err(format!(
            "line {}: {name} needs a key: without one {}{cure}",
            claim.line(),
            lacks(row.command)
        ));
    }
    let typed = claim.bound.keys.iter().find(|key| key.types());
    match typed.filter(|_| row.context == Context::Editing) {
        Some(key) => Err(format!(
            "line {}: {name}: {:?} is typed into the text; choose a key that types nothing, such as {:?}",
            claim.line(),
            key.name(),
            row.keys.first().map_or_else(String::new, |key| key.name())
        )),
        None => Ok(()),
    }
}

/// Returns the consequence if this command had no key.
fn lacks(command: Command) -> &'static str {
    match command {
        Command::Quit => "the dashboard could not be left",
        Command::Confirm => "no action could be confirmed",
        Command::Back => "popups and filters could not be closed",
        _ => "typing could not be ended",
    }
}

/// Checks that no key both asks and confirms: pressed twice, or held down, it would act without a confirmation.
fn asks_or_confirms(claims: &[Claim<'_>]) -> Result<(), String> {
    let of = |wanted: fn(Command) -> bool| {
        let has = move |claim: &&Claim<'_>| claim.row.is_some_and(|row| wanted(row.command));
        claims.iter().filter(has)
    };
    for confirm in of(|command| command == Command::Confirm) {
        for asks in of(Command::acts) {
            let both = confirm
                .bound
                .keys
                .iter()
                .find(|key| asks.bound.keys.contains(key));
            if let Some(key) = both {
                return Err(format!(
                    "line {}: {:?} is bound to {} and to {}: pressed twice, or held down, it would act without a \
                     confirmation; give one of them another key",
                    confirm.line().max(asks.line()),
                    key.name(),
                    asks.name,
                    confirm.name
                ));
            }
        }
    }
    Ok(())
}

/// Checks that no key has two meanings at one place.
fn once(claims: &[Claim<'_>]) -> Result<(), String> {
    for (at, one) in claims.iter().enumerate() {
        for other in claims
            .iter()
            .skip(at + 1)
            .filter(|other| one.excludes(other))
        {
            let both = one
                .bound
                .keys
                .iter()
                .find(|key| other.bound.keys.contains(key));
            let Some(key) = both else { continue };
            let (later, earlier) = if one.line() > other.line() {
                (one, other)
            } else {
                (other, one)
            };
            return Err(format!(
                "line {}: {}: {:?} is also the key of {}; choose another key, or {}",
                later.line(),
                later.name,
                key.name(),
                earlier.name,
                earlier.without(*key)
            ));
        }
    }
    Ok(())
}

/// Checks that commands which scroll or close the list of panels keep a key there, where letters open panels.
fn readable(claims: &[Claim<'_>]) -> Result<(), String> {
    let lists = || claims.iter().filter(|claim| claim.section == Section::List);
    let moves = |claim: &&Claim<'_>| claim.row.is_some_and(|row| row.command.is_for_popups());
    for claim in claims.iter().filter(moves) {
        let hides = |key: &Key| lists().find(|list| list.bound.keys.contains(key));
        let hidden: Option<Vec<&Claim<'_>>> = claim.bound.keys.iter().map(hides).collect();
        if let Some([first, ..]) = hidden.as_deref() {
            return Err(format!(
                "line {}: {} ({}) could not be used in the list of panels, where {} opens that panel; add another key",
                claim.line().max(first.line()),
                claim.name,
                shown(&claim.bound.keys),
                first.name
            ));
        }
    }
    Ok(())
}
