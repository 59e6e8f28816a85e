//! Text input: the filter, and the answer to a confirmation.

use super::{Model, Popup};
use crate::dashboard::action::Grade;
use crate::dashboard::event::{Effect, Key};
use crate::dashboard::feed::Filter;
use crate::keys::Command;

/// Maximum length of a filter, in characters.
const FILTER_CAP: usize = 200;

impl Model {
    /// Handles a key while a filter is edited.
    pub(super) fn prompt_key(&mut self, command: Option<Command>, key: Key) {
        let Some((mut text, _)) = self.prompt.take() else {
            return;
        };
        match (command, key) {
            (Some(Command::Accept), _) if self.apply_filter(&text).is_none() => return,
            (Some(Command::Discard), _) => {
                let _ = self.apply_filter("");
                return;
            }
            (Some(Command::Erase), _) => {
                text.pop();
            }
            (Some(Command::EraseAll), _) => text.clear(),
            (None, Key::Char(c)) if text.len() < FILTER_CAP => text.push(c),
            _ => {}
        }
        let complaint = self.apply_filter(&text);
        self.prompt = Some((text, complaint));
    }

    /// Filters the focused feed; returns the error in the expression, if any.
    fn apply_filter(&mut self, text: &str) -> Option<String> {
        let filter = if text.is_empty() || text == "!" {
            Ok(None)
        } else {
            Filter::parse(text).map(Some)
        };
        match filter {
            Err(complaint) => Some(complaint),
            Ok(filter) => {
                self.focused(|feed| {
                    feed.cursor.filter = filter;
                    feed.cursor.offset = 0;
                    feed.arrange();
                });
                None
            }
        }
    }

    pub(super) fn paste(&mut self, text: &str) -> Vec<Effect> {
        // Pasted text is never interpreted as keys that act.
        if self.prompt.is_some() {
            for c in text.chars().filter(|c| !c.is_control()).take(FILTER_CAP) {
                self.prompt_key(None, Key::Char(c));
            }
            self.dirty = true;
        }
        Vec::new()
    }

    /// Handles a key while a confirmation is open. Every other key means no.
    pub(super) fn confirm_key(&mut self, command: Option<Command>, key: Key) -> Vec<Effect> {
        let Some(Popup::Confirm(mut confirm)) = self.popup.take() else {
            return Vec::new();
        };
        match (command, key, confirm.number) {
            (Some(Command::Confirm), _, None) => return self.confirmed(confirm),
            (Some(Command::Accept), _, Some(number)) if confirm.typed == number.to_string() => {
                return self.confirmed(confirm);
            }
            (Some(Command::Accept), _, Some(_)) => {}
            (Some(Command::Erase), _, Some(_)) => {
                confirm.typed.pop();
            }
            (None, Key::Char(c), Some(_)) if c.is_ascii_digit() && confirm.typed.len() < 6 => {
                confirm.typed.push(c);
            }
            _ => {
                self.say(Grade::Doubtful, "nothing was sent");
                return Vec::new();
            }
        }
        self.popup = Some(Popup::Confirm(confirm));
        Vec::new()
    }
}
