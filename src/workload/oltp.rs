//! The shop: arrivals in an open loop, worked off by a few sessions.

use super::session::Session;
use super::{Counters, Load, Shared, count, next_arrival};
use crate::pg::{Param, PgError};
use crate::system::generate::{popularity, product_of_rank};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Of a thousand transactions, how many begin an order. Each brings about three more along (payment,
/// shipping, completion). Kept low: at 150 transactions per second this is about four orders per second,
/// and the current hour's bar stays comparable with those before it.
const CHECKOUTS: u32 = 25;
/// Of a thousand, how many are log-ins: as many per order as in the made-up history. The rest look at a
/// product, besides the steps of orders.
const LOG_INS: u32 = 15;
/// Of a thousand, how many steps of orders are to be expected.
const STEPS: u32 = 70;

/// Arrivals that may wait for each kind of session; more are dropped and counted.
const QUEUE: usize = 2_000;

/// A customer who is about to pay rather waits than goes: longer than the role's own limits.
const CHECKOUT_SETUP: &str = "SET lock_timeout = '12s'; SET statement_timeout = '15s'";

#[derive(Clone, Debug)]
enum Job {
    Browse {
        product: i64,
    },
    LogIn {
        user: i64,
    },
    Checkout {
        user: i64,
        products: Vec<i64>,
        quantities: Vec<i64>,
    },
    Pay {
        order: i64,
    },
    Ship {
        order: i64,
    },
    Complete {
        order: i64,
    },
    Cancel {
        order: i64,
    },
}

/// The queues of the three kinds of sessions.
#[derive(Clone, Debug)]
struct Queues {
    storefront: mpsc::Sender<Job>,
    checkout: mpsc::Sender<Job>,
    payments: mpsc::Sender<Job>,
}

impl Queues {
    fn put(&self, job: Job, counters: &Counters) {
        let queue = match job {
            Job::Browse { .. } | Job::LogIn { .. } => &self.storefront,
            Job::Checkout { .. } => &self.checkout,
            _ => &self.payments,
        };
        if queue.try_send(job).is_err() {
            count(&counters.dropped);
        }
    }
}

pub(super) fn start(tasks: &mut JoinSet<()>, shared: &Shared, load: Load) {
    let (storefront, browse) = mpsc::channel(QUEUE);
    let (checkout, buy) = mpsc::channel(QUEUE);
    let (payments, settle) = mpsc::channel(QUEUE);
    let queues = Queues {
        storefront,
        checkout,
        payments,
    };
    for (jobs, sessions, name, setup) in [
        (browse, 2, "storefront", ""),
        (buy, 8, "checkout", CHECKOUT_SETUP),
        (settle, 2, "payments", ""),
    ] {
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..sessions {
            let session = shared.session("htap_oltp", name).with_setup(setup);
            let worker = work(
                session,
                Arc::clone(&jobs),
                queues.clone(),
                Arc::clone(&shared.counters),
                load.seed,
            );
            tasks.spawn(worker);
        }
    }
    tasks.spawn(arrivals(queues, shared.clone(), load));
    tasks.spawn(warehouse(shared.clone(), load));
}

/// Puts transactions into the queues when they fall due, however slow the server is.
async fn arrivals(queues: Queues, shared: Shared, load: Load) {
    let Some(ranks) = popularity() else {
        return;
    };
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(load.seed);
    let users = users(&shared).await;
    let mut due = Instant::now();
    loop {
        due += next_arrival(rng.random(), load.rate);
        tokio::time::sleep_until(due).await;
        let user = rng.random_range(1..=users);
        let job = match rng.random_range(0..1000) {
            n if n < STEPS => continue,
            n if n < STEPS + CHECKOUTS => checkout(&mut rng, ranks, user),
            n if n < STEPS + CHECKOUTS + LOG_INS => Job::LogIn { user },
            _ => Job::Browse {
                product: product_of_rank(ranks.sample(&mut rng) as usize) as i64,
            },
        };
        queues.put(job, &shared.counters);
    }
}

async fn users(shared: &Shared) -> i64 {
    let mut session = shared.session("htap_oltp", "storefront");
    loop {
        let answer = session
            .query(
                "SELECT greatest(max(user_id), 1) AS users FROM shop.users",
                &[],
            )
            .await;
        match answer {
            Ok(table) => return table.first("users").int().unwrap_or(1),
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

fn checkout(rng: &mut Xoshiro256PlusPlus, ranks: Zipf<f64>, user: i64) -> Job {
    let lines = rng.random_range(1..=5);
    // In the order the customer chose them; create_order sorts and merges.
    let products = (0..lines)
        .map(|_| product_of_rank(ranks.sample(rng) as usize) as i64)
        .collect();
    let quantities = (0..lines)
        .map(|_| if rng.random_bool(0.8) { 1 } else { 2 })
        .collect();
    Job::Checkout {
        user,
        products,
        quantities,
    }
}

async fn work(
    mut session: Session,
    jobs: Arc<Mutex<mpsc::Receiver<Job>>>,
    queues: Queues,
    counters: Arc<Counters>,
    seed: u64,
) {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed ^ 0x5eed);
    loop {
        let Some(job) = jobs.lock().await.recv().await else {
            return;
        };
        match run(&mut session, &job).await {
            Ok(order) => {
                count(&counters.oltp);
                if matches!(job, Job::Checkout { .. }) {
                    count(&counters.orders);
                }
                if let Some((next, wait)) = next_step(&job, order, &mut rng) {
                    let (queues, counters) = (queues.clone(), Arc::clone(&counters));
                    // Ends by itself within the wait; dropping the runtime ends it earlier.
                    tokio::spawn(async move {
                        tokio::time::sleep(wait).await;
                        queues.put(next, &counters);
                    });
                }
            }
            Err(_) => count(&counters.errors),
        }
    }
}

async fn run(session: &mut Session, job: &Job) -> Result<Option<i64>, PgError> {
    let table = match job {
        Job::Browse { product } => {
            let sql = "SELECT p.product_name, p.price::float8, i.quantity, c.category_name
                       FROM shop.products AS p JOIN shop.inventory AS i USING (product_id)
                       JOIN shop.categories AS c USING (category_id) WHERE p.product_id = $1";
            session.query(sql, &[Param::Int(*product)]).await?
        }
        Job::LogIn { user } => {
            let sql = "SELECT shop.log_in($1)";
            session.query(sql, &[Param::Int(*user)]).await?
        }
        Job::Checkout {
            user,
            products,
            quantities,
        } => {
            let sql = "SELECT shop.create_order($1, $2, $3) AS order_id";
            let params = [
                Param::Int(*user),
                Param::Ints(products),
                Param::Ints(quantities),
            ];
            session.query(sql, &params).await?
        }
        Job::Pay { order } => step(session, "SELECT shop.pay_order($1)", *order).await?,
        Job::Ship { order } => step(session, "SELECT shop.ship_order($1)", *order).await?,
        Job::Complete { order } => step(session, "SELECT shop.complete_order($1)", *order).await?,
        Job::Cancel { order } => step(session, "SELECT shop.cancel_order($1)", *order).await?,
    };
    Ok(table.first("order_id").int())
}

async fn step(session: &mut Session, sql: &str, order: i64) -> Result<crate::pg::Table, PgError> {
    session.query(sql, &[Param::Int(order)]).await
}

/// What follows on a job, and after how long: seconds stand for a shop's hours.
fn next_step(
    job: &Job,
    created: Option<i64>,
    rng: &mut Xoshiro256PlusPlus,
) -> Option<(Job, Duration)> {
    let next = match (job, created) {
        (Job::Checkout { .. }, Some(order)) => match rng.random_range(0..100) {
            0..86 => Job::Pay { order },
            86..93 => Job::Cancel { order },
            _ => return None,
        },
        (Job::Pay { order }, _) => Job::Ship { order: *order },
        (Job::Ship { order }, _) if rng.random_bool(0.95) => Job::Complete { order: *order },
        _ => return None,
    };
    Some((next, Duration::from_millis(rng.random_range(300..3_000))))
}

/// Deliveries and stock counts: updates that leave dead rows behind in the hottest table.
async fn warehouse(shared: Shared, load: Load) {
    let mut session = shared.session("htap_oltp", "warehouse");
    let deliveries = ((load.rate / 20.0) as i64).clamp(2, 400);
    for round in 0_u64.. {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let done = if round % 8 == 7 {
            let sql = "SELECT shop.restock($1)";
            session.query(sql, &[Param::Int(deliveries)]).await
        } else {
            let sql = "SELECT shop.count_stock($1)";
            let taken = shared.stocktaking.load(Ordering::Relaxed);
            let lines = if taken { 300 } else { 80 };
            session.query(sql, &[Param::Int(lines)]).await
        };
        count(match done {
            Ok(_) => &shared.counters.oltp,
            Err(_) => &shared.counters.errors,
        });
    }
}
