//! `htap-top demo`: a throw-away PostgreSQL with the case study's schema, data and mixed load.

mod account;
pub mod binaries;
pub mod cluster;
mod error;
pub mod fetch;
pub mod headless;
pub mod launch;
mod report;
mod stop;
pub mod sweep;

pub use crate::workload::troubles::SCHEDULE;
pub use binaries::{Binaries, Wanted, find};
pub use cluster::{Cluster, ClusterOptions};
pub use error::DemoError;
pub use headless::{Options, run};
pub use report::Ready;
pub use sweep::sweep;
