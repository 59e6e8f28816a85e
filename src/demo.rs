//! `htap-top demo`: a temporary PostgreSQL with the case study's schema, data and mixed load.

mod headless;
pub(crate) mod launch;
mod replica;
mod report;
mod stop;

pub(crate) use crate::workload::troubles::SCHEDULE;
pub(crate) use headless::{Options, Replica, run};
