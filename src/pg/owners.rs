//! Owners of the relations and functions that our statements name.
//!
//! A name does not tell who created the object. In a database without the shop, anybody who may create a schema can
//! create one called `shop` with a view called `products`; reading that runs its author's functions with the reader's
//! privileges.

use super::client::{Client, Param, quote_literal};
use super::error::{Class, PgError};
use super::table::Table;
use futures_util::future::join3;
use std::sync::LazyLock;

const STATEMENT: &str = include_str!("../../queries/needs.sql");

/// Placeholders in the statement for the names of relations and of schemas.
const LISTS: [&str; 2] = ["ARRAY[]::text[]", "ARRAY[]::pg_catalog.name[]"];

/// The statement for the schemas of the shop.
static OF_SHOP: LazyLock<String> = LazyLock::new(|| {
    let schemas = "ARRAY['htap', 'mart', 'shop']::pg_catalog.name[]";
    STATEMENT.replacen(LISTS[1], schemas, 1)
});

/// Returns the statement of the feed `needs` for these relations: `name`, `found`, `stranger`.
pub(crate) fn statement<'a>(relations: impl IntoIterator<Item = &'a str>) -> String {
    let listed: Vec<String> = relations.into_iter().map(quote_literal).collect();
    STATEMENT.replacen(
        LISTS[0],
        &format!("ARRAY[{}]::text[]", listed.join(", ")),
        1,
    )
}

/// Explains why `name` is neither read nor called: it belongs to an untrusted role.
pub(crate) fn refusal(name: &str, stranger: &str) -> String {
    let which = if name.starts_with("schema ") {
        ""
    } else {
        " or its schema"
    };
    format!(
        "{name}{which} belongs to {stranger}, whose code would run with our rights: connect as a role that has no \
         other rights, or give it to a role that you trust (ALTER … OWNER TO)"
    )
}

/// Returns a sentence about an untrusted role that could have created one of these relations, if there is one.
pub(crate) async fn stranger(
    client: &Client,
    relations: &[String],
) -> Result<Option<String>, PgError> {
    let sql = STATEMENT.replacen(LISTS[0], "$1::text[]", 1);
    let found = client.query(&sql, &[Param::Texts(relations)]).await?;
    Ok(told(&found))
}

/// Returns an error if an untrusted role could have created the shop or a part of it. A missing shop is no error.
pub(crate) async fn trust_the_shop(client: &Client) -> Result<(), PgError> {
    let found = match of_shop(client, client.commit()).await {
        Err(error) if error.is_name_at_fault() => of_shop(client, client.commit()).await,
        other => other,
    };
    trusted(&found?)
}

/// Like [`trust_the_shop`], and begins a transaction of this mode in the same round trip. If it fails, that transaction may
/// be open.
#[cfg(feature = "columnar")]
pub(crate) async fn trust_the_shop_and_begin_as(
    client: &Client,
    mode: &str,
) -> Result<(), PgError> {
    let found = match of_shop(client, client.commit_and_begin_as(mode)).await {
        Err(error) if error.is_name_at_fault() => {
            client.rollback().await?;
            of_shop(client, client.commit_and_begin_as(mode)).await
        }
        other => other,
    };
    trusted(&found?)
}

fn trusted(found: &Table) -> Result<(), PgError> {
    match told(found) {
        Some(why) => Err(PgError::new(Class::Statement, why)),
        None => Ok(()),
    }
}

const UNRESOLVED: &str = "
    WITH wanted AS (
        SELECT pg_catalog.split_part($1, '.', 1)::pg_catalog.name AS schema, pg_catalog.split_part($1, '.', 2)::pg_catalog.name AS name
    )
    SELECT CASE WHEN c.oid IS NULL THEN '42P01' WHEN NOT pg_catalog.has_schema_privilege(s.oid, 'USAGE') THEN '42501' END AS sqlstate,
           CASE WHEN c.oid IS NULL THEN 'relation \"' || $1 || '\" does not exist'
                ELSE 'permission denied for schema ' || w.schema END AS message
    FROM wanted AS w
    LEFT JOIN pg_catalog.pg_namespace AS s ON s.nspname = w.schema
    LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid AND c.relname = w.name";

/// Returns the error that the server would give for the name of this relation, without leaving it in the server's log:
/// `undefined_table`, or `insufficient_privilege` if this role may not use its schema.
pub(crate) async fn unresolved(
    client: &Client,
    relation: &str,
) -> Result<Option<PgError>, PgError> {
    let found = client.query(UNRESOLVED, &[Param::Text(relation)]).await?;
    let texts = (
        found.first("sqlstate").text(),
        found.first("message").text(),
    );
    Ok(match texts {
        (Some(sqlstate), Some(message)) => Some(PgError {
            sqlstate: Some(sqlstate.into()),
            ..PgError::new(Class::Statement, message)
        }),
        _ => None,
    })
}

/// Like [`trust_the_shop`]; also returns an error if this relation of the shop is missing, or if this role may not use its
/// schema.
pub(crate) async fn need_of_shop(client: &Client, relation: &str) -> Result<(), PgError> {
    trust_the_shop(client).await?;
    unresolved(client, relation).await?.map_or(Ok(()), Err)
}

async fn of_shop(
    client: &Client,
    end: impl Future<Output = Result<(), PgError>>,
) -> Result<Table, PgError> {
    // The planner expects far more owners than there are, so that the statement is compiled if JIT is on: 80 ms.
    let (opened, found, ended) = join3(
        client.begin_as("READ ONLY", "SET LOCAL jit = off"),
        client.query_again(&OF_SHOP),
        end,
    )
    .await;
    opened?;
    let found = found?;
    ended?;
    Ok(found)
}

fn told(found: &Table) -> Option<String> {
    let mut rows = 0..found.rows.len();
    rows.find_map(|row| {
        let name = found.get(row, "name").text()?;
        let stranger = found.get(row, "stranger").text()?;
        Some(refusal(name, stranger))
    })
}
