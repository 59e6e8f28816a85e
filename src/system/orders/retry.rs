//! Retries with growing pauses, up to a limit.

use super::error::OrderError;
use std::time::Duration;
use tokio::time::sleep;

/// Maximum number of attempts. With the pauses below they last about six seconds, enough for a server to restart.
const ATTEMPTS: u32 = 14;
/// Upper limit of the first pause, in milliseconds; each further limit is twice the previous one.
const FIRST_MS: u64 = 5;
/// Upper limit of all pauses, in milliseconds.
const LONGEST_MS: u64 = 1_000;

/// The attempts of one request.
pub(super) struct Retry {
    /// True if the request can be sent again after its answer was lost.
    repeatable: bool,
    failed: u32,
}

impl Retry {
    pub(super) fn new(repeatable: bool) -> Self {
        Self {
            repeatable,
            failed: 0,
        }
    }

    /// Returns true if the request may be tried again after this failure.
    pub(super) fn allows(&self, error: &OrderError) -> bool {
        self.failed + 1 < ATTEMPTS && error.may_pass(self.repeatable)
    }

    /// Waits a random time, so that requests that failed together are not retried together.
    pub(super) async fn pause(&mut self) {
        let longest = (FIRST_MS << self.failed.min(16)).min(LONGEST_MS);
        self.failed += 1;
        sleep(Duration::from_millis(rand::random_range(
            longest / 2..=longest,
        )))
        .await;
    }
}
