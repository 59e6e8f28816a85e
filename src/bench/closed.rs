//! Capacity: clients that begin the next unit of work as soon as the last one is done.

use super::figures::{Figures, figures};
use super::{BenchError, lab::Lab};
use crate::system::orders::{Line, Order};
use hdrhistogram::Histogram;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Results of the clients.
#[derive(Debug)]
pub(super) struct Closed {
    /// Units of work done by all clients.
    pub done: u64,
    /// Units that failed.
    pub failed: u64,
    /// Duration in seconds.
    pub seconds: f64,
    /// Times in microseconds.
    times: Option<Histogram<u64>>,
}

impl Closed {
    /// Returns the rate, under the name `rate`, and the latencies.
    pub(super) fn figures(&self, rate: &str) -> Figures {
        let ms = |share| {
            let times = self.times.as_ref();
            times.map_or(0.0, |times| times.value_at_quantile(share) as f64 / 1000.0)
        };
        figures([
            (rate, self.done as f64 / self.seconds),
            ("failed", self.failed as f64),
            ("latency_ms_p50", ms(0.5)),
            ("latency_ms_p99", ms(0.99)),
            ("latency_ms_max", ms(1.0)),
        ])
    }
}

/// Returns a histogram of times in microseconds with three significant digits. `None` never occurs: the bounds are
/// valid.
fn times() -> Option<Histogram<u64>> {
    Histogram::new_with_bounds(1, 600_000_000, 3).ok()
}

/// Runs `clients` clients for `window`, after a tenth of it that is not measured. `work` does one unit and returns true
/// if it succeeded.
pub(super) async fn closed<W, F>(clients: usize, window: Duration, work: W) -> Closed
where
    W: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = bool> + Send,
{
    let from = Instant::now() + window / 10;
    let until = from + window;
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        let work = work.clone();
        tasks.spawn(async move {
            let (mut done, mut failed, mut seen) = (0, 0, times());
            loop {
                let begun = Instant::now();
                if begun >= until {
                    return (done, failed, seen);
                }
                let well = work(client).await;
                if begun < from {
                    continue;
                }
                if well {
                    done += 1;
                    if let Some(seen) = &mut seen {
                        seen.saturating_record(begun.elapsed().as_micros() as u64);
                    }
                } else {
                    failed += 1;
                }
            }
        });
    }
    let mut all = Closed {
        done: 0,
        failed: 0,
        seconds: window.as_secs_f64(),
        times: times(),
    };
    for (done, failed, seen) in tasks.join_all().await {
        all.done += done;
        all.failed += failed;
        if let (Some(all), Some(seen)) = (&mut all.times, seen) {
            let _ = all.add(&seen);
        }
    }
    all
}

/// Generates orders of three lines, the size measured in the case study.
#[derive(Clone, Debug)]
pub(super) struct Shopper {
    users: i64,
    products: i64,
    skew: f64,
}

impl Shopper {
    /// Returns a shopper for this shop; `skew` is Zipf's exponent of the products' popularity.
    pub(super) async fn of(lab: &Lab, skew: f64) -> Result<Self, BenchError> {
        Ok(Self {
            users: lab.number("SELECT max(user_id) FROM shop.users").await? as i64,
            products: lab
                .number("SELECT max(product_id) FROM shop.products")
                .await? as i64,
            skew,
        })
    }

    /// Generates an order with the thread's random numbers.
    pub(super) fn order(&self) -> Order {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(rand::random());
        let zipf = Zipf::new(self.products as f64, self.skew).ok();
        let mut product = || match (&zipf, self.skew > 0.0) {
            (Some(zipf), true) => zipf.sample(&mut rng) as i64,
            _ => rng.random_range(1..=self.products),
        };
        let lines = [product(), product(), product()]
            .map(|product| Line {
                product,
                quantity: 1,
            })
            .into();
        Order {
            user: rand::rng().random_range(1..=self.users),
            lines,
            request_key: None,
        }
    }

    /// Returns the same orders as a pgbench script.
    pub(super) fn pgbench_script(&self) -> String {
        let product = if self.skew > 0.0 {
            // pgbench's own Zipf needs an exponent above 1; a power of a uniform number has the same tail.
            let power = 1.0 / (1.0 - self.skew).max(0.05);
            format!(
                "1 + int({} * pow(random(0, 999999) / 1000000.0, {power}))",
                self.products
            )
        } else {
            format!("random(1, {})", self.products)
        };
        format!(
            "\\set u random(1, {})\n\\set a {product}\n\\set b {product}\n\\set c {product}\n\
             SELECT shop.create_order(:u, ARRAY[:a, :b, :c]::bigint[], '{{1,1,1}}'::bigint[]);\n",
            self.users
        )
    }
}
