//! Derives gauges, findings and the cause line from the feeds.

use super::layout;
use super::{Link, Model, none};
use crate::dashboard::action::Grade;
use crate::dashboard::diagnosis::{self, Evidence, Gauge, Health, Unknown};
use crate::dashboard::event::FeedId;
use crate::dashboard::feed::Feed;
use crate::dashboard::panels;
use crate::pg::{Class, Table};
use std::collections::BTreeSet;

/// Seconds below which a running OLAP statement is not judged.
const LONG_OLAP_S: f64 = 5.0;
/// Seconds for which a reset of counters is reported.
const RESET_NEWS_S: f64 = 10.0;
/// Reason for gauges that are unknown without the privileges of pg_monitor.
const HIDDEN: &str = "others' sessions are hidden from our role: GRANT pg_monitor TO it";

/// The feed that a gauge depends on.
fn rests_on(label: &str) -> &'static str {
    match label {
        "snapshot" => "snapshots",
        "locks" => "activity",
        "fresh" => "views",
        "olap" | "oltp pool" | "olap pool" => "sessions",
        "dead" => "bloat",
        _ => "database",
    }
}

impl Model {
    /// Like [`Self::rows`], but empty if the rows may be outdated: a figure that is no longer measured does
    /// not prove that a target is met.
    pub(super) fn current(&self, name: &str) -> &Table {
        let feed = self.feed_named(name).and_then(|id| self.feed(id));
        let feed = feed.filter(|feed| self.is_current(feed));
        feed.map_or(none(), |feed| &feed.table)
    }

    /// Returns true if the feed's rows are still updated.
    pub fn is_current(&self, feed: &Feed) -> bool {
        self.link(feed).usable() && !self.is_overdue(feed)
    }

    /// Recomputes the gauges and the cause line.
    pub fn judge(&mut self) {
        let mut since = std::mem::take(&mut self.since);
        let evidence = self.evidence();
        let gauges = diagnosis::gauges(&evidence);
        let unknown = self.unknown(&gauges);
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
            &unknown,
            &since,
            self.now,
            self.start.utc_offset_s,
        );
        let alarm = cause.health == diagnosis::Health::Danger
            && (self.cause.health, self.cause.label) != (cause.health, cause.label);
        self.since = since;
        self.gauges = gauges;
        self.findings = findings;
        self.unknown = unknown;
        self.cause = cause;
        if alarm {
            // The log shows later readers what happened.
            self.note(Grade::Bad, &self.cause.sentence.clone());
        }
    }

    /// The data for gauges and rules.
    fn evidence(&self) -> Evidence<'_> {
        let olap_feeds = || {
            let feeds = self.feeds.iter();
            feeds.filter(|feed| feed.spec.front.pool == panels::spec::Pool::Olap)
        };
        // An error may come quickly, so its duration says nothing about the queries.
        let olap_ms = olap_feeds()
            .filter(|feed| feed.sampling.at.is_some() && feed.sampling.missing.is_empty())
            .filter(|feed| {
                let error = feed.sampling.error.as_ref();
                error.is_none_or(|error| error.class == Class::Timeout)
            })
            .map(|feed| feed.sampling.took_ms);
        Evidence {
            config: &self.config,
            oltp: &self.history.oltp,
            activity: self.current("activity"),
            locks: self.current("locks"),
            point_query: self.memory.canary.as_deref().unwrap_or_default(),
            point_locks: self.current("point_locks"),
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
            sequences: self.current("sequences"),
            wait_events: self.current("waits"),
            reset_ago_s: self
                .memory
                .reset
                .map(|reset| self.now.since(reset))
                .filter(|ago| *ago <= RESET_NEWS_S),
            olap_ms: olap_ms.chain(self.oldest_olap_ms()).reduce(f64::max),
            has_olap: olap_feeds().any(|feed| feed.sampling.missing.is_empty()),
        }
    }

    /// Lists what is not known: gauges, failed panels and facts, with the reason unless they are just being
    /// measured.
    fn unknown(&self, gauges: &[Gauge]) -> Vec<Unknown> {
        let mut unknown = Vec::new();
        let mut told = BTreeSet::new();
        for gauge in gauges
            .iter()
            .filter(|gauge| gauge.health == Health::Unknown)
        {
            let name = rests_on(gauge.label);
            let why = match self.failure(name) {
                Some(why) => {
                    told.insert(name);
                    why
                }
                None => self.why(gauge),
            };
            unknown.push(Unknown {
                what: gauge.label.to_owned(),
                why,
            });
        }
        let shown = layout::panels(self);
        for (position, feed) in self.feeds.iter().enumerate() {
            let name = feed.spec.name.as_str();
            let asked = self.is_asked(FeedId(position as u16), feed, &shown);
            if !asked || told.contains(name) {
                continue;
            }
            if let Some(why) = self.failure(name) {
                let what = name.to_owned();
                unknown.push(Unknown { what, why });
            }
            let kinds = feed.forbidden.columns(&feed.source);
            let kinds = kinds.filter(|(kind, _)| !feed.spec.front.columns.contains_key(*kind));
            unknown.extend(kinds.map(|(kind, why)| Unknown {
                what: format!("{name}: {kind}"),
                why: why.to_string(),
            }));
        }
        unknown
    }

    /// Returns the error of the feed called `name`.
    fn failure(&self, name: &str) -> Option<String> {
        let feed = self.feed_named(name).and_then(|id| self.feed(id))?;
        if !feed.sampling.missing.is_empty() {
            return None;
        }
        match (self.link(feed), &feed.sampling.error) {
            (Link::Lost { error, .. }, _) => Some(format!("not connected: {error}")),
            (_, error) => Some(error.as_ref()?.to_string()),
        }
    }

    /// Returns the reason why a gauge is unknown although its feed has not failed; empty if it is just being
    /// measured.
    fn why(&self, gauge: &Gauge) -> String {
        let oltp = &self.history.oltp;
        let feed = self.feed_named(rests_on(gauge.label));
        let feed = feed.and_then(|id| self.feed(id));
        let hidden = oltp.restricted > 0;
        match gauge.label {
            "p99" => String::new(),
            "locks" | "olap" if hidden && gauge.figure.is_some() => HIDDEN.to_owned(),
            _ => match feed {
                None => "its panel is off".to_owned(),
                Some(feed) if feed.sampling.at.is_none() => String::new(),
                Some(_) if hidden => HIDDEN.to_owned(),
                Some(feed) if !self.is_current(feed) => "no answer in time".to_owned(),
                Some(_) => match gauge.label {
                    "snapshot" => "the oldest one began before this program did".to_owned(),
                    "fresh" => "the time of its last refresh is unknown".to_owned(),
                    _ => String::new(),
                },
            },
        }
    }

    /// Milliseconds for which the oldest OLAP statement has been running, a lower bound of its latency.
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
