//! Puts work into queues when it is due, independent of the server's speed.

use super::arrivals::Arrivals;
use super::mix::Job;
use super::queue::{Due, Queue};
use super::shop::lock;
use super::tally::Tally;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Destinations of work.
pub(super) struct Lanes {
    pub(super) queues: Vec<Arc<Queue>>,
    /// Returns the index of the queue for a job.
    pub(super) lane: fn(Job) -> usize,
    pub(super) tally: Arc<Mutex<Tally>>,
}

/// Work may begin this long before it is due. One timer serves everything due within a tick of the runtime's clock,
/// which is a millisecond and fires late rather than early: otherwise everything would seem to take half a millisecond
/// longer than it does.
const EARLY: Duration = Duration::from_millis(1);

/// Dispatches arrivals, counted from `start`, until `end`.
pub(super) async fn dispatch(
    arrivals: Arrivals,
    start: Instant,
    end: Instant,
    lanes: Lanes,
    mut draw: impl FnMut(Instant) -> Job,
) {
    let mut batches: Vec<Vec<Due>> = lanes.queues.iter().map(|_| Vec::new()).collect();
    let mut now = Instant::now();
    for after in arrivals {
        let at = start + after;
        if at >= end {
            break;
        }
        if at > now + EARLY {
            release(&lanes, &mut batches);
            sleep_until(at - EARLY).await;
            now = Instant::now();
        }
        let job = draw(now);
        if let Some(batch) = batches.get_mut((lanes.lane)(job)) {
            batch.push(Due { at, job });
        }
    }
    release(&lanes, &mut batches);
}

fn release(lanes: &Lanes, batches: &mut [Vec<Due>]) {
    for (queue, batch) in lanes.queues.iter().zip(batches) {
        if batch.is_empty() {
            continue;
        }
        let mut tally = lock(&lanes.tally);
        for due in batch.iter() {
            tally.offer(due.at);
        }
        for _ in 0..queue.put(batch) {
            tally.error("dropped");
        }
    }
}
