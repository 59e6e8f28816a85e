//! What has happened, and what is wanted: plain data, so that a recording is the events written down.

use super::action::{Action, ActionId, Outcome};
use crate::explain::{Explained, Whose};
use crate::pg::Table;
use crate::pg::sampler::Report;
use crate::text::Clean;
use serde::{Deserialize, Serialize};

/// A point in time, handed to the model; the model never reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the program started; never steps back.
    pub mono_ms: u64,
    /// Milliseconds since the epoch by this machine's clock; for showing the time of day only.
    pub epoch_ms: i64,
}

impl Moment {
    /// Seconds from `earlier` to `self`; 0 where `earlier` is later.
    pub fn since(self, earlier: Self) -> f64 {
        self.mono_ms.saturating_sub(earlier.mono_ms) as f64 / 1000.0
    }
}

/// A key, free of the terminal library's types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Key {
    /// A printable character, case included.
    Char(char),
    /// A letter with Control.
    Ctrl(char),
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tabulator.
    Tab,
    /// Shift and tabulator.
    BackTab,
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// Cursor left.
    Left,
    /// Cursor right.
    Right,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// F1.
    F1,
    /// Home.
    Home,
    /// End.
    End,
    /// Backspace.
    Backspace,
}

/// What the mouse did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mouse {
    /// Left button pressed.
    Click,
    /// Wheel towards the user.
    ScrollDown,
    /// Wheel away from the user.
    ScrollUp,
}

/// This program's own use of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnCost {
    /// Processor time used so far, user and system, in milliseconds.
    pub cpu_ms: f64,
}

/// Something that has happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Time went on.
    Ticked {
        /// Now.
        now: Moment,
        /// Processor time used so far.
        cost: OwnCost,
    },
    /// A key was pressed.
    KeyPressed(Key),
    /// Text was pasted.
    Pasted(String),
    /// The mouse was used at a cell.
    MouseUsed {
        /// What.
        action: Mouse,
        /// Column, from 0.
        x: u16,
        /// Row, from 0.
        y: u16,
    },
    /// The terminal has another size.
    Resized {
        /// Columns.
        width: u16,
        /// Rows.
        height: u16,
    },
    /// A session opened, was lost, or answered.
    Reported(Report),
    /// Point queries were timed.
    CanaryTimed {
        /// One latency per query in milliseconds; a query that met its deadline counts with it.
        latencies_ms: Vec<f64>,
        /// Queries that failed.
        failed: u32,
    },
    /// An action made progress that the user should see.
    ActionStarted(ActionId),
    /// An action ended, and this is known about its effect.
    ActionEnded {
        /// Which.
        id: ActionId,
        /// What came of it.
        outcome: Outcome,
    },
    /// A statement was planned, or could not be.
    Explained {
        /// Which question it answers.
        id: ActionId,
        /// The plan, or why there is none.
        outcome: Result<Explained, Clean>,
    },
    /// Something went wrong outside that the user should know.
    Warned(Clean),
    /// The interval was changed to so many milliseconds. For recordings: a replay judges by it what is old.
    Paced(u64),
    /// The program came back from being suspended; the screen must be drawn anew.
    Resumed,
}

/// Where to go in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Travel {
    /// So many seconds on, or back.
    Step(i64),
    /// To the next trouble, or with `false` to the one before.
    Trouble(bool),
    /// Back to now; in a replay to its end.
    Now,
    /// Let time pass from the moment shown, or hold it.
    Play,
    /// Faster, or with `false` slower.
    Speed(bool),
}

/// Something that is wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Run the statements of these feeds.
    Sample(Vec<Request>),
    /// Start or stop timing the point query.
    Canary(Option<String>),
    /// Act on the server.
    Act {
        /// Number that comes back with its end.
        id: ActionId,
        /// What to do.
        action: Action,
    },
    /// Plan a statement, without running it.
    Explain {
        /// Number that comes back with the plan.
        id: ActionId,
        /// Whose statement.
        whose: Whose,
    },
    /// Cancel the action that is running on our own session.
    CancelAction(ActionId),
    /// Connect again now, without waiting for the next attempt.
    Reconnect,
    /// Put text on the clipboard of the terminal.
    Copy(String),
    /// Take or release the mouse.
    CaptureMouse(bool),
    /// Show another moment.
    Travel(Travel),
    /// Stop as a shell's Ctrl-Z does.
    Suspend,
    /// End the program.
    Quit,
}

/// A statement to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The feed that asks.
    pub feed: FeedId,
    /// The statement.
    pub sql: std::sync::Arc<str>,
    /// Sessions to run it on.
    pub pool: super::panels::spec::Pool,
    /// Result types are unknown: use the text protocol.
    pub as_text: bool,
    /// It is about something of the moment, and not worth to be prepared.
    pub once: bool,
}

/// The position of a feed in the model's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeedId(pub u16);

/// A sample that arrived.
pub type Sample = Result<Table, crate::pg::PgError>;
