//! The loop: takes in pending events, has the models updated, carries out effects, draws a frame.

use super::keeping::Keeper;
use super::notifying::Notifier;
use super::reports::Reporter;
use super::source::{EventSource, Kind, Next, Runners};
use super::watched::{Asked, Servers};
use super::{Ending, FRAME, logged};
use crate::dashboard::event::{Effect, Event};
use crate::dashboard::incident::Incident;
use crate::dashboard::model::Model;
use crate::dashboard::notice::Notice;
use crate::dashboard::rows::Panel;
use crate::dashboard::terminal::{self, Screen};
use crate::dashboard::theme::Theme;
use crate::dashboard::view;
use std::io;
use std::time::Duration;
use tokio::task::yield_now;
use tokio::time::Instant;

/// After a tick requested samples, a frame waits this long for them, so that the samples of one moment are
/// drawn together.
const SAMPLES: Duration = Duration::from_millis(40);
/// Like [`SAMPLES`], for the remaining samples after the first has come.
const OTHERS: Duration = Duration::from_millis(15);
/// Before the first samples a frame waits only until the tasks have sent their statements.
const SOON: Duration = Duration::from_millis(2);

/// The models and their screen.
pub(super) struct App {
    pub screen: Screen,
    pub servers: Servers,
    pub themes: Vec<Theme>,
    pub reporter: Reporter,
    pub notifier: Notifier,
    pub keeper: Keeper,
    /// Time of the last frame.
    pub drawn: Option<Instant>,
    /// Time at which pending changes are drawn.
    pub due: Option<Instant>,
    /// True once the first samples have been drawn; no frame is delayed before.
    pub live: bool,
}

impl App {
    /// Runs until the user quits, or returns `Panicked` if something has panicked.
    pub(super) async fn run(&mut self, source: &mut EventSource) -> io::Result<Option<Ending>> {
        self.fit()?;
        let mut asked = self.servers.begin();
        asked.extend(self.servers.tell(source.clock.tick()));
        self.carry_out(asked, &mut source.runners)?;
        self.servers.write_tabs();
        // The sessions begin to connect before the first frame is drawn.
        yield_now().await;
        self.draw(true)?;
        while let Some(next) = source.next(self.next_frame(), self.is_dirty()).await {
            if terminal::has_panicked() {
                return Ok(Some(Ending::Panicked));
            }
            let (mut asked, kind) = match next {
                Next::Event(event, kind) => (self.servers.tell(event), kind),
                Next::Told(server, event) => (self.servers.tell_one(server, event), Kind::Other),
                Next::Suspend => {
                    let server = self.servers.shown.number;
                    let effect = Effect::Suspend;
                    (vec![Asked { server, effect }], Kind::Urgent)
                }
                Next::Frame => (Vec::new(), Kind::Other),
            };
            let kind = if source.drain(&mut self.servers, &mut asked) {
                Kind::Urgent
            } else {
                kind
            };
            let sampling = |asked: &Asked| matches!(asked.effect, Effect::Sample(_));
            let settle = match kind {
                Kind::Tick if asked.iter().any(sampling) => SAMPLES,
                Kind::Tick => Duration::ZERO,
                _ => OTHERS,
            };
            if self.carry_out(asked, &mut source.runners)? {
                break;
            }
            let urgent = kind == Kind::Urgent;
            if urgent {
                self.fit()?;
            }
            self.servers.write_tabs();
            self.settle(settle);
            self.draw(urgent)?;
        }
        Ok(None)
    }

    fn shown(&self) -> &Model {
        self.servers.shown.timeline.shown()
    }

    fn shown_mut(&mut self) -> &mut Model {
        self.servers.shown.timeline.shown_mut()
    }

    fn is_dirty(&self) -> bool {
        self.shown().dirty
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

    /// Passes the terminal's size to the models.
    fn fit(&mut self) -> io::Result<()> {
        let (width, height) = self.screen.fit()?;
        if (width, height) != self.shown().size {
            let _ = self.servers.tell(Event::Resized { width, height });
        }
        Ok(())
    }

    /// Carries out effects on the terminal and hands the others to the server's runner; returns true if the user
    /// quits.
    fn carry_out(&mut self, asked: Vec<Asked>, runners: &mut Runners) -> io::Result<bool> {
        for Asked { server, effect } in asked {
            match effect {
                Effect::Quit => return Ok(true),
                Effect::Suspend => {
                    self.screen.suspend()?;
                    self.fit()?;
                    self.shown_mut().dirty = true;
                }
                Effect::Copy(text) => self.screen.copy(&text)?,
                Effect::CaptureMouse(on) => self.screen.capture_mouse(on)?,
                Effect::WriteReport { past } => self.report(server, past),
                Effect::KeepColumns { panel, choice } => self.keeper.keep(server, panel, choice),
                Effect::Notify(notice) => self.notify(server, &notice)?,
                other => {
                    if let Some(runner) = runners.of(server) {
                        runner.execute(other);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Writes the report of a server's past, or of now.
    fn report(&self, server: usize, past: bool) {
        if let Some(server) = self.servers.of(server) {
            let theme = self.shown().theme;
            let incident = Incident::of(&server.timeline, past);
            self.reporter.write(server.number, incident, theme);
        }
    }

    /// Tells somebody of a danger, as the configuration wants it.
    fn notify(&mut self, server: usize, notice: &Notice) -> io::Result<()> {
        let Some(server) = self.servers.of(server) else {
            return Ok(());
        };
        let wanted = &server.timeline.main().config.notify;
        if let Some(command) = &wanted.command {
            self.notifier.run(server.number, command, notice);
        }
        let sequence = wanted.terminal.map(|kind| notice.sequence(kind));
        self.screen
            .notify(&sequence.unwrap_or_default(), wanted.bell)
    }

    /// Draws a frame if something has changed: immediately after a key, otherwise once it is due.
    fn draw(&mut self, urgent: bool) -> io::Result<()> {
        if !self.is_dirty() || !(urgent || self.next_frame() <= Instant::now()) {
            return Ok(());
        }
        let model = self.servers.shown.timeline.shown();
        if let Some(theme) = self.themes.get(model.theme).or(self.themes.first()) {
            let begun = Instant::now();
            self.screen.draw(|buf| view::draw(model, theme, buf))?;
            logged::frame(begun.elapsed(), model.size.0, model.size.1);
        }
        self.live = self.live || !model.rows(Panel::Activity).columns.is_empty();
        self.shown_mut().dirty = false;
        self.due = None;
        self.drawn = Some(Instant::now());
        Ok(())
    }
}
