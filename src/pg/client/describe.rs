//! What the server says of a statement without running it.

use super::Client;
use crate::pg::error::{Class, PgError};
use tokio_postgres::types::Type;

/// The parameters and columns of a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// OIDs of the parameters' types.
    pub params: Vec<u32>,
    /// Names of the columns of the answer, and OIDs of their types.
    pub columns: Vec<(String, u32)>,
}

impl Client {
    /// Has the server parse a statement, with these OIDs as its parameters' types; 0 leaves one to the server.
    #[track_caller]
    pub fn describe(
        &self,
        sql: &str,
        params: &[u32],
    ) -> impl Future<Output = Result<Description, PgError>> {
        self.noting(self.within(async move {
            let types = params.iter().map(|oid| match oid {
                0 => Ok(Type::UNKNOWN),
                oid => Type::from_oid(*oid).ok_or_else(|| {
                    let why = format!("parameters of the type with OID {oid} are not supported");
                    PgError::new(Class::Statement, why)
                }),
            });
            let types = types.collect::<Result<Vec<Type>, PgError>>()?;
            let prepared = self.inner.prepare_typed(sql, &types).await;
            let prepared = prepared.map_err(|error| self.failed(error))?;
            let columns = prepared.columns().iter();
            Ok(Description {
                params: prepared.params().iter().map(Type::oid).collect(),
                columns: columns
                    .map(|column| (column.name().to_owned(), column.type_().oid()))
                    .collect(),
            })
        }))
    }

    /// Returns true if the server asked for a password when connecting: only then does the session prove that its user
    /// knows it.
    pub fn proved_password(&self) -> bool {
        self.seen.wanted_password()
    }
}
