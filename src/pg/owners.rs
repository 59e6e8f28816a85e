//! Whose are the relations and functions that our statements name.
//!
//! A name says nothing of who made what it means. Where a database has no shop, anybody who may create a schema in it
//! can make one called `shop`, with a view called `products`: to read that runs its author's functions with the
//! rights of whoever reads.

use super::client::{Client, Param, quote_literal};
use super::error::{Class, PgError};

const STATEMENT: &str = include_str!("../../queries/needs.sql");

/// Where the statement has the names of relations, and of schemas.
const LISTS: [&str; 2] = ["ARRAY[]::text[]", "ARRAY[]::pg_catalog.name[]"];

/// The schemas of the shop.
const SHOP: [&str; 3] = ["htap", "mart", "shop"];

/// The statement of the feed `needs` for these relations: `name`, `found`, `stranger`.
pub fn statement<'a>(relations: impl IntoIterator<Item = &'a str>) -> String {
    let listed: Vec<String> = relations.into_iter().map(quote_literal).collect();
    STATEMENT.replacen(
        LISTS[0],
        &format!("ARRAY[{}]::text[]", listed.join(", ")),
        1,
    )
}

/// Why `name` is neither read nor called: it is a stranger's.
pub fn refusal(name: &str, stranger: &str) -> String {
    format!(
        "{name} or its schema belongs to {stranger}, whose code would run with our rights: connect as a role that has no \
         other rights, or give it to a role that you trust (ALTER … OWNER TO)"
    )
}

/// Who else could have made one of these relations, in a sentence.
pub async fn stranger(client: &Client, relations: &[String]) -> Result<Option<String>, PgError> {
    let sql = STATEMENT.replacen(LISTS[0], "$1::text[]", 1);
    told(client, &sql, &[Param::Texts(relations)]).await
}

/// An error where the shop, or a part of it, could have been made by a stranger. Where there is none, all is well.
pub async fn trust_the_shop(client: &Client) -> Result<(), PgError> {
    let schemas = SHOP.map(str::to_owned);
    let sql = STATEMENT.replacen(LISTS[1], "$1::text[]::pg_catalog.name[]", 1);
    match told(client, &sql, &[Param::Texts(&schemas)]).await? {
        Some(why) => Err(PgError::new(Class::Statement, why)),
        None => Ok(()),
    }
}

async fn told(client: &Client, sql: &str, params: &[Param<'_>]) -> Result<Option<String>, PgError> {
    let found = client.query(sql, params).await?;
    let mut rows = 0..found.rows.len();
    Ok(rows.find_map(|row| {
        let name = found.get(row, "name").text()?;
        let stranger = found.get(row, "stranger").text()?;
        Some(refusal(name, stranger))
    }))
}
