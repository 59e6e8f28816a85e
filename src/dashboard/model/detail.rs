//! The detail of a row; for a backend also its recent activity, for a statement its plan.

use super::{Detail, Model, Plan, Popup, Watched};
use crate::dashboard::action::{ActionId, Grade};
use crate::dashboard::event::{Effect, FeedId};
use crate::dashboard::feed::Feed;
use crate::dashboard::rows::{Panel, Row, Rows, read};
use crate::explain::{Explained, Whose};
use crate::pg::Table;
use crate::text::Clean;
use std::collections::BTreeMap;

/// Leading columns of a backend's detail, in this order.
const LEAD: [&str; 17] = [
    "query",
    "usename",
    "role",
    "application_name",
    "client",
    "pooler_client",
    "state",
    "wait",
    "query_age_s",
    "xact_age_s",
    "age_s",
    "blocked_by",
    "blocks",
    "cpu_pct",
    "memory_bytes",
    "read_bytes_per_s",
    "write_bytes_per_s",
];
/// State recorded if a sample did not list the backend, as it was idle and held nothing.
const IDLE: &str = "idle";

impl Model {
    /// The backend whose detail is open.
    pub(super) fn watched(&self) -> Option<&Watched> {
        match &self.popup {
            Some(Popup::Detail(detail)) => detail.watched.as_ref(),
            _ => None,
        }
    }

    /// Opens the detail of the selected row.
    pub(super) fn open_detail(&mut self) -> Vec<Effect> {
        let Some((feed, row)) = self
            .feed(self.focus)
            .and_then(|feed| Some((feed, feed.selected_row()?)))
        else {
            return Vec::new();
        };
        let watched = self.backend_of(feed, row);
        let title = match &watched {
            Some(watched) => format!("Backend {}", watched.pid),
            None => format!(
                "{} · row {}",
                feed.spec.front.title,
                feed.cursor.selected + 1
            ),
        };
        let (fields, lead) = self.fields(feed, row);
        let detail = Detail {
            title,
            identity: feed.identity(row),
            fields,
            lead,
            lists: self.lists(feed, row),
            gone: None,
            watched,
            plan: Plan::default(),
            scroll: 0,
        };
        self.popup = Some(Popup::Detail(Box::new(detail)));
        // Sample at once what is queried for one backend only, or only while shown.
        let named = |feed: &Feed| feed.is_about_backend() || feed.panel == Some(Panel::Progress);
        for feed in self.feeds.iter_mut().filter(|feed| named(feed)) {
            feed.sampling.due_ms = 0;
        }
        if self.paused || self.playback.is_some() {
            Vec::new()
        } else {
            self.sample_due()
        }
    }

    fn backend_of(&self, feed: &Feed, row: usize) -> Option<Watched> {
        let (pid, backend_start) = backend_start(Rows::of(&feed.table).at(row))?;
        let mut watched = Watched {
            pid,
            backend_start,
            samples: 0,
            waits: BTreeMap::new(),
        };
        watched.note(self.rows(Panel::Activity));
        Some(watched)
    }

    /// Returns all columns of a row, and the number of leading ones.
    fn fields(&self, feed: &Feed, row: usize) -> (Vec<(String, String)>, usize) {
        let table = &feed.table;
        let lead = if backend_start(Rows::of(table).at(row)).is_some() {
            &LEAD[..]
        } else {
            &[]
        };
        let lead = lead
            .iter()
            .copied()
            .filter(|name| table.column(name).is_some());
        let lead: Vec<&str> = lead.collect();
        let rest = table.columns.iter().map(|name| &**name);
        let rest = rest.filter(|name| !lead.contains(name));
        let field = |name: &str| feed.field(row, name, self.start.utc_offset_s);
        let fields = lead.iter().copied().chain(rest).map(field);
        (fields.collect(), lead.len())
    }

    /// Returns the statements behind a wait.
    fn lists(&self, feed: &Feed, row: usize) -> Vec<(String, Vec<(String, String)>)> {
        if feed.panel != Some(Panel::Waits) {
            return Vec::new();
        }
        let wait = Rows::<read::Wait>::of(&feed.table).at(row);
        let (class, wait) = (wait.class().shown(), wait.wait().shown());
        let statements = self.memory.waits.statements(class, wait);
        let all: i64 = statements.iter().map(|(_, n)| n).sum();
        let share = |n: i64| format!("{:.0} %", n as f64 / all.max(1) as f64 * 100.0);
        let lines = statements.iter();
        let lines = lines.map(|(query, n)| (share(*n), query.to_string()));
        vec![(
            "Seen in these statements in the minute".into(),
            lines.collect(),
        )]
    }

    /// Updates the open detail after an answer of this feed.
    pub(super) fn look_again(&mut self, id: FeedId) {
        let Some(Popup::Detail(mut detail)) = self
            .popup
            .take_if(|popup| matches!(popup, Popup::Detail(_)))
        else {
            return;
        };
        let now = self.now;
        if let Some(feed) = self.feed(id) {
            if feed.panel == Some(Panel::Activity)
                && feed.sampling.error.is_none()
                && let Some(watched) = &mut detail.watched
            {
                watched.note(&feed.table);
            }
            if id == self.focus {
                if let Some(row) = feed.row_of(&detail.identity) {
                    (detail.fields, detail.lead) = self.fields(feed, row);
                    detail.lists = self.lists(feed, row);
                    detail.gone = None;
                } else {
                    detail.gone.get_or_insert(now);
                }
            }
        }
        self.popup = Some(Popup::Detail(detail));
    }

    /// Requests the plan of the selected statement.
    pub(super) fn ask_explain(&mut self) -> Vec<Effect> {
        let why = match &self.popup {
            None | Some(Popup::Detail(_)) if self.playback.is_some() => {
                "viewing the past: cannot query the server; {back} returns to live"
            }
            None | Some(Popup::Detail(_)) if !self.fast.usable() => {
                "not connected: cannot query the server now"
            }
            None | Some(Popup::Detail(_)) => "",
            Some(_) => return Vec::new(),
        };
        if !why.is_empty() {
            let why = self.config.keys.fill(why);
            self.say(Grade::Bad, &why);
            return Vec::new();
        }
        let row = self.row_meant(self.focus);
        let feed = self.feed(self.focus);
        let whose = feed
            .zip(row)
            .and_then(|(feed, row)| self.whose(Rows::of(&feed.table).at(row)));
        let Some(whose) = whose else {
            let why = if self.popup.is_some() {
                "this row has no statement, or is gone".to_owned()
            } else {
                format!(
                    "no statement is selected: {} lists queries, {} all statements",
                    self.way_to("activity"),
                    self.way_to("statements")
                )
            };
            self.say(Grade::Doubtful, &why);
            return Vec::new();
        };
        let mut effects = Vec::new();
        if self.popup.is_none() {
            effects = self.open_detail();
        }
        self.last_id += 1;
        let id = ActionId(self.last_id);
        if let Some(Popup::Detail(detail)) = &mut self.popup {
            detail.plan = Plan::Wanted(id);
            effects.push(Effect::Explain { id, whose });
        }
        effects
    }

    fn whose(&self, row: Row<'_, read::Planned>) -> Option<Whose> {
        // Raw values, as they are compared with those on the server.
        if let Some(queryid) = row.queryid().raw() {
            return Some(Whose::Statement {
                schema: self.fact().pgss_schema().raw()?.to_owned(),
                queryid: queryid.to_owned(),
                role: row.usename().raw()?.to_owned(),
            });
        }
        let (pid, backend_start) = backend_start(row)?;
        Some(Whose::Backend {
            pid,
            backend_start,
            query_start: row.query_start().raw()?.to_owned(),
        })
    }

    pub(super) fn explained(&mut self, id: ActionId, outcome: Result<Explained, Clean>) {
        if let (Some(Popup::Detail(detail)), Ok(explained)) = (&self.popup, &outcome)
            && self.id_of(Panel::Statements) == Some(self.focus)
        {
            let plan = (self.now, explained.lines.clone());
            self.memory.plans.insert(detail.identity.clone(), plan);
        }
        if let Some(Popup::Detail(detail)) = &mut self.popup
            && [Plan::Wanted(id), Plan::Asked(id)].contains(&detail.plan)
        {
            detail.plan = match outcome {
                Ok(explained) => Plan::Known(explained),
                Err(why) => Plan::Refused(why),
            };
            self.dirty = true;
        }
    }
}

/// Pid and start time of the backend in a row; `None` for a prepared transaction, which has no process.
fn backend_start(row: Row<'_, read::Planned>) -> Option<(i64, String)> {
    let pid = row.pid().filter(|pid| *pid > 0)?;
    Some((pid, row.backend_start().text()?.to_owned()))
}

impl Watched {
    /// Records the state of the backend in a sample.
    fn note(&mut self, activity: &Table) {
        let is_it = |row: &Row<'_, read::Backend>| {
            row.pid() == Some(self.pid) && row.backend_start().is(&self.backend_start)
        };
        let mut backends = Rows::of(activity).iter();
        let state = match backends.find(is_it) {
            None => IDLE.to_owned(),
            Some(row) => {
                match (row.state().shown(), row.wait_event_type().shown()) {
                    ("active", "") => "on CPU".to_owned(),
                    ("", "") => "hidden from our role".to_owned(),
                    // A server process has no state but may wait.
                    ("active" | "", kind) => format!("{kind} {}", row.wait_event().shown()),
                    (state, _) => state.to_owned(),
                }
            }
        };
        self.samples += 1;
        *self.waits.entry(state).or_default() += 1;
    }
}
