//! The plan: finds the server's processes on this machine and chooses a mechanism. Changes nothing.

use super::choice::{Choice, choose};
use super::error::IsolateError;
use super::judge::Judge;
use super::process::{Process, Processes};
use super::sample::{Backend, Kind, backends};
use super::wish::Wish;
use crate::dashboard::panels::classify::Classifier;
use crate::pg::{Client, Param, PgError, Settings, Table, Target};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::timeout;

const SERVER: &str = include_str!("../../queries/isolate/server.sql");
const SAMPLE: &str = include_str!("../../queries/isolate/sample.sql");
const NAME: &str = "SELECT pg_catalog.set_config('application_name', $1, false) AS name";

/// The server's limit of a statement.
const STATEMENT: Duration = Duration::from_secs(2);
/// Deadline of this program, which also ends a wait for a server that does not answer at all.
const DEADLINE: Duration = Duration::from_secs(3);

/// A session with a server whose processes are on this machine.
#[derive(Debug)]
pub(super) struct Watch {
    client: Client,
    pub(super) postmaster: Process,
    version: String,
    /// Another session that claims to isolate OLAP.
    other: Option<i64>,
}

/// The plan.
pub(crate) struct Plan {
    pub(super) target: Target,
    pub(super) wish: Wish,
    pub(super) processes: Processes,
    pub(super) watch: Watch,
    pub(super) choice: Choice,
    /// The sessions at this moment.
    now: Vec<Backend>,
}

impl Watch {
    /// Connects, and finds the server's processes.
    async fn open(target: &Target, processes: &Processes) -> Result<Self, IsolateError> {
        let settings = Settings::of_monitor(STATEMENT);
        let opened = Client::open_to_watch(target, &settings).await;
        let client = opened.map_err(|source| IsolateError::Connect {
            target: target.to_string(),
            source,
        })?;
        let pooled = client.need_own_session("this command");
        pooled.map_err(|error| IsolateError::Refused(error.to_string()))?;
        let told = within(client.query(SERVER, &[])).await?;
        if !told.first("sees_all").is_true() {
            let role = told.first("role").raw().unwrap_or_default();
            let role = crate::pg::quote_ident(role);
            return Err(IsolateError::Privilege(format!(
                "the role {role} may not see the sessions of others: as a superuser, run GRANT pg_monitor TO {role}, or name \
                 another role (-U)"
            )));
        }
        let postmaster = postmaster(&told, processes)
            .map_err(|why| IsolateError::Refused(format!("the server {target} {why}")))?;
        Ok(Self {
            postmaster,
            version: told.first("version").text().unwrap_or_default().to_owned(),
            other: told.first("other").int(),
            client,
        })
    }

    /// Reads the sessions.
    pub(super) async fn sessions(
        &self,
        classifier: &Classifier,
    ) -> Result<Vec<Backend>, IsolateError> {
        let table = within(self.client.query_again(SAMPLE)).await?;
        Ok(backends(&table, classifier))
    }

    /// Shows everybody who looks at pg_stat_activity what is in force.
    pub(super) async fn tell(&self, name: &str) -> Result<(), IsolateError> {
        within(self.client.query(NAME, &[Param::Text(name)])).await?;
        Ok(())
    }
}

/// Waits for an answer, at most [`DEADLINE`].
async fn within(
    answer: impl Future<Output = Result<Table, PgError>>,
) -> Result<Table, IsolateError> {
    let answer = timeout(DEADLINE, answer).await;
    let answer = answer.unwrap_or_else(|_| Err(PgError::deadline(DEADLINE.as_secs_f64())));
    answer.map_err(IsolateError::Server)
}

/// What to do if the server's processes are not found.
const ELSEWHERE: &str =
    "run htap-top isolate on the database's host, and in the server's container if it is in one";

/// Returns the parent of our own backend, which must be a process of this machine.
fn postmaster(told: &Table, processes: &Processes) -> Result<Process, String> {
    let pid = told.first("pid").int().and_then(|pid| pid.try_into().ok());
    let (Some(pid), Some(at_s)) = (pid, told.first("started_s").number()) else {
        return Err("does not report the pid of its own session".to_owned());
    };
    let backend = processes.stat(pid).ok_or_else(|| {
        format!("is not on this machine: its session's pid {pid} is not a process visible here. To act there, {ELSEWHERE}")
    })?;
    if !processes.began(backend.process, at_s) {
        return Err(format!(
            "is not on this machine: its session's pid {pid} is a process here that began at another time. To act there, \
             {ELSEWHERE}"
        ));
    }
    let parent = processes.stat(backend.parent);
    let parent = parent.ok_or_else(|| {
        format!(
            "is not visible as a whole: pid {pid} has no parent here. To act there, {ELSEWHERE}"
        )
    })?;
    Ok(parent.process)
}

impl Plan {
    /// Connects and looks around; changes nothing.
    ///
    /// # Errors
    /// What forbids it, and what to do about it.
    pub(crate) async fn new(target: &Target, wish: Wish) -> Result<Self, IsolateError> {
        let processes = Processes::here().ok_or_else(|| {
            IsolateError::Refused("this command needs the /proc of Linux".to_owned())
        })?;
        let watch = Watch::open(target, &processes).await?;
        let choice = choose(&processes, watch.postmaster.pid, &wish)?;
        let now = watch.sessions(&wish.classifier).await?;
        Ok(Self {
            target: target.clone(),
            wish,
            processes,
            watch,
            choice,
            now,
        })
    }

    /// Returns the name under which the session shows in pg_stat_activity.
    pub(super) fn name(&self) -> String {
        let limit = self.wish.limit;
        let limit = limit.map_or_else(String::new, |limit| format!(" max {limit}"));
        let (share, means) = (self.wish.share, self.choice.means.name());
        format!("htap-top isolate: olap {share} by {means}{limit}")
    }

    /// Describes it: server, mechanism and reasons, weights, and the processes that are moved first.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |name: &str, what: &str| {
            let _ = writeln!(text, "{name:<10} {what}");
        };
        let Process { pid, .. } = self.watch.postmaster;
        line(
            "server",
            &format!(
                "{}, PostgreSQL {}, postmaster {pid}",
                self.target, self.watch.version
            ),
        );
        line("mechanism", self.choice.means.name());
        for (name, why) in &self.choice.others {
            line("", &format!("not {name}: {why}"));
        }
        let limit = self.wish.limit;
        let limit = limit.map_or_else(String::new, |limit| {
            format!(
                "; never more than {limit} of the {} processors",
                self.processes.processors
            )
        });
        line(
            "share",
            &format!(
                "{} of the processors while others want the rest, all of them while nobody does{limit}",
                self.wish.share
            ),
        );
        for (number, step) in (1..).zip(self.choice.means.steps()) {
            line("", &format!("{number}. {step}"));
        }
        line("moved", &self.moved_now());
        if let Some(other) = self.watch.other {
            line(
                "note",
                &format!(
                    "the session with pid {other} calls itself htap-top isolate, too: two of them work against each other"
                ),
            );
        }
        text
    }

    fn moved_now(&self) -> String {
        let inside = Judge::default().judge(&self.now).inside;
        if inside.is_empty() {
            return "no process now; each OLAP backend and its parallel workers within a second"
                .to_owned();
        }
        format!(
            "{}; later ones within a second",
            described(&inside, &self.now)
        )
    }
}

/// Lists processes: `812 (reports, metabase), 815 816 (workers of 812)`.
pub(super) fn described(pids: &BTreeSet<i32>, sample: &[Backend]) -> String {
    let listed = sample.iter().filter(|backend| pids.contains(&backend.pid));
    let mut parts = Vec::new();
    let mut workers: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for backend in listed {
        match (backend.kind, backend.leader) {
            (Kind::Worker, Some(leader)) => {
                let of_leader = workers.entry(leader).or_default();
                of_leader.push(backend.pid.to_string());
            }
            _ => parts.push(format!("{} ({})", backend.pid, backend.described)),
        }
    }
    for (leader, pids) in workers {
        let plural = if pids.len() == 1 { "" } else { "s" };
        parts.push(format!("{} (worker{plural} of {leader})", pids.join(" ")));
    }
    parts.join(", ")
}
