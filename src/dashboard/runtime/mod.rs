//! The loop: events are drained, the model is updated, one frame is drawn; effects are carried out by
//! tasks that own their sessions, so that no slow server can hold a key press.

mod hands;
pub mod headless;
pub mod http;

use super::audit::Audit;
use super::event::{Effect, Event, Key, Moment, OwnCost};
use super::model::{Link, Model, Start};
use super::terminal::{self, Screen};
use super::theme::{Depth, Theme};
use super::view::view;
use crate::demo::launch::{Engine, Place, Step};
use crate::pg::Target;
use crate::text::Clean;
use hands::Hands;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

/// Frames are at least so far apart, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(33);
/// The model learns of time this often.
const TICK: Duration = Duration::from_millis(250);
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

/// The terminal and its keyboard, before and while the dashboard runs.
pub struct Stage {
    screen: Screen,
    inbox: Receiver<Event>,
    signals: Signals,
}

impl Stage {
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
                    Told::End => return Ok(None),
                    Told::Suspend => self.screen.suspend().map_err(|error| error.to_string())?,
                    Told::Resize => {
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

/// Runs the dashboard until it is quit.
pub async fn run(
    stage: Stage,
    start: Start,
    themes: Vec<Theme>,
    targets: Targets,
    audit: Audit,
) -> io::Result<Ending> {
    let Stage {
        screen,
        inbox,
        signals,
    } = stage;
    let hands = Hands::start(&start.config, targets, audit);
    let depth = Depth::detect(&|name| std::env::var(name).ok());
    let mut show = Show {
        screen,
        model: Model::new(start),
        themes: themes.iter().map(|theme| theme.adapt(depth)).collect(),
        drawn: None,
        due: None,
        live: false,
        connected: false,
    };
    show.fit()?;
    let clock = Clock::start();
    let ticker = clock.ticker();
    let mut ears = Ears {
        inbox,
        signals,
        hands,
        clock,
        ticker,
    };
    let effects = show.model.update(ears.clock.tick());
    show.carry_out(effects, &mut ears.hands)?;
    show.draw(true)?;
    while let Some((first, kind)) = ears.next(show.next_frame(), show.model.dirty).await {
        if terminal::has_panicked() {
            return Ok(Ending::Panicked);
        }
        let mut effects = show.model.update(first);
        ears.drain(&mut show.model, &mut effects);
        let asked = effects
            .iter()
            .any(|effect| matches!(effect, Effect::Sample(_)));
        let settle = match kind {
            Kind::Tick if asked => SAMPLES,
            Kind::Tick => Duration::ZERO,
            _ => OTHERS,
        };
        if show.carry_out(effects, &mut ears.hands)? {
            break;
        }
        let urgent = kind == Kind::Urgent;
        if urgent {
            show.fit()?;
        }
        show.settle(settle);
        show.draw(urgent)?;
    }
    Ok(show.ending())
}

/// How soon a frame must follow an event.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The user is waiting.
    Urgent,
    /// Time went on.
    Tick,
    /// Something came in, and more of the same moment may follow.
    Other,
}

/// Where events come from.
struct Ears {
    inbox: Receiver<Event>,
    signals: Signals,
    hands: Hands,
    clock: Clock,
    ticker: Interval,
}

impl Ears {
    /// The next event; `None` where the program is to end. `frame` is due when something is `dirty`.
    async fn next(&mut self, frame: Instant, dirty: bool) -> Option<(Event, Kind)> {
        let event = tokio::select! {
            biased;
            told = self.signals.next() => match told {
                Told::End => return None,
                Told::Suspend => (Event::KeyPressed(Key::Ctrl('z')), Kind::Urgent),
                Told::Resize => (Event::Resumed, Kind::Urgent),
            },
            // The keyboard thread ends when the terminal is gone.
            event = self.inbox.recv() => (event?, Kind::Urgent),
            Some(report) = self.hands.reports.recv() => (Event::Reported(report), Kind::Other),
            Some((latencies_ms, failed)) = self.hands.canary.recv() => {
                (Event::CanaryTimed { latencies_ms, failed }, Kind::Other)
            }
            Some(event) = self.hands.ended.recv() => (event, Kind::Other),
            _ = self.ticker.tick() => (self.clock.tick(), Kind::Tick),
            () = sleep_until(frame), if dirty => (Event::Resumed, Kind::Other),
        };
        Some(event)
    }

    /// Takes in what else is there already, so that one frame shows it all.
    fn drain(&mut self, model: &mut Model, effects: &mut Vec<Effect>) {
        while let Ok(event) = self.inbox.try_recv() {
            effects.extend(model.update(event));
        }
        while let Ok(report) = self.hands.reports.try_recv() {
            effects.extend(model.update(Event::Reported(report)));
        }
    }
}

/// The model on its screen.
struct Show {
    screen: Screen,
    model: Model,
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

impl Show {
    fn next_frame(&self) -> Instant {
        self.due.unwrap_or_else(Instant::now)
    }

    /// Where something has changed, sets when it is drawn: after `pause`, and not too soon after the
    /// frame before.
    fn settle(&mut self, pause: Duration) {
        if !self.model.dirty {
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
        if (width, height) != self.model.size {
            let _ = self.model.update(Event::Resized { width, height });
        }
        Ok(())
    }

    /// Carries out what concerns the terminal, and hands the rest over; whether the end was asked for.
    fn carry_out(&mut self, effects: Vec<Effect>, hands: &mut Hands) -> io::Result<bool> {
        self.connected |= matches!(self.model.fast, Link::Live(_));
        for effect in effects {
            match effect {
                Effect::Quit => return Ok(true),
                Effect::Suspend => {
                    self.screen.suspend()?;
                    self.fit()?;
                    self.model.dirty = true;
                }
                Effect::Copy(text) => self.screen.copy(&text)?,
                Effect::CaptureMouse(on) => self.screen.capture_mouse(on)?,
                other => hands.execute(other),
            }
        }
        Ok(false)
    }

    /// Draws a frame where something has changed: at once after a key, else when the time has come.
    fn draw(&mut self, urgent: bool) -> io::Result<()> {
        if !self.model.dirty || !(urgent || self.next_frame() <= Instant::now()) {
            return Ok(());
        }
        if let Some(theme) = self.themes.get(self.model.theme).or(self.themes.first()) {
            let model = &self.model;
            self.screen.draw(|frame| view(model, theme, frame))?;
        }
        self.model.dirty = false;
        self.due = None;
        self.drawn = Some(Instant::now());
        self.live = self.live || !self.model.rows("activity").columns.is_empty();
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

/// What a signal asks for.
enum Told {
    End,
    Suspend,
    Resize,
}

/// The signals that end or suspend a terminal program.
struct Signals {
    end: [Signal; 3],
    stop: Signal,
    resize: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            end: [
                signal(SignalKind::terminate())?,
                signal(SignalKind::hangup())?,
                signal(SignalKind::interrupt())?,
            ],
            stop: signal(SignalKind::from_raw(
                nix::sys::signal::Signal::SIGTSTP as i32,
            ))?,
            resize: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Told {
        let [terminate, hangup, interrupt] = &mut self.end;
        tokio::select! {
            _ = terminate.recv() => Told::End,
            _ = hangup.recv() => Told::End,
            _ = interrupt.recv() => Told::End,
            _ = self.stop.recv() => Told::Suspend,
            _ = self.resize.recv() => Told::Resize,
        }
    }
}

/// The only clock the model's time comes from.
struct Clock {
    started: Instant,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Ticks at the quarters of this machine's seconds, where the clock on the screen moves and samples
    /// are due: one wake-up and one frame serve both.
    fn ticker(&self) -> Interval {
        let tick = TICK.as_millis() as i64;
        let first = tick - wall_clock().timestamp_millis().rem_euclid(tick);
        let mut ticker = interval_at(self.started + Duration::from_millis(first as u64), TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticker
    }

    fn tick(&self) -> Event {
        let now = Moment {
            mono_ms: self.started.elapsed().as_millis() as u64,
            epoch_ms: wall_clock().timestamp_millis(),
        };
        let used = getrusage(UsageWho::RUSAGE_SELF);
        let cpu_ms = used.map_or(0.0, |usage| {
            (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64
                / 1000.0
        });
        Event::Ticked {
            now,
            cost: OwnCost { cpu_ms },
        }
    }
}

/// This machine's clock, for showing the time of day and for the audit file.
#[expect(
    clippy::disallowed_methods,
    reason = "the runtime is where time comes in"
)]
fn wall_clock() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}
