//! The only room that knows the driver: connection strings, TLS, sessions, typed rows.

pub mod admin;
pub mod canary;
mod cell;
mod certificate;
pub mod client;
pub mod conninfo;
mod connstring;
mod copy;
mod encoding;
mod endpoint;
pub mod error;
mod failure;
mod keywords;
pub mod measure;
mod messages;
mod options;
pub mod owners;
mod passfile;
pub mod pool;
pub mod sampler;
mod service;
pub mod session;
mod sniff;
pub mod statement;
mod stream;
pub mod table;
pub mod texts;
mod tls;

pub use client::{Canceller, Client, Param, Peer, Protection, quote_ident, quote_literal};
pub use conninfo::{ConninfoError, Flags, Target};
pub use copy::to_copy;
pub use error::{Class, PgError};
pub use pool::{Pool, PoolError, PoolSize};
pub use session::Settings;
pub use statement::{Answer, Part, Statement};
pub use table::{Table, Value};
