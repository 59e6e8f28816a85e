//! Limited resources: connections, parallel workers.

use super::described;
use crate::config::WorkClass;
use crate::dashboard::diagnosis::Evidence;
use crate::dashboard::diagnosis::blocker::Blocker;
use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::format;
use std::collections::BTreeMap;

/// Maximum number of connection users listed.
const LISTED: usize = 5;
/// Share of the connections in use from which their users are named.
const SCARCE: f64 = 0.8;

/// Returns true if a class has more sessions than its target allows.
fn is_pool_full(evidence: &Evidence<'_>) -> bool {
    let targets = &evidence.config.targets;
    let full = |class, limit: u32| {
        let sessions = evidence.oltp.sessions.get(&class).copied().unwrap_or(0);
        sessions as f64 >= f64::from(limit) * targets.warn_at
    };
    full(WorkClass::Oltp, targets.oltp_connections)
        || full(WorkClass::Olap, targets.olap_connections)
}

/// Finds the users of most connections if these are scarce.
pub(super) fn connections(evidence: &Evidence<'_>) -> Option<Finding> {
    let database = evidence.database;
    let used = database.numbackends_all()?;
    let limit = database
        .usable_connections()
        .or(database.max_connections())?;
    let scarce = used >= limit * SCARCE;
    if !scarce && !is_pool_full(evidence) {
        return None;
    }
    let mut users: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    for row in evidence.sessions.iter() {
        let n = row.n().unwrap_or(0);
        let who = (row.application_name().shown(), row.usename().shown());
        let (all, idle) = users.entry(who).or_default();
        *all += n;
        *idle += if row.state().is("idle") { n } else { 0 };
    }
    let mut users: Vec<_> = users.into_iter().collect();
    users.sort_by_key(|(_, (all, _))| std::cmp::Reverse(*all));
    let ((application, role), (most, idle)) = *users.first()?;
    let who = |application: &str, role: &str| {
        if application.is_empty() {
            role.to_owned()
        } else {
            format!("{application} ({role})")
        }
    };
    let worst = who(application, role);
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
        damage: if scarce {
            Damage::Halt
        } else {
            Damage::Latency
        },
        // Idle connections alone slow nobody down.
        explains: &["server", "oltp pool", "olap pool"],
        subject: worst.clone(),
        sentence: format!(
            "{} of {} connections are taken, {most} by {worst}, {idle} of them idle",
            format::count(used),
            format::count(limit)
        ),
        cure: "shrink its pool".into(),
        evidence: facts,
        ..Finding::default()
    })
}

/// Finds the users of the parallel workers if all are taken.
pub(super) fn workers(evidence: &Evidence<'_>) -> Option<Finding> {
    let limit = evidence.facts.max_parallel_workers()?;
    let activity = evidence.activity;
    let mut leaders: BTreeMap<i64, i64> = BTreeMap::new();
    for row in activity.iter() {
        let worker = row.backend_type().is("parallel worker");
        if let Some(leader) = row.leader_pid().filter(|_| worker) {
            *leaders.entry(leader).or_default() += 1;
        }
    }
    let taken: i64 = leaders.values().sum();
    if limit == 0 || taken < limit {
        return None;
    }
    let (leader, most) = leaders.iter().max_by_key(|(_, workers)| **workers)?;
    let row = super::row_of(activity, *leader);
    let who = row.map_or_else(|| format!("pid {leader}"), described);
    let blocker = row.map(|row| Blocker::of(evidence, row));
    Some(Finding {
        // A lack of workers slows down only queries that would use them.
        explains: &["olap"],
        subject: format!("pid {leader}"),
        sentence: format!("all {limit} parallel workers are taken, {most} by {who}"),
        cure: blocker.as_ref().map(Blocker::cure).unwrap_or_default(),
        ends: blocker.and_then(|blocker| blocker.ends()),
        evidence: leaders
            .iter()
            .map(|(pid, workers)| fact(format!("pid {pid}"), format!("{workers} workers")))
            .collect(),
        ..Finding::default()
    })
}
