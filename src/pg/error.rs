//! Errors of the server and the connection, classified by the possible reaction.

use crate::text::Clean;
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use std::fmt;

/// The reaction to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Class {
    /// The session is gone; a new one may succeed at once.
    Reconnect,
    /// The server refuses for now (full, starting, in recovery, shutting down): try again, with growing pauses.
    BackOff,
    /// This statement cannot run here (missing relation, privilege, value); others can.
    Statement,
    /// Our own deadline or a cancel request ended the statement.
    Timeout,
    /// Wrong password, missing database or role, TLS refused: only the user can fix it.
    Configuration,
}

/// An error as data, which can be displayed, recorded and compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PgError {
    /// The possible reaction.
    pub class: Class,
    /// The SQLSTATE, if the server sent one.
    pub sqlstate: Option<Box<str>>,
    /// The message, fit to follow "failed to …: ".
    pub message: Clean,
    /// The server's details.
    #[serde(default)]
    pub detail: Option<Clean>,
    /// The server's hint.
    pub hint: Option<Clean>,
}

/// Maximum length of a message, in bytes.
const MESSAGE_CAP: usize = 500;

impl PgError {
    /// Returns an error that did not come from the server.
    pub fn new(class: Class, message: impl AsRef<str>) -> Self {
        Self {
            class,
            sqlstate: None,
            message: Clean::from_bytes(message.as_ref().as_bytes(), MESSAGE_CAP),
            detail: None,
            hint: None,
        }
    }

    /// Returns the error for an expired client-side deadline.
    pub fn deadline(seconds: f64) -> Self {
        Self::new(Class::Timeout, format!("no answer within {seconds:.1} s"))
    }

    /// Returns true if the session that reported this can continue.
    pub fn session_survives(&self) -> bool {
        self.sqlstate.is_some() && matches!(self.class, Class::Statement | Class::Timeout)
    }

    /// Returns true if our own statement ended the session, because its answer exceeded a limit.
    pub fn ends_session(&self) -> bool {
        self.sqlstate.is_none() && self.class == Class::Statement
    }

    /// Returns true if the session is gone or not available, which may be temporary. The effect of the statement is
    /// unknown.
    pub fn is_of_session(&self) -> bool {
        matches!(self.class, Class::Reconnect | Class::BackOff)
    }

    /// Returns the SQLSTATE, or a keyword if the server sent none.
    pub fn kind(&self) -> &str {
        match (self.code(), self.class) {
            ("", Class::Timeout) => "timeout",
            ("", Class::Configuration) => "configuration",
            ("", _) => "connection",
            (code, _) => code,
        }
    }

    /// Returns the SQLSTATE, or an empty text.
    pub fn code(&self) -> &str {
        self.sqlstate.as_deref().unwrap_or_default()
    }
}

impl fmt::Display for PgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(code) = &self.sqlstate {
            write!(f, " (SQLSTATE {code})")?;
        }
        Ok(())
    }
}

impl std::error::Error for PgError {}

impl From<tokio_postgres::Error> for PgError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(server) = error.as_db_error() else {
            let mut message = error.to_string();
            let mut source = error.source();
            while let Some(inner) = source {
                let text = inner.to_string();
                if !message.contains(&text) {
                    message = format!("{message}: {text}");
                }
                source = inner.source();
            }
            return Self::new(Class::Reconnect, message);
        };
        let cap = |text: &str| Clean::from_bytes(text.as_bytes(), MESSAGE_CAP);
        Self {
            class: classify(server.code().code()),
            sqlstate: Some(Clean::new(server.code().code()).as_str().into()),
            message: cap(server.message()),
            detail: server.detail().map(cap),
            hint: server.hint().map(cap),
        }
    }
}

/// Returns the class of a SQLSTATE (PostgreSQL documentation, Appendix A).
pub(crate) fn classify(sqlstate: &str) -> Class {
    match sqlstate {
        "57014" => Class::Timeout,
        // too_many_connections, admin_shutdown, crash_shutdown, cannot_connect_now, object_in_use
        "53300" | "57P01" | "57P02" | "57P03" | "55006" => Class::BackOff,
        // invalid_catalog_name (no such database), database_dropped
        "3D000" | "57P04" => Class::Configuration,
        code if code.starts_with("28") => Class::Configuration,
        code if code.starts_with("08") => Class::Reconnect,
        _ => Class::Statement,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_of_sqlstate_has_its_class() {
        for (code, class) in [
            ("57014", Class::Timeout),
            ("53300", Class::BackOff),
            ("57P03", Class::BackOff),
            ("28P01", Class::Configuration),
            ("28000", Class::Configuration),
            ("3D000", Class::Configuration),
            ("08006", Class::Reconnect),
            ("42P01", Class::Statement),
            ("42501", Class::Statement),
            ("42703", Class::Statement),
            ("0A000", Class::Statement),
            ("22012", Class::Statement),
            ("55P03", Class::Statement),
            ("XX000", Class::Statement),
        ] {
            assert_eq!(classify(code), class, "{code}");
        }
    }
}
