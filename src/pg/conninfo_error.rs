//! Connection settings that are refused.

/// Connection settings that make no sense. Displays as a lower-case message that says what to do;
/// it never holds a password.
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
