//! What the timeline shows: the load of each moment, and what went on.

use super::lanes::Lanes;
use super::load::Loads;
use std::sync::Arc;

/// The last hour up to a moment.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Active sessions and latencies over time.
    pub loads: Loads,
    /// What went on, from when to when.
    pub lanes: Lanes,
    /// Time of the last sample, as [`Moment::mono_ms`](super::event::Moment).
    pub now_ms: i64,
    /// The same up to a later moment, if this is of the past.
    pub ahead: Option<Arc<Self>>,
}

impl Course {
    /// Returns a copy for a moment of the past that this one is ahead of. Samples are shared.
    pub fn shared(&self) -> Arc<Self> {
        Arc::new(Self {
            ahead: None,
            ..self.clone()
        })
    }

    /// Returns what is known up to the latest moment.
    pub fn latest(&self) -> &Self {
        let ahead = self.ahead.as_deref();
        ahead
            .filter(|ahead| ahead.now_ms > self.now_ms)
            .unwrap_or(self)
    }
}
