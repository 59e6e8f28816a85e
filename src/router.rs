//! The query router: which server a statement may run on, and which pool it belongs to.
//!
//! A statement goes to the primary unless it is known to do nothing but read:
//!
//! 1. [`lex`]: PostgreSQL's lexical rules. Comments go, names fold; what is doubtful goes to the primary.
//! 2. The syntax tree. Only SELECT, VALUES, TABLE, SHOW and EXPLAIN of these go on, without
//!    INSERT, UPDATE, DELETE or MERGE inside, without row locks, without INTO.
//! 3. What its names stand for, asked of the [`catalogue`]: no volatile function by whatever
//!    way it is reached, no relation that a replica has not got or that is about one server.
//! 4. The plan: PostgreSQL's own reading. The plan shows once more what the statement does, and its cost
//!    gives the pool: OLAP from a threshold on, however the statement is worded.
//! 5. [`session`]: an open transaction, state that lives in one connection, and the session's own last
//!    write, which a replica must have replayed.
//!
//! What is found out about a statement is kept by its canonical text. An [`executor`] sends statements; the
//! read-only role of the OLAP pool is the net below it. [`keywords`] is what the case study does instead.
//!
//! Not seen: a function in SQL or PL/pgSQL that is labelled stable or immutable and writes all the same: on a
//! replica it fails with SQLSTATE 25006, and the executor runs it on the primary. Of a function in C the label is
//! believed in PostgreSQL itself and in extensions that are known; the others may run text or open tables by name.
//! Nor is seen what state a function leaves in its session (a setting, a temporary table): statements that build on
//! it belong in the same transaction. After CALL and DO the session stays on the primary.

mod assess;
pub(super) mod builtin;
pub mod catalogue;
pub mod effect;
pub mod executor;
pub mod keywords;
pub mod lex;
pub(super) mod names;
mod objection;
mod plain;
mod plan;
pub mod session;
pub mod shape;
pub(super) mod structure;
pub mod traps;

pub use assess::Assessment;
pub use session::{Lsn, Outcome, ReplicaState, Session};

use crate::pg::PgError;
use assess::Cache;
use catalogue::Catalogue;
use effect::Effects;
use serde::Serialize;
use std::fmt;
use std::sync::{Arc, Mutex};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Node {
    /// The server that writes.
    Primary,
    /// A streaming replica.
    Replica,
}

/// Which pool of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Many short statements.
    Oltp,
    /// Few long ones, by a role that cannot write.
    Olap,
}

/// A server and a pool there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
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

/// The rule that decided about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// It only reads.
    Read,
    /// SHOW of a setting.
    Show,
    /// BEGIN READ ONLY.
    ReadOnlyTransaction,

    /// It cannot be read for certain.
    Unreadable,
    /// The parser does not know it.
    ParseError,
    /// Several statements, or none.
    SeveralStatements,
    /// It is not one of those that read: INSERT, CREATE, CALL, COPY, LOCK, …
    NotARead,
    /// It changes its session: SET, PREPARE, LISTEN, DISCARD, …
    SessionState,
    /// BEGIN and its kin.
    TransactionControl,
    /// INSERT, UPDATE, DELETE or MERGE inside a query.
    DataModifyingCte,
    /// FOR UPDATE, FOR SHARE and their kin.
    RowLocks,
    /// SELECT INTO.
    SelectInto,
    /// A volatile function, by whatever way it is called.
    VolatileFunction,
    /// A cast, a check, or an operator that calls a volatile function.
    VolatileType,
    /// A function of which nothing is known, without a server to ask.
    UnknownFunction,
    /// A function whose answer is about one server, session or transaction.
    ServerFunction,
    /// A function that runs statements of its own.
    HiddenStatements,
    /// A temporary relation or function.
    TempTable,
    /// An unlogged relation, which replicas have without its rows.
    UnloggedTable,
    /// A foreign table.
    ForeignTable,
    /// A sequence read as a table.
    Sequence,
    /// A system view about one server.
    SystemView,
    /// The server refused to plan it.
    NotPlanned,
    /// Its plan writes, locks rows or asks another server.
    ForbiddenPlan,
    /// The catalogue cannot be asked.
    NoCatalogue,

    /// Inside a transaction: where that began.
    InTransaction,
    /// The session has state that only its connection has.
    Pinned,
    /// The replica has not replayed the session's last write.
    ReadYourWrites,
    /// There is no replica, or it does not answer.
    NoReplica,
}

impl Rule {
    /// Its name in JSON.
    pub fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => String::new(),
        }
    }

    /// Returns true if a statement that it keeps on the primary may run under a read-only role there.
    fn only_reads(self) -> bool {
        matches!(
            self,
            Self::Read | Self::Show | Self::UnloggedTable | Self::Sequence | Self::SystemView
        )
    }
}

/// Where a statement is to run, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Decision {
    /// The server.
    pub node: Node,
    /// The pool.
    pub pool: Pool,
    /// The rule that decided about the server.
    pub rule: Rule,
    /// Why, a sentence.
    pub reason: String,
    /// The function, relation or word that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub culprit: Option<String>,
    /// The planner's estimate, in its units of cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<f64>,
    /// From which cost on a statement belongs to the OLAP pool.
    pub olap_cost: f64,
    /// The position that the replica had to reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrote: Option<Lsn>,
    /// The position that the replica had reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replayed: Option<Lsn>,
    /// No server was asked.
    pub offline: bool,
    /// It writes nothing, whichever rule decided.
    #[serde(skip)]
    pub only_reads: bool,
    /// The transaction began on the replica, has read nothing yet, and begins anew on the primary before this one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restarts: bool,
    /// What it leaves behind in its session, one entry per statement.
    #[serde(skip)]
    pub effects: Vec<Effects>,
}

impl Decision {
    /// The server and the pool.
    pub fn lane(&self) -> Lane {
        Lane {
            node: self.node,
            pool: self.pool,
        }
    }
}

/// From this cost on a statement belongs to the OLAP pool, unless another threshold is set.
///
/// On two cores, with 100,000 orders cached and PostgreSQL 15's default cost settings, reads of this shop
/// took 1 ms for 60 to 160 units: the threshold stands for some 8 ms of a processor. The shop's point
/// queries cost up to 31 and take 0.1 ms; its reports over whole tables start at 2,700 and 20 ms.
pub const OLAP_COST: f64 = 1_000.0;

/// Decides. One for all sessions; it keeps what it found out about statements.
#[derive(Debug)]
pub struct Router {
    olap_cost: f64,
    catalogue: Option<Catalogue>,
    cache: Mutex<Cache>,
}

impl Router {
    /// A router that asks this catalogue.
    pub fn new(catalogue: Catalogue) -> Self {
        Self {
            catalogue: Some(catalogue),
            ..Self::offline()
        }
    }

    /// A router without a server: what it does not know goes to the primary, and the pool is guessed from
    /// the syntax tree. Relations are taken for tables.
    pub fn offline() -> Self {
        Self {
            olap_cost: OLAP_COST,
            catalogue: None,
            cache: Mutex::default(),
        }
    }

    /// The same with another threshold of the OLAP pool.
    #[must_use]
    pub fn with_olap_cost(mut self, olap_cost: f64) -> Self {
        self.olap_cost = olap_cost;
        self
    }

    /// Forgets everything about statements: after DDL, after ANALYZE, and from time to time, since other
    /// sessions' DDL is not seen.
    pub async fn forget(&self) {
        if let Ok(mut cache) = self.cache.lock() {
            *cache = Cache::default();
        }
        if let Some(catalogue) = &self.catalogue {
            catalogue.forget().await;
        }
    }

    /// What a text that a client sends is, as far as this session has to know: one that must stay where it is
    /// asks no server. `types` are those of the parameters, as far as they are known.
    pub async fn assess(&self, session: &Session, sql: &str, types: &[&str]) -> Arc<Assessment> {
        assess::assess(self, session, sql, types).await
    }

    /// Where a statement is to run in this session.
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
            "the transaction has read nothing yet, and what this sets is for the primary: it begins anew there"
                .clone_into(&mut decision.reason);
        } else if let Some(lane) = session.transaction() {
            (decision.node, decision.pool) = (lane.node, lane.pool);
            decision.rule = Rule::InTransaction;
            decision.reason = format!(
                "inside a transaction: where it began, in the {} pool of the {}",
                lane.pool, lane.node
            );
        } else if let Some(state) = session.pinned() {
            decision.pool = Pool::Oltp;
            decision.rule = Rule::Pinned;
            decision.reason = format!(
                "the session has {state} on the primary: all stays there until DISCARD ALL"
            );
        } else if assessment.reads_on_replica {
            decide_read(session, replica, assessment, &mut decision);
        } else {
            decision.reason = assessment.reason();
        }
        decision
    }

    /// Assesses and decides.
    pub async fn route(&self, session: &Session, sql: &str, replica: ReplicaState) -> Decision {
        let assessment = self.assess(session, sql, &[]).await;
        self.decide(session, &assessment, replica)
    }
}

/// A replica serves a read if it has replayed what the session wrote.
fn decide_read(
    session: &Session,
    replica: ReplicaState,
    assessment: &Assessment,
    decision: &mut Decision,
) {
    decision.wrote = session.wrote();
    let obstacle = match (replica, session.wrote()) {
        (ReplicaState::Absent, _) => Some((Rule::NoReplica, "there is no replica".to_owned())),
        (ReplicaState::Unavailable, _) => {
            Some((Rule::NoReplica, "the replica does not answer".to_owned()))
        }
        (ReplicaState::Replayed(replayed), wrote) => {
            decision.replayed = Some(replayed);
            wrote.filter(|wrote| *wrote > replayed).map(|wrote| {
                let reason = if wrote == Lsn::UNKNOWN {
                    "how far the session wrote is not known".to_owned()
                } else {
                    format!(
                        "the session wrote up to {wrote}, and the replica has replayed {replayed} only"
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

/// Why a catalogue could not be asked.
fn no_catalogue(error: &PgError) -> String {
    format!("the catalogue cannot be asked: {error}")
}
