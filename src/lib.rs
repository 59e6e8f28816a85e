//! htap-top: the map of the crate.

pub mod dashboard;
pub mod format;
pub mod pg;
pub mod text;
