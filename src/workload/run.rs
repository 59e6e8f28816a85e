//! Runs a load for a fixed time: opens sessions, offers work, and reports the results.

use super::arrivals::Arrivals;
use super::dispatch::{Lanes, dispatch};
use super::error::WorkloadError;
use super::freshness::Heart;
use super::live::Live;
use super::machine::Processors;
use super::mix::{Catalogue, Dice, Job, Life};
use super::options::Options;
use super::queue::Queue;
use super::routed::{PROGRAM, sender};
use super::shop::{Counter, Desk, Shop, lock};
use super::state::{Before, Class, Run};
use super::summary::Summary;
use super::tally::Tally;
use crate::pg::pool::{Pool, PoolSize};
use crate::pg::{Param, Settings, Statement, Target};
use crate::system::nodes::Nodes;
use crate::system::orders::Orders;
use crate::system::pools::{OLTP_ROLE, Pools};
use crate::system::routing;
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};

/// Time limit for work in progress at the end.
const GRACE: Duration = Duration::from_secs(5);
/// Interval of the progress reports.
const TELL: Duration = Duration::from_millis(500);
/// Factor by which the stock is filled up beyond the expected sales.
const MARGIN: f64 = 1.5;

const DELIVER: Statement = Statement {
    name: "deliver",
    types: &["bigint[]", "integer[]"],
    sql: include_str!("../../queries/workload/deliver.sql"),
};

/// Runs a load on the database of `target`, with the roles of [`crate::system::pools`], until its time is over or
/// `interrupted` resolves. Calls `tell` with the current state twice a second.
pub(crate) async fn run(
    target: &Target,
    options: &Options,
    interrupted: impl Future<Output = ()>,
    mut tell: impl FnMut(&Live),
) -> Result<Summary, WorkloadError> {
    let nodes = Nodes::new(target, options.replica.as_ref(), options.limits());
    let pools = nodes.primary().clone();
    let catalogue = Catalogue::read(pools.oltp()).await?;
    let rng = |stream: u64| Xoshiro256PlusPlus::seed_from_u64(options.seed ^ stream << 32);
    let mut dice = Dice::new(rng(1), catalogue, options.mix, options.skew);
    if options.keys {
        dice = dice.with_keys();
    }
    let delivered = if options.deliver {
        deliver(&pools, &dice, options).await?
    } else {
        0
    };
    pools.oltp().warm().await.map_err(WorkloadError::oltp)?;
    if options.olap_per_s > 0.0 {
        pools.olap().warm().await.map_err(WorkloadError::olap)?;
    }
    let sender = Arc::new(sender(target, nodes, options.commit));
    sender.ready().await;
    let start = Instant::now();
    let from = start + options.ramp + options.warm_up;
    let end = from + options.duration;
    let class = || Class {
        tally: Arc::new(Mutex::new(Tally::new(start, from, end))),
        queue: Arc::new(Queue::new(usize::MAX)),
    };
    let run = Run {
        options: options.clone(),
        orders: Arc::new(Orders::new(pools.oltp().clone(), options.strategy)),
        sender,
        oltp: class(),
        olap: class(),
        freshness: Arc::default(),
        delivered,
        start,
    };
    let shop = Arc::new(Shop {
        dice: Mutex::new(dice),
        life: Mutex::new(Life::default()),
        commit: options.commit,
    });
    let probe = Pool::new(
        target.with_user(OLTP_ROLE),
        Settings::of_application(),
        PoolSize {
            min: 1,
            max: 1,
            wait: Duration::from_secs(1),
        },
    );
    let mut helpers = JoinSet::new();
    let heart = run.heart(&mut helpers, probe.clone());
    let mut workers = run.workers(&shop, &heart);
    run.dispatchers(&mut helpers, &shop, rng, end);
    let instance = run.publisher(&mut helpers, &probe);
    let (before, interrupted) = run.watch(from, end, &probe, interrupted, &mut tell).await;
    let now = Instant::now();
    let measured = lock(&run.oltp.tally).end(now);
    lock(&run.olap.tally).end(now);
    let processors = Processors::now();
    helpers.shutdown().await;
    run.close(&mut workers).await;
    routing::retire(&probe, &instance).await;
    let after = Before {
        processors,
        deadlocks: deadlocks(&probe).await,
    };
    Ok(run.summary(measured, interrupted, before, after))
}

impl Run {
    fn heart(&self, helpers: &mut JoinSet<()>, probe: Pool) -> Arc<Heart> {
        let heart = Arc::new(Heart::default());
        if self.options.olap_per_s > 0.0 {
            let (heart, commit) = (Arc::clone(&heart), self.options.commit);
            helpers.spawn(async move { heart.beat(&probe, commit).await });
        }
        heart
    }

    /// Publishes what the router does; returns the name under which it does so.
    fn publisher(&self, helpers: &mut JoinSet<()>, probe: &Pool) -> String {
        let instance = routing::instance(PROGRAM);
        let (sender, probe, name) = (Arc::clone(&self.sender), probe.clone(), instance.clone());
        helpers.spawn(async move {
            routing::publish(&sender, &probe, &name, "htap-top workload").await;
        });
        instance
    }

    fn workers(&self, shop: &Arc<Shop>, heart: &Arc<Heart>) -> JoinSet<()> {
        let mut workers = JoinSet::new();
        let counter = Counter {
            shop: Arc::clone(shop),
            sender: Arc::clone(&self.sender),
            orders: Arc::clone(&self.orders),
            tally: Arc::clone(&self.oltp.tally),
        };
        for _ in 0..self.options.clients {
            workers.spawn(counter.clone().work(Arc::clone(&self.oltp.queue)));
        }
        let desk = Desk {
            shop: Arc::clone(shop),
            sender: Arc::clone(&self.sender),
            source: self.options.reports,
            heart: Arc::clone(heart),
            freshness: Arc::clone(&self.freshness),
            tally: Arc::clone(&self.olap.tally),
        };
        for _ in 0..self.options.olap_clients {
            workers.spawn(desk.clone().work(Arc::clone(&self.olap.queue)));
        }
        workers
    }

    fn dispatchers(
        &self,
        helpers: &mut JoinSet<()>,
        shop: &Arc<Shop>,
        rng: impl Fn(u64) -> Xoshiro256PlusPlus,
        end: Instant,
    ) {
        let options = &self.options;
        let arrivals =
            |rate, stream| Arrivals::new(rate, options.ramp, options.spread, rng(stream));
        let lanes = |class: &Class| Lanes {
            queues: vec![Arc::clone(&class.queue)],
            lane: |_| 0,
            tally: Arc::clone(&class.tally),
        };
        let shop = Arc::clone(shop);
        let draw = move |now| lock(&shop.dice).job(&mut lock(&shop.life), now);
        let start = self.start;
        helpers.spawn(dispatch(
            arrivals(options.oltp_per_s, 2),
            start,
            end,
            lanes(&self.oltp),
            draw,
        ));
        let hybrid = arrivals(options.hybrid_per_s, 3);
        helpers.spawn(dispatch(hybrid, start, end, lanes(&self.oltp), |_| {
            Job::Hybrid
        }));
        let reports = arrivals(options.olap_per_s, 4);
        helpers.spawn(dispatch(reports, start, end, lanes(&self.olap), |_| {
            Job::Report
        }));
    }

    /// Waits until the end. Returns the counts at the start of the measured time, and true if the run was interrupted.
    async fn watch(
        &self,
        from: Instant,
        end: Instant,
        probe: &Pool,
        stop: impl Future<Output = ()>,
        tell: &mut impl FnMut(&Live),
    ) -> (Option<Before>, bool) {
        let mut before = None;
        let mut pace = interval(TELL);
        pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut stop = std::pin::pin!(stop);
        loop {
            tokio::select! {
                biased;
                () = &mut stop => return (before, true),
                () = sleep_until(end) => return (before, false),
                () = sleep_until(from), if before.is_none() => {
                    before = Some(Before {
                        processors: Processors::now(),
                        deadlocks: deadlocks(probe).await,
                    });
                }
                _ = pace.tick() => tell(&self.live(Instant::now(), from, end)),
            }
        }
    }

    /// Ends both classes: counts work that was not begun, and waits for work in progress, up to a limit.
    async fn close(&self, workers: &mut JoinSet<()>) {
        for class in [&self.oltp, &self.olap] {
            let left = class.queue.close();
            let mut tally = lock(&class.tally);
            let now = Instant::now();
            for due in left {
                tally.never_began(due.at, now);
            }
        }
        let ended = async { while workers.join_next().await.is_some() {} };
        if timeout(GRACE, ended).await.is_err() {
            workers.shutdown().await;
        }
        for class in [&self.oltp, &self.olap] {
            lock(&class.tally).cut_off();
        }
        self.sender.lanes().close();
    }
}

/// Fills up the stock with the quantity that will be sold; returns the number of pieces added.
async fn deliver(pools: &Pools, dice: &Dice, options: &Options) -> Result<i64, WorkloadError> {
    let seconds = (options.ramp + options.warm_up + options.duration).as_secs_f64();
    let orders = (options.oltp_per_s * options.mix.creations() + options.hybrid_per_s) * seconds;
    if orders <= 0.0 {
        return Ok(0);
    }
    let (products, pieces): (Vec<i64>, Vec<i64>) = dice
        .demand(orders)
        .into_iter()
        // Some more, because random variation is greatest for products that sell little.
        .map(|(product, pieces)| (product, (pieces * MARGIN + 100.0).min(1e9) as i64))
        .unzip();
    let session = pools.oltp().get().await.map_err(WorkloadError::oltp)?;
    let answer = session
        .run(&DELIVER, &[Param::Ints(&products), Param::Ints(&pieces)])
        .await
        .map_err(WorkloadError::server("fill up the stock"))?;
    Ok(answer.int(0, "pieces").unwrap_or_default())
}

/// Returns the number of deadlocks in the database so far; `None` if the server does not answer.
async fn deadlocks(probe: &Pool) -> Option<i64> {
    let sql =
        "SELECT deadlocks FROM pg_catalog.pg_stat_database WHERE datname = current_database()";
    let session = probe.get().await.ok()?;
    let asked = timeout(Duration::from_secs(1), session.query(sql, &[])).await;
    asked.ok()?.ok()?.first("deadlocks").int()
}
