//! `htap-top demo`: a temporary PostgreSQL with the case study's schema, data and mixed load.

mod headless;
pub(crate) mod launch;
mod replica;
mod report;
mod stop;
mod stream;

pub(crate) use crate::workload::troubles::SCHEDULE;
pub(crate) use headless::{Options, run};
pub(crate) use replica::Replica;

use crate::cluster::ClusterError;

/// Name of the demo's database.
const DBNAME: &str = "shop";

/// Runs work that blocks, beside the tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClusterError> + Send + 'static,
) -> Result<T, ClusterError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ClusterError::Program {
            program: "htap-top demo".to_owned(),
            detail: error.to_string(),
        })?
}
