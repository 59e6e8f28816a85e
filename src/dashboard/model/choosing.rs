//! The chooser of a panel's columns.

use super::popup::Chooser;
use super::{Model, Popup, Screen};
use crate::config::Profile;
use crate::dashboard::action::Grade;
use crate::dashboard::choices::Choice;
use crate::dashboard::event::{Effect, FeedId};
use crate::dashboard::feed::Room;
use crate::keys::Command;
use std::sync::Arc;

/// Screens of fewer columns are narrow.
const NARROW: u16 = 100;

/// A column in the chooser.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnLine {
    /// Its name in the panel file.
    pub name: String,
    /// Its heading.
    pub title: String,
    /// What it means; empty if the panel file does not say it.
    pub help: String,
    /// True if it is shown.
    pub shown: bool,
    /// True for descending, if rows are sorted by it.
    pub sorted: Option<bool>,
}

impl Model {
    /// The room for tables on the page.
    pub fn room(&self) -> Room {
        Room {
            narrow: self.size.0 < NARROW,
            full: matches!(self.screen, Screen::Full(_)),
        }
    }

    /// Takes in columns chosen in an earlier run, or on another server.
    pub fn take_choices<'a>(&mut self, of: impl Fn(&str) -> Option<&'a Arc<Choice>>) {
        for feed in &mut self.feeds {
            let choice = of(&feed.spec.name).cloned();
            if feed.cursor.choice != choice {
                feed.take_choice(choice);
            }
        }
    }

    /// Opens the chooser for the focused panel, or closes it.
    pub(super) fn toggle_chooser(&mut self) {
        self.popup = match self.popup {
            Some(Popup::Columns(_)) => None,
            _ => Some(Popup::Columns(Chooser {
                panel: self.focus,
                selected: 0,
            })),
        };
    }

    /// The columns of a panel, as the chooser lists them.
    pub fn column_lines(&self, panel: FeedId) -> Vec<ColumnLine> {
        let Some(feed) = self.feed(panel) else {
            return Vec::new();
        };
        let columns = feed.every_column(self.room()).into_iter();
        let lines = columns.map(|(name, shown)| {
            let column = feed.spec.column(&name);
            let sort = feed.cursor.sort.as_ref();
            ColumnLine {
                title: column.heading(&name).to_owned(),
                sorted: sort
                    .filter(|(sorted, _)| **sorted == *name)
                    .map(|(_, descending)| *descending),
                help: column.help,
                shown,
                name,
            }
        });
        lines.collect()
    }

    /// Names the choices of profiles for a panel, each with true if it is the one in effect.
    pub fn profiles(&self, panel: FeedId) -> Vec<(&'static str, bool)> {
        let Some(feed) = self.feed(panel) else {
            return Vec::new();
        };
        let choice = feed.cursor.choice.as_deref();
        let profile = choice.and_then(|choice| choice.profile);
        let first = match choice {
            Some(choice) if !choice.columns.is_empty() => "own",
            _ if feed.is_configured() => "as configured",
            _ => "by width",
        };
        let others = Profile::ALL.map(|one| (one.name(), profile == Some(one)));
        std::iter::once((first, profile.is_none()))
            .chain(others)
            .collect()
    }

    /// Carries out a key while the chooser is open.
    pub(super) fn chooser_key(&mut self, command: Option<Command>) -> Vec<Effect> {
        let Some(Popup::Columns(chooser)) = self.popup else {
            return Vec::new();
        };
        match command {
            Some(Command::ShowColumn) => self.show_column(chooser),
            Some(Command::ColumnLeft) => self.move_column(chooser, -1),
            Some(Command::ColumnRight) => self.move_column(chooser, 1),
            Some(Command::SortByColumn) => self.sort_by_column(chooser),
            Some(Command::NextProfile) => self.next_profile(chooser),
            Some(Command::ResetColumns) => {
                let configured = Choice::default();
                self.set_choice(chooser.panel, configured)
            }
            Some(other) => self.command(other),
            None => Vec::new(),
        }
    }

    /// Moves the selection of the chooser.
    pub(super) fn select_column(&mut self, step: i32) {
        let Some(Popup::Columns(chooser)) = self.popup else {
            return;
        };
        let last = self.column_lines(chooser.panel).len().saturating_sub(1);
        let selected = chooser.selected.saturating_add_signed(step as isize);
        self.popup = Some(Popup::Columns(Chooser {
            selected: selected.min(last),
            ..chooser
        }));
    }

    fn show_column(&mut self, chooser: Chooser) -> Vec<Effect> {
        let mut lines = self.column_lines(chooser.panel);
        let shown = lines.iter().filter(|line| line.shown).count();
        let Some(line) = lines.get_mut(chooser.selected) else {
            return Vec::new();
        };
        if line.shown && shown == 1 {
            self.say(Grade::Doubtful, "one column stays shown");
            return Vec::new();
        }
        line.shown = !line.shown;
        self.choose_lines(chooser, lines)
    }

    fn move_column(&mut self, chooser: Chooser, step: isize) -> Vec<Effect> {
        let mut lines = self.column_lines(chooser.panel);
        let to = chooser.selected.saturating_add_signed(step);
        if to == chooser.selected || chooser.selected.max(to) >= lines.len() {
            return Vec::new();
        }
        lines.swap(chooser.selected, to);
        self.choose_lines(chooser, lines)
    }

    fn choose_lines(&mut self, chooser: Chooser, lines: Vec<ColumnLine>) -> Vec<Effect> {
        let hidden = lines.iter().filter(|line| !line.shown);
        let hide = hidden.map(|line| line.name.clone()).collect();
        let choice = Choice {
            profile: None,
            hide,
            columns: lines.into_iter().map(|line| line.name).collect(),
            ..self.choice(chooser.panel)
        };
        self.set_choice(chooser.panel, choice)
    }

    fn sort_by_column(&mut self, chooser: Chooser) -> Vec<Effect> {
        let lines = self.column_lines(chooser.panel);
        let (Some(line), Some(feed)) = (lines.get(chooser.selected), self.feed(chooser.panel))
        else {
            return Vec::new();
        };
        let descending = match line.sorted {
            Some(descending) => !descending,
            None => feed.is_numeric(&line.name),
        };
        let sort = if descending { "-" } else { "" };
        let choice = Choice {
            sort: format!("{sort}{}", line.name),
            ..self.choice(chooser.panel)
        };
        self.set_choice(chooser.panel, choice)
    }

    fn next_profile(&mut self, chooser: Chooser) -> Vec<Effect> {
        let choice = self.choice(chooser.panel);
        let [narrow, usual, wide] = Profile::ALL;
        let next = match choice.profile {
            None => Some(narrow),
            Some(Profile::Narrow) => Some(usual),
            Some(Profile::Usual) => Some(wide),
            Some(Profile::Wide) => None,
        };
        let choice = Choice {
            profile: next,
            ..choice
        };
        self.set_choice(chooser.panel, choice)
    }

    fn choice(&self, panel: FeedId) -> Choice {
        let choice = self
            .feed(panel)
            .and_then(|feed| feed.cursor.choice.as_deref());
        choice.cloned().unwrap_or_default()
    }

    /// Sets what is chosen for a panel and has it kept.
    fn set_choice(&mut self, panel: FeedId, choice: Choice) -> Vec<Effect> {
        // The selection stays on its column.
        let selected = match self.popup {
            Some(Popup::Columns(chooser)) => chooser.selected,
            _ => 0,
        };
        let lines = self.column_lines(panel);
        let name = lines.get(selected).map(|line| line.name.clone());
        let Some(feed) = self.feed_mut(panel) else {
            return Vec::new();
        };
        feed.take_choice(Some(Arc::new(choice)));
        feed.cursor.column_offset = 0;
        let effect = Effect::KeepColumns {
            panel: feed.spec.name.clone(),
            choice: feed.cursor.choice.as_deref().cloned(),
        };
        let lines = self.column_lines(panel);
        let found = lines
            .iter()
            .position(|line| Some(&line.name) == name.as_ref());
        if let (Some(Popup::Columns(chooser)), Some(found)) = (&mut self.popup, found) {
            chooser.selected = found;
        }
        vec![effect]
    }
}
