//! Errors of a benchmark.

use crate::cluster::ClusterError;
use crate::pg::PgError;
use crate::system::init::InitError;
use crate::workload::WorkloadError;

/// Reason why a benchmark ended early; measurements made before are saved.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// There is no such experiment.
    #[error("unknown experiment {0}; htap-top bench --list names them")]
    Unknown(String),
    /// An experiment has no such variant.
    #[error("no experiment has the variant {0}")]
    Variant(String),
    /// This machine cannot run a variant, for this reason. The others are run.
    #[error("{0}")]
    Unavailable(String),
    /// The file of results cannot be used.
    #[error("{0}")]
    Results(String),
    /// The server could not be created.
    #[error(transparent)]
    Server(#[from] ClusterError),
    /// The shop could not be installed.
    #[error(transparent)]
    Init(Box<InitError>),
    /// A statement failed.
    #[error("failed to {what}: {source}")]
    Statement {
        /// The operation, as a verb phrase.
        what: String,
        /// Reason of the failure.
        source: PgError,
    },
    /// A load failed.
    #[error(transparent)]
    Load(#[from] WorkloadError),
    /// Another program failed.
    #[error("failed to run {program}: {detail}")]
    Program {
        /// Name of the program.
        program: String,
        /// Its output.
        detail: String,
    },
}

impl From<InitError> for BenchError {
    fn from(error: InitError) -> Self {
        Self::Init(Box::new(error))
    }
}

impl BenchError {
    /// For `map_err`: builds the error of a task that runs `program`.
    pub(crate) fn task(program: &str) -> impl FnOnce(tokio::task::JoinError) -> Self {
        let program = program.to_owned();
        move |error| Self::Program {
            program,
            detail: error.to_string(),
        }
    }

    /// For `map_err`: builds the error of the operation `what`.
    pub(crate) fn doing(what: impl Into<String>) -> impl FnOnce(PgError) -> Self {
        let what = what.into();
        move |source| Self::Statement { what, source }
    }
}
