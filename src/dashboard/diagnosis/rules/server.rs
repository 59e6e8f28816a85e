//! The server as a whole: checkpoints, exhaustion of ids, counter resets.

use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::format;

/// Forced checkpoints more frequent than this share of checkpoint_timeout are too frequent.
const TOO_FAST: f64 = 1.0 / 3.0;
/// Share of max_wal_size written between two checkpoints that WAL volume forces: the server starts one early
/// enough that the WAL of two fits into max_wal_size.
const BY_VOLUME: f64 = 0.25;
const MB: f64 = 1024.0 * 1024.0;

/// Finds checkpoints forced by WAL volume one after the other; both frequency and volume must agree.
pub(super) fn checkpoints(evidence: &Evidence<'_>) -> Option<Finding> {
    let wal = evidence.wal;
    let every_s = wal.forced_every_s()?;
    let (timeout_s, max_wal) = (wal.checkpoint_timeout_s()?, wal.max_wal_size_bytes()?);
    let bytes = wal.bytes_per_checkpoint()?;
    if every_s > timeout_s * TOO_FAST || bytes < max_wal * BY_VOLUME {
        return None;
    }
    let (every, max) = (format::seconds(every_s), format::bytes(max_wal));
    Some(Finding {
        health: Health::Warning,
        explains: &["p99", "tps"],
        subject: "checkpoints".into(),
        sentence: format!(
            "a checkpoint every {every}, forced by {} of WAL each: max_wal_size is {max}",
            format::bytes(bytes)
        ),
        cure: format!(
            "ALTER SYSTEM SET max_wal_size = '{:.0}MB'; SELECT pg_reload_conf()",
            (max_wal / MB * 2.0).ceil()
        ),
        evidence: vec![
            fact("forced checkpoints", format!("one every {every}")),
            fact("checkpoint_timeout", format::seconds(timeout_s)),
            fact("WAL between two", format::bytes(bytes)),
            fact("max_wal_size", max),
        ],
        ..Finding::default()
    })
}

/// Ages of the oldest transaction or multixact id. Autovacuum should have frozen it long before the first;
/// the second is close to vacuum_failsafe_age (1.6 billion), beyond which autovacuum skips all other work.
const OLD: (f64, f64) = (500e6, 1_500e6);
/// Number of ids, less those that the server reserves for a superuser's VACUUM.
const ALL: f64 = 2_147_483_648.0 - 3e6;

/// Finds the oldest id of any kind.
pub(super) fn wraparound(evidence: &Evidence<'_>) -> Option<Finding> {
    let ages = evidence.wraparound.iter().flat_map(|row| {
        let ages = [
            (row.frozen_age(), "transaction ids"),
            (row.mxid_age(), "multixacts"),
        ];
        let ages = ages.into_iter();
        ages.filter_map(move |(age, kind)| Some((age?, kind, row.datname().text()?)))
    });
    let (age, kind, database) = ages.max_by(|a, b| a.0.total_cmp(&b.0))?;
    if age < OLD.0 {
        return None;
    }
    let left = format::count((ALL - age).max(0.0));
    let ours = evidence.facts.current_database().text();
    let place = if evidence.facts.in_recovery() == Some(true) {
        format!("on the primary, in {database}: ")
    } else if ours.is_some_and(|ours| ours != database) {
        format!("in {database}: ")
    } else {
        String::new()
    };
    let cure = format!("{place}VACUUM (FREEZE); first end what holds the horizon");
    let age_text = format::count(age);
    Some(Finding {
        health: if age >= OLD.1 {
            Health::Danger
        } else {
            Health::Warning
        },
        damage: Damage::Halt,
        explains: &[],
        subject: database.to_owned(),
        sentence: format!(
            "the oldest {kind} of {database} are {age_text} old: {left} left before it refuses writes"
        ),
        cure,
        evidence: vec![
            fact("database", database),
            fact("age", age_text),
            fact("left", left),
        ],
        ..Finding::default()
    })
}

/// Finds a reset of counters: the rates of that interval are not known.
pub(super) fn counters_reset(evidence: &Evidence<'_>) -> Option<Finding> {
    let ago = evidence.reset_ago_s?;
    Some(Finding {
        health: Health::Warning,
        damage: Damage::Staleness,
        subject: "counters".into(),
        sentence: format!(
            "the server's counters were reset {} ago: rates and sums start over",
            format::seconds(ago)
        ),
        evidence: vec![fact("reset", "by pg_stat_reset(), or by crash recovery")],
        ..Finding::default()
    })
}
