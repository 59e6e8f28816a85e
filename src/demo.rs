//! `htap-top demo`: a temporary PostgreSQL with the case study's schema, data and mixed load.

pub mod headless;
pub mod launch;
mod report;
mod stop;

pub use crate::workload::troubles::SCHEDULE;
pub use headless::{Options, run};
pub use report::Ready;
