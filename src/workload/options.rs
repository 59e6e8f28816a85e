//! What load is wanted.

use super::arrivals::Spread;
use super::mix::Mix;
use super::reports::Source;
use crate::pg::pool::PoolSize;
use crate::system::orders::{Commit, Strategy};
use crate::system::pools::{AdmissionLimits, Limits};
use std::time::Duration;

/// A mixed load of some duration.
#[derive(Clone, Debug)]
pub struct Options {
    /// OLTP transactions offered per second.
    pub oltp_per_s: f64,
    /// Reports offered per second.
    pub olap_per_s: f64,
    /// Hybrid transactions offered per second, besides the OLTP transactions and through their sessions.
    pub hybrid_per_s: f64,
    /// How arrivals are spread.
    pub spread: Spread,
    /// Time over which the rates rise from 0; not measured.
    pub ramp: Duration,
    /// Time after that which is not measured either.
    pub warm_up: Duration,
    /// Time that is measured.
    pub duration: Duration,
    /// OLTP transactions at once.
    pub clients: usize,
    /// Reports at once, as far as [`Self::olap_running`] lets them in.
    pub olap_clients: usize,
    /// Reports that run at once.
    pub olap_running: usize,
    /// The OLTP transactions' kinds.
    pub mix: Mix,
    /// Exponent of the products' popularity (Zipf); 0: all are equally popular.
    pub skew: f64,
    /// How orders are created.
    pub strategy: Strategy,
    /// When they count as committed.
    pub commit: Commit,
    /// Every order has a request key, and is sent again under it when its session was lost.
    pub keys: bool,
    /// What the reports read.
    pub reports: Source,
    /// Products do not sell out: before it begins stock is filled up to what will be sold.
    pub deliver: bool,
    /// Seed of the random numbers.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
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
    /// The limits of the pools. No session is waited for longer than the load lasts.
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
