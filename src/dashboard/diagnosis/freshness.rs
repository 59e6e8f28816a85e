//! The gauge `fresh`: how old views and summaries are, beside the age that somebody wants of them.

use super::{Gauge, Health, judge};
use crate::config::Targets;
use crate::dashboard::panels::spec::Unit;
use crate::pg::{Table, Value};

/// The row of the view that is the latest against an age that somebody wants of it: the latest comes first. What a
/// view's own refreshes have kept is no such age: any role may own a view, and refresh it as it likes.
pub fn latest_wanted(views: &Table) -> Option<usize> {
    (0..views.rows.len()).find(|row| {
        views.get(*row, "target_s").is_known() && !views.get(*row, "target_own").is_true()
    })
}

/// Whether some age is wanted of the views, as far as is known.
pub fn is_wanted(views: &Table) -> bool {
    views.column("target_s").is_none() || latest_wanted(views).is_some()
}

/// Where only the end of the last refresh is known, it is taken to have lasted no longer than this share of the target.
const SOON: f64 = 0.5;

/// The gauge of the view that is the latest against its target.
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
        // It may be past its target already, if the refresh took long; or not yet.
        (Value::AtLeast(_), Health::Good | Health::Warning) if gauge.ratio >= SOON => {
            Health::Unknown
        }
        (Value::AtMost(_), Health::Warning | Health::Danger) => Health::Unknown,
        (_, health) => health,
    };
    gauge
}
