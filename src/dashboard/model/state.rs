//! The parts of the state that other modules read.

use super::{Model, Popup};
use crate::config::Config;
use crate::dashboard::action::{Action, ActionId, Grade};
use crate::dashboard::compare::Baseline;
use crate::dashboard::event::{FeedId, Moment};
use crate::dashboard::feed::{Cursor, Feed};
use crate::dashboard::panels;
use crate::dashboard::panels::spec::{Pool, Spec};
use crate::dashboard::tabs::{Place, Tab};
use crate::pg::{Peer, PgError};
use crate::text::Clean;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The parameters that the model starts with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Configuration.
    pub config: Config,
    /// Built-in panels and feeds, as [`built_in`](crate::dashboard::panels::built_in) reads them.
    pub built_in: &'static [Arc<Spec>],
    /// A user's own panels.
    pub own_panels: Vec<Spec>,
    /// Errors in files that were ignored; shown in the log.
    pub complaints: Vec<String>,
    /// Offset of local time from UTC, in seconds.
    pub utc_offset_s: i32,
    /// Names of the themes, the current one first.
    pub themes: Vec<String>,
    /// The target of the sessions, for the header: `shop @ primary:5432`.
    pub target: Clean,
    /// The OLAP pool's own server, if it has one.
    pub olap_target: Option<Clean>,
    /// Host and port of the OLAP pool's server if they are not those of the watched one. Without it the feeds of that server
    /// do not exist.
    pub olap_server: Option<Clean>,
    /// The pooler whose admin console is sampled, if one is: `10.0.0.7:6432`. Without it the panels of the pooler do not
    /// exist.
    pub pooler: Option<Clean>,
    /// The column store, if one is given: `127.0.0.1:5439`. Without it panels of its pool say what they lack.
    pub columnar: Option<Clean>,
    /// Roles of this program's own sessions, which panels leave out.
    pub own_roles: Vec<String>,
    /// True if the demo runs; shown in the header.
    pub demo: bool,
    /// Number and name, if there are several servers.
    pub server: Option<Place>,
}

impl Start {
    /// Returns the feeds of all panels that are not off, and whose server is watched.
    pub(super) fn feeds(&self) -> Vec<Feed> {
        let config = &self.config;
        let built_in = self.built_in.iter();
        let built_in = built_in.map(|spec| Feed::new(panels::of_pool(spec, config), false));
        let own = self.own_panels.iter();
        let own = own.map(|spec| Feed::new(Arc::new(spec.clone()), true));
        let mut feeds: Vec<Feed> = built_in.chain(own).collect();
        feeds.retain(|feed| {
            let panel = config.panels.get(&feed.spec.name);
            let unwatched = match feed.spec.front.pool {
                Pool::Pooler => self.pooler.is_none(),
                Pool::Replica => self.olap_server.is_none(),
                Pool::Oltp | Pool::Slow | Pool::Olap | Pool::Columnar => false,
            };
            !unwatched && !panel.is_some_and(|panel| panel.off)
        });
        for feed in &mut feeds {
            feed.bind(&config.keys);
            let panel = config.panels.get(&feed.spec.name);
            feed.choose(panel, config.profile);
        }
        feeds
    }
}

/// The feeds to query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleScope {
    /// Feeds that are shown, or that rules and other panels depend on.
    Screen,
    /// Only those that gauges and the most important rules depend on, rarely: another server is shown.
    Background,
    /// Only these, as there is no screen.
    These(BTreeSet<FeedId>),
}

/// The page shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// All panels.
    Overview,
    /// The business panels that the Overview has no room for.
    More,
    /// One panel.
    Full(FeedId),
}

/// What the timeline shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimelineView {
    /// The time shown, in milliseconds, once somebody has chosen it.
    pub span_ms: Option<u64>,
    /// True if active sessions are split by what they wait for, else by class.
    pub by_wait: bool,
}

/// State of the connection to the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Not tried yet.
    Idle,
    /// Connected.
    Live(Peer),
    /// Reconnecting.
    Lost {
        /// The last error.
        error: PgError,
        /// Number of failed attempts.
        attempt: u32,
        /// Time at which the connection was lost.
        since: Moment,
        /// True if only the user can fix it.
        given_up: bool,
    },
}

impl Link {
    /// Returns true if statements can be sent, possibly after opening the session.
    pub fn usable(&self) -> bool {
        !matches!(self, Self::Lost { .. })
    }
}

/// Position of the model in the past or in a recording.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaybackPosition {
    /// Seconds before now; in a replay, before the end.
    pub ago_s: f64,
    /// Seconds since the beginning of the recorded time.
    pub since_first_s: f64,
    /// Length of the recorded time, in seconds.
    pub whole_s: f64,
    /// Playback speed as a multiple of real time; `None` if paused.
    pub speed: Option<f64>,
    /// True if a recording is replayed, so there is no live data.
    pub replay: bool,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Time, in milliseconds since the epoch.
    pub epoch_ms: i64,
    /// Outcome.
    pub grade: Grade,
    /// The event.
    pub text: Clean,
}

/// An action in progress.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Its number.
    pub id: ActionId,
    /// The action.
    pub action: Action,
    /// Start time.
    pub since: Moment,
    /// True once its intent is in the audit file. Nothing is sent before.
    pub audited: bool,
}

/// View state of a model: page, focus, cursors and popups.
#[derive(Clone, Debug)]
pub struct ViewState {
    pub(super) size: (u16, u16),
    pub(super) screen: Screen,
    pub(super) focus: FeedId,
    pub(super) theme: usize,
    pub(super) timeline: TimelineView,
    pub(super) mouse: bool,
    pub(super) prompt: Option<(String, Option<String>)>,
    pub(super) popup: Option<Popup>,
    pub(super) cursors: Vec<Cursor>,
    pub(super) baseline: Option<Arc<Baseline>>,
    pub(super) tabs: Arc<[Tab]>,
}

impl Model {
    /// Returns the view state.
    pub fn view_state(&self) -> ViewState {
        ViewState {
            size: self.size,
            screen: self.screen,
            focus: self.focus,
            theme: self.theme,
            timeline: self.timeline,
            mouse: self.mouse,
            prompt: self.prompt.clone(),
            popup: match &self.popup {
                // These would refer to another row.
                Some(Popup::Detail(_) | Popup::Confirm(_)) => None,
                popup => popup.clone(),
            },
            cursors: self.feeds.iter().map(|feed| feed.cursor.clone()).collect(),
            baseline: self.baseline.clone(),
            tabs: Arc::clone(&self.tabs),
        }
    }

    /// Takes over the view state of another model.
    pub fn look_like(&mut self, view: ViewState) {
        self.size = view.size;
        self.screen = view.screen;
        self.focus = view.focus;
        self.theme = view.theme;
        self.timeline = view.timeline;
        self.mouse = view.mouse;
        self.prompt = view.prompt;
        self.popup = view.popup;
        // The one here may have been completed meanwhile.
        let moment = |baseline: &Option<Arc<Baseline>>| baseline.as_ref().map(|of| of.at);
        if moment(&self.baseline) != moment(&view.baseline) {
            self.baseline = view.baseline;
        }
        self.tabs = view.tabs;
        // Its rows depend on the page.
        self.list_bars();
        for (feed, cursor) in self.feeds.iter_mut().zip(view.cursors) {
            feed.cursor = cursor;
            feed.arrange();
        }
        self.compare_anew();
    }

    /// Sets the number of samples missing from the recording. A separate warning, which is recorded, tells when the
    /// recording continues.
    pub(super) fn unrecorded(&mut self, samples: u64) {
        if self.unrecorded == 0 && samples > 0 {
            let text =
                "the recording falls behind: the disk is too slow; samples are being dropped";
            self.say(Grade::Bad, text);
        }
        self.unrecorded = samples;
        self.dirty = true;
    }
}
