//! The gauge of replication: how far behind the last of those that follow is.

use super::rules::replication::LATE_S;
use super::{Evidence, Gauge, Health, judge};
use crate::dashboard::panels::spec::Unit;

/// Whether anybody follows this server, or it follows another.
pub fn is_judged(evidence: &Evidence<'_>) -> bool {
    follows(evidence).next().is_some()
}

/// The longest lag of a replica, or of this server where it is a standby.
pub fn lag(evidence: &Evidence<'_>) -> Gauge {
    let table = evidence.replication;
    let lags = follows(evidence).filter_map(|row| table.get(row, "lag_s").number());
    let nothing = follows(evidence).any(|row| table.get(row, "lag_bytes").int() == Some(0));
    let longest = lags.reduce(f64::max).or(nothing.then_some(0.0));
    let mut gauge = judge(
        "lag",
        longest,
        LATE_S,
        evidence.config.targets.warn_at,
        Unit::Seconds,
    );
    let down = |row: usize| {
        table.get(row, "kind").text() == Some("receiver")
            && table.get(row, "down_s").is_known()
            && table.get(row, "wanted").is_true()
    };
    if follows(evidence).any(down) {
        gauge.value = "no WAL".into();
        gauge.health = Health::Danger;
        gauge.ratio = gauge.ratio.max(1.0);
    }
    gauge
}

fn follows<'a>(evidence: &'a Evidence<'_>) -> impl Iterator<Item = usize> + 'a {
    let table = evidence.replication;
    (0..table.rows.len()).filter(move |row| {
        table
            .get(*row, "kind")
            .text()
            .is_some_and(|kind| kind != "slot")
            && table.get(*row, "active").is_known()
            && !table.get(*row, "gone_s").is_known()
    })
}
