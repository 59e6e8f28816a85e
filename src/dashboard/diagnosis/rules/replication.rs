//! Replication from both sides: WAL that a standby does not receive or replay, WAL and standbys that a
//! primary retains or lacks.

use super::RESUME;
use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::dashboard::panels::replication::is_from_archive;
use crate::dashboard::rows::{Row, read};
use crate::format;
use crate::pg::Value;

type Told<'t> = Row<'t, read::Replication>;

/// Bytes of WAL retained for a slot from which on it is reported.
const RETAINED: f64 = 4.0 * 1024.0 * 1024.0 * 1024.0;
/// Bytes of WAL added for a slot while nobody reads it.
const GROWN: f64 = 16.0 * 1024.0 * 1024.0;
/// Remaining share of what a slot may retain below which it is reported.
const NEAR: f64 = 0.25;
/// Bytes and seconds that a replica may be behind.
const BEHIND: (f64, f64) = (256.0 * 1024.0 * 1024.0, 10.0);
/// Seconds that a replica may be behind, regardless of bytes.
pub(crate) const LATE_S: f64 = 60.0;
/// Seconds without a receiver; a walreceiver reconnects every five seconds.
const DOWN_S: f64 = 10.0;
/// Age in seconds of the last commit that a standby has replayed from an archive: WAL arrives there in whole
/// files, which a primary that is not busy fills slowly.
pub(crate) const ARCHIVE_LATE_S: f64 = 600.0;

/// Returns the worst finding about replicas, slots and the receiver.
pub(crate) fn replication(evidence: &Evidence<'_>) -> Option<Finding> {
    let told = |row| super::nodes::is_told(evidence, row);
    let found = evidence
        .replication
        .iter()
        .filter_map(|row| of_row(row, told(row)));
    found.reduce(|worst, finding| {
        if finding.health > worst.health {
            finding
        } else {
            worst
        }
    })
}

/// `told` is true if another rule has already reported that the standby is gone or behind.
fn of_row(row: Told<'_>, told: bool) -> Option<Finding> {
    if let Some(gone_s) = row.gone_s() {
        return gone(row, gone_s).filter(|_| !told);
    }
    match row.kind().text()? {
        "slot" => slot(row, told),
        "replica" if told => None,
        "replica" => replica(row),
        "receiver" => receiver(row),
        _ => None,
    }
}

fn gone(row: Told<'_>, gone_s: f64) -> Option<Finding> {
    let ago = format::seconds(gone_s);
    let name = row.name().shown();
    let (what, cure) = match row.kind().text()? {
        "slot" => (
            format!("replication slot {name} was dropped {ago} ago"),
            // Only logical slots belong to a database.
            match row.client().text() {
                None => format!(
                    "if its standby exists: SELECT pg_create_physical_replication_slot('{name}', true)"
                ),
                Some(_) => "its subscription needs a new slot and a new copy".to_owned(),
            },
        ),
        _ => (
            format!("standby {name} disconnected {ago} ago"),
            "start it, or check its log".to_owned(),
        ),
    };
    Some(Finding {
        health: Health::Warning,
        subject: format!("gone {name}"),
        sentence: what,
        cure,
        evidence: vec![fact("gone for", ago)],
        ..Finding::default()
    })
}

fn slot(row: Told<'_>, told: bool) -> Option<Finding> {
    let name = row.name().shown();
    let status = row.wal_status().shown();
    let retained = row.retained_bytes().unwrap_or(0.0);
    let lost = matches!(status, "unreserved" | "lost");
    let grown = row.grown_bytes();
    // One that is polled is not unread, though nobody is connected to it.
    let active = row.active() == Some(true) || row.lasting() == Some(true) && grown.is_none();
    let grown = grown.filter(|grown| !active && !told && *grown >= GROWN);
    let safe = row.safe_wal_bytes().map(|safe| safe.max(0.0));
    let safe = safe.filter(|safe| *safe < NEAR * (retained + safe));
    if !lost && retained < RETAINED && grown.is_none() && safe.is_none() {
        return None;
    }
    let drop = format!("SELECT pg_drop_replication_slot('{name}')");
    let (sentence, cure) = if status == "lost" {
        (
            format!("replication slot {name} has lost its WAL: its reader cannot go on"),
            format!("{drop}; its reader has to start over"),
        )
    } else {
        let mut sentence = format!(
            "replication slot {name} keeps {} of WAL ({status}{})",
            format::bytes(retained),
            if active { "" } else { ", nobody reads it" }
        );
        if let Some(grown) = grown {
            sentence = format!("{sentence}, {} of it came since", format::bytes(grown));
        }
        if let Some(safe) = safe {
            sentence = format!(
                "{sentence}: it may be lost after {} more",
                format::bytes(safe)
            );
        }
        let cure = if active {
            "its consumer lags".to_owned()
        } else {
            format!("start its consumer, or {drop}")
        };
        (sentence, cure)
    };
    Some(Finding {
        health: if lost {
            Health::Danger
        } else {
            Health::Warning
        },
        // A slot fills the disk, or its reader cannot continue.
        damage: Damage::Halt,
        subject: format!("slot {name}"),
        sentence,
        cure,
        evidence: vec![
            fact("retained", format::bytes(retained)),
            fact("wal_status", status),
        ],
        ..Finding::default()
    })
}

fn replica(row: Told<'_>) -> Option<Finding> {
    let name = row.name().shown();
    let state = row.state().shown();
    if state.starts_with("missing") {
        return Some(Finding {
            health: Health::Danger,
            damage: Damage::Halt,
            // Read-only transactions have no commit that a standby must confirm.
            explains: &["tps", "locks"],
            subject: "synchronous standby".into(),
            sentence: format!(
                "commits wait for a synchronous standby that is not connected ({state}; synchronous_standby_names = {name})"
            ),
            cure: "start it, or ALTER SYSTEM SET synchronous_standby_names = ''; SELECT pg_reload_conf()"
                .into(),
            evidence: vec![
                fact("synchronous_standby_names", name),
                fact(
                    "without any",
                    "commits wait for no standby: losing this server loses the latest ones",
                ),
            ],
            ..Finding::default()
        });
    }
    let bytes = row.lag_bytes()? as f64;
    let seconds = row.lag_s();
    let late = seconds.filter(|lag| *lag >= LATE_S && bytes > 0.0);
    let behind = bytes >= BEHIND.0 && seconds.is_none_or(|lag| lag >= BEHIND.1);
    if late.is_none() && !behind {
        return None;
    }
    let lag = seconds.map_or_else(String::new, |lag| format!(", {}", format::seconds(lag)));
    let behind = format!("{}{lag}", format::bytes(bytes));
    Some(Finding {
        health: Health::Warning,
        explains: &["lag"],
        subject: format!("replica {name}"),
        sentence: format!("replica {name} is {behind} behind"),
        cure: "check it for paused replay, long queries, I/O".into(),
        evidence: vec![fact("behind", behind)],
        ..Finding::default()
    })
}

/// Finding for a server that is a standby.
fn receiver(row: Told<'_>) -> Option<Finding> {
    let bytes = row.lag_bytes().unwrap_or(0) as f64;
    let lag = row.lag_s().filter(|_| bytes > 0.0);
    let behind = match lag {
        Some(lag) => format!("{}, {} old", format::bytes(bytes), format::seconds(lag)),
        None => format::bytes(bytes),
    };
    let replayed = row.replayed_s();
    let last = replayed.map(|age| {
        let age = format::seconds(age);
        format!("its last replayed commit is {age} old")
    });
    let (health, sentence, cure) = if row.replay_paused() == Some(true) {
        let health = if lag >= Some(LATE_S) {
            Health::Danger
        } else {
            Health::Warning
        };
        let sentence = format!("replay is paused on this standby: {behind} of WAL wait");
        (health, sentence, RESUME)
    } else if receives_nothing(row) {
        let (sentence, cure) = nothing(row);
        let last = last.as_ref();
        let last = last.map_or_else(String::new, |last| format!("; {last}"));
        (Health::Danger, format!("{sentence}{last}"), cure)
    } else if is_from_archive(row) {
        last.filter(|_| replayed >= Some(ARCHIVE_LATE_S))
            .map(|last| {
                let sentence = format!("no receiver runs on this standby, an archive feeds it: {last}");
                let cure = "check the log, restore_command and primary_conninfo here, archive_command there; \
                            normal if nobody writes there";
                (Health::Warning, sentence, cure)
            })?
    } else if lag >= Some(LATE_S) || bytes >= BEHIND.0 {
        let sentence = format!("this standby has {behind} of WAL to replay");
        (
            Health::Warning,
            sentence,
            "check its I/O, and queries that block replay",
        )
    } else {
        return None;
    };
    let mut facts = vec![
        fact("receiver", row.state().text().unwrap_or("?")),
        fact("not replayed", behind),
    ];
    facts.extend(replayed.map(|age| {
        let age = format::seconds(age);
        fact("last commit replayed", format!("{age} ago"))
    }));
    Some(Finding {
        health,
        damage: Damage::Halt,
        explains: &["lag"],
        subject: "standby".into(),
        sentence,
        cure: cure.into(),
        evidence: facts,
        ..Finding::default()
    })
}

/// Returns true if this server is a standby that receives no WAL, as far as the samples so far can tell.
pub(crate) fn receives_nothing(row: Told<'_>) -> bool {
    let down = row.down_s();
    let long = down.number() >= Some(DOWN_S);
    let is_down = if row.restores() == Some(true) {
        // An archive may be its only source, or the source it still catches up from.
        long && row.wanted() == Some(true)
    } else {
        // None has been seen so far, even if that is a short time.
        long || matches!(down, Value::AtLeast(_))
    };
    row.kind().is("receiver") && is_down
}

/// Sentence and cure for a standby that receives no WAL.
fn nothing(row: Told<'_>) -> (String, &'static str) {
    const LOOK: &str =
        "check primary_conninfo and the log; if the primary removed the WAL: pg_basebackup";
    let cell = row.down_s();
    let down = cell.number().unwrap_or(0.0);
    if row.wanted() == Some(false) {
        let sentence =
            "this standby receives no WAL: primary_conninfo and restore_command are empty";
        let cure = "ALTER SYSTEM SET primary_conninfo = 'host=…'; SELECT pg_reload_conf()";
        (sentence.into(), cure)
    } else if down < DOWN_S {
        let sentence = "this standby receives no WAL: no receiver runs";
        (sentence.into(), LOOK)
    } else {
        let down = format!("{}{}", cell.sign(), format::seconds(down));
        let sentence = format!("this standby has received no WAL for {down}: no receiver lasts");
        (sentence, LOOK)
    }
}
