//! Makes the checks, one after the other, each in a read-only transaction of its own.

use super::check::{self, Check};
use super::session::{self, Session};
use super::{Examination, Finding, Outcome, Severity};
use crate::dashboard::panels;
use crate::pg::{Client, Param, PgError, Table, Target, quote_ident};
use crate::text::Clean;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// In a transaction, so that behind a pooler they hold for the statement, and for nobody else.
const LIMITS: &str = "
    SET TRANSACTION READ ONLY;
    SET LOCAL search_path = ''; SET LOCAL statement_timeout = '10s'; SET LOCAL lock_timeout = '100ms';
    SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO'";

/// Longer than the server's own limit: after it the session is given up.
const DEADLINE: Duration = Duration::from_secs(15);

/// Connects, and makes all checks. Fails only where there is no connection.
pub async fn examine(target: &Target) -> Result<Examination, PgError> {
    let session = Session::open(target).await?;
    let of_session = match timeout(DEADLINE, session.checks()).await {
        Ok(outcomes) => outcomes.into(),
        Err(_) => session::CHECKS
            .iter()
            .map(|(name, title)| unmade(name, title, late()))
            .collect::<Vec<_>>(),
    };
    let facts = match timeout(DEADLINE, facts(&session.client)).await {
        Ok(facts) => facts?,
        Err(_) => return Err(late()),
    };
    let mut outcomes = Vec::new();
    let mut lost: Option<PgError> = None;
    for check in check::all(facts.major) {
        let made = match &lost {
            Some(error) => Err(error.clone()),
            None => match timeout(DEADLINE, make(&session.client, &check, &facts)).await {
                Ok(made) => made,
                Err(_) => Err(late()),
            },
        };
        outcomes.push(match made {
            Ok(outcome) => outcome,
            Err(error) => {
                let outcome = unmade(check.name, &check.front.title, error.clone());
                if !error.session_survives() {
                    lost = Some(error);
                }
                outcome
            }
        });
    }
    outcomes.extend(of_session);
    Ok(Examination { outcomes })
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

/// What decides whether a check can be made.
pub struct Facts {
    major: i64,
    role: String,
    pg_monitor: bool,
}

async fn facts(client: &Client) -> Result<Facts, PgError> {
    let sql = panels::statement("facts", 0).unwrap_or_default();
    let facts = client.query(sql, &[]).await?;
    let version = facts.first("server_version_num").int().unwrap_or_default();
    Ok(Facts {
        major: version / 10_000,
        role: facts
            .first("current_user")
            .text()
            .unwrap_or_default()
            .to_owned(),
        pg_monitor: facts.first("pg_monitor").is_true(),
    })
}

/// Makes one check.
async fn make(client: &Client, check: &Check, facts: &Facts) -> Result<Outcome, PgError> {
    let role = quote_ident(&facts.role);
    let not_made = |why: String| Ok(unmade(check.name, &check.front.title, why));
    if check.front.monitor && !facts.pg_monitor {
        return not_made(format!("needs pg_monitor: GRANT pg_monitor TO {role}"));
    }
    client.begin(LIMITS).await?;
    let made = async {
        if let Some(lack) = lacking(client, check, &role).await? {
            return not_made(lack);
        }
        Ok(read(check, &client.query(&check.sql, &[]).await?))
    }
    .await;
    client.rollback().await?;
    made
}

/// Which of the relations that a check reads is not there, or not for our role.
async fn lacking(client: &Client, check: &Check, role: &str) -> Result<Option<String>, PgError> {
    if check.front.needs.is_empty() {
        return Ok(None);
    }
    let sql = "
        SELECT n.name, c.oid IS NOT NULL AS there,
               coalesce(pg_catalog.has_schema_privilege(s.oid, 'USAGE')
                        AND pg_catalog.has_table_privilege(c.oid, 'SELECT'), false) AS readable
        FROM pg_catalog.unnest($1) AS n (name)
        LEFT JOIN pg_catalog.pg_namespace AS s ON s.nspname = pg_catalog.split_part(n.name, '.', 1)
        LEFT JOIN pg_catalog.pg_class AS c
               ON c.relnamespace = s.oid AND c.relname = pg_catalog.split_part(n.name, '.', 2)";
    let found = client
        .query(sql, &[Param::Texts(&check.front.needs)])
        .await?;
    let name = |row| found.get(row, "name").text().unwrap_or_default();
    let rows = 0..found.rows.len();
    if let Some(row) = (rows.clone()).find(|row| !found.get(*row, "there").is_true()) {
        let remedy = &check.front.remedy;
        return Ok(Some(format!("there is no {}: {remedy}", name(row))));
    }
    let unreadable = rows
        .into_iter()
        .find(|row| !found.get(*row, "readable").is_true());
    Ok(unreadable.map(|row| {
        let name = name(row);
        format!("needs SELECT on {name}: GRANT SELECT ON {name} TO {role}")
    }))
}

/// The findings in an answer, the worst first.
fn read(check: &Check, answer: &Table) -> Outcome {
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
            cure: cell(row, "cure"),
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
