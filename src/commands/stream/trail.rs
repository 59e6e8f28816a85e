//! The lines of commands in the audit file.

use crate::commands::dashboard::{audit, configuration};
use crate::commands::{FAILURE, Failure, env};
use crate::config;
use crate::dashboard::audit::Audit;
use crate::pg::Target;
use serde::Serialize;

/// The audit file of one command.
pub(super) struct Trail(Audit);

#[expect(
    clippy::disallowed_methods,
    reason = "the time at which something was done is told, nothing depends on it"
)]
fn now() -> String {
    chrono::Utc::now().to_rfc3339()
}

impl Trail {
    /// Writes what is about to be done; without that nothing is.
    pub(super) fn begin(target: &Target, intent: &impl Serialize) -> Result<Self, Failure> {
        let config = configuration(None, &config::folder(&env))?;
        let audit = Audit {
            target: target.to_conninfo(),
            ..audit(&config)
        };
        audit.begun(&now(), intent).map_err(|error| {
            let path = audit.path.display();
            Failure::new(
                FAILURE,
                format!("not done: failed to write the audit file {path}: {error}"),
            )
        })?;
        Ok(Self(audit))
    }

    /// The operating system's user.
    pub(super) fn actor(&self) -> &str {
        &self.0.actor
    }

    /// Writes what came of it.
    pub(super) fn end(&self, outcome: &impl Serialize) -> Result<(), Failure> {
        self.0.done(&now(), outcome).map_err(|error| {
            let path = self.0.path.display();
            Failure::new(
                FAILURE,
                format!("it is done, but the audit file {path} lacks its outcome: {error}"),
            )
        })
    }
}
