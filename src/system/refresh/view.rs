//! Identity of a view: schema and name, or the server's OID.

use super::Kind;
use crate::pg::{quote_ident, quote_literal};
use serde::{Deserialize, Serialize};

/// A materialized view or incremental summary.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct View {
    /// Schema.
    pub schema: String,
    /// Name.
    pub name: String,
    /// OID of the view, if it was chosen from a list that the server sent. Only the OID then identifies the view: the
    /// names are as displayed, and other views may look the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relid: Option<i64>,
    /// Schema and name as they are, if they are displayed differently; for records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

impl View {
    /// Returns the view with these names, spelled as in the catalogue.
    pub fn new(schema: &str, name: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            relid: None,
            raw: None,
        }
    }

    /// Returns schema and name, quoted as SQL.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }

    /// Returns PostgreSQL's statement that refreshes a materialized view. For a view known by its OID, the server
    /// itself inserts the name, so its characters do not matter.
    pub fn statement(&self, concurrently: bool) -> String {
        let mode = if concurrently { "CONCURRENTLY " } else { "" };
        let Some(relid) = self.relid else {
            return format!("REFRESH MATERIALIZED VIEW {mode}{}", self.quoted());
        };
        format!(
            "DO /* REFRESH MATERIALIZED VIEW {mode}*/ $$ DECLARE refresh pg_catalog.text; BEGIN \
             SELECT pg_catalog.format('REFRESH MATERIALIZED VIEW {mode}%I.%I', n.nspname, c.relname) INTO refresh \
             FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace \
             WHERE c.oid OPERATOR(pg_catalog.=) {relid}::pg_catalog.oid; \
             IF refresh IS NULL THEN RAISE undefined_table USING MESSAGE = 'the view is gone'; END IF; \
             EXECUTE refresh; END $$"
        )
    }

    /// Returns an SQL expression for its number of rows. For a materialized view it is the planner's estimate: planning
    /// a query of it would run code that its owner attached to it, with the privileges of the current role.
    pub(super) fn rows(&self, kind: Kind) -> String {
        if kind == Kind::Incremental {
            return format!("(SELECT pg_catalog.count(*) FROM {})", self.quoted());
        }
        let oid = match self.relid {
            Some(relid) => format!("{relid}::pg_catalog.oid"),
            None => format!("{}::pg_catalog.regclass", quote_literal(&self.quoted())),
        };
        format!(
            "(SELECT greatest(c.reltuples, 0)::pg_catalog.int8 FROM pg_catalog.pg_class AS c WHERE c.oid = {oid})"
        )
    }
}

impl View {
    /// Returns a call of the function of [`OWNER`](crate::system::definition::OWNER) that does the same for a view that
    /// `htap-top init` created.
    pub(super) fn call(&self, concurrently: bool) -> String {
        let name = quote_literal(&self.to_string());
        format!("SELECT htap.refresh_view({name}, {concurrently})")
    }
}

impl std::fmt::Display for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.name)
    }
}
