//! Backends that load the machine: processors, I/O, temporary files, buffers.

use super::{age_s, described, row_of, short};
use crate::dashboard::diagnosis::Evidence;
use crate::dashboard::diagnosis::blocker::Blocker;
use crate::dashboard::diagnosis::finding::{Finding, fact};
use crate::format;
use crate::pg::Table;
use crate::text;
use std::collections::BTreeMap;

/// Harm below which a backend is not named as a cause.
const HARMFUL: f64 = 5.0;

/// Seconds of work below which a backend is just one of many that take turns.
const BRIEF_S: f64 = 1.0;

/// The resource that a backend uses at this instant and that others may lack, in words. `None` if it sleeps,
/// or waits for its client, for a lock or for anything that others do not need.
fn takes(activity: &Table, row: usize) -> Option<String> {
    let text = |name| activity.get(row, name).text();
    if text("state") != Some("active") {
        return None;
    }
    match (text("wait_event_type"), text("wait_event")) {
        (None, _) => Some("on a processor".into()),
        (Some("IO"), Some(event)) => Some(format!("in I/O ({event})")),
        (Some(kind @ ("LWLock" | "BufferPin" | "IPC")), Some(event)) => {
            Some(format!("in {kind} {event}"))
        }
        _ => None,
    }
}

/// Finds the most harmful backend that uses such a resource; else the oldest OLAP statement, which is late by
/// itself.
pub fn busy_backend(evidence: &Evidence<'_>) -> Option<Finding> {
    let activity = evidence.activity;
    let rows = || {
        let harm = |row: &usize| activity.get(*row, "harm").number().unwrap_or(0.0);
        (0..activity.rows.len())
            .filter(move |row| harm(row) >= HARMFUL && age_s(activity, *row) >= BRIEF_S)
            .filter(|row| !activity.get(*row, "leader_pid").is_known())
    };
    let taking = rows().find_map(|row| Some((row, takes(activity, row)?)));
    let is_olap = |row: &usize| {
        let text = |name| activity.get(*row, name).text();
        text("class") == Some("olap") && text("state") == Some("active")
    };
    let (row, what, explains): (usize, Option<String>, &[&str]) = match taking {
        Some((row, what)) => (row, Some(what), &["p99", "tps", "olap"]),
        None => (rows().find(is_olap)?, None, &["olap"]),
    };
    let text = |name| activity.get(row, name).text().unwrap_or_default();
    let mut facts = vec![
        fact(
            "backend",
            format!(
                "{}, {}",
                described(activity, row),
                super::doing(activity, row)
            ),
        ),
        fact("its statement", text("query")),
    ];
    if let Some(what) = &what {
        facts.push(fact("it is", what.as_str()));
    } else if !text("wait").is_empty() {
        facts.push(fact("it waits for", text("wait")));
    }
    let workers = (0..activity.rows.len())
        .filter(|other| activity.get(*other, "leader_pid").int() == activity.get(row, "pid").int())
        .filter(|other| activity.get(*other, "leader_pid").is_known())
        .count();
    if workers > 0 {
        facts.push(fact("parallel workers", workers.to_string()));
    }
    let blocker = Blocker::of(evidence, activity, row);
    facts.push(fact("ending it", blocker.kind.loss()));
    let what = what.map_or_else(String::new, |what| format!(", {what}"));
    Some(Finding {
        explains,
        subject: format!("pid {}", activity.get(row, "pid").int().unwrap_or(0)),
        sentence: format!(
            "{}, {} for {}{what}",
            described(activity, row),
            short(text("state")),
            format::seconds(age_s(activity, row))
        ),
        cure: blocker.cure(),
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
pub fn processors(evidence: &Evidence<'_>) -> Option<Finding> {
    let activity = evidence.activity;
    let computes = |row: &usize| takes(activity, *row).as_deref() == Some("on a processor");
    let mut roles: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let rows: Vec<usize> = (0..activity.rows.len()).filter(computes).collect();
    for row in &rows {
        let text = |name| activity.get(*row, name).text().unwrap_or_default();
        let statements = roles.entry(text("usename")).or_default();
        *statements.entry(text("query")).or_default() += 1;
    }
    let (role, statements) = roles
        .iter()
        .max_by_key(|(_, statements)| statements.values().sum::<usize>())?;
    let n: usize = statements.values().sum();
    let waits = evidence.waits_of_minute;
    let mean: f64 = (0..waits.rows.len())
        .filter(|row| waits.get(*row, "wait").text() == Some("on CPU"))
        .filter_map(|row| waits.get(row, "sessions").number())
        .sum();
    if n < MANY || n * 2 < rows.len() || mean < ON_AVERAGE {
        return None;
    }
    let (statement, times) = statements.iter().max_by_key(|(_, times)| **times)?;
    let brief = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut facts = vec![
        fact(
            "on a processor, or waiting for one",
            format!("{} sessions", rows.len()),
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
            text::cut(&brief, STATEMENT)
        ),
        cure: (evidence.config.keys).fill("{explain} on one of them shows its plan"),
        evidence: facts,
        ..Finding::default()
    })
}

/// Bytes of one backend's temporary files from which they are reported.
const LARGE_SPILL: f64 = 64.0 * 1024.0 * 1024.0;

/// Finds the backend with the largest temporary files.
pub fn temp_files(evidence: &Evidence<'_>) -> Option<Finding> {
    let files = evidence.temp_files;
    let bytes = files.first("bytes").number()?;
    if bytes < LARGE_SPILL {
        return None;
    }
    let pid = files.first("pid").int()?;
    let row = row_of(evidence.activity, pid);
    let who = row.map_or_else(
        || format!("pid {pid}"),
        |row| described(evidence.activity, row),
    );
    let cure = row.map(|row| Blocker::of(evidence, evidence.activity, row).cure());
    let bytes = format::bytes(bytes);
    Some(Finding {
        explains: &["p99", "tps", "olap"],
        subject: format!("pid {pid}"),
        sentence: format!(
            "{who} has {bytes} in temporary files: its sorts or hashes exceed work_mem"
        ),
        cure: cure.unwrap_or_default(),
        evidence: vec![
            fact("backend", format!("{who}: {bytes} in temporary files")),
            fact(
                "all backends",
                format::bytes(
                    (0..files.rows.len())
                        .filter_map(|row| files.get(row, "bytes").number())
                        .sum(),
                ),
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
pub fn cache(evidence: &Evidence<'_>) -> Option<Finding> {
    let io = evidence.io;
    let evictions = |row: usize| io.get(row, "evictions").number().unwrap_or(0.0);
    let rows = 0..io.rows.len();
    let all: f64 = rows.clone().map(evictions).sum();
    let worst = rows.max_by(|a, b| evictions(*a).total_cmp(&evictions(*b)))?;
    if all < MANY_EVICTIONS || evictions(worst) < all * MOST {
        return None;
    }
    let text = |name| io.get(worst, name).text().unwrap_or("?");
    let kind = format!("{}, {}", text("backend_type"), text("context"));
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
