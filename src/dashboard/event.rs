//! Events and effects as plain data, so that a recording is a list of events.

pub use crate::keys::Key;

use super::action::{Action, ActionId, Grade, Outcome};
use super::choices::Choice;
use super::notice::Notice;
use crate::explain::{Explained, Whose};
use crate::host::local::Wanted;
use crate::pg::Table;
use crate::pg::canary::Pace;
use crate::pg::sampler::Report;
use crate::text::Clean;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A point in time, passed to the model, which never reads a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// Milliseconds since the program started; never decreases.
    pub mono_ms: u64,
    /// Milliseconds since the epoch by the machine's clock, only used to show the time of day.
    pub epoch_ms: i64,
}

impl Moment {
    /// Seconds from `earlier` to `self`; 0 if `earlier` is later.
    pub fn since(self, earlier: Self) -> f64 {
        self.mono_ms.saturating_sub(earlier.mono_ms) as f64 / 1000.0
    }
}

/// An action of the mouse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mouse {
    /// Left button pressed.
    Click,
    /// Wheel towards the user.
    ScrollDown,
    /// Wheel away from the user.
    ScrollUp,
}

/// This program's own use of the client machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OwnCost {
    /// Processor time used so far, user and system, in milliseconds.
    pub cpu_ms: f64,
}

/// An action of this program that has ended, in words and without data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acted {
    /// Its number.
    pub id: ActionId,
    /// What was done, such as `cancel pid 812 (checkout)`.
    pub what: Clean,
    /// Milliseconds that it took.
    pub took_ms: u64,
    /// Grade of its outcome.
    pub grade: Grade,
    /// Its outcome.
    pub outcome: Clean,
}

impl Acted {
    /// Describes an action that took this long.
    pub fn of(id: ActionId, action: &Action, outcome: &Outcome, took: Duration) -> Self {
        let (grade, outcome) = outcome.masked().describe();
        Self {
            id,
            what: Clean::from(action.describe()),
            took_ms: took.as_millis() as u64,
            grade,
            outcome: Clean::from(outcome),
        }
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Time has passed.
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
        /// The action.
        action: Mouse,
        /// Column, from 0.
        x: u16,
        /// Row, from 0.
        y: u16,
    },
    /// The terminal's size changed.
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
        /// One latency per query in milliseconds; a query that timed out counts with its timeout.
        latencies_ms: Vec<f64>,
        /// Queries that failed.
        failed: u32,
    },
    /// The intent of an action or plan is in the audit file. Nothing is sent to the server before.
    ActionStarted(ActionId),
    /// An action ended.
    ActionEnded {
        /// Its number.
        id: ActionId,
        /// Its outcome.
        outcome: Outcome,
    },
    /// The same in words. Recorded so that a replay shows what was done.
    Acted(Acted),
    /// A statement was planned, or planning failed.
    Explained {
        /// Number of the request.
        id: ActionId,
        /// The plan, or the reason why there is none.
        outcome: Result<Explained, Clean>,
    },
    /// A problem outside of the model that the user should know of.
    Warned(Clean),
    /// Number of samples missing from the recording because the disk is too slow; 0 once it keeps up again.
    Unrecorded(u64),
    /// The interval was changed, in milliseconds. Recorded because a replay needs it to judge the age of
    /// data.
    Paced(u64),
    /// The server was put in the background (`true`) because another one is shown, or is shown again. Recorded because
    /// in the background it is sampled less, and a replay judges the age of data by that.
    Background(bool),
    /// The report of an incident was written to this file, or the reason why there is none.
    ReportWritten(Result<Clean, Clean>),
    /// The program resumed after being suspended, so the screen must be redrawn.
    Resumed,
}

/// The choice of a server to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Show {
    /// The one with this number, from 1.
    Number(usize),
    /// So many places after the shown one in the row of tabs; before it if negative.
    Step(i32),
}

/// A move in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Travel {
    /// Forward or back by this many seconds.
    Step(i64),
    /// To the next trouble, or with `false` to the previous one.
    Trouble(bool),
    /// Back to now; in a replay, to its end.
    Now,
    /// Starts or pauses playback from the moment shown.
    Play,
    /// Plays faster, or with `false` slower.
    Speed(bool),
}

/// An effect that the model requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Effect {
    /// Run the queries of these feeds.
    Sample(Vec<Request>),
    /// Read figures of the machine and of the server's processes, if they are on this machine.
    ReadHost {
        /// The feed that is answered.
        feed: FeedId,
        /// What to read.
        wanted: Wanted,
    },
    /// Start or stop timing the point query.
    Canary(Option<String>),
    /// Change how often the point query is timed.
    PacePoints(Pace),
    /// Act on the server.
    Act {
        /// Number returned with its result.
        id: ActionId,
        /// The action.
        action: Action,
    },
    /// Plan a statement without running it.
    Explain {
        /// Number returned with the plan.
        id: ActionId,
        /// The statement's origin.
        whose: Whose,
    },
    /// Cancel the action with this number, which runs on a session of this program.
    CancelAction(ActionId),
    /// Reconnect now, without waiting for the next attempt.
    Reconnect,
    /// Copy text to the clipboard of the terminal.
    Copy(String),
    /// Capture or release the mouse.
    CaptureMouse(bool),
    /// Move in time.
    Travel(Travel),
    /// Write the report of an incident: of the past that is shown, or of now.
    WriteReport {
        /// True for the past.
        past: bool,
    },
    /// Keep the columns chosen for a panel until the next run; `None` forgets them.
    KeepColumns {
        /// Name of the panel.
        panel: String,
        /// What is chosen.
        choice: Option<Choice>,
    },
    /// Tell somebody that a danger has begun or ended.
    Notify(Notice),
    /// Show another server.
    Show(Show),
    /// Suspend the program as Ctrl-Z does in a shell.
    Suspend,
    /// End the program.
    Quit,
}

/// A statement to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The feed that sends it.
    pub feed: FeedId,
    /// The statement.
    pub sql: std::sync::Arc<str>,
    /// Sessions that may run it.
    pub pool: super::panels::spec::Pool,
    /// True for a business panel that the watched server answers in place of the OLAP pool's own server.
    #[serde(default)]
    pub here: bool,
    /// True if result types are unknown: the text protocol is used.
    pub as_text: bool,
    /// True for a one-off statement, which is not prepared.
    pub once: bool,
}

/// The position of a feed in the model's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeedId(pub u16);

/// The result of a query.
pub type Sample = Result<Table, crate::pg::PgError>;
