//! The source of time.

use super::super::event::{Event, Moment, OwnCost};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::time::Duration;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Interval at which the model is told the time.
const TICK: Duration = Duration::from_millis(250);

/// The only source of the model's time.
pub(super) struct Clock {
    started: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// Ticks at quarter seconds of the machine's clock, when the displayed clock changes and samples are due:
    /// one wake-up and one frame serve both.
    pub(super) fn ticker(&self) -> Interval {
        let tick = TICK.as_millis() as i64;
        let first = tick - wall_clock().timestamp_millis().rem_euclid(tick);
        let mut ticker = interval_at(self.started + Duration::from_millis(first as u64), TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        ticker
    }

    pub(super) fn tick(&self) -> Event {
        let now = Moment {
            mono_ms: self.started.elapsed().as_millis() as u64,
            epoch_ms: wall_clock().timestamp_millis(),
        };
        let used = getrusage(UsageWho::RUSAGE_SELF);
        let cpu_ms = used.map_or(0.0, |usage| {
            (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64
                / 1000.0
        });
        Event::Ticked {
            now,
            cost: OwnCost { cpu_ms },
        }
    }
}

/// The machine's clock, used to show the time of day and for the audit file.
#[expect(
    clippy::disallowed_methods,
    reason = "the runtime is where time comes in"
)]
pub(super) fn wall_clock() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}
