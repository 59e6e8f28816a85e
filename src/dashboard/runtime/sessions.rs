//! The sampling sessions: how they are opened, and their configurations.

use crate::pg::sampler::{self, Job, Queue, Report, ServerKind, SessionConfig, SessionId, Tally};
use crate::pg::{Settings, Target};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{Sender, channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

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
        late: false,
        hands_back: false,
        kind: ServerKind::Postgres,
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
        late: false,
        hands_back,
        kind: ServerKind::Postgres,
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
        late: false,
        hands_back: false,
        kind: ServerKind::Console,
        ended: Tally::default(),
        others: Tally::default(),
    }
}

/// The session with the column store, which is opened for the first statement. Its work is no transaction of the watched
/// database's sessions.
pub(super) fn column_store(olap: &crate::config::Olap) -> SessionConfig {
    SessionConfig {
        deadline: olap.statement_timeout + Duration::from_secs(5),
        late: true,
        // Nobody waits for one that is down.
        hands_back: true,
        kind: ServerKind::ColumnStore(olap.statement_timeout),
        ..console()
    }
}

/// Opens sessions.
pub(super) struct Opener {
    pub(super) sessions: JoinSet<()>,
    pub(super) report: Sender<Report>,
    pub(super) woken: watch::Receiver<()>,
}

impl Opener {
    /// Starts these sessions with one server, and returns the queue that they share.
    pub(super) fn open(
        &mut self,
        ids: impl IntoIterator<Item = SessionId>,
        target: &Target,
        config: &SessionConfig,
    ) -> Sender<Vec<Job>> {
        let (sender, receiver) = channel(64);
        let queue: Queue = Arc::new(tokio::sync::Mutex::new(receiver));
        for id in ids {
            self.sessions.spawn(sampler::run(
                id,
                target.clone(),
                config.clone(),
                Arc::clone(&queue),
                self.report.clone(),
                self.woken.clone(),
            ));
        }
        sender
    }
}
