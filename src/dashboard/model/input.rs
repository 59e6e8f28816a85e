//! Keys, mouse and paste: cursor movement and navigation.

use super::{Model, Popup, Screen};
use super::{layout, popups};
use crate::dashboard::action::Grade;
use crate::dashboard::cell;
use crate::dashboard::event::{Effect, Key, Mouse, Show, Travel};
use crate::dashboard::feed::{Feed, Room};
use crate::format;
use crate::keys::{Command, Place};
use std::time::Duration;

/// Intervals that `+` and `-` step through, in milliseconds.
const INTERVALS_MS: [u64; 9] = [
    250, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 300_000,
];
impl Model {
    pub(super) fn key(&mut self, key: Key) -> Vec<Effect> {
        let effects = self.pressed(key);
        self.list_bars();
        effects
    }

    fn pressed(&mut self, key: Key) -> Vec<Effect> {
        self.dirty = true;
        let place = self.place();
        let command = self.config.keys.command(place, key);
        match (place, command) {
            (_, Some(Command::Quit | Command::Suspend)) | (Place::Screen, _) => {}
            (Place::Editing, _) if self.prompt.is_some() => {
                self.prompt_key(command, key);
                return Vec::new();
            }
            (Place::Columns, _) => return self.chooser_key(command),
            (Place::Question | Place::Editing, _) => return self.confirm_key(command, key),
        }
        let list = matches!(self.popup, Some(Popup::Panels { .. }));
        if list && let Some(id) = self.feed_with(|feed| feed.listed.contains(&key)) {
            self.popup = None;
            self.focus = id;
            self.screen = Screen::Full(id);
            // The panel may not have been sampled while it was hidden.
            return self.sample_due();
        }
        if let (Some(Popup::Servers { .. }), Key::Char(c)) = (&self.popup, key)
            && let Some(digit) = c.to_digit(10)
        {
            return self.show_server(Show::Number(digit as usize));
        }
        if let Some(command) = command {
            return self.command(command);
        }
        if let Some(id) = self.feed_with(|feed| feed.direct.contains(&key)) {
            self.open_panel(id);
        }
        Vec::new()
    }

    /// Returns the place whose meaning keys have now.
    fn place(&self) -> Place {
        match &self.popup {
            _ if self.prompt.is_some() => Place::Editing,
            Some(Popup::Confirm(confirm)) if confirm.number.is_some() => Place::Editing,
            Some(Popup::Confirm(_)) => Place::Question,
            Some(Popup::Columns(_)) => Place::Columns,
            _ => Place::Screen,
        }
    }

    /// Carries out a command.
    #[expect(clippy::too_many_lines, reason = "an arm per command")]
    pub(super) fn command(&mut self, command: Command) -> Vec<Effect> {
        match command {
            Command::Open | Command::Filter | Command::Tag | Command::Columns
                if self.popup.is_some() && !matches!(self.popup, Some(Popup::Columns(_))) => {}
            Command::Quit => return vec![Effect::Quit],
            Command::Suspend => return vec![Effect::Suspend],
            Command::Reconnect => return self.reconnect(),
            Command::Copy => return self.copy(),
            Command::Refresh => self.ask_refresh(),
            Command::RefreshAll => self.ask_refresh_all(),
            Command::Cancel => self.ask_cancel(),
            Command::Terminate => self.ask_terminate(),
            Command::CancelOldOlap => self.ask_cancel_old_olap(),
            Command::Measure => self.ask_measure(),
            Command::PauseRelay => self.ask_pause_relay(),
            Command::Explain => return self.ask_explain(),
            Command::Guard => return self.toggle_guard(),
            Command::WriteReport => return self.write_report(),
            Command::Mouse => return self.toggle_mouse(),
            Command::Help => self.toggle_popup(Popup::Help { scroll: 0 }),
            Command::Log => self.toggle_popup(Popup::Log { scroll: usize::MAX }),
            Command::Mark => return self.toggle_baseline(),
            Command::Changes => return self.show_changes(),
            Command::Why => self.toggle_popup(Popup::Why { scroll: 0 }),
            Command::Servers if !self.tabs.is_empty() => {
                self.toggle_popup(Popup::Servers { scroll: 0 });
            }
            Command::Servers => return self.show_server(Show::Step(0)),
            Command::NextServer => return self.show_server(Show::Step(1)),
            Command::PreviousServer => return self.show_server(Show::Step(-1)),
            Command::ListPanels => self.toggle_popup(Popup::Panels { scroll: 0 }),
            Command::Back => return self.back(),
            Command::Open => return self.open(),
            Command::SecondBack => return vec![Effect::Travel(Travel::Step(-1))],
            Command::SecondForward => return vec![Effect::Travel(Travel::Step(1))],
            Command::MinuteBack => return vec![Effect::Travel(Travel::Step(-60))],
            Command::MinuteForward => return vec![Effect::Travel(Travel::Step(60))],
            Command::PreviousTrouble => return vec![Effect::Travel(Travel::Trouble(false))],
            Command::NextTrouble => return vec![Effect::Travel(Travel::Trouble(true))],
            Command::TimelineSpan => self.widen_timeline(),
            Command::TimelineSplit => self.split_timeline(),
            Command::Pause => return self.pause(),
            Command::LongerInterval => return self.change_pace(1),
            Command::ShorterInterval => return self.change_pace(-1),
            Command::NextTheme => self.theme = (self.theme + 1) % self.start.themes.len().max(1),
            Command::Overview => self.show_page(Screen::Overview),
            Command::MorePanels => self.toggle_more(),
            Command::NextPanel => self.step_focus(1),
            Command::PreviousPanel => self.step_focus(-1),
            Command::Filter => self.edit_filter(),
            Command::NextRow => self.go(Step::Rows(1)),
            Command::PreviousRow => self.go(Step::Rows(-1)),
            Command::PageDown => self.go(Step::Pages(1)),
            Command::PageUp => self.go(Step::Pages(-1)),
            Command::FirstRow => self.go(Step::Rows(i32::MIN)),
            Command::LastRow => self.go(Step::Rows(i32::MAX)),
            Command::ScrollRight => self.scroll_columns(1),
            Command::ScrollLeft => self.scroll_columns(-1),
            Command::SortRight => self.step_sort(1),
            Command::SortLeft => self.step_sort(-1),
            Command::ReverseSort => self.reverse_sort(),
            Command::Columns => self.toggle_chooser(),
            Command::Tag => self.toggle_tag(),
            // These keys mean something only while a question or the chooser is open, or text is typed.
            Command::ShowColumn
            | Command::ColumnLeft
            | Command::ColumnRight
            | Command::SortByColumn
            | Command::NextProfile
            | Command::ResetColumns
            | Command::Confirm
            | Command::Accept
            | Command::Discard
            | Command::Erase
            | Command::EraseAll => {}
        }
        Vec::new()
    }

    fn reconnect(&mut self) -> Vec<Effect> {
        let mut effects = vec![Effect::Reconnect];
        effects.extend(self.try_refused_again());
        effects
    }

    fn toggle_mouse(&mut self) -> Vec<Effect> {
        self.mouse = !self.mouse;
        vec![Effect::CaptureMouse(self.mouse)]
    }

    fn pause(&mut self) -> Vec<Effect> {
        if self.playback.is_some() {
            return vec![Effect::Travel(Travel::Play)];
        }
        self.paused = !self.paused;
        Vec::new()
    }

    /// Changes the interval, or the speed of playback.
    fn change_pace(&mut self, step: i32) -> Vec<Effect> {
        if self.playback.is_some() {
            return vec![Effect::Travel(Travel::Speed(step > 0))];
        }
        self.step_interval(step);
        Vec::new()
    }

    fn edit_filter(&mut self) {
        let text = self.focused(|feed| {
            let filter = feed.cursor.filter.as_ref();
            filter.map(|filter| filter.text.clone())
        });
        self.prompt = Some((text.flatten().unwrap_or_default(), None));
    }

    /// Moves the selection, or scrolls the popup.
    fn go(&mut self, step: Step) {
        if self.popup.is_some() {
            self.scroll_popup(step);
            return;
        }
        let page = layout::page_rows(self).max(1) as i32;
        self.move_selection(step.rows(page));
    }

    fn scroll_columns(&mut self, step: isize) {
        self.focused(|feed| {
            let last = feed.columns(Room::ALL).len().saturating_sub(1);
            let columns = &mut feed.cursor.column_offset;
            *columns = columns.saturating_add_signed(step).min(last);
        });
    }

    fn toggle_tag(&mut self) {
        self.focused(Feed::toggle_tag);
        self.move_selection(1);
    }

    pub(super) fn focused<T>(&mut self, act: impl FnOnce(&mut Feed) -> T) -> Option<T> {
        self.feed_mut(self.focus).map(act)
    }

    fn toggle_popup(&mut self, popup: Popup) {
        let same = self
            .popup
            .as_ref()
            .is_some_and(|open| std::mem::discriminant(open) == std::mem::discriminant(&popup));
        self.popup = if same { None } else { Some(popup) };
    }

    fn move_selection(&mut self, step: i32) {
        let page = layout::page_rows(self).max(1);
        self.focused(|feed| {
            feed.select(feed.cursor.selected.saturating_add_signed(step as isize));
            let cursor = &mut feed.cursor;
            cursor.offset = cursor
                .offset
                .min(cursor.selected)
                .max((cursor.selected + 1).saturating_sub(page));
        });
    }

    fn scroll_popup(&mut self, step: Step) {
        let page = usize::from(self.size.1).saturating_sub(6).max(1) as i32;
        if let Some(Popup::Columns(_)) = self.popup {
            self.select_column(step.rows(page));
            return;
        }
        let length = popups::lines(self).len();
        let Some(scroll) = self.popup.as_mut().and_then(Popup::scroll_mut) else {
            return;
        };
        let last = length.saturating_sub(1);
        *scroll = (*scroll)
            .min(last)
            .saturating_add_signed(step.rows(page) as isize)
            .min(last);
    }

    fn step_sort(&mut self, step: i32) {
        self.focused(|feed| {
            let columns = feed.columns(Room::ALL);
            let at = feed
                .cursor
                .sort
                .as_ref()
                .and_then(|(name, _)| columns.iter().position(|column| **column == **name));
            let next = match at {
                Some(at) => at
                    .saturating_add_signed(step as isize)
                    .min(columns.len().saturating_sub(1)),
                None if step > 0 => 0,
                None => columns.len().saturating_sub(1),
            };
            if let Some(name) = columns.get(next) {
                let numeric = feed.is_numeric(name);
                feed.cursor.sort = Some((name.as_str().into(), numeric));
                feed.arrange();
            }
        });
    }

    fn reverse_sort(&mut self) {
        self.focused(|feed| {
            let sort = feed.cursor.sort.as_ref();
            let numeric_first = sort.is_some_and(|(name, _)| feed.is_numeric(name));
            feed.cursor.sort = match feed.cursor.sort.take() {
                // After the reversed order comes the feed's own order, the worst first.
                Some((_, descending)) if descending != numeric_first => None,
                Some((name, descending)) => Some((name, !descending)),
                None => None,
            };
            feed.arrange();
        });
    }

    fn step_interval(&mut self, step: i32) {
        let current = self.interval.as_millis() as u64;
        let next = if step > 0 {
            INTERVALS_MS.iter().find(|ms| **ms > current)
        } else {
            INTERVALS_MS.iter().rev().find(|ms| **ms < current)
        };
        if let Some(ms) = next {
            self.interval = Duration::from_millis(*ms);
            let text = format!("interval {}", format::seconds(self.interval.as_secs_f64()));
            self.say(Grade::Good, &text);
        }
    }

    fn copy(&mut self) -> Vec<Effect> {
        let text = match &self.popup {
            Some(_) => Some(popups::lines(self).join("\n")),
            None => self.feed(self.focus).and_then(|feed| {
                let query = feed.selected("query").text().map(str::to_owned);
                let row = feed.table.rows.get(feed.selected_row()?)?;
                let cells = feed.table.columns.iter().zip(row);
                let cells = cells.map(|(name, cell)| {
                    cell::cell(cell, &feed.spec.column(name), self.start.utc_offset_s)
                });
                Some(query.unwrap_or_else(|| {
                    cells
                        .map(|cell| cell.text.into_owned())
                        .collect::<Vec<_>>()
                        .join("\t")
                }))
            }),
        };
        match text {
            Some(text) => {
                self.say(Grade::Good, "copied, if the terminal allows it (OSC 52)");
                vec![Effect::Copy(text)]
            }
            None => Vec::new(),
        }
    }

    pub(super) fn mouse_used(&mut self, action: Mouse, x: u16, y: u16) -> Vec<Effect> {
        self.dirty = true;
        if self.popup.is_some() {
            let step = if action == Mouse::ScrollUp { -3 } else { 3 };
            if action != Mouse::Click {
                self.scroll_popup(Step::Rows(step));
            }
            return Vec::new();
        }
        if let (Mouse::Click, Some(number)) = (action, layout::tab_at(self, x, y)) {
            return self.show_server(Show::Number(number));
        }
        let Some((id, row)) = layout::hit(self, x, y) else {
            return Vec::new();
        };
        self.focus = id;
        match action {
            Mouse::ScrollDown => self.move_selection(3),
            Mouse::ScrollUp => self.move_selection(-3),
            Mouse::Click => {
                if let Some(row) = row {
                    self.focused(|feed| feed.select(feed.cursor.offset + row));
                }
            }
        }
        Vec::new()
    }
}

/// A distance.
#[derive(Clone, Copy)]
enum Step {
    Rows(i32),
    Pages(i32),
}

impl Step {
    /// Returns it in rows, with `page` rows on a page.
    fn rows(self, page: i32) -> i32 {
        match self {
            Self::Rows(rows) => rows,
            Self::Pages(pages) => pages * page,
        }
    }
}
