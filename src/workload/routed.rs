//! Sends the load's reads through the router, with or without a replica.

use crate::pg::Target;
use crate::router::Router;
use crate::router::catalogue::Catalogue;
use crate::router::executor::{Conversation, Counts, Executor, Policy, ReplicaStatus};
use crate::system::nodes::Nodes;
use crate::system::orders::Commit;
use crate::system::pools::OLAP_ROLE;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Sends the reads of a load.
pub(super) type Sender = Executor<Nodes>;

/// A client of the load, and what it has written.
pub(super) type Client<'a> = Conversation<'a, Nodes>;

/// The program in `htap.routing`.
pub(super) const PROGRAM: &str = "htap-top";

/// Returns the router of a load over these pools.
///
/// With asynchronous commits a customer who looks at a product after an order would wait for the primary's
/// `wal_writer_delay`, and asks the primary in place of that.
pub(super) fn sender(primary: &Target, nodes: Nodes, commit: Commit) -> Sender {
    let reader = primary
        .with_user(OLAP_ROLE)
        .with_application_name("htap-router");
    let policy = Policy {
        wait_unflushed: match commit {
            Commit::Synchronous => Some(Policy::default().wait_flushed),
            Commit::Asynchronous => Some(Duration::ZERO),
        },
        // It sends the same few statements all the time.
        kept: Duration::from_secs(600),
        ..Policy::default()
    };
    Executor::with_policy(Router::new(Catalogue::new(reader)), nodes, policy)
}

/// Where the reads of a load went, since its start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Routed {
    /// Number of reads by node, pool and rule, such as `replica olap read`.
    pub statements: BTreeMap<String, u64>,
    /// Number of reads that ran on the primary in place of the replica, by reason.
    pub fallbacks: BTreeMap<&'static str, u64>,
    /// Those of them that had been sent to the replica, or a read-only role, and were run again.
    pub reruns: u64,
    /// Number of reads that a read-only role refused.
    pub misroutes: u64,
    /// Waits for the replica to replay the reader's own write.
    #[serde(flatten)]
    pub waits: crate::router::executor::Waits,
    /// State of the replica at the end; `null` without one.
    pub replica: Option<ReplicaStatus>,
}

impl Routed {
    pub(super) fn of(sender: &Sender) -> Self {
        let counts: Counts = sender.counts();
        let statements = counts.decisions.iter();
        let fallbacks = counts.fallbacks.iter();
        Self {
            statements: statements
                .map(|((rule, lane), count)| (format!("{lane} {}", rule.name()), *count))
                .collect(),
            fallbacks: fallbacks.map(|(why, count)| (why.name(), *count)).collect(),
            reruns: counts.reruns.values().sum(),
            misroutes: counts.misroutes(),
            waits: counts.waits,
            replica: sender.replica_status(),
        }
    }

    /// Returns the number of reads on a node, `primary` or `replica`.
    fn on(&self, node: &str) -> u64 {
        let there = self.statements.iter();
        let there = there.filter(|(lane, _)| lane.split(' ').next() == Some(node));
        there.map(|(_, count)| count).sum()
    }
}

/// The lines of the report; nothing without a replica.
impl fmt::Display for Routed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.replica.is_none() && self.misroutes == 0 {
            return Ok(());
        }
        let counts = |counts: &mut dyn Iterator<Item = (String, u64)>| {
            let texts = counts.map(|(name, count)| format!("{count} {name}"));
            texts.collect::<Vec<_>>().join(", ")
        };
        let statements = &mut self.statements.iter().map(|(name, n)| (name.clone(), *n));
        writeln!(
            f,
            "reads  {} on the replica, {} on the primary: {}",
            self.on("replica"),
            self.on("primary"),
            counts(statements)
        )?;
        if !self.fallbacks.is_empty() {
            let reasons = &mut self.fallbacks.iter();
            let reasons = &mut reasons.map(|(name, n)| ((*name).to_owned(), *n));
            writeln!(
                f,
                "       on the primary in place of the replica: {}; {} run again",
                counts(reasons),
                self.reruns
            )?;
        }
        if self.waits.waits > 0 {
            writeln!(
                f,
                "       {} waited for their own write: p50 {}, p99 {}, longest {}",
                self.waits.waits,
                crate::format::ms(self.waits.wait_ms_p50),
                crate::format::ms(self.waits.wait_ms_p99),
                crate::format::ms(self.waits.wait_ms_max)
            )?;
        }
        let Some(replica) = self.replica else {
            return Ok(());
        };
        match replica.barred {
            None => writeln!(f, "       the replica gets reads"),
            Some(why) => writeln!(f, "       the replica gets no reads: {why}"),
        }
    }
}
