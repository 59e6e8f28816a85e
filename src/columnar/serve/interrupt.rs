//! What ends a statement early.

use super::fault::{Fault, canceled, fault};
use super::wire::Wire;
use std::io::{Error, ErrorKind};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// What can end a statement early.
pub(super) struct Watch<'a> {
    pub(super) wire: &'a mut Wire,
    pub(super) cancel: &'a Notify,
    pub(super) stop: watch::Receiver<bool>,
}

impl Watch<'_> {
    /// Does something that ends when the client cancels it or is gone, the server ends, or this time is over. What is
    /// dropped then ends its session with PostgreSQL, and so what that does.
    pub(super) async fn during<T, E>(
        mut self,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Fault>
    where
        Fault: From<E>,
    {
        let late = async {
            match limit {
                Some(limit) => tokio::time::sleep(limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.cancel.notified() => Err(canceled("user request")),
            _ = self.stop.wait_for(|stop| *stop) => Err(stopped()),
            () = self.wire.gone() => Err(Error::from(ErrorKind::UnexpectedEof).into()),
            () = late => Err(canceled("statement timeout")),
            done = work => Ok(done?),
        }
    }
}

/// The error of a connection when the server ends.
pub(super) fn stopped() -> Fault {
    fault(
        "57P01",
        "terminating connection because htap-top columnar serve ends",
    )
}
