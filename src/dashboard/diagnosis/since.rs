//! Start times of missed targets and findings.

use super::finding::Finding;
use super::{Gauge, Health};
use crate::dashboard::event::Moment;
use std::collections::BTreeMap;

/// Times since which each gauge has been bad and each finding has been present.
#[derive(Clone, Debug, Default)]
pub struct Since {
    pub(super) bad: BTreeMap<&'static str, (Moment, Option<f64>)>,
    pub(super) found: BTreeMap<(&'static str, String), Moment>,
    pub(super) calm: Option<Moment>,
    /// Time of the first measurement.
    first: Option<Moment>,
}

/// Seconds after the first measurement during which a trouble is assumed to be older than it.
const FIRST_LOOK_S: f64 = 3.0;

impl Since {
    /// Records gauges and findings as of `now`; `before` returns the figure that a gauge had while it was
    /// good.
    pub fn note(
        &mut self,
        gauges: &[Gauge],
        findings: &[Finding],
        now: Moment,
        before: &dyn Fn(&str) -> Option<f64>,
    ) {
        if gauges.iter().any(|gauge| gauge.health != Health::Unknown) {
            self.first.get_or_insert(now);
        }
        let keys = findings
            .iter()
            .map(|finding| (finding.rule, finding.subject.clone()));
        self.found = keys
            .map(|key| {
                let began = self.found.get(&key).copied().unwrap_or(now);
                (key, began)
            })
            .collect();
        for gauge in gauges {
            if gauge.health >= Health::Warning {
                self.bad
                    .entry(gauge.label)
                    .or_insert_with(|| (now, before(gauge.label)));
            } else {
                self.bad.remove(gauge.label);
            }
        }
        let calm = gauges.iter().all(|gauge| gauge.health < Health::Warning)
            && findings
                .iter()
                .all(|finding| finding.health < Health::Warning);
        self.calm = if calm { self.calm.or(Some(now)) } else { None };
    }

    /// Returns true if something first seen at `began` may have begun long before, because nothing was
    /// measured earlier.
    pub(super) fn is_first_look(&self, began: Moment) -> bool {
        self.first
            .is_some_and(|first| began.since(first) <= FIRST_LOOK_S)
    }
}
