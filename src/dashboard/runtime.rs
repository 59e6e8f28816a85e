//! The loop: events are drained, the model is updated, one frame is drawn; effects are carried out by
//! tasks that own their sessions, so that no slow server can hold a key press.

use super::action::{Action, ActionId, Outcome};
use super::audit::Audit;
use super::event::{Effect, Event, Key, Moment, OwnCost, Request};
use super::model::{Link, Model, Start};
use super::panels::spec::Pool;
use super::terminal::{self, Screen};
use super::theme::{Depth, Theme};
use super::view::view;
use crate::demo::launch::{Engine, Place, Step};
use crate::pg::admin::{self, Refresh};
use crate::pg::sampler::{self, Job, Manner, Queue, Report, SessionId};
use crate::pg::{Canceller, Class, PgError, Target};
use crate::text::Clean;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

/// Frames are at least so far apart, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(33);
/// The model learns of time this often.
const TICK: Duration = Duration::from_millis(250);
/// More events than can wait: a burst of keys while a frame is drawn.
const EVENTS: usize = 256;
/// A server's deadline, and the client's behind it.
const FAST_TIMEOUT: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(5));
const SLOW_TIMEOUT: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(25));

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
    let config = start.config.clone();
    let Stage {
        mut screen,
        mut inbox,
        mut signals,
    } = stage;
    let mut hands = Hands::start(&config, targets, audit);
    let mut model = Model::new(start);
    let clock = Clock::start();
    let mut ticker = tokio::time::interval(TICK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drawn: Option<Instant> = None;
    let mut connected = false;
    let depth = Depth::detect(&|name| std::env::var(name).ok());
    let themes: Vec<Theme> = themes.iter().map(|theme| theme.adapt(depth)).collect();
    loop {
        let next_frame = drawn.map_or_else(Instant::now, |at| at + FRAME);
        let mut urgent = false;
        let first = tokio::select! {
            biased;
            ending = signals.next() => match ending {
                Told::End => break,
                Told::Suspend => Event::KeyPressed(Key::Ctrl('z')),
            },
            event = inbox.recv() => match event {
                Some(event) => {
                    urgent = true;
                    event
                }
                // The keyboard thread ends when the terminal is gone.
                None => break,
            },
            Some(report) = hands.reports.recv() => Event::Reported(report),
            Some((latencies_ms, failed)) = hands.canary.recv() => Event::CanaryTimed { latencies_ms, failed },
            Some(event) = hands.ended.recv() => event,
            _ = ticker.tick() => clock.tick(),
            () = sleep_until(next_frame), if model.dirty => Event::Resumed,
        };
        if terminal::has_panicked() {
            return Ok(Ending::Panicked);
        }
        let mut effects = model.update(first);
        while let Ok(event) = inbox.try_recv() {
            effects.extend(model.update(event));
        }
        while let Ok(report) = hands.reports.try_recv() {
            effects.extend(model.update(Event::Reported(report)));
        }
        connected |= matches!(model.fast, Link::Live(_));
        for effect in effects {
            match effect {
                Effect::Quit => return Ok(ending(connected)),
                Effect::Suspend => {
                    screen.suspend()?;
                    let _ = model.update(Event::Resumed);
                }
                Effect::Copy(text) => screen.copy(&text)?,
                Effect::CaptureMouse(on) => screen.capture_mouse(on)?,
                other => hands.execute(other),
            }
        }
        if model.dirty && (urgent || drawn.is_none_or(|at| at.elapsed() >= FRAME)) {
            let (width, height) = screen.size()?;
            if (width, height) != model.size {
                let _ = model.update(Event::Resized { width, height });
            }
            let theme = themes.get(model.theme).or(themes.first());
            if let Some(theme) = theme {
                screen.draw(|frame| view(&model, theme, frame))?;
            }
            model.dirty = false;
            drawn = Some(Instant::now());
        }
    }
    Ok(ending(connected))
}

fn ending(connected: bool) -> Ending {
    if connected {
        Ending::Quit
    } else {
        Ending::NeverConnected
    }
}

/// What a signal asks for.
enum Told {
    End,
    Suspend,
}

/// The signals that end or suspend a terminal program.
struct Signals {
    end: [Signal; 3],
    stop: Signal,
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
        })
    }

    async fn next(&mut self) -> Told {
        let [terminate, hangup, interrupt] = &mut self.end;
        tokio::select! {
            _ = terminate.recv() => Told::End,
            _ = hangup.recv() => Told::End,
            _ = interrupt.recv() => Told::End,
            _ = self.stop.recv() => Told::Suspend,
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

/// Everything that acts outside: sessions, and what is running on them.
struct Hands {
    targets: Targets,
    fast: Sender<Vec<Job>>,
    slow: Sender<Vec<Job>>,
    olap: Sender<Vec<Job>>,
    point: watch::Sender<Option<String>>,
    wake: Arc<Notify>,
    reports: Receiver<Report>,
    canary: Receiver<(Vec<f64>, u32)>,
    ended: Receiver<Event>,
    tell: Sender<Event>,
    audit: Audit,
    running: Arc<Mutex<HashMap<ActionId, Running>>>,
}

/// A refresh that can be cancelled.
struct Running {
    canceller: Option<Canceller>,
    cancelled: bool,
}

impl Hands {
    fn start(config: &crate::config::Config, targets: Targets, audit: Audit) -> Self {
        let (report, reports) = channel(EVENTS);
        let (time, canary) = channel(8);
        let (tell, ended) = channel(EVENTS);
        let (point, points) = watch::channel(None);
        let wake = Arc::new(Notify::new());
        let session = |id, target: &Target, manner: Manner, queue: &Queue| {
            tokio::spawn(sampler::run(
                id,
                target.clone(),
                manner,
                Arc::clone(queue),
                report.clone(),
                Arc::clone(&wake),
            ));
        };
        let queue = || {
            let (sender, receiver) = channel(64);
            let queue: Queue = Arc::new(tokio::sync::Mutex::new(receiver));
            (sender, queue)
        };
        let (fast, fast_queue) = queue();
        session(
            SessionId::Fast,
            &targets.oltp,
            monitor(FAST_TIMEOUT),
            &fast_queue,
        );
        let (slow, slow_queue) = queue();
        session(
            SessionId::Slow,
            &targets.oltp,
            monitor(SLOW_TIMEOUT),
            &slow_queue,
        );
        let (olap, olap_queue) = queue();
        for number in 0..config.olap.connections {
            session(
                SessionId::Olap(number),
                &targets.olap,
                analytic(&config.olap),
                &olap_queue,
            );
        }
        tokio::spawn(sampler::canary(
            targets.oltp.clone(),
            monitor(FAST_TIMEOUT),
            points,
            config.canary.interval,
            time,
            Arc::clone(&wake),
        ));
        let running = Arc::default();
        Self {
            targets,
            fast,
            slow,
            olap,
            point,
            wake,
            reports,
            canary,
            ended,
            tell,
            audit,
            running,
        }
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Sample(requests) => self.sample(requests),
            Effect::Canary(sql) => {
                self.point.send_replace(sql);
            }
            Effect::Act { id, action } => {
                let acting = Acting {
                    id,
                    target: self.targets.oltp.clone(),
                    audit: self.audit.clone(),
                    tell: self.tell.clone(),
                    running: Arc::clone(&self.running),
                };
                tokio::spawn(acting.run(action));
            }
            Effect::CancelAction(id) => self.cancel(id),
            Effect::Reconnect => self.wake.notify_waiters(),
            Effect::Copy(_) | Effect::CaptureMouse(_) | Effect::Suspend | Effect::Quit => {}
        }
    }

    fn sample(&self, requests: Vec<Request>) {
        let (mut fast, mut slow) = (Vec::new(), Vec::new());
        for request in requests {
            let job = Job {
                id: request.feed.0,
                sql: request.sql,
                as_text: request.as_text,
            };
            match request.pool {
                Pool::Oltp => fast.push(job),
                Pool::Slow => slow.push(job),
                // Each on its own, so that several sessions share the work.
                Pool::Olap => self.hand_over(&self.olap, vec![job]),
            }
        }
        self.hand_over(&self.fast, fast);
        self.hand_over(&self.slow, slow);
    }

    /// A queue holds more than all panels can ask at once; should it be full all the same, the panel
    /// is told instead of waiting for ever.
    fn hand_over(&self, queue: &Sender<Vec<Job>>, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        if let Err(full) = queue.try_send(jobs) {
            for job in full.into_inner() {
                let outcome = Err(PgError::new(
                    Class::Timeout,
                    "too many statements are waiting",
                ));
                let _ = self.tell.try_send(Event::Reported(Report::Answered {
                    id: job.id,
                    took_ms: 0.0,
                    outcome,
                }));
            }
        }
    }

    fn cancel(&self, id: ActionId) {
        let Ok(mut running) = self.running.lock() else {
            return;
        };
        if let Some(refresh) = running.get_mut(&id) {
            refresh.cancelled = true;
            if let Some(canceller) = refresh.canceller.clone() {
                tokio::spawn(async move { canceller.cancel().await });
            }
        }
    }
}

fn monitor((server, client): (Duration, Duration)) -> Manner {
    Manner {
        setup: sampler::setup_statements(server, "''"),
        transaction: false,
        deadline: client,
        lazy: false,
    }
}

fn analytic(olap: &crate::config::Olap) -> Manner {
    let limits = sampler::setup_statements(olap.statement_timeout, "\"$user\", public");
    Manner {
        setup: format!(
            "{limits}; SET work_mem = {}",
            crate::pg::quote_literal(&olap.work_mem)
        ),
        transaction: true,
        deadline: olap.statement_timeout + Duration::from_secs(5),
        lazy: true,
    }
}

/// One action: intent written, done, outcome read back, written and told.
struct Acting {
    id: ActionId,
    target: Target,
    audit: Audit,
    tell: Sender<Event>,
    running: Arc<Mutex<HashMap<ActionId, Running>>>,
}

impl Acting {
    async fn run(self, action: Action) {
        let outcome = if let Err(error) =
            self.audit
                .intent(&wall_clock().to_rfc3339(), self.id, &action)
        {
            Outcome::Unaudited(Clean::from(format!(
                "{}: {error}",
                self.audit.path.display()
            )))
        } else {
            let _ = self.tell.send(Event::ActionStarted(self.id)).await;
            self.carry_out(&action).await
        };
        // The action is done; a disk that filled up meanwhile cannot undo it, and the log still tells.
        let _ = self
            .audit
            .outcome(&wall_clock().to_rfc3339(), self.id, &outcome);
        let _ = self
            .tell
            .send(Event::ActionEnded {
                id: self.id,
                outcome,
            })
            .await;
    }

    async fn carry_out(&self, action: &Action) -> Outcome {
        match action {
            Action::Signal { signal, backends } => {
                let whom: Vec<_> = backends
                    .iter()
                    .map(|backend| backend.identity.clone())
                    .collect();
                Outcome::Signalled(admin::signal(&self.target, *signal, &whom).await)
            }
            Action::Refresh { view, concurrently } => {
                let target = self.target.with_application_name("htap-top refresh");
                self.note(None);
                let outcome = match Refresh::prepare(&target, view, *concurrently).await {
                    Err(error) => Outcome::Failed(error),
                    Ok(refresh) => self.refresh(refresh, &target).await,
                };
                if let Ok(mut running) = self.running.lock() {
                    running.remove(&self.id);
                }
                outcome
            }
        }
    }

    /// Makes the refresh known, so that it can be cancelled; whether it already was.
    fn note(&self, canceller: Option<Canceller>) -> bool {
        let Ok(mut running) = self.running.lock() else {
            return false;
        };
        let refresh = running.entry(self.id).or_insert(Running {
            canceller: None,
            cancelled: false,
        });
        refresh.canceller = canceller;
        refresh.cancelled
    }

    async fn refresh(&self, refresh: Refresh, target: &Target) -> Outcome {
        if self.note(Some(refresh.canceller(target))) {
            return Outcome::Cancelled;
        }
        match refresh.run().await {
            Ok(ms) => Outcome::Refreshed(ms),
            Err(error) if error.class == Class::Timeout && self.note(None) => Outcome::Cancelled,
            Err(error) if error.session_survives() => Outcome::Failed(error),
            Err(error) => Outcome::Unknown(error),
        }
    }
}
