//! Sessions kept open for many short tasks.
//!
//! `deadpool` does the keeping; opening is ours, because only [`Client`] connects as libpq does.

use super::client::Client;
use super::client::session::Settings;
use super::conninfo::Target;
use super::error::PgError;
use deadpool::Runtime;
use deadpool::managed::{self, Metrics, QueueMode, RecycleError, RecycleResult, Timeouts};
use futures_util::future::try_join_all;
use std::time::Duration;

/// How many sessions a pool keeps, and how long one is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Kept open though nobody uses them.
    pub min: usize,
    /// Open at most, at least 1.
    pub max: usize,
    /// How long to wait for a session while all are in use.
    pub wait: Duration,
}

/// How a pool is used at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Sessions that are open.
    pub open: usize,
    /// Sessions among them that are in use.
    pub busy: usize,
    /// Tasks that wait for one.
    pub waiting: usize,
    /// Sessions at most.
    pub max: usize,
}

/// Why there is no session. The texts are fit to follow "failed to …: ".
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PoolError {
    /// All sessions were in use for the whole time.
    #[error("all {max} sessions of the pool were in use for {:.1} s", .waited.as_secs_f64())]
    Busy {
        /// Sessions at most.
        max: usize,
        /// How long it waited.
        waited: Duration,
    },
    /// No session could be opened.
    #[error("failed to open a session: {0}")]
    Connect(#[from] PgError),
    /// The pool was closed.
    #[error("the pool is closed")]
    Closed,
}

impl PoolError {
    /// The SQLSTATE; where the server sent none, a word for what is wrong.
    pub fn kind(&self) -> &str {
        match self {
            Self::Busy { .. } => "pool busy",
            Self::Connect(error) => error.kind(),
            Self::Closed => "pool closed",
        }
    }
}

/// A session out of a pool, to which it goes back when dropped: unless it is lost or in a transaction.
pub type Pooled = managed::Object<Opener>;

/// A pool of sessions. Copies are the same pool.
#[derive(Clone, Debug)]
pub struct Pool {
    sessions: managed::Pool<Opener>,
    size: PoolSize,
}

/// Opens the sessions of a pool.
#[derive(Debug)]
pub struct Opener {
    target: Target,
    settings: Settings,
}

impl managed::Manager for Opener {
    type Type = Client;
    type Error = PgError;

    async fn create(&self) -> Result<Client, PgError> {
        Client::open(&self.target, &self.settings).await
    }

    async fn recycle(&self, client: &mut Client, _: &Metrics) -> RecycleResult<PgError> {
        if client.is_free() {
            Ok(())
        } else {
            Err(RecycleError::message("lost, or in a transaction"))
        }
    }
}

impl Pool {
    /// A pool without sessions; they are opened when they are needed. Each of them has these settings.
    pub fn new(target: Target, settings: Settings, size: PoolSize) -> Self {
        let opener = Opener { target, settings };
        let timeouts = Timeouts {
            wait: Some(size.wait),
            // The target has a deadline of its own.
            create: None,
            recycle: None,
        };
        let size = PoolSize {
            max: size.max.max(1),
            min: size.min.min(size.max.max(1)),
            ..size
        };
        // The one used last comes first: the others grow idle, and can be closed.
        let made = managed::Pool::builder(opener)
            .max_size(size.max)
            .timeouts(timeouts)
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build();
        let sessions = match made {
            Ok(sessions) => sessions,
            // A runtime is given, which is all that it could lack.
            Err(managed::BuildError::NoRuntimeSpecified) => unreachable!(),
        };
        Self { sessions, size }
    }

    /// Opens sessions up to the least number. Returns the first error.
    pub async fn warm(&self) -> Result<(), PoolError> {
        try_join_all((0..self.size.min).map(|_| self.get()))
            .await
            .map(drop)
    }

    /// A session, for this task alone until it is dropped.
    pub async fn get(&self) -> Result<Pooled, PoolError> {
        self.sessions.get().await.map_err(|error| match error {
            managed::PoolError::Backend(error) => PoolError::Connect(error),
            managed::PoolError::Timeout(_) => PoolError::Busy {
                max: self.size.max,
                waited: self.size.wait,
            },
            managed::PoolError::Closed
            | managed::PoolError::NoRuntimeSpecified
            | managed::PoolError::PostCreateHook(_) => PoolError::Closed,
        })
    }

    /// Closes sessions that nobody has used for `idle`, down to the least number. To be called now and then.
    pub fn trim(&self, idle: Duration) {
        let mut spare = self.in_use().open.saturating_sub(self.size.min);
        self.sessions.retain(|_, used| {
            let keep = spare == 0 || used.last_used() < idle;
            spare -= usize::from(!keep);
            keep
        });
    }

    /// How it is used at this moment.
    pub fn in_use(&self) -> PoolUse {
        let status = self.sessions.status();
        PoolUse {
            open: status.size,
            busy: status.size.saturating_sub(status.available),
            waiting: status.waiting,
            max: status.max_size,
        }
    }

    /// Closes it: sessions in use as they come back, and whoever waits gets [`PoolError::Closed`].
    pub fn close(&self) {
        self.sessions.close();
    }
}
