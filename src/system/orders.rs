//! Orders: created all or nothing, with catalogue prices, and led through their life.

mod error;
mod group;
mod place;
mod retry;
mod trips;

pub use error::OrderError;

use crate::pg::{Answer, Param, Pool, Statement};
use error::refusal;
use group::Group;
use place::Request;
use retry::Retry;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A line of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Product.
    pub product: i64,
    /// Pieces, from 1 to 1,000,000.
    pub quantity: i64,
}

/// What a customer asks for. Prices are the catalogue's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Who orders.
    pub user: i64,
    /// At least one; lines of one product are merged.
    pub lines: Vec<Line>,
    /// A name of the user's choice for this request, 1 to 200 characters. Under the same name the same lines
    /// are ordered once, however often they are sent. Only with it an order is sent again after the session
    /// was lost, because only with it that cannot become a second order.
    pub request_key: Option<String>,
}

/// When a transaction counts as committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// Once it is on disk (synchronous_commit = on).
    #[default]
    Synchronous,
    /// At once (synchronous_commit = off). If the server crashes, what was committed within the last three
    /// times wal_writer_delay (3 x 200 ms by default) may be lost: whole transactions, the newest, none in part.
    Asynchronous,
}

impl Commit {
    /// The value of synchronous_commit. The statements set it for their transaction by `set_config(…, true)`
    /// beside what they select: it matters when the transaction commits, is forgotten after it, passes through
    /// a pooler, and costs no round trip and no statement of its own, unlike SET LOCAL.
    pub(crate) fn param(self) -> Param<'static> {
        Param::Text(self.setting())
    }

    fn setting(self) -> &'static str {
        match self {
            Self::Synchronous => "on",
            Self::Asynchronous => "off",
        }
    }
}

/// How an order is created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// One call of shop.create_order.
    #[default]
    Function,
    /// A statement per product and one for the order, sent together.
    Pipelined,
    /// Up to 16 orders that come within 2 ms share a transaction; each succeeds or fails alone.
    GroupCommit,
    /// What the case study does (its section 4.1), for comparison: a round trip per statement, the client's
    /// prices, products in the order they came, which deadlocks; no request keys.
    RoundTrips,
}

impl Strategy {
    const ALL: [Self; 4] = [
        Self::Function,
        Self::Pipelined,
        Self::GroupCommit,
        Self::RoundTrips,
    ];

    /// Its name on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Function => "function",
            Self::Pipelined => "pipelined",
            Self::GroupCommit => "group",
            Self::RoundTrips => "round-trips",
        }
    }
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL
            .into_iter()
            .find(|strategy| strategy.name() == text);
        found.ok_or_else(|| "write function, pipelined, group or round-trips".to_owned())
    }
}

/// A step in an order's life after its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// pending to paid
    Pay,
    /// paid to shipped
    Ship,
    /// shipped to completed
    Complete,
    /// pending or paid to cancelled; the goods return to stock
    Cancel,
}

macro_rules! step {
    ($name:literal) => {
        Statement {
            name: $name,
            types: &["bigint", "text"],
            sql: concat!(
                "SELECT shop.",
                $name,
                "($1) AS was_there, set_config('synchronous_commit', $2, true)"
            ),
        }
    };
}

const PAY: Statement = step!("pay_order");
const SHIP: Statement = step!("ship_order");
const COMPLETE: Statement = step!("complete_order");
const CANCEL: Statement = step!("cancel_order");
const LOG_IN: Statement = Statement {
    name: "log_in",
    types: &["bigint", "text"],
    sql: "SELECT shop.log_in($1) AS event_id, set_config('synchronous_commit', $2, true)",
};
const STATUS: Statement = Statement {
    name: "order_status",
    types: &["bigint"],
    sql: "SELECT status FROM shop.orders WHERE order_id = $1 AND created_at = shop.order_time($1)",
};

impl Step {
    fn statement(self) -> &'static Statement {
        match self {
            Self::Pay => &PAY,
            Self::Ship => &SHIP,
            Self::Complete => &COMPLETE,
            Self::Cancel => &CANCEL,
        }
    }

    /// The name of the status that it leads to.
    pub fn status(self) -> &'static str {
        match self {
            Self::Pay => "paid",
            Self::Ship => "shipped",
            Self::Complete => "completed",
            Self::Cancel => "cancelled",
        }
    }

    /// The number of that status in shop.orders.
    fn status_number(self) -> i64 {
        match self {
            Self::Pay => 1,
            Self::Ship => 2,
            Self::Complete => 3,
            Self::Cancel => 4,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pay => "pay",
            Self::Ship => "ship",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
        })
    }
}

/// Creates orders, and takes their steps, over a pool of sessions of the role htap_oltp.
///
/// Deadlocks and serialization failures are tried again; so is, where that cannot do anything twice, whatever
/// was sent over a session that was lost.
#[derive(Debug)]
pub struct Orders {
    pool: Pool,
    strategy: Strategy,
    group: Group,
    prices: trips::Prices,
    retries: AtomicU64,
    deadlocks: AtomicU64,
}

impl Orders {
    /// By this strategy.
    pub fn new(pool: Pool, strategy: Strategy) -> Self {
        Self {
            group: Group::new(pool.clone()),
            pool,
            strategy,
            prices: trips::Prices::default(),
            retries: AtomicU64::new(0),
            deadlocks: AtomicU64::new(0),
        }
    }

    /// How often something was tried again since the beginning.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// How many deadlocks were met since the beginning.
    pub fn deadlocks(&self) -> u64 {
        self.deadlocks.load(Ordering::Relaxed)
    }

    /// Creates an order and returns its number.
    pub async fn create(&self, order: &Order, commit: Commit) -> Result<i64, OrderError> {
        let request = Request::of(order)?;
        let mut retry = Retry::new(order.request_key.is_some());
        loop {
            let created = match self.strategy {
                Strategy::Function => place::by_function(&self.pool, &request, commit).await,
                Strategy::Pipelined => place::pipelined(&self.pool, &request, commit).await,
                Strategy::GroupCommit => self.group.create(&request, commit).await,
                Strategy::RoundTrips => {
                    trips::create(&self.pool, &self.prices, order, commit).await
                }
            };
            match created {
                Err(error) if retry.allows(&error) => self.pause(&mut retry, &error).await,
                outcome => return outcome,
            }
        }
    }

    /// Creates an order as [`Self::create`] does by the function, and reads in the same transaction what its
    /// customer has spent within 30 days before it; returns both. The case of a transaction that also asks
    /// an analytic question.
    pub async fn create_knowing_spend(
        &self,
        order: &Order,
        commit: Commit,
    ) -> Result<(i64, String), OrderError> {
        let request = Request::of(order)?;
        let mut retry = Retry::new(order.request_key.is_some());
        loop {
            match place::knowing_spend(&self.pool, &request, commit).await {
                Err(error) if retry.allows(&error) => self.pause(&mut retry, &error).await,
                outcome => return outcome,
            }
        }
    }

    /// Takes a step of an order. A step whose answer was lost is taken again; if the order has the step's
    /// status by then it is done.
    pub async fn step(&self, id: i64, step: Step, commit: Commit) -> Result<(), OrderError> {
        let mut retry = Retry::new(true);
        let mut lost = false;
        loop {
            match self.try_step(id, step, commit).await {
                Err(OrderError::OutOfTurn(_)) if lost && self.has_status(id, step).await? => {
                    return Ok(());
                }
                Err(error) if retry.allows(&error) => {
                    lost |= error.is_of_session();
                    self.pause(&mut retry, &error).await;
                }
                outcome => return outcome,
            }
        }
    }

    /// Records that a user logged in, and returns the event's number.
    pub async fn log_in(&self, user: i64, commit: Commit) -> Result<i64, OrderError> {
        let mut retry = Retry::new(false);
        loop {
            match self.try_log_in(user, commit).await {
                Err(error) if retry.allows(&error) => self.pause(&mut retry, &error).await,
                outcome => return outcome,
            }
        }
    }

    async fn try_step(&self, id: i64, step: Step, commit: Commit) -> Result<(), OrderError> {
        let session = self.pool.get().await?;
        let params = [Param::Int(id), commit.param()];
        match session.run(step.statement(), &params).await {
            Ok(answer) if answer.text(0, "was_there") == Some("t") => Ok(()),
            Ok(_) => Err(OrderError::UnknownOrder(id)),
            Err(error) if error.code() == error::CHECK_VIOLATION => {
                Err(OrderError::OutOfTurn(error.message.as_str().to_owned()))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn has_status(&self, id: i64, step: Step) -> Result<bool, OrderError> {
        let session = self.pool.get().await?;
        let answer = session.run(&STATUS, &[Param::Int(id)]).await?;
        Ok(answer.int(0, "status") == Some(step.status_number()))
    }

    async fn try_log_in(&self, user: i64, commit: Commit) -> Result<i64, OrderError> {
        let session = self.pool.get().await?;
        let params = [Param::Int(user), commit.param()];
        let answer = session.run(&LOG_IN, &params).await;
        number(
            &answer.map_err(|error| refusal(error, user, None))?,
            "event_id",
        )
    }

    async fn pause(&self, retry: &mut Retry, error: &OrderError) {
        self.retries.fetch_add(1, Ordering::Relaxed);
        if error.code() == error::DEADLOCK {
            self.deadlocks.fetch_add(1, Ordering::Relaxed);
        }
        retry.pause().await;
    }
}

/// A number that the answer must hold.
fn number(answer: &Answer, name: &str) -> Result<i64, OrderError> {
    let lacks = || OrderError::Invalid(format!("the server's answer has no {name}"));
    answer.int(0, name).ok_or_else(lacks)
}
