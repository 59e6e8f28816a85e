//! Feeds and their rows, by panel, and the pools of sessions.

use super::{Model, none};
use crate::dashboard::event::FeedId;
use crate::dashboard::feed::Feed;
use crate::dashboard::panels::spec::Pool;
use crate::dashboard::panels::statements;
use crate::dashboard::rows::{Panel, Row, Rows, read};
use crate::pg::sampler::{Report, SessionId};
use crate::pg::{Table, Value};

/// Number of sessions above which a server is crowded: some feeds are queried less often there.
const CROWD: f64 = 500.0;

impl Model {
    /// Returns a cell for scripts. They cannot see the panel's note: averages since the reset are pending for them.
    pub(crate) fn cell_for_scripts(&self, feed: &Feed, row: usize, column: &str) -> Value {
        let since_reset = feed.panel == Some(Panel::Statements)
            && self.memory.statements.is_since_reset()
            && statements::OF_INTERVAL.contains(&column);
        if since_reset {
            Value::Pending
        } else {
            feed.table.get(row, column).clone()
        }
    }

    /// Returns what the figures of Statements cover, if that is not an interval.
    pub(crate) fn statements_note(&self) -> Option<String> {
        let first = self.memory.statements.is_since_reset();
        first.then(|| "means and shares since the last reset, until the second sample".into())
    }

    /// The number of the feed called `name`, as a user may write it.
    pub fn feed_named(&self, name: &str) -> Option<FeedId> {
        let position = self.feeds.iter().position(|feed| feed.spec.name == name)?;
        Some(FeedId(position as u16))
    }

    /// The number of a built-in feed; none if its panel is off.
    pub fn id_of(&self, panel: Panel) -> Option<FeedId> {
        let mut feeds = self.feeds.iter();
        let position = feeds.position(|feed| feed.panel == Some(panel))?;
        Some(FeedId(position as u16))
    }

    /// A built-in feed; none if its panel is off.
    pub fn feed_of(&self, panel: Panel) -> Option<&Feed> {
        self.feeds.iter().find(|feed| feed.panel == Some(panel))
    }

    /// The rows of a built-in feed; empty if its panel is off.
    pub fn rows(&self, panel: Panel) -> &Table {
        self.feed_of(panel).map_or(none(), |feed| &feed.table)
    }

    /// The server's facts and the current role's privileges, as far as known.
    pub(crate) fn fact(&self) -> Row<'_, read::Fact> {
        Rows::of(self.facts.as_ref().unwrap_or(none())).first()
    }

    /// Version and schema of pg_stat_statements, as far as known.
    pub(crate) fn extension(&self) -> Row<'_, read::Extension> {
        Rows::of(self.memory.extensions.as_ref().unwrap_or(none())).first()
    }

    /// Returns true if the panel asks the column store, and none is given.
    pub fn lacks_column_store(&self, feed: &Feed) -> bool {
        feed.spec.front.pool == Pool::Columnar && self.start.columnar.is_none()
    }

    /// Seconds that the fast session has waited for an answer.
    pub fn silent_s(&self) -> f64 {
        let fast = self
            .feeds
            .iter()
            .filter(|feed| feed.spec.front.pool == Pool::Oltp && !self.is_read_here(feed));
        let asked = fast.filter_map(|feed| feed.sampling.in_flight).min();
        asked.map_or(0.0, |asked| self.now.since(asked))
    }

    /// Returns true if the last successful answer is older than it should be.
    pub(super) fn is_overdue(&self, feed: &Feed) -> bool {
        !self.paused
            && self
                .age_s(feed)
                .is_some_and(|age| age > self.longest_s(feed))
    }

    /// Seconds after which the last answer is older than it should be.
    pub(super) fn longest_s(&self, feed: &Feed) -> f64 {
        2.5 * self.pace(feed).as_secs_f64() + 1.0
    }

    /// Returns true if rules depend on it: if backends are hidden from the current role, the lock table shows
    /// who waits.
    pub(super) fn is_needed(&self, feed: &Feed) -> bool {
        feed.spec.front.sampling.if_restricted && self.history.oltp.restricted > 0
    }

    /// Returns true unless it is only sampled if backends are hidden, and none is.
    pub(super) fn is_wanted(&self, feed: &Feed) -> bool {
        !feed.spec.front.sampling.if_restricted || self.is_needed(feed)
    }

    /// Returns true if there are many sessions: each pass over pg_stat_activity costs some 3 ms per thousand
    /// of them.
    pub(super) fn is_crowded(&self) -> bool {
        let counters = Rows::<read::Counters>::of(self.rows(Panel::Database));
        counters.first().numbackends_all() > Some(CROWD)
    }

    /// Returns true if the report changes the screen by itself. An answer that no panel shows changes only figures that
    /// the next frame shows, too, which comes with the next second.
    pub(super) fn is_shown(&self, report: &Report) -> bool {
        match report {
            Report::Ended { .. } => false,
            Report::Answered { id, outcome, .. } => {
                let feed = self.feed(FeedId(*id));
                let again = |feed: &Feed| feed.spec.front.internal && feed.sampling.at.is_some();
                outcome.is_err() || !feed.is_some_and(again)
            }
            // The header counts the attempts of the fast session; of others, only the first one changes the screen.
            Report::Lost {
                session, attempt, ..
            } => *session == SessionId::Fast || *attempt <= 1,
            Report::Opened { .. } => true,
        }
    }
}

/// The pool whose statements are lost with this session. Statements of the OLAP pool are answered or handed
/// on individually, since several sessions share them.
pub(super) fn own_pool(session: SessionId) -> Option<Pool> {
    match session {
        SessionId::Fast => Some(Pool::Oltp),
        SessionId::Slow => Some(Pool::Slow),
        SessionId::Pooler => Some(Pool::Pooler),
        SessionId::Replica => Some(Pool::Replica),
        SessionId::Columnar => Some(Pool::Columnar),
        SessionId::Olap(_) | SessionId::StandIn | SessionId::Canary => None,
    }
}
