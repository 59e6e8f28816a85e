//! Errors of a private cluster.

use crate::pg::PgError;
use std::io;

/// An error of a private cluster, or of the demo on it. Its text can follow `htap-top: `.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No server programs were found; the text includes the commands that install them.
    #[error("{0}")]
    Missing(String),
    /// An operating system call failed.
    #[error("failed to {what}: {source}")]
    Io {
        /// The operation, as a verb phrase.
        what: String,
        /// The system's error.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {detail}")]
    Program {
        /// Name of the program.
        program: String,
        /// The last lines of its output.
        detail: String,
    },
    /// The server rejected an operation.
    #[error("failed to {what}: {source}")]
    Server {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The server's error.
        source: PgError,
    },
}

impl ClusterError {
    /// For `map_err`: builds the I/O error of the operation `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: builds the server error of the operation `what`.
    pub(crate) fn server(what: &'static str) -> impl FnOnce(PgError) -> Self {
        move |source| Self::Server { what, source }
    }

    /// Returns the error of `program`, with the last lines of its output.
    pub(crate) fn program(program: &str, output: &[u8]) -> Self {
        Self::Program {
            program: program.to_owned(),
            detail: last_lines(output),
        }
    }
}

/// Returns the last lines of a program's output.
pub(crate) fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(4);
    lines.get(from..).unwrap_or_default().join("; ")
}
