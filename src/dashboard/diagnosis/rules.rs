//! The rules: each judges the evidence and returns one sentence, or nothing.

mod capacity;
mod columnar;
mod host;
mod locks;
mod nodes;
mod pooler;
pub(crate) mod replication;
mod server;
mod snapshots;
mod stream;
mod tables;
mod upkeep;
mod views;
mod work;

use super::Evidence;
use super::finding::Finding;
use crate::dashboard::rows::{Row, Rows, Text, read};
use crate::format;

/// Resumes a paused replay.
const RESUME: &str = "SELECT pg_wal_replay_resume()";

/// A rule.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name, as in docs/diagnosis.md and in findings.
    pub name: &'static str,
    /// Description of the trouble it finds.
    pub about: &'static str,
    find: fn(&Evidence<'_>) -> Option<Finding>,
}

/// All rules. If several explain the same missed target, the first one that found something wins. Between findings of
/// equal health and damage, too, the first rule wins.
pub const RULES: &[Rule] = &[
    Rule {
        name: "plain_refresh",
        about: "a plain REFRESH MATERIALIZED VIEW locks the view's readers out",
        find: locks::plain_refresh,
    },
    Rule {
        name: "lock_queue",
        about: "sessions queue for locks behind one session or prepared transaction",
        find: locks::lock_queue,
    },
    Rule {
        name: "point_query",
        about: "point queries fail because a session or prepared transaction holds their table in ACCESS EXCLUSIVE mode, or \
                waits for it",
        find: locks::point_query,
    },
    Rule {
        name: "connections",
        about: "the server's connections are used up, and by whom",
        find: capacity::connections,
    },
    Rule {
        name: "old_snapshot",
        about: "an old snapshot (of a session, prepared transaction, slot or replica) keeps vacuum from removing \
                dead rows, and from which tables",
        find: snapshots::old_snapshot,
    },
    Rule {
        name: "other_programs",
        about: "all cores are busy, half of them with other programs than PostgreSQL or with sessions too short to be seen",
        find: host::other_programs,
    },
    Rule {
        name: "olap_share",
        about: "all cores are busy, many of them with OLAP, and which session uses most",
        find: host::olap_share,
    },
    Rule {
        name: "processors",
        about: "many sessions of one role use the processors at once, and in which statement",
        find: work::processors,
    },
    Rule {
        name: "busy_backend",
        about: "one backend has been running much longer than the others: on a processor, in I/O, or as an OLAP statement past its target",
        find: work::busy_backend,
    },
    Rule {
        name: "checkpoints",
        about: "checkpoints are forced by WAL volume, one after another",
        find: server::checkpoints,
    },
    Rule {
        name: "temp_files",
        about: "a backend sorts or hashes on disk (seen by its temporary files, while they exist)",
        find: work::temp_files,
    },
    Rule {
        name: "cache",
        about: "one kind of work replaces the buffer cache (PostgreSQL 16 and later)",
        find: work::cache,
    },
    Rule {
        name: "workers",
        about: "all parallel workers are in use",
        find: capacity::workers,
    },
    Rule {
        name: "now_view",
        about: "a view has now() among its columns: each refresh CONCURRENTLY replaces every row, and the view bloats",
        find: views::now_view,
    },
    Rule {
        name: "starved_vacuum",
        about: "refreshes hold a view's lock so often that autovacuum never gets it",
        find: views::starved_vacuum,
    },
    Rule {
        name: "dead_rows",
        about: "a table's dead rows pile up, and why vacuum does not remove them",
        find: tables::dead_rows,
    },
    Rule {
        name: "late_view",
        about: "a view or summary is older than its target (without one, a warning if it is older than ever \
                between its own refreshes): nobody refreshes it, or the refresh takes too long",
        find: views::late_view,
    },
    Rule {
        name: "wrong_summary",
        about: "a summary differs from the shop: something bypassed its triggers, or a trigger logs nothing",
        find: views::wrong_summary,
    },
    Rule {
        name: "wraparound",
        about: "transaction ids or multixacts are running out",
        find: server::wraparound,
    },
    Rule {
        name: "nodes",
        about: "the standby that the OLAP pool reads is paused, lost, promoted or without WAL, or routers do not read one because it \
                lags",
        find: nodes::nodes,
    },
    Rule {
        name: "replication",
        about: "a standby that receives no WAL, does not replay it or lags; a primary whose standby or slot is gone, \
                whose slot keeps WAL or is near its limit, or whose commits wait for a missing synchronous standby",
        find: replication::replication,
    },
    Rule {
        name: "stream",
        about: "a replication slot has lost events; events wait in the outbox or a slot and no relay runs, or somebody has paused it; \
                a relay or an aggregator has stopped, cannot reach Kafka, was fenced, or finds another topic; a partition holds the \
                watermark back",
        find: stream::stream,
    },
    Rule {
        name: "dead_letters",
        about: "records of the stream were no events in the last 10 minutes: how many, since when, and why the last one was none",
        find: stream::dead_letters,
    },
    Rule {
        name: "column_file",
        about: "files of the column store are missing, cut or altered, as a sync or a query found, and no sync has written them anew",
        find: columnar::column_file,
    },
    Rule {
        name: "column_sync",
        about: "the column store's sync failed, does not run although it is due (10 rounds and a minute; a day and 2 hours if it runs \
                once), or is behind; changes of a table are not logged; or their log has grown to 64 MB",
        find: columnar::column_sync,
    },
    Rule {
        name: "column_disk",
        about: "less than 10 % (disk_left_pct) and 100 GB are left on the disk of the column files",
        find: columnar::column_disk,
    },
    Rule {
        name: "disk_space",
        about: "less than 10 % (disk_left_pct) and 100 GB are left on the disk of the data directory or of pg_wal",
        find: host::disk_space,
    },
    Rule {
        name: "archiver",
        about: "WAL is not archived: archive_command fails",
        find: upkeep::archiver,
    },
    Rule {
        name: "sequences",
        about: "a sequence, or the integer column that it fills, is near its end",
        find: upkeep::sequences,
    },
    Rule {
        name: "deadlocks",
        about: "deadlocks in the last minute",
        find: upkeep::deadlocks,
    },
    Rule {
        name: "seq_scans",
        about: "a large table is read repeatedly by sequential scans, and by whom",
        find: upkeep::seq_scans,
    },
    Rule {
        name: "slru",
        about: "sessions wait for subtransaction or multixact buffers, and why",
        find: upkeep::slru,
    },
    Rule {
        name: "pooler_lost",
        about: "the pooler cannot be reached from here: its clients may have lost the database",
        find: pooler::pooler_lost,
    },
    Rule {
        name: "pool_closed",
        about: "clients of the pooler wait because their database is paused, or because it opens no more server connections",
        find: pooler::pool_closed,
    },
    Rule {
        name: "pool_held",
        about: "clients of the pooler wait because idle or long transactions hold its server connections, and whose",
        find: pooler::pool_held,
    },
    Rule {
        name: "pool_waits",
        about: "clients of the pooler wait because its server connections wait for locks or I/O: the server is the bottleneck",
        find: pooler::pool_waits,
    },
    Rule {
        name: "pool_small",
        about: "clients of the pooler wait for a server connection while the server is not busy: the pool is too small",
        find: pooler::pool_small,
    },
    Rule {
        name: "counters_reset",
        about: "the server's counters were reset: rates start over",
        find: server::counters_reset,
    },
];

/// Returns the findings of all rules, in their order.
pub fn findings(evidence: &Evidence<'_>) -> Vec<Finding> {
    let found = RULES.iter().filter_map(|rule| {
        let finding = (rule.find)(evidence)?;
        Some(Finding {
            rule: rule.name,
            ..finding
        })
    });
    found.collect()
}

/// Returns the table of rules in docs/diagnosis.md, as Markdown.
pub fn markdown() -> String {
    let rows = RULES
        .iter()
        .map(|rule| format!("| `{}` | {} |\n", rule.name, rule.about));
    format!(
        "| Rule | What it finds |\n| --- | --- |\n{}",
        rows.collect::<String>()
    )
}

/// Abbreviates `idle in transaction`, which is too long for one line.
fn short(state: &str) -> &str {
    if state.starts_with("idle in transaction") {
        "idle in tx"
    } else {
        state
    }
}

/// Returns `pid 812 (metabase, reports, olap)`, ordered so that a narrow screen cuts the least important
/// part.
fn described(row: Row<'_, read::Backend>) -> String {
    format!("pid {} ({})", row.pid().unwrap_or(0), who(row))
}

/// The part of [`described`] after the pid: `metabase, reports, olap`.
fn who(row: Row<'_, read::Backend>) -> String {
    let role = match row.usename().shown() {
        "" => row.role(),
        _ => row.usename(),
    };
    let parts = [row.application_name(), role, row.class()];
    let parts = parts.map(Text::shown).into_iter();
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// Returns `1 vacuum in vain`, `3 vacuums in vain`.
fn in_vain(times: i64) -> String {
    let vacuums = if times == 1 { "vacuum" } else { "vacuums" };
    format!("{times} {vacuums} in vain")
}

/// The backend `pid`.
fn row_of(activity: Rows<'_, read::Backend>, pid: i64) -> Option<Row<'_, read::Backend>> {
    activity.iter().find(|row| row.pid() == Some(pid))
}

/// Seconds for which a backend's transaction has been open or, if unknown, its statement has run.
fn age_s(row: Row<'_, read::Backend>) -> f64 {
    row.xact_age_s().or(row.query_age_s()).unwrap_or(0.0)
}

/// State of a backend, as evidence: `active for 12s`.
fn doing(row: Row<'_, read::Backend>) -> String {
    let state = row.state().text().unwrap_or("?");
    format!("{} for {}", short(state), format::seconds(age_s(row)))
}
