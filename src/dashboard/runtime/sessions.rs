//! Configurations of the sampling sessions.

use crate::pg::Settings;
use crate::pg::sampler::{SessionConfig, Tally};
use std::time::Duration;

/// Timeouts of a statement on the server and, in case that fails, on the client.
pub(super) const FAST_TIMEOUT: (Duration, Duration) =
    (Duration::from_secs(3), Duration::from_secs(5));
/// Like [`FAST_TIMEOUT`], for statements that may take long.
pub(super) const SLOW_TIMEOUT: (Duration, Duration) =
    (Duration::from_secs(20), Duration::from_secs(25));

/// A session that monitors the watched server, with its timeouts.
pub(super) fn monitor(
    (server, client): (Duration, Duration),
    ended: &Tally,
    others: &Tally,
) -> SessionConfig {
    SessionConfig {
        settings: Settings::of_monitor(server),
        transaction: false,
        deadline: client,
        lazy: false,
        hands_back: false,
        console: false,
        ended: Tally::clone(ended),
        others: Tally::clone(others),
    }
}

/// A session of the OLAP pool.
///
/// With `hands_back`, statements come back if it cannot be opened, because another server can answer them.
pub(super) fn analytic(
    olap: &crate::config::Olap,
    hands_back: bool,
    ended: &Tally,
) -> SessionConfig {
    SessionConfig {
        settings: Settings::of_analysis(olap.statement_timeout, &olap.work_mem),
        transaction: true,
        deadline: olap.statement_timeout + Duration::from_secs(5),
        lazy: true,
        hands_back,
        console: false,
        ended: Tally::clone(ended),
        others: Tally::default(),
    }
}

/// The session with the pooler. Its work is no transaction of the watched server.
pub(super) fn console() -> SessionConfig {
    SessionConfig {
        settings: Settings::default(),
        transaction: false,
        deadline: FAST_TIMEOUT.1,
        lazy: false,
        hands_back: false,
        console: true,
        ended: Tally::default(),
        others: Tally::default(),
    }
}
