//! Opening a connection, with or without TLS.

use super::client::{Peer, Protection};
use super::conninfo::Target;
use super::error::{Class, PgError};
use tokio_postgres::{CancelToken, Client, NoTls};

pub(super) async fn connect(target: &Target) -> Result<(Client, Peer), PgError> {
    let config: tokio_postgres::Config = target
        .conninfo
        .parse()
        .map_err(|e: tokio_postgres::Error| PgError::new(Class::Configuration, e.to_string()))?;
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    Ok((
        client,
        Peer {
            host: String::new(),
            port: 5432,
            protection: Protection::Local,
        },
    ))
}

pub(super) async fn cancel(_target: &Target, token: &CancelToken) -> Result<(), PgError> {
    Ok(token.cancel_query(NoTls).await?)
}
