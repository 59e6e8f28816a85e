//! Execution of effects: tasks that own their sessions, and audited actions.

use super::auditing::{AuditWriter, Unwritten, Written};
use super::queues::Queues;
use super::sessions::{FAST_TIMEOUT, Opener, monitor};
use super::{EVENTS, Targets, hosting, logged, planning, wall_clock};
use crate::dashboard::action::{Action, ActionId, Outcome};
use crate::dashboard::audit::Audit;
use crate::dashboard::event::{Acted, Effect, Event};
use crate::pg::admin::{self, Exclusions};
use crate::pg::canary::{self, Pace};
use crate::pg::measure;
use crate::pg::sampler::{Report, Tally};
use crate::pg::{Canceller, Class, Client, PgError, Target};
use crate::stream::pause;
use crate::system::refresh::Refresh;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// The sessions, and the actions running on them.
pub(super) struct EffectRunner {
    targets: Box<Targets>,
    queues: Queues,
    point: watch::Sender<Option<String>>,
    pace: watch::Sender<Pace>,
    wake: watch::Sender<()>,
    /// Reports of the sessions.
    pub(super) reports: Receiver<Report>,
    /// Latencies of point queries in milliseconds, and the number of failures.
    pub(super) canary: Receiver<(Vec<f64>, u32)>,
    /// Results of actions.
    pub(super) ended: Receiver<Event>,
    tell: Sender<Event>,
    audit: Arc<AuditWriter>,
    running: Arc<Mutex<HashMap<ActionId, Running>>>,
    sessions: JoinSet<()>,
    /// Actions and plans in progress.
    actions: JoinSet<()>,
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
        let (wake, woken) = watch::channel(());
        let mut opener = Opener {
            sessions: JoinSet::new(),
            report,
            woken: woken.clone(),
        };
        let done = Tally::default();
        let queues = Queues::open(&mut opener, config, &targets, &done);
        let mut sessions = opener.sessions;
        let (point, points) = watch::channel(None);
        let (pace, paces) = watch::channel(Pace::soon(config.canary.interval));
        let (target, config) = (targets.oltp.clone(), monitor(FAST_TIMEOUT, &done, &done));
        sessions.spawn(canary::canary(target, config, points, paces, time, woken));
        Self {
            targets: Box::new(targets),
            queues,
            point,
            pace,
            wake,
            reports,
            canary,
            ended,
            tell,
            audit: Arc::new(AuditWriter::new(audit)),
            running: Arc::default(),
            sessions,
            actions: JoinSet::new(),
        }
    }

    /// Closes the sessions, each after its statement in progress has been answered: a server logs it if a
    /// client disappears during a statement. Waits at most [`END`]. Returns a sentence
    /// if lines are missing in the audit file.
    pub(super) async fn end(self) -> Option<String> {
        let Self {
            mut sessions,
            mut actions,
            audit,
            queues,
            point,
            reports,
            canary,
            ..
        } = self;
        point.send_replace(None);
        drop((queues, point, reports, canary));
        let all = async { while sessions.join_next().await.is_some() {} };
        let _ = timeout(END, all).await;
        // Aborted ones record that they were aborted.
        actions.shutdown().await;
        audit.end().await
    }

    pub(super) fn execute(&mut self, effect: Effect) {
        logged::effect(&effect);
        while self.actions.try_join_next().is_some() {}
        match effect {
            Effect::Sample(requests) => self.queues.sample(requests, &self.tell),
            Effect::ReadHost { feed, wanted } => {
                let tell = self.tell.clone();
                self.actions.spawn(hosting::read(feed, wanted, tell));
            }
            Effect::Canary(sql) => {
                self.point.send_replace(sql);
            }
            Effect::PacePoints(pace) => {
                self.pace.send_replace(pace);
            }
            Effect::Act { id, action } => {
                let acting = Acting {
                    id,
                    target: self.targets.oltp.clone(),
                    audit: Arc::clone(&self.audit),
                    tell: self.tell.clone(),
                    running: Arc::clone(&self.running),
                };
                self.actions.spawn(acting.run(action));
            }
            Effect::Explain { id, whose } => {
                let (target, tell) = (self.targets.oltp.clone(), self.tell.clone());
                let audit = Arc::clone(&self.audit);
                self.actions.spawn(async move {
                    let outcome = planning::planned(&target, &audit, &tell, id, &whose).await;
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
            | Effect::WriteReport { .. }
            | Effect::KeepColumns { .. }
            | Effect::Notify(_)
            | Effect::Show(_)
            | Effect::Suspend
            | Effect::Quit => {}
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

/// One action: its intent is recorded, it is carried out, its effect is verified, reported and recorded.
struct Acting {
    id: ActionId,
    target: Target,
    audit: Arc<AuditWriter>,
    tell: Sender<Event>,
    running: Arc<Mutex<HashMap<ActionId, Running>>>,
}

impl Acting {
    async fn run(self, action: Action) {
        if !matches!(action, Action::Signal { .. }) {
            self.note(None);
        }
        let mut unfinished = Unfinished {
            audit: &self.audit,
            id: self.id,
            sent: false,
            open: true,
        };
        let begun = Instant::now();
        let intent = self.write_intent(&action).wait().await;
        let outcome = match &intent {
            Ok(()) => {
                unfinished.sent = true;
                let _ = self.tell.send(Event::ActionStarted(self.id)).await;
                self.carry_out(&action).await
            }
            Err(unwritten) => Outcome::Unaudited(unwritten.why().clone()),
        };
        self.forget();
        unfinished.open = false;
        let line = match &intent {
            Err(Unwritten::Refused(_)) => None,
            _ => Some(write_outcome(&self.audit, self.id, &outcome)),
        };
        let id = self.id;
        let acted = Acted::of(id, &action, &outcome, begun.elapsed());
        let _ = self.tell.send(Event::ActionEnded { id, outcome }).await;
        let _ = self.tell.send(Event::Acted(acted)).await;
        // If nothing was done, no outcome is missing.
        let Some(line) = line.filter(|_| intent.is_ok()) else {
            return;
        };
        // The action is done. A disk that filled up meanwhile cannot undo it, but the user must be told.
        if let Err(unwritten) = line.wait().await {
            let what = format!(
                "the outcome is missing in the audit file {}",
                unwritten.why()
            );
            let _ = self.tell.send(Event::Warned(what.into())).await;
        }
    }

    fn write_intent(&self, action: &Action) -> Written {
        let (at, id, action) = (wall_clock().to_rfc3339(), self.id, action.clone());
        self.audit
            .write(move |audit| audit.intent(&at, id, &action))
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
            Action::Measure { relid, .. } => match measure::open(&self.target).await {
                Err(error) => Outcome::Failed(error),
                Ok(client) => self.measure(&client, *relid).await,
            },
            Action::Refresh { view, mode } => {
                let target = self.target.with_application_name("htap-top refresh");
                match Refresh::prepare(&target, view, *mode).await {
                    Err(error) => Outcome::Failed(error),
                    Ok(refresh) => self.refresh(refresh, &target).await,
                }
            }
            Action::PauseRelay => self.pause(true).await,
            Action::ResumeRelay => self.pause(false).await,
        }
    }

    /// Pauses relays, or resumes them.
    async fn pause(&self, paused: bool) -> Outcome {
        let target = self.target.with_application_name("htap-top stream");
        let client = match pause::open(&target).await {
            Ok(client) => client,
            Err(error) => return Outcome::Failed(error),
        };
        match pause::switch(&client, paused, self.audit.actor()).await {
            Ok(switched) => Outcome::Switched(switched),
            Err(error) if error.session_survives() => Outcome::Failed(error),
            Err(error) => Outcome::Unknown(error),
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

/// Queues the line of an outcome.
fn write_outcome(audit: &AuditWriter, id: ActionId, outcome: &Outcome) -> Written {
    let (at, outcome) = (wall_clock().to_rfc3339(), outcome.clone());
    audit.write(move |audit| audit.outcome(&at, id, &outcome))
}

/// An action in progress. If the program ends before it does, at least that is recorded in the audit file.
struct Unfinished<'a> {
    audit: &'a AuditWriter,
    id: ActionId,
    /// True once something may have been sent to the server.
    sent: bool,
    open: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.open {
            let outcome = if self.sent {
                let why = "the program ended first; the server may still be working on it";
                Outcome::Unknown(PgError::new(Class::Reconnect, why))
            } else {
                Outcome::Unaudited("the program ended first; nothing was sent".into())
            };
            let _ = write_outcome(self.audit, self.id, &outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::refresh::{Mode, View};

    /// A server that accepts connections but never answers, and an audit file.
    struct Place {
        folder: tempfile::TempDir,
        server: std::os::unix::net::UnixListener,
        audit: Arc<AuditWriter>,
        told: Receiver<Event>,
        tell: Sender<Event>,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join(".s.PGSQL.5432");
            let server = std::os::unix::net::UnixListener::bind(socket).unwrap();
            server.set_nonblocking(true).unwrap();
            let (tell, told) = channel(8);
            let audit = Audit {
                path: folder.path().join("audit.jsonl"),
                target: String::new(),
                actor: String::new(),
            };
            Self {
                folder,
                server,
                audit: Arc::new(AuditWriter::new(audit)),
                told,
                tell,
            }
        }

        fn act(&self, id: u32) -> tokio::task::JoinHandle<()> {
            let acting = Acting {
                id: ActionId(id),
                target: Target::local(self.folder.path(), 5432, "u", "d"),
                audit: Arc::clone(&self.audit),
                tell: self.tell.clone(),
                running: Arc::default(),
            };
            tokio::spawn(acting.run(Action::Refresh {
                view: View::new("s", "v"),
                mode: Mode::Concurrent,
            }))
        }

        async fn cut_off(task: tokio::task::JoinHandle<()>) {
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }

        /// Waits until everything is written; returns the action number and the content of each line.
        async fn lines(&self) -> Vec<(u64, serde_json::Value)> {
            assert_eq!(self.audit.end().await, None);
            let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap();
            let lines = text.lines().map(|line| {
                let line: serde_json::Value = serde_json::from_str(line).unwrap();
                let what = line.get("intent").or(line.get("outcome")).unwrap();
                (line["action_id"].as_u64().unwrap(), what.clone())
            });
            lines.collect()
        }
    }

    /// Returns the action number and the only key of each line.
    fn kinds(lines: &[(u64, serde_json::Value)]) -> Vec<(u64, &str)> {
        let mut kinds = Vec::new();
        for (id, what) in lines {
            let keys = what.as_object().unwrap().keys();
            kinds.extend(keys.map(|key| (*id, key.as_str())));
        }
        kinds
    }

    #[tokio::test]
    async fn an_action_that_the_end_of_the_program_cuts_off_has_an_outcome_in_the_audit_file() {
        let mut place = Place::new();
        let task = place.act(7);
        let told = place.told.recv().await;
        assert_eq!(told, Some(Event::ActionStarted(ActionId(7))));
        Place::cut_off(task).await;
        let lines = place.lines().await;
        let said = kinds(&lines);
        assert_eq!(said, [(7, "refresh"), (7, "unknown")]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_sent_before_the_disk_has_the_intent_and_nothing_after_the_limit() {
        let mut place = Place::new();
        // The disk is stalled until this is dropped.
        let (stall, gate) = std::sync::mpsc::channel::<()>();
        let _ = place.audit.write(move |_| {
            let _ = gate.recv();
            Ok(())
        });
        let refused = place.act(7);
        let cut_off = place.act(8);
        tokio::task::yield_now().await;
        Place::cut_off(cut_off).await;
        // This is the first message: the action never started.
        let Some(Event::ActionEnded {
            outcome: Outcome::Unaudited(why),
            ..
        }) = place.told.recv().await
        else {
            panic!("it was not refused");
        };
        assert!(
            why.as_str()
                .ends_with("the disk did not accept the line within 5s"),
            "{why}"
        );
        let told = place.told.recv().await;
        assert!(
            matches!(&told, Some(Event::Acted(acted)) if acted.outcome.as_str().starts_with("not done: ")),
            "{told:?}"
        );
        refused.await.unwrap();
        let nobody = place.server.accept().map(|_| ()).unwrap_err();
        assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock);
        let unwritten = place.audit.end().await.unwrap();
        assert!(
            unwritten.starts_with("5 lines not written to the audit file"),
            "{unwritten}"
        );
        // The queue is full: the action is refused at once, and leaves no line.
        let waiting: Vec<_> = (0..100).map(|_| place.audit.write(|_| Ok(()))).collect();
        place.act(9).await.unwrap();
        let told = place.told.recv().await;
        assert!(
            matches!(&told, Some(Event::ActionEnded { outcome: Outcome::Unaudited(why), .. })
                if why.as_str().ends_with("lines wait for the disk")),
            "{told:?}"
        );
        let told = place.told.recv().await;
        assert!(matches!(&told, Some(Event::Acted(_))), "{told:?}");
        drop((stall, waiting));
        tokio::time::resume();
        let lines = place.lines().await;
        let said = kinds(&lines);
        assert_eq!(
            said,
            [
                (7, "refresh"),
                (8, "refresh"),
                (8, "unaudited"),
                (7, "unaudited")
            ]
        );
        let why = &lines[2].1["unaudited"];
        assert_eq!(why, "the program ended first; nothing was sent");
        let task = place.act(10);
        let told = place.told.recv().await;
        assert_eq!(told, Some(Event::ActionStarted(ActionId(10))));
        Place::cut_off(task).await;
    }
}
