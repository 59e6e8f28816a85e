//! Queue of work that is due and waits for a session.

use super::mix::Job;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A unit of work and the time at which it is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) job: Job,
}

/// A first-in, first-out queue. One lock and one wake-up serve all work that becomes due together.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Due>>,
    ready: Semaphore,
    /// Maximum number of waiting units.
    limit: usize,
}

impl Queue {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            ready: Semaphore::new(0),
            limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Due>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds work and returns the number of units that found no room. Empties `work`.
    pub(super) fn put(&self, work: &mut Vec<Due>) -> usize {
        let mut waiting = self.lock();
        let room = self.limit.saturating_sub(waiting.len()).min(work.len());
        let dropped = work.len() - room;
        waiting.extend(work.drain(..).take(room));
        drop(waiting);
        self.ready.add_permits(room);
        dropped
    }

    /// Returns the next unit of work; `None` after the queue is closed.
    pub(super) async fn take(&self) -> Option<Due> {
        self.ready.acquire().await.ok()?.forget();
        self.lock().pop_front()
    }

    /// Returns the number of waiting units.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Closes the queue and returns the units left in it.
    pub(super) fn close(&self) -> VecDeque<Due> {
        self.ready.close();
        std::mem::take(&mut *self.lock())
    }
}
