//! The only room that knows the driver: connection strings, TLS, sessions, typed rows.

pub mod admin;
mod cell;
pub mod client;
pub mod conninfo;
pub mod error;
pub mod sampler;
mod sniff;
pub mod table;
mod tls;

pub use client::{Canceller, Client, Param, Peer, Protection, quote_ident, quote_literal};
pub use conninfo::Target;
pub use error::{Class, PgError};
pub use table::{Table, Value};
