//! The gauge `fresh`: the age of views and summaries relative to their targets.

use super::{Gauge, Health, judge};
use crate::config::Targets;
use crate::dashboard::rows::{Row, Rows, read};
use crate::format::Unit;
use crate::pg::Value;

/// Returns the view that is latest relative to a target that somebody set; rows are sorted latest first. A target
/// learned from a view's own refreshes does not count: any role may own a view and refresh it at will.
pub(super) fn latest_wanted(views: Rows<'_, read::View>) -> Option<Row<'_, read::View>> {
    views
        .iter()
        .find(|row| row.target_s().is_some() && row.target_own() != Some(true))
}

/// Returns true if a target is set for any view, or if that is not known yet.
pub(super) fn is_wanted(views: Rows<'_, read::View>) -> bool {
    !views.is_told() || latest_wanted(views).is_some()
}

/// If only the end of the last refresh is known, it is assumed to have lasted at most this share of the
/// target.
const SOON: f64 = 0.5;

/// Returns the gauge of the view that is latest relative to its target.
pub(super) fn freshness(views: Rows<'_, read::View>, targets: &Targets) -> Gauge {
    let row = latest_wanted(views).unwrap_or_else(|| views.first());
    let fresh = row.fresh_s();
    let general = targets.freshness.map(|wanted| wanted.as_secs_f64());
    let target = row.target_s().or(general);
    let mut gauge = judge(
        "fresh",
        fresh.number(),
        target.unwrap_or(0.0),
        1.0,
        Unit::Seconds,
    );
    if target.is_none() {
        gauge.target = String::new();
    }
    gauge.value.insert_str(0, fresh.sign());
    gauge.health = match (fresh, gauge.health) {
        // If the refresh took long, the view may be past its target already.
        (Value::AtLeast(_), Health::Good | Health::Warning) if gauge.ratio >= SOON => {
            Health::Unknown
        }
        (Value::AtMost(_), Health::Warning | Health::Danger) => Health::Unknown,
        (_, health) => health,
    };
    gauge
}
