//! Why a demo could not run.

use crate::pg::PgError;
use std::io;

/// A failure of the demo; its text is fit to stand behind `htap-top: `.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
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
    /// The demo's server refused.
    #[error("failed to {what}: {source}")]
    Server {
        /// What was tried, as a verb phrase.
        what: &'static str,
        /// The refusal.
        source: PgError,
    },
}

impl DemoError {
    /// For `map_err`: an I/O failure while trying to `what`.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: a server failure while trying to `what`.
    pub(super) fn server(what: &'static str) -> impl FnOnce(PgError) -> Self {
        move |source| Self::Server { what, source }
    }
}
