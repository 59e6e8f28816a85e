//! Sources of events: keyboard, signals, sessions and clock.

use super::clock::Clock;
use super::effects::EffectRunner;
use super::signals::{SignalEvent, Signals};
use super::watched::{Asked, Servers};
use crate::dashboard::event::Event;
use std::future::poll_fn;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, Interval, sleep_until};

/// Urgency of the frame after an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The user waits for a reaction.
    Urgent,
    /// Time has passed.
    Tick,
    /// Data arrived, and more of the same moment may follow.
    Other,
}

/// The next thing to do.
pub(super) enum Next {
    /// An event to apply.
    Event(Event, Kind),
    /// An event of the server with this number.
    Told(usize, Event),
    /// A frame to draw.
    Frame,
    /// The program was asked to stop, as by a shell's Ctrl-Z.
    Suspend,
}

/// The sources of events.
pub(super) struct EventSource {
    pub inbox: Receiver<Event>,
    pub signals: Signals,
    pub runners: Runners,
    /// Results of reports and notifications, with the numbers of their servers.
    pub told: Receiver<(usize, Event)>,
    pub clock: Clock,
    pub ticker: Interval,
}

impl EventSource {
    /// Waits for the next event; `None` if the program is to end. If something is `dirty`, a frame is due at
    /// `frame`.
    pub(super) async fn next(&mut self, frame: Instant, dirty: bool) -> Option<Next> {
        let (event, kind) = tokio::select! {
            biased;
            told = self.signals.next() => match told {
                SignalEvent::End => return None,
                SignalEvent::Suspend => return Some(Next::Suspend),
                SignalEvent::Resize => (Event::Resumed, Kind::Urgent),
            },
            // The keyboard thread ends if the terminal is gone.
            event = self.inbox.recv() => (event?, Kind::Urgent),
            (server, event) = poll_fn(|context| self.runners.poll_event(context)) => {
                return Some(Next::Told(server, event));
            }
            Some((server, event)) = self.told.recv() => return Some(Next::Told(server, event)),
            _ = self.ticker.tick() => (self.clock.tick(), Kind::Tick),
            () = sleep_until(frame), if dirty => return Some(Next::Frame),
        };
        Some(Next::Event(event, kind))
    }

    /// Takes in all events already available, so that one frame shows them. Returns true if the user waits for a reaction:
    /// what is left of the others then comes after it.
    pub(super) fn drain(&mut self, servers: &mut Servers, asked: &mut Vec<Asked>) -> bool {
        let Self { inbox, runners, .. } = self;
        let mut pressed = |servers: &mut Servers, asked: &mut Vec<Asked>| {
            let mut pressed = false;
            while let Ok(event) = inbox.try_recv() {
                asked.extend(servers.tell(event));
                pressed = true;
            }
            pressed
        };
        if pressed(servers, asked) {
            return true;
        }
        for (position, runner) in runners.all.iter_mut().enumerate() {
            while let Ok(report) = runner.reports.try_recv() {
                asked.extend(servers.tell_one(position + 1, Event::Reported(report)));
                if pressed(servers, asked) {
                    return true;
                }
            }
        }
        false
    }
}

/// The runners of all servers, by number; none in a replay.
pub(super) struct Runners {
    pub all: Vec<EffectRunner>,
    /// The position that is asked first: every server has its turn, however many events another one has.
    turn: usize,
}

impl Runners {
    pub(super) fn new(all: Vec<EffectRunner>) -> Self {
        Self { all, turn: 0 }
    }

    /// The runner of the server with this number.
    pub(super) fn of(&mut self, server: usize) -> Option<&mut EffectRunner> {
        self.all.get_mut(server.checked_sub(1)?)
    }

    /// Returns an event and the number of its server, if there is one.
    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<(usize, Event)> {
        let count = self.all.len();
        for step in 0..count {
            let position = (self.turn + step) % count;
            let Some(runner) = self.all.get_mut(position) else {
                continue;
            };
            if let Poll::Ready(event) = poll_runner(runner, context) {
                self.turn = position + 1;
                return Poll::Ready((position + 1, event));
            }
        }
        Poll::Pending
    }
}

/// Returns an event of sessions and actions, if there is one.
pub(super) fn poll_runner(runner: &mut EffectRunner, context: &mut Context<'_>) -> Poll<Event> {
    if let Poll::Ready(Some(report)) = runner.reports.poll_recv(context) {
        return Poll::Ready(Event::Reported(report));
    }
    if let Poll::Ready(Some((latencies_ms, failed))) = runner.canary.poll_recv(context) {
        return Poll::Ready(Event::CanaryTimed {
            latencies_ms,
            failed,
        });
    }
    match runner.ended.poll_recv(context) {
        Poll::Ready(Some(event)) => Poll::Ready(event),
        _ => Poll::Pending,
    }
}
