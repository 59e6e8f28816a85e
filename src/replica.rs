//! `htap-top replica`: builds a streaming replica of one's own server, shows its lag, and removes it again.

mod create;
mod discard;
mod error;
mod facts;
mod local;
mod marker;
mod status;

pub(crate) use create::{Plan, Wish};
pub(crate) use discard::Removal;
pub(crate) use error::ReplicaError;
pub(crate) use status::look;
