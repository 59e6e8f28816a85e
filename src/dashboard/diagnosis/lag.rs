//! The gauge of replication: the lag of the slowest follower.

use super::rules::replication::{ARCHIVE_LATE_S, LATE_S, receives_nothing};
use super::{Evidence, Gauge, Health, judge};
use crate::dashboard::panels::replication::is_from_archive;
use crate::dashboard::rows::{Row, read};
use crate::format::Unit;

/// Returns true if this server has followers, or follows another.
pub(super) fn is_judged(evidence: &Evidence<'_>) -> bool {
    follows(evidence).next().is_some()
}

/// Returns the gauge of the longest lag of a replica, or of this server if it is a standby.
pub(super) fn lag(evidence: &Evidence<'_>) -> Gauge {
    let lags = follows(evidence).filter_map(|row| row.lag_s());
    let nothing = follows(evidence).any(|row| row.lag_bytes() == Some(0));
    let longest = lags.reduce(f64::max).or(nothing.then_some(0.0));
    let mut gauge = judge(
        "lag",
        longest,
        LATE_S,
        evidence.config.targets.warn_at,
        Unit::Seconds,
    );
    if follows(evidence).any(receives_nothing) {
        gauge.value = "no WAL".into();
        gauge.health = Health::Danger;
        gauge.ratio = gauge.ratio.max(1.0);
    } else if follows(evidence).any(is_from_archive) && longest.is_some() {
        // It also grows while nobody writes to the primary.
        gauge.value.insert(0, '≤');
        gauge.health = if longest >= Some(ARCHIVE_LATE_S) {
            Health::Warning
        } else {
            Health::Good
        };
    }
    gauge
}

fn follows<'a>(evidence: &Evidence<'a>) -> impl Iterator<Item = Row<'a, read::Replication>> {
    evidence.replication.iter().filter(|row| {
        row.kind().text().is_some_and(|kind| kind != "slot")
            && row.active().is_some()
            && row.gone_s().is_none()
    })
}
