//! What goes wrong in silence: WAL that is not archived, deadlocks, sequential scans where an index is
//! missing, waits for SLRU buffers.

use crate::dashboard::diagnosis::blocker::Blocker;
use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health, latency};
use crate::dashboard::panels::snapshots::oldest;
use crate::format;
use crate::pg::to_copy;
use std::fmt::Write;

/// A failing archiver tries again every minute: a failure older than this is of before.
const STILL_S: f64 = 300.0;
/// Archiving that has not worked for so long is a danger.
const LONG_S: f64 = 600.0;

/// WAL is not archived.
pub fn archiver(evidence: &Evidence<'_>) -> Option<Finding> {
    let wal = evidence.wal;
    let number = |name| wal.first(name).number();
    let failing = wal.first("archive_failing").is_true();
    let failed_s = number("last_failed_s").filter(|ago| failing && *ago <= STILL_S)?;
    let file = wal.first("archive_failed_wal").text().unwrap_or("?");
    let worked = number("last_archived_s");
    let since = worked.map_or_else(
        || "nothing has ever been archived".into(),
        |ago| format!("the last success was {} ago", format::seconds(ago)),
    );
    let times = format::count(number("archive_failed").unwrap_or(0.0));
    Some(Finding {
        health: if worked.is_some_and(|ago| ago < LONG_S) {
            Health::Warning
        } else {
            Health::Danger
        },
        damage: Damage::Halt,
        subject: "archiver".into(),
        sentence: format!("WAL is not archived: archive_command fails at {file}, and {since}"),
        cure: "mend archive_command; the log has its error".into(),
        evidence: vec![
            fact("last failure", format!("{} ago", format::seconds(failed_s))),
            fact("failures since the counters began", times),
            fact(
                "meanwhile",
                "WAL is kept in pg_wal until it works, and fills the disk",
            ),
        ],
        ..Finding::default()
    })
}

/// Percent of a sequence from which its end is near, and from which it is very near.
const USED: (f64, f64) = (80.0, 95.0);

/// The sequence that is nearest to its end, or to that of its column.
pub fn sequences(evidence: &Evidence<'_>) -> Option<Finding> {
    let table = evidence.sequences;
    let used = |row: &usize| table.get(*row, "used_pct").number().unwrap_or(0.0);
    let worst = (0..table.rows.len()).max_by(|a, b| used(a).total_cmp(&used(b)))?;
    if used(&worst) < USED.0 {
        return None;
    }
    let text = |name| table.get(worst, name).text().unwrap_or_default();
    let count = |name| format::count(table.get(worst, name).number().unwrap_or(0.0));
    let name = text("sequence");
    let mut sentence = format!(
        "sequence {name} is at {} of {}",
        count("last_value"),
        count("most")
    );
    if table.get(worst, "by_column").is_true() {
        let _ = write!(
            sentence,
            ", the most that {} ({}) holds",
            text("column_name"),
            text("type_name")
        );
    }
    sentence.push_str(": inserts fail then");
    let statement = table.get(worst, "statement").raw().map(to_copy);
    let mut facts = vec![
        fact("used", format::percent(used(&worst))),
        fact("column", text("column_name")),
    ];
    // To change the type of a column locks its table while all of it is written anew.
    let cure = match statement {
        Some(statement) if !matches!(text("type_name"), "smallint" | "integer") => statement,
        statement => {
            if let Some(statement) = statement {
                facts.push(fact(
                    "all at once",
                    format!("{statement}; nobody reads or writes the table until it is done"),
                ));
            }
            "make the column bigint: a new one, filled by and by, then swapped; all at once: e"
                .into()
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

/// Deadlocks of the last minute.
pub fn deadlocks(evidence: &Evidence<'_>) -> Option<Finding> {
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
            "{times} in the last minute: each waited for deadlock_timeout, and lost a transaction"
        ),
        cure: "lock rows in the same order everywhere; the log names the statements".into(),
        evidence: vec![
            fact("in the last minute", format::count(lately)),
            fact(
                "since they are watched",
                evidence.oltp.deadlocks.map_or("?".into(), format::count),
            ),
        ],
        ..Finding::default()
    })
}

/// Sequential scans a second, rows of each, and rows a second from which they are worth a word.
const SCANS: (f64, f64, f64) = (0.5, 10_000.0, 5e5);
/// Rows a second from which it is bad by itself, if OLTP reads them: a processor reads some ten million.
const MANY_ROWS: f64 = 2e6;

/// The table of which most is read by sequential scans that come again and again: if that takes much of a
/// processor from OLTP, or p99 is missed meanwhile.
pub fn seq_scans(evidence: &Evidence<'_>) -> Option<Finding> {
    let bloat = evidence.bloat;
    let rate = |row: usize, name| bloat.get(row, name).number().unwrap_or(0.0);
    let often = |row: &usize| {
        let (scans, rows) = (rate(*row, "seq_scans_per_s"), rate(*row, "seq_rows_per_s"));
        scans >= SCANS.0 && rows >= SCANS.2 && rows / scans >= SCANS.1
    };
    let worst = (0..bloat.rows.len()).filter(often).max_by(|a, b| {
        let rows = |row: &usize| rate(*row, "seq_rows_per_s");
        rows(a).total_cmp(&rows(b))
    })?;
    let relation = bloat.get(worst, "relation").text().unwrap_or_default();
    let name = relation.rsplit('.').next().unwrap_or(relation);
    let activity = evidence.activity;
    let reads = |row: &usize| {
        activity.get(*row, "state").text() == Some("active")
            && (activity.get(*row, "query").text()).is_some_and(|query| query.contains(name))
    };
    let readers: Vec<usize> = (0..activity.rows.len()).filter(reads).collect();
    let (scans, rows) = (
        rate(worst, "seq_scans_per_s"),
        rate(worst, "seq_rows_per_s"),
    );
    let oltp = |row: &usize| activity.get(*row, "class").text() == Some("oltp");
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
        let _ = write!(sentence, ", of {}", super::who(activity, *first));
        let query = activity.get(*first, "query").text().unwrap_or_default();
        facts.push(fact("a statement", query));
        facts.push(fact("sessions at it", readers.len().to_string()));
    }
    Some(Finding {
        health,
        explains: &["p99", "tps", "oltp pool"],
        subject: relation.to_owned(),
        sentence,
        cure: "an index for its WHERE clause; E plans it".into(),
        evidence: facts,
        ..Finding::default()
    })
}

/// Wait events of SLRU buffers, without what is added to their names by version.
const SLRU: [&str; 7] = [
    "Subtrans",
    "MultiXactOffset",
    "MultiXactMember",
    "Xact",
    "CommitTs",
    "Notify",
    "Serial",
];
/// Percent of its working time that a class waits for them, and sessions that do at once.
const SLRU_WAITS: (f64, f64) = (10.0, 0.5);

/// `K on pid 812, the oldest transaction; `, where a key of ours ends that.
fn end_oldest(evidence: &Evidence<'_>) -> String {
    let snapshots = evidence.snapshots;
    let oldest =
        oldest(snapshots).filter(|row| snapshots.get(*row, "kind").text() == Some("backend"));
    let told = oldest.and_then(|row| {
        let key = Blocker::of(evidence, snapshots, row).key()?;
        let pid = snapshots.get(row, "pid").int()?;
        Some(format!("{key} on pid {pid}, the oldest transaction; "))
    });
    told.unwrap_or_default()
}

/// Sessions wait for the buffers of subtransactions, multixacts and the like.
pub fn slru(evidence: &Evidence<'_>) -> Option<Finding> {
    let waits = evidence.wait_events;
    let of_slru = |row: usize| {
        let wait = waits.get(row, "wait").text().unwrap_or_default();
        let event = wait.rsplit(' ').next().unwrap_or(wait);
        let lock = SLRU.iter().find(|name| {
            let rest = event.strip_prefix(**name);
            rest.is_some_and(|rest| matches!(rest, "SLRU" | "Buffer" | "SLRULock" | "ControlLock"))
        });
        lock.copied()
            .or_else(|| event.starts_with("SLRU").then_some("SLRU"))
    };
    let number = |row: usize, name| waits.get(row, name).number().unwrap_or(0.0);
    let worst = (0..waits.rows.len())
        .filter_map(|row| Some((row, of_slru(row)?)))
        .filter(|(row, _)| {
            number(*row, "share_pct") >= SLRU_WAITS.0 && number(*row, "sessions") >= SLRU_WAITS.1
        })
        .max_by(|a, b| number(a.0, "sessions").total_cmp(&number(b.0, "sessions")))?;
    let (row, kind) = worst;
    let class = waits.get(row, "class").text().unwrap_or_default();
    let share = format::percent(number(row, "share_pct"));
    let (why, cure) = match kind {
        "Subtrans" => (
            "transactions have more subtransactions than the 64 that are at hand",
            format!(
                "{}fewer savepoints and EXCEPTION blocks in one transaction",
                end_oldest(evidence)
            ),
        ),
        "MultiXactOffset" | "MultiXactMember" => (
            "rows are locked by many at once",
            "fewer sessions that lock the same rows FOR SHARE or by foreign keys".to_owned(),
        ),
        _ => (
            "more old transactions are looked up than there are buffers for",
            String::new(),
        ),
    };
    Some(Finding {
        health: Health::Warning,
        // Who looks up other transactions slows down those who do, too.
        explains: if class == "oltp" {
            &["p99", "tps", "olap"]
        } else {
            &["olap"]
        },
        subject: kind.to_owned(),
        sentence: format!("{class} spends {share} of its time waiting for {kind} buffers: {why}"),
        cure,
        evidence: vec![
            fact("wait", waits.get(row, "wait").text().unwrap_or_default()),
            fact(
                "sessions at once",
                format!("{:.1}", number(row, "sessions")),
            ),
            fact(
                "most of it in",
                waits.get(row, "query").text().unwrap_or_default(),
            ),
        ],
        ..Finding::default()
    })
}
