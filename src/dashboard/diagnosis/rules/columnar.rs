//! The column store: nobody syncs it, or not successfully; files that are damaged; the disk of its folder.

use super::host::scarce;
use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::dashboard::rows::{Row, columnar as rows};
use crate::format;

type Store<'t> = Row<'t, rows::Store>;

/// Rounds of a sync that repeats after which another one is overdue.
const OVERDUE_ROUNDS: f64 = 10.0;
/// Seconds that are not too long, whatever the pause between rounds is: to start the sync again, and to write what is due.
const RESTART_S: f64 = 60.0;
const WRITING_S: f64 = 300.0;
/// Seconds after which a sync that does not repeat is overdue: those of a day, and some.
const DAILY_S: f64 = 26.0 * 3600.0;
/// Size of the log of changed hours from which reading it takes a query long.
const LOG_BYTES: f64 = 64.0 * 1024.0 * 1024.0;

/// A way out that needs no sync.
const SWITCH_OFF: &str = "SELECT htap.switch_columnar(false)";

/// Returns why the files fall behind the table.
pub(super) fn column_sync(evidence: &Evidence<'_>) -> Option<Finding> {
    let store = evidence.columnar;
    let (sentence, cure) = unlogged(store)
        .or_else(|| failed(store))
        .or_else(|| overdue(store))
        .or_else(|| long_log(store))?;
    let mut facts = vec![fact("changed since", changed(store))];
    if let Some(last_s) = store.last_s() {
        facts.push(fact(
            "last sync",
            format!("{} ago", format::seconds(last_s)),
        ));
    }
    Some(Finding {
        health: Health::Warning,
        damage: Damage::Latency,
        subject: "column store".to_owned(),
        sentence,
        cure,
        evidence: facts,
        ..Finding::default()
    })
}

/// Hours that are in files and have changed.
fn changed(store: Store<'_>) -> String {
    match store.dirty_hours() {
        _ if store.all_dirty() == Some(true) => "all hours".to_owned(),
        Some(1) => "1 hour".to_owned(),
        hours => format!("{} hours", format::count(hours.unwrap_or(0) as f64)),
    }
}

fn unlogged(store: Store<'_>) -> Option<(String, String)> {
    store.state().is("not logged").then(|| {
        let tables = store.unlogged().shown();
        (
            format!("changes of {tables} are not logged: the column store refuses queries"),
            format!("htap-top columnar sync as a superuser writes it anew, or {SWITCH_OFF}"),
        )
    })
}

fn failed(store: Store<'_>) -> Option<(String, String)> {
    store.state().is("failed").then(|| {
        let since = format::seconds(store.since_s().unwrap_or(0.0));
        (
            format!(
                "the sync of the column store failed {since} ago: {}",
                store.error().shown()
            ),
            "correct that, then start htap-top columnar sync".to_owned(),
        )
    })
}

fn overdue(store: Store<'_>) -> Option<(String, String)> {
    let alone = match store.state().shown() {
        "no sync" => true,
        "idle" | "writing" => false,
        _ => return None,
    };
    let rounds_s = store.fresh_s().map(|fresh_s| fresh_s * OVERDUE_ROUNDS);
    let limit_s = match rounds_s {
        Some(rounds_s) if alone => rounds_s.max(RESTART_S),
        Some(rounds_s) => rounds_s.max(WRITING_S),
        None => DAILY_S,
    };
    let last_s = match store.last_s() {
        Some(last_s) if last_s < limit_s => return None,
        // The first one is still at work.
        None if !alone => return None,
        last_s => last_s,
    };
    let start = format!("start htap-top columnar sync --fresh 1s, or {SWITCH_OFF}");
    Some(match last_s {
        None => (
            "the first sync of the column store did not finish, and none runs".to_owned(),
            start,
        ),
        Some(last_s) if alone => (
            format!(
                "no sync of the column store has run for {}: what changed is read from the rows",
                format::seconds(last_s)
            ),
            start,
        ),
        Some(last_s) => (
            format!(
                "the sync of the column store is behind: its last round ended {} ago",
                format::seconds(last_s)
            ),
            "see what the sync's backend waits for".to_owned(),
        ),
    })
}

fn long_log(store: Store<'_>) -> Option<(String, String)> {
    let bytes = store.log_bytes().filter(|bytes| *bytes >= LOG_BYTES)?;
    let cure = if store.state().is("no sync") {
        format!("start htap-top columnar sync --fresh 1s, or {SWITCH_OFF}")
    } else {
        "VACUUM htap.column_dirty, once no old snapshot keeps its rows".to_owned()
    };
    Some((
        format!(
            "the log of changed hours of the column store has {}, which each query reads",
            format::bytes(bytes)
        ),
        cure,
    ))
}

/// Returns files that are missing, cut or altered.
pub(super) fn column_file(evidence: &Evidence<'_>) -> Option<Finding> {
    let store = evidence.columnar;
    let damaged = store.damaged().filter(|damaged| *damaged > 0)?;
    let first = store.damage().shown();
    let sentence = if damaged == 1 {
        format!("column {first}: queries that read it are refused")
    } else {
        let damaged = format::count(damaged as f64);
        format!(
            "{damaged} column files are damaged, first {first}: queries that read them are refused"
        )
    };
    Some(Finding {
        health: Health::Warning,
        damage: Damage::Error,
        subject: "column files".to_owned(),
        sentence,
        cure: "htap-top columnar sync writes them anew".to_owned(),
        evidence: vec![fact("folder", store.folder().shown())],
        ..Finding::default()
    })
}

/// Returns the disk of the folder if it is nearly full.
pub(super) fn column_disk(evidence: &Evidence<'_>) -> Option<Finding> {
    let store = evidence.columnar;
    let (left, size) = (store.free_bytes()?, store.disk_bytes()?);
    let health = scarce(&evidence.config.targets, left, size)?;
    let pct = left / size * 100.0;
    let folder = store.folder().shown();
    let (left, size) = (format::bytes(left), format::bytes(size));
    Some(Finding {
        health,
        damage: Damage::Staleness,
        subject: "disk of the column files".to_owned(),
        sentence: format!("{left} left on the disk of the column files: no sync when it is full"),
        cure: "free disk space, or keep fewer files: columnar sync --keep DAYS".to_owned(),
        evidence: vec![
            fact("disk", format!("{left} of {size} left, {pct:.1}%")),
            fact("folder", folder),
        ],
        ..Finding::default()
    })
}
