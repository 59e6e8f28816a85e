//! Relations that this role may not see.

use super::quote_literal;

/// Returns SQL for the oid of a relation (`schema.name`). It is NULL if the relation is missing or this role has no USAGE on
/// its schema: `to_regclass` fails in the second case, and the server logs the error.
pub(crate) fn oid_of(relation: &str) -> String {
    let (schema, name) = relation.split_once('.').unwrap_or(("public", relation));
    format!(
        "(SELECT c.oid FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
          WHERE s.nspname = {} AND c.relname = {} AND pg_catalog.has_schema_privilege(s.oid, 'USAGE'))",
        quote_literal(schema),
        quote_literal(name)
    )
}
