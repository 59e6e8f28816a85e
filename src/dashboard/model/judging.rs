//! Derives gauges, findings and the cause line from the feeds.

use super::layout;
use super::{Link, Model, none};
use crate::dashboard::action::Grade;
use crate::dashboard::diagnosis::{self, Evidence, Gauge, Health, LostPooler, Pools, Unknown};
use crate::dashboard::event::FeedId;
use crate::dashboard::feed::Feed;
use crate::dashboard::panels;
use crate::dashboard::rows::{Columns, Panel, Rows, read};
use crate::pg::{Class, Table};
use std::collections::BTreeSet;

/// Seconds below which a running OLAP statement is not judged.
const LONG_OLAP_S: f64 = 5.0;
/// Seconds for which a reset of counters is reported.
const RESET_NEWS_S: f64 = 10.0;
/// Reason for gauges that are unknown without the privileges of pg_monitor.
const HIDDEN: &str = "others' sessions are hidden from our role: GRANT pg_monitor TO it";

/// The feed that a gauge depends on.
fn rests_on(label: &str) -> Panel {
    match label {
        "snapshot" => Panel::Snapshots,
        "locks" => Panel::Activity,
        "fresh" => Panel::Views,
        "olap" | "oltp pool" | "olap pool" => Panel::Sessions,
        "dead" => Panel::Bloat,
        "maxwait" => Panel::Pooler,
        "cpu" => Panel::Host,
        _ => Panel::Database,
    }
}

impl Model {
    /// Like [`Self::rows`], but empty if the rows may be outdated: a figure that is no longer measured does
    /// not prove that a target is met.
    pub(super) fn current(&self, panel: Panel) -> &Table {
        let feed = self.feed_of(panel);
        let feed = feed.filter(|feed| self.is_current(feed));
        feed.map_or(none(), |feed| &feed.table)
    }

    fn rows_of<C: Columns>(&self, panel: Panel) -> Rows<'_, C> {
        Rows::of(self.current(panel))
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
        self.note_troubles();
        if alarm {
            // The log shows later readers what happened.
            self.note(Grade::Bad, &self.cause.sentence.clone());
        }
    }

    /// The data for gauges and rules.
    fn evidence(&self) -> Evidence<'_> {
        // In the background they are not asked: only a statement that is seen to run has a latency.
        let background = self.is_in_background();
        let olap_feeds = || {
            let feeds = self.feeds.iter();
            let of_pool = |feed: &&Feed| feed.spec.front.pool == panels::spec::Pool::Olap;
            feeds.filter(move |feed| !background && of_pool(feed))
        };
        let oldest_olap_ms = self.oldest_olap_ms();
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
            activity: self.rows_of(Panel::Activity),
            locks: self.rows_of(Panel::Locks),
            point_query: self.memory.canary.as_deref().unwrap_or_default(),
            point_locks: self.rows_of(Panel::PointLocks),
            snapshots: self.rows_of(Panel::Snapshots),
            bloat: self.rows_of(Panel::Bloat),
            views: self.rows_of(Panel::Views),
            has_views: self.feed_of(Panel::Views).is_some(),
            database: Rows::of(self.rows(Panel::Database)).first(),
            sessions: self.rows_of(Panel::Sessions),
            facts: self.fact(),
            temp_files: self.rows_of(Panel::TempFiles),
            io: self.rows_of(Panel::Io),
            wal: self.rows_of(Panel::Wal).first(),
            wraparound: self.rows_of(Panel::Wraparound),
            replication: self.rows_of(Panel::Replication),
            nodes: self.rows_of(Panel::Nodes),
            stream: self.rows_of(Panel::Stream),
            columnar: self.rows_of(Panel::Columnar).first(),
            olap_stands_in: self.olap_stands_in().is_some(),
            sequences: self.rows_of(Panel::Sequences),
            wait_events: self.rows_of(Panel::Waits),
            reset_ago_s: self
                .memory
                .reset
                .map(|reset| self.now.since(reset))
                .filter(|ago| *ago <= RESET_NEWS_S),
            olap_ms: olap_ms.chain(oldest_olap_ms).reduce(f64::max),
            host: self.rows_of(Panel::Host),
            pools: self.start.pooler.is_some().then(|| self.pools()),
            has_olap: olap_feeds().any(|feed| feed.sampling.missing.is_empty())
                || (background && oldest_olap_ms.is_some()),
        }
    }

    /// The pools of the pooler, and the backends behind them.
    fn pools(&self) -> Pools<'_> {
        Pools {
            rows: self.rows_of(Panel::Pooler),
            databases: Rows::of(self.rows(Panel::PoolerDatabases)),
            behind: &self.memory.behind_pooler,
            lost: self.lost_pooler(),
        }
    }

    /// Returns the failure to reach the pooler, if there is one that ends by itself: a refusal says nothing about its
    /// clients.
    fn lost_pooler(&self) -> Option<LostPooler<'_>> {
        match &self.pooler {
            Link::Lost {
                error,
                since,
                given_up: false,
                ..
            } => Some(LostPooler {
                place: self.start.pooler.as_ref()?,
                error,
                since_s: self.now.since(*since),
                answered: self.feed_of(Panel::Pooler)?.sampling.at.is_some(),
            }),
            _ => None,
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
            let panel = rests_on(gauge.label);
            let feed = self.feed_of(panel);
            let why = match feed.and_then(|feed| self.failure(feed)) {
                Some(why) => {
                    told.insert(panel.name());
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
        // The gauge reports a lost pooler.
        let is_lost = |feed: &Feed| match feed.spec.front.pool {
            panels::spec::Pool::Pooler => !self.pooler.usable(),
            // The cause line reports a lost server of the OLAP pool.
            panels::spec::Pool::Replica => true,
            _ => false,
        };
        for (position, feed) in self.feeds.iter().enumerate() {
            let name = feed.spec.name.as_str();
            let asked = self.is_asked(FeedId(position as u16), feed, &shown);
            if !asked || told.contains(name) || is_lost(feed) {
                continue;
            }
            if let Some(why) = self.failure(feed) {
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

    /// Returns the error of a feed.
    fn failure(&self, feed: &Feed) -> Option<String> {
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
        let feed = self.feed_of(rests_on(gauge.label));
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
        let activity: Rows<'_, read::Backend> = self.rows_of(Panel::Activity);
        let running = activity.iter();
        let running = running.filter(|row| row.class().is("olap") && row.state().is("active"));
        let ages = running.filter_map(|row| row.query_age_s());
        let oldest = ages.filter(|age| *age >= LONG_OLAP_S).reduce(f64::max);
        oldest.map(|age| age * 1000.0)
    }
}
