//! The demo's load: customers, clerks, report readers and the warehouse, until it is stopped.

use super::arrivals::{Arrivals, Spread};
use super::dispatch::{Lanes, dispatch};
use super::mix::{Catalogue, Dice, Job, Life, Mix};
use super::queue::Queue;
use super::reports::Source;
use super::routed::{PROGRAM, Sender, sender};
use super::shop::{Counter, Desk, Shop, lock};
use super::tally::Tally;
use super::{Load, Shared};
use crate::pg::pool::{Pool, PoolSize};
use crate::pg::{Param, Settings, Target};
use crate::system::generate::PRODUCT_SKEW;
use crate::system::nodes::Nodes;
use crate::system::orders::{Commit, Orders, Strategy};
use crate::system::pools::{AdmissionLimits, OLAP_ROLE, OLTP_ROLE, Pools};
use crate::system::routing;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

/// The mix has few orders, and as many log-ins per order as the generated history: at 150 transactions per second about
/// four orders per second, so that the bar of the current hour stays comparable with those before it.
const MIX: Mix = Mix {
    browse: 88.0,
    log_in: 1.5,
    create: 2.5,
    steps: 8.0,
};

/// Maximum amount of waiting work per kind of session; more is dropped.
const QUEUE: usize = 2_000;

/// Application_name, number of sessions, and lock and statement timeouts that override those of the role.
type Kind = (&'static str, usize, Option<[&'static str; 2]>);

/// Those who look at products.
const STOREFRONT: Kind = ("storefront", 2, None);

/// The lanes.
const LANES: [Kind; 3] = [
    STOREFRONT,
    // A customer about to pay prefers to wait: longer than the role's own limits.
    ("checkout", 8, Some(["12s", "15s"])),
    ("payments", 2, None),
];

/// Returns the lane of a job.
fn lane(job: Job) -> usize {
    match job {
        Job::Browse | Job::LogIn | Job::Report => 0,
        Job::Create | Job::Hybrid => 1,
        Job::Step(..) => 2,
    }
}

/// Number of sessions for reports.
const READERS: usize = 2;

/// A practically endless time; the runtime's clock does not reach much further.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

pub(super) fn start(tasks: &mut JoinSet<()>, shared: &Shared, load: Load) {
    tasks.spawn(warehouse(shared.clone(), load.rate));
    tasks.spawn(trade(shared.clone(), load));
}

async fn trade(shared: Shared, load: Load) {
    let rng = |stream: u64| Xoshiro256PlusPlus::seed_from_u64(load.seed ^ stream << 32);
    let dice = Dice::new(rng(1), catalogue(&shared).await, MIX, PRODUCT_SKEW);
    let shop = Arc::new(Shop {
        dice: Mutex::new(dice),
        life: Mutex::new(Life::default()),
        commit: Commit::Asynchronous,
    });
    let start = Instant::now();
    // A tally is required but not used: nothing is measured.
    let tally = Arc::new(Mutex::new(Tally::new(start, start, start)));
    let mut workers = JoinSet::new();
    let storefront = orders_pool(&shared.target, STOREFRONT);
    let sender = sender_of(&shared, &load, &storefront).await;
    let queues = open_counters(&mut workers, &shared, &shop, &tally, &sender).await;
    let readers = open_desk(&mut workers, &sender, &shop, &tally);
    workers.spawn(publish(Arc::clone(&sender), shared.target.clone()));
    let end = start + FOREVER;
    let arrivals = |rate, stream| Arrivals::new(rate, Duration::ZERO, Spread::Poisson, rng(stream));
    let lanes = |queues, lane| Lanes {
        queues,
        lane,
        tally: Arc::clone(&tally),
    };
    let draw = |now| lock(&shop.dice).job(&mut lock(&shop.life), now);
    tokio::join!(
        dispatch(
            arrivals(load.rate, 2),
            start,
            end,
            lanes(queues, lane),
            draw
        ),
        dispatch(
            arrivals(load.report_rate, 3),
            start,
            end,
            lanes(vec![readers], |_| 0),
            |_| Job::Report
        ),
    );
}

async fn open_counters(
    workers: &mut JoinSet<()>,
    shared: &Shared,
    shop: &Arc<Shop>,
    tally: &Arc<Mutex<Tally>>,
    sender: &Arc<Sender>,
) -> Vec<Arc<Queue>> {
    let mut queues = Vec::new();
    for kind in LANES {
        let (name, sessions, _) = kind;
        // Log-ins share the sessions of those who look.
        let pool = if name == STOREFRONT.0 {
            sender.lanes().primary().oltp().clone()
        } else {
            orders_pool(&shared.target, kind)
        };
        open(&pool).await;
        let counter = Counter {
            shop: Arc::clone(shop),
            orders: Arc::new(Orders::new(pool, Strategy::Function)),
            sender: Arc::clone(sender),
            tally: Arc::clone(tally),
        };
        let queue = Arc::new(Queue::new(QUEUE));
        for _ in 0..sessions {
            workers.spawn(counter.clone().work(Arc::clone(&queue)));
        }
        queues.push(queue);
    }
    queues
}

/// Returns a pool of sessions for transactions.
fn orders_pool(target: &Target, (name, sessions, limits): Kind) -> Pool {
    let mut settings = Settings::of_application();
    if let Some([lock, statement]) = limits {
        settings = settings
            .with("lock_timeout", lock)
            .with("statement_timeout", statement);
    }
    let target = target.with_user(OLTP_ROLE).with_application_name(name);
    Pool::new(target, settings, size(sessions))
}

/// Returns the router of the demo's reads.
async fn sender_of(shared: &Shared, load: &Load, storefront: &Pool) -> Arc<Sender> {
    let reports = |target: &Target| {
        let target = target
            .with_user(OLAP_ROLE)
            .with_application_name("bi-report");
        Pool::new(target, Settings::of_application(), size(READERS))
    };
    let limits = AdmissionLimits::default();
    let pools = |oltp, target| Pools::of(oltp, reports(target), limits);
    let primary = pools(storefront.clone(), &shared.target);
    open(primary.olap()).await;
    let replica = load.replica.as_ref();
    let replica = replica.map(|target| (target, pools(orders_pool(target, STOREFRONT), target)));
    let nodes = Nodes::of((&shared.target, primary), replica);
    let sender = Arc::new(sender(&shared.target, nodes, Commit::Asynchronous));
    sender.ready().await;
    sender
}

fn open_desk(
    workers: &mut JoinSet<()>,
    sender: &Arc<Sender>,
    shop: &Arc<Shop>,
    tally: &Arc<Mutex<Tally>>,
) -> Arc<Queue> {
    let desk = Desk {
        shop: Arc::clone(shop),
        sender: Arc::clone(sender),
        source: Source::Rollup,
        heart: Arc::default(),
        freshness: Arc::default(),
        tally: Arc::clone(tally),
    };
    let queue = Arc::new(Queue::new(QUEUE));
    for _ in 0..READERS {
        workers.spawn(desk.clone().work(Arc::clone(&queue)));
    }
    queue
}

/// Publishes what the router does, until the demo ends and its database with it.
async fn publish(sender: Arc<Sender>, target: Target) {
    let pool = orders_pool(&target, ("htap-router", 1, None));
    routing::publish(&sender, &pool, &routing::instance(PROGRAM), "htap-top demo").await;
}

/// Opens the sessions in advance. A session that fails is opened on demand.
async fn open(pool: &Pool) {
    let _ = pool.warm().await;
}

fn size(sessions: usize) -> PoolSize {
    PoolSize {
        min: sessions,
        max: sessions,
        wait: Duration::from_secs(30),
    }
}

async fn catalogue(shared: &Shared) -> Catalogue {
    let target = shared.target.with_user(OLTP_ROLE);
    let pool = Pool::new(
        target.with_application_name("storefront"),
        Settings::of_application(),
        size(1),
    );
    loop {
        match Catalogue::read(&pool).await {
            Ok(catalogue) => return catalogue,
            Err(_) => sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Runs deliveries and stock counts: updates that leave dead rows in the most frequently updated table.
async fn warehouse(shared: Shared, rate: f64) {
    let mut session = shared.session("htap_oltp", "warehouse");
    let deliveries = ((rate / 20.0) as i64).clamp(2, 400);
    for round in 0_u64.. {
        sleep(Duration::from_secs(1)).await;
        // A failed round is made up for by the next one.
        let _ = if round % 8 == 7 {
            let sql = "SELECT shop.restock($1)";
            session.query(sql, &[Param::Int(deliveries)]).await
        } else {
            let sql = "SELECT shop.count_stock($1)";
            let taken = shared.stocktaking.load(Ordering::Relaxed);
            let lines = if taken { 300 } else { 80 };
            session.query(sql, &[Param::Int(lines)]).await
        };
    }
}
