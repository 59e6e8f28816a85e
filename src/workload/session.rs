//! A session that is opened on demand, and again after it was lost.

use crate::pg::{Class, Client, Param, PgError, Settings, Table, Target};
use crate::system::refresh::{Done, Kind, Mode, View, refresh};
use std::time::Duration;

/// A slot for one open session.
#[derive(Debug)]
pub(super) struct Session {
    target: Target,
    open: Option<Client>,
    settings: Settings,
    failures: u32,
}

impl Session {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            open: None,
            settings: Settings::of_application(),
            failures: 0,
        }
    }

    /// Adds a setting.
    pub(super) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.settings = self.settings.with(name, value);
        self
    }

    /// Runs a statement. After a failure that ended the session it waits before it returns, longer each time, so that
    /// callers do not flood an unavailable server.
    pub(super) async fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
    ) -> Result<Table, PgError> {
        let answer = self.try_query(sql, params).await;
        self.settle(answer).await
    }

    /// Like [`Self::query`], for statements without parameters or results.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<(), PgError> {
        let answer = match self.client().await {
            Ok(client) => client.batch(sql).await,
            Err(error) => Err(error),
        };
        self.settle(answer).await
    }

    /// Recomputes a materialized view concurrently; otherwise like [`Self::query`].
    pub(super) async fn refresh(&mut self, view: &View) -> Result<Done, PgError> {
        let answer = match self.client().await {
            Ok(client) => refresh(client, view, Kind::Materialized, Mode::Concurrent).await,
            Err(error) => Err(error),
        };
        self.settle(answer).await
    }

    /// Closes the session.
    pub(super) fn close(&mut self) {
        self.open = None;
    }

    async fn try_query(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Table, PgError> {
        self.client().await?.query(sql, params).await
    }

    async fn settle<T>(&mut self, answer: Result<T, PgError>) -> Result<T, PgError> {
        match &answer {
            Ok(_) => self.failures = 0,
            Err(error) if error.session_survives() => {}
            Err(_) => {
                self.open = None;
                self.failures = (self.failures + 1).min(5);
                tokio::time::sleep(Duration::from_millis(100 << self.failures)).await;
            }
        }
        answer
    }

    async fn client(&mut self) -> Result<&Client, PgError> {
        if self.open.as_ref().is_none_or(Client::is_closed) {
            self.open = Some(Client::open(&self.target, &self.settings).await?);
        }
        self.open
            .as_ref()
            .ok_or_else(|| PgError::new(Class::Reconnect, "no session"))
    }
}
