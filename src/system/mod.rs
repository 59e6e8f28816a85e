//! The case study's HTAP system: schema and first data.

pub mod fill;
pub mod generate;
pub mod init;
pub mod orders;
pub mod pools;
pub mod refresh;
pub mod schema;
