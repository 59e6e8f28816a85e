//! `htap-top isolate`: keeps the processes of OLAP backends in a group of lower weight, on the database's host.

mod autogroup;
mod cgroup;
mod choice;
mod control;
mod error;
mod judge;
mod keeper;
mod plan;
mod process;
mod report;
mod sample;
mod share;
mod state;
mod wish;
mod workers;

pub(crate) use error::IsolateError;
pub(crate) use plan::Plan;
pub(crate) use report::{Note, Report};
pub(crate) use share::Percent;
pub(crate) use state::repair;
pub(crate) use wish::{Wanted, Wish};
