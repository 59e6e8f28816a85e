//! The parts of the state that others look at.

use crate::config::Config;
use crate::dashboard::action::{Action, ActionId, Grade};
use crate::dashboard::event::{FeedId, Moment};
use crate::dashboard::panels::spec::Spec;
use crate::pg::{Peer, PgError};
use crate::text::Clean;
use std::collections::BTreeSet;

/// What the model is started with.
#[derive(Clone, Debug)]
pub struct Start {
    /// Configuration.
    pub config: Config,
    /// A user's own panels.
    pub own_panels: Vec<Spec>,
    /// What was wrong with files that were left out; shown in the log.
    pub complaints: Vec<String>,
    /// Offset of local time from UTC, seconds.
    pub utc_offset_s: i32,
    /// Names of the themes, the first one in use first.
    pub themes: Vec<String>,
    /// Where the sessions go, for the header: `shop @ primary:5432`.
    pub target: Clean,
    /// The OLAP pool's own server, where it has one.
    pub olap_target: Option<Clean>,
    /// Roles of this program's own sessions, which the panels leave out.
    pub own_roles: Vec<String>,
    /// Shown in the header while the demo runs.
    pub demo: bool,
}

/// Which feeds are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SampleScope {
    /// What rules and other panels rest on, and what is on the screen.
    Screen,
    /// These: there is no screen.
    These(BTreeSet<FeedId>),
}

/// Which page is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Screen {
    /// All panels.
    Overview,
    /// The business panels that the Overview has no room for.
    More,
    /// One panel.
    Full(FeedId),
}

/// State of the way to the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Link {
    /// Nothing was tried yet.
    Idle,
    /// Open.
    Live(Peer),
    /// Being opened again.
    Lost {
        /// Why.
        error: PgError,
        /// Attempts that failed.
        attempt: u32,
        /// Since when.
        since: Moment,
        /// Only the user can mend it.
        given_up: bool,
    },
}

impl Link {
    /// Returns true if statements can be sent, or will open the session.
    pub fn usable(&self) -> bool {
        !matches!(self, Self::Lost { .. })
    }
}

/// Where in time the model stands, where that is not now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlaybackPosition {
    /// Seconds before now; in a replay before the end.
    pub ago_s: f64,
    /// Seconds since the beginning of what was kept.
    pub since_first_s: f64,
    /// Seconds that were kept.
    pub whole_s: f64,
    /// How fast time passes, times the real one; `None` where it is held.
    pub speed: Option<f64>,
    /// There is no now: a recording is shown.
    pub replay: bool,
}

/// A line of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// When, epoch milliseconds.
    pub epoch_ms: i64,
    /// How good it is.
    pub grade: Grade,
    /// What happened.
    pub text: Clean,
}

/// An action under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Running {
    /// Its number.
    pub id: ActionId,
    /// What.
    pub action: Action,
    /// Since when.
    pub since: Moment,
}
