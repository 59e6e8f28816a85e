//! The parts of the state that others look at.

use super::detail::Detail;
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
pub enum Asked {
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

/// What lies over the page.
#[derive(Clone, Debug, PartialEq)]
pub enum Popup {
    /// Keys, and the figures of the focused panel.
    Help {
        /// Lines scrolled.
        scroll: usize,
    },
    /// A row in full.
    Detail(Box<Detail>),
    /// The log.
    Log {
        /// Lines scrolled.
        scroll: usize,
    },
    /// What the cause line rests on.
    Why {
        /// Lines scrolled.
        scroll: usize,
    },
    /// The list of panels.
    Panels {
        /// Lines scrolled.
        scroll: usize,
    },
    /// A question before an action.
    Confirm(Confirm),
}

impl Popup {
    /// Lines scrolled, where it can be.
    pub fn scroll(&self) -> Option<usize> {
        match self {
            Self::Help { scroll }
            | Self::Log { scroll }
            | Self::Why { scroll }
            | Self::Panels { scroll } => Some(*scroll),
            Self::Detail(detail) => Some(detail.scroll),
            Self::Confirm(_) => None,
        }
    }

    /// As [`Self::scroll`], to change it.
    pub fn scroll_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Help { scroll }
            | Self::Log { scroll }
            | Self::Why { scroll }
            | Self::Panels { scroll } => Some(scroll),
            Self::Detail(detail) => Some(&mut detail.scroll),
            Self::Confirm(_) => None,
        }
    }
}

/// A question before an action.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confirm {
    /// What will happen to whom, and what it frees.
    pub lines: Vec<String>,
    /// What is done on yes.
    pub actions: Vec<Action>,
    /// What is cancelled on yes, of what we do ourselves.
    pub cancels: Option<ActionId>,
    /// More than one is hit: this number must be typed.
    pub number: Option<usize>,
    /// Typed so far.
    pub typed: String,
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
    /// Whether statements can be sent, or will open the session.
    pub fn usable(&self) -> bool {
        !matches!(self, Self::Lost { .. })
    }
}

/// Where in time the model stands, where that is not now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Then {
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
