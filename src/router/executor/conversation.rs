//! The statements of one client, in order: each is decided, sent, and if need be run again on the primary.

use super::{Executor, POSITION, Position, position};
use crate::pg::{Class, Client, Param, PgError, Statement, Table};
use crate::router::counts::Fallback;
use crate::router::effect::{self, Effects};
use crate::router::lanes::{Lanes, Loan, Refusal};
use crate::router::watch::{SERVED, Served};
use crate::router::{Barred, Decision, Lsn, Node, Outcome, Pool, ReplicaState, Rule, Session};
use futures_util::future::{OptionFuture, join3};
use std::sync::Arc;
use tokio::time::Instant;

/// read_only_sql_transaction
const READ_ONLY: &str = "25006";
/// Errors by which recovery cancels a statement: serialization_failure, deadlock_detected.
const CONFLICT: [&str; 2] = ["40001", "40P01"];
/// Errors that only a standby raises: feature_not_supported, for unlogged relations; object_not_in_prerequisite_state,
/// for operations that recovery forbids.
const STANDBY: [&str; 2] = ["0A000", "55000"];

/// The statements of one client, in order.
pub struct Conversation<'a, L: Lanes> {
    pub(super) executor: &'a Executor<L>,
    pub(super) session: Session,
    held: Option<Loan<'a, L>>,
    /// The statement that began the open transaction.
    begun: Option<String>,
    /// The pool of reads, whatever they cost.
    pool: Option<Pool>,
    /// True if the primary had flushed the session's last write.
    flushed: bool,
    /// When the client last wrote elsewhere, if up to a position that is not known yet.
    wrote_elsewhere: Option<Instant>,
}

/// Result of a statement.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// The rows that it returned.
    pub table: Table,
    /// The decision that selected its destination.
    pub decision: Decision,
    /// True if it ran on the primary after it had failed in a read-only session or on the replica.
    pub again: bool,
    /// When it was sent to the server that answered, after any wait for a session.
    pub sent: Instant,
}

/// A statement as the client gives it.
#[derive(Clone, Copy)]
pub(super) enum Ask<'s> {
    Text(&'s str, &'s [Param<'s>]),
    Call(&'s Statement, &'s [Param<'s>]),
}

impl Ask<'_> {
    fn sql(&self) -> &str {
        match self {
            Self::Text(sql, _) => sql,
            Self::Call(statement, _) => statement.sql,
        }
    }

    async fn send(&self, client: &Client) -> Result<Table, PgError> {
        match *self {
            Self::Text(sql, []) => client.query_text(sql, usize::MAX).await,
            Self::Text(sql, params) => client.query(sql, params).await,
            Self::Call(statement, params) => {
                let answer = client.run(statement, params).await?;
                Ok(answer.table)
            }
        }
    }
}

/// Why a statement has no answer.
enum Failed {
    /// The server's error, or the loss of the connection.
    Error(PgError),
    /// The answer must not be used.
    Unfit(Fallback),
}

impl<'a, L: Lanes> Conversation<'a, L> {
    pub(super) fn new(executor: &'a Executor<L>) -> Self {
        Self {
            executor,
            session: Session::default(),
            held: None,
            begun: None,
            pool: None,
            flushed: false,
            wrote_elsewhere: None,
        }
    }

    /// Sends the reads of this client to one pool, whatever they cost: a reader of reports always waits for the
    /// admission of the OLAP pool. So do its queries that may write, as far as the catalogue tells: that pool's role
    /// refuses to, and they run again in the OLTP pool.
    #[must_use]
    pub fn reading_in(mut self, pool: Pool) -> Self {
        self.pool = Some(pool);
        self
    }

    /// Returns the state that ties the client to a connection.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Notes that the client has committed something over another session. Its next read includes it: the position is
    /// asked from the primary when it is needed.
    pub fn wrote_elsewhere(&mut self) {
        self.wrote_elsewhere = Some(Instant::now());
    }

    /// Runs a statement at its destination. With parameters the select list must contain built-in types only; without,
    /// cells arrive as text.
    ///
    /// # Errors
    /// The server's error, the loss of the connection (except for a read outside a transaction that was sent to the
    /// replica: it runs again on the primary), or the refusal of the [`Lanes`].
    pub async fn run(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Ran, L::Error> {
        let types: Vec<&str> = params.iter().map(Param::sql_type).collect();
        self.ask(Ask::Text(sql, params), &types).await
    }

    /// Runs a statement that the session keeps prepared; every cell arrives as text.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn call(
        &mut self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Ran, L::Error> {
        self.ask(Ask::Call(statement, params), statement.types)
            .await
    }

    async fn ask(&mut self, ask: Ask<'_>, types: &[&str]) -> Result<Ran, L::Error> {
        let executor = self.executor;
        if self.session.holds() && self.held.is_none() {
            // The previous statement was abandoned while it ran.
            self.session.lost();
            let why =
                "the connection was lost, and with it the open transaction or the session's state";
            return Err(PgError::new(Class::Reconnect, why).into());
        }
        executor.renew().await;
        let (router, sql) = (&executor.router, ask.sql());
        let mut assessment = router.assess(&self.session, sql, types).await;
        let mut decision = router.decide(&self.session, &assessment, executor.replica());
        if decision.rule == Rule::Columnar {
            match self.ask_columns(ask, &decision).await {
                Ok(ran) => return Ok(ran),
                Err(failed) => assessment = Arc::new(assessment.on_rows(&failed)),
            }
            decision = router.decide(&self.session, &assessment, executor.replica());
        }
        if decision.restarts {
            self.restart(&decision).await?;
        }
        let reads = assessment.reads_on_replica && self.held.is_none();
        if let (true, Node::Replica, Some(at)) = (reads, decision.node, self.wrote_elsewhere) {
            self.find_position(at).await;
            decision = router.decide(&self.session, &assessment, executor.replica());
        }
        if decision.rule == Rule::ReadYourWrites && self.catches_up().await {
            decision = router.decide(&self.session, &assessment, executor.replica());
        }
        let doubtful = is_doubtful(&decision) && self.held.is_none();
        if let (Some(pool), true) = (self.pool, reads || doubtful) {
            decision.pool = pool;
        }
        if let Some(why) = fallback(&decision, executor.replica()) {
            executor.record(|recorder| recorder.fell_back(why));
        }
        let loan = self.take(&mut decision).await?;
        executor.record(|recorder| recorder.decided(decision.rule, decision.lane()));
        let mut sent = Instant::now();
        let first = self.send(loan, &decision, ask).await;
        let (error, elsewhere) = match first {
            Ok(table) => {
                return Ok(Ran {
                    table,
                    decision,
                    again: false,
                    sent,
                });
            }
            Err(failed) => self.elsewhere(failed, &decision),
        };
        let Some(elsewhere) = elsewhere else {
            return Err(error.into());
        };
        let loan = Loan::take(&*executor.lanes, elsewhere.lane()).await?;
        sent = Instant::now();
        match self.send(loan, &elsewhere, ask).await {
            Ok(table) => Ok(Ran {
                table,
                decision,
                again: true,
                sent,
            }),
            Err(Failed::Error(error)) => Err(error.into()),
            // Nothing is verified on the primary.
            Err(Failed::Unfit(_)) => Err(error.into()),
        }
    }

    /// Finds out up to which position the client wrote elsewhere.
    async fn find_position(&mut self, at: Instant) {
        let wrote = match self.executor.position_after(at).await {
            Some(position) => {
                self.wrote_elsewhere = None;
                self.settled(position)
            }
            // Later it may be known.
            None => Lsn::UNKNOWN,
        };
        self.session.wrote_up_to(wrote);
    }

    /// Waits for the replica to replay the session's last write.
    async fn catches_up(&self) -> bool {
        let Some(wrote) = self.session.wrote().filter(|lsn| *lsn != Lsn::UNKNOWN) else {
            return false;
        };
        let watch = &self.executor.watch;
        let (in_time, waited) = watch.catches_up(wrote, self.flushed).await;
        self.executor.record(|recorder| recorder.waited(waited));
        in_time
    }

    /// Returns a session of the decided lane, or of the primary if the replica has none.
    async fn take(&mut self, decision: &mut Decision) -> Result<Loan<'a, L>, L::Error> {
        if let Some(held) = self.held.take() {
            return Ok(held);
        }
        let executor = self.executor;
        match Loan::take(&*executor.lanes, decision.lane()).await {
            Err(error) if decision.node == Node::Replica && !error.stays() => {
                executor.watch.failed(Barred::Lost);
                executor.record(|recorder| recorder.fell_back(Fallback::Barred(Barred::Lost)));
                decision.node = Node::Primary;
                decision.rule = Rule::NoReplica;
                decision.reason = format!("{}: {error}", Barred::Lost);
                Loan::take(&*executor.lanes, decision.lane()).await
            }
            taken => taken,
        }
    }

    /// Notes whether a write was flushed, and returns its position as a replica must have replayed it.
    fn settled(&mut self, position: Option<Position>) -> Lsn {
        self.flushed = position.is_some_and(|position| position.flushed);
        position.map_or(Lsn::UNKNOWN, |position| {
            self.executor.watch.before_header(position.lsn)
        })
    }

    /// Restarts the transaction on the primary; it has read nothing on the replica yet.
    async fn restart(&mut self, decision: &Decision) -> Result<(), L::Error> {
        self.held = None;
        self.session.lost();
        let Some(begun) = self.begun.clone() else {
            let why = "it is no longer known how the transaction began";
            return Err(PgError::new(Class::Reconnect, why).into());
        };
        let opening = Decision {
            restarts: false,
            effects: crate::sql::lex::lex(&begun)
                .map(|tokens| vec![effect::effects(&tokens)])
                .unwrap_or_default(),
            ..decision.clone()
        };
        let loan = Loan::take(&*self.executor.lanes, opening.lane()).await?;
        match self.send(loan, &opening, Ask::Text(&begun, &[])).await {
            Err(Failed::Error(error)) => Err(error.into()),
            Ok(_) | Err(Failed::Unfit(_)) => Ok(()),
        }
    }

    /// Sends a statement and records its outcome; keeps the session as long as it is needed.
    async fn send(
        &mut self,
        loan: Loan<'a, L>,
        decision: &Decision,
        ask: Ask<'_>,
    ) -> Result<Table, Failed> {
        let Some(client) = loan.client() else {
            let why = PgError::new(Class::Reconnect, "no session");
            return Err(Failed::Error(why));
        };
        let wants_lsn = self.session.wants_lsn(decision);
        let checks = decision.node == Node::Replica && decision.rule != Rule::InTransaction;
        // All in one round trip, in this order.
        let check: OptionFuture<_> = checks.then(|| client.run(&SERVED, &[])).into();
        let after: OptionFuture<_> = wants_lsn.then(|| after(client, ask)).into();
        let (check, answer, lsn) = join3(check, ask.send(client), after).await;
        if let Some(check) = check {
            self.check(check, &answer)?;
        }
        let lsn = wants_lsn.then(|| self.settled(lsn.flatten()));
        let outcome = match &answer {
            // No replica is known to have replayed the write.
            Ok(_) => Outcome::Done(lsn),
            Err(error) if error.session_survives() => Outcome::Failed(error.code()),
            Err(_) => Outcome::Lost(lsn.map(|_| Lsn::UNKNOWN)),
        };
        if decision.effects.iter().any(Effects::begins) {
            self.begun = Some(ask.sql().to_owned());
        }
        self.session.settle(decision, outcome);
        let closed = client.is_closed();
        if closed {
            self.session.settle(decision, Outcome::Lost(None));
        }
        if self.session.holds() {
            self.held = Some(loan);
        } else if !closed {
            loan.give_back();
        }
        if answer.is_ok() && decision.effects.iter().any(|effect| effect.ddl) {
            self.executor.router.forget().await;
        }
        answer.map_err(Failed::Error)
    }

    /// Judges the server that answered. The session is discarded if it is not fit.
    fn check(
        &self,
        check: Result<crate::pg::Answer, PgError>,
        answer: &Result<Table, PgError>,
    ) -> Result<(), Failed> {
        let watch = &self.executor.watch;
        let why = match check {
            Ok(check) => match watch.served(&check, self.session.wrote()) {
                Served::Fit => return Ok(()),
                Served::Behind => Fallback::NotCaughtUp,
                Served::Barred(why) => {
                    watch.failed(why);
                    Fallback::Barred(why)
                }
            },
            // The statement's own error says why the session was lost.
            Err(_) if answer.is_err() => return Ok(()),
            Err(_) => {
                watch.failed(Barred::Lost);
                Fallback::Barred(Barred::Lost)
            }
        };
        Err(Failed::Unfit(why))
    }

    /// Returns the destination at which to repeat a failed statement, if there is one, and the error if not.
    fn elsewhere(&self, failed: Failed, decision: &Decision) -> (PgError, Option<Decision>) {
        let (error, why) = match failed {
            Failed::Unfit(why) => {
                let error = PgError::new(Class::Reconnect, "the replica may not answer");
                (error, Some(why))
            }
            Failed::Error(error) => {
                let why = reason(&error, decision);
                if why == Some(Fallback::Barred(Barred::Lost)) {
                    self.executor.watch.failed(Barred::Lost);
                }
                (error, why)
            }
        };
        let reader = decision.node == Node::Replica || decision.pool == Pool::Olap;
        let Some(why) = why.filter(|_| reader && !self.session.holds()) else {
            return (error, None);
        };
        if decision.rule == Rule::InTransaction {
            return (error, None);
        }
        self.executor.record(|recorder| recorder.ran_again(why));
        let mut elsewhere = decision.clone();
        elsewhere.node = Node::Primary;
        if why == Fallback::ReadOnly {
            elsewhere.pool = Pool::Oltp;
            elsewhere.only_reads = false;
        }
        (error, Some(elsewhere))
    }
}

/// Asks for the position after a statement, the way in which that is sent: a client's own texts may drop what is
/// prepared.
async fn after(client: &Client, ask: Ask<'_>) -> Option<Position> {
    let table = match ask {
        Ask::Text(..) => client.query(POSITION.sql, &[]).await.ok()?,
        Ask::Call(..) => client.run(&POSITION, &[]).await.ok()?.table,
    };
    position(&table)
}

/// Returns the reason why a read was decided to run on the primary although a replica could serve it.
fn fallback(decision: &Decision, replica: ReplicaState) -> Option<Fallback> {
    match (decision.rule, replica) {
        (Rule::ReadYourWrites, _) if decision.wrote == Some(Lsn::UNKNOWN) => {
            Some(Fallback::UnknownWrite)
        }
        (Rule::ReadYourWrites, _) => Some(Fallback::NotCaughtUp),
        (rule, ReplicaState::Barred(why)) if rule.is_of_replica() => Some(Fallback::Barred(why)),
        _ => None,
    }
}

/// Returns true if the statement is a query that may write, and leaves nothing in its session: if the client reads in
/// the OLAP pool, the read-only role there decides.
fn is_doubtful(decision: &Decision) -> bool {
    let may_write = matches!(
        decision.rule,
        Rule::NoCatalogue | Rule::UnknownFunction | Rule::VolatileFunction | Rule::VolatileType
    );
    may_write && decision.effects.iter().all(|effect| effect.pins.is_none())
}

/// Returns the reason to run a failed read elsewhere.
fn reason(error: &PgError, decision: &Decision) -> Option<Fallback> {
    if error.code() == READ_ONLY {
        return Some(Fallback::ReadOnly);
    }
    if decision.node != Node::Replica {
        return None;
    }
    if CONFLICT.contains(&error.code()) {
        Some(Fallback::Conflict)
    } else if STANDBY.contains(&error.code()) {
        Some(Fallback::NotOnStandby)
    } else if matches!(error.class, Class::Reconnect | Class::BackOff) {
        Some(Fallback::Barred(Barred::Lost))
    } else {
        None
    }
}
