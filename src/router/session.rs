//! What a client's session ties its statements to: an open transaction, state that only one connection
//! has, and its own last write.

use super::effect::{Effects, Step};
use super::{Decision, Lane, Node, Pool};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A position in the write-ahead log (`pg_lsn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Behind everything: it is not known how far the log went, and no replica will do.
    pub const UNKNOWN: Self = Self(u64::MAX);
}

impl FromStr for Lsn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let half = |half: &str| u32::from_str_radix(half, 16).ok();
        let halves = text.split_once('/');
        let position = halves.and_then(|(high, low)| Some((half(high)?, half(low)?)));
        let (high, low) =
            position.ok_or_else(|| format!("{text:?} is no position like 0/1A2B3C"))?;
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

/// What is known of the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// There is none.
    Absent,
    /// There is one, and it does not answer, or is no standby any more.
    Unavailable,
    /// It has replayed the log up to here, at least.
    Replayed(Lsn),
    /// It is taken to have replayed everything.
    Current,
}

/// A client's session, as far as routing is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    transaction: Option<Lane>,
    pinned: Option<&'static str>,
    wrote: Option<Lsn>,
    /// The open transaction has read nothing yet.
    fresh: bool,
}

/// How a statement that was sent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Well; with the position of the log behind it where [`Session::wants_lsn`] asked for one.
    Done(Option<Lsn>),
    /// With this SQLSTATE.
    Failed(&'a str),
    /// Nobody knows: the connection went, and with it the transaction and all state. With the position that
    /// a replica must have reached for the outcome to be read there.
    Lost(Option<Lsn>),
}

impl Session {
    /// Where the open transaction runs.
    pub fn transaction(&self) -> Option<Lane> {
        self.transaction
    }

    /// What ties the session to its connection on the primary.
    pub fn pinned(&self) -> Option<&'static str> {
        self.pinned
    }

    /// Returns true if the open transaction can still begin anew elsewhere: it is on a replica, and has read nothing yet.
    pub fn may_restart(&self) -> bool {
        let on_replica = |lane: Lane| lane.node == Node::Replica;
        self.fresh && self.transaction.is_some_and(on_replica)
    }

    /// The position of the session's last write: what it reads must be no older.
    pub fn wrote(&self) -> Option<Lsn> {
        self.wrote
    }

    /// Returns true if the session needs the connection it has.
    pub fn holds(&self) -> bool {
        self.transaction.is_some() || self.pinned.is_some()
    }

    /// Returns true if the position of the log is to be asked (`pg_current_wal_insert_lsn()`: the commit itself may
    /// not be written out yet) behind this statement, on the same connection.
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

    /// Takes note of a statement that was sent where it was decided.
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
                // A later position is behind all earlier ones, and tells where an unknown one was.
                self.wrote = lsn.or(self.wrote);
            }
            (Outcome::Lost(lsn), _) => {
                self.lost();
                self.wrote = lsn.or(self.wrote);
            }
            // A COMMIT that fails has ended the transaction, unless it was not understood (class 42).
            (Outcome::Failed(code), [effect]) => {
                if effect.ends() && !code.starts_with("42") {
                    self.transaction = None;
                }
            }
            // Some of them may have been carried out.
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

    /// The connection is gone, and with it the transaction and all state; the writes remain.
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
        // On a replica the state is lost with the transaction it was made in.
        if lane.node == Node::Primary {
            self.pinned = self.pinned.or(effect.pins);
        }
    }
}
