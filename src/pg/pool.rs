//! A pool of open sessions for many short tasks.
//!
//! `deadpool` manages the sessions; they are opened here, because only [`Client`] connects as libpq does.

use super::client::Client;
use super::client::session::Settings;
use super::conninfo::Target;
use super::error::PgError;
use deadpool::Runtime;
use deadpool::managed::{self, Metrics, QueueMode, RecycleError, RecycleResult, Timeouts};
use futures_util::future::try_join_all;
use std::time::Duration;

/// Size of a pool, and the time to wait for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Number of sessions kept open while unused.
    pub min: usize,
    /// Maximum number of open sessions, at least 1.
    pub max: usize,
    /// Time to wait for a session while all are in use.
    pub wait: Duration,
}

/// Current use of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Number of open sessions.
    pub open: usize,
    /// Number of these that are in use.
    pub busy: usize,
    /// Number of tasks waiting for a session.
    pub waiting: usize,
    /// Maximum number of sessions.
    pub max: usize,
}

/// Reason why there is no session. Its text can follow "failed to …: ".
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PoolError {
    /// All sessions were in use during the whole wait.
    #[error("all {max} sessions of the pool were in use for {:.1} s", .waited.as_secs_f64())]
    Busy {
        /// Maximum number of sessions.
        max: usize,
        /// Duration of the wait.
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
    /// Returns the SQLSTATE, or a keyword if the server sent none.
    pub fn kind(&self) -> &str {
        match self {
            Self::Busy { .. } => "pool busy",
            Self::Connect(error) => error.kind(),
            Self::Closed => "pool closed",
        }
    }
}

/// A session from a pool. When dropped it returns to the pool, unless it is lost or in a transaction.
pub type Pooled = managed::Object<Opener>;

/// A pool of sessions. Clones share it.
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
    /// Returns a pool without open sessions; they are opened on demand, with these settings.
    pub fn new(target: Target, settings: Settings, size: PoolSize) -> Self {
        let opener = Opener { target, settings };
        let timeouts = Timeouts {
            wait: Some(size.wait),
            // The target has its own deadline.
            create: None,
            recycle: None,
        };
        let size = PoolSize {
            max: size.max.max(1),
            min: size.min.min(size.max.max(1)),
            ..size
        };
        // The most recently used session is taken first, so that the others become idle and can be closed.
        let made = managed::Pool::builder(opener)
            .max_size(size.max)
            .timeouts(timeouts)
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build();
        let sessions = match made {
            Ok(sessions) => sessions,
            // This is the only possible error, and a runtime is given.
            Err(managed::BuildError::NoRuntimeSpecified) => unreachable!(),
        };
        Self { sessions, size }
    }

    /// Opens sessions up to the minimum. Returns the first error.
    pub async fn warm(&self) -> Result<(), PoolError> {
        try_join_all((0..self.size.min).map(|_| self.get()))
            .await
            .map(drop)
    }

    /// Returns a session for exclusive use until it is dropped.
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

    /// Closes sessions that were unused for `idle`, down to the minimum. Call it from time to time.
    pub fn trim(&self, idle: Duration) {
        let mut spare = self.in_use().open.saturating_sub(self.size.min);
        self.sessions.retain(|_, used| {
            let keep = spare == 0 || used.last_used() < idle;
            spare -= usize::from(!keep);
            keep
        });
    }

    /// Returns the current use of the pool.
    pub fn in_use(&self) -> PoolUse {
        let status = self.sessions.status();
        PoolUse {
            open: status.size,
            busy: status.size.saturating_sub(status.available),
            waiting: status.waiting,
            max: status.max_size,
        }
    }

    /// Closes the pool: sessions in use close when they return, and waiting tasks get [`PoolError::Closed`].
    pub fn close(&self) {
        self.sessions.close();
    }
}
