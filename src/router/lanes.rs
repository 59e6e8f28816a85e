//! Sources of sessions: what an executor sends statements over.

use super::{Lane, Node, Pool};
use crate::pg::{Class, Client, PgError, Settings, Target};
use std::ops::Deref;

/// A source of sessions by lane: pools, with their limits and their admission control.
pub trait Lanes: Send + Sync + 'static {
    /// A session that is returned when it is dropped.
    type Held: Deref<Target = Client> + Send + Sync + 'static;
    /// Reason why there is no session, and any error of a statement.
    type Error: Refusal;

    /// Returns a session of the lane as soon as one is available.
    fn take(&self, lane: Lane) -> impl Future<Output = Result<Self::Held, Self::Error>> + Send;

    /// Returns a session on which the executor looks at a server from time to time. It is kept, so it should not be
    /// one of those that statements wait for. Its role needs no privileges.
    fn watch(&self, node: Node) -> impl Future<Output = Result<Self::Held, Self::Error>> + Send {
        self.take(Lane {
            node,
            pool: Pool::Oltp,
        })
    }

    /// Closes a session that must not be used by others: a statement was abandoned, or it is in a transaction or has
    /// state.
    fn discard(&self, held: Self::Held) {
        drop(held);
    }

    /// Returns true if there is a replica.
    fn has_replica(&self) -> bool;
}

/// Error of a source of sessions.
pub trait Refusal: From<PgError> + std::error::Error + Send + Sync + 'static {
    /// Returns true if the statement must not be sent to another server: there are too many statements already, and an
    /// overload must not move.
    fn stays(&self) -> bool;
}

impl Refusal for PgError {
    fn stays(&self) -> bool {
        false
    }
}

/// Opens a new connection for every statement or transaction: for tests and small tools.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The primary, with a role that writes.
    pub oltp: Target,
    /// The primary, with a role that cannot write.
    pub olap: Target,
    /// The replica: targets for OLTP and OLAP.
    pub replica: Option<(Target, Target)>,
}

impl Lanes for Targets {
    type Held = Box<Client>;
    type Error = PgError;

    async fn take(&self, lane: Lane) -> Result<Box<Client>, PgError> {
        let target = match (lane.node, lane.pool, &self.replica) {
            (Node::Primary, Pool::Oltp, _) => &self.oltp,
            (Node::Primary, Pool::Olap, _) => &self.olap,
            (Node::Replica, Pool::Oltp, Some((oltp, _))) => oltp,
            (Node::Replica, Pool::Olap, Some((_, olap))) => olap,
            (Node::Replica, _, None) => {
                return Err(PgError::new(Class::Configuration, "there is no replica"));
            }
        };
        Ok(Box::new(
            Client::open(&target.for_whole_answers(), &Settings::default()).await?,
        ))
    }

    fn has_replica(&self) -> bool {
        self.replica.is_some()
    }
}

/// A session on loan. Unless it was given back, it is discarded: the task that used it was dropped.
pub(super) struct Loan<'a, L: Lanes> {
    lanes: &'a L,
    held: Option<L::Held>,
}

impl<'a, L: Lanes> Loan<'a, L> {
    pub(super) async fn take(lanes: &'a L, lane: Lane) -> Result<Self, L::Error> {
        Ok(Self {
            held: Some(lanes.take(lane).await?),
            lanes,
        })
    }

    /// The session; `None` after it was given back, which consumes the loan.
    pub(super) fn client(&self) -> Option<&Client> {
        self.held.as_deref()
    }

    /// Returns the session to its source, fit for others.
    pub(super) fn give_back(mut self) {
        drop(self.held.take());
    }
}

impl<L: Lanes> Drop for Loan<'_, L> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.lanes.discard(held);
        }
    }
}
