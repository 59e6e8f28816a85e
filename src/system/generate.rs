//! Generates the shop's history hour by hour: the same shape, seed and end give the same rows, in any order of
//! generation. Memory does not grow with the number of orders; only the list of hours grows with the history.

mod catalogue;
mod orders;

pub use catalogue::{Product, User};
pub use orders::{Line, Order};

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Zipf};

/// Version of the generator. It grows whenever the same shape, seed and end would give other rows, or other parts: a
/// load begun with one version cannot be continued with another.
pub const RECIPE: i64 = 1;

/// Number of products in the demo's catalogue.
pub const PRODUCTS: usize = 400;
/// Skew of the products' popularity.
pub const PRODUCT_SKEW: f64 = 1.05;

/// Relative activity of each hour of the day.
const DAY: [f64; 24] = [
    0.30, 0.18, 0.12, 0.10, 0.10, 0.15, 0.28, 0.50, 0.75, 0.95, 1.10, 1.20, 1.30, 1.15, 1.05, 1.05,
    1.10, 1.20, 1.35, 1.60, 1.75, 1.65, 1.20, 0.65,
];

/// Relative activity of each day of the week, beginning with Thursday, the first day of the epoch.
const WEEK: [f64; 7] = [0.95, 1.05, 1.25, 1.20, 0.90, 0.88, 0.92];

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// Milliseconds from the Unix epoch to 2020-01-01 UTC, the epoch of the times in order numbers.
const ORDER_EPOCH_MS: i64 = 1_577_836_800_000;

/// Returns the number of an order created at `created_ms` (milliseconds since the Unix epoch): 41 bits of time, 10 of
/// node, 12 of counter, the layout of `shop.new_order_id()`. `counter` distinguishes orders of the same millisecond.
pub fn order_id(created_ms: i64, node: u16, counter: u64) -> i64 {
    ((created_ms - ORDER_EPOCH_MS) << 22)
        | (i64::from(node & 0x3ff) << 12)
        | (counter & 0xfff) as i64
}

/// Size of a shop and length of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Number of orders.
    pub orders: u64,
    /// Days of history.
    pub days: i64,
    /// Number of products in the catalogue.
    pub products: usize,
    /// Number of users at the end of the history; two in five exist when it begins.
    pub users: i64,
    /// Length of a sale that lasts until the end, in hours; 0 for no sale.
    pub sale_hours: i64,
}

impl Shape {
    /// Returns the shape of the demo: a month of history, with a sale during the last two days. Without the sale the
    /// live load would dwarf all hours before it.
    pub fn demo(orders: u64) -> Self {
        Self {
            orders,
            days: 30,
            products: PRODUCTS,
            users: 20_000,
            sale_hours: 48,
        }
    }

    /// Returns the shape of a shop with `orders` orders in `days` days: one customer per ten orders, and a catalogue
    /// that grows more slowly than the business (10,000 products at a million orders).
    pub fn of(orders: u64, days: i64) -> Self {
        Self {
            orders,
            days,
            products: (10.0 * (orders as f64).sqrt()) as usize + 50,
            users: (orders / 10) as i64 + 50,
            sale_hours: 0,
        }
    }
}

/// Factor by which a sale raises activity.
const SALE_FACTOR: f64 = 18.0;

/// Popularity of products: Zipf's law, with the popular products spread over the catalogue.
#[derive(Clone, Copy, Debug)]
pub struct Popularity {
    products: usize,
    step: usize,
    ranks: Zipf<f64>,
}

impl Popularity {
    /// Returns the popularity of `products` products; `None` for 0.
    pub fn of(products: usize) -> Option<Self> {
        Some(Self {
            products,
            step: (products * 149 / 400..=products + 1).find(|step| coprime(*step, products))?,
            ranks: Zipf::new(products as f64, PRODUCT_SKEW).ok()?,
        })
    }

    /// Returns the id of the product with popularity rank `rank`, from 1.
    pub fn product(&self, rank: usize) -> usize {
        // A permutation, because `step` and `products` have no common divisor.
        (rank.saturating_sub(1) * self.step + self.products * 3 / 10) % self.products + 1
    }

    /// Draws a product's id.
    pub fn sample(&self, rng: &mut Xoshiro256PlusPlus) -> usize {
        self.product(self.ranks.sample(rng) as usize)
    }
}

fn coprime(mut a: usize, mut b: usize) -> bool {
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

/// Returns the product with popularity rank `rank` (from 1) in the demo's catalogue.
pub fn product_of_rank(rank: usize) -> usize {
    Popularity::of(PRODUCTS).map_or(1, |popularity| popularity.product(rank))
}

/// An hour of the history.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Hour {
    from_ms: i64,
    until_ms: i64,
    orders: u64,
}

/// The whole history of a shop, generated in pieces.
#[derive(Clone, Debug)]
pub struct World {
    shape: Shape,
    seed: u64,
    end_ms: i64,
    hours: Vec<Hour>,
    products: Vec<Product>,
    popularity: Popularity,
}

impl World {
    /// Returns the history of a shop that ends at `end_ms` (milliseconds since the epoch), with local time `offset_s`
    /// seconds ahead of UTC. `None` for a catalogue without products.
    pub fn new(shape: Shape, seed: u64, end_ms: i64, offset_s: i64) -> Option<Self> {
        let popularity = Popularity::of(shape.products)?;
        Some(Self {
            shape,
            seed,
            end_ms,
            hours: hours(shape, end_ms, offset_s),
            products: catalogue::products(&mut stream(seed, 0), popularity),
            popularity,
        })
    }

    /// Returns the start of the history, in milliseconds since the epoch.
    pub fn start_ms(&self) -> i64 {
        self.end_ms - self.shape.days * DAY_MS
    }

    /// Category names; the id is the position plus one.
    pub fn categories(&self) -> impl Iterator<Item = &'static str> {
        catalogue::CATEGORIES.iter().map(|(name, ..)| *name)
    }

    /// The catalogue and the stock; the id is the position plus one.
    pub fn products(&self) -> &[Product] {
        &self.products
    }

    /// The users, by time of registration; the id is the position plus one.
    pub fn users(&self) -> impl Iterator<Item = User> {
        catalogue::users(stream(self.seed, 1), self.shape, self.start_ms())
    }

    /// Cuts the history into ranges of whole hours with about `orders` orders each, for [`Self::orders`].
    pub fn parts(&self, orders: u64) -> Vec<std::ops::Range<usize>> {
        let mut parts = Vec::new();
        let (mut from, mut held) = (0, 0);
        for (position, hour) in self.hours.iter().enumerate() {
            held += hour.orders;
            if held >= orders || position + 1 == self.hours.len() {
                parts.push(from..position + 1);
                (from, held) = (position + 1, 0);
            }
        }
        parts
    }

    /// Generates the orders of a range of hours, oldest first.
    pub fn orders(&self, hours: std::ops::Range<usize>) -> impl Iterator<Item = Order> {
        hours.flat_map(|hour| self.orders_of(hour))
    }
}

/// Returns the random generator of one piece of a history.
fn stream(seed: u64, number: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(
        seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(number),
    )
}

/// Returns the relative activity of the shop in the hour that began at `hour_ms`, `age_hours` before the end.
fn weight(shape: Shape, hour_ms: i64, age_hours: i64, offset_s: i64) -> f64 {
    let local_hours = (hour_ms + offset_s * 1000).div_euclid(HOUR_MS);
    let of_day = DAY
        .get(local_hours.rem_euclid(24) as usize)
        .copied()
        .unwrap_or(1.0);
    let of_week = WEEK
        .get(local_hours.div_euclid(24).rem_euclid(7) as usize)
        .copied()
        .unwrap_or(1.0);
    let growth = 1.0 - 0.5 * age_hours as f64 / (shape.days * 24) as f64;
    let sale = if age_hours < shape.sale_hours {
        SALE_FACTOR
    } else {
        1.0
    };
    of_day * of_week * growth * sale
}

fn hours(shape: Shape, end_ms: i64, offset_s: i64) -> Vec<Hour> {
    let last_hour = end_ms.div_euclid(HOUR_MS) * HOUR_MS;
    let weighted: Vec<(i64, i64, f64)> = (0..shape.days * 24)
        .rev()
        .map(|age| {
            let from = last_hour - age * HOUR_MS;
            let until = (from + HOUR_MS).min(end_ms);
            let part = (until - from) as f64 / HOUR_MS as f64;
            (from, until, weight(shape, from, age, offset_s) * part)
        })
        .collect();
    let total: f64 = weighted.iter().map(|(.., weight)| weight).sum();
    let (mut due, mut made) = (0.0, 0);
    weighted
        .into_iter()
        .map(|(from_ms, until_ms, weight)| {
            due += weight / total * shape.orders as f64;
            let orders = (due.round() as u64).saturating_sub(made);
            made += orders;
            Hour {
                from_ms,
                until_ms,
                orders,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_MS: i64 = 1_780_000_000_000;

    fn all(world: &World) -> Vec<Order> {
        world
            .parts(700)
            .into_iter()
            .flat_map(|part| world.orders(part))
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_history_in_whatever_pieces() {
        let world = |seed| World::new(Shape::of(2_000, 40), seed, END_MS, 0).unwrap();
        let one = all(&world(7));
        let whole: Vec<Order> = world(7).orders(0..40 * 24).collect();
        assert_eq!(one, whole);
        assert_ne!(one, all(&world(8)));
        assert_eq!(world(7).products(), world(7).products());
        assert!(world(7).users().eq(world(7).users()));
    }

    #[test]
    fn a_history_is_one_a_shop_could_have() {
        for shape in [
            Shape::demo(20_000),
            Shape::of(20_000, 180),
            Shape::of(20_000, 1),
        ] {
            let world = World::new(shape, 1, END_MS, 0).unwrap();
            let (orders, users) = (all(&world), world.users().collect::<Vec<_>>());
            assert_eq!(orders.len(), 20_000);
            assert_eq!(world.products().len(), shape.products);
            assert_eq!(users.len() as i64, shape.users);
            assert!(users.is_sorted_by_key(|user| user.registered_ms));
            let completed = orders.iter().filter(|order| order.status == 3).count();
            assert!((14_500..18_000).contains(&completed), "{completed}");
            assert!(orders.is_sorted_by_key(|order| order.created_ms));
            assert!(
                orders.is_sorted_by(|a, b| a.id < b.id),
                "numbers are unique"
            );
            for order in &orders {
                check(order, &users);
            }
            let lines: usize = orders.iter().map(|order| order.lines.len()).sum();
            assert!((58_000..62_000).contains(&lines), "{lines}");
            let late = |order: &&Order| {
                order
                    .completed_ms
                    .is_some_and(|at| at > order.created_ms + DAY_MS / 2)
            };
            let late = orders.iter().filter(late).count();
            assert!(shape.days == 1 || late > 100, "{late}");
        }
    }

    fn check(order: &Order, users: &[User]) {
        assert!(!order.lines.is_empty() && order.lines.len() <= 6);
        assert!(order.created_ms <= order.updated_ms && order.updated_ms <= END_MS);
        let registered_ms = users[order.user as usize - 1].registered_ms;
        assert!(registered_ms <= order.created_ms, "{order:?}");
        let times = [order.paid_ms, order.shipped_ms, order.completed_ms];
        let taken = times.iter().filter(|at| at.is_some()).count();
        match order.status {
            4 => assert!(taken <= 1 && order.shipped_ms.is_none(), "{order:?}"),
            status => assert_eq!(taken, usize::from(status), "{order:?}"),
        }
        let times: Vec<i64> = std::iter::once(order.created_ms)
            .chain(times.into_iter().flatten())
            .chain([order.updated_ms])
            .collect();
        assert!(times.is_sorted(), "{order:?}");
    }

    #[test]
    fn business_grows_and_follows_the_clock() {
        let world = World::new(Shape::of(100_000, 70), 1, END_MS, 0).unwrap();
        let sold =
            |hours: &mut dyn Iterator<Item = &Hour>| -> u64 { hours.map(|h| h.orders).sum() };
        let (first, second) = world.hours.split_at(35 * 24);
        assert!(sold(&mut second.iter()) > sold(&mut first.iter()) * 5 / 4);
        let at = |hour: i64| {
            let wanted = move |h: &&Hour| (h.from_ms / HOUR_MS).rem_euclid(24) == hour;
            sold(&mut world.hours.iter().filter(wanted))
        };
        assert!(at(20) > 10 * at(3));
        let top = Popularity::of(world.products().len()).unwrap().product(1);
        let of_top = world
            .orders(0..70 * 24)
            .filter(|order| order.lines.iter().any(|line| line.product == top))
            .count();
        assert!(
            of_top > 10_000,
            "{of_top} orders of the most popular product"
        );
    }

    #[test]
    fn ranks_are_a_permutation_of_the_products() {
        for products in [1, 2, 3, 10, 223, PRODUCTS, 3_212, 10_050] {
            let popularity = Popularity::of(products).unwrap();
            let mut ids: Vec<usize> = (1..=products)
                .map(|rank| popularity.product(rank))
                .collect();
            ids.sort_unstable();
            assert!(ids.iter().copied().eq(1..=products), "{products}");
        }
        assert!(Popularity::of(0).is_none());
        assert_eq!(product_of_rank(1), 121);
        assert_eq!(product_of_rank(2), 270);
    }
}
