//! What there is only so much of: connections, parallel workers.

use super::described;
use crate::dashboard::diagnosis::Evidence;
use crate::dashboard::diagnosis::finding::{Finding, fact};
use crate::format;
use std::collections::BTreeMap;

/// So many users of connections are listed.
const LISTED: usize = 5;
/// Share of the connections from which it is said who has them.
const SCARCE: f64 = 0.8;

/// Who has the connections.
pub fn connections(evidence: &Evidence<'_>) -> Option<Finding> {
    let used = evidence.database.first("numbackends_all").number()?;
    let limit = evidence
        .database
        .first("usable_connections")
        .number()
        .or(evidence.database.first("max_connections").number())?;
    if used < limit * SCARCE {
        return None;
    }
    let sessions = evidence.sessions;
    let mut users: BTreeMap<(String, String), (i64, i64)> = BTreeMap::new();
    for row in 0..sessions.rows.len() {
        let text = |name| sessions.get(row, name).text().unwrap_or_default();
        let n = sessions.get(row, "n").int().unwrap_or(0);
        let who = (
            text("application_name").to_owned(),
            text("usename").to_owned(),
        );
        let (all, idle) = users.entry(who).or_default();
        *all += n;
        *idle += if text("state") == "idle" { n } else { 0 };
    }
    let mut users: Vec<_> = users.into_iter().collect();
    users.sort_by_key(|(_, (all, _))| std::cmp::Reverse(*all));
    let ((application, role), (most, idle)) = users.first()?.clone();
    let who = |application: &str, role: &str| {
        if application.is_empty() {
            role.to_owned()
        } else {
            format!("{application} ({role})")
        }
    };
    let worst = who(&application, &role);
    let mut facts = vec![fact(
        "connections",
        format!("{} of {}", format::count(used), format::count(limit)),
    )];
    facts.extend(
        users
            .iter()
            .take(LISTED)
            .map(|((application, role), (all, idle))| {
                fact(
                    who(application, role),
                    format!("{all}, {idle} of them idle"),
                )
            }),
    );
    Some(Finding {
        explains: &["server", "p99", "oltp pool", "olap pool"],
        subject: worst.clone(),
        sentence: format!(
            "{} of {} connections are taken, {most} by {worst}, {idle} of them idle",
            format::count(used),
            format::count(limit)
        ),
        cure: "a smaller pool there".into(),
        evidence: facts,
        ..Finding::default()
    })
}

/// Who has the parallel workers, where all are taken.
pub fn workers(evidence: &Evidence<'_>) -> Option<Finding> {
    let limit = evidence.facts.first("max_parallel_workers").int()?;
    let activity = evidence.activity;
    let mut leaders: BTreeMap<i64, i64> = BTreeMap::new();
    for row in 0..activity.rows.len() {
        let worker = activity.get(row, "backend_type").text() == Some("parallel worker");
        if let Some(leader) = activity.get(row, "leader_pid").int().filter(|_| worker) {
            *leaders.entry(leader).or_default() += 1;
        }
    }
    let taken: i64 = leaders.values().sum();
    if limit == 0 || taken < limit {
        return None;
    }
    let (leader, most) = leaders.iter().max_by_key(|(_, workers)| **workers)?;
    let who = super::row_of(activity, *leader)
        .map_or_else(|| format!("pid {leader}"), |row| described(activity, row));
    Some(Finding {
        explains: &["olap", "p99", "tps"],
        subject: format!("pid {leader}"),
        sentence: format!("all {limit} parallel workers are taken, {most} by {who}"),
        cure: "C cancels it; or a role with less max_parallel_workers_per_gather".into(),
        evidence: leaders
            .iter()
            .map(|(pid, workers)| fact(format!("pid {pid}"), format!("{workers} workers")))
            .collect(),
        ..Finding::default()
    })
}
