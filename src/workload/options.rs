//! Options of a load.

use super::arrivals::Spread;
use super::mix::Mix;
use super::reports::Source;
use crate::pg::Target;
use crate::pg::pool::PoolSize;
use crate::system::orders::{Commit, Strategy};
use crate::system::pools::{AdmissionLimits, Limits};
use std::time::Duration;

/// A mixed load with a fixed duration.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The replica that serves reports and other reads, if there is one; its user name is ignored.
    pub replica: Option<Target>,
    /// OLTP transactions offered per second.
    pub oltp_per_s: f64,
    /// Reports offered per second.
    pub olap_per_s: f64,
    /// Hybrid transactions offered per second, in addition to the OLTP transactions and in the same sessions.
    pub hybrid_per_s: f64,
    /// Distribution of arrivals.
    pub spread: Spread,
    /// Time over which the rates rise from 0; not measured.
    pub ramp: Duration,
    /// Further time that is not measured.
    pub warm_up: Duration,
    /// Measured time.
    pub duration: Duration,
    /// Maximum number of concurrent OLTP transactions.
    pub clients: usize,
    /// Maximum number of concurrent reports, within the limit of [`Self::olap_running`].
    pub olap_clients: usize,
    /// Maximum number of reports that the admission control runs at once.
    pub olap_running: usize,
    /// Mix of the OLTP transactions.
    pub mix: Mix,
    /// Exponent of the products' popularity (Zipf); with 0 all are equally popular.
    pub skew: f64,
    /// Method of creating orders.
    pub strategy: Strategy,
    /// Durability of their commits.
    pub commit: Commit,
    /// True to give every order a request key, with which it is sent again after its session is lost.
    pub keys: bool,
    /// Tables that the reports read.
    pub reports: Source,
    /// True to fill up the stock before the start with the quantity that will be sold.
    pub deliver: bool,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            replica: None,
            oltp_per_s: 500.0,
            olap_per_s: 5.0,
            hybrid_per_s: 0.0,
            spread: Spread::Poisson,
            ramp: Duration::ZERO,
            warm_up: Duration::from_secs(5),
            duration: Duration::from_secs(60),
            clients: 64,
            olap_clients: limits.olap.min,
            olap_running: limits.admission.running,
            mix: Mix::SHOP,
            skew: 1.1,
            strategy: Strategy::GroupCommit,
            commit: Commit::Synchronous,
            keys: false,
            reports: Source::Rollup,
            deliver: true,
            seed: 1,
        }
    }
}

impl Options {
    /// Returns the limits of the pools and of the admission control.
    pub(super) fn limits(&self) -> Limits {
        let wait = Duration::from_secs(30);
        let size = |clients: usize, least: usize| PoolSize {
            min: clients.min(least),
            max: clients,
            wait,
        };
        let usual = Limits::default();
        Limits {
            oltp: size(self.clients, usual.oltp.min),
            olap: size(self.olap_clients, usual.olap.min),
            admission: AdmissionLimits {
                running: self.olap_running,
                ..usual.admission
            },
        }
    }
}
