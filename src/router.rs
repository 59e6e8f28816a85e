//! The query router: decides which server a statement may run on, and which pool it belongs to.
//!
//! A statement goes to the primary unless it is known to only read:
//!
//! 1. [`crate::sql::lex`]: PostgreSQL's lexical rules. Drops comments and folds names; ambiguous text goes to the primary.
//! 2. The syntax tree. Only SELECT, VALUES, TABLE, SHOW and EXPLAIN of these continue, without INSERT, UPDATE, DELETE
//!    or MERGE inside, without row locks, without INTO.
//! 3. The objects behind its names, from the [`catalogue`]: no volatile function, called directly or indirectly, and no
//!    relation that a replica lacks or that describes a single server.
//! 4. The plan: PostgreSQL's own reading of the statement. It confirms what the statement does, and its cost selects
//!    the pool: OLAP from a threshold on, no matter how the statement is worded.
//! 5. [`session`]: an open transaction, state that lives in one connection, and the session's own last write, which a
//!    replica must have replayed.
//!
//! Assessments are cached by the canonical text of the statement, and by the text itself. An [`executor`] sends
//! statements over the program's own sessions ([`executor::Lanes`]); the read-only role of the OLAP pool is the safety
//! net below it. One task per executor looks at the replica (`watch`), and a breaker decides whether it gets reads.
//! [`keywords`] is the case study's router, for comparison. `examples/router.rs` is a whole program.
//!
//! Limits: a function in SQL or PL/pgSQL that writes although it is labelled stable or immutable is not detected. On a
//! replica it fails with SQLSTATE 25006, and the executor runs it on the primary. The label of a C function is trusted
//! in PostgreSQL itself and in known extensions; other C functions may run SQL or open tables by name. State that a
//! function leaves in its session (a setting, a temporary table) is not detected either: statements that depend on it
//! belong in the same transaction. After CALL and DO the session stays on the primary.

mod assess;
mod breaker;
pub(super) mod builtin;
mod cache;
pub mod catalogue;
mod columns;
mod counts;
mod effect;
pub mod executor;
pub(crate) mod keywords;
mod lanes;
pub(super) mod names;
mod objection;
mod plain;
mod plan;
mod session;
pub(super) mod structure;
pub mod traps;
mod watch;

pub use cache::Assessment;
pub use columns::ColumnStore;
pub use session::{Barred, Lsn, Outcome, ReplicaState, Session};

use crate::pg::PgError;
use cache::Cache;
use catalogue::Catalogue;
use effect::Effects;
use serde::Serialize;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Server that a statement runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// The primary, which accepts writes.
    Primary,
    /// A streaming replica.
    Replica,
}

/// Pool of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// For many short statements.
    Oltp,
    /// For a few long ones; its role cannot write.
    Olap,
}

/// A pool on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Lane {
    /// The server.
    pub node: Node,
    /// The pool.
    pub pool: Pool,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        })
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Oltp => "oltp",
            Self::Olap => "olap",
        })
    }
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.node, self.pool)
    }
}

/// The rule that selected the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The statement only reads.
    Read,
    /// The column store answers it: a read of its table whose plan on rows is dear.
    Columnar,
    /// SHOW of a setting.
    Show,
    /// BEGIN READ ONLY.
    ReadOnlyTransaction,

    /// The text is ambiguous or invalid.
    Unreadable,
    /// The parser does not support the statement.
    ParseError,
    /// The text holds several statements, or none.
    SeveralStatements,
    /// The statement is not one that reads: INSERT, CREATE, CALL, COPY, LOCK, …
    NotARead,
    /// The statement changes its session: SET, PREPARE, LISTEN, DISCARD, …
    SessionState,
    /// BEGIN and related statements.
    TransactionControl,
    /// INSERT, UPDATE, DELETE or MERGE inside a query.
    DataModifyingCte,
    /// FOR UPDATE, FOR SHARE and similar clauses.
    RowLocks,
    /// SELECT INTO.
    SelectInto,
    /// A volatile function, called directly or indirectly.
    VolatileFunction,
    /// A cast, a check, or an operator that calls a volatile function.
    VolatileType,
    /// An unknown function, and no server to ask.
    UnknownFunction,
    /// A function whose result depends on one server, session or transaction.
    ServerFunction,
    /// A function that runs statements of its own.
    HiddenStatements,
    /// A temporary relation or function.
    TempTable,
    /// An unlogged relation, whose rows are not replicated.
    UnloggedTable,
    /// A foreign table.
    ForeignTable,
    /// A sequence read as a table.
    Sequence,
    /// A system view that describes a single server.
    SystemView,
    /// The server returned an error when planning it.
    NotPlanned,
    /// The plan writes, locks rows or accesses another server.
    ForbiddenPlan,
    /// The catalogue is not available.
    NoCatalogue,

    /// The statement is in a transaction and runs where that began.
    InTransaction,
    /// The session has state that exists only in its connection.
    Pinned,
    /// The replica has not replayed the session's last write.
    ReadYourWrites,
    /// There is no replica, or it does not respond, or is none any more.
    NoReplica,
    /// The replica lags behind, or its replay is paused.
    ReplicaLags,
}

impl Rule {
    /// Returns its name in JSON.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        }
    }

    /// Returns true if a read ran on the primary for want of a replica that may get reads.
    fn is_of_replica(self) -> bool {
        matches!(self, Self::NoReplica | Self::ReplicaLags)
    }

    /// Returns true if a statement that this rule keeps on the primary may run under a read-only role there.
    fn only_reads(self) -> bool {
        matches!(
            self,
            Self::Read | Self::Show | Self::UnloggedTable | Self::Sequence | Self::SystemView
        )
    }
}

/// Destination of a statement, and the reason.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The server.
    pub node: Node,
    /// The pool.
    pub pool: Pool,
    /// The rule that selected the server.
    pub rule: Rule,
    /// The reason, as a sentence.
    pub reason: String,
    /// The function, relation or word that was decisive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub culprit: Option<String>,
    /// The planner's estimate, in its cost units.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// Cost from which a statement belongs to the OLAP pool.
    pub olap_cost: f64,
    /// The log position that the replica had to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrote: Option<Lsn>,
    /// The log position that the replica had reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Lsn>,
    /// True if no server was asked.
    pub offline: bool,
    /// True if it writes nothing, independent of the rule.
    #[serde(skip)]
    pub only_reads: bool,
    /// True if the transaction began on the replica, has read nothing yet, and is restarted on the primary before this
    /// statement.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restarts: bool,
    /// State that it leaves behind in its session, one entry per statement.
    #[serde(skip)]
    pub effects: Vec<Effects>,
}

impl Decision {
    /// Returns the server and the pool.
    pub fn lane(&self) -> Lane {
        Lane {
            node: self.node,
            pool: self.pool,
        }
    }
}

/// Default cost from which a statement belongs to the OLAP pool.
///
/// With two cores, 100,000 cached orders and PostgreSQL 15's default cost settings, reads of this shop took 1 ms per 60
/// to 160 units, so the threshold stands for about 8 ms of CPU time. The shop's point queries cost up to 31 and take
/// 0.1 ms; its reports over whole tables start at 2,700 and 20 ms.
pub const OLAP_COST: f64 = 1_000.0;

/// Routes statements. One router serves all sessions, and caches its assessments.
#[derive(Debug)]
pub struct Router {
    olap_cost: f64,
    catalogue: Option<Catalogue>,
    columns: Option<Arc<dyn ColumnStore>>,
    cache: Mutex<Cache>,
    /// Held by whoever asks the server about a statement, so that others with the same one need not.
    asking: tokio::sync::Mutex<()>,
}

impl Router {
    /// Returns a router that uses this catalogue.
    pub fn new(catalogue: Catalogue) -> Self {
        Self {
            catalogue: Some(catalogue),
            ..Self::offline()
        }
    }

    /// Returns a router without a server: statements with unknown functions go to the primary, and the pool is guessed
    /// from the syntax tree. Relations are assumed to be tables.
    pub fn offline() -> Self {
        Self {
            olap_cost: OLAP_COST,
            catalogue: None,
            columns: None,
            cache: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Sets the cost from which a statement belongs to the OLAP pool.
    #[must_use]
    pub fn with_olap_cost(mut self, olap_cost: f64) -> Self {
        self.olap_cost = olap_cost;
        self
    }

    /// Sends reads of `mart.fact_sales` and `mart.user_day` from that cost on to a column store, if it answers them as PostgreSQL does. It
    /// must be that of the primary: its answers then include what a session has written.
    #[must_use]
    pub fn with_column_store(mut self, store: Arc<dyn ColumnStore>) -> Self {
        self.columns = Some(store);
        self
    }

    fn column_store(&self) -> Option<&dyn ColumnStore> {
        self.columns.as_deref()
    }

    /// Clears all caches. Needed after DDL, after ANALYZE, and from time to time, because the DDL of other sessions is
    /// not seen.
    pub async fn forget(&self) {
        if let Ok(mut cache) = self.cache.lock() {
            *cache = Cache::default();
        }
        if let Some(catalogue) = &self.catalogue {
            catalogue.forget().await;
        }
    }

    /// Assesses a text that a client sends, as far as this session requires: a statement that must stay where it is
    /// needs no server for that. `types` are the types of the parameters, as far as they are known.
    pub async fn assess(&self, session: &Session, sql: &str, types: &[&str]) -> Arc<Assessment> {
        assess::assess(self, session, sql, types).await
    }

    /// Decides where a statement runs in this session.
    pub fn decide(
        &self,
        session: &Session,
        assessment: &Assessment,
        replica: ReplicaState,
    ) -> Decision {
        let mut decision = Decision {
            node: Node::Primary,
            pool: assessment.pool,
            rule: assessment.rule,
            reason: String::new(),
            culprit: assessment.culprit.clone(),
            cost: assessment.cost,
            olap_cost: self.olap_cost,
            wrote: None,
            replayed: None,
            offline: self.catalogue.is_none(),
            only_reads: assessment.rule.only_reads(),
            restarts: false,
            effects: assessment.effects.clone(),
        };
        let leaves = |effect: &Effects| effect.upgrades || effect.pins.is_some();
        if session.may_restart() && decision.effects.iter().any(leaves) {
            decision.restarts = true;
            decision.pool = Pool::Oltp;
            decision.rule = Rule::SessionState;
            "the transaction has read nothing yet, and this setting is for the primary: it starts over there"
                .clone_into(&mut decision.reason);
        } else if let Some(lane) = session.transaction() {
            (decision.node, decision.pool) = (lane.node, lane.pool);
            decision.rule = Rule::InTransaction;
            decision.reason = format!(
                "inside a transaction: it stays where it began, in the {} pool of the {}",
                lane.pool, lane.node
            );
        } else if let Some(state) = session.pinned() {
            decision.pool = Pool::Oltp;
            decision.rule = Rule::Pinned;
            decision.reason = format!(
                "the session has {state} on the primary: everything stays there until DISCARD ALL"
            );
        } else if assessment.columnar {
            decision.rule = Rule::Columnar;
            decision.reason = assessment.reason();
        } else if assessment.reads_on_replica {
            decide_read(session, replica, assessment, &mut decision);
        } else {
            decision.reason = assessment.reason();
        }
        decision
    }

    /// Assesses a statement and decides where it runs.
    pub async fn route(&self, session: &Session, sql: &str, replica: ReplicaState) -> Decision {
        let assessment = self.assess(session, sql, &[]).await;
        self.decide(session, &assessment, replica)
    }
}

/// Routes a read: a replica serves it if it has replayed everything the session wrote.
fn decide_read(
    session: &Session,
    replica: ReplicaState,
    assessment: &Assessment,
    decision: &mut Decision,
) {
    decision.wrote = session.wrote();
    let obstacle = match (replica, session.wrote()) {
        (ReplicaState::Absent, _) => Some((Rule::NoReplica, "there is no replica".to_owned())),
        (ReplicaState::Unavailable, _) => Some((Rule::NoReplica, Barred::Lost.to_string())),
        (ReplicaState::Barred(why), _) => {
            let lags = matches!(why, Barred::Paused | Barred::Lagging);
            let rule = if lags {
                Rule::ReplicaLags
            } else {
                Rule::NoReplica
            };
            Some((rule, why.to_string()))
        }
        (ReplicaState::Replayed(replayed), wrote) => {
            decision.replayed = Some(replayed);
            wrote.filter(|wrote| *wrote > replayed).map(|wrote| {
                let reason = if wrote == Lsn::UNKNOWN {
                    "the position of the session's last write is not known".to_owned()
                } else {
                    format!(
                        "the session wrote up to {wrote}, but the replica has replayed only {replayed}"
                    )
                };
                (Rule::ReadYourWrites, reason)
            })
        }
        (ReplicaState::Current, _) => None,
    };
    if let Some((rule, reason)) = obstacle {
        decision.rule = rule;
        decision.reason = format!("{reason}; {}", assessment.reason());
    } else {
        decision.node = Node::Replica;
        decision.reason = assessment.reason();
    }
}

/// Formats the error of a catalogue query.
fn no_catalogue(error: &PgError) -> String {
    format!("the catalogue cannot be queried: {error}")
}
