//! Execution of effects: tasks that own their sessions, and audited actions.

use super::{EVENTS, Targets, logged, planning, wall_clock};
use crate::dashboard::action::{Action, ActionId, Outcome};
use crate::dashboard::audit::Audit;
use crate::dashboard::event::{Effect, Event, Request};
use crate::dashboard::panels::spec::Pool;
use crate::pg::admin::{self, Exclusions};
use crate::pg::sampler::{self, Job, Queue, Report, SessionConfig, SessionId, Tally};
use crate::pg::{Canceller, Class, Client, PgError, Settings, Target};
use crate::pg::{canary, measure};
use crate::system::refresh::Refresh;
use crate::text::Clean;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Timeouts of a statement on the server and, in case that fails, on the client.
const FAST_TIMEOUT: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(5));
/// Like [`FAST_TIMEOUT`], for statements that may take long.
const SLOW_TIMEOUT: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(25));

/// The sessions, and the actions running on them.
pub(super) struct EffectRunner {
    targets: Targets,
    fast: Sender<Vec<Job>>,
    slow: Sender<Vec<Job>>,
    olap: Sender<Vec<Job>>,
    point: watch::Sender<Option<String>>,
    wake: watch::Sender<()>,
    /// Reports of the sessions.
    pub(super) reports: Receiver<Report>,
    /// Latencies of point queries in milliseconds, and the number of failures.
    pub(super) canary: Receiver<(Vec<f64>, u32)>,
    /// Results of actions.
    pub(super) ended: Receiver<Event>,
    tell: Sender<Event>,
    audit: Audit,
    running: Arc<Mutex<HashMap<ActionId, Running>>>,
    sessions: JoinSet<()>,
}

/// Maximum time to wait at the end for statements in progress.
const END: Duration = Duration::from_secs(1);

/// A refresh or a measurement that can be cancelled.
struct Running {
    canceller: Option<Canceller>,
    cancelled: bool,
}

impl EffectRunner {
    pub(super) fn start(config: &crate::config::Config, targets: Targets, audit: Audit) -> Self {
        let (report, reports) = channel(EVENTS);
        let (time, canary) = channel(8);
        let (tell, ended) = channel(EVENTS);
        let (point, points) = watch::channel(None);
        let (wake, woken) = watch::channel(());
        let mut sessions = JoinSet::new();
        let mut session = |id, target: &Target, config: SessionConfig, queue: &Queue| {
            sessions.spawn(sampler::run(
                id,
                target.clone(),
                config,
                Arc::clone(queue),
                report.clone(),
                woken.clone(),
            ));
        };
        let (fast_done, done) = (Tally::default(), Tally::default());
        let elsewhere = targets.tally(&done);
        let queue = || {
            let (sender, receiver) = channel(64);
            let queue: Queue = Arc::new(tokio::sync::Mutex::new(receiver));
            (sender, queue)
        };
        let (fast, fast_queue) = queue();
        session(
            SessionId::Fast,
            &targets.oltp,
            monitor(FAST_TIMEOUT, &fast_done, &done),
            &fast_queue,
        );
        let (slow, slow_queue) = queue();
        session(
            SessionId::Slow,
            &targets.oltp,
            monitor(SLOW_TIMEOUT, &done, &done),
            &slow_queue,
        );
        let (olap, olap_queue) = queue();
        for number in 0..config.olap.connections {
            session(
                SessionId::Olap(number),
                &targets.olap,
                analytic(&config.olap, &elsewhere),
                &olap_queue,
            );
        }
        sessions.spawn(canary::canary(
            targets.oltp.clone(),
            monitor(FAST_TIMEOUT, &done, &done),
            points,
            config.canary.interval,
            time,
            woken.clone(),
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
            sessions,
        }
    }

    /// Closes the sessions, each after its statement in progress has been answered: a server logs it if a
    /// client disappears during a statement. Waits at most [`END`].
    pub(super) async fn end(self) {
        let Self {
            mut sessions,
            fast,
            slow,
            olap,
            point,
            reports,
            canary,
            ..
        } = self;
        point.send_replace(None);
        drop((fast, slow, olap, point, reports, canary));
        let all = async { while sessions.join_next().await.is_some() {} };
        let _ = timeout(END, all).await;
    }

    pub(super) fn execute(&mut self, effect: Effect) {
        logged::effect(&effect);
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
            Effect::Explain { id, whose } => {
                let (target, tell) = (self.targets.oltp.clone(), self.tell.clone());
                let audit = self.audit.clone();
                tokio::spawn(async move {
                    let outcome = planning::planned(&target, &audit, id, &whose).await;
                    let _ = tell.send(Event::Explained { id, outcome }).await;
                });
            }
            Effect::CancelAction(id) => self.cancel(id),
            Effect::Reconnect => {
                self.wake.send_replace(());
            }
            Effect::Copy(_)
            | Effect::CaptureMouse(_)
            | Effect::Travel(_)
            | Effect::Suspend
            | Effect::Quit => {}
        }
    }

    fn sample(&self, requests: Vec<Request>) {
        let (mut fast, mut slow) = (Vec::new(), Vec::new());
        for request in requests {
            let job = Job {
                id: request.feed.0,
                sql: request.sql,
                as_text: request.as_text,
                once: request.once,
            };
            match request.pool {
                Pool::Oltp => fast.push(job),
                Pool::Slow => slow.push(job),
                // One job at a time, so that several sessions share the work.
                Pool::Olap => self.hand_over(&self.olap, vec![job]),
            }
        }
        self.hand_over(&self.fast, fast);
        self.hand_over(&self.slow, slow);
    }

    /// Queues jobs. A queue has room for more statements than all panels can send at once; if it is full
    /// nevertheless, the panels get an error instead of waiting forever.
    fn hand_over(&self, queue: &Sender<Vec<Job>>, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        if let Err(full) = queue.try_send(jobs) {
            let jobs = full.into_inner();
            logged::not_asked(jobs.len());
            for job in jobs {
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
                let tell = self.tell.clone();
                tokio::spawn(async move {
                    if let Err(error) = canceller.cancel().await {
                        let what = format!("the cancel request could not be sent: {error}");
                        let _ = tell.send(Event::Warned(what.into())).await;
                    }
                });
            }
        }
    }
}

fn monitor((server, client): (Duration, Duration), ended: &Tally, others: &Tally) -> SessionConfig {
    SessionConfig {
        settings: Settings::of_monitor(server),
        transaction: false,
        deadline: client,
        lazy: false,
        ended: Tally::clone(ended),
        others: Tally::clone(others),
    }
}

fn analytic(olap: &crate::config::Olap, ended: &Tally) -> SessionConfig {
    SessionConfig {
        settings: Settings::of_analysis(olap.statement_timeout, &olap.work_mem),
        transaction: true,
        deadline: olap.statement_timeout + Duration::from_secs(5),
        lazy: true,
        ended: Tally::clone(ended),
        others: Tally::default(),
    }
}

/// One action: its intent is recorded, it is carried out, its effect is verified, recorded and reported.
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
            let unfinished = Unfinished {
                audit: &self.audit,
                id: self.id,
                open: true,
            };
            let _ = self.tell.send(Event::ActionStarted(self.id)).await;
            let outcome = self.carry_out(&action).await;
            unfinished.ended();
            outcome
        };
        // The action is done. A disk that filled up meanwhile cannot undo it, but the user must be told.
        let written = self
            .audit
            .outcome(&wall_clock().to_rfc3339(), self.id, &outcome);
        if let Err(error) = written {
            let path = self.audit.path.display();
            let what = format!("the outcome is missing in the audit file {path}: {error}");
            let _ = self.tell.send(Event::Warned(what.into())).await;
        }
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
            Action::Signal {
                signal,
                backends,
                rule,
            } => {
                let exclusions = rule
                    .as_ref()
                    .map_or(Exclusions::default(), |rule| Exclusions {
                        superusers: true,
                        unless_idle_s: rule.idle_s,
                    });
                let whom: Vec<_> = backends
                    .iter()
                    .map(|backend| backend.identity.clone())
                    .collect();
                Outcome::Signalled(admin::signal(&self.target, *signal, &whom, exclusions).await)
            }
            Action::Measure { relid, .. } => {
                self.note(None);
                let outcome = match measure::open(&self.target).await {
                    Err(error) => Outcome::Failed(error),
                    Ok(client) => self.measure(&client, *relid).await,
                };
                self.forget();
                outcome
            }
            Action::Refresh { view, mode } => {
                let target = self.target.with_application_name("htap-top refresh");
                self.note(None);
                let outcome = match Refresh::prepare(&target, view, *mode).await {
                    Err(error) => Outcome::Failed(error),
                    Ok(refresh) => self.refresh(refresh, &target).await,
                };
                self.forget();
                outcome
            }
        }
    }

    async fn measure(&self, client: &Client, relid: i64) -> Outcome {
        if self.note(Some(client.canceller(&self.target))) {
            return Outcome::Cancelled;
        }
        match measure::measure(client, relid).await {
            Ok(measured) => Outcome::Measured(measured),
            Err(error) if error.class == Class::Timeout && self.note(None) => Outcome::Cancelled,
            Err(error) => Outcome::Failed(error),
        }
    }

    /// Ends the time in which the action can be cancelled.
    fn forget(&self) {
        if let Ok(mut running) = self.running.lock() {
            running.remove(&self.id);
        }
    }

    /// Registers the running action so that it can be cancelled; returns true if it already was.
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
            Ok(done) => Outcome::Refreshed(done.took_ms),
            Err(error) if error.class == Class::Timeout && self.note(None) => Outcome::Cancelled,
            Err(error) if error.session_survives() => Outcome::Failed(error),
            Err(error) => Outcome::Unknown(error),
        }
    }
}

/// An action in progress. If the program ends before it does, at least that is recorded in the audit file.
struct Unfinished<'a> {
    audit: &'a Audit,
    id: ActionId,
    open: bool,
}

impl Unfinished<'_> {
    fn ended(mut self) {
        self.open = false;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.open {
            let why = "the program ended first; the server may still be working on it";
            let outcome = Outcome::Unknown(PgError::new(Class::Reconnect, why));
            let _ = self
                .audit
                .outcome(&wall_clock().to_rfc3339(), self.id, &outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::refresh::{Mode, View};

    #[tokio::test]
    async fn an_action_that_the_end_of_the_program_cuts_off_has_an_outcome_in_the_audit_file() {
        let folder = tempfile::tempdir().unwrap();
        // Accepts connections but never answers.
        let listener = std::os::unix::net::UnixListener::bind(folder.path().join(".s.PGSQL.5432"));
        let (tell, mut told) = channel(4);
        let path = folder.path().join("audit.jsonl");
        let acting = Acting {
            id: ActionId(7),
            target: Target::local(folder.path(), 5432, "u", "d"),
            audit: Audit {
                path: path.clone(),
                target: String::new(),
                actor: String::new(),
            },
            tell,
            running: Arc::default(),
        };
        let view = View::new("s", "v");
        let task = tokio::spawn(acting.run(Action::Refresh {
            view,
            mode: Mode::Concurrent,
        }));
        assert_eq!(told.recv().await, Some(Event::ActionStarted(ActionId(7))));
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 2 && lines[1].contains("unknown"), "{text}");
        drop(listener);
    }
}
