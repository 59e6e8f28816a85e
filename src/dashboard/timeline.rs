//! Now and then: the live model, what it was at any moment of the last hour, and which of the two is shown.
//!
//! The live model goes on while somebody looks at the past. A replay has no live model: it shows a tape.

use super::action::Grade;
use super::choices::Choice;
use super::course::Course;
use super::encoded::Encoded;
use super::event::{Effect, Event, Moment, Travel};
use super::model::{Model, PlaybackPosition};
use super::tape::{HOUR_MS, Past, Tape};
use std::sync::Arc;

/// Playback speeds, as multiples of real time.
const SPEEDS: [f64; 7] = [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0];
/// In a replay, milliseconds that the timeline shows after the moment looked at, of the hour that models keep.
const AHEAD_MS: u64 = HOUR_MS / 2;
/// Position of real time in [`SPEEDS`].
const REAL: usize = 2;

/// The models, and the choice of the one shown.
#[derive(Debug)]
pub struct Timeline {
    /// The live model; in a replay, the first one of the tape.
    main: Box<Model>,
    live: bool,
    tape: Tape,
    past: Option<Box<Past>>,
    playing: bool,
    speed: usize,
    /// This program's time, and the milliseconds of the tape that are due but not shown yet.
    now: Moment,
    owed_ms: f64,
}

impl Timeline {
    /// Returns a timeline for a dashboard, keeping its last hour.
    pub fn live(model: Model) -> Self {
        Self {
            main: Box::new(model),
            live: true,
            tape: Tape::new(HOUR_MS),
            past: None,
            playing: false,
            speed: REAL,
            now: Moment::default(),
            owed_ms: 0.0,
        }
    }

    /// Returns a timeline for a replay, playing from the beginning; `None` if the tape is empty.
    pub fn replay(tape: Tape) -> Option<Self> {
        let (first, _) = tape.ends()?;
        let past = tape.at(first.mono_ms)?;
        let mut timeline = Self {
            main: Box::new(past.model.clone()),
            live: false,
            tape,
            past: Some(Box::new(past)),
            playing: true,
            speed: REAL,
            now: Moment::default(),
            owed_ms: 0.0,
        };
        timeline.label();
        Some(timeline)
    }

    /// The model to draw.
    pub fn shown(&self) -> &Model {
        self.past.as_ref().map_or(&self.main, |past| &past.model)
    }

    /// The model to draw, mutable so that it can be marked as drawn.
    pub fn shown_mut(&mut self) -> &mut Model {
        match &mut self.past {
            Some(past) => &mut past.model,
            None => &mut self.main,
        }
    }

    /// The model that events are applied to, even if another one is shown.
    pub fn main(&self) -> &Model {
        &self.main
    }

    /// The recorded events.
    pub fn tape(&self) -> &Tape {
        &self.tape
    }

    /// Copies every further line of the tape for a recording.
    pub fn copy_lines(&mut self) {
        self.tape.copy_lines();
    }

    /// Returns the lines since the last call; none unless they are copied.
    pub fn take_copies(&mut self) -> Vec<Encoded> {
        self.tape.take_copies()
    }

    /// Takes over what belongs to the screen, not to the server, from the one shown before.
    pub fn take_over(&mut self, before: &Self) {
        let (size, theme, mouse) = {
            let before = before.shown();
            (before.size, before.theme, before.mouse)
        };
        for model in self.models() {
            (model.size, model.theme, model.mouse) = (size, theme, mouse);
            model.dirty = true;
        }
        let before = before.shown();
        self.take_choices(|panel| {
            let id = before.feed_named(panel)?;
            before.feed(id)?.cursor.choice.as_ref()
        });
    }

    /// Takes in columns chosen in an earlier run, or on another server.
    pub fn take_choices<'a>(&mut self, of: impl Fn(&str) -> Option<&'a Arc<Choice>>) {
        for model in self.models() {
            model.take_choices(&of);
        }
    }

    /// The live model, and the one of the past that is shown.
    fn models(&mut self) -> impl Iterator<Item = &mut Model> {
        let past = self.past.as_mut().map(|past| &mut past.model);
        past.into_iter().chain([&mut *self.main])
    }

    /// Takes an event in; what is wanted now comes back.
    #[must_use]
    pub fn update(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::KeyPressed(_) | Event::Pasted(_) | Event::MouseUsed { .. } => {
                let interval = self.main.interval;
                let effects = self.shown_mut().update(event);
                if self.live && self.main.interval != interval {
                    let paced = Event::Paced(self.main.interval.as_millis() as u64);
                    let _ = self.tape.tell(&mut self.main, paced);
                }
                self.carry_out(effects)
            }
            Event::Resized { width, height } => {
                if let Some(past) = &mut self.past {
                    let _ = past.model.update(Event::Resized { width, height });
                }
                self.main.update(Event::Resized { width, height })
            }
            Event::Resumed => self.shown_mut().update(event),
            Event::ReportWritten(_) => {
                if let Some(past) = &mut self.past {
                    let _ = past.model.update(event.clone());
                }
                self.main.update(event)
            }
            event => {
                if let Event::Ticked { now, .. } = &event {
                    self.pass(*now);
                }
                if self.live {
                    self.tape.tell(&mut self.main, event)
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// Carries out moves in time and returns the other effects; in the past, none for the server.
    fn carry_out(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let then = self.past.is_some();
        let mut wanted = Vec::new();
        for effect in effects {
            match effect {
                Effect::Travel(travel) => self.travel(travel),
                Effect::Quit
                | Effect::Copy(_)
                | Effect::CaptureMouse(_)
                | Effect::WriteReport { .. }
                | Effect::KeepColumns { .. }
                | Effect::Notify(_)
                | Effect::Show(_)
                | Effect::Suspend => {
                    wanted.push(effect);
                }
                Effect::Sample(_)
                | Effect::ReadHost { .. }
                | Effect::Canary(_)
                | Effect::PacePoints(_)
                | Effect::Act { .. }
                | Effect::Explain { .. }
                | Effect::CancelAction(_)
                | Effect::Reconnect => {
                    if !then {
                        wanted.push(effect);
                    }
                }
            }
        }
        wanted
    }

    /// Advances the past while it plays.
    fn pass(&mut self, now: Moment) {
        let passed_ms = now.mono_ms.saturating_sub(self.now.mono_ms) as f64;
        self.now = now;
        if self.past.is_none() {
            return;
        }
        if self.playing {
            self.owed_ms += passed_ms * SPEEDS.get(self.speed).copied().unwrap_or(1.0);
            let whole = self.owed_ms.floor();
            self.owed_ms -= whole;
            self.go(self.shown().now.mono_ms.saturating_add(whole as u64));
        }
        self.label();
    }

    fn travel(&mut self, travel: Travel) {
        let now_ms = self.shown().now.mono_ms;
        match travel {
            Travel::Step(seconds) => {
                self.playing = false;
                self.go(now_ms.saturating_add_signed(seconds * 1000));
            }
            Travel::Trouble(next) => self.seek_trouble(next),
            Travel::Now => match self.tape.ends() {
                Some((_, last)) if !self.live => self.go(last.mono_ms),
                _ => self.come_back(),
            },
            Travel::Play => {
                self.playing = !self.playing;
                self.owed_ms = 0.0;
            }
            Travel::Speed(faster) => {
                let last = SPEEDS.len() - 1;
                self.speed = if faster {
                    (self.speed + 1).min(last)
                } else {
                    self.speed.saturating_sub(1)
                };
            }
        }
        self.label();
        self.shown_mut().dirty = true;
    }

    fn seek_trouble(&mut self, next: bool) {
        let now_ms = self.shown().now.mono_ms;
        let found = if next {
            self.tape
                .troubles()
                .find(|trouble| trouble.at.mono_ms > now_ms)
        } else {
            let mut before = self.tape.troubles().rev();
            before.find(|trouble| trouble.at.mono_ms < now_ms)
        };
        if let Some(at_ms) = found.map(|trouble| trouble.at.mono_ms) {
            self.playing = false;
            self.go(at_ms);
        } else {
            let what = if next {
                "no trouble after this moment"
            } else {
                "no trouble before this moment"
            };
            self.shown_mut().say(Grade::Doubtful, what);
        }
    }

    /// Shows the moment `mono_ms` and stays there.
    pub fn show(&mut self, mono_ms: u64) {
        self.playing = false;
        self.go(mono_ms);
        self.label();
    }

    /// Shows the moment `mono_ms`; a time after the newest event returns to live.
    fn go(&mut self, mono_ms: u64) {
        let Some((_, last)) = self.tape.ends() else {
            return;
        };
        if mono_ms > last.mono_ms && self.live {
            self.come_back();
            return;
        }
        let shown_ms = self.shown().now.mono_ms;
        let view = self.shown().view_state();
        let near = match &mut self.past {
            Some(past) if mono_ms >= shown_ms => {
                past.advance(&self.tape, mono_ms);
                true
            }
            Some(past) => past.go_back(&self.tape, mono_ms),
            None => false,
        };
        if !near && let Some(past) = self.tape.at(mono_ms) {
            self.past = Some(Box::new(past));
        }
        let ahead = self.ahead(mono_ms);
        if let Some(past) = &mut self.past {
            past.model.look_like(view);
            past.model.history.course.ahead = ahead;
        }
        if mono_ms >= last.mono_ms {
            self.playing = false;
        }
        self.shown_mut().dirty = true;
    }

    /// Returns what came after a moment, for the timeline of the past.
    fn ahead(&self, mono_ms: u64) -> Option<Arc<Course>> {
        if self.live {
            return Some(self.main.history.course.shared());
        }
        self.tape.after(mono_ms.saturating_add(AHEAD_MS))
    }

    /// Shows now again, with what the user was at.
    fn come_back(&mut self) {
        if let Some(past) = self.past.take() {
            self.main.look_like(past.model.view_state());
        }
        self.main.dirty = true;
    }

    /// Sets the playback position of the past model.
    fn label(&mut self) {
        let ends = self.tape.ends();
        let newest = self.live.then_some(self.now);
        let speed = self
            .playing
            .then(|| SPEEDS.get(self.speed).copied().unwrap_or(1.0));
        if let (Some(past), Some((first, last))) = (&mut self.past, ends) {
            let end = newest.unwrap_or(last);
            let then = PlaybackPosition {
                ago_s: end.since(past.model.now),
                since_first_s: past.model.now.since(first),
                whole_s: last.since(first),
                speed,
                replay: !self.live,
            };
            past.model.dirty |= past.model.playback != Some(then);
            past.model.playback = Some(then);
        }
    }
}
