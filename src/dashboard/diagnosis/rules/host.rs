//! The machine: who fills its processors, and what is left of its disks.

use super::described;
use crate::config::Targets;
use crate::dashboard::diagnosis::blocker::Blocker;
use crate::dashboard::diagnosis::finding::{Damage, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health};
use crate::dashboard::rows::{Row, host as host_rows};
use crate::format;

/// Gauges that a full machine explains.
const EXPLAINS: &[&str] = &["cpu", "p99", "tps", "olap"];
/// Percent of all cores from which other programs are named.
const OTHERS_PCT: f64 = 50.0;
/// Percent of all cores from which OLAP is named.
const OLAP_PCT: f64 = 40.0;
/// Share of the target `disk_left_pct` below which a disk is a danger.
const DANGER_SHARE: f64 = 0.3;
/// Free bytes that are enough, regardless of the size of the disk.
const ENOUGH_BYTES: f64 = 100.0 * 1024.0 * 1024.0 * 1024.0;

/// Returns the row called `who` if all cores are busy.
fn on_full_machine<'a>(evidence: &Evidence<'a>, who: &str) -> Option<Row<'a, host_rows::HostUse>> {
    let targets = &evidence.config.targets;
    let busy_pct = evidence.host.first().busy_pct()?;
    let mut rows = evidence.host.iter();
    rows.find(|row| busy_pct >= targets.cpu_pct && row.who().is(who))
}

/// Returns `1.4 of 2 cores`.
fn cores(evidence: &Evidence<'_>, row: Row<'_, host_rows::HostUse>) -> Option<String> {
    let all = evidence.host.first().cores()?;
    Some(format!("{:.1} of {all} cores", row.cpu_pct()? / 100.0))
}

/// Cores by class of work, as evidence.
fn shares(evidence: &Evidence<'_>) -> Vec<(String, String)> {
    let rows = evidence.host.iter();
    let known = rows.filter_map(|row| Some(fact(row.who().shown(), cores(evidence, row)?)));
    known.collect()
}

/// Finds a full machine whose processors are mostly used by others than the server.
pub(super) fn other_programs(evidence: &Evidence<'_>) -> Option<Finding> {
    let others = on_full_machine(evidence, "others")?;
    if others.share_pct()? < OTHERS_PCT {
        return None;
    }
    Some(Finding {
        explains: EXPLAINS,
        subject: "others".to_owned(),
        sentence: format!(
            "{} are used by other programs, or by sessions too short to be seen",
            cores(evidence, others)?
        ),
        cure: "run top on the server's machine".to_owned(),
        evidence: shares(evidence),
        ..Finding::default()
    })
}

/// Finds a full machine of which OLAP has a large share.
pub(super) fn olap_share(evidence: &Evidence<'_>) -> Option<Finding> {
    let olap = on_full_machine(evidence, "olap")?;
    if olap.share_pct()? < OLAP_PCT {
        return None;
    }
    let sessions = evidence
        .activity
        .iter()
        .filter(|row| row.class().is("olap"));
    let leaders = sessions.filter(|row| row.leader_pid().is_none());
    let used = leaders.filter_map(|row| Some((row, row.cpu_pct()?)));
    let first = used.max_by(|a, b| a.1.total_cmp(&b.1));
    let mut facts = shares(evidence);
    let mut most = String::new();
    if let Some((row, cpu_pct)) = first {
        facts.push(fact(described(row), format!("{cpu_pct:.0}% of a core")));
        facts.push(fact("its statement", row.query().shown()));
        let loss = Blocker::of(evidence, row).kind.loss();
        facts.push(fact("ending it", loss));
        most = format!(", most of it {}", described(row));
    }
    Some(Finding {
        explains: EXPLAINS,
        subject: "olap".to_owned(),
        sentence: format!("OLAP uses {}{most}", cores(evidence, olap)?),
        cure: "run htap-top isolate on its machine to limit OLAP's share".to_owned(),
        evidence: facts,
        ..Finding::default()
    })
}

/// Judges the space that is left on a disk of this size. Returns none if it is enough.
pub(super) fn scarce(targets: &Targets, left: f64, size: f64) -> Option<Health> {
    let target = targets.disk_left_pct;
    match left / size * 100.0 {
        _ if left >= ENOUGH_BYTES => None,
        pct if pct < target * DANGER_SHARE => Some(Health::Danger),
        pct if pct < target => Some(Health::Warning),
        _ => None,
    }
}

/// Finds a disk of the server that is nearly full.
pub(super) fn disk_space(evidence: &Evidence<'_>) -> Option<Finding> {
    let machine = evidence.host.first();
    let spaces = [
        (
            "data directory",
            machine.data_left_bytes(),
            machine.data_bytes(),
        ),
        ("pg_wal", machine.wal_left_bytes(), machine.wal_bytes()),
    ];
    let spaces = spaces.into_iter().filter_map(|(name, left, size)| {
        let (left, size) = (left?, size.filter(|size| *size > 0.0)?);
        Some((name, left, size, left / size * 100.0))
    });
    let (name, left, size, pct) = spaces.min_by(|a, b| a.3.total_cmp(&b.3))?;
    let health = scarce(&evidence.config.targets, left, size)?;
    let (left, size) = (format::bytes(left), format::bytes(size));
    Some(Finding {
        health,
        damage: Damage::Halt,
        subject: name.to_owned(),
        sentence: format!(
            "{left} left on the disk of the {name}: the server stops when it is full"
        ),
        cure: "free disk space; a replication slot may retain WAL".to_owned(),
        evidence: vec![fact("disk", format!("{left} of {size} left, {pct:.1}%"))],
        ..Finding::default()
    })
}
