//! Blockers of the point query, which runs in a session of this program that no list of waiting sessions
//! shows.

use super::super::{described, row_of, short};
use super::queue::Queue;
use crate::dashboard::diagnosis::blocker::{Blocker, Kind, end_prepared};
use crate::dashboard::diagnosis::finding::{Fact, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::dashboard::rows::{Row, read};
use crate::format;

/// Returns true if the point query waits for a session in the queue.
pub(super) fn waits_behind(queue: &Queue<'_>) -> bool {
    let locks = queue.evidence.point_locks;
    let mut nodes = queue.roots.iter().chain(&queue.rows);
    nodes.any(|node| {
        let pid = queue.graph.pid(*node);
        let gid = queue.table.at(*node).application_name().shown();
        locks.iter().any(|row| {
            let same = row.pid() == Some(pid) && row.ended_s().is_none();
            same && (pid != 0 || row.application_name().is(gid))
        })
    })
}

/// Finds the session or prepared transaction that holds the point query's table in ACCESS EXCLUSIVE mode or
/// waits for it: every later reader waits behind it.
pub(crate) fn point_query(evidence: &Evidence<'_>) -> Option<Finding> {
    let lock = evidence.point_locks.first();
    let pid = lock.pid()?;
    let table = lock.quoted().shown();
    let gid = lock.application_name().shown();
    let prepared = lock.state().is("prepared");
    let known = row_of(evidence.activity, pid).filter(|_| !prepared);
    let who = match known {
        _ if prepared && gid.is_empty() => "a prepared transaction".to_owned(),
        _ if prepared => format!("prepared transaction {gid}"),
        Some(row) => described(row),
        None => described(evidence.point_locks.by().first()),
    };
    let ended = lock.ended_s().map(format::seconds);
    let state = known.and_then(|row| row.state().text());
    let state = state.map_or_else(String::new, |state| format!(", {}", short(state)));
    let sentence = match &ended {
        Some(ago) => format!("they waited for {who}, which locked {table} until {ago} ago"),
        None if lock.granted() == Some(true) => {
            format!("they wait for {who}{state}, which has locked {table}")
        }
        None => format!("they wait behind {who}, which waits to lock {table}"),
    };
    let blocker = known
        .filter(|_| ended.is_none())
        .map(|row| Blocker::of(evidence, row));
    let cure = match &blocker {
        _ if ended.is_some() => String::new(),
        _ if prepared => Kind::Prepared.cure(&evidence.config.keys),
        Some(blocker) => blocker.cure(),
        None => String::new(),
    };
    Some(Finding {
        health: Health::Good,
        explains: &["p99"],
        subject: if prepared {
            gid.to_owned()
        } else {
            format!("pid {pid}")
        },
        sentence,
        cure,
        ends: blocker.and_then(|blocker| blocker.ends()),
        evidence: facts(evidence, known, &who),
        ..Finding::default()
    })
}

/// The facts behind it; for a prepared transaction also the statement that ends it.
fn facts(evidence: &Evidence<'_>, known: Option<Row<'_, read::Backend>>, who: &str) -> Vec<Fact> {
    let locks = evidence.point_locks;
    let words = |lock: Row<'_, read::PointLock>| {
        let table = lock.quoted().shown();
        if lock.granted() == Some(true) {
            format!("holds ACCESS EXCLUSIVE on {table}")
        } else {
            format!("waits for ACCESS EXCLUSIVE on {table}")
        }
    };
    let first = locks.first();
    let mut facts = vec![fact(who, words(first))];
    if let Some(row) = known {
        facts.push(fact("its statement", row.query().shown()));
        let blocker = Blocker::of(evidence, row);
        facts.push(fact("ending it", blocker.kind.loss()));
    } else if first.state().is("prepared") {
        let end = end_prepared(first.application_name().name(), first.datname().shown());
        facts.push(fact("to end it", end));
    }
    let others = locks.iter().zip(locks.by().iter()).skip(1).take(4);
    facts.extend(others.map(|(lock, who)| fact(described(who), words(lock))));
    facts
}
