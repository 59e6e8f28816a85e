//! Orders whose way into the figures is timed, from the commit of their completion until a query sees them.

use super::super::figures::{Figures, figures};
use super::super::{BenchError, Lab};
use super::load::PROBES_PER_S;
use crate::pg::{Client, PgError, Settings};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Where the figures are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Streamed,
    Merged,
}

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(2);
/// A probe that is not seen within this time is counted as this old.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug)]
struct Probe {
    committed: Instant,
    seen: Option<Instant>,
}

impl Probe {
    fn age(&self) -> Duration {
        let seen = self.seen.unwrap_or(self.committed + LONGEST);
        seen.duration_since(self.committed)
    }
}

/// Completes probes and looks for them until it is stopped.
pub(super) struct Probes {
    begun: Instant,
    stop: Arc<AtomicBool>,
    all: Arc<Mutex<Vec<Probe>>>,
    task: JoinHandle<Result<(), PgError>>,
}

/// Ages of the probes in ascending order, in milliseconds.
pub(super) struct Ages(Vec<f64>);

impl Ages {
    pub(super) fn figures(&self) -> Figures {
        let at = |share: f64| {
            let place = (share * self.0.len() as f64).ceil() as usize;
            self.0
                .get(place.saturating_sub(1))
                .copied()
                .unwrap_or(f64::NAN)
        };
        figures([
            ("probes", self.0.len() as f64),
            ("freshness_ms_p50", at(0.5)),
            ("freshness_ms_p99", at(0.99)),
            ("freshness_ms_max", at(1.0)),
        ])
    }
}

impl Probes {
    pub(super) async fn start(lab: &Lab, seen: Seen) -> Result<Self, BenchError> {
        let bounds = lab
            .query(
                "SELECT min(n) AS first, max(n) AS last, min(order_id) AS low, max(order_id) AS high,
                        date_trunc('minute', now())::text AS minute FROM bench.shipped WHERE probe",
            )
            .await?;
        let int = |name: &str| bounds.first(name).int().unwrap_or(0);
        let look = match seen {
            Seen::Streamed => format!(
                "SELECT coalesce(sum(orders), 0)::bigint AS n FROM mart.realtime_stream
                 WHERE window_start >= '{}' AND category = 'bench probe'",
                bounds.first("minute").text().unwrap_or_default()
            ),
            Seen::Merged => format!(
                "SELECT count(*) AS n FROM mart.fact_sales WHERE order_id BETWEEN {} AND {} AND category = 'bench probe'",
                int("low"),
                int("high")
            ),
        };
        let target = lab.target().with_application_name("htap-top bench probes");
        let client = Client::open(&target, &Settings::of_work(Duration::ZERO))
            .await
            .map_err(BenchError::doing("connect"))?;
        let work = Work {
            client,
            look,
            numbers: (int("first"), int("last")),
            stop: Arc::default(),
            all: Arc::default(),
        };
        let (stop, all) = (Arc::clone(&work.stop), Arc::clone(&work.all));
        Ok(Self {
            begun: Instant::now(),
            stop,
            all,
            task: tokio::spawn(work.run()),
        })
    }

    fn all(&self) -> Vec<Probe> {
        lock(&self.all).clone()
    }

    /// Waits until what was completed a moment ago is in the figures.
    pub(super) async fn until_current(&self) -> Result<(), BenchError> {
        self.first_after(Instant::now()).await.map(|_| ())
    }

    /// Waits until a probe that was committed after `at` is seen, and returns how long after `at` that was.
    pub(super) async fn first_after(&self, at: Instant) -> Result<Duration, BenchError> {
        while at.elapsed() < LONGEST && !self.task.is_finished() {
            let all = self.all();
            let mut later = all.iter().filter(|probe| probe.committed > at);
            if let Some(seen) = later.find_map(|probe| probe.seen) {
                return Ok(seen.duration_since(at));
            }
            sleep(LOOK).await;
        }
        Err(BenchError::Program {
            program: "the stream".to_owned(),
            detail: format!("no order came through within {} s", LONGEST.as_secs()),
        })
    }

    /// Completes no more, waits until all are seen, and returns the ages of those after `warm_up`.
    pub(super) async fn stop(self, warm_up: Duration) -> Ages {
        self.stop.store(true, Ordering::Relaxed);
        // If it failed, what it has not seen is old.
        let _ = self.task.await;
        let all = lock(&self.all).clone();
        let counted = all
            .iter()
            .filter(|probe| probe.committed >= self.begun + warm_up);
        let mut ages: Vec<f64> = counted
            .map(|probe| probe.age().as_secs_f64() * 1_000.0)
            .collect();
        ages.sort_by(f64::total_cmp);
        Ages(ages)
    }
}

fn lock(all: &Mutex<Vec<Probe>>) -> std::sync::MutexGuard<'_, Vec<Probe>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Work {
    client: Client,
    look: String,
    numbers: (i64, i64),
    stop: Arc<AtomicBool>,
    all: Arc<Mutex<Vec<Probe>>>,
}

impl Work {
    async fn run(self) -> Result<(), PgError> {
        let (mut next, last) = self.numbers;
        let mut due = Instant::now();
        let mut ended = None;
        loop {
            let stopped = self.stop.load(Ordering::Relaxed);
            if !stopped && next <= last && Instant::now() >= due {
                let sql = format!("SELECT bench.advance({next}, {next}, 3::smallint)");
                self.client.batch(&sql).await?;
                lock(&self.all).push(Probe {
                    committed: Instant::now(),
                    seen: None,
                });
                next += 1;
                due += Duration::from_secs_f64(1.0 / PROBES_PER_S);
            }
            let table = self.client.query(&self.look, &[]).await?;
            let count = usize::try_from(table.first("n").int().unwrap_or(0)).unwrap_or(0);
            let now = Instant::now();
            let missing = note(&mut lock(&self.all), count, now);
            if stopped {
                let ended = *ended.get_or_insert(now);
                if !missing || now.duration_since(ended) > LONGEST {
                    return Ok(());
                }
            }
            sleep(LOOK).await;
        }
    }
}

/// Notes that the first `count` probes are seen: who comes first is seen first. Returns true if some are not.
fn note(all: &mut [Probe], count: usize, now: Instant) -> bool {
    for probe in all.iter_mut().take(count) {
        probe.seen.get_or_insert(now);
    }
    count < all.len()
}
