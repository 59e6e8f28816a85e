//! The stream: events of orders go from the outbox to a topic of Kafka ([`relay`]), and from the topic to live figures
//! ([`aggregator`]), exactly once. [`broker`] runs Kafka on this machine, [`mock`] stands in for it in a demo. `docs/stream.md` describes the records and proves the guarantees.

pub mod aggregator;
mod attempts;
pub mod broker;
mod dead;
mod events;
mod kafka;
pub mod mock;
mod outbox;
pub mod pause;
pub mod relay;
pub mod slot;
mod state;

pub use crate::system::routing::instance;
pub use kafka::Broker;
pub use state::{Figures, retire};

use crate::pg::PgError;
use thiserror::Error;

/// Reasons why a part of the stream ends.
#[derive(Debug, Error)]
pub enum StreamError {
    /// PostgreSQL.
    #[error("{0}")]
    Server(#[from] PgError),
    /// The client library refuses a setting.
    #[error("failed to start the Kafka client: {0}")]
    Client(String),
    /// Something must be changed first.
    #[error("{0}")]
    Refused(String),
    /// The topic or the slot is not the one that was read before.
    #[error("{0}")]
    Replaced(String),
    /// The broker does not answer.
    #[error("the broker does not answer: {0}")]
    Broker(String),
}

impl StreamError {
    /// Returns true if it may go away by itself.
    fn is_temporary(&self) -> bool {
        match self {
            Self::Server(error) => {
                // 55006: the backend of a relay that died still reads the slot.
                error.is_of_session()
                    || error.session_survives() && (is_restart(error) || error.code() == "55006")
            }
            Self::Broker(_) => true,
            Self::Client(_) | Self::Refused(_) | Self::Replaced(_) => false,
        }
    }
}

/// A lock timeout, a deadlock or a serialization failure.
fn is_restart(error: &PgError) -> bool {
    matches!(error.code(), "55P03" | "40P01" | "40001" | "57014")
}
