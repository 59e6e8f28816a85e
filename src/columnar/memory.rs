//! The memory that the engine's operators may reserve.

use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lends half of the memory to whoever asks first, and keeps the other half for equal shares of all operators that can
/// write temporary files. So a few large operators of many need not write any, and each has memory to do it. An operator
/// that cannot write any, such as a join, gets what is left; with the shares of the others it may then exceed the limit.
///
/// The engine's own `FairSpillPool` gives none of them more than an equal share of all, so that a grouping by 2 threads
/// wrote temporary files with 200 MB of 512 MB in use.
#[derive(Debug)]
pub(super) struct Lending {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Operators that can write temporary files.
    spillers: usize,
    /// What they have reserved, in bytes.
    spillable: usize,
    /// What the others have reserved.
    unspillable: usize,
}

impl Lending {
    /// A pool of so many bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn reserved(&mut self, consumer: &MemoryConsumer) -> &mut usize {
        if consumer.can_spill() {
            &mut self.spillable
        } else {
            &mut self.unspillable
        }
    }

    /// Whether an operator that has reserved `size` bytes may have `more`.
    fn allows(&self, limit: usize, can_spill: bool, size: usize, more: usize) -> bool {
        let of_spillers = limit.saturating_sub(self.unspillable);
        if can_spill {
            let half = of_spillers / 2;
            let share = half / self.spillers.max(1);
            self.spillable.saturating_add(more) <= half || size.saturating_add(more) <= share
        } else {
            self.spillable.saturating_add(more) <= of_spillers
        }
    }
}

impl MemoryPool for Lending {
    fn name(&self) -> &'static str {
        "lending"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.state().spillers += usize::from(consumer.can_spill());
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        let mut state = self.state();
        state.spillers = state
            .spillers
            .saturating_sub(usize::from(consumer.can_spill()));
    }

    fn grow(&self, reservation: &MemoryReservation, more: usize) {
        *self.state().reserved(reservation.consumer()) += more;
    }

    fn shrink(&self, reservation: &MemoryReservation, less: usize) {
        let mut state = self.state();
        let reserved = state.reserved(reservation.consumer());
        *reserved = reserved.saturating_sub(less);
    }

    fn try_grow(&self, reservation: &MemoryReservation, more: usize) -> Result<()> {
        let (consumer, size) = (reservation.consumer(), reservation.size());
        let mut state = self.state();
        if !state.allows(self.limit, consumer.can_spill(), size, more) {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} needs {more} bytes more than {size}, and {} of {} are in use",
                consumer.name(),
                state.spillable.saturating_add(state.unspillable),
                self.limit
            )));
        }
        *state.reserved(consumer) += more;
        Ok(())
    }

    fn reserved(&self) -> usize {
        let state = self.state();
        state.spillable.saturating_add(state.unspillable)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

impl fmt::Display for Lending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lending({} bytes)", self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn half_is_lent_and_half_is_shared() {
        let pool: Arc<dyn MemoryPool> = Arc::new(Lending::new(1000));
        let spiller = |name: &str| {
            MemoryConsumer::new(name)
                .with_can_spill(true)
                .register(&pool)
        };
        let (large, small) = (spiller("large"), spiller("small"));
        let _idle = [spiller("a"), spiller("b"), spiller("c")];
        // Far more than a fifth.
        large.try_grow(500).unwrap();
        assert!(large.try_grow(1).is_err());
        // Its share of the other half is still there.
        small.try_grow(100).unwrap();
        assert!(small.try_grow(1).is_err());
        // Whoever cannot spill has what is left, and no more.
        let join = MemoryConsumer::new("join").register(&pool);
        assert!(join.try_grow(401).is_err());
        join.try_grow(400).unwrap();
        assert_eq!(pool.reserved(), 1000);
        // What is given back is lent again.
        join.free();
        large.free();
        small.try_grow(400).unwrap();
        drop((large, small));
        assert_eq!(pool.reserved(), 0);
    }
}
