//! The column store: closed hours of `mart.fact_sales`, `mart.user_day` and `mart.orders` as Parquet files, and one SQL over
//! them and the rows of all other hours. Cargo's feature `columnar`; [docs/columnar.md](../docs/columnar.md).
//!
//! - `queries/system/09_columnar.sql`: the manifest, the log of changes, and what holds of them always.
//! - [`sync`] writes files: which ones says `hours`, how `file`, from `rows`; the `files` lie at a `place`, which is a `folder` or a
//!   `bucket` of object storage; `manifest` reads what the server knows of them.
//! - `report` writes what syncs and queries do to the server, for the panel Columnar.
//! - [`Columnar`] answers a SELECT with the `engine` DataFusion, in a `session` with the server. `rewrite`, with `averages`,
//!   `percentiles`, the `functions` and the time `zone`, makes a plan compute as PostgreSQL does; `check` refuses all that is not
//!   known to do so. `scan` is a `table`: `reader` reads files, a `tally` counts what is read, `pushed` are the conditions that
//!   select files and rows. `answer` writes values as PostgreSQL does, under the `names` that it gives; [`query`] writes whole answers.
//! - `routed` answers what the [router](crate::router) sends here.
//! - [`mod@serve`] answers clients of PostgreSQL's protocol.

mod answer;
mod averages;
mod bucket;
mod check;
mod engine;
mod error;
mod file;
mod files;
mod folder;
mod functions;
mod hours;
mod manifest;
mod memory;
mod names;
mod options;
mod percentiles;
mod place;
mod pushed;
pub mod query;
mod reader;
mod report;
mod rewrite;
mod routed;
mod rows;
mod scan;
pub mod serve;
mod session;
mod share;
mod store;
pub mod sync;
mod table;
mod tally;
mod zone;

pub use answer::Form;
pub use error::ColumnarError;
pub use options::Options;
pub use place::Place;
pub(crate) use routed::begun;
pub use store::{Columnar, Rows};

/// The library of column batches, of the version that [`Rows`] are made with.
pub use datafusion::arrow;
