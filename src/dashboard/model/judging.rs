//! From what the feeds hold to gauges, findings and the cause line.

use super::{Model, none};
use crate::dashboard::action::Grade;
use crate::dashboard::diagnosis::{self, Evidence};
use crate::dashboard::feed::Feed;
use crate::dashboard::panels;
use crate::pg::{Class, Table};

/// An OLAP statement that runs for less than this many seconds is not judged while it runs.
const LONG_OLAP_S: f64 = 5.0;
/// For so many seconds it is news that counters were reset.
const RESET_NEWS_S: f64 = 10.0;

impl Model {
    /// As [`Self::rows`], but nothing where they may no longer be true: a target is not held by a
    /// figure that nobody measures any more.
    pub(super) fn current(&self, name: &str) -> &Table {
        let feed = self.feed_named(name).and_then(|id| self.feed(id));
        let feed = feed.filter(|feed| self.is_current(feed));
        feed.map_or(none(), |feed| &feed.table)
    }

    /// Whether what the feed holds is still measured.
    pub fn is_current(&self, feed: &Feed) -> bool {
        self.link(feed).usable() && !self.is_overdue(feed)
    }

    /// Makes the gauges and the cause line anew.
    pub fn judge(&mut self) {
        let mut since = std::mem::take(&mut self.since);
        let olap_feeds = || {
            let feeds = self.feeds.iter();
            feeds.filter(|feed| feed.spec.front.pool == panels::spec::Pool::Olap)
        };
        // An error is soon told: how long that took says nothing about the queries.
        let olap_ms = olap_feeds()
            .filter(|feed| feed.sampling.at.is_some() && feed.sampling.missing.is_empty())
            .filter(|feed| {
                let error = feed.sampling.error.as_ref();
                error.is_none_or(|error| error.class == Class::Timeout)
            })
            .map(|feed| feed.sampling.took_ms);
        let evidence = Evidence {
            config: &self.config,
            oltp: &self.history.oltp,
            activity: self.current("activity"),
            locks: self.current("locks"),
            waits_of_minute: self.current("waits"),
            snapshots: self.current("snapshots"),
            bloat: self.current("bloat"),
            views: self.current("views"),
            has_views: self.feed_named("views").is_some(),
            database: self.rows("database"),
            sessions: self.current("sessions"),
            facts: self.facts.as_ref().unwrap_or(none()),
            temp_files: self.current("temp_files"),
            io: self.current("io"),
            wal: self.current("wal"),
            wraparound: self.current("wraparound"),
            replication: self.current("replication"),
            reset_ago_s: self
                .memory
                .reset
                .map(|reset| self.now.since(reset))
                .filter(|ago| *ago <= RESET_NEWS_S),
            olap_ms: olap_ms.chain(self.oldest_olap_ms()).reduce(f64::max),
            has_olap: olap_feeds().any(|feed| feed.sampling.missing.is_empty()),
        };
        let gauges = diagnosis::gauges(&evidence);
        let findings = diagnosis::findings(&evidence);
        let before = |label: &str| {
            if label == "p99" {
                self.history.p99.median(60, 5)
            } else {
                None
            }
        };
        since.note(&gauges, &findings, self.now, &before);
        let cause = diagnosis::cause(
            &evidence,
            &gauges,
            &findings,
            &since,
            self.now,
            self.start.utc_offset_s,
        );
        let alarm = cause.health == diagnosis::Health::Danger
            && (self.cause.health, self.cause.label) != (cause.health, cause.label);
        self.since = since;
        self.gauges = gauges;
        self.findings = findings;
        self.cause = cause;
        if alarm {
            // Whoever comes later reads in the log what happened before.
            self.note(Grade::Bad, &self.cause.sentence.clone());
        }
    }

    /// How long the oldest OLAP statement has been running, milliseconds: its answer will take longer.
    fn oldest_olap_ms(&self) -> Option<f64> {
        let activity = self.current("activity");
        let running = |row: &usize| {
            let text = |name| activity.get(*row, name).text();
            text("class") == Some("olap") && text("state") == Some("active")
        };
        let ages = (0..activity.rows.len()).filter(running);
        let ages = ages.filter_map(|row| activity.get(row, "query_age_s").number());
        let oldest = ages.filter(|age| *age >= LONG_OLAP_S).reduce(f64::max);
        oldest.map(|age| age * 1000.0)
    }
}
