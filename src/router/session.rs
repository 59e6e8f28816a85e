//! State that ties a client's statements to a connection or a server: an open transaction, session state that lives in
//! one connection, and its own last write.

use super::effect::{Effects, Step};
use super::{Decision, Lane, Node, Pool};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A position in the write-ahead log (`pg_lsn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// A position after all others: the actual one is not known, and no replica will do.
    pub const UNKNOWN: Self = Self(u64::MAX);
}

impl FromStr for Lsn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let half = |half: &str| u32::from_str_radix(half, 16).ok();
        let halves = text.split_once('/');
        let position = halves.and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let (high, low) =
            position.ok_or_else(|| format!("{text:?} is not a WAL position such as 0/1A2B3C"))?;
        Ok(Self(u64::from(high) << 32 | u64::from(low)))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl Serialize for Lsn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Known state of the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// There is none.
    Absent,
    /// There is one, but it does not respond, or is no longer a standby.
    Unavailable,
    /// There is one, but it gets no reads, for this reason.
    Barred(Barred),
    /// It has replayed the log at least up to this position.
    Replayed(Lsn),
    /// It is assumed to have replayed everything.
    Current,
}

/// Reason why the replica gets no reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Barred {
    /// It was not looked at yet.
    Unchecked,
    /// A connection failed or was lost, or it does not answer.
    Lost,
    /// It is not in recovery: it was promoted, or never was a replica.
    Promoted,
    /// Its system identifier differs from the primary's: it is a copy of another server.
    Foreign,
    /// Its replay is paused.
    Paused,
    /// It is behind the primary by more than the limit.
    Lagging,
}

impl Barred {
    /// Returns its name in JSON and in `htap.routing`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unchecked => "unchecked",
            Self::Lost => "lost",
            Self::Promoted => "promoted",
            Self::Foreign => "foreign",
            Self::Paused => "paused",
            Self::Lagging => "lagging",
        }
    }
}

impl fmt::Display for Barred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unchecked => "the replica was not checked yet",
            Self::Lost => "the replica does not answer",
            Self::Promoted => "the replica is not in recovery: it was promoted",
            Self::Foreign => {
                "the replica is a copy of another server: its system identifier differs"
            }
            Self::Paused => "replay is paused on the replica",
            Self::Lagging => "the replica lags behind by more than the limit",
        })
    }
}

/// The routing state of a client's session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    transaction: Option<Lane>,
    pinned: Option<&'static str>,
    wrote: Option<Lsn>,
    /// True if the open transaction has read nothing yet.
    fresh: bool,
}

/// Outcome of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Success, with the log position after it if [`Session::wants_lsn`] asked for one.
    Done(Option<Lsn>),
    /// Failure with this SQLSTATE.
    Failed(&'a str),
    /// Unknown, because the connection was lost, and with it the transaction and all session state. Holds the position
    /// that a replica must reach before the outcome can be read there.
    Lost(Option<Lsn>),
}

impl Session {
    /// Returns the lane of the open transaction.
    pub fn transaction(&self) -> Option<Lane> {
        self.transaction
    }

    /// Returns a description of the state that ties the session to its connection on the primary.
    pub fn pinned(&self) -> Option<&'static str> {
        self.pinned
    }

    /// Returns true if the open transaction can be restarted elsewhere: it is on a replica, and has read nothing yet.
    pub fn may_restart(&self) -> bool {
        let on_replica = |lane: Lane| lane.node == Node::Replica;
        self.fresh && self.transaction.is_some_and(on_replica)
    }

    /// Returns the position of the session's last write, which its reads must include.
    pub fn wrote(&self) -> Option<Lsn> {
        self.wrote
    }

    /// Records that the client wrote over another session, up to this position.
    pub(super) fn wrote_up_to(&mut self, lsn: Lsn) {
        // A later position is after all earlier ones, and replaces an unknown one.
        self.wrote = Some(lsn);
    }

    /// Returns true if the session needs its current connection.
    pub fn holds(&self) -> bool {
        self.transaction.is_some() || self.pinned.is_some()
    }

    /// Returns true if the log position must be queried after this statement on the same connection. The query is
    /// `pg_current_wal_insert_lsn()`, because the commit itself may not be written out yet.
    pub fn wants_lsn(&self, decision: &Decision) -> bool {
        let lane = decision.lane();
        if lane.node != Node::Primary || lane.pool != Pool::Oltp {
            return false;
        }
        let takes = |wanted: fn(Step) -> bool| {
            let mut effects = decision.effects.iter();
            effects.any(|effect| effect.step.is_some_and(wanted))
        };
        let begins = takes(|step| matches!(step, Step::Begin(_)));
        takes(|step| matches!(step, Step::Commit | Step::Publish))
            || (self.transaction.is_none() && !begins && !decision.only_reads)
    }

    /// Updates the state after a statement ran at its destination.
    pub fn settle(&mut self, decision: &Decision, outcome: Outcome<'_>) {
        let lane = decision.lane();
        if decision.restarts {
            self.transaction = Some(lane);
        }
        if !decision.effects.iter().all(|effect| effect.quiet) {
            self.fresh = false;
        }
        match (outcome, decision.effects.as_slice()) {
            (Outcome::Done(lsn), effects) => {
                for effect in effects {
                    self.apply(effect, lane);
                }
                // A later position is after all earlier ones, and replaces an unknown one.
                self.wrote = lsn.or(self.wrote);
            }
            (Outcome::Lost(lsn), _) => {
                self.lost();
                self.wrote = lsn.or(self.wrote);
            }
            // A COMMIT that fails has ended the transaction, unless it was not understood (SQLSTATE class 42).
            (Outcome::Failed(code), [effect]) => {
                if effect.ends() && !code.starts_with("42") {
                    self.transaction = None;
                }
            }
            // Some of the statements may have been executed.
            (Outcome::Failed(_), effects) => {
                for effect in effects {
                    if effect.begins() {
                        self.transaction = self.transaction.or(Some(lane));
                    }
                    self.pinned = self.pinned.or(effect.pins);
                }
            }
        }
    }

    /// Records the loss of the connection, and with it of the transaction and all session state; the last write stays
    /// known.
    pub fn lost(&mut self) {
        self.transaction = None;
        self.pinned = None;
    }

    fn apply(&mut self, effect: &Effects, lane: Lane) {
        if effect.begins() {
            self.fresh |= self.transaction.is_none();
            self.transaction = self.transaction.or(Some(lane));
        }
        if effect.ends() {
            self.transaction = None;
        }
        if effect.clears {
            self.pinned = None;
        }
        // On a replica the state ends with the transaction that created it.
        if lane.node == Node::Primary {
            self.pinned = self.pinned.or(effect.pins);
        }
    }
}
