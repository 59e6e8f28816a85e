//! Reads the plan of a statement as EXPLAIN (VERBOSE) prints it: PostgreSQL's own reading of the statement, with views,
//! policies and inlined functions expanded.

use super::catalogue::written_by_server;
use super::names::Names;

/// Facts from a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The planner's estimate of the total, in its cost units.
    pub cost: f64,
    /// The names in its expressions.
    pub names: Names,
    /// A step that a read-only server cannot run, as the plan calls it.
    pub forbidden: Option<String>,
}

/// Start of the figures after the name of a step.
const COST: &str = "(cost=";
/// Steps that write, lock rows, or access another server.
const FORBIDDEN: [&str; 7] = [
    "Insert on",
    "Update on",
    "Delete on",
    "Merge on",
    "LockRows",
    "Foreign ",
    "Async Foreign ",
];

/// Parses a plan; `None` if it is not one, or is ambiguous.
pub(super) fn read(lines: &[String]) -> Option<Plan> {
    let (_, figures) = lines.first()?.rsplit_once(COST)?;
    let (_, after) = figures.split_once("..")?;
    let mut plan = Plan {
        cost: after.split_whitespace().next()?.parse().ok()?,
        ..Plan::default()
    };
    for line in lines {
        let line = line.trim_start();
        let text = match line.rsplit_once(COST) {
            Some((step, _)) => {
                let step = step.trim_start_matches("->").trim();
                if FORBIDDEN.iter().any(|name| step.starts_with(name)) {
                    plan.forbidden = Some(step.to_owned());
                }
                step
            }
            None => line,
        };
        plan.names.add(&written_by_server(text)?);
    }
    // In a plan every function call has parentheses.
    plan.names.calls.retain(|call| !call.column_like);
    Some(plan)
}
