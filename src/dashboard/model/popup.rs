//! What may lie over the page.

use crate::dashboard::action::{Action, ActionId};
use crate::dashboard::event::Moment;
use crate::explain::Explained;
use crate::text::Clean;
use std::collections::BTreeMap;

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

/// A row in full.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail {
    /// Title.
    pub title: String,
    /// Which row it is: keys act on this one.
    pub identity: Vec<Box<str>>,
    /// Names of the fields and what they hold, as far as last seen.
    pub fields: Vec<(String, String)>,
    /// So many of them say what it is about; what a backend does comes before the others.
    pub lead: usize,
    /// What else belongs to it: headed lists.
    pub lists: Vec<(String, Vec<(String, String)>)>,
    /// The row is gone since.
    pub gone: Option<Moment>,
    /// What a backend does.
    pub watched: Option<Watched>,
    /// The plan of its statement.
    pub plan: Plan,
    /// Lines scrolled.
    pub scroll: usize,
}

/// A backend that is looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Its process id.
    pub pid: i64,
    /// Its `backend_start`: a pid is reused.
    pub backend_start: String,
    /// Samples since the detail was opened.
    pub samples: u32,
    /// In how many of them it waited for what; `on CPU` where for nothing.
    pub waits: BTreeMap<String, u32>,
}

/// The plan of a statement.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Plan {
    /// Nobody wanted one.
    #[default]
    Unasked,
    /// On its way.
    Asked(ActionId),
    /// There is none.
    Refused(Clean),
    /// Here.
    Known(Explained),
}
