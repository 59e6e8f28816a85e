//! The pooler: its answers, and the clients behind backends.

use super::Model;
use crate::dashboard::action::Grade;
use crate::dashboard::event::FeedId;
use crate::dashboard::panels::pooler;
use crate::dashboard::rows::{Panel, Rows, console};
use crate::pg::Table;

/// Milliseconds after which the pooler is asked for a database that it did not list.
const NEW_DATABASE_MS: u64 = 2_000;

impl Model {
    /// Takes in an answer of the pooler.
    pub(super) fn took_pooler(&mut self, id: FeedId, panel: Panel, table: Table) {
        match panel {
            Panel::Pooler => {
                if let Some(feed) = self.feed_mut(id) {
                    feed.raw = table;
                }
                self.derive_pooler();
                self.judge();
            }
            Panel::PoolerVersion => {
                self.put(id, table);
                self.check_pooler();
            }
            Panel::PoolerStats | Panel::PoolerDatabases => {
                self.put(id, table);
                self.derive_pooler();
            }
            _ => self.put(id, table),
        }
    }

    /// Derives the pools' rows from their last answer.
    fn derive_pooler(&mut self) {
        let Some(id) = self.id_of(Panel::Pooler) else {
            return;
        };
        let raw = self.feed(id).map(|feed| feed.raw.clone());
        let (stats, databases) = (Panel::PoolerStats, Panel::PoolerDatabases);
        let table = pooler::derive(
            raw.unwrap_or_default(),
            self.rows(stats),
            self.rows(databases),
        );
        let pools = Rows::<console::ClientPool>::of(&table);
        let unknown = pools.iter().any(|pool| pool.pool_size().is_none());
        let now_ms = self.now.mono_ms;
        if unknown && let Some(feed) = self.id_of(databases).and_then(|id| self.feed_mut(id)) {
            // PgBouncer lists a database that `*` serves only from its first client on.
            feed.sampling.due_ms = feed.sampling.due_ms.min(now_ms + NEW_DATABASE_MS);
        }
        self.put(id, table);
    }

    /// Logs that the pooler is too old for some figures.
    fn check_pooler(&mut self) {
        if let Some(why) = self.pooler_outdated() {
            self.say(Grade::Doubtful, &why);
        }
    }

    /// The note of the pooler's panel: why figures are missing, or where it is.
    pub fn pooler_note(&self) -> Option<String> {
        let place = self.start.pooler.as_ref().map(ToString::to_string);
        self.pooler_outdated().or(place)
    }

    /// The reason why figures of the pooler are missing, if it is old.
    fn pooler_outdated(&self) -> Option<String> {
        let version = Rows::<console::PoolerVersion>::of(self.rows(Panel::PoolerVersion)).first();
        pooler::outdated(version.version().text()?)
    }

    /// Writes the pooler's clients into the rows of backends.
    pub(super) fn name_clients(&mut self, activity: &mut Table) {
        if self.id_of(Panel::PoolerServers).is_none() {
            return;
        }
        self.memory.behind_pooler = pooler::behind(
            activity,
            self.current(Panel::PoolerServers),
            self.current(Panel::PoolerClients),
            self.rows(Panel::PoolerDatabases),
        );
        pooler::name_clients(activity, &self.memory.behind_pooler);
    }
}
