//! The shop's history, made up: the same seed and the same end give the same rows.

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp, LogNormal, Zipf};

/// Days of history.
pub const DAYS: i64 = 30;
/// Products in the catalogue.
pub const PRODUCTS: usize = 400;
/// Users at the end of the history.
pub const USERS: i64 = 20_000;
/// Users when the history begins.
const FIRST_USERS: i64 = 8_000;
/// Skew of the products' popularity.
pub const PRODUCT_SKEW: f64 = 1.05;

/// Name, share of the products in percent, and median price of each category.
const CATEGORIES: [(&str, usize, f64); 10] = [
    ("Electronics", 18, 180.0),
    ("Clothing", 22, 38.0),
    ("Home", 14, 55.0),
    ("Books", 12, 14.0),
    ("Groceries", 10, 7.0),
    ("Sports", 8, 45.0),
    ("Beauty", 6, 19.0),
    ("Toys", 5, 24.0),
    ("Garden", 3, 60.0),
    ("Music", 2, 90.0),
];

/// How busy each hour of the day is.
const DAY: [f64; 24] = [
    0.30, 0.18, 0.12, 0.10, 0.10, 0.15, 0.28, 0.50, 0.75, 0.95, 1.10, 1.20, 1.30, 1.15, 1.05, 1.05,
    1.10, 1.20, 1.35, 1.60, 1.75, 1.65, 1.20, 0.65,
];

/// How busy each day of the week is, from Thursday on: the epoch began on one.
const WEEK: [f64; 7] = [0.95, 1.05, 1.25, 1.20, 0.90, 0.88, 0.92];

/// A sale began this many hours ago. Without it, a demo's live load would dwarf every earlier hour.
const SALE_HOURS: i64 = 48;
const SALE_FACTOR: f64 = 18.0;

const HOUR_MS: i64 = 3_600_000;

/// A product of the catalogue; its id is its position plus one.
#[derive(Clone, Debug, PartialEq)]
pub struct Product {
    /// Category id, from 1.
    pub category: usize,
    /// Name.
    pub name: String,
    /// Price in cents.
    pub cents: i64,
    /// Pieces in stock.
    pub quantity: i64,
    /// Below this it is to be ordered again.
    pub reorder_point: i64,
}

/// Milliseconds from the epoch to 2020-01-01 UTC, where the time within an order's number begins.
const ORDER_EPOCH_MS: i64 = 1_577_836_800_000;

/// The number of an order created at `created_ms` (milliseconds since the epoch): 41 bits of time, 10 of
/// node, 12 of counter, as `shop.new_order_id()` makes them. `counter` tells orders of one millisecond apart.
pub fn order_id(created_ms: i64, node: u16, counter: u64) -> i64 {
    ((created_ms - ORDER_EPOCH_MS) << 22)
        | (i64::from(node & 0x3ff) << 12)
        | (counter & 0xfff) as i64
}

/// An order.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// User id, from 1.
    pub user: i64,
    /// 0 pending, 1 paid, 2 shipped, 3 completed, 4 cancelled.
    pub status: u8,
    /// Created, in milliseconds since the epoch.
    pub created_ms: i64,
    /// Last change, in milliseconds since the epoch.
    pub updated_ms: i64,
    /// Product id, quantity and price in cents of each line.
    pub lines: Vec<(usize, i64, i64)>,
}

/// Everything the shop's tables hold at the start.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Category names.
    pub categories: Vec<&'static str>,
    /// Catalogue and stock.
    pub products: Vec<Product>,
    /// Segment and registration time in milliseconds since the epoch, oldest user first.
    pub users: Vec<(&'static str, i64)>,
    /// Orders, oldest first.
    pub orders: Vec<Order>,
    /// User and time in milliseconds since the epoch of each log-in.
    pub logins: Vec<(i64, i64)>,
}

/// Makes up a history of `orders` orders that ends at `end_ms`, for a shop that lives by a clock
/// `offset_s` seconds ahead of UTC.
pub fn history(orders: u64, seed: u64, end_ms: i64, offset_s: i64) -> History {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let products = catalogue(&mut rng);
    let users = users(&mut rng, end_ms);
    let orders = make_orders(&mut rng, orders, end_ms, offset_s, &products, &users);
    let mut logins: Vec<(i64, i64)> = Vec::new();
    for order in &orders {
        if rng.random_bool(0.6) {
            let before = rng.random_range(5_000..600_000);
            logins.push((order.user, order.created_ms - before));
        }
    }
    History {
        categories: CATEGORIES.iter().map(|(name, ..)| *name).collect(),
        products,
        users,
        orders,
        logins,
    }
}

/// The product of popularity rank `rank` (from 1): popular products lie all over the catalogue.
pub fn product_of_rank(rank: usize) -> usize {
    // 149 and 400 have no common divisor, so this is a permutation.
    (rank.saturating_sub(1) * 149 + 120) % PRODUCTS + 1
}

/// Draws product ranks. `None` never happens: the constants are in range.
pub fn popularity() -> Option<Zipf<f64>> {
    Zipf::new(PRODUCTS as f64, PRODUCT_SKEW).ok()
}

fn catalogue(rng: &mut Xoshiro256PlusPlus) -> Vec<Product> {
    let mut owners = CATEGORIES
        .iter()
        .enumerate()
        .flat_map(|(position, (_, share, _))| std::iter::repeat_n(position, share * PRODUCTS / 100))
        .collect::<Vec<_>>();
    owners.resize(PRODUCTS, 1);
    let mut popularity = vec![1.0; PRODUCTS + 1];
    for rank in 1..=PRODUCTS {
        if let Some(weight) = popularity.get_mut(product_of_rank(rank)) {
            *weight = (rank as f64).powf(-PRODUCT_SKEW);
        }
    }
    owners
        .iter()
        .zip(popularity.iter().skip(1))
        .enumerate()
        .map(|(position, (&owner, weight))| {
            let (name, _, median) = CATEGORIES.get(owner).copied().unwrap_or(("Other", 0, 10.0));
            let spread = LogNormal::new(0.0, 0.5).map_or(1.0, |d| d.sample(rng));
            let reorder_point = ((weight * 400.0) as i64).clamp(10, 400);
            // Nearly all shelves are full; some need an order, a few are empty.
            let filled: f64 = match rng.random_range(0..100) {
                0..2 => 0.0,
                2..6 => rng.random_range(0.1..1.0),
                _ => rng.random_range(2.0..8.0),
            };
            Product {
                category: owner + 1,
                name: format!("{name} no. {}", position + 1),
                cents: ((median * spread * 100.0) as i64).max(99),
                quantity: (filled * reorder_point as f64) as i64,
                reorder_point,
            }
        })
        .collect()
}

fn users(rng: &mut Xoshiro256PlusPlus, end_ms: i64) -> Vec<(&'static str, i64)> {
    let start_ms = end_ms - DAYS * 24 * HOUR_MS;
    let mut registered: Vec<i64> = (0..USERS)
        .map(|user| {
            if user < FIRST_USERS {
                start_ms - rng.random_range(0..300 * 24 * HOUR_MS)
            } else {
                // The square root makes later registrations more likely.
                let share = rng.random::<f64>().sqrt();
                start_ms + (share * (DAYS * 24 * HOUR_MS) as f64) as i64
            }
        })
        .collect();
    registered.sort_unstable();
    registered
        .into_iter()
        .map(|at| {
            let segment = match rng.random_range(0..100) {
                0..6 => "VIP",
                6..14 => "Business",
                _ => "Normal",
            };
            (segment, at)
        })
        .collect()
}

/// How busy the shop is in the hour that began at `hour_ms`, `age_hours` before the end.
fn weight(hour_ms: i64, age_hours: i64, offset_s: i64) -> f64 {
    let local_hours = (hour_ms + offset_s * 1000).div_euclid(HOUR_MS);
    let of_day = DAY
        .get(local_hours.rem_euclid(24) as usize)
        .copied()
        .unwrap_or(1.0);
    let of_week = WEEK
        .get(local_hours.div_euclid(24).rem_euclid(7) as usize)
        .copied()
        .unwrap_or(1.0);
    let growth = 1.0 - 0.5 * age_hours as f64 / (DAYS * 24) as f64;
    let sale = if age_hours < SALE_HOURS {
        SALE_FACTOR
    } else {
        1.0
    };
    of_day * of_week * growth * sale
}

fn make_orders(
    rng: &mut Xoshiro256PlusPlus,
    count: u64,
    end_ms: i64,
    offset_s: i64,
    products: &[Product],
    users: &[(&'static str, i64)],
) -> Vec<Order> {
    let (Some(ranks), Ok(delay)) = (popularity(), Exp::new(1.0 / 600_000.0)) else {
        return Vec::new();
    };
    let last_hour = end_ms.div_euclid(HOUR_MS) * HOUR_MS;
    let hours: Vec<(i64, i64, f64)> = (0..DAYS * 24)
        .rev()
        .map(|age| {
            let from = last_hour - age * HOUR_MS;
            let until = (from + HOUR_MS).min(end_ms);
            let part = (until - from) as f64 / HOUR_MS as f64;
            (from, until, weight(from, age, offset_s) * part)
        })
        .collect();
    let total: f64 = hours.iter().map(|(.., weight)| weight).sum();
    let mut orders = Vec::with_capacity(count as usize);
    let mut due = 0.0;
    for (from, until, weight) in hours {
        due += weight / total * count as f64;
        let missing = (due.round() as usize).saturating_sub(orders.len());
        let mut times: Vec<i64> = (0..missing)
            .map(|_| rng.random_range(from..until.max(from + 1)))
            .collect();
        times.sort_unstable();
        let registered = users.partition_point(|(_, at)| *at <= from) as i64;
        for created_ms in times {
            let user = customer(rng, registered);
            let lines = basket(rng, ranks, products);
            let finish_ms = created_ms + 2_000 + delay.sample(rng) as i64;
            let (status, updated_ms) = outcome(rng, created_ms, finish_ms, end_ms);
            orders.push(Order {
                user,
                status,
                created_ms,
                updated_ms,
                lines,
            });
        }
    }
    orders
}

/// Who orders: a regular, a newcomer, or anybody.
fn customer(rng: &mut Xoshiro256PlusPlus, registered: i64) -> i64 {
    let registered = registered.max(10);
    match rng.random_range(0..100) {
        0..45 => {
            // Regulars are one user in seven, some of them far more regular than others.
            let regulars = (FIRST_USERS / 7).min(registered / 7).max(1);
            let rank = (rng.random::<f64>().powi(2) * regulars as f64) as i64;
            (rank * 7 + 1).min(registered)
        }
        45..65 => rng.random_range((registered * 9 / 10).max(1)..=registered),
        _ => rng.random_range(1..=registered),
    }
}

/// One to six different products, three on average.
fn basket(
    rng: &mut Xoshiro256PlusPlus,
    ranks: Zipf<f64>,
    products: &[Product],
) -> Vec<(usize, i64, i64)> {
    let size = *[1, 2, 2, 3, 3, 3, 3, 4, 4, 5, 6]
        .get(rng.random_range(0..11))
        .unwrap_or(&3);
    let mut lines: Vec<(usize, i64, i64)> = Vec::with_capacity(size);
    for _ in 0..size * 3 {
        let product = product_of_rank(ranks.sample(rng) as usize);
        if lines.len() < size
            && lines.iter().all(|(taken, ..)| *taken != product)
            && let Some(known) = products.get(product - 1)
        {
            let quantity = if rng.random_bool(0.8) {
                1
            } else {
                rng.random_range(2..5)
            };
            lines.push((product, quantity, known.cents));
        }
    }
    lines.sort_unstable();
    lines
}

/// Status and last change of an order that would be completed at `finish_ms`.
fn outcome(
    rng: &mut Xoshiro256PlusPlus,
    created_ms: i64,
    finish_ms: i64,
    end_ms: i64,
) -> (u8, i64) {
    let wanted: u8 = match rng.random_range(0..100) {
        0..82 => 3,
        82..90 => 4,
        90..94 => 2,
        94..96 => 1,
        _ => 0,
    };
    match wanted {
        0 => (0, created_ms),
        _ if finish_ms <= end_ms => (wanted, finish_ms),
        // Not finished yet: somewhere on its way.
        _ => (rng.random_range(0..3), end_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END_MS: i64 = 1_780_000_000_000;

    #[test]
    fn the_same_seed_gives_the_same_history() {
        let one = history(2_000, 7, END_MS, 0);
        assert_eq!(one, history(2_000, 7, END_MS, 0));
        assert_ne!(one.orders, history(2_000, 8, END_MS, 0).orders);
    }

    #[test]
    fn a_history_is_one_a_shop_could_have() {
        let made = history(20_000, 1, END_MS, 0);
        assert_eq!(made.orders.len(), 20_000);
        assert_eq!(made.products.len(), PRODUCTS);
        let completed = made.orders.iter().filter(|o| o.status == 3).count();
        assert!((15_000..17_500).contains(&completed), "{completed}");
        assert!(made.orders.is_sorted_by_key(|o| o.created_ms));
        for order in &made.orders {
            assert!(!order.lines.is_empty() && order.lines.len() <= 6);
            assert!(order.created_ms <= order.updated_ms && order.updated_ms <= END_MS);
            let (_, registered_ms) = made.users[order.user as usize - 1];
            assert!(registered_ms <= order.created_ms);
        }
        let items: usize = made.orders.iter().map(|o| o.lines.len()).sum();
        assert!((55_000..68_000).contains(&items), "{items}");
        let last_hour = END_MS / HOUR_MS * HOUR_MS;
        assert!(made.orders.iter().any(|o| o.created_ms >= last_hour));
    }

    #[test]
    fn ranks_are_a_permutation_of_the_products() {
        let mut all: Vec<usize> = (1..=PRODUCTS).map(product_of_rank).collect();
        all.sort_unstable();
        assert!(all.iter().copied().eq(1..=PRODUCTS));
    }
}
