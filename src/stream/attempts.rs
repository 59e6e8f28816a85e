//! Pauses between attempts.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// An attempt that lasted for this long was a success.
const LONG: Duration = Duration::from_secs(10);
/// First pause. It doubles with each failure, to 3.2 s.
const FIRST: Duration = Duration::from_millis(100);
const DOUBLED: u32 = 5;

/// Attempts that are repeated.
#[derive(Debug)]
pub(super) struct Attempts {
    failures: u32,
    begun: Instant,
}

impl Attempts {
    /// Begins the first one.
    pub(super) fn begin() -> Self {
        Self {
            failures: 0,
            begun: Instant::now(),
        }
    }

    /// Waits after one has failed, and begins the next one.
    pub(super) async fn again(&mut self) {
        if self.begun.elapsed() > LONG {
            self.failures = 0;
        }
        sleep(FIRST * 2_u32.pow(self.failures)).await;
        self.failures = (self.failures + 1).min(DOUBLED);
        self.begun = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_until_an_attempt_lasts() {
        let mut attempts = Attempts::begin();
        let mut pauses = Vec::new();
        for lasted in [0, 0, 0, 0, 0, 0, 0, 11] {
            sleep(Duration::from_secs(lasted)).await;
            let before = Instant::now();
            attempts.again().await;
            pauses.push(before.elapsed().as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 3200, 100]);
    }
}
