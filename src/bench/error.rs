//! Why a bench ends early.

use crate::cluster::ClusterError;
use crate::pg::PgError;
use crate::system::init::InitError;
use crate::workload::WorkloadError;

/// Why a bench ended early; what was measured before is saved.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// There is no such experiment.
    #[error("there is no experiment {0}; htap-top bench --list names them")]
    Unknown(String),
    /// The file of results cannot be used.
    #[error("{0}")]
    Results(String),
    /// The server could not be made.
    #[error(transparent)]
    Server(#[from] ClusterError),
    /// The shop could not be installed.
    #[error(transparent)]
    Init(Box<InitError>),
    /// A statement failed.
    #[error("failed to {what}: {source}")]
    Statement {
        /// What was tried, as a verb phrase.
        what: String,
        /// Why it failed.
        source: PgError,
    },
    /// A load failed.
    #[error(transparent)]
    Load(#[from] WorkloadError),
    /// Another program failed.
    #[error("failed to run {program}: {detail}")]
    Program {
        /// Which.
        program: String,
        /// What it said.
        detail: String,
    },
}

impl From<InitError> for BenchError {
    fn from(error: InitError) -> Self {
        Self::Init(Box::new(error))
    }
}

impl BenchError {
    /// For `map_err`: the server refused to `what`.
    pub fn doing(what: impl Into<String>) -> impl FnOnce(PgError) -> Self {
        let what = what.into();
        move |source| Self::Statement { what, source }
    }
}
