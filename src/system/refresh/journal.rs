//! Figures of a refresh loop since its last report.

use super::keeper::Event;
use crate::format;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Figures of one view.
#[derive(Debug, Default)]
struct Line {
    took_ms: Vec<f64>,
    age_ms: Vec<f64>,
    changes: u64,
    held_back: u64,
    failed: u64,
    behind: bool,
}

/// Aggregates events until the next report.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    views: BTreeMap<String, Line>,
}

impl Journal {
    /// Adds an event.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Ran {
                view,
                took_ms,
                changes,
                age_ms,
                remaining,
                ..
            } => {
                let line = self.views.entry(view.to_string()).or_default();
                line.took_ms.push(*took_ms);
                line.age_ms.push(*age_ms);
                line.changes += changes;
                line.behind = *remaining;
            }
            Event::HeldBack { view, .. } => {
                self.views.entry(view.to_string()).or_default().held_back += 1;
            }
            Event::Failed { view, .. } => {
                self.views.entry(view.to_string()).or_default().failed += 1;
            }
            Event::Waiting(_) | Event::Leading | Event::Uncaptured { .. } | Event::Lost(_) => {}
        }
    }

    /// Returns one line per view, and resets the figures. In JSON: `view`, `refreshes`, `changes`, `took_ms_p50`,
    /// `took_ms_max`, `age_ms_p50`, `age_ms_p99`, `age_ms_max` (the age of what readers saw right before each commit),
    /// `held_back`, `failed`, `behind`.
    pub(crate) fn report(&mut self, json: bool) -> Vec<String> {
        let views = std::mem::take(&mut self.views);
        views
            .into_iter()
            .map(|(view, line)| line.render(&view, json))
            .collect()
    }
}

impl Line {
    fn render(mut self, view: &str, json: bool) -> String {
        self.took_ms.sort_by(f64::total_cmp);
        self.age_ms.sort_by(f64::total_cmp);
        let took = |share| percentile(&self.took_ms, share);
        let age = |share| percentile(&self.age_ms, share);
        if json {
            return json!({
                "view": view, "refreshes": self.took_ms.len(), "changes": self.changes,
                "took_ms_p50": took(0.5), "took_ms_max": took(1.0),
                "age_ms_p50": age(0.5), "age_ms_p99": age(0.99), "age_ms_max": age(1.0),
                "held_back": self.held_back, "failed": self.failed, "behind": self.behind,
            })
            .to_string();
        }
        let mut text = format!(
            "{view:<20} {:>3} refreshes  {:>7} changes  took p50 {} max {}  age p50 {} max {}",
            self.took_ms.len(),
            format::count(self.changes as f64),
            format::ms(took(0.5).unwrap_or(0.0)),
            format::ms(took(1.0).unwrap_or(0.0)),
            format::ms(age(0.5).unwrap_or(0.0)),
            format::ms(age(1.0).unwrap_or(0.0)),
        );
        for (number, what) in [(self.held_back, "held back"), (self.failed, "failed")] {
            if number > 0 {
                let _ = write!(text, "  {number} {what}");
            }
        }
        if self.behind {
            text.push_str("  catching up");
        }
        text
    }
}

/// Returns the percentile `share` (0 to 1) of sorted values, by the nearest-rank method.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::refresh::View;

    #[test]
    fn a_report_sums_up_and_begins_anew() {
        let mut journal = Journal::default();
        let view = View::new("mart", "a");
        for took_ms in [3.0, 1.0, 2.0] {
            journal.note(&Event::Ran {
                view: view.clone(),
                took_ms,
                changes: 5,
                age_ms: took_ms * 100.0,
                rebuilt: false,
                remaining: false,
            });
        }
        journal.note(&Event::HeldBack {
            view,
            commit_ms: 80.0,
        });
        let lines = journal.report(true);
        let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
        assert_eq!(line["changes"], 15);
        assert_eq!(line["took_ms_p50"], 2.0);
        assert_eq!(line["age_ms_max"], 300.0);
        assert_eq!(line["held_back"], 1);
        assert!(journal.report(false).is_empty());
    }
}
