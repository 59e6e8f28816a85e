//! The gauge `fresh`: the age of views and summaries relative to their targets.

use super::{Gauge, Health, judge};
use crate::config::Targets;
use crate::format::Unit;
use crate::pg::{Table, Value};

/// Returns the row of the view that is latest relative to a target that somebody set; rows are sorted latest
/// first. A target learned from a view's own refreshes does not count: any role may own a view and refresh it
/// at will.
pub fn latest_wanted(views: &Table) -> Option<usize> {
    (0..views.rows.len()).find(|row| {
        views.get(*row, "target_s").is_known() && !views.get(*row, "target_own").is_true()
    })
}

/// Returns true if a target is set for any view, or if that is not known yet.
pub fn is_wanted(views: &Table) -> bool {
    views.column("target_s").is_none() || latest_wanted(views).is_some()
}

/// If only the end of the last refresh is known, it is assumed to have lasted at most this share of the
/// target.
const SOON: f64 = 0.5;

/// Returns the gauge of the view that is latest relative to its target.
pub fn freshness(views: &Table, targets: &Targets) -> Gauge {
    let row = latest_wanted(views).unwrap_or(0);
    let fresh = views.get(row, "fresh_s");
    let general = targets.freshness.map(|wanted| wanted.as_secs_f64());
    let target = views.get(row, "target_s").number().or(general);
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
