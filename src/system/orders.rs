//! Creates orders, all or nothing, at catalogue prices, and advances their status.

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
    /// Id of the product.
    pub product: i64,
    /// Pieces, from 1 to 1,000,000.
    pub quantity: i64,
}

/// An order as a customer places it. Prices come from the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Id of the user who orders.
    pub user: i64,
    /// At least one; lines of one product are merged.
    pub lines: Vec<Line>,
    /// A name that the user chooses for this request, 1 to 200 characters. Requests with the same name and the same
    /// lines create one order, no matter how often they are sent. Only an order with a key is sent again after the
    /// session is lost, because only the key prevents a second order.
    pub request_key: Option<String>,
}

/// The durability of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commit {
    /// Committed when it is on disk (synchronous_commit = on).
    #[default]
    Synchronous,
    /// Committed at once (synchronous_commit = off). A crash of the server may lose the transactions of the last three
    /// times wal_writer_delay (3 x 200 ms by default): the newest ones, each as a whole.
    Asynchronous,
}

impl Commit {
    /// Returns the value of synchronous_commit. The statements set it for their transaction with `set_config(…, true)`
    /// beside what they select. It applies when the transaction commits, is gone afterwards, works through a pooler,
    /// and, unlike SET LOCAL, costs no round trip and no separate statement.
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

/// Method of creating an order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// One call of shop.create_order.
    #[default]
    Function,
    /// One statement per product and one for the order, sent together.
    Pipelined,
    /// Up to 16 orders that arrive within 2 ms share a transaction; each succeeds or fails on its own.
    GroupCommit,
    /// The method of the case study (section 4.1), for comparison: one round trip per statement, prices from the
    /// client, products in the order of the request, which causes deadlocks; no request keys.
    RoundTrips,
}

impl Strategy {
    const ALL: [Self; 4] = [
        Self::Function,
        Self::Pipelined,
        Self::GroupCommit,
        Self::RoundTrips,
    ];

    /// Returns the name used on the command line and in reports.
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
        found.ok_or_else(|| "expected function, pipelined, group or round-trips".to_owned())
    }
}

/// A change of an order's status after its creation.
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

    /// Returns the name of the status that the step leads to.
    pub fn status(self) -> &'static str {
        match self {
            Self::Pay => "paid",
            Self::Ship => "shipped",
            Self::Complete => "completed",
            Self::Cancel => "cancelled",
        }
    }

    /// Returns the number of that status in shop.orders.
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

/// Creates orders and advances them over a pool of sessions of the role htap_oltp.
///
/// Retries after deadlocks and serialization failures. After a lost session it retries only requests that cannot take
/// effect twice.
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
    /// Returns the service over `pool`, with this strategy.
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

    /// Returns the number of retries so far.
    pub fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }

    /// Returns the number of deadlocks so far.
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

    /// Creates an order as [`Self::create`] does with the function strategy, and reads in the same transaction the
    /// amount that its customer spent in the 30 days before it; returns both. An example of a transaction that includes
    /// an analytic query.
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

    /// Performs a step of an order. A step whose answer was lost is tried again; if the order then has the step's
    /// status, the step is done.
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

/// Returns a number that the answer must contain.
fn number(answer: &Answer, name: &str) -> Result<i64, OrderError> {
    let lacks = || OrderError::Invalid(format!("the server's answer has no {name}"));
    answer.int(0, name).ok_or_else(lacks)
}
