//! The state of the dashboard, and the one place where it changes.
//!
//! `update` is pure: the same model and event give the same new model and effects. The model reads no clock,
//! file or environment.

mod acting;
mod choosing;
mod comparing;
mod deriving;
mod detail;
mod guarding;
mod hosting;
mod input;
mod judging;
mod lanes;
pub mod layout;
mod learning;
mod lookup;
mod meant;
mod measuring;
mod memory;
mod nodes;
mod notifying;
mod pacing;
mod pages;
mod pooling;
mod popup;
pub(crate) mod popups;
mod refreshing;
mod reporting;
mod sampling;
mod state;
mod streaming;
mod tabbing;
mod typing;

use memory::Memory;

pub(in crate::dashboard) use memory::Bulk;

pub use choosing::ColumnLine;
pub use guarding::Guarding;
pub use popup::{Chooser, Confirm, Detail, Plan, Popup, Watched};
pub use state::{
    Link, LogLine, PlaybackPosition, Running, SampleScope, Screen, Start, TimelineView, ViewState,
};

use super::action::{Action, Grade};
use super::compare::Baseline;
use super::diagnosis::finding::Finding;
use super::diagnosis::{Cause, Gauge, Since, Unknown};
use super::event::{Effect, Event, FeedId, Moment};
use super::feed::Feed;
use super::history::History;
use super::panels::classify::Classifier;
use super::panels::spec::Pool;
use super::rows::Panel;
use super::tabs::Tab;
use crate::config::Config;
use crate::pg::Table;
use crate::pg::sampler::{Report, SessionId};
use crate::text::Clean;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Maximum number of lines in the log.
const LOG_LINES: usize = 500;

/// The state of the dashboard.
#[derive(Clone, Debug)]
pub struct Model {
    /// Configuration. This and the next two are shared with the models kept of the past.
    pub config: Arc<Config>,
    /// Start parameters.
    pub start: Arc<Start>,
    /// Rules that classify sessions.
    pub classifier: Arc<Classifier>,
    /// Panels with their data.
    pub feeds: Vec<Feed>,
    /// Time of the last tick.
    pub now: Moment,
    /// Terminal columns and rows.
    pub size: (u16, u16),
    /// The page shown.
    pub screen: Screen,
    /// The focused panel.
    pub focus: FeedId,
    /// The popup over the page, if any.
    pub popup: Option<Popup>,
    /// The filter being typed, and the reason why it is not valid yet.
    pub prompt: Option<(String, Option<String>)>,
    /// The feeds to query.
    pub scope: SampleScope,
    /// True while sampling is paused.
    pub paused: bool,
    /// Interval of the fast feeds.
    pub interval: Duration,
    /// True if the mouse is captured.
    pub mouse: bool,
    /// Position of the theme in `start.themes`.
    pub theme: usize,
    /// What the timeline shows.
    pub timeline: TimelineView,
    /// Connection of the fast session.
    pub fast: Link,
    /// Connection of the slow session.
    pub slow: Link,
    /// Connection of the OLAP pool.
    pub olap: Link,
    /// Connection to the pooler's admin console.
    pub pooler: Link,
    /// Connection to the OLAP pool's own server, to watch it.
    pub replica: Link,
    /// Connection to the watched server for business panels while the OLAP pool's own server must not be read.
    pub stand_in: Link,
    /// Connection to the column store.
    pub columnar: Link,
    /// Facts about the server and the current role; `None` until known.
    pub facts: Option<Table>,
    /// Figures over time.
    pub history: History,
    /// Gauges, worst first.
    pub gauges: Vec<Gauge>,
    /// Findings of the rules.
    pub findings: Vec<Finding>,
    /// The cause line.
    pub cause: Cause,
    /// Gauges and panels that are not known, with reasons.
    pub unknown: Vec<Unknown>,
    /// Actions in progress.
    pub running: Vec<Running>,
    /// Refreshes waiting for their turn.
    pub queue: VecDeque<Action>,
    /// The log, newest last.
    pub log: VecDeque<LogLine>,
    /// A temporary message in the footer, and the time it appeared.
    pub notice: Option<(LogLine, Moment)>,
    /// Number of samples missing from the recording while the disk is too slow.
    pub unrecorded: u64,
    /// Cost of this program: processor milliseconds per second on the client and on the server.
    pub cost: (f64, f64),
    /// Position in the past or in a recording; `None` while live.
    pub playback: Option<PlaybackPosition>,
    /// State of the guard, which acts without a key.
    pub guarding: Guarding,
    /// The moment marked to compare with.
    pub baseline: Option<Arc<Baseline>>,
    /// The row of tabs; empty if there is only one server.
    pub tabs: Arc<[Tab]>,
    /// True if something visible has changed since it was last reset.
    pub dirty: bool,
    last_id: u32,
    since: Since,
    memory: Memory,
}

impl Model {
    /// Returns a model before its first sample.
    pub fn new(start: Start) -> Self {
        let config = start.config.clone();
        let feeds = start.feeds();
        let mut model = Self {
            classifier: Classifier::new(config.classes.clone(), start.own_roles.clone()).into(),
            interval: config.interval,
            config: config.into(),
            feeds,
            now: Moment::default(),
            size: (80, 24),
            screen: Screen::Overview,
            focus: FeedId(0),
            popup: None,
            prompt: None,
            scope: SampleScope::Screen,
            paused: false,
            mouse: false,
            theme: 0,
            timeline: TimelineView::default(),
            fast: Link::Idle,
            slow: Link::Idle,
            olap: Link::Idle,
            pooler: Link::Idle,
            replica: Link::Idle,
            stand_in: Link::Idle,
            columnar: Link::Idle,
            facts: None,
            history: History::default(),
            gauges: Vec::new(),
            findings: Vec::new(),
            cause: Cause::default(),
            unknown: Vec::new(),
            running: Vec::new(),
            queue: VecDeque::new(),
            log: VecDeque::new(),
            notice: None,
            unrecorded: 0,
            cost: (0.0, 0.0),
            playback: None,
            guarding: Guarding::default(),
            baseline: None,
            tabs: Arc::default(),
            dirty: true,
            last_id: 0,
            since: Since::default(),
            memory: Memory::default(),
            start: start.into(),
        };
        model.focus = model.id_of(Panel::Activity).unwrap_or(FeedId(0));
        for complaint in model.start.complaints.clone() {
            model.say(Grade::Bad, &complaint);
        }
        model.judge();
        model
    }

    /// Applies an event and returns the effects to carry out.
    #[must_use]
    pub fn update(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Ticked { now, cost } => self.tick(now, cost),
            Event::KeyPressed(key) => self.key(key),
            Event::Pasted(text) => self.paste(&text),
            Event::MouseUsed { action, x, y } => self.mouse_used(action, x, y),
            Event::Resized { width, height } => {
                self.size = (width, height);
                self.dirty = true;
                Vec::new()
            }
            Event::Reported(report) => self.reported(report),
            Event::CanaryTimed {
                latencies_ms,
                failed,
            } => {
                let now_s = self.now.mono_ms as f64 / 1000.0;
                let limit_ms = self.config.targets.oltp_p99_ms;
                self.history.canary(&latencies_ms, failed, now_s, limit_ms);
                self.ask_point_locks()
            }
            Event::ActionStarted(id) => {
                self.started(id);
                Vec::new()
            }
            Event::ActionEnded { id, outcome } => self.ended(id, &outcome),
            Event::Acted(acted) => {
                self.acted(&acted);
                Vec::new()
            }
            Event::Explained { id, outcome } => {
                self.explained(id, outcome);
                Vec::new()
            }
            Event::Warned(what) => {
                self.say(Grade::Bad, what.as_str());
                Vec::new()
            }
            Event::Unrecorded(samples) => {
                self.unrecorded(samples);
                Vec::new()
            }
            Event::Paced(interval_ms) => {
                self.interval = Duration::from_millis(interval_ms);
                Vec::new()
            }
            Event::Background(behind) => self.background(behind),
            Event::ReportWritten(outcome) => self.report_written(&outcome),
            Event::Resumed => {
                self.dirty = true;
                Vec::new()
            }
        }
    }

    fn reported(&mut self, report: Report) -> Vec<Effect> {
        self.dirty |= self.is_shown(&report);
        match report {
            Report::Opened { session, peer } => self.opened(session, peer),
            Report::Lost {
                session,
                error,
                attempt,
                retry_in_ms,
            } => {
                self.lost(session, &error, attempt, retry_in_ms.is_none());
                if session == SessionId::Replica {
                    self.derive_nodes();
                    self.judge();
                }
                Vec::new()
            }
            Report::Ended { fast, others } => {
                (self.memory.own.fast, self.memory.own.others) = (fast as f64, others as f64);
                Vec::new()
            }
            Report::Answered {
                id,
                took_ms,
                outcome,
            } => {
                let effects = self.answered(FeedId(id), took_ms, outcome);
                self.look_again(FeedId(id));
                self.compare_again(FeedId(id));
                effects
            }
        }
    }

    /// The feed with this number.
    pub fn feed(&self, id: FeedId) -> Option<&Feed> {
        self.feeds.get(usize::from(id.0))
    }

    fn feed_mut(&mut self, id: FeedId) -> Option<&mut Feed> {
        self.feeds.get_mut(usize::from(id.0))
    }

    /// Panels that are there now, in their order: that of nodes only if there is one.
    pub fn visible(&self) -> impl Iterator<Item = (FeedId, &Feed)> {
        let nodes = self.has_nodes();
        let there = move |feed: &Feed| nodes || feed.panel != Some(Panel::Nodes);
        self.panels().filter(move |(_, feed)| there(feed))
    }

    /// Panels that a user may ask for, in their order.
    pub fn panels(&self) -> impl Iterator<Item = (FeedId, &Feed)> {
        let numbered = self
            .feeds
            .iter()
            .enumerate()
            .map(|(position, feed)| (FeedId(position as u16), feed));
        numbered.filter(|(_, feed)| !feed.spec.front.internal)
    }

    /// Seconds since the feed's last successful answer.
    pub fn age_s(&self, feed: &Feed) -> Option<f64> {
        feed.sampling.at.map(|at| self.now.since(at))
    }

    /// Returns true if the feed's rows may be outdated: its session is lost, or the server has not answered
    /// for an interval.
    pub fn is_stale(&self, feed: &Feed) -> bool {
        if feed.sampling.at.is_none() {
            return false;
        }
        let one_server = match feed.spec.front.pool {
            Pool::Oltp | Pool::Slow => true,
            Pool::Olap => self.start.olap_target.is_none() || feed.sampling.from_here,
            Pool::Pooler | Pool::Replica | Pool::Columnar => false,
        };
        let silent = self.silent_s() >= self.interval.as_secs_f64() * 0.9;
        !self.link(feed).usable()
            || (one_server && (silent || !self.fast.usable()))
            || self.is_overdue(feed)
            || self.is_of_the_past(feed)
    }

    /// The connection over which this feed was answered.
    pub fn link(&self, feed: &Feed) -> &Link {
        match feed.spec.front.pool {
            Pool::Oltp => &self.fast,
            Pool::Slow => &self.slow,
            Pool::Olap if feed.sampling.from_here => &self.stand_in,
            Pool::Olap => &self.olap,
            Pool::Pooler => &self.pooler,
            Pool::Replica => &self.replica,
            Pool::Columnar => &self.columnar,
        }
    }

    /// Returns the message to show while the server cannot be reached.
    pub fn unreachable(&self) -> Option<String> {
        match &self.fast {
            Link::Lost { error, .. } => Some(format!("cannot reach the server: {error}")),
            Link::Idle | Link::Live(_) => None,
        }
    }

    /// Turns it into a past model: no popup is open and nothing acts.
    pub fn become_past(&mut self) {
        (self.popup, self.prompt, self.notice) = (None, None, None);
        self.baseline = None;
        self.memory.reporting = None;
        self.unrecorded = 0;
        self.guarding.armed = false;
    }

    /// Adds a line to the log and shows it in the footer for a while.
    pub(super) fn say(&mut self, grade: Grade, text: &str) {
        let line = self.note(grade, text);
        self.notice = Some((line, self.now));
    }

    /// Adds a line to the log.
    fn note(&mut self, grade: Grade, text: &str) -> LogLine {
        let line = LogLine {
            epoch_ms: self.now.epoch_ms,
            grade,
            text: Clean::from(text),
        };
        self.log.push_back(line.clone());
        if self.log.len() > LOG_LINES {
            self.log.pop_front();
        }
        self.dirty = true;
        line
    }

    fn link_mut(&mut self, session: SessionId) -> Option<&mut Link> {
        match session {
            SessionId::Fast => Some(&mut self.fast),
            SessionId::Slow => Some(&mut self.slow),
            SessionId::Olap(_) => Some(&mut self.olap),
            SessionId::Pooler => Some(&mut self.pooler),
            SessionId::Replica => Some(&mut self.replica),
            SessionId::StandIn => Some(&mut self.stand_in),
            SessionId::Columnar => Some(&mut self.columnar),
            SessionId::Canary => None,
        }
    }
}

fn none() -> &'static Table {
    static NONE: std::sync::OnceLock<Table> = std::sync::OnceLock::new();
    NONE.get_or_init(Table::default)
}
