//! Errors in connection settings.

/// An error in the connection settings. Displays as a lower-case message that states the remedy; it never contains a
/// password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConninfoError {
    message: String,
}

impl ConninfoError {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}
