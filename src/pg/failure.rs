//! Explains failed connection attempts, and decides what is tried next.

use super::certificate;
use super::conninfo::Target;
use super::endpoint::Endpoint;
use super::error::{Class, PgError};
use std::error::Error as _;

/// Kind of a failed attempt, which decides what is tried next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The server was not reached, stopped answering, or is not of the required kind.
    Unreachable,
    /// The server has no TLS.
    TlsMissing,
    /// TLS failed: certificates, versions.
    Tls,
    /// pg_hba.conf rejects this kind of connection (28000).
    Refused,
    /// The server is starting or in recovery (57P03).
    NotYet,
    /// Any other failure, which would be the same on every server.
    Final,
}

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    /// Kind of the failure.
    pub(super) kind: Kind,
    /// Error to report if no other attempt succeeds.
    pub(super) error: PgError,
}

impl Failure {
    /// Builds the failure of an attempt that reached nothing: it may succeed elsewhere, or later.
    pub(super) fn unreachable(message: impl AsRef<str>) -> Self {
        Self {
            kind: Kind::Unreachable,
            error: PgError::new(Class::BackOff, message),
        }
    }

    /// Returns true if libpq continues with the next host: never after a server has checked the credentials.
    pub(super) fn tries_next_host(&self) -> bool {
        matches!(self.kind, Kind::Unreachable | Kind::NotYet)
    }

    /// Returns true if sslmode allow or prefer tries again with the other protection.
    pub(super) fn tries_other_protection(&self) -> bool {
        matches!(self.kind, Kind::TlsMissing | Kind::Tls | Kind::Refused)
    }
}

/// Combines errors into one: every distinct message, with the class of the last one.
pub(super) fn combine(failures: Vec<PgError>) -> PgError {
    let mut messages: Vec<String> = Vec::new();
    for failure in &failures {
        let message = failure.to_string();
        if !messages.contains(&message) {
            messages.push(message);
        }
    }
    match (failures.into_iter().next_back(), messages.len()) {
        (Some(only), 0 | 1) => only,
        (Some(last), _) => PgError::new(last.class, messages.join("; ")),
        (None, _) => PgError::new(Class::Configuration, "no host to connect to"),
    }
}

/// Translates the driver's error into the kind of failure, with a message that states the remedy.
pub(super) fn explain(
    error: tokio_postgres::Error,
    target: &Target,
    endpoint: &Endpoint,
) -> Failure {
    if error.as_db_error().is_some() {
        let mut error = PgError::from(error);
        let kind = match error.code() {
            "28000" => Kind::Refused,
            "57P03" => Kind::NotYet,
            _ => Kind::Final,
        };
        if error.code() == "28P01" && target.password(endpoint).is_some_and(|(_, file)| file) {
            error.hint = Some("the password came from the password file".into());
        }
        return Failure { kind, error };
    }
    let source = error.source().map(ToString::to_string).unwrap_or_default();
    let configuration = |kind, message: String| Failure {
        kind,
        error: PgError::new(Class::Configuration, message),
    };
    // The texts of the driver's errors are all that distinguishes their kinds.
    match error.to_string().as_str() {
        text if text.starts_with("error performing TLS handshake") => {
            let inner = error
                .source()
                .and_then(|source| source.source())
                .and_then(|inner| inner.downcast_ref::<openssl::ssl::Error>());
            match inner {
                Some(inner) if inner.code() == openssl::ssl::ErrorCode::SSL => configuration(
                    Kind::Tls,
                    format!(
                        "{endpoint}: {}",
                        certificate::handshake_text(&source, inner)
                    ),
                ),
                None if source == "server does not support TLS" => configuration(
                    Kind::TlsMissing,
                    format!("{endpoint}: the server does not support TLS, but sslmode requires it"),
                ),
                None => configuration(Kind::Tls, format!("{endpoint}: TLS: {source}")),
                Some(_) => Failure {
                    kind: Kind::Tls,
                    error: PgError::new(
                        Class::BackOff,
                        format!("{endpoint}: connection lost during the TLS handshake"),
                    ),
                },
            }
        }
        text if text.starts_with("invalid configuration") && source == "password missing" => {
            let mut message = format!(
                "{endpoint}: the server asks for a password: set PGPASSWORD, or add a line to ~/.pgpass (mode 0600)"
            );
            for warning in target.warnings() {
                message = format!("{message}; {warning}");
            }
            configuration(Kind::Final, message)
        }
        text if text.starts_with("authentication error") => {
            configuration(Kind::Final, format!("{endpoint}: {text}: {source}"))
        }
        _ => {
            let cause = if source.is_empty() {
                error.to_string()
            } else {
                source
            };
            Failure::unreachable(format!("{endpoint}: {cause}"))
        }
    }
}
