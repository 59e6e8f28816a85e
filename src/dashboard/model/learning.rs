//! What the server is and has: which statements fit its version, and which panels lack something.

use super::Model;
use crate::dashboard::event::Effect;
use crate::dashboard::feed::Feed;
use crate::dashboard::panels;
use crate::pg::{Table, quote_literal};
use crate::text::Clean;
use std::collections::BTreeSet;

/// Where this relation exists, the point query reads from it.
const SHOP: &str = "shop.products";
/// What stands in a statement for that texts are wanted.
const TEXTS: &str = "true /* texts */";
impl Model {
    /// The server told its version and what our role may: choose the statements that fit.
    pub(super) fn learned(&mut self, facts: Table) -> Vec<Effect> {
        let major = facts.first("server_version_num").int().unwrap_or(0) / 10_000;
        let pgss = facts.first("pgss_schema").text().map(str::to_owned);
        let monitor = facts.first("pg_monitor").is_true();
        for feed in &mut self.feeds {
            lack_of_server(feed, major, monitor);
        }
        for feed in self.feeds.iter_mut().filter(|feed| !feed.foreign) {
            let sql = panels::statement(&feed.spec.name, major)
                .unwrap_or(&feed.spec.sql)
                .to_owned();
            feed.sampling
                .missing
                .retain(|missing| Some(missing.as_str()) != feed.spec.front.extension.as_deref());
            match (&feed.spec.front.extension, &pgss) {
                (Some(extension), None) => {
                    feed.sampling.missing.push(Clean::from(extension.as_str()));
                }
                (Some(_), Some(schema)) => {
                    let function = format!("{}.pg_stat_statements", crate::pg::quote_ident(schema));
                    feed.sql = sql.replace("{pg_stat_statements}", &function).into();
                }
                (None, _) => feed.sql = sql.into(),
            }
        }
        if self.memory.without_texts {
            self.leave_texts_out();
        }
        self.facts = Some(facts);
        self.list_needs();
        let mut effects = self.point_query();
        effects.extend(self.sample_due());
        effects
    }

    /// From here on pg_stat_statements is read without its texts: one of them cannot be converted.
    pub(super) fn leave_texts_out(&mut self) {
        for feed in self
            .feeds
            .iter_mut()
            .filter(|feed| feed.sql.contains(TEXTS))
        {
            feed.sql = feed.sql.replace(TEXTS, "false").into();
            feed.sampling.due_ms = 0;
        }
    }

    /// Writes the statement that looks for the relations which panels need.
    fn list_needs(&mut self) {
        let needs = self
            .feeds
            .iter()
            .flat_map(|feed| &feed.spec.front.needs)
            .map(String::as_str);
        let needs: BTreeSet<&str> = needs.chain([SHOP]).collect();
        let listed: Vec<String> = needs.into_iter().map(quote_literal).collect();
        let sql = format!(
            // to_regclass is an error where our role has no USAGE on the schema, and one error would
            // hide the answer about all others.
            "SELECT name, CASE WHEN pg_catalog.cardinality(parts) = 1 OR pg_catalog.has_schema_privilege(\
             pg_catalog.to_regnamespace(pg_catalog.quote_ident(parts[1])), 'USAGE') \
             THEN pg_catalog.to_regclass(name) IS NOT NULL ELSE false END AS found \
             FROM pg_catalog.unnest(ARRAY[{}]::text[]) AS needed (name), pg_catalog.parse_ident(name) AS parts",
            listed.join(", ")
        );
        if let Some(feed) = self.feed_named("needs").and_then(|id| self.feed_mut(id)) {
            feed.sql = sql.into();
        }
        // Until it is answered nothing that needs a relation is asked.
        for feed in &mut self.feeds {
            let needs = &feed.spec.front.needs;
            if feed.sampling.at.is_none() && feed.sampling.missing.is_empty() && !needs.is_empty() {
                feed.sampling.due_ms = u64::MAX;
            }
        }
    }

    pub(super) fn found(&mut self, table: &Table) -> Vec<Effect> {
        let missing: Vec<&str> = (0..table.rows.len())
            .filter(|row| !table.get(*row, "found").is_true())
            .filter_map(|row| table.get(row, "name").text())
            .collect();
        for feed in &mut self.feeds {
            let needs = feed.spec.front.needs.clone();
            if needs.is_empty() {
                continue;
            }
            let lacked = !feed.sampling.missing.is_empty() || feed.sampling.due_ms == u64::MAX;
            feed.sampling.missing = needs
                .iter()
                .filter(|need| missing.contains(&need.as_str()))
                .map(|need| Clean::from(need.as_str()))
                .collect();
            if lacked && feed.sampling.missing.is_empty() {
                feed.sampling.due_ms = 0;
            }
        }
        self.memory.shop = !missing.contains(&SHOP);
        self.point_query()
    }

    /// Starts timing the point query that fits this database.
    fn point_query(&mut self) -> Vec<Effect> {
        let sql = self.config.canary.sql.clone().or_else(|| {
            let major = self
                .facts
                .as_ref()
                .and_then(|facts| facts.first("server_version_num").int())
                .unwrap_or(0);
            let name = if self.memory.shop {
                "canary_shop"
            } else {
                "canary"
            };
            panels::statement(name, major / 10_000).map(str::to_owned)
        });
        if sql == self.memory.canary {
            return Vec::new();
        }
        self.memory.canary.clone_from(&sql);
        vec![Effect::Canary(sql)]
    }
}

/// Notes where the server is too old for a panel, or our role may see too little.
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
