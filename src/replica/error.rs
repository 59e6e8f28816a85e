//! Errors of `htap-top replica`.

use crate::cluster::ClusterError;
use crate::pg::PgError;

/// Why a replica was not built, shown or removed. Its text can follow `htap-top: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplicaError {
    /// The server was not reached, or refused the connection.
    #[error("failed to connect to {target}: {source}")]
    Connect {
        /// The server.
        target: String,
        /// Reason of the failure.
        source: PgError,
    },
    /// The role lacks privileges; the text says which.
    #[error("{0}")]
    Privilege(String),
    /// Something is in the way; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// The server rejected an operation.
    #[error("failed to {what}: {source}")]
    Server {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The server's error.
        source: PgError,
    },
    /// A program or a file failed.
    #[error("{0}")]
    Local(#[from] ClusterError),
}

impl ReplicaError {
    /// For `map_err`: builds the error of the operation `what`.
    pub(super) fn server(what: &'static str) -> impl FnOnce(PgError) -> Self {
        move |source| match source.code() {
            "42501" => Self::Privilege(format!(
                "failed to {what}: {source}. Connect as a superuser, or as a role with REPLICATION"
            )),
            _ => Self::Server { what, source },
        }
    }

    /// For `map_err`: builds the error of the file operation `what`.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Local(ClusterError::io(what)(source))
    }
}
