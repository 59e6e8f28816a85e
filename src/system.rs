//! The case study's HTAP system: its schema, its generated data, and the operations on it.

pub mod archive;
pub mod definition;
pub mod fill;
pub mod generate;
pub(crate) mod host;
pub mod init;
pub(crate) mod lead;
pub mod nodes;
pub mod orders;
pub mod partitions;
pub mod pools;
pub mod refresh;
pub mod routing;
pub mod schema;
pub mod survey;
pub mod uninstall;

/// Orders of a history of scale 1.
pub const ORDERS_PER_SCALE: f64 = 100_000.0;
