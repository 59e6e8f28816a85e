//! Silent failures: WAL that is not archived, deadlocks, sequential scans for lack of an index, waits for
//! SLRU buffers.

use crate::dashboard::diagnosis::blocker::Blocker;
use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health, latency};
use crate::dashboard::panels::snapshots::oldest;
use crate::dashboard::rows::{Row, read};
use crate::format;
use crate::pg::to_copy;
use std::fmt::Write;

/// Seconds: a failing archiver retries every minute, so an older failure is over.
const STILL_S: f64 = 300.0;
/// Seconds of failed archiving from which it is a danger.
const LONG_S: f64 = 600.0;

/// Finds WAL that is not archived.
pub(super) fn archiver(evidence: &Evidence<'_>) -> Option<Finding> {
    let wal = evidence.wal;
    let failing = wal.archive_failing() == Some(true);
    let failed_s = wal.last_failed_s();
    let failed_s = failed_s.filter(|ago| failing && *ago <= STILL_S)?;
    let file = wal.archive_failed_wal().text().unwrap_or("?");
    let worked = wal.last_archived_s();
    let since = worked.map_or_else(
        || "nothing has ever been archived".into(),
        |ago| format!("the last success was {} ago", format::seconds(ago)),
    );
    let times = format::count(wal.archive_failed().unwrap_or(0.0));
    Some(Finding {
        health: if worked.is_some_and(|ago| ago < LONG_S) {
            Health::Warning
        } else {
            Health::Danger
        },
        damage: Damage::Halt,
        subject: "archiver".into(),
        sentence: format!("WAL is not archived: archive_command fails at {file}, and {since}"),
        cure: "fix archive_command; the log has its error".into(),
        evidence: vec![
            fact("last failure", format!("{} ago", format::seconds(failed_s))),
            fact("failures since the counters began", times),
            fact(
                "meanwhile",
                "WAL stays in pg_wal until it works, and fills the disk",
            ),
        ],
        ..Finding::default()
    })
}

/// Percentages of a sequence used from which its end is near, and very near.
const USED: (f64, f64) = (80.0, 95.0);

/// Finds the sequence nearest to its end, or to the end of its column's type.
pub(super) fn sequences(evidence: &Evidence<'_>) -> Option<Finding> {
    let used = |row: &Row<'_, read::Sequence>| row.used_pct().unwrap_or(0.0);
    let rows = evidence.sequences.iter();
    let worst = rows.max_by(|a, b| used(a).total_cmp(&used(b)))?;
    if used(&worst) < USED.0 {
        return None;
    }
    let count = |figure: Option<f64>| format::count(figure.unwrap_or(0.0));
    let name = worst.sequence().shown();
    let (column, kind) = (worst.column_name().shown(), worst.type_name().shown());
    let mut sentence = format!(
        "sequence {name} is at {} of {}",
        count(worst.last_value()),
        count(worst.most())
    );
    if worst.by_column() == Some(true) {
        let _ = write!(sentence, ", the most that {column} ({kind}) holds");
    }
    sentence.push_str(": then inserts fail");
    let statement = worst.statement().raw().map(to_copy);
    let mut facts = vec![
        fact("used", format::percent(used(&worst))),
        fact("column", column),
    ];
    // Changing the type of a column locks its table while it is rewritten.
    let cure = match statement {
        Some(statement) if !matches!(kind, "smallint" | "integer") => statement,
        statement => {
            if let Some(statement) = statement {
                facts.push(fact(
                    "all at once",
                    format!("{statement}; nobody can read or write the table until it is done"),
                ));
            }
            (evidence.config.keys).fill(
                "make the column bigint: add one, fill it in batches, swap; or all at once ({why})",
            )
        }
    };
    Some(Finding {
        health: if used(&worst) >= USED.1 {
            Health::Danger
        } else {
            Health::Warning
        },
        damage: Damage::Halt,
        subject: name.to_owned(),
        sentence,
        cure,
        evidence: facts,
        ..Finding::default()
    })
}

/// Finds deadlocks of the last minute.
pub(super) fn deadlocks(evidence: &Evidence<'_>) -> Option<Finding> {
    let lately = evidence.oltp.deadlocks_lately;
    if lately < 1.0 {
        return None;
    }
    let times = if lately < 2.0 {
        "1 deadlock".to_owned()
    } else {
        format!("{} deadlocks", format::count(lately))
    };
    Some(Finding {
        health: Health::Warning,
        explains: &["tps", "locks"],
        subject: "deadlocks".into(),
        sentence: format!(
            "{times} in the last minute: each took deadlock_timeout and cost a transaction"
        ),
        cure: "lock rows in the same order everywhere; the log names the statements".into(),
        evidence: vec![
            fact("in the last minute", format::count(lately)),
            fact(
                "since watching began",
                evidence.oltp.deadlocks.map_or("?".into(), format::count),
            ),
        ],
        ..Finding::default()
    })
}

/// Minimums for a finding: scans per second, rows per scan, and rows per second.
const SCANS: (f64, f64, f64) = (0.5, 10_000.0, 5e5);
/// Rows per second from which OLTP scans are bad by themselves; one processor reads some ten million.
const MANY_ROWS: f64 = 2e6;

/// Finds the table most read by repeated sequential scans if they cost OLTP much processor time, or if p99 is
/// missed meanwhile.
pub(super) fn seq_scans(evidence: &Evidence<'_>) -> Option<Finding> {
    let scanned = evidence.bloat.iter().filter_map(|row| {
        let (scans, rows) = (row.seq_scans_per_s()?, row.seq_rows_per_s()?);
        let often = scans >= SCANS.0 && rows >= SCANS.2 && rows / scans >= SCANS.1;
        often.then_some((row, scans, rows))
    });
    let (worst, scans, rows) = scanned.max_by(|a, b| a.2.total_cmp(&b.2))?;
    let relation = worst.relation().shown();
    let name = relation.rsplit('.').next().unwrap_or(relation);
    let reads = |row: &Row<'_, read::Backend>| {
        let query = row.query().text();
        row.state().is("active") && query.is_some_and(|query| query.contains(name))
    };
    let readers: Vec<Row<'_, read::Backend>> = evidence.activity.iter().filter(reads).collect();
    let oltp = |row: &Row<'_, read::Backend>| row.class().is("oltp");
    let health = if rows >= MANY_ROWS && readers.iter().any(oltp) {
        Health::Warning
    } else {
        Health::Unknown
    };
    let p99 = latency(evidence.oltp, &evidence.config.targets);
    if health.max(p99.health) < Health::Warning {
        return None;
    }
    let mut sentence = format!(
        "{relation} is read by {scans:.1} sequential scans/s, {} rows/s",
        format::count(rows)
    );
    let mut facts = vec![
        fact(
            "scans",
            format!("{scans:.1}/s of {} rows each", format::count(rows / scans)),
        ),
        fact("rows", format!("{}/s", format::count(rows))),
    ];
    if let Some(first) = readers.first() {
        let _ = write!(sentence, ", by {}", super::who(*first));
        facts.push(fact("a statement", first.query().shown()));
        facts.push(fact("sessions at it", readers.len().to_string()));
    }
    Some(Finding {
        health,
        explains: &["p99", "tps", "oltp pool"],
        subject: relation.to_owned(),
        sentence,
        cure: (evidence.config.keys).fill("index its WHERE clause; {explain} plans it"),
        evidence: facts,
        ..Finding::default()
    })
}

/// Wait events of SLRU buffers, without the suffixes that vary by version.
const SLRU: [&str; 7] = [
    "Subtrans",
    "MultiXactOffset",
    "MultiXactMember",
    "Xact",
    "CommitTs",
    "Notify",
    "Serial",
];
/// Minimums for a finding: percent of a class's working time spent waiting for them, and sessions waiting at
/// once.
const SLRU_WAITS: (f64, f64) = (10.0, 0.5);

/// Returns `K on pid 812, the oldest transaction; ` if a key can end that session.
fn end_oldest(evidence: &Evidence<'_>) -> String {
    let snapshots = evidence.snapshots;
    let oldest = oldest(snapshots).filter(|row| row.kind().is("backend"));
    let told = oldest.and_then(|row| {
        let backend = snapshots.by::<read::Backend>().at(row.position());
        let command = Blocker::of(evidence, backend).ended_by()?;
        let key = evidence.config.keys.shown(command);
        let pid = row.pid()?;
        Some(format!("{key} on pid {pid}, the oldest transaction; "))
    });
    told.unwrap_or_default()
}

/// Finds sessions that wait for the buffers of subtransactions, multixacts and the like.
pub(super) fn slru(evidence: &Evidence<'_>) -> Option<Finding> {
    let of_slru = |row: Row<'_, read::Wait>| {
        let wait = row.wait().shown();
        let event = wait.rsplit(' ').next().unwrap_or(wait);
        let lock = SLRU.iter().find(|name| {
            let rest = event.strip_prefix(**name);
            rest.is_some_and(|rest| matches!(rest, "SLRU" | "Buffer" | "SLRULock" | "ControlLock"))
        });
        lock.copied()
            .or_else(|| event.starts_with("SLRU").then_some("SLRU"))
    };
    let waits = evidence.wait_events.iter();
    let (row, kind, share, sessions) = waits
        .filter_map(|row| Some((row, of_slru(row)?, row.share_pct()?, row.sessions()?)))
        .filter(|(_, _, share, sessions)| *share >= SLRU_WAITS.0 && *sessions >= SLRU_WAITS.1)
        .max_by(|a, b| a.3.total_cmp(&b.3))?;
    let class = row.class().shown();
    let share = format::percent(share);
    let (why, cure) = match kind {
        "Subtrans" => (
            "transactions have more subtransactions than the 64 cached",
            format!(
                "{}use fewer savepoints or EXCEPTION blocks per transaction",
                end_oldest(evidence)
            ),
        ),
        "MultiXactOffset" | "MultiXactMember" => (
            "many sessions share row locks",
            "let fewer sessions lock the same rows FOR SHARE or by foreign keys".to_owned(),
        ),
        _ => (
            "lookups of old transactions exceed the buffers",
            String::new(),
        ),
    };
    Some(Finding {
        health: Health::Warning,
        // Sessions that look up other transactions delay the others that do, too.
        explains: if class == "oltp" {
            &["p99", "tps", "olap"]
        } else {
            &["olap"]
        },
        subject: kind.to_owned(),
        sentence: format!("{class} spends {share} of its time waiting for {kind} buffers: {why}"),
        cure,
        evidence: vec![
            fact("wait", row.wait().shown()),
            fact("sessions at once", format!("{sessions:.1}")),
            fact("most of it in", row.query().shown()),
        ],
        ..Finding::default()
    })
}
