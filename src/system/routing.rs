//! Publishes what a router does as a row of `htap.routing` on the primary, which a dashboard in another process reads.

use super::nodes::Nodes;
use crate::pg::relation::oid_of;
use crate::pg::{Param, PgError, Pool, Statement};
use crate::router::executor::{Counts, Executor, ReplicaStatus};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

const PUBLISH: Statement = Statement {
    name: "router_publish",
    types: &["text"],
    sql: include_str!("../../queries/router/publish.sql"),
};
/// Removes the rows of routers that are gone.
const TIDY: Statement = Statement {
    name: "router_tidy",
    types: &[],
    sql: "DELETE FROM htap.routing WHERE reported_at OPERATOR(pg_catalog.<) \
          (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.make_interval(mins => 10))",
};
const RETIRE: Statement = Statement {
    name: "router_retire",
    types: &["text"],
    sql: "DELETE FROM htap.routing WHERE instance OPERATOR(pg_catalog.=) $1",
};
/// Interval of publishing.
const PACE: Duration = Duration::from_secs(1);
/// Number of reports between two tidyings.
const TIDIED: u32 = 60;

/// A router's row.
#[derive(Debug, Serialize)]
struct Row<'a> {
    instance: &'a str,
    program: &'a str,
    routed: BTreeMap<String, u64>,
    fallbacks: BTreeMap<&'static str, u64>,
    misroutes: u64,
    reruns: u64,
    #[serde(flatten)]
    waits: crate::router::executor::Waits,
    breaker: &'static str,
    barred: Option<&'static str>,
    breaker_s: Option<f64>,
    opened: u64,
    lag_bytes: Option<i64>,
    lag_ms: Option<f64>,
}

impl<'a> Row<'a> {
    fn new(
        instance: &'a str,
        program: &'a str,
        counts: &Counts,
        replica: Option<ReplicaStatus>,
    ) -> Self {
        let routed = counts.decisions.iter();
        let routed =
            routed.map(|((rule, lane), count)| (format!("{lane} {}", rule.name()), *count));
        let fallbacks = counts.fallbacks.iter();
        let barred = replica.and_then(|replica| replica.barred);
        Self {
            instance,
            program,
            routed: routed.collect(),
            fallbacks: fallbacks.map(|(why, count)| (why.name(), *count)).collect(),
            misroutes: counts.misroutes(),
            reruns: counts.reruns.values().sum(),
            waits: counts.waits,
            breaker: match (replica, barred) {
                (None, _) => "none",
                (Some(_), None) => "closed",
                (Some(_), Some(_)) => "open",
            },
            barred: barred.map(crate::router::Barred::name),
            breaker_s: replica.map(|replica| replica.since_s),
            opened: replica.map_or(0, |replica| replica.opened),
            lag_bytes: replica
                .and_then(|replica| replica.lag_bytes)
                .map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            lag_ms: replica.and_then(|replica| replica.lag_ms),
        }
    }
}

/// A name for this process's router, which no other has.
pub fn instance(program: &str) -> String {
    format!(
        "{program} {} {:08x}",
        std::process::id(),
        rand::random::<u32>()
    )
}

/// Publishes the state of a router once per second until it is dropped, over sessions of [`super::pools::OLTP_ROLE`]. A
/// schema of an earlier version has no such table: nothing is published then.
pub async fn publish(executor: &Executor<Nodes>, pool: &Pool, instance: &str, program: &str) {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut there = None;
    for round in 0_u32.. {
        pace.tick().await;
        if there.is_none() {
            there = is_there(pool).await.ok();
        }
        match there {
            Some(true) => {}
            Some(false) => return,
            // The server does not answer: again in a second.
            None => continue,
        }
        let row = Row::new(
            instance,
            program,
            &executor.counts(),
            executor.replica_status(),
        );
        let Ok(json) = serde_json::to_string(&row) else {
            continue;
        };
        let Ok(session) = pool.get().await else {
            continue;
        };
        // The next report makes up for one that fails.
        let _ = session.run(&PUBLISH, &[Param::Text(&json)]).await;
        if round % TIDIED == 0 {
            let _ = session.run(&TIDY, &[]).await;
        }
    }
}

/// Removes the row of a router that ends.
pub async fn retire(pool: &Pool, instance: &str) {
    if let (Ok(true), Ok(session)) = (is_there(pool).await, pool.get().await) {
        // Otherwise others remove it after 10 minutes.
        let _ = session.run(&RETIRE, &[Param::Text(instance)]).await;
    }
}

/// Returns true if the installed schema has the table, and the role may write it.
async fn is_there(pool: &Pool) -> Result<bool, PgError> {
    let unavailable =
        |error: crate::pg::PoolError| PgError::new(crate::pg::Class::BackOff, error.to_string());
    let session = pool.get().await.map_err(unavailable)?;
    let relation = oid_of("htap.routing");
    let sql = format!(
        "SELECT coalesce(pg_catalog.has_column_privilege(r.oid, 'instance', 'INSERT')
                         AND pg_catalog.has_table_privilege(r.oid, 'DELETE'), false) AS there
         FROM {relation} AS r (oid)"
    );
    let table = session.query(&sql, &[]).await?;
    Ok(table.first("there").is_true())
}
