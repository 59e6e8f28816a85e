//! Backends that load the machine: processors, I/O, temporary files, buffers.

use super::{age_s, described, row_of, short};
use crate::dashboard::diagnosis::Evidence;
use crate::dashboard::diagnosis::blocker::Blocker;
use crate::dashboard::diagnosis::finding::{Finding, fact};
use crate::dashboard::rows::{Row, read};
use crate::format;
use crate::sql::mask::mask;
use crate::text;
use std::collections::BTreeMap;

/// Harm below which a backend is not named as a cause.
const HARMFUL: f64 = 5.0;

/// Seconds of work below which a backend is just one of many that take turns.
const BRIEF_S: f64 = 1.0;

/// The resource of an active backend that waits for nothing.
const COMPUTES: &str = "on a processor";

/// The resource that a backend uses at this instant and that others may lack, in words. `None` if it sleeps,
/// or waits for its client, for a lock or for anything that others do not need.
fn takes(row: Row<'_, read::Backend>) -> Option<String> {
    if !row.state().is("active") {
        return None;
    }
    match (row.wait_event_type().text(), row.wait_event().text()) {
        (None, _) => Some(COMPUTES.into()),
        (Some("IO"), Some(event)) => Some(format!("in I/O ({event})")),
        (Some(kind @ ("LWLock" | "BufferPin" | "IPC")), Some(event)) => {
            Some(format!("in {kind} {event}"))
        }
        _ => None,
    }
}

/// Finds the most harmful backend that uses such a resource; else the oldest OLAP statement, which is late by
/// itself.
pub(super) fn busy_backend(evidence: &Evidence<'_>) -> Option<Finding> {
    let activity = evidence.activity;
    let rows = || {
        let harmful = activity.iter().filter(|row| row.harm() >= Some(HARMFUL));
        harmful.filter(|row| age_s(*row) >= BRIEF_S && row.leader_pid().is_none())
    };
    let taking = rows().find_map(|row| Some((row, takes(row)?)));
    let is_olap = |row: &Row<'_, read::Backend>| row.class().is("olap") && row.state().is("active");
    let (row, what, explains): (_, Option<String>, &[&str]) = match taking {
        Some((row, what)) => (row, Some(what), &["p99", "tps", "olap"]),
        None => (rows().find(is_olap)?, None, &["olap"]),
    };
    let mut facts = vec![
        fact(
            "backend",
            format!("{}, {}", described(row), super::doing(row)),
        ),
        fact("its statement", row.query().shown()),
    ];
    if let Some(what) = &what {
        facts.push(fact("it is", what.as_str()));
    } else if !row.wait().shown().is_empty() {
        facts.push(fact("it waits for", row.wait().shown()));
    }
    let workers = activity.iter();
    let workers = workers
        .filter(|other| other.leader_pid().is_some() && other.leader_pid() == row.pid())
        .count();
    if workers > 0 {
        facts.push(fact("parallel workers", workers.to_string()));
    }
    let blocker = Blocker::of(evidence, row);
    facts.push(fact("ending it", blocker.kind.loss()));
    let what = what.map_or_else(String::new, |what| format!(", {what}"));
    Some(Finding {
        explains,
        subject: format!("pid {}", row.pid().unwrap_or(0)),
        sentence: format!(
            "{}, {} for {}{what}",
            described(row),
            short(row.state().shown()),
            format::seconds(age_s(row))
        ),
        cure: blocker.cure(),
        ends: blocker.ends(),
        evidence: facts,
        ..Finding::default()
    })
}

/// Sessions of one role on processors at once from which they are reported, if they are the majority.
const MANY: usize = 3;
/// Sessions on processors, averaged over the last minute, that are required as well.
const ON_AVERAGE: f64 = 2.0;
/// Maximum width of a statement in a sentence, in columns.
const STATEMENT: usize = 60;

/// Finds many sessions of one role on processors at once.
pub(super) fn processors(evidence: &Evidence<'_>) -> Option<Finding> {
    let mut roles: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut computing = 0;
    for row in evidence.activity.iter() {
        if takes(row).as_deref() == Some(COMPUTES) {
            let statements = roles.entry(row.usename().shown()).or_default();
            *statements.entry(row.query().shown()).or_default() += 1;
            computing += 1;
        }
    }
    let (role, statements) = roles
        .iter()
        .max_by_key(|(_, statements)| statements.values().sum::<usize>())?;
    let n: usize = statements.values().sum();
    let waits = evidence.wait_events.iter();
    let mean: f64 = waits
        .filter(|row| row.wait().is("on CPU"))
        .filter_map(|row| row.sessions())
        .sum();
    if n < MANY || n * 2 < computing || mean < ON_AVERAGE {
        return None;
    }
    let (statement, times) = statements.iter().max_by_key(|(_, times)| **times)?;
    let brief = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut facts = vec![
        fact(
            "on a processor, or waiting for one",
            format!("{computing} sessions"),
        ),
        fact("on average over the minute", format!("{mean:.1} sessions")),
    ];
    facts.extend(roles.iter().map(|(role, statements)| {
        let n: usize = statements.values().sum();
        fact(*role, format!("{n} sessions"))
    }));
    facts.push(fact(format!("same statement in {times}"), *statement));
    Some(Finding {
        explains: &["p99", "tps", "olap"],
        subject: (*role).to_owned(),
        sentence: format!(
            "{n} sessions of {role} compute at once: {}",
            // The sentence leaves the screen: in logs, notifications and reports.
            text::cut(&mask(&brief), STATEMENT)
        ),
        cure: (evidence.config.keys).fill("{explain} on one of them shows its plan"),
        evidence: facts,
        ..Finding::default()
    })
}

/// Bytes of one backend's temporary files from which they are reported.
const LARGE_SPILL: f64 = 64.0 * 1024.0 * 1024.0;

/// Finds the backend with the largest temporary files.
pub(super) fn temp_files(evidence: &Evidence<'_>) -> Option<Finding> {
    let files = evidence.temp_files;
    let bytes = files.first().bytes()?;
    if bytes < LARGE_SPILL {
        return None;
    }
    let pid = files.first().pid()?;
    let row = row_of(evidence.activity, pid);
    let who = row.map_or_else(|| format!("pid {pid}"), described);
    let blocker = row.map(|row| Blocker::of(evidence, row));
    let bytes = format::bytes(bytes);
    Some(Finding {
        explains: &["p99", "tps", "olap"],
        subject: format!("pid {pid}"),
        sentence: format!(
            "{who} has {bytes} in temporary files: its sorts or hashes exceed work_mem"
        ),
        cure: blocker.as_ref().map(Blocker::cure).unwrap_or_default(),
        ends: blocker.and_then(|blocker| blocker.ends()),
        evidence: vec![
            fact("backend", format!("{who}: {bytes} in temporary files")),
            fact(
                "all backends",
                format::bytes(files.iter().filter_map(|row| row.bytes()).sum()),
            ),
        ],
        ..Finding::default()
    })
}

/// Evictions per second from which they are reported: 8 MB/s of 8 kB pages.
const MANY_EVICTIONS: f64 = 1_000.0;
/// Share of all evictions that one kind of work must have to be named.
const MOST: f64 = 0.6;

/// Finds the kind of work whose reads push pages of others out of shared_buffers, if the server reports it
/// (16 and later).
pub(super) fn cache(evidence: &Evidence<'_>) -> Option<Finding> {
    let io = evidence.io;
    let evictions = |row: Row<'_, read::Io>| row.evictions().unwrap_or(0.0);
    let all: f64 = io.iter().map(evictions).sum();
    let worst = io
        .iter()
        .max_by(|a, b| evictions(*a).total_cmp(&evictions(*b)))?;
    if all < MANY_EVICTIONS || evictions(worst) < all * MOST {
        return None;
    }
    let words = [worst.backend_type(), worst.context()];
    let kind = words.map(|word| word.text().unwrap_or("?")).join(", ");
    let rate = format::count(evictions(worst));
    Some(Finding {
        explains: &["p99", "tps"],
        subject: kind.clone(),
        sentence: format!("buffers are evicted at {rate} pages/s, mostly by {kind}"),
        cure: String::new(),
        evidence: vec![
            fact("evictions", format!("{} pages/s", format::count(all))),
            fact("most", format!("{kind}: {rate} pages/s")),
        ],
        ..Finding::default()
    })
}
