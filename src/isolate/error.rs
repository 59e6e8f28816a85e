//! Errors of `htap-top isolate`.

use crate::pg::PgError;

/// Why OLAP is not isolated. Its text can follow `htap-top: `.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IsolateError {
    /// The server was not reached, or refused the connection.
    #[error("failed to connect to {target}: {source}")]
    Connect {
        /// The server.
        target: String,
        /// Reason of the failure.
        source: PgError,
    },
    /// The role or the operating system's user lacks privileges; the text says which.
    #[error("{0}")]
    Privilege(String),
    /// Something is in the way; the text says what to do.
    #[error("{0}")]
    Refused(String),
    /// The server rejected a statement, or did not answer.
    #[error("failed to read the sessions: {0}")]
    Server(PgError),
    /// A file failed.
    #[error("failed to {what}: {source}")]
    Io {
        /// The operation, as a verb phrase.
        what: String,
        /// Reason of the failure.
        source: std::io::Error,
    },
}

impl IsolateError {
    /// For `map_err`: builds the error of the file operation `what`.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Returns true if a later attempt may succeed: the server is away or too busy to answer.
    pub(super) fn may_pass(&self) -> bool {
        use crate::pg::Class;
        match self {
            Self::Connect { source, .. } => {
                matches!(source.class, Class::Reconnect | Class::BackOff)
            }
            Self::Server(_) => true,
            Self::Privilege(_) | Self::Refused(_) | Self::Io { .. } => false,
        }
    }
}
