//! Products and users.

use super::{DAY_MS, PRODUCT_SKEW, Popularity, Shape};
use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, LogNormal};

/// Name, share of the products in percent, and median price of each category.
pub(super) const CATEGORIES: [(&str, usize, f64); 10] = [
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

/// A product of the catalogue.
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
    /// Stock level below which the product is ordered again.
    pub reorder_point: i64,
}

/// A user of the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Segment.
    pub segment: &'static str,
    /// Registration, in milliseconds since the epoch.
    pub registered_ms: i64,
}

pub(super) fn products(rng: &mut Xoshiro256PlusPlus, popularity: Popularity) -> Vec<Product> {
    let size = popularity.products;
    let mut owners = CATEGORIES
        .iter()
        .enumerate()
        .flat_map(|(position, (_, share, _))| std::iter::repeat_n(position, share * size / 100))
        .collect::<Vec<_>>();
    owners.resize(size, 1);
    let mut weights = vec![1.0; size + 1];
    for rank in 1..=size {
        if let Some(weight) = weights.get_mut(popularity.product(rank)) {
            *weight = (rank as f64).powf(-PRODUCT_SKEW);
        }
    }
    owners
        .iter()
        .zip(weights.iter().skip(1))
        .enumerate()
        .map(|(position, (&owner, weight))| {
            let (name, _, median) = CATEGORIES.get(owner).copied().unwrap_or(("Other", 0, 10.0));
            let spread = LogNormal::new(0.0, 0.5).map_or(1.0, |d| d.sample(rng));
            let reorder_point = ((weight * 400.0) as i64).clamp(10, 400);
            // Most products are well stocked; some are below the reorder point, a few are out of stock.
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

/// Days before the start of the history over which its first users registered.
const BEFORE_DAYS: i64 = 300;

/// Number of users who exist when the history begins.
fn first_users(shape: Shape) -> i64 {
    shape.users * 2 / 5
}

/// Generates the users. The registration period is divided into one slot per user, and each registers at a random time
/// within the slot. They come in order of time, one by one, and [`registered`] can count them without generating them.
pub(super) fn users(
    mut rng: Xoshiro256PlusPlus,
    shape: Shape,
    start_ms: i64,
) -> impl Iterator<Item = User> {
    let first = first_users(shape);
    (0..shape.users).map(move |user| {
        let within: f64 = rng.random();
        let registered_ms = if user < first {
            let part = (user as f64 + within) / first as f64;
            start_ms - ((1.0 - part) * (BEFORE_DAYS * DAY_MS) as f64).ceil() as i64
        } else {
            let part = ((user - first) as f64 + within) / (shape.users - first) as f64;
            // The square root makes later registrations more likely.
            start_ms + (part.sqrt() * (shape.days * DAY_MS) as f64) as i64
        };
        let segment = match rng.random_range(0..100) {
            0..6 => "VIP",
            6..14 => "Business",
            _ => "Normal",
        };
        User {
            segment,
            registered_ms,
        }
    })
}

/// Returns a number of users that are certainly registered by `at_ms`.
pub(super) fn registered(shape: Shape, start_ms: i64, at_ms: i64) -> i64 {
    let first = first_users(shape);
    let part = ((at_ms - start_ms) as f64 / (shape.days * DAY_MS) as f64).clamp(0.0, 1.0);
    first + ((shape.users - first) as f64 * part * part) as i64
}

/// Picks the user who places an order: a regular, a recent user, or anybody. Returns the id.
pub(super) fn customer(rng: &mut Xoshiro256PlusPlus, shape: Shape, registered: i64) -> i64 {
    let registered = registered.max(1);
    match rng.random_range(0..100) {
        0..45 => {
            // Regulars are one user in seven; some order far more often than others.
            let regulars = (first_users(shape) / 7).min(registered / 7).max(1);
            let rank = (rng.random::<f64>().powi(2) * regulars as f64) as i64;
            (rank * 7 + 1).min(registered)
        }
        45..65 => rng.random_range((registered * 9 / 10).max(1)..=registered),
        _ => rng.random_range(1..=registered),
    }
}
