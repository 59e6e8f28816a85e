//! The running dashboard: its loop (`app`), the servers it watches (`watched`), the sources of events (`source`).
//! Effects are carried out by tasks that own their sessions, so that a slow server never delays a key.

mod app;
mod auditing;
mod clock;
mod effects;
pub mod headless;
mod hosting;
pub(crate) mod http;
mod keeping;
mod logged;
mod notifying;
mod planning;
mod queues;
mod reports;
pub(crate) mod ring;
mod sessions;
mod signals;
mod source;
mod targets;
mod watched;
mod writer;

use super::audit::Audit;
use super::choices::Choices;
use super::event::{Event, FeedId};
use super::incident;
use super::model::{Model, Start};
use super::recording::Header;
use super::rows;
use super::terminal::{self, Screen};
use super::theme::{Depth, Theme};
use super::timeline::Timeline;
use crate::demo::launch::{Engine, Place as DemoPlace, Step};
use crate::keys::{Command, Keymap, Place};
use crate::pg::sampler::Report;
use crate::text::Clean;
use app::App;
use clock::{Clock, wall_clock};
use effects::EffectRunner;
use futures_util::future::join_all;
use keeping::Keeper;
use notifying::Notifier;
use reports::Reporter;
use ring::Ring;
use signals::{SignalEvent, Signals};
use source::{EventSource, Runners};
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, channel};
use watched::{Server, Servers};
use writer::RecordingWriter;

pub use targets::Targets;

/// Minimum time between frames, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(33);
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
                .draw(|buf| super::view::starting(&doing, keys, &theme, buf));
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

/// A server to watch.
pub struct Watch {
    /// Parameters of its model.
    pub start: Start,
    /// Where its sessions connect to.
    pub targets: Targets,
    /// The audit file of its actions.
    pub audit: Audit,
    /// The recording of all that is shown of it.
    pub record: Option<ring::Place>,
}

impl Watch {
    fn begin(self, number: usize) -> (Server, EffectRunner) {
        let runner = EffectRunner::start(&self.start.config, self.targets, self.audit);
        let mut model = Model::new(self.start);
        model.guarding.armed = true;
        let recorder = self.record.map(|place| {
            let header = Header::of(&model, place.mask, wall_clock().timestamp_millis());
            let folder = place.folder.display().to_string();
            RecordingWriter::start(folder, move || Ring::begin(place, header))
        });
        let mut timeline = Timeline::live(model);
        if recorder.is_some() {
            timeline.copy_lines();
        }
        let server = Server {
            number,
            timeline,
            recorder,
            connected: false,
        };
        (server, runner)
    }
}

/// What a screen keeps in files, whatever it shows.
pub struct Places {
    /// Where reports of incidents are written.
    pub reports: incident::Place,
    /// The file of columns chosen; nothing is kept without one.
    pub columns: Option<PathBuf>,
    /// The columns chosen in earlier runs.
    pub choices: Choices,
}

/// Runs the dashboard until the user quits. The first server is shown at first.
pub async fn run(
    terminal: TerminalSession,
    themes: Vec<Theme>,
    first: Watch,
    others: Vec<Watch>,
    places: Places,
) -> io::Result<Ended> {
    let (first, runner) = first.begin(1);
    let others = (2..).zip(others);
    let (others, mut runners): (Vec<Server>, Vec<EffectRunner>) =
        others.map(|(number, watch)| watch.begin(number)).unzip();
    runners.insert(0, runner);
    let mut servers = Servers::new(first, others);
    servers.take_choices(&places.choices);
    event_loop(terminal, servers, (themes, places), runners).await
}

/// Replays a recording until the user quits.
pub async fn replay(
    terminal: TerminalSession,
    mut timeline: Timeline,
    themes: Vec<Theme>,
    places: Places,
    torn: Option<String>,
) -> io::Result<Ended> {
    if let Some(why) = torn {
        let why = format!("the rest of the recording cannot be read: {why}");
        let shown = timeline.shown_mut();
        let _ = shown.update(Event::Warned(Clean::from(why)));
    }
    let recorded = Server {
        number: 1,
        timeline,
        recorder: None,
        connected: false,
    };
    let mut servers = Servers::new(recorded, Vec::new());
    servers.take_choices(&places.choices);
    let mut ended = event_loop(terminal, servers, (themes, places), Vec::new()).await?;
    if ended.ending == Ending::NeverConnected {
        ended.ending = Ending::Quit;
    }
    Ok(ended)
}

async fn event_loop(
    terminal: TerminalSession,
    servers: Servers,
    (themes, places): (Vec<Theme>, Places),
    runners: Vec<EffectRunner>,
) -> io::Result<Ended> {
    let TerminalSession {
        screen,
        inbox,
        signals,
    } = terminal;
    let depth = Depth::detect(&|name| std::env::var(name).ok());
    let (tell, told) = channel(EVENTS);
    let mut app = App {
        screen,
        servers,
        themes: themes.iter().map(|theme| theme.adapt(depth)).collect(),
        notifier: Notifier::new(tell.clone()),
        keeper: Keeper::new(places.columns, tell.clone()),
        reporter: Reporter::new(places.reports, themes, tell),
        drawn: None,
        due: None,
        live: false,
    };
    let clock = Clock::start();
    let ticker = clock.ticker();
    let mut source = EventSource {
        inbox,
        signals,
        runners: Runners::new(runners),
        told,
        clock,
        ticker,
    };
    let ran = app.run(&mut source).await;
    let App {
        screen,
        servers,
        reporter,
        keeper,
        ..
    } = app;
    // The terminal is restored first.
    drop(screen);
    let quit = if servers.were_connected() {
        Ending::Quit
    } else {
        Ending::NeverConnected
    };
    let Servers { shown, others, .. } = servers;
    let recorders = others.into_iter().chain([shown]);
    let recorders = recorders.filter_map(|server| server.recorder);
    let unrecorded = join_all(recorders.map(|recorder| async { recorder.end().await.err() }));
    let unaudited = join_all(source.runners.all.into_iter().map(EffectRunner::end));
    let (unaudited, unrecorded, unreported, unkept) =
        tokio::join!(unaudited, unrecorded, reporter.end(), keeper.end());
    Ok(Ended {
        ending: ran?.unwrap_or(quit),
        unwritten: (unaudited.into_iter().chain(unrecorded).flatten())
            .chain(unreported)
            .chain(unkept)
            .collect(),
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
