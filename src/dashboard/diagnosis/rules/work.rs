//! Backends that take the machine: by age, temporary files, buffers.

use super::{age_s, cure, described, row_of, short};
use crate::dashboard::diagnosis::Evidence;
use crate::dashboard::diagnosis::finding::{Finding, fact};
use crate::format;

/// A backend of less harm is not named as a cause.
const HARMFUL: f64 = 5.0;

/// Who blocks others for less than this is one of many, each in its turn.
const BRIEF_S: f64 = 1.0;

/// The most harmful backend.
pub fn busy_backend(evidence: &Evidence<'_>) -> Option<Finding> {
    let activity = evidence.activity;
    let harm = activity.first("harm").number().unwrap_or(0.0);
    if harm < HARMFUL || age_s(activity, 0) < BRIEF_S {
        return None;
    }
    let state = activity.first("state").text().unwrap_or("?");
    let text = |name| activity.first(name).text().unwrap_or_default();
    let mut facts = vec![
        fact(
            "backend",
            format!("{}, {}", described(activity, 0), super::doing(activity, 0)),
        ),
        fact("its statement", text("query")),
    ];
    if !text("wait").is_empty() {
        facts.push(fact("it waits for", text("wait")));
    }
    let workers = (0..activity.rows.len())
        .filter(|row| activity.get(*row, "leader_pid").int() == activity.first("pid").int())
        .filter(|row| activity.get(*row, "leader_pid").is_known())
        .count();
    if workers > 0 {
        facts.push(fact("parallel workers", workers.to_string()));
    }
    Some(Finding {
        explains: &["p99", "tps", "olap", "server", "oltp pool", "olap pool"],
        subject: format!("pid {}", activity.first("pid").int().unwrap_or(0)),
        sentence: format!(
            "{}, {} for {}",
            described(activity, 0),
            short(state),
            format::seconds(age_s(activity, 0))
        ),
        cure: cure(state).into(),
        evidence: facts,
        ..Finding::default()
    })
}

/// Temporary files of one backend from this many bytes on are worth a word.
const LARGE_SPILL: f64 = 256.0 * 1024.0 * 1024.0;

/// The backend with the largest temporary files.
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
    let state = row.and_then(|row| evidence.activity.get(row, "state").text());
    let bytes = format::bytes(bytes);
    Some(Finding {
        explains: &["p99", "tps", "olap"],
        subject: format!("pid {pid}"),
        sentence: format!(
            "{who} has {bytes} in temporary files: its sorts or hashes do not fit work_mem"
        ),
        cure: state.map(cure).unwrap_or_default().into(),
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

/// Buffers a second that are taken from others before it is worth a word: 8 MB/s of 8 kB pages.
const MANY_EVICTIONS: f64 = 1_000.0;
/// Share of all evictions that one kind of work must have to be named.
const MOST: f64 = 0.6;

/// Whose reads push others' pages out of shared_buffers, where the server tells (16 and later).
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
        sentence: format!("the buffer cache is replaced at {rate} pages/s, most by {kind}"),
        cure: String::new(),
        evidence: vec![
            fact("evictions", format!("{} pages/s", format::count(all))),
            fact("most", format!("{kind}: {rate} pages/s")),
        ],
        ..Finding::default()
    })
}
