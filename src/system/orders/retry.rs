//! Trying again, for as long as somebody may wait.

use super::error::OrderError;
use std::time::Duration;
use tokio::time::sleep;

/// How often at most: with the pauses below about six seconds, which a server that starts again takes.
const ATTEMPTS: u32 = 14;
/// The first pause at most; each is twice the one before.
const FIRST_MS: u64 = 5;
/// The longest pause.
const LONGEST_MS: u64 = 1_000;

/// The attempts of one request.
pub(super) struct Retry {
    /// True if it can be sent again though its answer was lost.
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

    /// Returns true if to try again after this failure.
    pub(super) fn allows(&self, error: &OrderError) -> bool {
        self.failed + 1 < ATTEMPTS && error.may_pass(self.repeatable)
    }

    /// Waits, a random while so that those who failed together do not come back together.
    pub(super) async fn pause(&mut self) {
        let longest = (FIRST_MS << self.failed.min(16)).min(LONGEST_MS);
        self.failed += 1;
        sleep(Duration::from_millis(rand::random_range(
            longest / 2..=longest,
        )))
        .await;
    }
}
