//! Executes units of work: transactions of customers and staff, and reports.

use super::freshness::{Freshness, Heart};
use super::mix::{Dice, Job, Kind, Life};
use super::queue::{Due, Queue};
use super::reports::{Source, included};
use super::routed::{Client, Sender};
use super::tally::Tally;
use crate::pg::{Answer, Class, Param, PgError, Statement};
use crate::router;
use crate::system::orders::{Commit, OrderError, Orders};
use crate::system::pools::OlapError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

const BROWSE: Statement = Statement {
    name: "browse",
    types: &["bigint"],
    sql: "SELECT p.product_name, p.price, i.quantity, c.category_name
          FROM shop.products AS p JOIN shop.inventory AS i USING (product_id)
          JOIN shop.categories AS c USING (category_id) WHERE p.product_id = $1",
};

/// Pause after a session was lost or refused, so that an unavailable server is not flooded.
const RESPITE: Duration = Duration::from_millis(100);

/// Locks a mutex; ignores poisoning by a panic in another task.
pub(super) fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State that all customers share.
#[derive(Debug)]
pub(super) struct Shop {
    pub(super) dice: Mutex<Dice>,
    pub(super) life: Mutex<Life>,
    pub(super) commit: Commit,
}

/// The sessions for transactions, and the tally of their work.
#[derive(Clone)]
pub(super) struct Counter {
    pub(super) shop: Arc<Shop>,
    pub(super) sender: Arc<Sender>,
    pub(super) orders: Arc<Orders>,
    pub(super) tally: Arc<Mutex<Tally>>,
}

impl Counter {
    /// Processes a queue until it is closed.
    pub(super) async fn work(self, queue: Arc<Queue>) {
        // Who reads here reads what was written here.
        let mut client = self.sender.conversation();
        while let Some(due) = queue.take().await {
            let since = lock(&self.tally).begin(due.at, Instant::now());
            let kind = match due.job {
                Job::Browse | Job::Report => Kind::Browse,
                Job::LogIn => Kind::LogIn,
                Job::Create => Kind::Create,
                Job::Hybrid => Kind::Hybrid,
                Job::Step(_, step) => step.into(),
            };
            let done = self.run(due.job, &mut client).await;
            let now = Instant::now();
            match done {
                Ok(order) => {
                    lock(&self.tally).done(kind, due.at, since, now);
                    if let Some(order) = order {
                        let mut dice = lock(&self.shop.dice);
                        lock(&self.shop.life).went_on(order, kind, &mut dice, now);
                    }
                }
                Err(error) => {
                    lock(&self.tally).failed(kind, due.at, error.code());
                    if error.is_of_session() {
                        sleep(RESPITE).await;
                    }
                }
            }
        }
    }

    /// Runs a job; returns the order that it concerns.
    async fn run(&self, job: Job, client: &mut Client<'_>) -> Result<Option<i64>, OrderError> {
        if let Job::Browse | Job::Report = job {
            let product = lock(&self.shop.dice).product();
            let asked = client.call(&BROWSE, &[Param::Int(product)]).await;
            return asked.map(|_| None).map_err(no_order);
        }
        let done = self.write(job).await;
        // Also if its answer was lost: it may have written.
        client.wrote_elsewhere();
        done
    }

    async fn write(&self, job: Job) -> Result<Option<i64>, OrderError> {
        let commit = self.shop.commit;
        match job {
            Job::Browse | Job::Report => Ok(None),
            Job::LogIn => {
                let user = lock(&self.shop.dice).user();
                self.orders.log_in(user, commit).await?;
                Ok(None)
            }
            Job::Create => {
                let order = lock(&self.shop.dice).order();
                self.orders.create(&order, commit).await.map(Some)
            }
            Job::Hybrid => {
                let order = lock(&self.shop.dice).order();
                let created = self.orders.create_knowing_spend(&order, commit).await;
                created.map(|(order, _)| Some(order))
            }
            Job::Step(order, step) => {
                self.orders.step(order, step, commit).await?;
                Ok(Some(order))
            }
        }
    }
}

/// Converts the error of a read.
fn no_order(error: OlapError) -> OrderError {
    match error {
        OlapError::Pool(error) => error.into(),
        OlapError::Server(error) => error.into(),
        OlapError::Rejected(why) => PgError::new(Class::Timeout, why.to_string()).into(),
    }
}

/// The sessions for reports, and the tally of their work.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) shop: Arc<Shop>,
    pub(super) sender: Arc<Sender>,
    pub(super) source: Source,
    pub(super) heart: Arc<Heart>,
    pub(super) freshness: Arc<Mutex<Freshness>>,
    pub(super) tally: Arc<Mutex<Tally>>,
}

impl Desk {
    /// Processes a queue until it is closed.
    pub(super) async fn work(self, queue: Arc<Queue>) {
        // A report waits for its turn however little it costs.
        let mut client = self.sender.conversation().reading_in(router::Pool::Olap);
        while let Some(due) = queue.take().await {
            let since = lock(&self.tally).begin(due.at, Instant::now());
            let kind = lock(&self.shop.dice).report();
            if let Err(error) = self.ask(kind, due, since, &mut client).await {
                lock(&self.tally).failed(kind, due.at, error.code());
                if error.is_of_session() {
                    sleep(RESPITE).await;
                }
            }
        }
    }

    async fn ask(
        &self,
        kind: Kind,
        due: Due,
        since: Instant,
        client: &mut Client<'_>,
    ) -> Result<(), OlapError> {
        let ran = client.call(self.source.statement(kind), &[]).await?;
        let answer = Answer {
            table: ran.table,
            rows: 0,
        };
        let mut tally = lock(&self.tally);
        tally.done(kind, due.at, since, Instant::now());
        if let Some(fresh) = included(&answer).and_then(|i| self.heart.freshness(ran.sent, i)) {
            let mut freshness = lock(&self.freshness);
            freshness.last = Some(fresh);
            if tally.measures(due.at) {
                freshness.times.add(fresh);
            }
        }
        Ok(())
    }
}
