//! Why a cluster of one's own could not be had.

use crate::pg::PgError;
use std::io;

/// A failure of such a cluster, or of the demo on it; its text is fit to stand behind `htap-top: `.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No server programs, with the commands that install them.
    #[error("{0}")]
    Missing(String),
    /// The operating system refused.
    #[error("failed to {what}: {source}")]
    Io {
        /// What was tried, as a verb phrase.
        what: String,
        /// The refusal.
        source: io::Error,
    },
    /// A program failed.
    #[error("{program} failed: {detail}")]
    Program {
        /// Name of the program.
        program: String,
        /// The end of what it wrote.
        detail: String,
    },
    /// Its server refused.
    #[error("failed to {what}: {source}")]
    Server {
        /// What was tried, as a verb phrase.
        what: &'static str,
        /// The refusal.
        source: PgError,
    },
}

impl ClusterError {
    /// For `map_err`: an I/O failure while trying to `what`.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: a server failure while trying to `what`.
    pub(crate) fn server(what: &'static str) -> impl FnOnce(PgError) -> Self {
        move |source| Self::Server { what, source }
    }

    /// A failure of `program`, with the end of what it wrote.
    pub(super) fn program(program: &str, output: &[u8]) -> Self {
        Self::Program {
            program: program.to_owned(),
            detail: last_lines(output),
        }
    }
}

/// The last lines that a program wrote.
pub(super) fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(4);
    lines.get(from..).unwrap_or_default().join("; ")
}
