//! htap-top: the map of the crate.

pub mod config;
pub mod dashboard;
pub mod pg;
pub mod text;
