//! Completes orders at a rate.

use super::super::{BenchError, Lab};
use crate::pg::{Client, Settings};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Time for which it runs before the shop's load begins, and after it has ended.
pub(in crate::bench) const LEAD: Duration = Duration::from_secs(5);
/// Probes per second.
pub(super) const PROBES_PER_S: f64 = 20.0;
/// Orders are completed in transactions, as many as are due every so often.
const TICK: Duration = Duration::from_millis(20);
/// Most orders of a transaction.
const MOST: i64 = 1_000;

/// The rate at the beginning of a variant's name.
pub(super) fn number_of(variant: &str) -> f64 {
    let digits: String = variant
        .chars()
        .take_while(|c| *c != '/')
        .filter(char::is_ascii_digit)
        .collect();
    digits.parse().unwrap_or(0.0)
}

/// Completes orders until it is stopped.
pub(in crate::bench) struct Completer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<f64>,
}

impl Completer {
    /// Makes orders that wait to be completed, without events.
    pub(in crate::bench) async fn prepare(
        lab: &Lab,
        orders: f64,
        seconds: f64,
    ) -> Result<(), BenchError> {
        let (orders, probes) = (orders.ceil(), (PROBES_PER_S * seconds).ceil());
        let place = format!("SELECT bench.place({orders}, {probes}, 2::smallint)");
        lab.batch(&place).await?;
        lab.batch("VACUUM ANALYZE shop.orders").await?;
        lab.batch("CHECKPOINT").await
    }

    /// Starts at this rate.
    pub(in crate::bench) async fn start(lab: &Lab, rate: f64) -> Result<Self, BenchError> {
        let last = "SELECT coalesce(max(n), 0)::float8 FROM bench.shipped WHERE NOT probe";
        let last = lab.number(last).await? as i64;
        let target = lab.target().with_application_name("htap-top bench orders");
        let client = Client::open(&target, &Settings::of_work(Duration::ZERO))
            .await
            .map_err(BenchError::doing("connect"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            let mut done = 0;
            while !told.load(Ordering::Relaxed) && done < last {
                let due = (begun.elapsed().as_secs_f64() * rate) as i64;
                let to = due.min(done + MOST).min(last);
                if to > done {
                    let first = done + 1;
                    let sql = format!("SELECT bench.advance({first}, {to}, 3::smallint)");
                    if client.batch(&sql).await.is_err() {
                        break;
                    }
                    done = to;
                }
                if done >= due {
                    sleep_until(Instant::now() + TICK).await;
                }
            }
            done as f64 / begun.elapsed().as_secs_f64()
        });
        Ok(Self { stop, task })
    }

    /// Stops, and returns the rate that was reached.
    pub(in crate::bench) async fn stop(self) -> f64 {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_variant_begins_with_its_rate() {
        assert!((super::number_of("5,000/s, refresh --fresh 1s") - 5_000.0).abs() < 0.1);
    }
}
