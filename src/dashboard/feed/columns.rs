//! Which columns of a panel are shown, and in which order: by the panel file, by the configuration, or as chosen on the
//! screen.

use super::{Feed, sort_order};
use crate::config::{PanelConfig, Profile};
use crate::dashboard::choices::Choice;
use crate::dashboard::panels::spec::Front;
use crate::pg::Value;
use std::sync::Arc;

/// What the configuration says about a panel's columns.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    /// Shown first; empty: those of the panel file.
    first: Vec<String>,
    /// Not shown.
    hidden: Vec<String>,
    /// The profile; by the room if there is none.
    profile: Option<Profile>,
    /// The first sort column; empty: that of the panel file.
    sort: String,
}

/// The room for a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// True on a screen of fewer than 100 columns.
    pub narrow: bool,
    /// True in full screen, where one scrolls to columns that do not fit.
    pub full: bool,
}

impl Room {
    /// Room for all columns.
    pub const ALL: Self = Self {
        narrow: false,
        full: true,
    };
}

impl Feed {
    /// Sets what the configuration says about its columns, if it says anything; `profile` is that of all panels.
    pub fn choose(&mut self, panel: Option<&PanelConfig>, profile: Option<Profile>) {
        self.chosen.profile = profile;
        if let Some(panel) = panel {
            self.chosen = Chosen {
                first: panel.columns.clone(),
                hidden: panel.hide.clone(),
                profile: panel.profile.or(profile),
                sort: panel.sort.clone(),
            };
        }
        self.sort_anew();
    }

    /// Sets what was chosen on the screen, or returns to the configuration with `None`.
    pub fn take_choice(&mut self, choice: Option<Arc<Choice>>) {
        self.cursor.choice = choice.filter(|choice| !choice.is_empty());
        self.sort_anew();
        self.arrange();
    }

    /// Sorts as chosen on the screen, else as the configuration or the panel file says.
    fn sort_anew(&mut self) {
        let chosen = self.cursor.choice.as_ref().map(|choice| &choice.sort);
        let said = [chosen, Some(&self.chosen.sort)].into_iter().flatten();
        let mut said = said.filter(|sort| !sort.is_empty());
        let sort = said.next().unwrap_or(&self.spec.front.sort);
        self.cursor.sort = sort_order(sort);
    }

    /// The profile of its columns, if one is chosen or configured. Without one the room decides.
    pub fn profile(&self) -> Option<Profile> {
        let choice = self.cursor.choice.as_ref();
        choice
            .and_then(|choice| choice.profile)
            .or(self.chosen.profile)
    }

    /// Returns true if the configuration says which columns are shown.
    pub fn is_configured(&self) -> bool {
        let Chosen {
            first,
            hidden,
            profile,
            ..
        } = &self.chosen;
        profile.is_some() || !first.is_empty() || !hidden.is_empty()
    }

    /// Returns true if a row has a number in this column.
    pub fn is_numeric(&self, name: &str) -> bool {
        let column = self.table.column(name);
        let cell = |row: &Vec<Value>| row.get(column?)?.number();
        self.table.rows.iter().any(|row| cell(row).is_some())
    }

    /// Returns true if its columns are chosen one by one.
    pub fn has_own_columns(&self) -> bool {
        let choice = self.cursor.choice.as_ref();
        choice.is_some_and(|choice| choice.has_columns())
    }

    /// Returns true if somebody has listed exactly these columns, on the screen or, for the Overview, in the configuration.
    pub fn lists_columns(&self, full: bool) -> bool {
        self.has_own_columns() || !full && !self.chosen.first.is_empty()
    }

    /// Columns shown in a table with this room, in their order.
    pub fn columns(&self, room: Room) -> Vec<String> {
        let there: Vec<&str> = self.table.columns.iter().map(|name| &**name).collect();
        self.shown_of(&there, room)
    }

    /// Returns those of the columns `there` that are shown, in their order.
    fn shown_of(&self, there: &[&str], room: Room) -> Vec<String> {
        let Chosen { first, hidden, .. } = &self.chosen;
        let Front {
            narrow, compact, ..
        } = &self.spec.front;
        let choice = self.cursor.choice.as_deref();
        if let Some(choice) = choice.filter(|choice| choice.has_columns()) {
            return self.arranged(there, &choice.columns, &choice.hide, true);
        }
        let profile = self.profile();
        let few = profile.map_or(room.narrow, |profile| profile == Profile::Narrow);
        let lead = if !first.is_empty() {
            first
        } else if few && !narrow.is_empty() {
            narrow
        } else {
            compact
        };
        let all = profile.map_or(room.full, |profile| profile == Profile::Wide);
        self.arranged(there, lead, hidden, all || lead.is_empty())
    }

    /// Returns those of `lead` that are `there` and, with `rest`, the others, without those hidden. Some columns are there
    /// only at times: those of changes since a moment marked.
    fn arranged(
        &self,
        there: &[&str],
        lead: &[String],
        hidden: &[String],
        rest: bool,
    ) -> Vec<String> {
        let Front {
            compact, columns, ..
        } = &self.spec.front;
        let listed = |list: &[String], name: &str| list.iter().any(|one| one == name);
        let first = lead.iter().map(String::as_str);
        let usual = compact.iter().map(String::as_str);
        let others = there.iter().copied();
        let others = others.filter(|name| !listed(compact, name));
        let rest = usual.chain(others).filter(|name| {
            let of_detail = columns.get(*name).is_some_and(|column| column.hidden);
            rest && !of_detail && !listed(lead, name)
        });
        let shown = first.chain(rest);
        let shown = shown.filter(|name| there.contains(name) && !listed(hidden, name));
        shown.map(str::to_owned).collect()
    }

    /// Returns all columns that can be shown, and whether each is: those shown in their order, then the others. Columns
    /// chosen one by one keep their place while they are hidden.
    pub fn every_column(&self, room: Room) -> Vec<(String, bool)> {
        let mut known: Vec<&str> = self.spec.order.iter().map(String::as_str).collect();
        for name in self.table.columns.iter() {
            if !known.contains(&&**name) {
                known.push(name);
            }
        }
        let shown = self.shown_of(&known, room);
        let choice = self.cursor.choice.as_deref();
        let own = choice.filter(|choice| choice.has_columns());
        let ordered = own.map_or(&shown, |own| &own.columns);
        let ordered = ordered.iter().map(String::as_str);
        let is_of_detail = |name: &str| {
            let column = self.spec.front.columns.get(name);
            column.is_some_and(|column| column.hidden)
        };
        let mut all: Vec<(String, bool)> = Vec::new();
        for name in ordered.chain(known.iter().copied()) {
            let is_shown = shown.iter().any(|shown| shown == name);
            let listed = all.iter().any(|(other, _)| other == name);
            let can_be = known.contains(&name) && (is_shown || !is_of_detail(name));
            if can_be && !listed {
                all.push((name.to_owned(), is_shown));
            }
        }
        all
    }
}
