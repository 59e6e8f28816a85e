//! Actions: confirmation, execution and result.

use super::meant::backend;
use super::{Confirm, Model, Plan, Popup, Running};
use crate::dashboard::action::{Action, ActionId, Backend, Grade, Outcome, WRITING_AUDIT};
use crate::dashboard::diagnosis::blocker::Kind;
use crate::dashboard::event::{Acted, Effect};
use crate::dashboard::rows::{Panel, Row, Rows, read};
use crate::dashboard::wait_graph::WaitGraph;
use crate::format;
use crate::keys::Command;
use crate::pg::admin::Signal;
use crate::text::Clean;

impl Model {
    /// Shows the reason if actions are blocked; returns true if they are.
    pub(super) fn barred(&mut self) -> bool {
        let why = self.blocked_reason();
        if let Some(why) = &why {
            self.say(Grade::Bad, why);
        }
        why.is_some()
    }

    /// Returns the reason why no action is possible at the moment, if any.
    pub fn blocked_reason(&self) -> Option<String> {
        let why = if self.playback.is_some() {
            "viewing the past: no action is possible; {back} returns to live"
        } else if self.config.read_only {
            "read-only: actions are switched off (--read-only)"
        } else if self.fast.usable() {
            return None;
        } else {
            "not connected: no action is possible now"
        };
        Some(self.config.keys.fill(why))
    }

    pub(super) fn ask_cancel(&mut self) {
        if matches!(self.popup, Some(Popup::Why { .. })) {
            self.ask_signal(Signal::Cancel);
        } else if self.id_of(Panel::Views) == Some(self.focus) {
            self.ask_cancel_refresh();
        } else if !self.ask_cancel_measure() {
            self.ask_signal(Signal::Cancel);
        }
    }

    pub(super) fn ask_terminate(&mut self) {
        self.ask_signal(Signal::Terminate);
    }

    fn ask_signal(&mut self, signal: Signal) {
        if self.barred() {
            return;
        }
        let chosen = self.chosen(signal);
        if chosen.is_empty() {
            let why = if matches!(self.popup, Some(Popup::Detail(_))) {
                "this row is not a backend, or the backend has exited".to_owned()
            } else {
                format!(
                    "select a backend first: {} lists queries, {} snapshots; {} moves there",
                    self.way_to("activity"),
                    self.way_to("snapshots"),
                    self.config.keys.shown(Command::NextPanel)
                )
            };
            self.say(Grade::Doubtful, &why);
            return;
        }
        // The server would accept the signal and do nothing, which would look like success.
        let (idle, backends): (Vec<_>, Vec<_>) = chosen
            .into_iter()
            .partition(|backend| signal == Signal::Cancel && backend.idle);
        if !idle.is_empty() {
            let pids: Vec<String> = idle.iter().map(|b| b.identity.pid.to_string()).collect();
            let pids = pids.join(", ");
            self.say(
                Grade::Doubtful,
                &format!(
                    "no running statement to cancel: pid {pids}; {} terminates a session",
                    self.config.keys.shown(Command::Terminate)
                ),
            );
        }
        if !backends.is_empty() {
            self.confirm_signal(signal, backends);
        }
    }

    fn confirm_signal(&mut self, signal: Signal, backends: Vec<Backend>) {
        let (what, effect) = match signal {
            Signal::Cancel => (
                "Cancel the statement of",
                "Its transaction fails; the session continues.",
            ),
            Signal::Terminate => (
                "Terminate the session of",
                "Its transaction is rolled back; the client loses its connection.",
            ),
        };
        let mut lines = Vec::new();
        if let [only] = backends.as_slice() {
            lines.push(format!(
                "{what} pid {} ({})?",
                only.identity.pid, only.described
            ));
            lines.push(only.query.to_string());
        } else {
            lines.push(format!("{what} these {} backends?", backends.len()));
            lines.extend(
                backends
                    .iter()
                    .map(|b| format!("pid {} ({})  {}", b.identity.pid, b.described, b.query)),
            );
        }
        lines.push(String::new());
        lines.push(effect.to_owned());
        for backend in &backends {
            lines.extend(self.loss_of(backend));
        }
        let guarded = backends.iter().any(|b| b.identity.since.is_some());
        if signal == Signal::Terminate && guarded {
            lines.push(
                "A backend whose long transaction has ended by then is not signalled.".into(),
            );
        }
        lines.extend(self.freed(&backends));
        let number = (backends.len() > 1).then_some(backends.len());
        self.popup = Some(Popup::Confirm(Confirm {
            lines,
            actions: vec![Action::Signal {
                signal,
                backends,
                rule: None,
            }],
            number,
            ..Confirm::default()
        }));
    }

    /// Returns the loss if the backend to be ended is not an ordinary session.
    fn loss_of(&self, backend: &Backend) -> Option<String> {
        let pid = backend.identity.pid;
        let backends = Rows::<read::Backend>::of(self.rows(Panel::Activity));
        let kind = Kind::of(backends.iter().find(|row| row.pid() == Some(pid))?);
        kind.is_costly()
            .then(|| format!("pid {pid}: {}", kind.loss()))
    }

    /// Describes the result of ending these backends: released waiters and removable dead rows.
    fn freed(&self, backends: &[Backend]) -> Option<String> {
        let hit = |pid: Option<i64>| {
            backends
                .iter()
                .any(|backend| Some(backend.identity.pid) == pid)
        };
        let activity = self.rows(Panel::Activity);
        let graph = WaitGraph::of(activity);
        let rows = Rows::<read::Waiter>::of(activity);
        let rows = rows.iter().filter(|row| hit(row.pid()));
        let ended: Vec<usize> = rows.map(|row| row.position()).collect();
        let waiters = graph.released(&ended).len();
        // A backend that waits itself may only precede them in a queue that continues.
        let mut blockers = ended.iter().flat_map(|row| graph.blockers(*row));
        let waits = blockers.any(|blocker| !ended.contains(blocker));
        let holders = Rows::<read::Holder>::of(self.rows(Panel::Snapshots));
        let holders = holders.iter().filter(|row| hit(row.pid()));
        let pins: i64 = holders.filter_map(|row| row.pins()).sum();
        let mut parts = Vec::new();
        if waiters > 0 {
            let plural = if waiters == 1 { "" } else { "s" };
            let most = if waits { "up to " } else { "" };
            parts.push(format!("{most}{waiters} waiting session{plural}"));
        }
        if pins > 0 {
            parts.push(format!(
                "up to {} dead rows for vacuum",
                format::count(pins as f64)
            ));
        }
        (!parts.is_empty()).then(|| format!("Frees {}.", parts.join(" and ")))
    }

    pub(super) fn ask_cancel_old_olap(&mut self) {
        if self.barred() {
            return;
        }
        let limit = self.config.targets.olap_limit.as_secs_f64();
        let activity = Rows::<read::Backend>::of(self.rows(Panel::Activity));
        let old = |row: &Row<'_, read::Backend>| {
            row.class().is("olap")
                && row.state().is("active")
                && row.query_age_s() >= Some(limit)
                && !Kind::of(*row).is_costly()
        };
        let signalled = activity.by();
        let old = activity.iter().filter(old);
        let backends: Vec<Backend> = old
            .filter_map(|row| backend(signalled.at(row.position()), Signal::Cancel))
            .collect();
        if backends.is_empty() {
            let limit = format::seconds(limit);
            self.say(
                Grade::Good,
                &format!("no OLAP statement runs longer than {limit} (targets.olap_limit)"),
            );
            return;
        }
        self.confirm_signal(Signal::Cancel, backends);
    }

    /// Carries out a confirmed action.
    pub(super) fn confirmed(&mut self, confirm: Confirm) -> Vec<Effect> {
        let Some(id) = confirm.cancels else {
            return self.act(confirm.actions);
        };
        let running = self.running.iter().find(|running| running.id == id);
        let Some(running) = running else {
            self.queue.clear();
            self.say(Grade::Doubtful, "it has already ended; nothing was sent");
            return Vec::new();
        };
        if matches!(running.action, Action::Refresh { .. }) {
            self.queue.clear();
        }
        vec![Effect::CancelAction(id)]
    }

    /// Starts actions; refreshes run one after the other.
    fn act(&mut self, actions: Vec<Action>) -> Vec<Effect> {
        let mut effects = Vec::new();
        for action in actions {
            match action {
                Action::Refresh { .. } => {
                    let known = self.running.iter().any(|running| running.action == action)
                        || self.queue.contains(&action);
                    if !known {
                        self.queue.push_back(action);
                    }
                }
                Action::Measure { .. } | Action::PauseRelay | Action::ResumeRelay => {
                    effects.push(self.begin(action));
                }
                Action::Signal { .. } => {
                    if let Some(feed) = self.feed_mut(self.focus) {
                        feed.cursor.tagged.clear();
                    }
                    effects.push(self.begin(action));
                }
            }
        }
        effects.extend(self.next_refresh());
        effects
    }

    pub(super) fn begin(&mut self, action: Action) -> Effect {
        self.last_id += 1;
        let id = ActionId(self.last_id);
        let mut line = self.note(Grade::Running, &format!("{} …", action.describe()));
        line.text = Clean::from(format!("{}: {WRITING_AUDIT}", action.describe()));
        self.notice = Some((line, self.now));
        let lanes = &mut self.history.course.lanes;
        lanes.began(id.0, &action.describe(), self.now.mono_ms as i64);
        self.running.push(Running {
            id,
            action: action.clone(),
            since: self.now,
            audited: false,
        });
        Effect::Act { id, action }
    }

    /// Notes that the intent of an action or plan is in the audit file.
    pub(super) fn started(&mut self, id: ActionId) {
        self.dirty = true;
        if let Some(Popup::Detail(detail)) = &mut self.popup
            && detail.plan == Plan::Wanted(id)
        {
            detail.plan = Plan::Asked(id);
        }
        let now = self.now;
        let Some(running) = self.running.iter_mut().find(|running| running.id == id) else {
            return;
        };
        (running.since, running.audited) = (now, true);
        let what = running.action.describe();
        if let Some((line, at)) = &mut self.notice
            && line.text.as_str() == format!("{what}: {WRITING_AUDIT}")
        {
            (line.text, *at) = (Clean::from(format!("{what} …")), now);
        }
    }

    pub(super) fn next_refresh(&mut self) -> Option<Effect> {
        if let Some(rule) = &self.guarding.holding {
            if !self.queue.is_empty() {
                let text = format!(
                    "guard {rule} holds the refresh back until OLTP recovers; {} on the views drops it",
                    self.config.keys.shown(Command::Cancel)
                );
                self.say(Grade::Doubtful, &text);
            }
            return None;
        }
        if self
            .running
            .iter()
            .any(|running| matches!(running.action, Action::Refresh { .. }))
        {
            return None;
        }
        let action = self.queue.pop_front()?;
        Some(self.begin(action))
    }

    /// Takes in what a dashboard did, unless it is this one and knows already.
    pub(super) fn acted(&mut self, acted: &Acted) {
        let now_ms = self.now_ms();
        let start_ms = now_ms.saturating_sub_unsigned(acted.took_ms);
        let (what, outcome) = (acted.what.as_str(), acted.outcome.as_str());
        let lanes = &mut self.history.course.lanes;
        if lanes.acted(acted.id.0, (what, outcome), (start_ms, now_ms)) {
            let _ = self.note(acted.grade, &format!("{what}: {outcome}"));
        }
    }

    pub(super) fn ended(&mut self, id: ActionId, outcome: &Outcome) -> Vec<Effect> {
        let Some(at) = self.running.iter().position(|running| running.id == id) else {
            return Vec::new();
        };
        let running = self.running.remove(at);
        let (grade, what) = outcome.describe();
        let lanes = &mut self.history.course.lanes;
        lanes.ended(id.0, &what, self.now.mono_ms as i64);
        self.say(grade, &format!("{}: {what}", running.action.describe()));
        let mut effects = Vec::new();
        if let Action::Refresh { view, .. } = &running.action {
            if let Outcome::Refreshed(ms) = outcome {
                self.note_refresh(view, *ms / 1000.0);
            }
            effects.extend(self.next_refresh());
        }
        // The panels that the action may have changed are sampled at once.
        let panels = [
            Panel::Activity,
            Panel::Snapshots,
            Panel::Views,
            Panel::Locks,
            Panel::Stream,
        ];
        let panels: Vec<_> = (panels.into_iter())
            .filter_map(|panel| self.id_of(panel))
            .collect();
        effects.extend(self.ask(&panels));
        effects
    }
}
