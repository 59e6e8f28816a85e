//! Errors of a load.

use crate::pg::{Class, PgError, PoolError};
use crate::system::pools::{OLAP_ROLE, OLTP_ROLE};

/// Reason why there was no load. Its text can follow `htap-top: `.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum WorkloadError {
    /// A role could not connect.
    #[error("failed to connect as {role}: {source}{}", remedy(.source))]
    Connect {
        /// The role.
        role: &'static str,
        /// Reason of the failure.
        source: PgError,
    },
    /// The role lacks a privilege.
    #[error("{0}: connect once as a superuser and run htap-top init, which grants it")]
    Privilege(PgError),
    /// There is no shop, or an empty or old one.
    #[error("{0}")]
    NoShop(String),
    /// The server rejected an operation.
    #[error("failed to {what}: {source}")]
    Server {
        /// The operation, as a verb phrase.
        what: &'static str,
        /// The server's error.
        source: PgError,
    },
}

fn remedy(source: &PgError) -> &'static str {
    if source.class == Class::Configuration {
        ". The load connects as htap_oltp and htap_olap, which htap-top init creates: give them passwords (psql's \\password) and put these into ~/.pgpass"
    } else {
        ""
    }
}

impl WorkloadError {
    /// For `map_err` on a session of the OLTP pool.
    pub(super) fn oltp(error: PoolError) -> Self {
        Self::pool(OLTP_ROLE, error)
    }

    /// For `map_err` on a session of the OLAP pool.
    pub(super) fn olap(error: PoolError) -> Self {
        Self::pool(OLAP_ROLE, error)
    }

    fn pool(role: &'static str, error: PoolError) -> Self {
        let source = match error {
            PoolError::Connect(source) => source,
            other => PgError::new(Class::BackOff, other.to_string()),
        };
        Self::Connect { role, source }
    }

    /// For `map_err` on a statement: builds the error of the operation `what`.
    pub(super) fn server(what: &'static str) -> impl FnOnce(PgError) -> Self {
        move |source| match source.code() {
            "42501" => Self::Privilege(source),
            // undefined_table, invalid_schema_name, undefined_function, undefined_column
            "42P01" | "3F000" | "42883" | "42703" => Self::NoShop(format!(
                "there is no shop, or an old one ({source}): run htap-top init --scale 1 first"
            )),
            _ => Self::Server { what, source },
        }
    }
}
