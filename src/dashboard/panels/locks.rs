//! Lock waits: the pairs reported by the server, as a forest in which every session appears once.

use super::classify::{Classifier, Session};
use crate::dashboard::rows::{Columns, Row, Rows, added, read};
use crate::dashboard::wait_graph::WaitGraph;
use crate::pg::{Table, Value};

/// Depth beyond which only a level's number is shown; deeper indentation would push the names off the screen.
const DEEPEST: usize = 4;

/// Adds `tree` (the pid, indented by its depth), `class` and `frees` (for a root: the number of sessions that
/// wait for no other and continue once it ends), and places each waiter below the session it waits for; the
/// root with the most waiters comes first.
///
/// `pg_blocking_pids` also returns sessions that are merely ahead in the queue, so a queue for one row yields
/// a pair for any two waiters. Of all blockers of a session, the deepest one in the tree becomes its parent:
/// the others are implied.
pub fn derive(mut table: Table, classifier: &Classifier) -> Table {
    // The blockers of some waiters are not known.
    let unasked = Rows::<read::Unasked>::of(&table).first().unasked();
    let unasked = unasked.is_some_and(|n| n > 0);
    let columns = read::Backend::of(&table);
    let added = added::ToLocks::to(&mut table);
    let forest = Forest::of(&table);
    let order = forest.trees().concat();
    for (row, depth) in &order {
        let backend = Row::of(&table, columns, *row);
        let pid = backend.pid().unwrap_or(0);
        let class = classifier.classify(&Session {
            role: backend.usename().name(),
            application: backend.application_name().name(),
            database: backend.datname().name(),
            backend_type: "client backend",
            query: backend.query().name(),
        });
        let tree = below(&named(pid), *depth);
        let frees = match (forest.frees(*row), unasked) {
            (0, _) => Value::Null,
            (freed, false) => Value::Int(freed as i64),
            (freed, true) => Value::AtLeast(freed as f64),
        };
        table.put(*row, added.tree, tree.as_str().into());
        table.put(*row, added.class, class.name().into());
        table.put(*row, added.frees, frees);
    }
    let mut rows = std::mem::take(&mut table.rows);
    table.rows = order
        .iter()
        .filter_map(|(row, _)| rows.get_mut(*row).map(std::mem::take))
        .collect();
    table
}

fn named(pid: i64) -> String {
    if pid == 0 {
        "prepared".to_owned()
    } else {
        pid.to_string()
    }
}

/// Returns the name of a session, indented by its depth in the tree.
fn below(name: &str, depth: usize) -> String {
    match depth {
        0 => name.to_owned(),
        1..=DEEPEST => format!("{}└ {name}", "  ".repeat(depth - 1)),
        _ => format!("{}└ {depth}: {name}", "  ".repeat(DEEPEST - 1)),
    }
}

/// Returns the backends of a table that wait or block: the row of each, with its name in the tree.
pub(crate) fn tree(backends: &Table) -> Vec<(usize, String)> {
    let forest = Forest::of(backends);
    let pids = Rows::<read::Waiter>::of(backends);
    let trees = forest.trees().into_iter();
    // A root alone neither waits nor blocks, unless nothing is known of its blocker.
    let waits = |tree: &Vec<(usize, usize)>| {
        tree.len() > 1
            || tree
                .iter()
                .any(|(row, _)| !forest.graph.blockers(*row).is_empty())
    };
    let rows = trees.filter(waits).flatten();
    rows.map(|(row, depth)| {
        let pid = pids.at(row).pid().unwrap_or(0);
        (row, below(&named(pid), depth))
    })
    .collect()
}

/// Rows, each below the one that it waits for.
struct Forest {
    graph: WaitGraph,
    parent: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
}

impl Forest {
    fn of(table: &Table) -> Self {
        let rows = table.rows.len();
        let graph = WaitGraph::of(table);
        let depths = graph.depths();
        let deepest = |row| {
            let blockers = graph.blockers(row).iter().copied();
            let blockers = blockers.filter(|blocker| graph.is_row(*blocker));
            blockers.max_by_key(|blocker| depths.get(*blocker).copied())
        };
        let mut parent: Vec<Option<usize>> = (0..rows).map(deepest).collect();
        break_circles(&mut parent);
        let mut children = vec![Vec::new(); rows];
        for (row, parent) in parent.iter().enumerate() {
            if let Some(siblings) = parent.and_then(|parent| children.get_mut(parent)) {
                siblings.push(row);
            }
        }
        Self {
            graph,
            parent,
            children,
        }
    }

    /// The rows of each tree with their depths, the largest tree first.
    fn trees(&self) -> Vec<Vec<(usize, usize)>> {
        let roots = self.roots().into_iter();
        let mut trees: Vec<Vec<(usize, usize)>> = roots.map(|root| self.walk(root)).collect();
        trees.sort_by_key(|tree| std::cmp::Reverse(tree.len()));
        trees
    }

    fn roots(&self) -> Vec<usize> {
        let parents = self.parent.iter().enumerate();
        let roots = parents.filter(|(_, parent)| parent.is_none());
        roots.map(|(row, _)| row).collect()
    }

    /// Returns the row and all rows below it, with their depths.
    fn walk(&self, row: usize) -> Vec<(usize, usize)> {
        let mut order = Vec::new();
        let mut open = vec![(row, 0)];
        while let Some((row, depth)) = open.pop() {
            order.push((row, depth));
            let children = self.children.get(row).map_or(&[][..], Vec::as_slice);
            open.extend(children.iter().rev().map(|child| (*child, depth + 1)));
        }
        order
    }

    /// Number of rows that wait, directly or through others, for `root` and for no other root.
    fn frees(&self, root: usize) -> usize {
        if self.graph.blockers(root).is_empty() {
            self.graph.released(&[root]).len()
        } else {
            0
        }
    }
}

/// Makes one session of each cycle a root: sessions may wait for each other until the server detects the
/// deadlock.
fn break_circles(parent: &mut [Option<usize>]) {
    // The row from whose path each row was first reached.
    let mut visited = vec![None; parent.len()];
    for row in 0..parent.len() {
        let mut at = row;
        while let Some(seen) = visited.get_mut(at).filter(|seen| seen.is_none()) {
            *seen = Some(row);
            let Some(above) = parent.get(at).copied().flatten() else {
                break;
            };
            if visited.get(above) == Some(&Some(row)) {
                if let Some(parent) = parent.get_mut(at) {
                    *parent = None;
                }
                break;
            }
            at = above;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(pairs: &[(i64, &str)]) -> Vec<(String, Option<i64>)> {
        let rows = pairs.iter().map(|(pid, blockers)| {
            let blockers = match *blockers {
                "" => Value::Null,
                blockers => blockers.into(),
            };
            vec![Value::Int(*pid), blockers]
        });
        let table = Table {
            columns: ["pid", "blocked_by"].map(Into::into).into(),
            rows: rows.collect(),
        };
        let table = derive(table, &Classifier::new(Vec::new(), Vec::new()));
        (0..table.rows.len())
            .map(|row| {
                (
                    table.get(row, "tree").text().unwrap_or_default().to_owned(),
                    table.get(row, "frees").int(),
                )
            })
            .collect()
    }

    /// A queue for one row, as reported by pg_blocking_pids: each entry includes all earlier ones.
    #[test]
    fn a_queue_of_twenty_is_twenty_one_nodes() {
        let pids = |to: i64| (1..to).map(|pid| pid.to_string()).collect::<Vec<_>>();
        let names: Vec<(i64, String)> = (1..=21).map(|pid| (pid, pids(pid).join(","))).collect();
        let pairs: Vec<(i64, &str)> = names.iter().map(|(pid, by)| (*pid, by.as_str())).collect();
        let tree = tree(&pairs);
        assert_eq!(tree.len(), 21);
        assert_eq!(tree.first(), Some(&("1".into(), Some(20))));
        assert_eq!(tree.get(2), Some(&("  └ 3".into(), None)));
        assert_eq!(tree.last(), Some(&("      └ 20: 21".into(), None)));
    }

    #[test]
    fn who_waits_for_two_roots_is_freed_by_neither() {
        let found = tree(&[(1, ""), (2, ""), (3, "1"), (4, "1,2"), (5, "4")]);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["2", "└ 4", "  └ 5", "1", "└ 3"]);
        assert_eq!(found.first().and_then(|root| root.1), None);
        assert_eq!(found.get(3).and_then(|root| root.1), Some(1));
    }

    #[test]
    fn a_prepared_transaction_is_a_root_and_a_deadlock_ends() {
        let found = tree(&[(0, ""), (7, "0")]);
        assert_eq!(found, [("prepared".into(), Some(1)), ("└ 7".into(), None)]);
        assert_eq!(tree(&[(1, "2"), (2, "1"), (3, "3")]).len(), 3);
        assert_eq!(tree(&[(1, "99")]).len(), 1, "a blocker we do not see");
    }
}
