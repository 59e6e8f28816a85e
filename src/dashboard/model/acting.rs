//! Actions: confirmation, execution and result.

use super::{Confirm, LogLine, Model, Popup, Running};
use crate::dashboard::action::{Action, ActionId, Backend, Grade, Outcome};
use crate::dashboard::diagnosis::blocker::Kind;
use crate::dashboard::event::{Effect, FeedId};
use crate::dashboard::wait_graph::WaitGraph;
use crate::format;
use crate::keys::Command;
use crate::pg::Table;
use crate::pg::admin::{Identity, Signal};
use crate::text::{self, Clean};

/// Columns of a query shown in a confirmation.
const QUERY_COLUMNS: usize = 200;
/// Transaction age in seconds from which a termination applies to that transaction only: if it has ended
/// meanwhile, the session is left alone.
const LONG_XACT_S: f64 = 10.0;

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

    /// Returns the row that a key acts on: the one whose detail is open, else the selected one. The detail
    /// stays open while rows below it come and go, and a key applies to the row it shows.
    pub(super) fn row_meant(&self, id: FeedId) -> Option<usize> {
        let feed = self.feed(id)?;
        match &self.popup {
            Some(Popup::Detail(detail)) if id == self.focus => feed.row_of(&detail.identity),
            _ => feed.selected_row(),
        }
    }

    /// The backends to act on: the tagged ones, or else the one that the key acts on.
    fn chosen(&self, signal: Signal) -> Vec<Backend> {
        let Some(feed) = self.feed(self.focus) else {
            return Vec::new();
        };
        let detail = matches!(self.popup, Some(Popup::Detail(_)));
        let tagged: Vec<usize> = (0..feed.table.rows.len())
            .filter(|row| feed.cursor.tagged.contains(&feed.identity(*row)))
            .collect();
        let rows = if tagged.is_empty() || detail {
            self.row_meant(self.focus).into_iter().collect()
        } else {
            tagged
        };
        rows.into_iter()
            .filter_map(|row| backend(&feed.table, row, signal))
            .collect()
    }

    pub(super) fn ask_cancel(&mut self) {
        if self.focus_is("views") {
            self.ask_cancel_refresh();
            return;
        }
        if self.ask_cancel_measure() {
            return;
        }
        self.ask_signal(Signal::Cancel);
    }

    pub(super) fn ask_terminate(&mut self) {
        self.ask_signal(Signal::Terminate);
    }

    fn focus_is(&self, name: &str) -> bool {
        self.feed_named(name) == Some(self.focus)
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
        let activity = self.rows("activity");
        let pid = backend.identity.pid;
        let row =
            (0..activity.rows.len()).find(|row| activity.get(*row, "pid").int() == Some(pid))?;
        let kind = Kind::of(activity, row);
        kind.is_costly()
            .then(|| format!("pid {pid}: {}", kind.loss()))
    }

    /// Describes the result of ending these backends: released waiters and removable dead rows.
    fn freed(&self, backends: &[Backend]) -> Option<String> {
        let hit = |table: &Table, row: usize| {
            let pid = table.get(row, "pid").int();
            backends
                .iter()
                .any(|backend| Some(backend.identity.pid) == pid)
        };
        let activity = self.rows("activity");
        let graph = WaitGraph::of(activity);
        let ended: Vec<usize> = (0..activity.rows.len())
            .filter(|row| hit(activity, *row))
            .collect();
        let waiters = graph.released(&ended).len();
        // A backend that waits itself may only precede them in a queue that continues.
        let mut blockers = ended.iter().flat_map(|row| graph.blockers(*row));
        let waits = blockers.any(|blocker| !ended.contains(blocker));
        let snapshots = self.rows("snapshots");
        let pins: i64 = (0..snapshots.rows.len())
            .filter(|row| hit(snapshots, *row))
            .filter_map(|row| snapshots.get(row, "pins").int())
            .sum();
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
        let activity = self.rows("activity");
        let old = |row: &usize| {
            activity.get(*row, "class").text() == Some("olap")
                && activity.get(*row, "state").text() == Some("active")
                && activity
                    .get(*row, "query_age_s")
                    .number()
                    .is_some_and(|age| age >= limit)
                && !Kind::of(activity, *row).is_costly()
        };
        let backends: Vec<Backend> = (0..activity.rows.len())
            .filter(old)
            .filter_map(|row| backend(activity, row, Signal::Cancel))
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
                Action::Measure { .. } => effects.push(self.begin(action)),
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
        self.say(Grade::Running, &format!("{} …", action.describe()));
        self.running.push(Running {
            id,
            action: action.clone(),
            since: self.now,
        });
        Effect::Act { id, action }
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

    pub(super) fn ended(&mut self, id: ActionId, outcome: &Outcome) -> Vec<Effect> {
        let Some(at) = self.running.iter().position(|running| running.id == id) else {
            return Vec::new();
        };
        let running = self.running.remove(at);
        let (grade, what) = outcome.describe();
        self.say(grade, &format!("{}: {what}", running.action.describe()));
        let mut effects = Vec::new();
        if let Action::Refresh { view, .. } = &running.action {
            if let Outcome::Refreshed(ms) = outcome {
                self.note_refresh(view, *ms / 1000.0);
            }
            effects.extend(self.next_refresh());
        }
        // The panels that the action may have changed are sampled at once.
        let panels: Vec<_> = ["activity", "snapshots", "views", "locks"]
            .iter()
            .filter_map(|name| self.feed_named(name))
            .collect();
        effects.extend(self.ask(&panels));
        effects
    }

    /// The newest line of the log, if any.
    pub fn last_log(&self) -> Option<&LogLine> {
        self.log.back()
    }
}

/// `reports, shop, olap, metabase, active, 50s`
fn described<'t>(text: &dyn Fn(&'static str) -> Option<&'t str>, age: Option<&'t str>) -> String {
    let parts = [
        text("usename").or(text("role")),
        text("datname"),
        text("class"),
        text("application_name"),
        text("state"),
        age,
    ];
    let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(", ")
}

/// Returns the backend in `row`, if the row is one.
pub(super) fn backend(table: &Table, row: usize, signal: Signal) -> Option<Backend> {
    // A blocking prepared transaction has no process.
    let pid = table.get(row, "pid").int().filter(|pid| *pid > 0)?;
    let text = |name| table.get(row, name).text();
    let xact_age = table
        .get(row, "xact_age_s")
        .number()
        .or(table.get(row, "age_s").number());
    let since = match signal {
        Signal::Cancel => text("query_start"),
        // A busy session is in another transaction by the time the user confirms.
        Signal::Terminate => {
            text("xact_start").filter(|_| xact_age.is_some_and(|age| age >= LONG_XACT_S))
        }
    };
    let age = xact_age
        .or(table.get(row, "query_age_s").number())
        .map(format::seconds);
    let shown = described(&text, age.as_deref());
    let raw = described(&|name| table.get(row, name).raw(), age.as_deref());
    Some(Backend {
        identity: Identity {
            pid,
            backend_start: text("backend_start")?.to_owned(),
            since: since.map(str::to_owned),
        },
        raw: (raw != shown).then_some(raw),
        described: Clean::from(shown),
        idle: text("state").is_some_and(|state| state.starts_with("idle")),
        query: Clean::from(text::cut(text("query").unwrap_or_default(), QUERY_COLUMNS).as_ref()),
    })
}
