//! htap-top: the map of the crate.

pub mod cli;
pub mod config;
pub mod dashboard;
pub mod demo;
pub mod format;
pub mod pg;
pub mod system;
pub mod text;
pub mod workload;
