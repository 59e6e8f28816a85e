//! A mixed load: the shop's own transactions, reports, refreshes, and troubles on a schedule.

mod arrivals;
mod dispatch;
mod error;
mod freshness;
mod live;
mod machine;
mod mix;
mod options;
mod queue;
mod refresher;
mod reports;
mod routed;
mod run;
mod session;
mod shop;
mod state;
mod summary;
mod tally;
mod trade;
pub(crate) mod troubles;

pub(crate) use arrivals::Spread;
pub(crate) use error::WorkloadError;
pub(crate) use live::Live;
pub(crate) use machine::busy;
pub(crate) use mix::Mix;
pub(crate) use options::Options;
pub(crate) use reports::Source;
pub(crate) use run::run;
pub(crate) use summary::Summary;

use crate::pg::Target;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::task::JoinSet;

/// The load to run on a database of [`crate::system`].
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// OLTP transactions per second, in an open loop.
    pub rate: f64,
    /// Reports per second, in an open loop.
    pub report_rate: f64,
    /// The replica that serves reports, if there is one; its user name is ignored.
    pub replica: Option<Target>,
    /// True to run the troubles of [`troubles::SCHEDULE`].
    pub troubles: bool,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            rate: 150.0,
            report_rate: 4.0,
            replica: None,
            troubles: true,
            seed: 1,
        }
    }
}

/// State that the tasks of a load share.
#[derive(Clone, Debug)]
struct Shared {
    target: Target,
    /// True while refreshes are to be skipped.
    paused: Arc<AtomicBool>,
    /// True while the warehouse counts most of its stock every second.
    stocktaking: Arc<AtomicBool>,
}

impl Shared {
    /// Returns a session slot for a role of [`crate::system`] with an application_name.
    fn session(&self, role: &str, application_name: &str) -> session::Session {
        session::Session::new(
            self.target
                .with_user(role)
                .with_application_name(application_name),
        )
    }
}

/// A load that runs until it is stopped or dropped.
#[derive(Debug)]
pub(crate) struct Running {
    tasks: JoinSet<()>,
}

impl Running {
    /// Ends every task and closes their sessions.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Starts a load on the database of `target`; its user name is ignored. Needs a tokio runtime.
pub(crate) fn start(target: &Target, load: Load) -> Running {
    let shared = Shared {
        target: target.clone(),
        paused: Arc::default(),
        stocktaking: Arc::default(),
    };
    let mut tasks = JoinSet::new();
    let troubled = load.troubles;
    trade::start(&mut tasks, &shared, load);
    refresher::start(&mut tasks, &shared);
    if troubled {
        troubles::start(&mut tasks, &shared);
    }
    Running { tasks }
}
