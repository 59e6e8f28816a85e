//! The plan of a statement as EXPLAIN (VERBOSE) writes it: PostgreSQL's own reading of the statement,
//! with views, policies and inlined functions spelled out.

use super::catalogue::written_by_server;
use super::names::Names;

/// What a plan says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The planner's estimate of the whole, in its units of cost.
    pub cost: f64,
    /// What its expressions name.
    pub names: Names,
    /// A step that is not for a read-only server, as the plan calls it.
    pub forbidden: Option<String>,
}

/// Begins what a step of the plan is followed by.
const COST: &str = "(cost=";
/// Steps that write, lock rows, or ask another server.
const FORBIDDEN: [&str; 7] = [
    "Insert on",
    "Update on",
    "Delete on",
    "Merge on",
    "LockRows",
    "Foreign ",
    "Async Foreign ",
];

/// Reads a plan; `None` where it is not one, or cannot be read for certain.
pub fn read(lines: &[String]) -> Option<Plan> {
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
    // In a plan a call is always written as one.
    plan.names.calls.retain(|call| !call.column_like);
    Some(plan)
}
