//! Reads the plan of a statement as EXPLAIN (VERBOSE) prints it: PostgreSQL's own reading of the statement, with views,
//! policies and inlined functions expanded.

use super::catalogue::written_by_server;
use super::names::Names;
use std::collections::BTreeSet;

/// Facts from a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The planner's estimate of the total, in its cost units.
    pub cost: f64,
    /// The names in its expressions.
    pub names: Names,
    /// The relations that it scans, as the plan writes them.
    pub scanned: BTreeSet<String>,
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

/// Steps that read a relation.
const SCANS: [&str; 7] = [
    "Seq Scan",
    "Index Scan",
    "Index Only Scan",
    "Bitmap Heap Scan",
    "Tid Scan",
    "Tid Range Scan",
    "Sample Scan",
];

/// The relation that a step reads, as the plan writes it.
fn scanned(step: &str) -> Option<&str> {
    let step = step.strip_prefix("Parallel ").unwrap_or(step);
    SCANS.iter().find(|name| step.starts_with(**name))?;
    let (_, relation) = step.split_once(" on ")?;
    relation.split_whitespace().next()
}

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
                plan.scanned.extend(scanned(step).map(str::to_owned));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_that_a_plan_scans() {
        let lines = [
            "Hash Join  (cost=5.00..1200.00 rows=9 width=8)",
            "  ->  Parallel Seq Scan on mart.fact_sales f  (cost=0.00..900.00 rows=9 width=8)",
            "        Filter: (f.category = 'Seq Scan on x'::text)",
            "  ->  Bitmap Heap Scan on shop.\"odd name\" o  (cost=0.00..10.00 rows=9 width=8)",
            "        ->  Bitmap Index Scan on odd_idx  (cost=0.00..1.00 rows=9 width=0)",
            "  ->  Index Only Scan Backward using users_pkey on shop.users  (cost=0.00..10.00 rows=9 width=8)",
            "  ->  CTE Scan on c  (cost=0.00..10.00 rows=9 width=8)",
        ];
        let plan = read(&lines.map(str::to_owned)).map(|plan| plan.scanned);
        let wanted = ["mart.fact_sales", "shop.\"odd", "shop.users"];
        assert_eq!(plan, Some(wanted.map(str::to_owned).into()));
    }
}
