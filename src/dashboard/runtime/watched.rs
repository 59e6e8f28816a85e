//! The watched servers: the one shown, and those in the background.

use super::writer::RecordingWriter;
use super::{checked, logged};
use crate::dashboard::choices::Choices;
use crate::dashboard::diagnosis::Health;
use crate::dashboard::event::{Effect, Event, Show};
use crate::dashboard::model::Link;
use crate::dashboard::tabs::{Order, Tab};
use crate::dashboard::timeline::Timeline;
use crate::text::Clean;
use std::sync::Arc;

/// An effect, and the number of the server whose model requests it.
pub(super) struct Asked {
    pub server: usize,
    pub effect: Effect,
}

/// A server with its past and its recording.
pub(super) struct Server {
    /// Its number, from 1.
    pub number: usize,
    pub timeline: Timeline,
    pub recorder: Option<RecordingWriter>,
    /// True if there ever was a connection.
    pub connected: bool,
}

impl Server {
    /// Passes an event to the model, and records it if a recording is made.
    pub(super) fn tell(&mut self, event: Event) -> Vec<Asked> {
        let event = checked(event, self.timeline.main());
        logged::event(&event, self.timeline.main());
        let ticked = matches!(event, Event::Ticked { .. });
        let mut effects = self.timeline.update(event);
        self.record();
        let news = match &mut self.recorder {
            Some(recorder) if ticked => recorder.news(),
            _ => return self.asked(effects),
        };
        let news = news.unwrap_or_else(|why| {
            self.recorder = None;
            vec![Event::Unrecorded(0), Event::Warned(Clean::from(why))]
        });
        for event in news {
            effects.extend(self.timeline.update(event));
        }
        self.record();
        self.asked(effects)
    }

    fn asked(&mut self, effects: Vec<Effect>) -> Vec<Asked> {
        self.connected |= matches!(self.timeline.main().fast, Link::Live(_));
        let server = self.number;
        let asked = effects.into_iter();
        asked.map(|effect| Asked { server, effect }).collect()
    }

    fn record(&mut self) {
        let lines = self.timeline.take_copies();
        if let Some(recorder) = &mut self.recorder {
            for line in &lines {
                recorder.note(line);
            }
        }
    }
}

/// All servers.
pub(super) struct Servers {
    /// The one on the screen.
    pub shown: Server,
    /// Those in the background.
    pub others: Vec<Server>,
    order: Order,
}

impl Servers {
    /// The first server is shown.
    pub(super) fn new(shown: Server, others: Vec<Server>) -> Self {
        let order = Order::new(1 + others.len());
        Self {
            shown,
            others,
            order,
        }
    }

    fn all(&self) -> impl Iterator<Item = &Server> {
        std::iter::once(&self.shown).chain(&self.others)
    }

    /// The server with this number.
    pub(super) fn of(&self, number: usize) -> Option<&Server> {
        self.all().find(|server| server.number == number)
    }

    /// Takes in columns chosen in earlier runs.
    pub(super) fn take_choices(&mut self, choices: &Choices) {
        for server in std::iter::once(&mut self.shown).chain(&mut self.others) {
            server.timeline.take_choices(|panel| choices.of(panel));
        }
    }

    /// Returns true if there ever was a connection to any of them.
    pub(super) fn were_connected(&self) -> bool {
        self.all().any(|server| server.connected)
    }

    /// Puts all but the shown one in the background.
    pub(super) fn begin(&mut self) -> Vec<Asked> {
        let others = self.others.iter_mut();
        others
            .flat_map(|server| server.tell(Event::Background(true)))
            .collect()
    }

    /// Passes an event to the models it concerns: time passes for all, the user means the server shown.
    pub(super) fn tell(&mut self, event: Event) -> Vec<Asked> {
        let mut asked = Vec::new();
        match &event {
            Event::Ticked { .. } | Event::Resized { .. } => {
                for server in &mut self.others {
                    asked.extend(server.tell(event.clone()));
                }
            }
            _ => {}
        }
        for wish in self.shown.tell(event) {
            match wish.effect {
                // At once: the next key is meant for that server.
                Effect::Show(which) => asked.extend(self.show(which)),
                _ => asked.push(wish),
            }
        }
        asked
    }

    /// Passes an event of a server to its model.
    pub(super) fn tell_one(&mut self, number: usize, event: Event) -> Vec<Asked> {
        let mut all = std::iter::once(&mut self.shown).chain(&mut self.others);
        let server = all.find(|server| server.number == number);
        server.map_or_else(Vec::new, |server| server.tell(event))
    }

    /// Shows another server.
    fn show(&mut self, which: Show) -> Vec<Asked> {
        self.order.touch(self.shown.timeline.main().now);
        let number = match which {
            Show::Number(number) => Some(number),
            Show::Step(step) => self.order.after(self.shown.number, step),
        };
        let found = |server: &&mut Server| Some(server.number) == number;
        let Some(next) = self.others.iter_mut().find(found) else {
            return Vec::new();
        };
        self.shown.timeline.shown_mut().leave();
        next.timeline.take_over(&self.shown.timeline);
        std::mem::swap(&mut self.shown, next);
        let mut asked = next.tell(Event::Background(true));
        asked.extend(self.shown.tell(Event::Background(false)));
        asked
    }

    /// Writes the row of tabs anew; nothing if there is only one server.
    pub(super) fn write_tabs(&mut self) {
        if self.others.is_empty() {
            return;
        }
        let tabs: Vec<Tab> = self
            .all()
            .filter_map(|server| {
                let shown = server.number == self.shown.number;
                server.timeline.main().tab(shown)
            })
            .collect();
        let of = |number: usize| tabs.iter().find(|tab| tab.place.number == number);
        let now = self.shown.timeline.main().now;
        self.order.settle(now, |number| {
            of(number).map_or(Health::Unknown, |tab| tab.health)
        });
        let ordered = self.order.numbers().iter();
        let ordered: Arc<[Tab]> = ordered.filter_map(|number| of(*number).cloned()).collect();
        self.shown.timeline.shown_mut().set_tabs(&ordered);
    }
}
