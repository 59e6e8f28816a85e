//! Where a session is connected.

/// Where a session is connected, and how well the way there is protected.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Peer {
    /// Host name, address or socket directory.
    pub host: String,
    /// TCP port, or the number in the socket's name.
    pub port: u16,
    /// Protection of the connection.
    pub protection: Protection,
    /// A connection pooler is in between: each transaction may have another backend.
    #[serde(default)]
    pub pooled: bool,
}

/// Protection of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Protection {
    /// Unix-domain socket or loopback address: nothing crosses a network.
    Local,
    /// TLS with the server's certificate and, where sslmode asks for it, its name verified.
    Verified,
    /// TLS without verification of who the server is.
    Unverified,
    /// Nothing.
    Plaintext,
}
