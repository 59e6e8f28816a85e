//! What has fallen due and waits for a session.

use super::mix::Job;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// A piece of work and when it should have begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) job: Job,
}

/// First come, first served. One lock and one wake-up serve all that falls due together.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: Mutex<VecDeque<Due>>,
    ready: Semaphore,
    /// At most as many wait.
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

    /// Puts work in, and returns how much of it found no room. Empties `work`.
    pub(super) fn put(&self, work: &mut Vec<Due>) -> usize {
        let mut waiting = self.lock();
        let room = self.limit.saturating_sub(waiting.len()).min(work.len());
        let dropped = work.len() - room;
        waiting.extend(work.drain(..).take(room));
        drop(waiting);
        self.ready.add_permits(room);
        dropped
    }

    /// The next piece of work; `None` once it is closed.
    pub(super) async fn take(&self) -> Option<Due> {
        self.ready.acquire().await.ok()?.forget();
        self.lock().pop_front()
    }

    /// How much waits.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Ends it, and returns what nobody took.
    pub(super) fn close(&self) -> VecDeque<Due> {
        self.ready.close();
        std::mem::take(&mut *self.lock())
    }
}
