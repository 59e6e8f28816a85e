//! Why the column store did not do its work.

use crate::pg::PgError;
use datafusion::common::DataFusionError;
use std::path::Path;

/// Reason why a sync or a query failed. Its text can follow `htap-top: `.
#[derive(Debug, thiserror::Error)]
pub enum ColumnarError {
    /// The server refused an operation, or the session ended.
    #[error("failed to {what}: {source}")]
    Server {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The server's error.
        source: PgError,
    },
    /// A file operation failed.
    #[error("failed to {what}: {source}")]
    File {
        /// The operation, as a verb phrase.
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The statement asks for something that the column store does not do, or not as PostgreSQL does. Nothing was run.
    #[error("{0}")]
    Unsupported(String),
    /// The role lacks a privilege, which the text names.
    #[error("{0}")]
    Privilege(String),
    /// What is there does not allow it.
    #[error("{0}")]
    Refused(String),
    /// The query itself failed, as in PostgreSQL, or ran out of memory or disk.
    #[error("{0}")]
    Query(String),
    /// It took longer than it may.
    #[error("canceled: it took longer than the --timeout")]
    Timeout,
}

impl ColumnarError {
    /// For `map_err`: builds the error of an operation on the server.
    pub(super) fn server(what: &'static str) -> impl FnOnce(PgError) -> Self {
        move |source| Self::Server { what, source }
    }

    /// For `map_err`: builds the error of an operation on a file.
    pub(super) fn file(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let what = format!("{verb} {}", path.display());
        move |source| Self::File { what, source }
    }
}

impl From<PgError> for ColumnarError {
    fn from(source: PgError) -> Self {
        Self::Server {
            what: "read rows from PostgreSQL",
            source,
        }
    }
}

/// The engine's error for what is not done here.
pub(super) fn unsupported(what: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::Plan(format!("{what}"))
}
