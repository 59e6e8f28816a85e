//! Runs the checks one after the other, each in a read-only transaction of its own.

use super::check::{self, Check};
use super::cure;
use super::session::{self, Session};
use super::{Examination, Finding, Outcome, Severity};
use crate::pg::{Class, Client, Param, PgError, Table, Target, owners, to_copy};
use crate::text::Clean;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// Client-side deadline, longer than the server's own limit; after it the session is abandoned.
const DEADLINE: Duration = Duration::from_secs(15);

/// Connects and runs all checks. Returns an error only if there is no connection.
pub async fn examine(target: &Target) -> Result<Examination, PgError> {
    let session = Session::open(target).await?;
    let of_session = match timeout(DEADLINE, session.checks()).await {
        Ok(outcomes) => outcomes.into(),
        Err(_) => session::CHECKS
            .iter()
            .map(|(name, title)| unmade(name, title, late()))
            .collect::<Vec<_>>(),
    };
    let (major, standby) = match timeout(DEADLINE, server(&session.client)).await {
        Ok(server) => server?,
        Err(_) => return Err(late()),
    };
    let mut outcomes = Vec::new();
    let mut lost: Option<PgError> = None;
    let checks = check::all(major).map_err(|why| PgError::new(Class::Configuration, why))?;
    for check in checks {
        let made = match &lost {
            Some(error) => Err(error.clone()),
            None => match timeout(DEADLINE, make(&session.client, &check)).await {
                Ok(made) => made,
                Err(_) => Err(late()),
            },
        };
        outcomes.push(match made {
            Ok(outcome) => outcome,
            Err(error) => {
                let outcome = unmade(check.name, &check.front.title, why(&error));
                if !error.session_survives() {
                    lost = Some(error);
                }
                outcome
            }
        });
    }
    if standby {
        for finding in outcomes
            .iter_mut()
            .flat_map(|outcome| &mut outcome.findings)
        {
            elsewhere(&mut finding.cure);
        }
    }
    outcomes.extend(of_session);
    Ok(Examination { outcomes })
}

/// Explains why a check was not run.
fn why(error: &PgError) -> String {
    match error.code() {
        "55P03" => "somebody has locked a relation that it reads: try again".to_owned(),
        "57014" => "it took longer than 10 s".to_owned(),
        _ => error.to_string(),
    }
}

/// Returns the server's major version, and true if it is a standby.
async fn server(client: &Client) -> Result<(i64, bool), PgError> {
    let sql = "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int8 AS version,
                      pg_catalog.pg_is_in_recovery() AS standby";
    let told = client.query(sql, &[]).await?;
    let version = told.first("version").int().unwrap_or_default();
    Ok((version / 10_000, told.first("standby").is_true()))
}

/// Commands that a standby rejects.
const WRITES: [&str; 16] = [
    "GRANT",
    "REVOKE",
    "CREATE",
    "DROP",
    "REINDEX",
    "ANALYZE",
    "VACUUM",
    "REFRESH",
    "ALTER TABLE",
    "ALTER MATERIALIZED",
    "ALTER ROLE",
    "ALTER DATABASE",
    "ALTER EXTENSION",
    "SELECT htap.",
    "htap-top ",
    "in database",
];

/// Marks a cure that must run on the primary; for the findings of a standby.
fn elsewhere(cure: &mut Clean) {
    let text = cure.as_str();
    if WRITES.iter().any(|word| text.contains(word)) {
        *cure = Clean::new(&format!("on the primary: {text}"));
    }
}

fn late() -> PgError {
    PgError::deadline(DEADLINE.as_secs_f64())
}

fn unmade(check: &'static str, title: &str, why: impl std::fmt::Display) -> Outcome {
    Outcome {
        check,
        title: title.to_owned(),
        findings: Vec::new(),
        reason: Some(why.to_string().as_str().into()),
    }
}

/// Returns a check's statement with an additional column: the cure in hexadecimal digits, if it contains characters
/// that are not displayed unchanged.
fn as_written(check: &str) -> String {
    format!(
        "SELECT f.severity, f.subject, f.evidence, f.cure, \
         CASE WHEN f.cure COLLATE \"C\" ~ '[^ -~]' AND pg_catalog.getdatabaseencoding() <> 'SQL_ASCII' \
         THEN pg_catalog.encode(pg_catalog.convert_to(f.cure, 'UTF8'), 'hex') END AS written FROM (\n{check}\n) AS f"
    )
}

/// Runs one check.
async fn make(client: &Client, check: &Check<'static>) -> Result<Outcome, PgError> {
    client.begin_as("READ ONLY", "").await?;
    let made = async {
        if let Some(lack) = lacking(client, check).await? {
            return Ok(unmade(check.name, &check.front.title, lack));
        }
        Ok(read(
            check,
            &client.query(&as_written(&check.sql), &[]).await?,
        ))
    }
    .await;
    client.rollback().await?;
    made
}

/// Explains which relations of a check are missing or not accessible to our role; `None` if there are none.
async fn lacking(client: &Client, check: &Check<'static>) -> Result<Option<String>, PgError> {
    let read = [&check.front.needs[..], &check.front.may_read].concat();
    if read.is_empty() {
        return Ok(None);
    }
    if let Some(why) = owners::stranger(client, &read).await? {
        return Ok(Some(why));
    }
    let sql = "
        SELECT n.name, c.oid IS NOT NULL AS there,
               CASE WHEN NOT pg_catalog.has_schema_privilege(s.oid, 'USAGE')
                    THEN pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', s.nspname, current_user) END AS usage,
               CASE WHEN NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
                    THEN pg_catalog.format('GRANT SELECT ON %I.%I TO %I', s.nspname, c.relname, current_user) END AS read
        FROM pg_catalog.unnest($1) AS n (name)
        LEFT JOIN pg_catalog.pg_namespace AS s ON s.nspname = pg_catalog.split_part(n.name, '.', 1)
        LEFT JOIN pg_catalog.pg_class AS c
               ON c.relnamespace = s.oid AND c.relname = pg_catalog.split_part(n.name, '.', 2)";
    let found = client
        .query(sql, &[Param::Texts(&check.front.needs)])
        .await?;
    let mut grants: Vec<&str> = Vec::new();
    for row in 0..found.rows.len() {
        if !found.get(row, "there").is_true() {
            let name = found.get(row, "name").text().unwrap_or_default();
            return Ok(Some(format!("there is no {name}: {}", check.front.remedy)));
        }
        let lacks = ["usage", "read"].map(|column| found.get(row, column).text());
        for grant in lacks.into_iter().flatten() {
            if !grants.contains(&grant) {
                grants.push(grant);
            }
        }
    }
    Ok((!grants.is_empty()).then(|| format!("needs {}", grants.join("; "))))
}

/// Reads the findings from an answer, the worst first.
fn read(check: &Check<'static>, answer: &Table) -> Outcome {
    let cell = |row, column| match answer.get(row, column).text() {
        Some(text) => Clean::new(text),
        None => Clean::default(),
    };
    let mut findings = Vec::new();
    // Each reason once, in the order of the rows.
    let mut reasons = BTreeMap::new();
    for row in 0..answer.rows.len() {
        let severity = match cell(row, "severity").as_str() {
            "danger" => Severity::Danger,
            "warning" => Severity::Warning,
            "info" => Severity::Info,
            _ => {
                reasons.entry(cell(row, "evidence")).or_insert(row);
                continue;
            }
        };
        findings.push(Finding {
            severity,
            subject: cell(row, "subject"),
            evidence: cell(row, "evidence"),
            cure: match answer.get(row, "written").text().and_then(cure::of_hex) {
                Some(written) => Clean::from(to_copy(&written)),
                None => cell(row, "cure"),
            },
        });
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let reasons: Vec<&str> = reasons.keys().map(Clean::as_str).collect();
    Outcome {
        check: check.name,
        title: check.front.title.clone(),
        findings,
        reason: (!reasons.is_empty()).then(|| Clean::new(&reasons.join("; "))),
    }
}
