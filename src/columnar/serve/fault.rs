//! Errors as clients of PostgreSQL know them: with a SQLSTATE.

use crate::columnar::error::ColumnarError;
use std::io;

/// Why a request has no answer.
#[derive(Debug)]
pub(super) enum Fault {
    /// The client is told.
    Told {
        code: String,
        message: String,
        hint: Option<String>,
    },
    /// The connection is lost, or what came over it is not the protocol.
    Lost(io::Error),
}

/// An error with a SQLSTATE.
pub(super) fn fault(code: &str, message: impl Into<String>) -> Fault {
    Fault::Told {
        code: code.to_owned(),
        message: message.into(),
        hint: None,
    }
}

/// The error for what is not supported.
pub(super) fn unsupported(message: impl Into<String>) -> Fault {
    Fault::Told {
        code: "0A000".to_owned(),
        message: message.into(),
        hint: Some("Ask PostgreSQL itself.".to_owned()),
    }
}

/// The error for what was canceled.
pub(super) fn canceled(by: &str) -> Fault {
    fault("57014", format!("canceling statement due to {by}"))
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Lost(error)
    }
}

impl From<ColumnarError> for Fault {
    fn from(error: ColumnarError) -> Self {
        let code = match &error {
            ColumnarError::Unsupported(why) => return unsupported(why),
            ColumnarError::Timeout => return canceled("statement timeout"),
            ColumnarError::Server { source, .. } => {
                let lost = "08006";
                let code = Some(source.code()).filter(|code| !code.is_empty());
                return Self::Told {
                    code: code.unwrap_or(lost).to_owned(),
                    message: source.message.as_str().to_owned(),
                    hint: source.hint.as_ref().map(|hint| hint.as_str().to_owned()),
                };
            }
            ColumnarError::File { .. } => "58030",
            ColumnarError::Privilege(_) => "42501",
            ColumnarError::Refused(_) => "55000",
            ColumnarError::Query(why) if why.contains("division by zero") => "22012",
            ColumnarError::Query(why) if why.contains("out of range") => "22003",
            ColumnarError::Query(why) if why.contains("out of memory") => "53200",
            ColumnarError::Query(_) => "XX000",
        };
        fault(code, error.to_string())
    }
}
