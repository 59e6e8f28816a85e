//! Pages: the Overview, the other business panels, a panel in full screen.

use super::layout;
use super::{Model, Screen};
use crate::dashboard::event::{Effect, FeedId, Travel};
use crate::dashboard::feed::Feed;
use crate::dashboard::rows::Panel;
use crate::keys::Command;

impl Model {
    /// Returns true if there is nothing for Esc to close or clear.
    fn is_at_top(&self) -> bool {
        let filtered = self
            .feed(self.focus)
            .is_some_and(|feed| feed.cursor.filter.is_some());
        self.popup.is_none() && !filtered && self.screen == Screen::Overview
    }

    pub(super) fn back(&mut self) -> Vec<Effect> {
        if self.is_at_top() && self.playback.is_some_and(|then| !then.replay) {
            return vec![Effect::Travel(Travel::Now)];
        }
        if self.popup.take().is_some() {
            return Vec::new();
        }
        let filtered = self.focused(|feed| {
            let filtered = feed.cursor.filter.take().is_some();
            if filtered {
                feed.arrange();
            }
            filtered
        });
        if filtered != Some(true) {
            self.screen = match self.screen {
                Screen::Full(id) if self.feed(id).is_some_and(Feed::is_extra) => Screen::More,
                _ => Screen::Overview,
            };
        }
        self.keep_focus_on_screen();
        Vec::new()
    }

    /// Opens the panel full screen, or returns from it to the Overview.
    pub(super) fn open_panel(&mut self, id: FeedId) {
        if self.screen == Screen::Full(id) {
            self.show_page(Screen::Overview);
        } else {
            self.focus = id;
            self.show_page(Screen::Full(id));
        }
    }

    pub(super) fn toggle_more(&mut self) {
        self.show_page(match self.screen {
            Screen::More => Screen::Overview,
            _ => Screen::More,
        });
    }

    pub(super) fn show_page(&mut self, page: Screen) {
        self.popup = None;
        self.screen = page;
        self.keep_focus_on_screen();
    }

    /// Returns the visible panel that `has` the key.
    pub(super) fn feed_with(&self, has: impl Fn(&Feed) -> bool) -> Option<FeedId> {
        let mut visible = self.visible();
        visible.find(|(_, feed)| has(feed)).map(|(id, _)| id)
    }

    /// Returns the keys that open the panel called `name`, as shown in a sentence: `8`, `p s`.
    pub(super) fn way_to(&self, name: &str) -> String {
        let feed = self.feed_named(name).and_then(|id| self.feed(id));
        let keys = &self.config.keys;
        match feed.map(|feed| (feed.direct.first(), feed.listed.first())) {
            Some((Some(key), _)) => key.shown(),
            Some((None, Some(key))) => {
                format!("{} {}", keys.shown(Command::ListPanels), key.shown())
            }
            Some((None, None)) => keys.shown(Command::MorePanels),
            None => name.to_owned(),
        }
    }

    /// Moves the focus to a panel of the page after the page has changed.
    fn keep_focus_on_screen(&mut self) {
        let panels = layout::panels(self);
        if !panels.contains(&self.focus) {
            let wanted = self.id_of(Panel::Activity).filter(|id| panels.contains(id));
            self.focus = wanted.or(panels.first().copied()).unwrap_or(self.focus);
        }
    }

    pub(super) fn step_focus(&mut self, step: i32) {
        if let Screen::Full(_) = self.screen {
            let all: Vec<FeedId> = self.visible().map(|(id, _)| id).collect();
            self.focus = stepped(&all, self.focus, step);
            self.screen = Screen::Full(self.focus);
        } else {
            self.focus = stepped(&layout::panels(self), self.focus, step);
        }
    }

    pub(super) fn open(&mut self) -> Vec<Effect> {
        let id = self.focus;
        if self.screen == Screen::Full(id) {
            return self.open_bar().unwrap_or_else(|| self.open_detail());
        }
        self.screen = Screen::Full(id);
        Vec::new()
    }
}

/// Returns the element `step` places after `current`, wrapping around.
fn stepped(all: &[FeedId], current: FeedId, step: i32) -> FeedId {
    let length = all.len() as i32;
    if length == 0 {
        return current;
    }
    let at = all
        .iter()
        .position(|id| *id == current)
        .map_or(if step > 0 { -1 } else { 0 }, |at| at as i32);
    all.get((at + step).rem_euclid(length) as usize)
        .copied()
        .unwrap_or(current)
}
