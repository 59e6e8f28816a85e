//! The plan of a statement that somebody else runs, or ran, without ever running it.
//!
//! Its text is fetched from the server by the session that plans it: what the screen shows is cleaned, and a
//! line comment without its line's end is another statement. It is planned where it is a single statement
//! that does nothing but read ([`crate::router`] says which are), by EXPLAIN without ANALYZE, in a read-only
//! transaction with short timeouts that is rolled back. A statement with parameters gets its generic plan:
//! by EXPLAIN (GENERIC_PLAN) from PostgreSQL 16 on, before that by EXPLAIN EXECUTE under
//! `plan_cache_mode = force_generic_plan`, which is the same but for partitions pruned by NULL.
//!
//! Planning calls functions that are labelled immutable or stable, with the rights of whoever plans. What our own
//! role wrote is planned, and what somebody wrote who can have our rights anyway. Of all others a superuser plans
//! nothing, and anybody else only what uses nothing but PostgreSQL's own functions, operators and types, or those
//! of a superuser (`author`). That is looked up just before: an author who makes a function within these
//! milliseconds is not seen, nor is a superuser's immutable or stable function that runs what it is told.
//!
//! Names are found as the author's session finds them (`names`).

mod author;
mod names;

use crate::pg::{Client, Param, PgError, Settings, Table, Target, quote_ident};
use crate::router::lex::{self, Token};
use crate::router::shape;
use crate::router::structure::{Harm, structure};
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
/// Until the statement itself is planned these names are the server's own, whatever anybody has made in a schema of
/// our search_path.
const SETTINGS: &str = "SET LOCAL search_path = ''; SET LOCAL lock_timeout = '300ms'; SET LOCAL plan_cache_mode = force_generic_plan";

/// Plans a statement on a session of its own.
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

/// The text in hexadecimal digits, so that it comes as it is, a row for each piece of it, and what decides
/// whether it may be planned.
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

/// The OID of the role that is shown by this name and ran the statement. Names of two roles may look the same.
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
    if found.first("we_are_superuser").is_true() && !found.first("as_us").is_true() {
        return refused(
            "planning calls functions of its author with our rights, and we are a superuser: connect as a \
             member of pg_monitor and pg_read_all_data"
                .into(),
        );
    }
    Ok(())
}

/// The statement alone, how many parameters it has, and its tokens, where it is one that only reads.
fn readable(text: &str) -> Result<(&str, usize, Vec<Token>), ExplainError> {
    let refused = |why: &str| ExplainError::Refused(why.to_owned());
    let tokens = lex::lex(text).map_err(|why| refused(&format!("it cannot be read: {why}")))?;
    let [tokens] = shape::statements(&tokens)[..] else {
        return Err(refused("it is not a single statement"));
    };
    let structure = structure(tokens)
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
        // The extended protocol takes a single statement, whatever its text says.
        let plan = client.query(&format!("EXPLAIN {sql}"), &[]).await?;
        return Ok((plan, "EXPLAIN, not run"));
    }
    // Behind a pooler another session may have a statement of that name. It outlives the transaction: whatever
    // fails, it is removed.
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
        // The parameters are the statement's and have no values, which only the simple protocol lets pass. That
        // would run several statements: one that can be prepared is a single one.
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
