//! Log entries of sessions; [`crate::log`] defines what may stand in them.

use super::endpoint::Endpoint;
use super::error::PgError;
use super::messages::Seen;
use super::peer::Peer;
use std::panic::Location;
use tracing::{debug, info, warn};

/// A connection is open.
pub(super) fn opened(endpoint: &Endpoint, peer: &Peer, seen: &Seen) {
    info!(
        server = %endpoint,
        // `15.20 (Debian 15.20-0+deb12u1)`
        version = seen.version().split(' ').next(),
        protection = ?peer.protection,
        backend = seen.backend(),
        "connection opened"
    );
}

/// A server was not reached, or refused the connection.
pub(super) fn refused(endpoint: &Endpoint, error: &PgError) {
    warn!(
        server = %endpoint,
        error = error.kind(),
        class = ?error.class,
        reason = own_words(error),
        "connection refused"
    );
}

/// Reason for a missing connection, if this program or its system gives it and not a server.
fn own_words(error: &PgError) -> Option<&str> {
    error.sqlstate.is_none().then_some(error.message.as_str())
}

/// A connection is closed, or was lost.
pub(super) fn ended(server: &str, backend: u32, ending: Result<(), tokio_postgres::Error>) {
    match ending.map_err(PgError::from) {
        Ok(()) => debug!(server, backend, "connection closed"),
        Err(error) => warn!(
            server,
            backend,
            error = error.kind(),
            reason = own_words(&error),
            "connection lost"
        ),
    }
}

/// The session is lent by a connection pooler.
pub(super) fn pooled(peer: &Peer) {
    info!(
        server = %format_args!("{}:{}", peer.host, peer.port),
        "connection pooler found"
    );
}

/// A statement failed.
pub(super) fn failed(peer: &Peer, backend: Option<u32>, error: &PgError, at: &Location<'_>) {
    warn!(
        error = error.kind(),
        statement = %at,
        server = %format_args!("{}:{}", peer.host, peer.port),
        backend,
        "statement failed"
    );
}
