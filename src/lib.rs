//! htap-top: the map of the crate.

pub mod dashboard;
pub mod demo;
pub mod pg;
pub mod system;
pub mod text;
pub mod workload;
