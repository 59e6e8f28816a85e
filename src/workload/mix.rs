//! Composition of the load: the share of each kind of transaction, and the choice of users and products.

use super::error::WorkloadError;
use crate::pg::{Pool, owners};
use crate::system::generate::{PRODUCTS, product_of_rank};
use crate::system::orders::{Line, Order, Step};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Zipf};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::str::FromStr;
use std::time::Duration;
use tokio::time::Instant;

/// Kind of a transaction or report, by which figures are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// A customer views a product.
    Browse,
    /// A customer logs in.
    LogIn,
    /// An order is created.
    Create,
    /// An order is created in a transaction that also reads the customer's spending.
    Hybrid,
    /// An order is paid.
    Pay,
    /// An order is shipped.
    Ship,
    /// An order is completed.
    Complete,
    /// An order is cancelled.
    Cancel,
    /// Report: sales by hour.
    Hourly,
    /// Report: sales by category.
    Category,
    /// Report: customers by segment.
    Segment,
}

impl Kind {
    /// Kinds that are reports.
    pub(super) const REPORTS: [Self; 3] = [Self::Hourly, Self::Category, Self::Segment];

    /// Returns the name used in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Browse => "browse",
            Self::LogIn => "log_in",
            Self::Create => "create",
            Self::Hybrid => "hybrid",
            Self::Pay => "pay",
            Self::Ship => "ship",
            Self::Complete => "complete",
            Self::Cancel => "cancel",
            Self::Hourly => "hourly",
            Self::Category => "category",
            Self::Segment => "segment",
        }
    }
}

impl From<Step> for Kind {
    fn from(step: Step) -> Self {
        match step {
            Step::Pay => Self::Pay,
            Step::Ship => Self::Ship,
            Step::Complete => Self::Complete,
            Step::Cancel => Self::Cancel,
        }
    }
}

/// A unit of work. Its user and products are drawn when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Browse,
    LogIn,
    Create,
    Hybrid,
    Step(i64, Step),
    Report,
}

/// Shares of the OLTP transactions; only their ratios matter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mix {
    /// Share of product views.
    pub browse: f64,
    /// Share of log-ins.
    pub log_in: f64,
    /// Share of orders created.
    pub create: f64,
    /// Share of steps of earlier orders: payment, shipping, completion, cancellation. An order takes about 2.6 of them.
    /// If no order is waiting for its step when one is due, a product is viewed instead.
    pub steps: f64,
}

impl Mix {
    /// The mix of a shop: of 100 transactions 14 create an order and 37 advance orders.
    pub(crate) const SHOP: Self = Self {
        browse: 41.0,
        log_in: 8.0,
        create: 14.0,
        steps: 37.0,
    };
    /// Every transaction creates an order: the case study's section 5.2.
    pub(crate) const ORDERS: Self = Self {
        browse: 0.0,
        log_in: 0.0,
        create: 1.0,
        steps: 0.0,
    };

    /// Every order is created, paid, shipped and completed, and nothing else is done.
    pub(crate) const LIVES: Self = Self {
        browse: 0.0,
        log_in: 0.0,
        create: 1.0,
        steps: 2.6,
    };

    fn total(&self) -> f64 {
        self.browse + self.log_in + self.create + self.steps
    }

    /// Returns the number of orders created per transaction.
    pub(super) fn creations(&self) -> f64 {
        self.create / self.total()
    }
}

impl FromStr for Mix {
    type Err = String;

    /// Parses `shop`, `orders`, `lives`, or shares such as `browse=50,log_in=10,create=20,steps=20`.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "shop" => return Ok(Self::SHOP),
            "orders" => return Ok(Self::ORDERS),
            "lives" => return Ok(Self::LIVES),
            _ => {}
        }
        let mut mix = Self {
            browse: 0.0,
            log_in: 0.0,
            create: 0.0,
            steps: 0.0,
        };
        for part in text.split(',') {
            let wanted = "expected shop, orders, lives, or shares of browse, log_in, create and steps such as browse=60,create=40";
            let (name, share) = part.split_once('=').ok_or(wanted)?;
            let share: f64 = share.trim().parse().map_err(|_| wanted)?;
            if !(0.0..=1e9).contains(&share) {
                return Err("a share must be a number of at least 0".to_owned());
            }
            *match name.trim() {
                "browse" => &mut mix.browse,
                "log_in" => &mut mix.log_in,
                "create" => &mut mix.create,
                "steps" => &mut mix.steps,
                _ => return Err(wanted.to_owned()),
            } = share;
        }
        if mix.total() <= 0.0 {
            return Err("one of the shares must be greater than 0".to_owned());
        }
        Ok(mix)
    }
}

const CATALOGUE: &str = "
    SELECT product_id, (SELECT max(user_id) FROM shop.users) AS users FROM shop.inventory ORDER BY product_id";

/// Users and products of orders.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalogue {
    /// Highest user ID; the lowest is 1.
    pub(super) users: i64,
    /// Product IDs, the most popular first.
    pub(super) products: Vec<i64>,
}

impl Catalogue {
    /// Reads the catalogue of the shop to which a pool of sessions belongs.
    pub(super) async fn read(pool: &Pool) -> Result<Self, WorkloadError> {
        let session = pool.get().await.map_err(WorkloadError::oltp)?;
        owners::need_of_shop(&session, "shop.orders")
            .await
            .map_err(WorkloadError::server("use the shop"))?;
        let table = session
            .query(CATALOGUE, &[])
            .await
            .map_err(WorkloadError::server("read the catalogue"))?;
        let products: Vec<i64> = (0..table.rows.len())
            .filter_map(|row| table.get(row, "product_id").int())
            .collect();
        match table.first("users").int() {
            Some(users) if !products.is_empty() => Ok(Self::new(users, &products)),
            _ => Err(WorkloadError::NoShop(
                "the shop has no users or products: fill it with htap-top init --scale 1"
                    .to_owned(),
            )),
        }
    }

    /// Returns the catalogue of these products, which are in the order of their numbers.
    pub(super) fn new(users: i64, products: &[i64]) -> Self {
        let count = products.len();
        let place = |rank: usize| {
            if count == PRODUCTS {
                // The same order as in the generated history.
                product_of_rank(rank) - 1
            } else {
                rank * stride(count) % count
            }
        };
        let ranked = (1..=count).filter_map(|rank| products.get(place(rank)).copied());
        Self {
            users,
            products: ranked.collect(),
        }
    }
}

/// Returns a stride with which `count` places are visited once each, with distance between neighbours.
fn stride(count: usize) -> usize {
    let divisor = |mut a: usize, mut b: usize| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    (count * 5 / 8 + 1..=2 * count + 1)
        .find(|stride| divisor(*stride, count) == 1)
        .unwrap_or(1)
}

/// Maximum number of lines of an order; the minimum is 1.
const LINES: usize = 5;

/// Draws all random choices.
#[derive(Debug)]
pub(super) struct Dice {
    rng: Xoshiro256PlusPlus,
    catalogue: Catalogue,
    /// Exponent of the products' popularity; with 0 all are equally popular.
    skew: f64,
    popularity: Option<Zipf<f64>>,
    mix: Mix,
    /// If set, every order has a request key with this prefix.
    key: Option<String>,
    keys: u64,
}

impl Dice {
    /// `skew` is the exponent of the products' popularity; with 0 all are equally popular.
    pub(super) fn new(rng: Xoshiro256PlusPlus, catalogue: Catalogue, mix: Mix, skew: f64) -> Self {
        let popularity = (skew > 0.0)
            .then(|| Zipf::new(catalogue.products.len().max(1) as f64, skew).ok())
            .flatten();
        Self {
            rng,
            catalogue,
            skew,
            popularity,
            mix,
            key: None,
            keys: 0,
        }
    }

    /// Adds a request key to every order.
    pub(super) fn with_keys(mut self) -> Self {
        self.key = Some(format!("{:016x}", rand::random::<u64>()));
        self
    }

    pub(super) fn product(&mut self) -> i64 {
        let count = self.catalogue.products.len().max(1);
        let place = match &self.popularity {
            Some(popularity) => popularity.sample(&mut self.rng) as usize - 1,
            None => self.rng.random_range(0..count),
        };
        let products = &self.catalogue.products;
        products.get(place.min(count - 1)).copied().unwrap_or(1)
    }

    pub(super) fn user(&mut self) -> i64 {
        self.rng.random_range(1..=self.catalogue.users.max(1))
    }

    /// Draws an order of 1 to 5 lines, as a customer would choose them: a product may occur twice.
    pub(super) fn order(&mut self) -> Order {
        let lines = (0..self.rng.random_range(1..=LINES))
            .map(|_| Line {
                product: self.product(),
                quantity: if self.rng.random_bool(0.8) { 1 } else { 2 },
            })
            .collect();
        self.keys += 1;
        Order {
            user: self.user(),
            lines,
            request_key: self.key.as_ref().map(|key| format!("{key}-{}", self.keys)),
        }
    }

    pub(super) fn report(&mut self) -> Kind {
        let place = self.rng.random_range(0..Kind::REPORTS.len());
        Kind::REPORTS.get(place).copied().unwrap_or(Kind::Hourly)
    }

    /// Draws the next OLTP transaction. A step is taken from `life`.
    pub(super) fn job(&mut self, life: &mut Life, now: Instant) -> Job {
        let mix = self.mix;
        let mut at = self.rng.random::<f64>() * mix.total();
        for (share, job) in [(mix.create, Job::Create), (mix.log_in, Job::LogIn)] {
            if at < share {
                return job;
            }
            at -= share;
        }
        if at < mix.steps {
            return life
                .due(now)
                .map_or(Job::Browse, |(order, step)| Job::Step(order, step));
        }
        Job::Browse
    }

    /// Returns the average number of pieces of each product in `orders` orders.
    pub(super) fn demand(&self, orders: f64) -> Vec<(i64, f64)> {
        let pieces = orders * (1 + LINES) as f64 / 2.0 * 1.2;
        let products = &self.catalogue.products;
        let weights: Vec<f64> = (1..=products.len())
            .map(|rank| (rank as f64).powf(-self.skew))
            .collect();
        let total: f64 = weights.iter().sum();
        products
            .iter()
            .zip(&weights)
            .map(|(product, weight)| (*product, pieces * weight / total))
            .collect()
    }

    /// Draws the next step of an order and the delay before it: seconds stand for a shop's hours.
    fn next_step(&mut self, after: Kind) -> Option<(Step, Duration)> {
        let step = match after {
            Kind::Create | Kind::Hybrid => match self.rng.random_range(0..100) {
                0..86 => Step::Pay,
                86..93 => Step::Cancel,
                _ => return None,
            },
            Kind::Pay => Step::Ship,
            Kind::Ship if self.rng.random_bool(0.95) => Step::Complete,
            _ => return None,
        };
        Some((
            step,
            Duration::from_millis(self.rng.random_range(300..3_000)),
        ))
    }
}

/// Orders that wait for their next step.
#[derive(Debug, Default)]
pub(super) struct Life {
    steps: BinaryHeap<Reverse<(Instant, i64, Step)>>,
}

/// Maximum number of waiting orders; further ones stay as they are.
const LIVES: usize = 100_000;

impl Life {
    /// Records that a step of an order was done.
    pub(super) fn went_on(&mut self, order: i64, what: Kind, dice: &mut Dice, now: Instant) {
        if dice.mix.steps > 0.0
            && self.steps.len() < LIVES
            && let Some((step, wait)) = dice.next_step(what)
        {
            self.steps.push(Reverse((now + wait, order, step)));
        }
    }

    fn due(&mut self, now: Instant) -> Option<(i64, Step)> {
        let Reverse((at, _, _)) = self.steps.peek()?;
        if *at > now {
            return None;
        }
        let Reverse((_, order, step)) = self.steps.pop()?;
        Some((order, step))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use std::collections::{BTreeMap, BTreeSet};

    fn dice(mix: Mix, skew: f64, products: usize) -> Dice {
        let products: Vec<i64> = (1..=products as i64).map(|n| n * 10).collect();
        let rng = Xoshiro256PlusPlus::seed_from_u64(3);
        Dice::new(rng, Catalogue::new(50, &products), mix, skew)
    }

    #[test]
    fn every_product_has_a_rank() {
        for count in [1, 2, 7, 100, PRODUCTS, 1_000] {
            let products: Vec<i64> = (1..=count as i64).collect();
            let ranked = Catalogue::new(1, &products).products;
            assert_eq!(ranked.len(), count);
            assert_eq!(ranked.into_iter().collect::<BTreeSet<_>>().len(), count);
        }
        assert!(Catalogue::new(1, &[]).products.is_empty());
    }

    #[test]
    fn demand_is_what_is_ordered() {
        for skew in [0.0, 1.1] {
            let mut dice = dice(Mix::ORDERS, skew, 100);
            let demand: BTreeMap<i64, f64> = dice.demand(20_000.0).into_iter().collect();
            let mut ordered: BTreeMap<i64, i64> = BTreeMap::new();
            for _ in 0..20_000 {
                for line in dice.order().lines {
                    *ordered.entry(line.product).or_default() += line.quantity;
                }
            }
            for (product, pieces) in &ordered {
                let share = *pieces as f64 / demand[product];
                assert!((0.7..1.3).contains(&share), "{skew}: {product}: {share}");
            }
            let top = ordered.values().max().unwrap() * 100 / ordered.values().sum::<i64>();
            assert_eq!(top > 10, skew > 0.0, "{top} %");
        }
    }

    #[test]
    fn orders_take_their_steps_when_they_are_due() {
        let mut dice = dice(Mix::SHOP, 1.0, 10);
        let (mut life, start) = (Life::default(), Instant::now());
        for order in 0..1_000 {
            life.went_on(order, Kind::Create, &mut dice, start);
        }
        assert_eq!(life.due(start), None);
        let mut now = start;
        let mut seen: BTreeMap<Kind, usize> = BTreeMap::new();
        while !life.steps.is_empty() {
            now += Duration::from_secs(3);
            while let Some((order, step)) = life.due(now) {
                *seen.entry(step.into()).or_default() += 1;
                life.went_on(order, step.into(), &mut dice, now);
            }
        }
        let steps: usize = seen.values().sum();
        assert!((2_400..2_800).contains(&steps), "{seen:?}");
        assert_eq!(seen[&Kind::Pay], seen[&Kind::Ship]);
        assert!(
            seen[&Kind::Complete] < seen[&Kind::Ship] && seen[&Kind::Cancel] > 30,
            "{seen:?}"
        );
        // Orders of this mix take no steps.
        dice.mix = Mix::ORDERS;
        life.went_on(1, Kind::Create, &mut dice, now);
        assert!(life.steps.is_empty());
    }

    #[test]
    fn the_shares_are_kept() {
        let mut dice = dice("browse=50,create=30,log_in=20".parse().unwrap(), 1.0, 10);
        let mut life = Life::default();
        let jobs: Vec<Job> = (0..10_000)
            .map(|_| dice.job(&mut life, Instant::now()))
            .collect();
        let share = |job| jobs.iter().filter(|drawn| **drawn == job).count() / 100;
        assert!((48..53).contains(&share(Job::Browse)) && (28..33).contains(&share(Job::Create)));
        assert!((18..23).contains(&share(Job::LogIn)));
    }

    #[test]
    fn a_wrong_mix_says_how_to_write_it() {
        for wrong in [
            "",
            "shops",
            "browse",
            "browse=x",
            "browse=-1",
            "create=0",
            "buy=1",
            "browse=NaN",
        ] {
            assert!(wrong.parse::<Mix>().is_err(), "{wrong}");
        }
        assert_eq!("orders".parse(), Ok(Mix::ORDERS));
    }
}
