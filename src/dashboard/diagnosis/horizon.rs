//! The gauge of the oldest snapshot.

use super::{DEAD_ROWS, Evidence, Gauge, Health, judge};
use crate::config::Targets;
use crate::dashboard::panels::snapshots::oldest;
use crate::format::Unit;

/// Returns the gauge of the oldest snapshot that keeps dead rows of this database.
pub fn snapshot(evidence: &Evidence<'_>, targets: &Targets) -> Gauge {
    let (snapshots, bloat) = (evidence.snapshots, evidence.bloat);
    let holder = oldest(snapshots);
    let known = holder.and_then(|row| snapshots.get(row, "age_s").number());
    let least = holder.and_then(|row| snapshots.get(row, "age_least_s").number());
    let nobody = holder.is_none() && !snapshots.columns.is_empty();
    let target = targets.snapshot_age.as_secs_f64();
    let figure = known.or(least).or(nobody.then_some(0.0));
    let mut gauge = judge("snapshot", figure, target, targets.warn_at, Unit::Seconds);
    if known.is_none() && least.is_some() {
        gauge.value.insert(0, '≥');
        if gauge.health < Health::Danger {
            // It may be past its target already.
            gauge.health = Health::Unknown;
        }
    }
    if let Some(row) = holder {
        // A snapshot that keeps no rows does no harm, however old it is.
        let dead = (0..bloat.rows.len()).filter_map(|row| bloat.get(row, "n_dead").int());
        let all = Some(dead.sum()).filter(|all| !bloat.columns.is_empty() && *all < DEAD_ROWS);
        gauge.health = match snapshots.get(row, "pins").int().or(all) {
            Some(pins) if pins < DEAD_ROWS && figure.is_some() => Health::Good,
            None if gauge.health >= Health::Warning => Health::Unknown,
            _ => gauge.health,
        };
    }
    gauge
}
