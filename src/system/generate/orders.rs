//! Orders, hour by hour.

use super::catalogue::{customer, registered};
use super::{HOUR_MS, Hour, Popularity, Product, World, order_id, stream};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Exp};

/// A line of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// Product id, from 1.
    pub product: usize,
    /// Pieces.
    pub quantity: i64,
    /// Price of a piece in cents.
    pub cents: i64,
}

/// An order and its later states. Times are in milliseconds since the epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    /// Number.
    pub id: i64,
    /// User id, from 1.
    pub user: i64,
    /// 0 pending, 1 paid, 2 shipped, 3 completed, 4 cancelled.
    pub status: u8,
    /// Time of the customer's login before the order, if it was recorded.
    pub login_ms: Option<i64>,
    /// Time of creation.
    pub created_ms: i64,
    /// Time of payment.
    pub paid_ms: Option<i64>,
    /// Payment method.
    pub method: &'static str,
    /// Time of shipping.
    pub shipped_ms: Option<i64>,
    /// Carrier of the shipment.
    pub carrier: &'static str,
    /// Time of completion.
    pub completed_ms: Option<i64>,
    /// Time of the last change.
    pub updated_ms: i64,
    /// Order lines, sorted by product.
    pub lines: Vec<Line>,
}

impl Order {
    /// Total in cents.
    pub fn cents(&self) -> i64 {
        self.lines.iter().map(|l| l.quantity * l.cents).sum()
    }
}

impl World {
    pub(super) fn orders_of(&self, position: usize) -> Vec<Order> {
        let Some(&hour) = self.hours.get(position) else {
            return Vec::new();
        };
        // Seeded by the hour's time, so that the length of the history does not matter.
        let number = 2 + hour.from_ms.div_euclid(HOUR_MS) as u64;
        let mut rng = stream(self.seed, number);
        times(&mut rng, hour)
            .into_iter()
            .zip(0_u64..)
            .map(|(created_ms, counter)| self.order(&mut rng, hour, created_ms, counter))
            .collect()
    }

    fn order(
        &self,
        rng: &mut Xoshiro256PlusPlus,
        hour: Hour,
        created_ms: i64,
        counter: u64,
    ) -> Order {
        let known = registered(self.shape, self.start_ms(), hour.from_ms);
        let user = customer(rng, self.shape, known);
        let lines = basket(rng, self.popularity, &self.products);
        let fate = Fate::drawn(rng, created_ms, self.end_ms);
        Order {
            id: order_id(created_ms, 0, counter),
            user,
            status: fate.status,
            login_ms: rng
                .random_bool(0.6)
                .then(|| created_ms - rng.random_range(5_000..600_000)),
            created_ms,
            paid_ms: fate.paid_ms,
            method: match rng.random_range(0..10) {
                0..7 => "card",
                7..9 => "wallet",
                _ => "transfer",
            },
            shipped_ms: fate.shipped_ms,
            carrier: match rng.random_range(0..10) {
                0..6 => "post",
                6..9 => "parcel",
                _ => "courier",
            },
            completed_ms: fate.completed_ms,
            updated_ms: fate.updated_ms,
            lines,
        }
    }
}

fn times(rng: &mut Xoshiro256PlusPlus, hour: Hour) -> Vec<i64> {
    let mut times: Vec<i64> = (0..hour.orders)
        .map(|_| rng.random_range(hour.from_ms..hour.until_ms.max(hour.from_ms + 1)))
        .collect();
    times.sort_unstable();
    times
}

/// One to five different products, three on average.
fn basket(rng: &mut Xoshiro256PlusPlus, popularity: Popularity, products: &[Product]) -> Vec<Line> {
    let size = *[1, 2, 2, 3, 3, 3, 3, 3, 4, 4, 5]
        .get(rng.random_range(0..11))
        .unwrap_or(&3);
    let mut lines: Vec<Line> = Vec::with_capacity(size);
    for _ in 0..size * 3 {
        if lines.len() == size {
            break;
        }
        let product = popularity.sample(rng);
        if lines.iter().all(|line| line.product != product)
            && let Some(known) = products.get(product - 1)
        {
            let quantity = if rng.random_bool(0.8) {
                1
            } else {
                rng.random_range(2..5)
            };
            lines.push(Line {
                product,
                quantity,
                cents: known.cents,
            });
        }
    }
    lines.sort_unstable();
    lines
}

/// The later states of an order.
struct Fate {
    status: u8,
    paid_ms: Option<i64>,
    shipped_ms: Option<i64>,
    completed_ms: Option<i64>,
    updated_ms: i64,
}

impl Fate {
    /// Draws the states of an order. Most orders are completed within the hour, some within the day, a few after days;
    /// some are cancelled, before or after payment. States later than the end of the history are left out.
    fn drawn(rng: &mut Xoshiro256PlusPlus, created_ms: i64, end_ms: i64) -> Self {
        const DAYS: i64 = 24 * HOUR_MS;
        let (mean_ms, steps, cancelled) = match rng.random_range(0..100) {
            0..74 => (HOUR_MS / 6, 3, false),
            74..81 => (6 * HOUR_MS, 3, false),
            81..89 => (3 * DAYS, 3, false),
            89..93 => (HOUR_MS / 6, 1, true),
            93..97 => (HOUR_MS / 6, 0, true),
            // Abandoned, until the shop cancels it.
            _ => (2 * DAYS, 0, true),
        };
        let takes = Exp::new(1.0 / mean_ms as f64).map_or(0.0, |d| d.sample(rng));
        let takes_ms = 2_000 + takes as i64;
        let after = |percent: i64| {
            let at = created_ms + takes_ms * percent / 100;
            (at <= end_ms).then_some(at)
        };
        let [paid_ms, shipped_ms, completed_ms] = [(1, 10), (2, 60), (3, 100)]
            .map(|(step, percent)| after(percent).filter(|_| steps >= step));
        let cancelled_ms = after(50).filter(|_| cancelled);
        let steps_taken = [paid_ms, shipped_ms, completed_ms].into_iter().flatten();
        Self {
            status: match cancelled_ms {
                Some(_) => 4,
                None => steps_taken.clone().count() as u8,
            },
            paid_ms,
            shipped_ms,
            completed_ms,
            updated_ms: steps_taken.chain(cancelled_ms).last().unwrap_or(created_ms),
        }
    }
}
