//! What a view is called: by a user in words, by the server by its OID.

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
    /// Its OID, where the view was chosen from what the server listed. Then the OID alone says which it is: the
    /// names are as they are shown, and others may look the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relid: Option<i64>,
    /// Schema and name as they are, where they are shown otherwise: to be written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

impl View {
    /// By these names, as they are in the catalogue.
    pub fn new(schema: &str, name: &str) -> Self {
        Self {
            schema: schema.to_owned(),
            name: name.to_owned(),
            relid: None,
            raw: None,
        }
    }

    /// Both, quoted as SQL.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote_ident(&self.schema), quote_ident(&self.name))
    }

    /// PostgreSQL's statement that refreshes it where it is a materialized view. Of one that is known by its OID
    /// alone the server writes the name itself, whatever is in it.
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

    /// The number of its rows, as an expression. Of a materialized view the planner's figure: to plan a query of it
    /// would run what its owner hung on it, with the rights of whoever asks.
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
    /// The same by the function of [`OWNER`](crate::system::definition::OWNER), for one that `htap-top init` made.
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
