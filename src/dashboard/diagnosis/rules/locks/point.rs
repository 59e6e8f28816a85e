//! Blockers of the point query, which runs in a session of this program that no list of waiting sessions
//! shows.

use super::super::{described, row_of, short};
use super::queue::Queue;
use crate::dashboard::diagnosis::blocker::{Blocker, Kind, end_prepared};
use crate::dashboard::diagnosis::finding::{Fact, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::format;
use crate::pg::Table;

/// Returns true if the point query waits for a session in the queue.
pub(super) fn waits_behind(queue: &Queue<'_>) -> bool {
    let locks = queue.evidence.point_locks;
    let mut nodes = queue.roots.iter().chain(&queue.rows);
    nodes.any(|node| {
        let pid = queue.graph.pid(*node);
        let gid = queue.text(*node, "application_name");
        (0..locks.rows.len()).any(|row| {
            let same = locks.get(row, "pid").int() == Some(pid);
            same && !locks.get(row, "ended_s").is_known()
                && (pid != 0 || locks.get(row, "application_name").text() == Some(gid))
        })
    })
}

/// Finds the session or prepared transaction that holds the point query's table in ACCESS EXCLUSIVE mode or
/// waits for it: every later reader waits behind it.
pub fn point_query(evidence: &Evidence<'_>) -> Option<Finding> {
    const ROW: usize = 0;
    let locks = evidence.point_locks;
    let pid = locks.get(ROW, "pid").int()?;
    let text = |name| locks.get(ROW, name).text().unwrap_or_default();
    let table = text("quoted");
    let prepared = text("state") == "prepared";
    let known = row_of(evidence.activity, pid).filter(|_| !prepared);
    let who = match known {
        _ if prepared && text("application_name").is_empty() => "a prepared transaction".to_owned(),
        _ if prepared => format!("prepared transaction {}", text("application_name")),
        Some(row) => described(evidence.activity, row),
        None => described(locks, ROW),
    };
    let ended = locks.get(ROW, "ended_s").number().map(format::seconds);
    let state = known.and_then(|row| evidence.activity.get(row, "state").text());
    let state = state.map_or_else(String::new, |state| format!(", {}", short(state)));
    let sentence = match &ended {
        Some(ago) => format!("they waited for {who}, which locked {table} until {ago} ago"),
        None if locks.get(ROW, "granted").is_true() => {
            format!("they wait for {who}{state}, which has locked {table}")
        }
        None => format!("they wait behind {who}, which waits to lock {table}"),
    };
    let cure = match known {
        _ if ended.is_some() => String::new(),
        _ if prepared => Kind::Prepared.cure(&evidence.config.keys),
        Some(row) => Blocker::of(evidence, evidence.activity, row).cure(),
        None => String::new(),
    };
    Some(Finding {
        health: Health::Good,
        explains: &["p99"],
        subject: if prepared {
            text("application_name").to_owned()
        } else {
            format!("pid {pid}")
        },
        sentence,
        cure,
        evidence: facts(evidence, locks, known, &who),
        ..Finding::default()
    })
}

/// The facts behind it; for a prepared transaction also the statement that ends it.
fn facts(evidence: &Evidence<'_>, locks: &Table, known: Option<usize>, who: &str) -> Vec<Fact> {
    let words = |row: usize| {
        let table = locks.get(row, "quoted").text().unwrap_or_default();
        if locks.get(row, "granted").is_true() {
            format!("holds ACCESS EXCLUSIVE on {table}")
        } else {
            format!("waits for ACCESS EXCLUSIVE on {table}")
        }
    };
    let mut facts = vec![fact(who, words(0))];
    if let Some(row) = known {
        let query = evidence.activity.get(row, "query").text();
        facts.push(fact("its statement", query.unwrap_or_default()));
        let blocker = Blocker::of(evidence, evidence.activity, row);
        facts.push(fact("ending it", blocker.kind.loss()));
    } else if locks.first("state").text() == Some("prepared") {
        let gid = locks.first("application_name").raw().unwrap_or_default();
        let database = locks.first("datname").text().unwrap_or_default();
        facts.push(fact("to end it", end_prepared(gid, database)));
    }
    facts.extend(
        (1..locks.rows.len())
            .take(4)
            .map(|row| fact(described(locks, row), words(row))),
    );
    facts
}
