//! What the figures of a report mean, with their units.

use crate::dashboard::model::Model;
use crate::dashboard::output;
use crate::dashboard::output::sheet::Sheet;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The figures of the strip.
const GAUGES: [(&str, &str); 13] = [
    (
        "p99",
        "99th percentile of the point query's time at the client, in ms or s, over the last 30 s or since slow ones ended; \
         five queries per second on a session of their own",
    ),
    (
        "snapshot",
        "age of the oldest snapshot for which VACUUM keeps dead rows, in s, min or h",
    ),
    (
        "locks",
        "number of sessions that wait for a lock, and the longest wait",
    ),
    (
        "fresh",
        "age of the data in the materialized view that is latest relative to its target",
    ),
    (
        "olap",
        "slowest answer of the business panels, or age of the oldest running OLAP statement",
    ),
    ("tps", "transactions per second, commits and rollbacks"),
    (
        "oltp pool",
        "client sessions of class oltp, beside their limit",
    ),
    (
        "olap pool",
        "client sessions of class olap, beside their limit",
    ),
    (
        "server",
        "client sessions of the server, beside max_connections",
    ),
    (
        "dead",
        "dead rows of the worst table, as a percentage of its rows",
    ),
    ("lag", "how far the replica is behind, in s"),
    (
        "maxwait",
        "how long the first client in the pooler has waited for a server connection",
    ),
    (
        "cpu",
        "busy share of all processors of the server's machine, in percent",
    ),
];

/// Explanations of the columns that a report shows.
#[derive(Default)]
pub(super) struct Meanings {
    text: String,
    known: BTreeSet<(String, String)>,
}

impl Meanings {
    /// Adds the columns of a sheet that has rows, each once.
    pub(super) fn add(&mut self, sheet: &Sheet) {
        if sheet.rows.as_ref().is_none_or(Vec::is_empty) {
            return;
        }
        let columns = sheet.shown.iter().filter_map(|at| sheet.columns.get(*at));
        for column in columns.filter(|column| !column.spec.help.is_empty()) {
            if !self.known.insert((sheet.name.clone(), column.name.clone())) {
                continue;
            }
            let unit = match output::unit(column.spec.unit, column.rate) {
                "" | "flag" => String::new(),
                unit => format!(" [{unit}]"),
            };
            let help = &column.spec.help;
            let _ = writeln!(self.text, "{}.{}{unit}: {help}", sheet.name, column.name);
        }
    }

    /// Returns the explanations, after those of the gauges that the model has.
    pub(super) fn text(&self, model: &Model) -> String {
        let labels: Vec<&str> = model.gauges.iter().map(|gauge| gauge.label).collect();
        let gauges = GAUGES.iter().filter(|(label, _)| labels.contains(label));
        let mut text = String::new();
        for (label, meaning) in gauges {
            let _ = writeln!(text, "{label}: {meaning}");
        }
        text + &self.text
    }
}
