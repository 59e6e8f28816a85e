//! Transactions that a caller opens and ends, and errors of statements in the log.

use super::Client;
use crate::pg::error::PgError;
use crate::pg::logged;
use std::panic::Location;
use std::sync::atomic::Ordering;

impl Client {
    /// Logs the error of a statement, with the place in this program that sent it.
    #[track_caller]
    pub(in crate::pg) fn noting<T>(
        &self,
        work: impl Future<Output = Result<T, PgError>>,
    ) -> impl Future<Output = Result<T, PgError>> {
        let at = Location::caller();
        // On the heap: a future that is handed on is stored twice in the one that awaits it.
        let work = Box::pin(work);
        async move {
            let done = work.await;
            if let Err(error) = &done {
                logged::failed(&self.peer, self.backend_pid(), error, at);
            }
            done
        }
    }

    /// Opens a transaction with its own settings, such as `SET LOCAL lock_timeout = 0`. From here to [`Self::commit`]
    /// or [`Self::rollback`] other tasks must not use the session. A task dropped in between leaves it in this state.
    #[track_caller]
    pub fn begin(&self, settings: &str) -> impl Future<Output = Result<(), PgError>> {
        self.begin_as("", settings)
    }

    /// Like [`Self::begin`], with a mode such as `READ ONLY`.
    #[track_caller]
    pub fn begin_as(
        &self,
        mode: &str,
        settings: &str,
    ) -> impl Future<Output = Result<(), PgError>> {
        self.noting(async move {
            self.in_transaction.store(true, Ordering::Relaxed);
            let opening = self.opening(mode);
            self.as_it_is(&format!("{opening}; {settings}")).await
        })
    }

    /// Commits. A transaction that had failed is rolled back instead; its error was reported before.
    #[track_caller]
    pub fn commit(&self) -> impl Future<Output = Result<(), PgError>> {
        self.noting(self.end("COMMIT"))
    }

    /// Commits, and begins the next transaction, of this mode, in the same round trip.
    #[cfg(feature = "columnar")]
    #[track_caller]
    pub(in crate::pg) fn commit_and_begin_as(
        &self,
        mode: &str,
    ) -> impl Future<Output = Result<(), PgError>> {
        self.noting(async move {
            let opening = self.opening(mode);
            self.as_it_is(&format!("COMMIT; {opening}")).await
        })
    }

    /// Rolls back.
    pub async fn rollback(&self) -> Result<(), PgError> {
        self.end("ROLLBACK").await
    }

    async fn end(&self, sql: &str) -> Result<(), PgError> {
        self.as_it_is(sql).await?;
        self.in_transaction.store(false, Ordering::Relaxed);
        Ok(())
    }
}
