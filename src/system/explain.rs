//! The plan of a statement that somebody else runs, or ran, without ever running it.
//!
//! Its text is fetched from the server by the session that plans it: what the screen shows is cleaned, and a
//! line comment without its line's end is another statement. It is planned where it is a single statement
//! that does nothing but read ([`super::router`] says which are), by EXPLAIN without ANALYZE, in a read-only
//! transaction with short timeouts that is rolled back. A statement with parameters gets its generic plan:
//! by EXPLAIN (GENERIC_PLAN) from PostgreSQL 16 on, before that by EXPLAIN EXECUTE under
//! `plan_cache_mode = force_generic_plan`, which is the same but for partitions pruned by NULL.
//!
//! Planning calls functions that are labelled immutable or stable, with the rights of whoever plans. A
//! superuser therefore plans a superuser's statements only.

use super::router::catalogue;
use super::router::lex::{self, Mask};
use super::router::structure::{Harm, structure};
use crate::pg::{Client, Param, PgError, Settings, Table, Target, quote_ident, sampler, session};
use crate::text::Clean;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

/// Whose statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whose {
    /// A backend's, as long as it runs this one.
    Backend {
        /// Its process id.
        pid: i64,
        /// `backend_start`, as text in UTC.
        backend_start: String,
        /// `query_start`, as text in UTC.
        query_start: String,
    },
    /// One of pg_stat_statements, in this database.
    Statement {
        /// Schema of the extension.
        schema: String,
        /// `queryid`, as text.
        queryid: String,
        /// The role that ran it.
        role: String,
    },
}

/// A plan, and how it came about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// What was asked of the server, and what to know about it.
    pub how: String,
    /// Lines of EXPLAIN.
    pub lines: Vec<Clean>,
}

/// Why there is no plan. The texts are fit to follow "no plan: ".
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// The backend or the entry is gone, or does something else by now.
    #[error("it has ended meanwhile, or the server no longer keeps it")]
    Gone,
    /// Nothing was sent to be planned.
    #[error("{0}")]
    Refused(String),
    /// Planning failed.
    #[error("{0}")]
    Server(#[from] PgError),
}

/// All of it has to be done within this.
const DEADLINE: Duration = Duration::from_secs(6);
/// The server's own deadline for a statement. A queue for a table's lock is left at once.
const STATEMENT: Duration = Duration::from_secs(3);

/// Plans a statement on a session of its own.
pub async fn explain(target: &Target, whose: &Whose) -> Result<Explained, ExplainError> {
    let client = sampler::connect(target, &Settings::of_monitor(STATEMENT)).await?;
    let planned = async {
        client.begin_as("READ ONLY", "").await?;
        let found = look_up(&client, whose).await;
        client.rollback().await?;
        let found = found?;
        if found.rows.is_empty() {
            return Err(ExplainError::Gone);
        }
        let unreadable = || ExplainError::Refused("its text is not in UTF-8".into());
        let text = raw(&found).ok_or_else(unreadable)?;
        permitted(&found, &text)?;
        let (sql, params) = readable(&text)?;
        let major = found.first("version").int().unwrap_or_default() / 10_000;
        Ok(plan(&client, sql, params, major).await?)
    };
    let planned = timeout(DEADLINE, planned).await;
    planned.unwrap_or_else(|_| Err(PgError::deadline(DEADLINE.as_secs_f64()).into()))
}

/// The text in hexadecimal digits, so that it comes as it is, a row for each piece of it, and what decides
/// whether it may be planned.
async fn look_up(client: &Client, whose: &Whose) -> Result<Table, PgError> {
    const FACTS: &str = "substr(h.digits, 1 + 8000 * piece.n, 8000) AS query, \
         s.datname = current_database() AS here, s.datname::text AS datname, \
         (SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.oid = s.usesysid) AS superuser, \
         current_setting('is_superuser') = 'on' AS we_are_superuser, \
         current_setting('server_version_num')::int8 AS version, \
         (SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'track_activity_query_size') AS size";
    const PIECES: &str = "CROSS JOIN LATERAL (SELECT encode(convert_to(s.query, 'UTF8'), 'hex') AS digits) AS h \
         CROSS JOIN LATERAL generate_series(0, greatest(length(h.digits) - 1, 0) / 8000) AS piece (n)";
    match whose {
        Whose::Backend {
            pid,
            backend_start,
            query_start,
        } => {
            let sql = format!(
                "SELECT {FACTS}, octet_length(s.query) AS length FROM pg_catalog.pg_stat_activity AS s {PIECES} WHERE s.pid = $1 \
                 AND s.backend_start = $2::text::timestamptz AND s.query_start = $3::text::timestamptz ORDER BY piece.n"
            );
            let params = [
                Param::Int(*pid),
                Param::Text(backend_start),
                Param::Text(query_start),
            ];
            client.query(&sql, &params).await
        }
        Whose::Statement {
            schema,
            queryid,
            role,
        } => {
            let sql = format!(
                "SELECT {FACTS}, 0 AS length FROM (SELECT p.query, p.userid AS usesysid, d.datname \
                 FROM {}.pg_stat_statements(true) AS p JOIN pg_catalog.pg_database AS d ON d.oid = p.dbid \
                 WHERE p.queryid = $1::text::int8 AND pg_catalog.pg_get_userbyid(p.userid)::text = $2 \
                 AND d.datname = current_database() LIMIT 1) AS s {PIECES} ORDER BY piece.n",
                quote_ident(schema)
            );
            let params = [Param::Text(queryid), Param::Text(role)];
            client.query(&sql, &params).await
        }
    }
}

/// The statement as its client wrote it.
fn raw(found: &Table) -> Option<String> {
    let pieces = (0..found.rows.len()).map(|row| found.get(row, "query").text());
    let digits: String = pieces
        .collect::<Option<Vec<_>>>()
        .filter(|all| !all.is_empty())?
        .concat();
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

fn permitted(found: &Table, text: &str) -> Result<(), ExplainError> {
    let refused = |why: String| Err(ExplainError::Refused(why));
    if !found.first("here").is_true() {
        let database = found.first("datname").text().unwrap_or("no database");
        return refused(format!("it runs in {database}: connect there"));
    }
    if text.starts_with("<insufficient privilege>") {
        return refused("our role may not see it: GRANT pg_read_all_stats TO it".into());
    }
    let number = |name| found.first(name).int().unwrap_or_default();
    let (length, size) = (number("length"), number("size"));
    // It is cut before the first character that is not whole, which has four bytes at most, and a zero follows.
    if length >= size - 4 {
        return refused(format!(
            "the server keeps only the first {size} bytes of it (track_activity_query_size)"
        ));
    }
    if found.first("we_are_superuser").is_true() && !found.first("superuser").is_true() {
        return refused(
            "planning calls functions of its author with our rights, and we are a superuser: connect as a \
             member of pg_monitor and pg_read_all_data"
                .into(),
        );
    }
    Ok(())
}

/// The statement alone, and how many parameters it has, where it is one that only reads.
fn readable(text: &str) -> Result<(&str, usize), ExplainError> {
    let refused = |why: &str| ExplainError::Refused(why.to_owned());
    let tokens = lex::lex(text).map_err(|why| refused(&format!("it cannot be read: {why}")))?;
    let [tokens] = lex::statements(&tokens)[..] else {
        return Err(refused("it is not a single statement"));
    };
    let shape = lex::canonical(tokens, Mask::All);
    let structure = structure(&shape, tokens.len())
        .map_err(|_| refused("it is not a query, or one that our parser does not know"))?;
    if let Some(harm) = structure.harm {
        return Err(refused(match harm {
            Harm::Modifies => "it writes; only statements that read are planned",
            Harm::Locks => "it locks rows; only statements that read are planned",
            Harm::MakesTable => "it makes a table; only statements that read are planned",
        }));
    }
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Err(refused("it is empty"));
    };
    let sql = text.get(first.start..last.end).unwrap_or_default();
    let params = lex::params(tokens).map_err(|why| refused(&why))?;
    Ok((sql, params))
}

async fn plan(client: &Client, sql: &str, params: usize, major: i64) -> Result<Explained, PgError> {
    const OPTIONS: &str = "COSTS";
    let (plan, how) = if params == 0 {
        (
            catalogue::explain(client, OPTIONS, sql, 0, &[]).await?,
            "EXPLAIN, not run",
        )
    } else if major < 16 {
        (
            catalogue::explain(client, OPTIONS, sql, params, &[]).await?,
            "EXPLAIN EXECUTE with force_generic_plan, not run: the plan for any parameters, partitions pruned \
             as if they were NULL",
        )
    } else {
        (
            generic(client, sql).await?,
            "EXPLAIN (GENERIC_PLAN), not run: the plan for any parameters",
        )
    };
    Ok(Explained {
        how: format!("{how}; names found by our own search_path"),
        lines: lines(plan),
    })
}

/// As it is asked for from PostgreSQL 16 on. The parameters are the statement's and have no values, which only
/// the simple protocol lets pass. That would run several statements: one that can be prepared is a single one.
async fn generic(client: &Client, sql: &str) -> Result<Table, PgError> {
    let name = format!("htap_top_{:016x}", rand::random::<u64>());
    let prepare = format!("PREPARE {name} AS {sql}");
    let explain = format!("EXPLAIN (GENERIC_PLAN) {sql}");
    let plan = client.query_text(&explain, usize::MAX);
    // From here on names are looked up as our role's own sessions do.
    catalogue::named(client, &session::as_the_user(), &prepare, &name, plan).await
}

fn lines(plan: Table) -> Vec<Clean> {
    let cells = plan.rows.into_iter().filter_map(|row| {
        let cell = row.into_iter().next()?;
        cell.text().map(Clean::from)
    });
    cells.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_statement_that_reads_is_planned() {
        let read = |text| readable(text).map(|(sql, params)| (sql.to_owned(), params));
        assert_eq!(
            read("/* app */ SELECT a -- why\n FROM t WHERE a = $2; "),
            Ok(("SELECT a -- why\n FROM t WHERE a = $2".to_owned(), 2))
        );
        for (text, why) in [
            ("SELECT 1; DROP TABLE t", "not a single statement"),
            ("", "not a single statement"),
            ("DELETE FROM t", "not a query"),
            (
                "WITH d AS (DELETE FROM t RETURNING 1) SELECT * FROM d",
                "it writes",
            ),
            ("SELECT * FROM t FOR UPDATE", "it locks rows"),
            ("SELECT 1 INTO u", "it makes a table"),
            ("VACUUM t", "not a query"),
            ("EXPLAIN ANALYZE DELETE FROM t", "not a query"),
            ("SELECT 'open", "cannot be read"),
            ("SELECT $4000000000", "more than 65535 parameters"),
            (
                "SELECT $1, $99999999999999999999",
                "more than 65535 parameters",
            ),
        ] {
            let refused = read(text).unwrap_err().to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    #[test]
    fn a_text_comes_as_it_was_written() {
        let of = |pieces: &[&str]| {
            raw(&Table {
                columns: ["query".into()].into(),
                rows: pieces.iter().map(|piece| vec![(*piece).into()]).collect(),
            })
        };
        assert_eq!(of(&["61", "0a"]), Some("a\n".into()));
        for wrong in ["6", "zz", "ff"] {
            assert_eq!(of(&[wrong]), None, "{wrong}");
        }
        assert_eq!(of(&[]), None);
    }
}
