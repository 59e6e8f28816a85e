//! Sources of events: keyboard, signals, sessions and clock.

use super::App;
use super::clock::Clock;
use super::effects::EffectRunner;
use super::signals::{SignalEvent, Signals};
use crate::dashboard::event::{Effect, Event};
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
    /// A frame to draw.
    Frame,
    /// The program was asked to stop, as by a shell's Ctrl-Z.
    Suspend,
}

/// The sources of events.
pub(super) struct EventSource {
    pub inbox: Receiver<Event>,
    pub signals: Signals,
    /// `None` in a replay.
    pub runner: Option<EffectRunner>,
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
            event = heard(&mut self.runner) => (event, Kind::Other),
            _ = self.ticker.tick() => (self.clock.tick(), Kind::Tick),
            () = sleep_until(frame), if dirty => return Some(Next::Frame),
        };
        Some(Next::Event(event, kind))
    }

    /// Takes in all events already available, so that one frame shows them.
    pub(super) fn drain(&mut self, app: &mut App, effects: &mut Vec<Effect>) {
        while let Ok(event) = self.inbox.try_recv() {
            effects.extend(app.tell(event));
        }
        let Some(runner) = &mut self.runner else {
            return;
        };
        while let Ok(report) = runner.reports.try_recv() {
            effects.extend(app.tell(Event::Reported(report)));
        }
    }
}

/// Waits for an event of sessions and actions; forever if there are none.
async fn heard(runner: &mut Option<EffectRunner>) -> Event {
    let Some(runner) = runner else {
        return std::future::pending().await;
    };
    tokio::select! {
        Some(report) = runner.reports.recv() => Event::Reported(report),
        Some((latencies_ms, failed)) = runner.canary.recv() => {
            Event::CanaryTimed { latencies_ms, failed }
        }
        Some(event) = runner.ended.recv() => event,
        else => std::future::pending().await,
    }
}
