//! Access to PostgreSQL: connection strings, TLS, sessions, typed rows. No other module uses the driver.

mod account;
pub mod admin;
pub mod canary;
mod cell;
mod certificate;
pub(crate) mod client;
pub(crate) mod column_store;
pub(crate) mod conninfo;
mod conninfo_error;
mod connstring;
pub(crate) mod console;
mod copy;
mod encoding;
mod endpoint;
pub(crate) mod error;
mod failure;
mod keywords;
mod logged;
pub mod measure;
mod messages;
mod options;
pub(crate) mod owners;
mod passfile;
mod peer;
pub(crate) mod pool;
pub(crate) mod relation;
pub mod sampler;
mod service;
mod sniff;
mod stream;
pub(crate) mod table;
mod tls;

#[cfg(feature = "columnar")]
pub(crate) use certificate::of_system as system_tls;
pub use certificate::tls_library;
pub use client::describe::Description;
pub use client::session::Settings;
pub use client::statement::{Answer, Call, Statement};
pub use client::{Canceller, Client, Param, quote_ident, quote_literal};
pub(crate) use client::{session, texts};
pub use conninfo::{Flags, Target};
pub use conninfo_error::ConninfoError;
pub use copy::to_copy;
pub use error::{Class, PgError};
#[cfg(feature = "columnar")]
pub(crate) use messages::COLUMN_STORE;
pub use peer::{Peer, Protection};
pub use pool::{Pool, PoolError, PoolSize, Pooled};
pub(crate) use sampler::shared;
#[cfg(feature = "columnar")]
pub(crate) use sniff::numbers;
pub use table::{Column, Table, Value};
