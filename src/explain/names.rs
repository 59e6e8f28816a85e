//! Resolves the names of a statement as the session that runs it does.
//!
//! A running statement holds a lock on each relation that it reads. These locks reveal the schemas, even if the session
//! has changed its search_path. After them comes the search_path with which its role starts. After planning, our own
//! locks show which relations were found, and that they are the same.

use super::{ExplainError, Whose};
use crate::pg::{Client, Param, PgError};
use crate::router::names::Names;
use crate::sql::lex::Token;
use std::collections::BTreeSet;

/// Sets the search path with which a role starts in this database, independent of the role that asks.
const OF_ROLE: &str = "
    SELECT set_config('search_path', replace(coalesce(
               (SELECT substr(entry, 13)
                FROM pg_catalog.pg_db_role_setting AS s, unnest(s.setconfig) AS entry
                WHERE s.setrole IN (0, $1::oid) AND starts_with(entry, 'search_path=')
                  AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database()))
                ORDER BY s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1),
               (SELECT boot_val FROM pg_catalog.pg_settings WHERE name = 'search_path')),
               '$user', (SELECT replace(rolname::text, '\"', '\"\"') FROM pg_catalog.pg_roles WHERE oid = $1::oid)), true) AS path";

/// Selects the OIDs of the schemas of the search path, in its order. It runs under another role's path, so it qualifies
/// every name.
const SCHEMAS: &str = "
    SELECT pg_catalog.array_to_string(ARRAY(
               SELECT pg_catalog.to_regnamespace(pg_catalog.quote_ident(s.name::pg_catalog.text))::pg_catalog.oid
               FROM pg_catalog.unnest(pg_catalog.current_schemas(false)) WITH ORDINALITY AS s (name, place)
               ORDER BY s.place USING OPERATOR(pg_catalog.<)), ',') AS schemas";

/// Selects the schemas of the relations that a session has locked and that the statement names without a schema ($2;
/// with one, $4 and $5). Those missing in its role's path ($3) come first: the session has changed its path. Also
/// selects everything that the session has locked.
const LOCKED: &str = "
    WITH locked AS (
        SELECT DISTINCT c.oid, c.relname, c.relnamespace
        FROM pg_catalog.pg_locks AS l
        JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE l.locktype = 'relation' AND l.pid = $1
          AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
          AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid >= 16384
          AND NOT starts_with(n.nspname::text, 'pg_temp')
    )
    SELECT (SELECT string_agg(s.relnamespace::text, ','
                              ORDER BY array_position(string_to_array($3, ','), s.relnamespace::text) NULLS FIRST)
            FROM (SELECT DISTINCT l.relnamespace FROM locked AS l
                  JOIN pg_catalog.pg_namespace AS n ON n.oid = l.relnamespace
                  WHERE l.relname = ANY ($2::text[]::name[])
                    AND NOT EXISTS (SELECT FROM unnest($4::text[], $5::text[]) AS q (schema, name)
                                    WHERE q.schema::name = n.nspname AND q.name::name = l.relname)) AS s) AS schemas,
           (SELECT string_agg(oid::text, ',') FROM locked) AS relations";

/// Selects the relations that this session has locked since: those found and planned. Of a partitioned or inherited
/// table only the parent counts, because the planner chooses the parts to read. $1: relations locked by the other
/// session; $2: names in the statement; $3: those without a schema.
const PLANNED: &str = "
    WITH planned AS MATERIALIZED (
        SELECT DISTINCT c.oid, c.relname, format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_catalog.pg_locks AS l
        JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE l.locktype = 'relation' AND l.pid = pg_backend_pid() AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
          AND c.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid)
    ), locked AS MATERIALIZED (
        SELECT entry::oid AS oid FROM unnest(string_to_array($1, ',')) AS entry WHERE entry <> ''
    ), other AS MATERIALIZED (
        SELECT c.oid, c.relname, format('%I.%I', n.nspname, c.relname) AS name
        FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relname = ANY ($2::text[]::name[]) AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid >= 16384
          AND c.oid NOT IN (SELECT oid FROM planned) AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = c.oid)
    )
    SELECT (SELECT string_agg(name, ', ' ORDER BY name) FROM planned) AS names,
           (SELECT string_agg(name, ', ' ORDER BY name) FROM planned WHERE oid NOT IN (SELECT oid FROM locked)) AS strange,
           (SELECT string_agg(name, ', ' ORDER BY name) FROM other WHERE oid IN (SELECT oid FROM locked)) AS missing,
           (SELECT string_agg(name, ', ' ORDER BY name) FROM other
            WHERE relname = ANY ($3::text[]::name[]) AND relname IN (SELECT relname FROM planned)) AS others";

/// The meaning of a statement's names.
#[derive(Debug)]
pub(super) struct Meant {
    /// OIDs of the schemas of its search path, in order.
    pub(super) schemas: String,
    /// OIDs of the relations that its session has locked, if known.
    locked: Option<String>,
    /// The names without a schema.
    bare: Vec<String>,
    /// All names.
    names: Vec<String>,
}

/// Resolves the names of a statement for the session that runs it, or the role that ran it.
pub(super) async fn meant(
    client: &Client,
    whose: &Whose,
    author: Option<i64>,
    tokens: &[Token],
) -> Result<Meant, PgError> {
    let role = [Param::Int(author.unwrap_or(0))];
    client.query(OF_ROLE, &role).await?;
    let schemas = client.query(SCHEMAS, &[]).await?;
    client.batch("SET LOCAL search_path = ''").await?;
    let mut meant = Meant {
        schemas: schemas
            .first("schemas")
            .text()
            .unwrap_or_default()
            .to_owned(),
        locked: None,
        bare: bare(tokens),
        names: Vec::new(),
    };
    let mut names = Names::default();
    names.add(tokens);
    meant.names = names.words.iter().cloned().collect();
    if let Whose::Backend { pid, .. } = whose {
        let qualified = names
            .relations
            .iter()
            .filter(|(schema, _)| !schema.is_empty());
        let (of, qualified): (Vec<String>, Vec<String>) = qualified.cloned().unzip();
        let params = [
            Param::Int(*pid),
            Param::Texts(&meant.bare),
            Param::Text(&meant.schemas),
            Param::Texts(&of),
            Param::Texts(&qualified),
        ];
        let found = client.query(LOCKED, &params).await?;
        let text = |name| found.first(name).text().map(str::to_owned);
        if let Some(first) = text("schemas") {
            meant.schemas = format!("{first},{}", meant.schemas);
        }
        meant.locked = text("relations");
    }
    Ok(meant)
}

/// Returns the names without a schema.
fn bare(tokens: &[Token]) -> Vec<String> {
    let mut names = BTreeSet::new();
    let mut dotted = false;
    for token in tokens {
        if token.is_name() && !dotted {
            names.insert(token.text.clone());
        }
        dotted = token.is_sign(".");
    }
    names.into_iter().collect()
}

impl Meant {
    /// Sets the search path under which names are resolved from now on.
    pub(super) async fn set_search_path(&self, client: &Client) -> Result<(), PgError> {
        let sql = "SELECT set_config('search_path', coalesce((
                       SELECT string_agg(quote_ident(n.nspname), ', ' ORDER BY s.place)
                       FROM unnest(string_to_array($1, ',')) WITH ORDINALITY AS s (schema, place)
                       JOIN pg_catalog.pg_namespace AS n ON n.oid::text = s.schema), ''), true) AS path";
        client.query(sql, &[Param::Text(&self.schemas)]).await?;
        Ok(())
    }

    /// Describes the relations that were planned; refuses the plan if they are not those that the session reads.
    pub(super) async fn verify(&self, client: &Client) -> Result<String, ExplainError> {
        client.batch("SET LOCAL search_path = ''").await?;
        let locked = self.locked.clone().unwrap_or_default();
        let params = [
            Param::Text(&locked),
            Param::Texts(&self.names),
            Param::Texts(&self.bare),
        ];
        let found = client.query(PLANNED, &params).await?;
        let text = |name| found.first(name).text().filter(|text| !text.is_empty());
        let Some(names) = text("names") else {
            return Ok("it reads no tables but the server's own".to_owned());
        };
        if self.locked.is_some() {
            let refused = |why: String| {
                Err(ExplainError::Refused(format!(
                    "{why}: its names are ambiguous; plan it with its own search_path"
                )))
            };
            return match (text("strange"), text("missing")) {
                (Some(strange), _) => refused(format!(
                    "its names lead to {strange}, which its session has not locked"
                )),
                (None, Some(missing)) => refused(format!(
                    "its session has also locked {missing}, to which its names do not lead"
                )),
                (None, None) => Ok(format!("it reads {names}, according to its locks")),
            };
        }
        let others = text("others").map_or_else(String::new, |others| {
            format!(
                " (not {others}: the server does not keep which its session meant; select one that runs it, Queries)"
            )
        });
        Ok(format!(
            "by its role's own search_path it reads {names}{others}"
        ))
    }
}
