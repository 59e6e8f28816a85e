//! The loop: events are drained, the model is updated, one frame is drawn; effects are carried out by
//! tasks that own their sessions, so that no slow server can hold a key press.

mod clock;
mod effects;
pub mod headless;
pub mod http;
mod planning;
pub mod ring;
mod signals;
mod source;

use super::audit::Audit;
use super::event::{Effect, Event, Key};
use super::model::{Link, Model, Start};
use super::terminal::{self, Screen};
use super::theme::{Depth, Theme};
use super::timeline::Timeline;
use super::view::view;
use crate::demo::launch::{Engine, Place, Step};
use crate::pg::Target;
use crate::pg::sampler::Tally;
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

/// Frames are at least so far apart, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(33);
/// After a tick asked for samples, and after a first sample came, a frame waits so long for the others,
/// so that what belongs to one moment is drawn once.
const SAMPLES: Duration = Duration::from_millis(40);
/// As [`SAMPLES`].
const OTHERS: Duration = Duration::from_millis(15);
/// Until there is something to see a frame waits only until the tasks have sent their statements.
const SOON: Duration = Duration::from_millis(2);
/// More events than can wait: a burst of keys while a frame is drawn.
const EVENTS: usize = 256;
/// Where the sessions go.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The watched server.
    pub oltp: Target,
    /// Where the business panels are asked.
    pub olap: Target,
}

impl Targets {
    /// The count of what the OLAP pool does: `here` where it works on the watched database.
    fn tally(&self, here: &Tally) -> Tally {
        let place = |target: &Target| (target.host_display(), target.dbname().to_owned());
        if place(&self.oltp) == place(&self.olap) {
            Tally::clone(here)
        } else {
            Tally::default()
        }
    }
}

/// The terminal and its keyboard, before and while the dashboard runs.
pub struct TerminalSession {
    screen: Screen,
    inbox: Receiver<Event>,
    signals: Signals,
}

impl TerminalSession {
    /// Takes the terminal over.
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

    /// Shows what the demo's engine is doing until it is ready (`Some`) or the user has had enough.
    pub async fn wait_for(
        &mut self,
        engine: &mut Engine,
        themes: &[Theme],
    ) -> Result<Option<Place>, String> {
        let depth = Depth::detect(&|name| std::env::var(name).ok());
        let theme = themes
            .first()
            .map(|theme| theme.adapt(depth))
            .ok_or("no theme")?;
        let mut doing = (0.0, Clean::from("starting"), 0.0);
        loop {
            let (share, what, elapsed_s) = &doing;
            let drawn = self
                .screen
                .draw(|frame| super::view::starting(*share, what, *elapsed_s, &theme, frame));
            drawn.map_err(|error| error.to_string())?;
            tokio::select! {
                step = engine.next() => match step {
                    Step::Working { progress, doing: what, elapsed_s } => doing = (progress, what, elapsed_s),
                    Step::Ready { ready } => return Ok(Some(ready)),
                    Step::Failed { error } => return Err(error),
                },
                event = self.inbox.recv() => match event {
                    None | Some(Event::KeyPressed(Key::Char('q') | Key::Ctrl('c'))) => return Ok(None),
                    Some(_) => {}
                },
                told = self.signals.next() => match told {
                    SignalEvent::End => return Ok(None),
                    SignalEvent::Suspend => self.screen.suspend().map_err(|error| error.to_string())?,
                    SignalEvent::Resize => {
                        self.screen.fit().map_err(|error| error.to_string())?;
                    }
                },
            }
        }
    }
}

/// How the run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As asked.
    Quit,
    /// As asked, but it never had a connection.
    NeverConnected,
    /// Something panicked; its message stands on stderr.
    Panicked,
}

/// Runs the dashboard until it is quit. With `record` all that it shows is recorded there.
pub async fn run(
    terminal: TerminalSession,
    start: Start,
    themes: Vec<Theme>,
    targets: Targets,
    audit: Audit,
    record: Option<ring::Place>,
) -> io::Result<Ending> {
    let runner = EffectRunner::start(&start.config, targets, audit);
    let mut model = Model::new(start);
    model.guarding.armed = true;
    let ring = record.map(|place| {
        let folder = place.folder.display().to_string();
        Ring::begin(place, &model, wall_clock().timestamp_millis())
            .map_err(|error| format!("nothing is recorded: {folder}: {error}"))
    });
    let ring = match ring {
        Some(Ok(ring)) => Some(ring),
        Some(Err(why)) => {
            let _ = model.update(Event::Warned(Clean::from(why)));
            None
        }
        None => None,
    };
    event_loop(terminal, Timeline::live(model), themes, Some(runner), ring).await
}

/// Shows a recording until it is quit.
pub async fn replay(
    terminal: TerminalSession,
    mut timeline: Timeline,
    themes: Vec<Theme>,
    torn: Option<String>,
) -> io::Result<Ending> {
    if let Some(why) = torn {
        let why = format!("the rest of the recording cannot be read: {why}");
        let shown = timeline.shown_mut();
        let _ = shown.update(Event::Warned(Clean::from(why)));
    }
    let ending = event_loop(terminal, timeline, themes, None, None).await?;
    Ok(match ending {
        Ending::NeverConnected => Ending::Quit,
        other => other,
    })
}

async fn event_loop(
    terminal: TerminalSession,
    timeline: Timeline,
    themes: Vec<Theme>,
    runner: Option<EffectRunner>,
    ring: Option<Ring>,
) -> io::Result<Ending> {
    let TerminalSession {
        screen,
        inbox,
        signals,
    } = terminal;
    let depth = Depth::detect(&|name| std::env::var(name).ok());
    let mut app = App {
        screen,
        timeline,
        ring,
        themes: themes.iter().map(|theme| theme.adapt(depth)).collect(),
        drawn: None,
        due: None,
        live: false,
        connected: false,
    };
    app.fit()?;
    let clock = Clock::start();
    let ticker = clock.ticker();
    let mut source = EventSource {
        inbox,
        signals,
        runner,
        clock,
        ticker,
    };
    let effects = app.tell(source.clock.tick());
    app.carry_out(effects, source.runner.as_mut())?;
    app.draw(true)?;
    while let Some(next) = source.next(app.next_frame(), app.is_dirty()).await {
        if terminal::has_panicked() {
            return Ok(Ending::Panicked);
        }
        let (mut effects, kind) = match next {
            Next::Event(event, kind) => (app.tell(event), kind),
            Next::Frame => (Vec::new(), Kind::Other),
        };
        source.drain(&mut app, &mut effects);
        let asked = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Sample(_)));
        let settle = match kind {
            Kind::Tick if asked => SAMPLES,
            Kind::Tick => Duration::ZERO,
            _ => OTHERS,
        };
        if app.carry_out(effects, source.runner.as_mut())? {
            break;
        }
        let urgent = kind == Kind::Urgent;
        if urgent {
            app.fit()?;
        }
        app.settle(settle);
        app.draw(urgent)?;
    }
    app.end_recording();
    let ending = app.ending();
    // The terminal is given back first.
    drop(app);
    if let Some(runner) = source.runner {
        runner.end().await;
    }
    Ok(ending)
}

/// The model on its screen.
struct App {
    screen: Screen,
    timeline: Timeline,
    ring: Option<Ring>,
    themes: Vec<Theme>,
    /// When the last frame was drawn.
    drawn: Option<Instant>,
    /// What has changed since is drawn then.
    due: Option<Instant>,
    /// The first samples are on the screen: until then nothing is held back.
    live: bool,
    /// There was a connection at some time.
    connected: bool,
}

impl App {
    /// Tells an event, and writes it down where a recording is made.
    fn tell(&mut self, event: Event) -> Vec<Effect> {
        let written = match &mut self.ring {
            Some(ring) => ring.note(&event, self.timeline.main()),
            None => Ok(()),
        };
        let mut effects = self.timeline.update(event);
        if let Err(error) = written {
            self.ring = None;
            let why = Clean::from(format!("nothing more is recorded: {error}"));
            effects.extend(self.timeline.update(Event::Warned(why)));
        }
        effects
    }

    fn end_recording(&mut self) {
        // What was flushed is there; more there is not to do about it.
        let _ = self.ring.take().map(Ring::end);
    }

    fn is_dirty(&self) -> bool {
        self.timeline.shown().dirty
    }

    fn next_frame(&self) -> Instant {
        self.due.unwrap_or_else(Instant::now)
    }

    /// Where something has changed, sets when it is drawn: after `pause`, and not too soon after the
    /// frame before.
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

    /// Learns the terminal's size.
    fn fit(&mut self) -> io::Result<()> {
        let (width, height) = self.screen.fit()?;
        if (width, height) != self.timeline.shown().size {
            let _ = self.timeline.update(Event::Resized { width, height });
        }
        Ok(())
    }

    /// Carries out what concerns the terminal, and runner the rest over; whether the end was asked for.
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

    /// Draws a frame where something has changed: at once after a key, else when the time has come.
    fn draw(&mut self, urgent: bool) -> io::Result<()> {
        if !self.is_dirty() || !(urgent || self.next_frame() <= Instant::now()) {
            return Ok(());
        }
        let model = self.timeline.shown();
        if let Some(theme) = self.themes.get(model.theme).or(self.themes.first()) {
            self.screen.draw(|frame| view(model, theme, frame))?;
        }
        self.live = self.live || !model.rows("activity").columns.is_empty();
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
