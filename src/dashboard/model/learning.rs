//! Adaptation to the server: statements that suit its version, and objects that panels lack.

use super::Model;
use crate::config::WorkClass;
use crate::dashboard::action::Grade;
use crate::dashboard::event::{Effect, FeedId};
use crate::dashboard::feed::{Feed, MARK};
use crate::dashboard::panels;
use crate::dashboard::panels::classify::Session;
use crate::dashboard::rows::{Panel, Rows, Text, added, read};
use crate::pg::{Class, PgError, Table, Value, owners, quote_ident};
use crate::text::Clean;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The relation that the point query reads if it exists.
const SHOP: &str = "shop.products";
/// Placeholder in statements for a request of texts.
pub(super) const TEXTS: &str = "true /* texts */";
/// Delay between attempts to query what all else depends on, in milliseconds: initial and maximum.
const AGAIN_MS: (u64, u64) = (1_000, 10_000);
/// Placeholder for the function in statements that read it.
const PGSS: &str = "{pg_stat_statements}";

/// Query ids in pg_stat_statements whose text tells more about their class than their role does.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Kinds {
    own: BTreeSet<i64>,
    refresh: BTreeSet<i64>,
    maintenance: BTreeSet<i64>,
}

impl Kinds {
    /// Returns the statement with these ids in place of its empty lists.
    fn write(&self, source: &str) -> String {
        let lists = [
            ("own", &self.own),
            ("refresh", &self.refresh),
            ("maintenance", &self.maintenance),
        ];
        let mut sql = source.to_owned();
        for (name, list) in lists {
            let numbers: Vec<String> = list.iter().map(ToString::to_string).collect();
            let numbers = numbers.join(",");
            sql = sql.replace(&format!("'{{}}'/*{name}*/"), &format!("'{{{numbers}}}'"));
        }
        sql
    }
}

/// Returns true if all other feeds depend on this one.
pub(super) fn is_first(feed: &Feed) -> bool {
    feed.spec.front.sampling.first
}

/// Returns true if it is queried before the facts are known.
pub(super) fn is_asked_at_once(feed: &Feed) -> bool {
    feed.spec.front.sampling.at_connect
}

/// Delay in milliseconds before such a feed is queried again after that many failures in a row.
pub(super) fn patience_ms(failures: u32) -> u64 {
    (AGAIN_MS.0 << failures.saturating_sub(1).min(10)).min(AGAIN_MS.1)
}

impl Model {
    /// Returns true if a query for the server's facts, extensions or needed relations has failed.
    pub fn lacks_facts(&self) -> bool {
        let first = self.feeds.iter().filter(|feed| is_first(feed));
        let mut failed = first.map(|feed| feed.sampling.error.is_some());
        failed.any(|failed| failed)
    }

    /// Queries the facts and extensions now.
    pub(super) fn ask_facts(&mut self) -> Vec<Effect> {
        let feeds = (0..).map(FeedId).zip(&self.feeds);
        let ids: Vec<_> = feeds
            .filter(|(_, feed)| is_asked_at_once(feed))
            .map(|(id, _)| id)
            .collect();
        self.ask(&ids)
    }

    /// Takes in facts about the server and the current role, and chooses the statements that suit them.
    pub(super) fn learned(&mut self, mut facts: Table) -> Vec<Effect> {
        // Earlier recordings have these among the facts.
        if let (false, Some(told)) = (
            facts.has_columns(added::ToFacts::COLUMNS),
            &self.memory.extensions,
        ) {
            tell_extension(&mut facts, told);
        }
        let before = self.facts.replace(facts);
        if before == self.facts {
            return self.sample_learned();
        }
        if let Some(before) = before {
            self.tell_changes(&before);
            for feed in &mut self.feeds {
                // The role has changed, or gained a privilege.
                feed.forbidden.forget();
            }
        }
        self.choose_statements();
        self.list_needs();
        let mut effects = self.point_query();
        effects.extend(self.sample_learned());
        effects
    }

    /// Takes in the version and schema of pg_stat_statements, which some statements read.
    pub(super) fn told_extensions(&mut self, table: Table) -> Vec<Effect> {
        if table.columns.is_empty() || self.memory.extensions.as_ref() == Some(&table) {
            return Vec::new();
        }
        let version = |table: &Table| {
            let told = Rows::<read::Extension>::of(table).first();
            told.pgss_version().text().map(str::to_owned)
        };
        if let Some(before) = &self.memory.extensions
            && version(before) != version(&table)
        {
            let what = version(&table).map_or_else(
                || "pg_stat_statements is gone".to_owned(),
                |version| format!("pg_stat_statements {version} is available now"),
            );
            self.say(Grade::Good, &what);
        }
        let told = self.memory.extensions.insert(table);
        match &mut self.facts {
            Some(facts) => {
                tell_extension(facts, told);
                self.choose_statements();
                self.sample_learned()
            }
            None => Vec::new(),
        }
    }

    fn sample_learned(&mut self) -> Vec<Effect> {
        if self.paused {
            Vec::new()
        } else {
            self.sample_due()
        }
    }

    /// Logs changes of the server since the previous facts.
    fn tell_changes(&mut self, before: &Table) {
        let was = Rows::<read::Fact>::of(before).first().in_recovery() == Some(true);
        let is = self.fact().in_recovery() == Some(true);
        if was && !is {
            self.say(Grade::Good, "the standby was promoted: it is a primary now");
        } else if is && !was {
            self.say(Grade::Bad, "the server is a standby now");
        }
    }

    /// Retries everything that was refused, as a privilege may have been granted meanwhile.
    pub(super) fn try_refused_again(&mut self) -> Vec<Effect> {
        for feed in &mut self.feeds {
            if feed.forbidden.any() || feed.sampling.error.is_some() || is_first(feed) {
                feed.forbidden.forget();
                feed.write();
                feed.sampling.due_ms = feed.sampling.due_ms.min(self.now.mono_ms);
                feed.sampling.failures = 0;
            }
        }
        self.sample_learned()
    }

    /// Chooses the statement of each feed, and records what the server lacks for it.
    fn choose_statements(&mut self) {
        let Some(facts) = &self.facts else { return };
        let fact = Rows::<read::Fact>::of(facts).first();
        let major = fact.server_version_num().unwrap_or(0) / 10_000;
        let monitor = fact.pg_monitor() == Some(true);
        let pgss = facts.has_columns(added::ToFacts::COLUMNS).then(|| {
            let schema = fact.pgss_schema().raw();
            schema.map(|schema| format!("{}.pg_stat_statements", crate::pg::quote_ident(schema)))
        });
        for feed in &mut self.feeds {
            lack_of_server(feed, major, monitor);
        }
        for feed in self.feeds.iter_mut().filter(|feed| !feed.foreign) {
            if feed.panel == Some(Panel::Needs) {
                continue;
            }
            let spec = Arc::clone(&feed.spec);
            let source = spec.statement(major);
            let lacked = feed.sampling.missing.len();
            feed.sampling
                .missing
                .retain(|missing| Some(missing.as_str()) != feed.spec.front.extension.as_deref());
            let source = match (&feed.spec.front.extension, &pgss) {
                (None, _) => source.to_owned(),
                // Not known yet: the feed is not queried.
                (Some(_), None) => String::new(),
                (Some(_), Some(Some(function))) => {
                    if lacked > feed.sampling.missing.len() {
                        feed.sampling.due_ms = 0;
                    }
                    self.memory.kinds.write(&source.replace(PGSS, function))
                }
                (Some(extension), Some(None)) => {
                    feed.sampling.missing.push(Clean::from(extension.as_str()));
                    source.to_owned()
                }
            };
            feed.ask_with(&if self.memory.without_texts {
                source.replace(TEXTS, "false")
            } else {
                source
            });
        }
    }

    /// Takes in the query ids of this program's own statements, of refreshes and of maintenance.
    pub(super) fn told_kinds(&mut self, table: &Table) -> Vec<Effect> {
        let mut kinds = Kinds::default();
        for row in Rows::<read::StatementKind>::of(table).iter() {
            let Ok(queryid) = row.queryid().shown().parse() else {
                continue;
            };
            let class = self.classifier.classify(&Session {
                role: row.usename().shown(),
                backend_type: "client backend",
                query: row.query().shown(),
                ..Session::default()
            });
            match class {
                _ if row.own() == Some(true) => kinds.own.insert(queryid),
                WorkClass::Refresh => kinds.refresh.insert(queryid),
                WorkClass::Maintenance => kinds.maintenance.insert(queryid),
                WorkClass::Oltp | WorkClass::Olap => false,
            };
        }
        if self.memory.kinds != kinds {
            self.memory.kinds = kinds;
            self.choose_statements();
        }
        Vec::new()
    }

    /// Reads pg_stat_statements without texts from now on, because one of them cannot be converted.
    pub(super) fn leave_texts_out(&mut self) {
        self.memory.without_texts = true;
        let feeds = self.feeds.iter_mut();
        for feed in feeds.filter(|feed| feed.source.contains(TEXTS)) {
            feed.sampling.due_ms = 0;
        }
        self.choose_statements();
    }

    /// Writes the statement that looks up the relations required by panels.
    fn list_needs(&mut self) {
        let needs = self
            .feeds
            .iter()
            .flat_map(|feed| &feed.spec.front.needs)
            .map(String::as_str);
        let needs: BTreeSet<&str> = needs.chain([SHOP]).collect();
        let sql = owners::statement(needs);
        let needed = self.id_of(Panel::Needs);
        if let Some(feed) = needed.and_then(|id| self.feed_mut(id)) {
            feed.ask_with(&sql);
        }
        // Until that is answered, no feed that requires a relation is queried.
        for feed in &mut self.feeds {
            let needs = &feed.spec.front.needs;
            if feed.sampling.at.is_none() && feed.sampling.missing.is_empty() && !needs.is_empty() {
                feed.sampling.due_ms = u64::MAX;
            }
        }
    }

    pub(super) fn found(&mut self, table: &Table) -> Vec<Effect> {
        let needs = Rows::<read::Need>::of(table);
        let missing = needs.iter().filter(|row| row.found() != Some(true));
        let missing: Vec<&str> = missing.filter_map(|row| row.name().text()).collect();
        let strange: BTreeMap<&str, &str> = needs
            .iter()
            .filter_map(|row| row.name().text().zip(row.stranger().text()))
            .collect();
        let role = self.fact().current_user().text();
        let role = role.map_or_else(|| "it".to_owned(), quote_ident);
        let denied = needs.iter().filter(|row| row.readable() == Some(false));
        let denied: Vec<&str> = denied.filter_map(|row| row.name().text()).collect();
        for feed in &mut self.feeds {
            let needs = feed.spec.front.needs.clone();
            if needs.is_empty() {
                continue;
            }
            let lacked = !feed.sampling.missing.is_empty() || feed.sampling.due_ms == u64::MAX;
            // The author of a custom panel decides whose relations it may read.
            let of_strangers = |need: &str| !feed.foreign && strange.contains_key(need);
            let lacking = |need: &&String| missing.contains(&need.as_str()) || of_strangers(need);
            feed.sampling.strange = (needs.iter())
                .filter(|need| !feed.foreign && !missing.contains(&need.as_str()))
                .find_map(|need| {
                    Some(Clean::from(
                        owners::refusal(need, strange.get(need.as_str())?).as_str(),
                    ))
                });
            feed.sampling.missing = (needs.iter().filter(lacking))
                .map(|need| Clean::from(need.as_str()))
                .collect();
            if lacked && feed.sampling.missing.is_empty() {
                feed.sampling.due_ms = 0;
            }
            let unread = needs.iter().find(|need| denied.contains(&need.as_str()));
            if let Some(name) = unread {
                feed.sampling.denied = true;
                feed.sampling.error = Some(may_not_read(name, &role));
            } else if feed.sampling.denied {
                feed.sampling.denied = false;
                feed.sampling.error = None;
                feed.sampling.due_ms = 0;
            }
        }
        let unusable = missing.iter().chain(&denied).any(|name| *name == SHOP);
        self.memory.shop = !unusable && !strange.contains_key(SHOP);
        self.point_query()
    }

    /// Starts timing a point query that suits this database.
    fn point_query(&mut self) -> Vec<Effect> {
        let sql = self.config.canary.sql.clone().or_else(|| {
            let version = self.fact().server_version_num().unwrap_or(0);
            let panel = if self.memory.shop {
                Panel::CanaryShop
            } else {
                Panel::Canary
            };
            panels::statement(panel.name(), version / 10_000).map(str::to_owned)
        });
        let sql = sql.map(|sql| format!("{MARK}{sql}"));
        if sql == self.memory.canary {
            return Vec::new();
        }
        self.memory.canary.clone_from(&sql);
        vec![Effect::Canary(sql)]
    }
}

/// Adds what is known about the extension to the facts.
fn tell_extension(facts: &mut Table, told: &Table) {
    let told = Rows::<read::Extension>::of(told).first();
    let added = added::ToFacts::to(facts);
    let text = |text: Text<'_>| {
        text.clean()
            .map_or(Value::Null, |text| Value::Text(text.clone()))
    };
    facts.put(0, added.pgss_version, text(told.pgss_version()));
    facts.put(0, added.pgss_schema, text(told.pgss_schema()));
}

/// The error the server would return, without sending the query: the server logs every such error.
fn may_not_read(name: &str, role: &str) -> PgError {
    PgError {
        sqlstate: Some("42501".into()),
        hint: Some(Clean::from(
            format!("GRANT SELECT ON {name} TO {role}.").as_str(),
        )),
        ..PgError::new(Class::Statement, format!("our role may not read {name}"))
    }
}

/// Records that the server is too old for a panel, or that the role lacks privileges.
fn lack_of_server(feed: &mut Feed, major: i64, monitor: bool) {
    const SERVER: &str = "PostgreSQL ";
    const ROLE: &str = "the privileges of pg_monitor";
    let missing = &mut feed.sampling.missing;
    missing.retain(|lack| !lack.as_str().starts_with(SERVER) && lack.as_str() != ROLE);
    if let Some(since) = feed.spec.front.since.filter(|since| major < *since) {
        missing.push(Clean::from(format!("{SERVER}{since} or later")));
    }
    if feed.spec.front.monitor && !monitor {
        missing.push(Clean::from(ROLE));
    }
}
