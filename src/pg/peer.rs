//! The server that a session is connected to.

/// The server that a session is connected to, and the protection of the connection.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Peer {
    /// Host name, address or socket directory.
    pub host: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Protection of the connection.
    pub protection: Protection,
    /// True if a connection pooler is in between: each transaction may run on another backend.
    #[serde(default)]
    pub pooled: bool,
}

/// Protection of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Protection {
    /// Unix-domain socket or loopback address: nothing crosses a network.
    Local,
    /// TLS with a verified certificate and, if sslmode requires it, a verified host name.
    Verified,
    /// TLS without verification of the server.
    Unverified,
    /// No protection.
    Plaintext,
}
