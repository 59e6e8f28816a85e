//! The gauge of the oldest snapshot.

use super::{DEAD_ROWS, Evidence, Gauge, Health, judge};
use crate::config::Targets;
use crate::dashboard::panels::snapshots::oldest;
use crate::format::Unit;

/// Returns the gauge of the oldest snapshot that keeps dead rows of this database.
pub(super) fn snapshot(evidence: &Evidence<'_>, targets: &Targets) -> Gauge {
    let (snapshots, bloat) = (evidence.snapshots, evidence.bloat);
    let holder = oldest(snapshots);
    let known = holder.and_then(|row| row.age_s());
    let least = holder.and_then(|row| row.age_least_s());
    let nobody = holder.is_none() && snapshots.is_told();
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
        let dead = bloat.iter().filter_map(|row| row.n_dead());
        let all = Some(dead.sum()).filter(|all| bloat.is_told() && *all < DEAD_ROWS);
        gauge.health = match row.pins().or(all) {
            Some(pins) if pins < DEAD_ROWS && figure.is_some() => Health::Good,
            None if gauge.health >= Health::Warning => Health::Unknown,
            _ => gauge.health,
        };
    }
    gauge
}
