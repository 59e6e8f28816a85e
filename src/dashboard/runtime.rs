//! The event loop: takes in pending events, updates the model, draws a frame. Effects are carried out by
//! tasks that own their sessions, so that a slow server never delays a key.

mod auditing;
mod clock;
mod effects;
pub mod headless;
mod hosting;
pub(crate) mod http;
mod logged;
mod planning;
pub(crate) mod ring;
mod sessions;
mod signals;
mod source;
mod targets;
mod writer;

use super::audit::Audit;
use super::event::{Effect, Event, FeedId};
use super::model::{Link, Model, Start};
use super::recording::Header;
use super::rows::{self, Panel};
use super::terminal::{self, Screen};
use super::theme::{Depth, Theme};
use super::timeline::Timeline;
use super::view::view;
use crate::demo::launch::{Engine, Place as DemoPlace, Step};
use crate::keys::{Command, Keymap, Place};
use crate::pg::sampler::Report;
use crate::text::Clean;
use clock::{Clock, wall_clock};
use effects::EffectRunner;
use ring::Ring;
use signals::{SignalEvent, Signals};
use source::{EventSource, Kind, Next};
use std::io;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::Instant;
use writer::RecordingWriter;

pub use targets::Targets;

/// Minimum time between frames, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(33);
/// After a tick requested samples, a frame waits this long for them, so that the samples of one moment are
/// drawn together.
const SAMPLES: Duration = Duration::from_millis(40);
/// Like [`SAMPLES`], for the remaining samples after the first has come.
const OTHERS: Duration = Duration::from_millis(15);
/// Before the first samples a frame waits only until the tasks have sent their statements.
const SOON: Duration = Duration::from_millis(2);
/// Capacity of the event channel, larger than any burst of keys during a frame.
const EVENTS: usize = 256;

/// The terminal and its input, before and while the dashboard runs.
pub struct TerminalSession {
    screen: Screen,
    inbox: Receiver<Event>,
    signals: Signals,
}

impl TerminalSession {
    /// Takes over the terminal.
    pub fn set() -> io::Result<Self> {
        let signals = Signals::listen()?;
        let screen = Screen::take()?;
        let (events, inbox) = channel(EVENTS);
        terminal::read_events(events)?;
        Ok(Self {
            screen,
            inbox,
            signals,
        })
    }

    fn suspend(&mut self) -> Result<(), String> {
        self.screen.suspend().map_err(|error| error.to_string())
    }

    /// Shows the progress of the demo's engine until it is ready (`Some`) or the user quits.
    pub async fn wait_for(
        &mut self,
        engine: &mut Engine,
        themes: &[Theme],
        keys: &Keymap,
    ) -> Result<Option<DemoPlace>, String> {
        let depth = Depth::detect(&|name| std::env::var(name).ok());
        let theme = themes
            .first()
            .map(|theme| theme.adapt(depth))
            .ok_or("no theme")?;
        let mut doing = (0.0, Clean::from("starting"), 0.0);
        loop {
            let drawn = self
                .screen
                .draw(|frame| super::view::starting(&doing, keys, &theme, frame));
            drawn.map_err(|error| error.to_string())?;
            tokio::select! {
                step = engine.next() => match step {
                    Step::Working { progress, doing: what, elapsed_s } => doing = (progress, what, elapsed_s),
                    Step::Ready { ready } => return Ok(Some(ready)),
                    Step::Failed { error } => return Err(error),
                },
                event = self.inbox.recv() => match event {
                    None => return Ok(None),
                    Some(Event::KeyPressed(key)) => match keys.command(Place::Screen, key) {
                        Some(Command::Quit) => return Ok(None),
                        Some(Command::Suspend) => self.suspend()?,
                        _ => {}
                    },
                    Some(_) => {}
                },
                told = self.signals.next() => match told {
                    SignalEvent::End => return Ok(None),
                    SignalEvent::Suspend => self.suspend()?,
                    SignalEvent::Resize => {
                        self.screen.fit().map_err(|error| error.to_string())?;
                    }
                },
            }
        }
    }
}

/// Result of a run.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Outcome of a run.
    pub ending: Ending,
    /// Sentences about what could not be written to disk.
    pub unwritten: Vec<String>,
}

/// Outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The user quit.
    Quit,
    /// The user quit, but there never was a connection.
    NeverConnected,
    /// A thread panicked; its message is on stderr.
    Panicked,
}

/// Runs the dashboard until the user quits. With `record` everything it shows is recorded there.
pub async fn run(
    terminal: TerminalSession,
    start: Start,
    themes: Vec<Theme>,
    targets: Targets,
    audit: Audit,
    record: Option<ring::Place>,
) -> io::Result<Ended> {
    let runner = EffectRunner::start(&start.config, targets, audit);
    let mut model = Model::new(start);
    model.guarding.armed = true;
    let recorder = record.map(|place| {
        let header = Header::of(&model, place.mask, wall_clock().timestamp_millis());
        let folder = place.folder.display().to_string();
        RecordingWriter::start(folder, move || Ring::begin(place, header))
    });
    let mut timeline = Timeline::live(model);
    if recorder.is_some() {
        timeline.copy_lines();
    }
    event_loop(terminal, timeline, themes, Some(runner), recorder).await
}

/// Replays a recording until the user quits.
pub async fn replay(
    terminal: TerminalSession,
    mut timeline: Timeline,
    themes: Vec<Theme>,
    torn: Option<String>,
) -> io::Result<Ended> {
    if let Some(why) = torn {
        let why = format!("the rest of the recording cannot be read: {why}");
        let shown = timeline.shown_mut();
        let _ = shown.update(Event::Warned(Clean::from(why)));
    }
    let mut ended = event_loop(terminal, timeline, themes, None, None).await?;
    if ended.ending == Ending::NeverConnected {
        ended.ending = Ending::Quit;
    }
    Ok(ended)
}

async fn event_loop(
    terminal: TerminalSession,
    timeline: Timeline,
    themes: Vec<Theme>,
    runner: Option<EffectRunner>,
    recorder: Option<RecordingWriter>,
) -> io::Result<Ended> {
    let TerminalSession {
        screen,
        inbox,
        signals,
    } = terminal;
    let depth = Depth::detect(&|name| std::env::var(name).ok());
    let mut app = App {
        screen,
        timeline,
        recorder,
        themes: themes.iter().map(|theme| theme.adapt(depth)).collect(),
        drawn: None,
        due: None,
        live: false,
        connected: false,
    };
    let clock = Clock::start();
    let ticker = clock.ticker();
    let mut source = EventSource {
        inbox,
        signals,
        runner,
        clock,
        ticker,
    };
    let ran = app.run(&mut source).await;
    let recorder = app.recorder.take();
    let quit = app.ending();
    // The terminal is restored first.
    drop(app);
    let unrecorded = async { recorder?.end().await.err() };
    let unaudited = async { source.runner?.end().await };
    let unwritten: [Option<String>; 2] = tokio::join!(unaudited, unrecorded).into();
    Ok(Ended {
        ending: ran?.unwrap_or(quit),
        unwritten: unwritten.into_iter().flatten().collect(),
    })
}

/// Returns the event, with an error in place of an answer that lacks a column which code reads: without the column,
/// the answer would look as if nothing were wrong. Recordings of earlier versions may lack columns.
fn checked(event: Event, model: &Model) -> Event {
    match event {
        Event::Reported(Report::Answered {
            id,
            took_ms,
            outcome: Ok(table),
        }) => {
            let outcome = match model.feed(FeedId(id)).and_then(|feed| feed.panel) {
                Some(panel) => rows::checked(panel, table),
                None => Ok(table),
            };
            Event::Reported(Report::Answered {
                id,
                took_ms,
                outcome,
            })
        }
        other => other,
    }
}

/// The model and its screen.
struct App {
    screen: Screen,
    timeline: Timeline,
    recorder: Option<RecordingWriter>,
    themes: Vec<Theme>,
    /// Time of the last frame.
    drawn: Option<Instant>,
    /// Time at which pending changes are drawn.
    due: Option<Instant>,
    /// True once the first samples have been drawn; no frame is delayed before.
    live: bool,
    /// True if there ever was a connection.
    connected: bool,
}

impl App {
    /// Runs until the user quits, or returns `Panicked` if something has panicked.
    async fn run(&mut self, source: &mut EventSource) -> io::Result<Option<Ending>> {
        self.fit()?;
        let effects = self.tell(source.clock.tick());
        self.carry_out(effects, source.runner.as_mut())?;
        self.draw(true)?;
        while let Some(next) = source.next(self.next_frame(), self.is_dirty()).await {
            if terminal::has_panicked() {
                return Ok(Some(Ending::Panicked));
            }
            let (mut effects, kind) = match next {
                Next::Event(event, kind) => (self.tell(event), kind),
                Next::Suspend => (vec![Effect::Suspend], Kind::Urgent),
                Next::Frame => (Vec::new(), Kind::Other),
            };
            source.drain(self, &mut effects);
            let asked = effects
                .iter()
                .any(|effect| matches!(effect, Effect::Sample(_)));
            let settle = match kind {
                Kind::Tick if asked => SAMPLES,
                Kind::Tick => Duration::ZERO,
                _ => OTHERS,
            };
            if self.carry_out(effects, source.runner.as_mut())? {
                break;
            }
            let urgent = kind == Kind::Urgent;
            if urgent {
                self.fit()?;
            }
            self.settle(settle);
            self.draw(urgent)?;
        }
        Ok(None)
    }

    /// Passes an event to the model, and records it if a recording is made.
    fn tell(&mut self, event: Event) -> Vec<Effect> {
        let event = checked(event, self.timeline.main());
        logged::event(&event, self.timeline.main());
        let ticked = matches!(event, Event::Ticked { .. });
        let mut effects = self.timeline.update(event);
        self.record();
        let news = match &mut self.recorder {
            Some(recorder) if ticked => recorder.news(),
            _ => return effects,
        };
        let news = news.unwrap_or_else(|why| {
            self.recorder = None;
            vec![Event::Unrecorded(0), Event::Warned(Clean::from(why))]
        });
        for event in news {
            effects.extend(self.timeline.update(event));
        }
        self.record();
        effects
    }

    fn record(&mut self) {
        let lines = self.timeline.take_copies();
        if let Some(recorder) = &mut self.recorder {
            for line in &lines {
                recorder.note(line);
            }
        }
    }

    fn is_dirty(&self) -> bool {
        self.timeline.shown().dirty
    }

    fn next_frame(&self) -> Instant {
        self.due.unwrap_or_else(Instant::now)
    }

    /// If something has changed, schedules a frame after `pause`, but not too soon after the previous one.
    fn settle(&mut self, pause: Duration) {
        if !self.is_dirty() {
            return;
        }
        let now = Instant::now();
        let pause = if self.live { pause } else { pause.min(SOON) };
        let spaced = self
            .drawn
            .filter(|_| self.live)
            .map_or(now, |at| at + FRAME);
        let due = spaced.max(now + pause);
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// Passes the terminal's size to the model.
    fn fit(&mut self) -> io::Result<()> {
        let (width, height) = self.screen.fit()?;
        if (width, height) != self.timeline.shown().size {
            let _ = self.timeline.update(Event::Resized { width, height });
        }
        Ok(())
    }

    /// Carries out effects on the terminal and hands the others to `runner`; returns true if the user quits.
    fn carry_out(
        &mut self,
        effects: Vec<Effect>,
        mut runner: Option<&mut EffectRunner>,
    ) -> io::Result<bool> {
        self.connected |= matches!(self.timeline.shown().fast, Link::Live(_));
        for effect in effects {
            match effect {
                Effect::Quit => return Ok(true),
                Effect::Suspend => {
                    self.screen.suspend()?;
                    self.fit()?;
                    self.timeline.shown_mut().dirty = true;
                }
                Effect::Copy(text) => self.screen.copy(&text)?,
                Effect::CaptureMouse(on) => self.screen.capture_mouse(on)?,
                other => {
                    if let Some(runner) = &mut runner {
                        runner.execute(other);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Draws a frame if something has changed: immediately after a key, otherwise once it is due.
    fn draw(&mut self, urgent: bool) -> io::Result<()> {
        if !self.is_dirty() || !(urgent || self.next_frame() <= Instant::now()) {
            return Ok(());
        }
        let model = self.timeline.shown();
        if let Some(theme) = self.themes.get(model.theme).or(self.themes.first()) {
            let begun = Instant::now();
            self.screen.draw(|frame| view(model, theme, frame))?;
            logged::frame(begun.elapsed(), model.size.0, model.size.1);
        }
        self.live = self.live || !model.rows(Panel::Activity).columns.is_empty();
        self.timeline.shown_mut().dirty = false;
        self.due = None;
        self.drawn = Some(Instant::now());
        Ok(())
    }

    fn ending(&self) -> Ending {
        if self.connected {
            Ending::Quit
        } else {
            Ending::NeverConnected
        }
    }
}
