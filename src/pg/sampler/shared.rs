//! Reads pg_stat_activity once for several statements.
//!
//! At every read the server processes the whole text of each session's statement, even if little of it is requested: 40
//! texts of 1 MB take 0.1 s and more. Statements that read the view with [`PASS`] and are due together are sent as one,
//! which reads the view once, with the beginnings of the texts; each part returns records, so that the parts need not
//! have the same columns. The names of the columns are looked up once. A statement that fails by itself is not joined
//! until it succeeds again.

use super::{Job, SessionConfig, answer};
use crate::pg::client::Client;
use crate::pg::error::{Class, PgError};
use crate::pg::table::{Table, Value};
use futures_util::future::join_all;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use tokio::time::Instant;

/// The FROM clause with which a statement reads the sessions so that it can share the read.
pub(crate) const PASS: &str = "FROM pg_catalog.pg_stat_activity AS a";
/// The columns that are read, which all versions have. The text is truncated, in bytes.
const SESSIONS: &str = "a.datid, a.datname, a.pid, a.leader_pid, a.usesysid, a.usename, a.application_name, a.client_addr, \
     a.client_hostname, a.client_port, a.backend_start, a.xact_start, a.query_start, a.state_change, \
     a.wait_event_type, a.wait_event, a.state, a.backend_xid, a.backend_xmin, a.backend_type, \
     pg_catalog.\"substring\"(pg_catalog.textsend(a.query), 1, 2001) AS query";
/// A further column, from 14 on: read only if one of the statements is for such a server.
const QUERY_ID: &str = "a.query_id";
/// The expression with which a statement reads the text, and its replacement if the text is already truncated.
const TEXT: (&str, &str) = ("pg_catalog.textsend(a.query)", "a.query");

/// Number of statements that are remembered.
const KNOWN: usize = 64;
/// Number of joined statements that are remembered: which ones are due together changes from second to second.
const JOINED: usize = 8;

/// Result of a statement.
pub(in crate::pg) struct Answer {
    pub(in crate::pg) took_ms: f64,
    pub(in crate::pg) outcome: Result<Table, PgError>,
}

/// Names of a statement's columns.
type Columns = Arc<[Box<str>]>;

/// Knowledge about statements that share a read.
#[derive(Default)]
pub(in crate::pg) struct Shared {
    /// Columns of the statements that can be joined; `None` for those that cannot.
    columns: HashMap<Arc<str>, Option<Columns>>,
    /// True if they fail together although each succeeds by itself.
    refused: bool,
    /// Statements that were sent before their columns were known.
    tried: HashSet<Arc<str>>,
    /// Statements that were joined lately, with the text of the whole, newest last.
    joined: Vec<(Vec<Arc<str>>, Arc<str>)>,
}

/// A statement to send: one alone, or several joined.
enum Sent {
    One(usize),
    Joined(Vec<(usize, Columns)>, Arc<str>),
}

impl Sent {
    fn count(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Joined(members, _) => members.len(),
        }
    }
}

impl Shared {
    /// Runs these statements in one round trip, and returns the answers in their order.
    pub(in crate::pg) async fn answer(
        &mut self,
        client: &Client,
        config: &SessionConfig,
        jobs: &[Job],
    ) -> Vec<Answer> {
        let begun = Instant::now();
        let sent = self.plan(jobs);
        let outcomes = join_all(sent.iter().map(async |sent| {
            let outcome = match sent {
                Sent::One(at) => match jobs.get(*at) {
                    Some(job) => answer(client, config, job).await,
                    None => Ok(Table::default()),
                },
                Sent::Joined(_, sql) => answer(client, config, &again(sql)).await,
            };
            (Instant::now(), outcome)
        }))
        .await;
        let mut answers: BTreeMap<usize, Answer> = BTreeMap::new();
        let mut apart = Vec::new();
        // The server handles them one after another: each took the time from the previous answer to its own.
        let mut before = begun;
        for (sent, (ended, outcome)) in sent.iter().zip(outcomes) {
            let took_ms = (ended - before).as_secs_f64() * 1000.0 / sent.count() as f64;
            before = ended.max(before);
            let mut put = |at, outcome| answers.insert(at, Answer { took_ms, outcome });
            match (sent, outcome) {
                (Sent::One(at), outcome) => {
                    put(*at, outcome);
                }
                (Sent::Joined(members, _), Ok(table)) => {
                    for ((at, _), table) in members.iter().zip(split(table, members)) {
                        put(*at, Ok(table));
                    }
                }
                (Sent::Joined(members, _), Err(error)) if can_be_one_s(&error) => {
                    apart.extend(members.iter().map(|(at, _)| *at));
                }
                (Sent::Joined(members, _), Err(error)) => {
                    for (at, _) in members {
                        put(*at, Err(error.clone()));
                    }
                }
            }
        }
        for (at, told) in &answers {
            if let (Some(job), Ok(table)) = (jobs.get(*at), &told.outcome)
                && may_share(job)
            {
                self.note(job, table);
            }
        }
        answers.extend(self.apart(client, config, jobs, apart).await);
        answers.into_values().collect()
    }

    /// Runs statements that failed together one by one, and records which one failed.
    async fn apart(
        &mut self,
        client: &Client,
        config: &SessionConfig,
        jobs: &[Job],
        apart: Vec<usize>,
    ) -> Vec<(usize, Answer)> {
        let mut answers = Vec::new();
        for at in apart {
            let Some(job) = jobs.get(at) else { continue };
            let begun = Instant::now();
            let outcome = answer(client, config, job).await;
            if outcome.is_err() {
                self.columns.insert(Arc::clone(&job.sql), None);
            }
            let took_ms = begun.elapsed().as_secs_f64() * 1000.0;
            answers.push((at, Answer { took_ms, outcome }));
        }
        self.refused |= !answers.is_empty() && answers.iter().all(|(_, told)| told.outcome.is_ok());
        answers
    }

    /// Takes in the answer of a statement: its columns are known from its rows.
    fn note(&mut self, job: &Job, table: &Table) {
        let known = self.columns.get(&job.sql);
        if let Some(None) = known {
            // It had failed by itself, and now succeeds: it is looked up again.
            self.columns.remove(&job.sql);
        } else if known.is_none() && table.columns.is_empty() {
            self.tried.insert(Arc::clone(&job.sql));
        } else if known.is_none() {
            let columns = Some(Arc::clone(&table.columns));
            self.columns.insert(Arc::clone(&job.sql), columns);
        }
    }

    /// Returns true if no statement that can share a read has been sent so far, and these have one.
    pub(in crate::pg) fn begins(&self, jobs: &[Job]) -> bool {
        self.columns.is_empty() && self.tried.is_empty() && jobs.iter().any(may_share)
    }

    /// Looks up the column names of statements that have returned no rows so far. Reads no rows for that. A new statement is
    /// sent alone at first: to plan it twice would take longer.
    pub(in crate::pg) async fn learn(
        &mut self,
        client: &Client,
        config: &SessionConfig,
        jobs: &[Job],
    ) {
        let new = jobs.iter().filter(|job| may_share(job));
        let new = new.filter(|job| !self.columns.contains_key(&job.sql));
        let new = new.filter(|job| self.tried.contains(&job.sql));
        let new: Vec<&Job> = new.collect();
        let told = join_all(new.iter().map(async |job| {
            let describing = Job {
                sql: format!("SELECT q.* FROM ({}\n) AS q LIMIT 0", job.sql).into(),
                as_text: true,
                ..(*job).clone()
            };
            answer(client, config, &describing).await
        }));
        for (job, told) in new.iter().zip(told.await) {
            let columns = told.ok().map(|table| table.columns);
            if self.columns.len() >= KNOWN {
                // Statements change rarely, when privileges do.
                self.columns.clear();
                self.tried.clear();
            }
            self.columns.insert(Arc::clone(&job.sql), columns);
        }
    }

    /// Returns the statements to send, in the order of the jobs.
    fn plan(&mut self, jobs: &[Job]) -> Vec<Sent> {
        let known = |job: &Job| self.columns.get(&job.sql).and_then(Option::as_ref);
        let members: Vec<(usize, Columns)> = jobs
            .iter()
            .enumerate()
            .filter(|(_, job)| !self.refused && may_share(job))
            .filter_map(|(at, job)| Some((at, Arc::clone(known(job)?))))
            .collect();
        let together = members.len() > 1;
        let is_member = |at: usize| together && members.iter().any(|(member, _)| *member == at);
        let first = members.first().map(|(at, _)| *at);
        let mut sent = Vec::new();
        for at in 0..jobs.len() {
            if !is_member(at) {
                sent.push(Sent::One(at));
            } else if Some(at) == first {
                let statements = members.iter().filter_map(|(at, _)| jobs.get(*at));
                let statements: Vec<&Arc<str>> = statements.map(|job| &job.sql).collect();
                sent.push(Sent::Joined(members.clone(), self.joined(&statements)));
            }
        }
        sent
    }

    /// Returns these statements joined: texts of tens of kilobytes, which are written once.
    fn joined(&mut self, statements: &[&Arc<str>]) -> Arc<str> {
        let same = |parts: &[Arc<str>]| {
            parts.len() == statements.len()
                && parts
                    .iter()
                    .zip(statements)
                    .all(|(one, other)| Arc::ptr_eq(one, other))
        };
        if let Some((_, whole)) = self.joined.iter().find(|(parts, _)| same(parts)) {
            return Arc::clone(whole);
        }
        let texts: Vec<&str> = statements.iter().map(|sql| &***sql).collect();
        let whole: Arc<str> = join(&texts).into();
        if self.joined.len() >= JOINED {
            self.joined.remove(0);
        }
        let parts = statements.iter().map(|sql| Arc::clone(sql)).collect();
        self.joined.push((parts, Arc::clone(&whole)));
        whole
    }
}

/// Returns true if a statement reads the sessions in a way that can be shared.
fn may_share(job: &Job) -> bool {
    !job.as_text && !job.once && reads_sessions(&job.sql)
}

/// Returns true if a statement reads the sessions so that it can share the read.
pub(crate) fn reads_sessions(sql: &str) -> bool {
    sql.contains(PASS)
}

/// Returns the job of a statement that is run repeatedly.
fn again(sql: &Arc<str>) -> Job {
    Job {
        id: 0,
        sql: Arc::clone(sql),
        as_text: false,
        once: false,
    }
}

/// Returns true if the error can be caused by one of several statements; the others then have an answer.
fn can_be_one_s(error: &PgError) -> bool {
    error.session_survives() && error.class == Class::Statement
}

/// Joins several statements into one that reads the sessions once. The comment before the first one, which marks it in
/// the server's statistics, is put before the whole.
fn join(statements: &[&str]) -> String {
    let mark = statements
        .first()
        .and_then(|sql| sql.strip_prefix("/*")?.split_once("*/"))
        .map_or(String::new(), |(mark, _)| format!("/*{mark}*/ "));
    let query_id = statements.iter().any(|sql| sql.contains(QUERY_ID));
    let query_id = if query_id {
        format!(", {QUERY_ID}")
    } else {
        String::new()
    };
    let parts = statements.iter().enumerate().map(|(number, sql)| {
        let sql = sql
            .replace(PASS, "FROM backends AS a")
            .replace(TEXT.0, TEXT.1);
        format!("SELECT {number} AS part, q AS cells FROM ({sql}\n) AS q")
    });
    let parts = parts.collect::<Vec<_>>().join("\nUNION ALL\n");
    format!("{mark}WITH backends AS MATERIALIZED (SELECT {SESSIONS}{query_id} {PASS})\n{parts}")
}

/// Splits the answer into each statement's rows. As with a single statement, there are no columns if there are no rows.
fn split(table: Table, members: &[(usize, Columns)]) -> Vec<Table> {
    let mut tables: Vec<Table> = members.iter().map(|_| Table::default()).collect();
    for mut cells in table.rows {
        let rest = cells.split_off(cells.len().min(1));
        let part = cells.first().and_then(Value::int);
        let part = part.and_then(|part| usize::try_from(part).ok());
        let Some((table, (_, columns))) =
            part.and_then(|part| Some((tables.get_mut(part)?, members.get(part)?)))
        else {
            continue;
        };
        if columns.len() == rest.len() {
            table.columns = Arc::clone(columns);
            table.rows.push(rest);
        }
    }
    tables
}
