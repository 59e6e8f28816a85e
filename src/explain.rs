//! Shows the plan of a statement that another session runs, or ran, without running it.
//!
//! The session that plans the statement fetches its text from the server itself: the text on screen is cleaned, and a
//! line comment that loses its line end changes the statement. It is planned only if it is a single statement that does
//! nothing but read (as [`crate::router`] decides), by EXPLAIN without ANALYZE, in a read-only transaction with short
//! timeouts that is rolled back. A statement with parameters gets its generic plan: by EXPLAIN (GENERIC_PLAN) from
//! PostgreSQL 16 on, before that by EXPLAIN EXECUTE under `plan_cache_mode = force_generic_plan`, which gives the same
//! plan except for partitions pruned by NULL.
//!
//! Planning calls functions labelled immutable or stable, with the privileges of the role that plans. Statements of our
//! own role are planned, and those of roles that can obtain our privileges anyway. For other statements a superuser
//! plans none, and any other role only those that use nothing but functions, operators and types of PostgreSQL itself
//! or of a superuser (`author`). This is checked just before: a function that an author creates within these
//! milliseconds is not seen, nor is a superuser's immutable or stable function that runs code it is given.
//!
//! Names are resolved as in the author's session (`names`).

mod author;
mod names;

use crate::pg::{Client, Param, PgError, Settings, Table, Target, quote_ident};
use crate::router::structure::{Harm, structure};
use crate::sql::lex::{self, Token};
use crate::sql::shape;
use crate::text::Clean;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::timeout;

/// Source of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Whose {
    /// The current statement of a backend, as long as it runs.
    Backend {
        /// Process ID of the backend.
        pid: i64,
        /// `backend_start`, as text in UTC.
        backend_start: String,
        /// `query_start`, as text in UTC.
        query_start: String,
    },
    /// An entry of pg_stat_statements, in this database.
    Statement {
        /// Schema of the extension.
        schema: String,
        /// `queryid`, as text.
        queryid: String,
        /// The role that ran it.
        role: String,
    },
}

/// A plan, and how it was obtained.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The command used, and its limitations.
    pub how: String,
    /// Lines of EXPLAIN's output.
    pub lines: Vec<Clean>,
}

/// Reason why there is no plan. Its text can follow "no plan: ".
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ExplainError {
    /// The backend or the entry is gone, or runs another statement by now.
    #[error("the statement has ended, or the server no longer keeps it")]
    Gone,
    /// The statement was refused before planning.
    #[error("{0}")]
    Refused(String),
    /// Planning failed.
    #[error("{0}")]
    Server(#[from] PgError),
}

/// Deadline for the whole operation.
const DEADLINE: Duration = Duration::from_secs(6);
/// Statement timeout on the server. The wait for a table's lock ends much sooner.
const STATEMENT: Duration = Duration::from_secs(3);
/// Until the statement itself is planned, these names resolve to the server's own objects, no matter what others have
/// created in a schema of our search_path.
const SETTINGS: &str = "SET LOCAL search_path = ''; SET LOCAL lock_timeout = '300ms'; SET LOCAL plan_cache_mode = force_generic_plan";

/// Plans a statement in a session of its own.
pub async fn explain(target: &Target, whose: &Whose) -> Result<Explained, ExplainError> {
    let client = Client::open(target, &Settings::of_monitor(STATEMENT)).await?;
    let planned = async {
        client.begin_as("READ ONLY", SETTINGS).await?;
        let planned = in_transaction(&client, whose).await;
        client.rollback().await?;
        planned
    };
    let planned = timeout(DEADLINE, planned).await;
    planned.unwrap_or_else(|_| Err(PgError::deadline(DEADLINE.as_secs_f64()).into()))
}

async fn in_transaction(client: &Client, whose: &Whose) -> Result<Explained, ExplainError> {
    let found = look_up(client, whose).await?;
    if found.rows.is_empty() {
        return Err(ExplainError::Gone);
    }
    let unreadable = || ExplainError::Refused("its text is not in UTF-8".into());
    let text = raw(&found).ok_or_else(unreadable)?;
    permitted(&found, &text)?;
    let (sql, params, tokens) = readable(&text)?;
    let meant = names::meant(client, whose, found.first("author").int(), &tokens).await?;
    if !found.first("as_us").is_true() {
        author::allowed(client, &tokens, &meant.schemas).await?;
    }
    let major = found.first("version").int().unwrap_or_default() / 10_000;
    meant.set_search_path(client).await?;
    let (plan, how) = plan(client, sql, params, major).await?;
    let read = meant.verify(client).await?;
    Ok(Explained {
        how: format!("{how}; {read}"),
        lines: lines(plan),
    })
}

/// Fetches the text in hexadecimal digits, so that it arrives unaltered, one row per piece, together with the facts
/// that decide if it may be planned.
async fn look_up(client: &Client, whose: &Whose) -> Result<Table, ExplainError> {
    const FACTS: &str = "substr(h.digits, 1 + 8000 * piece.n, 8000) AS query, \
         s.datname = current_database() AS here, s.datname::text AS datname, \
         s.usesysid::int8 AS author, \
         pg_has_role(s.usesysid, (SELECT r.oid FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user), 'MEMBER') AS as_us, \
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
            Ok(client.query(&sql, &params).await?)
        }
        Whose::Statement {
            schema,
            queryid,
            role,
        } => {
            let Some(author) = author_of(client, schema, queryid, role).await? else {
                return Ok(Table::default());
            };
            let sql = format!(
                "SELECT {FACTS}, 0 AS length FROM (SELECT p.query, p.userid AS usesysid, d.datname \
                 FROM {}.pg_stat_statements(true) AS p JOIN pg_catalog.pg_database AS d ON d.oid = p.dbid \
                 WHERE p.queryid = $1::text::int8 AND p.userid = $2::oid AND d.datname = current_database() LIMIT 1) AS s \
                 {PIECES} ORDER BY piece.n",
                quote_ident(schema)
            );
            let params = [Param::Text(queryid), Param::Int(author)];
            Ok(client.query(&sql, &params).await?)
        }
    }
}

/// Returns the OID of the role that ran the statement and is displayed under this name. Two names may look the same.
async fn author_of(
    client: &Client,
    schema: &str,
    queryid: &str,
    role: &str,
) -> Result<Option<i64>, ExplainError> {
    let sql = format!(
        "SELECT DISTINCT p.userid::int8 AS author, pg_catalog.pg_get_userbyid(p.userid)::text AS role \
         FROM {}.pg_stat_statements(false) AS p JOIN pg_catalog.pg_database AS d ON d.oid = p.dbid \
         WHERE p.queryid = $1::text::int8 AND d.datname = current_database()",
        quote_ident(schema)
    );
    let found = client.query(&sql, &[Param::Text(queryid)]).await?;
    let authors: Vec<i64> = (0..found.rows.len())
        .filter(|row| found.get(*row, "role").raw() == Some(role))
        .filter_map(|row| found.get(row, "author").int())
        .collect();
    match authors[..] {
        [author] => Ok(Some(author)),
        [] => Ok(None),
        _ => Err(ExplainError::Refused(format!(
            "several roles that ran it are shown as {role}: select the session that runs it"
        ))),
    }
}

/// Returns the statement as its client wrote it.
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
    // The server truncates it before the first incomplete character, which has four bytes at most, and appends a zero
    // byte.
    if length >= size - 4 {
        return refused(format!(
            "the server keeps only the first {size} bytes of it (track_activity_query_size)"
        ));
    }
    if found.first("we_are_superuser").is_true() && !found.first("as_us").is_true() {
        return refused(
            "planning calls functions of its author with our rights, and we are a superuser: connect as a \
             member of pg_monitor and pg_read_all_data"
                .into(),
        );
    }
    Ok(())
}

/// Returns the statement alone, the number of its parameters, and its tokens, if it only reads.
fn readable(text: &str) -> Result<(&str, usize, Vec<Token>), ExplainError> {
    let refused = |why: &str| ExplainError::Refused(why.to_owned());
    let tokens = lex::lex(text).map_err(|why| refused(&format!("it cannot be read: {why}")))?;
    let [tokens] = shape::statements(&tokens)[..] else {
        return Err(refused("it is not a single statement"));
    };
    let structure = structure(tokens)
        .map_err(|_| refused("it is not a query, or our parser does not know it"))?;
    if let Some(harm) = structure.harm {
        return Err(refused(match harm {
            Harm::Modifies => "it writes; only statements that read are planned",
            Harm::Locks => "it locks rows; only statements that read are planned",
            Harm::MakesTable => "it creates a table; only statements that read are planned",
        }));
    }
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
        return Err(refused("it is empty"));
    };
    let sql = text.get(first.start..last.end).unwrap_or_default();
    let params = shape::params(tokens).map_err(|why| refused(&why))?;
    Ok((sql, params, tokens.to_vec()))
}

async fn plan(
    client: &Client,
    sql: &str,
    params: usize,
    major: i64,
) -> Result<(Table, &'static str), PgError> {
    if params == 0 {
        // The extended protocol accepts only a single statement.
        let plan = client.query(&format!("EXPLAIN {sql}"), &[]).await?;
        return Ok((plan, "EXPLAIN, not run"));
    }
    // Behind a pooler another session may have a statement of that name. It outlives the transaction, so it is removed
    // after any failure.
    let name = format!("htap_top_{:016x}", rand::random::<u64>());
    client.batch("SAVEPOINT planned").await?;
    client
        .execute(&format!("PREPARE {name} AS {sql}"), &[])
        .await?;
    let planned = if major < 16 {
        let nulls = vec!["NULL"; params].join(", ");
        client
            .query(&format!("EXPLAIN EXECUTE {name} ({nulls})"), &[])
            .await
    } else {
        // The parameters belong to the statement and have no values; only the simple protocol accepts that. It would
        // also run several statements, but a text that can be prepared is a single one.
        client
            .query_text(&format!("EXPLAIN (GENERIC_PLAN) {sql}"), usize::MAX)
            .await
    };
    if planned.is_err() {
        client.batch("ROLLBACK TO SAVEPOINT planned").await?;
    }
    client.batch(&format!("DEALLOCATE {name}")).await?;
    let how = if major < 16 {
        "EXPLAIN EXECUTE with force_generic_plan, not run: the plan for any parameters, partitions pruned as if they \
         were NULL"
    } else {
        "EXPLAIN (GENERIC_PLAN), not run: the plan for any parameters"
    };
    Ok((planned?, how))
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
        let read = |text| readable(text).map(|(sql, params, _)| (sql.to_owned(), params));
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
            ("SELECT 1 INTO u", "it creates a table"),
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
