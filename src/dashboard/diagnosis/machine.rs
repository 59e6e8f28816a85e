//! The gauge of the machine's processors.

use super::{Evidence, Gauge, Health, judge, latency};
use crate::config::Targets;
use crate::format::{self, Unit};

/// Judges how busy all cores are. A full machine harms nobody while latency is within its target.
pub(super) fn cpu(evidence: &Evidence<'_>, targets: &Targets) -> Gauge {
    let busy_pct = evidence.host.first().busy_pct();
    let mut gauge = judge("cpu", busy_pct, targets.cpu_pct, 1.0, Unit::Percent);
    let latency = latency(evidence.oltp, targets).health;
    gauge.health = gauge.health.min(latency.max(Health::Good));
    let mut rows = evidence.host.iter();
    let olap = rows.find(|row| row.who().is("olap"));
    let share = olap
        .and_then(|row| row.share_pct())
        .filter(|share| *share >= 1.0);
    if let (Some(share), Some(_)) = (share, busy_pct) {
        gauge.value = format!(
            "{} olap {}",
            gauge.value,
            format::figure(share, Unit::Percent, 0)
        );
    }
    if gauge.health <= Health::Good {
        // A full machine is no missed target then.
        gauge.target = String::new();
    }
    gauge
}
