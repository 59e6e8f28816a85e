//! Popups over the page.

use crate::dashboard::action::{Action, ActionId};
use crate::dashboard::compare::Comparison;
use crate::dashboard::event::{FeedId, Moment};
use crate::explain::Explained;
use crate::text::Clean;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A popup over the page.
#[derive(Clone, Debug, PartialEq)]
pub enum Popup {
    /// Keys, and the columns of the focused panel.
    Help {
        /// Lines scrolled.
        scroll: usize,
    },
    /// The detail of a row.
    Detail(Box<Detail>),
    /// The log.
    Log {
        /// Lines scrolled.
        scroll: usize,
    },
    /// The evidence for the cause line.
    Why {
        /// Lines scrolled.
        scroll: usize,
    },
    /// What has changed since the moment marked.
    Changes {
        /// The changes.
        list: Arc<Comparison>,
        /// Lines scrolled.
        scroll: usize,
    },
    /// The list of panels.
    Panels {
        /// Lines scrolled.
        scroll: usize,
    },
    /// The list of servers.
    Servers {
        /// Lines scrolled.
        scroll: usize,
    },
    /// The columns of a panel, to choose from.
    Columns(Chooser),
    /// Confirmation of an action.
    Confirm(Confirm),
}

/// The chooser of a panel's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chooser {
    /// The panel.
    pub panel: FeedId,
    /// Position of the selected column.
    pub selected: usize,
}

impl Popup {
    /// Lines scrolled, if it can be scrolled.
    pub fn scroll(&self) -> Option<usize> {
        match self {
            Self::Help { scroll }
            | Self::Log { scroll }
            | Self::Why { scroll }
            | Self::Changes { scroll, .. }
            | Self::Panels { scroll }
            | Self::Servers { scroll } => Some(*scroll),
            Self::Detail(detail) => Some(detail.scroll),
            Self::Columns(_) | Self::Confirm(_) => None,
        }
    }

    /// Like [`Self::scroll`], but mutable.
    pub fn scroll_mut(&mut self) -> Option<&mut usize> {
        match self {
            Self::Help { scroll }
            | Self::Log { scroll }
            | Self::Why { scroll }
            | Self::Changes { scroll, .. }
            | Self::Panels { scroll }
            | Self::Servers { scroll } => Some(scroll),
            Self::Detail(detail) => Some(&mut detail.scroll),
            Self::Columns(_) | Self::Confirm(_) => None,
        }
    }
}

/// Confirmation of an action.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Confirm {
    /// The action and its targets, and what it frees.
    pub lines: Vec<String>,
    /// Actions to start on yes.
    pub actions: Vec<Action>,
    /// An action of this program to cancel on yes.
    pub cancels: Option<ActionId>,
    /// The number the user must type if there is more than one target.
    pub number: Option<usize>,
    /// Text typed so far.
    pub typed: String,
}

/// The detail of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail {
    /// Title.
    pub title: String,
    /// Identity of the row; keys act on this row.
    pub identity: Vec<Box<str>>,
    /// Names and last seen values of the fields.
    pub fields: Vec<(String, String)>,
    /// Number of leading fields; a backend's activity is shown between them and the others.
    pub lead: usize,
    /// Further lists with headings.
    pub lists: Vec<(String, Vec<(String, String)>)>,
    /// Time at which the row disappeared.
    pub gone: Option<Moment>,
    /// Recorded activity of a backend.
    pub watched: Option<Watched>,
    /// The plan of its statement.
    pub plan: Plan,
    /// Lines scrolled.
    pub scroll: usize,
}

/// A backend that is observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Its process id.
    pub pid: i64,
    /// Its `backend_start`, as pids are reused.
    pub backend_start: String,
    /// Number of samples since the detail was opened.
    pub samples: u32,
    /// Number of samples per wait; `on CPU` if it did not wait.
    pub waits: BTreeMap<String, u32>,
}

/// The plan of a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Plan {
    /// Not requested.
    #[default]
    Unasked,
    /// Requested; its audit record is being written.
    Wanted(ActionId),
    /// Sent to the server.
    Asked(ActionId),
    /// Not available, with the reason.
    Refused(Clean),
    /// Available.
    Known(Explained),
}
