//! The pools on the shop's servers, as the router's source of sessions.

use super::pools::{AdmissionCounts, Limits, OLTP_ROLE, OlapError, OlapSession, Pools};
use crate::pg::pool::{Pool, PoolError, PoolSize, Pooled};
use crate::pg::{Class, Client, PgError, Settings, Target};
use crate::router::executor::{Lanes, Refusal};
use crate::router::{self, Lane, Node};
use std::ops::Deref;
use std::time::Duration;

/// The pools of a primary, and of a replica if there is one. Each server has its own admission control: its queue is
/// never moved to the other one.
#[derive(Clone, Debug)]
pub struct Nodes {
    primary: Side,
    replica: Option<Side>,
}

/// A server's pools, and the session on which the router looks at it.
#[derive(Clone, Debug)]
struct Side {
    pools: Pools,
    watch: Pool,
}

/// Wait for a session of [`Side::watch`], which nobody else uses.
const WATCH_WAIT: Duration = Duration::from_secs(1);

impl Side {
    fn new(target: &Target, pools: Pools) -> Self {
        let target = target
            .with_user(OLTP_ROLE)
            .with_application_name("htap-router");
        let size = PoolSize {
            min: 0,
            max: 1,
            wait: WATCH_WAIT,
        };
        Self {
            pools,
            watch: Pool::new(target, Settings::of_application(), size),
        }
    }
}

impl Nodes {
    /// Returns pools without open sessions on these servers, with these limits on each. The targets' users are replaced
    /// by the pools' roles.
    pub fn new(primary: &Target, replica: Option<&Target>, limits: Limits) -> Self {
        let pools = |target: &Target| Pools::new(target, limits);
        Self::of(
            (primary, pools(primary)),
            replica.map(|target| (target, pools(target))),
        )
    }

    /// Returns the nodes with these pools.
    pub fn of(primary: (&Target, Pools), replica: Option<(&Target, Pools)>) -> Self {
        let side = |(target, pools)| Side::new(target, pools);
        Self {
            primary: side(primary),
            replica: replica.map(side),
        }
    }

    /// Returns the pools of the primary.
    pub fn primary(&self) -> &Pools {
        &self.primary.pools
    }

    /// Returns the pools of the replica.
    pub fn replica(&self) -> Option<&Pools> {
        self.replica.as_ref().map(|side| &side.pools)
    }

    /// Returns the counts of both admission controls, summed.
    pub fn admission(&self) -> AdmissionCounts {
        let counts = |pools: &Pools| pools.admission().counts();
        let primary = counts(self.primary());
        self.replica()
            .map(counts)
            .map_or(primary, |replica| AdmissionCounts {
                admitted: primary.admitted + replica.admitted,
                queued: primary.queued + replica.queued,
                rejected_full: primary.rejected_full + replica.rejected_full,
                rejected_late: primary.rejected_late + replica.rejected_late,
                running: primary.running + replica.running,
                waiting: primary.waiting + replica.waiting,
            })
    }

    /// Closes all pools.
    pub fn close(&self) {
        for side in std::iter::once(&self.primary).chain(&self.replica) {
            side.pools.oltp().close();
            side.pools.olap().close();
            side.watch.close();
        }
    }

    fn side(&self, node: Node) -> Result<&Side, OlapError> {
        match node {
            Node::Primary => Ok(&self.primary),
            Node::Replica => self.replica.as_ref().ok_or_else(|| {
                OlapError::Server(PgError::new(Class::Configuration, "there is no replica"))
            }),
        }
    }
}

/// A session of one of the pools.
#[derive(Debug)]
pub enum Session {
    /// A session of an OLTP pool.
    Oltp(Box<Pooled>),
    /// A session of an OLAP pool, with the right to use it.
    Olap(Box<OlapSession>),
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        match self {
            Self::Oltp(session) => session,
            Self::Olap(session) => session,
        }
    }
}

impl Lanes for Nodes {
    type Held = Session;
    type Error = OlapError;

    async fn take(&self, lane: Lane) -> Result<Session, OlapError> {
        let pools = &self.side(lane.node)?.pools;
        Ok(match lane.pool {
            router::Pool::Oltp => Session::Oltp(Box::new(pools.oltp().get().await?)),
            router::Pool::Olap => Session::Olap(Box::new(pools.ask().await?)),
        })
    }

    async fn watch(&self, node: Node) -> Result<Session, OlapError> {
        let session = self.side(node)?.watch.get().await?;
        Ok(Session::Oltp(Box::new(session)))
    }

    fn discard(&self, held: Session) {
        match held {
            Session::Oltp(session) => drop(Pooled::take(*session)),
            Session::Olap(session) => session.discard(),
        }
    }

    fn has_replica(&self) -> bool {
        self.replica.is_some()
    }
}

impl Refusal for OlapError {
    fn stays(&self) -> bool {
        match self {
            Self::Rejected(_) | Self::Pool(PoolError::Busy { .. } | PoolError::Closed) => true,
            Self::Pool(PoolError::Connect(_)) | Self::Server(_) => false,
        }
    }
}
