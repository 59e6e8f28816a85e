//! The waits-for graph of sessions, as reported by `pg_blocking_pids`.

use super::rows::{Rows, read};
use crate::pg::Table;
use std::collections::HashMap;

/// Graph of waits. Node numbers are row positions in the table, followed by blockers that have no row.
#[derive(Debug)]
pub(super) struct WaitGraph {
    rows: usize,
    pids: Vec<i64>,
    /// The nodes that each node waits for.
    blockers: Vec<Vec<usize>>,
    /// The nodes that wait for each node.
    waiters: Vec<Vec<usize>>,
    /// Rows of the prepared transactions that a node may stand for, if it is not known which.
    candidates: HashMap<usize, Vec<usize>>,
}

/// Rows of prepared transactions: `pg_blocking_pids` reports all of them as 0.
struct Prepared<'a> {
    /// Rows by transaction id.
    by_xid: HashMap<&'a str, usize>,
    /// Rows without an id, as in recordings of earlier versions.
    nameless: Vec<usize>,
    /// Nodes that stand for one of several.
    groups: HashMap<&'a str, usize>,
}

impl WaitGraph {
    /// Builds the graph from a table with `pid` and `blocked_by`, comma-separated pids; `blocked_by_xid`
    /// lists the prepared transactions behind a 0 by their `prepared_xid`.
    pub(super) fn of(table: &Table) -> Self {
        let waiters = Rows::<read::Waiter>::of(table);
        let rows = waiters.len();
        let pids = waiters.iter().map(|row| (row.pid(), row.position()));
        let mut node_of: HashMap<i64, usize> = pids
            .filter_map(|(pid, row)| Some((pid.filter(|pid| *pid != 0)?, row)))
            .collect();
        let xids = waiters.iter();
        let xids = xids.filter_map(|row| Some((row.prepared_xid().text()?, row.position())));
        let nameless = waiters.iter();
        let nameless =
            nameless.filter(|row| row.pid() == Some(0) && !row.prepared_xid().is_known());
        let mut prepared = Prepared {
            by_xid: xids.collect(),
            nameless: nameless.map(|row| row.position()).collect(),
            groups: HashMap::new(),
        };
        let mut graph = Self {
            rows,
            pids: waiters.iter().map(|row| row.pid().unwrap_or(0)).collect(),
            blockers: vec![Vec::new(); rows],
            waiters: vec![Vec::new(); rows],
            candidates: HashMap::new(),
        };
        for waiter in waiters.iter() {
            let row = waiter.position();
            for pid in waiter.blocked_by().shown().split(',') {
                match pid.trim().parse() {
                    Ok(0) => {
                        let xids = waiter.blocked_by_xid().shown();
                        for node in graph.prepared(xids, &mut prepared) {
                            graph.wait(row, node);
                        }
                    }
                    Ok(pid) => {
                        let node = *node_of.entry(pid).or_insert_with(|| graph.unseen(pid));
                        graph.wait(row, node);
                    }
                    Err(_) => {}
                }
            }
        }
        graph
    }

    /// Returns the nodes of prepared transactions: `745,746
    /// 747` is 745 and one of the other two.
    fn prepared<'a>(&mut self, xids: &'a str, known: &mut Prepared<'a>) -> Vec<usize> {
        let mut nodes = Vec::new();
        for group in xids.split(',').filter(|group| !group.is_empty()) {
            let row_of = |xid| known.by_xid.get(xid).copied();
            let rows: Vec<usize> = group.split('|').filter_map(row_of).collect();
            nodes.push(match (rows.as_slice(), known.groups.get(group)) {
                ([only], _) if !group.contains('|') => *only,
                (_, Some(node)) => *node,
                (_, None) => {
                    let node = self.unseen(0);
                    known.groups.insert(group, node);
                    self.candidates.insert(node, rows);
                    node
                }
            });
        }
        if nodes.is_empty() {
            nodes.push(match known.nameless.as_slice() {
                [only] => *only,
                _ => *known.groups.entry("").or_insert_with(|| self.unseen(0)),
            });
        }
        nodes
    }

    /// Rows of the prepared transactions that the node may stand for, if it is not known which.
    pub(super) fn candidates(&self, node: usize) -> &[usize] {
        self.candidates.get(&node).map_or(&[], Vec::as_slice)
    }

    fn unseen(&mut self, pid: i64) -> usize {
        self.pids.push(pid);
        self.blockers.push(Vec::new());
        self.waiters.push(Vec::new());
        self.pids.len() - 1
    }

    fn wait(&mut self, waiter: usize, blocker: usize) {
        let Some(blockers) = self.blockers.get_mut(waiter) else {
            return;
        };
        // For a parallel group the server reports the leader once per worker.
        if waiter == blocker || blockers.contains(&blocker) {
            return;
        }
        blockers.push(blocker);
        if let Some(waiters) = self.waiters.get_mut(blocker) {
            waiters.push(waiter);
        }
    }

    /// Returns all nodes.
    pub(super) fn nodes(&self) -> std::ops::Range<usize> {
        0..self.pids.len()
    }

    /// Returns true if the node is a row of the table.
    pub(super) fn is_row(&self, node: usize) -> bool {
        node < self.rows
    }

    /// Process id of the node; 0 for a prepared transaction.
    pub(super) fn pid(&self, node: usize) -> i64 {
        self.pids.get(node).copied().unwrap_or(0)
    }

    /// Returns the nodes that it waits for directly.
    pub(super) fn blockers(&self, node: usize) -> &[usize] {
        self.blockers.get(node).map_or(&[], Vec::as_slice)
    }

    /// Returns the nodes that wait for it directly.
    pub(super) fn waiters(&self, node: usize) -> &[usize] {
        self.waiters.get(node).map_or(&[], Vec::as_slice)
    }

    /// Returns the nodes that wait for no other and block at least one.
    pub(super) fn roots(&self) -> impl Iterator<Item = usize> {
        self.nodes()
            .filter(|node| self.blockers(*node).is_empty() && !self.waiters(*node).is_empty())
    }

    /// Returns all nodes that wait for the node, directly or through others.
    pub(super) fn behind(&self, node: usize) -> Vec<usize> {
        let mut seen = vec![false; self.pids.len()];
        let mut found = Vec::new();
        let mut open = vec![node];
        while let Some(at) = open.pop() {
            for waiter in self.waiters(at) {
                if let Some(seen) = seen.get_mut(*waiter).filter(|seen| !**seen) {
                    *seen = *waiter != node;
                    if *seen {
                        found.push(*waiter);
                        open.push(*waiter);
                    }
                }
            }
        }
        found
    }

    /// Returns all nodes released once `ended` have ended, including those released by them in turn; each
    /// comes after those it waits for.
    pub(super) fn released(&self, ended: &[usize]) -> Vec<usize> {
        let mut pending: Vec<usize> = self.blockers.iter().map(Vec::len).collect();
        for node in ended {
            if let Some(pending) = pending.get_mut(*node) {
                // An ended node is not released itself.
                *pending = usize::MAX;
            }
        }
        let mut found: Vec<usize> = ended.to_vec();
        let mut at = 0;
        while let Some(node) = found.get(at).copied() {
            at += 1;
            for waiter in self.waiters(node) {
                if let Some(pending) = pending.get_mut(*waiter) {
                    *pending = pending.saturating_sub(1);
                    if *pending == 0 {
                        found.push(*waiter);
                    }
                }
            }
        }
        found.split_off(ended.len())
    }

    /// Length of the longest chain of blockers before each node. Nodes in a cycle, which the server will
    /// break, come after those outside of it.
    pub(super) fn depths(&self) -> Vec<usize> {
        let mut depths = vec![0; self.pids.len()];
        let free = |node: &usize| self.blockers(*node).is_empty();
        let first: Vec<usize> = self.nodes().filter(free).collect();
        let rest = self.released(&first);
        for node in first.into_iter().chain(rest) {
            let depth = depths.get(node).copied().unwrap_or(0) + 1;
            for waiter in self.waiters(node) {
                if let Some(deepest) = depths.get_mut(*waiter) {
                    *deepest = depth.max(*deepest);
                }
            }
        }
        depths
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Value;

    fn graph(pairs: &[(i64, &str)]) -> WaitGraph {
        let rows = pairs
            .iter()
            .map(|(pid, blockers)| vec![Value::Int(*pid), (*blockers).into()]);
        WaitGraph::of(&Table {
            columns: ["pid", "blocked_by"].map(Into::into).into(),
            rows: rows.collect(),
        })
    }

    fn pids(graph: &WaitGraph, nodes: &[usize]) -> Vec<i64> {
        let mut pids: Vec<i64> = nodes.iter().map(|node| graph.pid(*node)).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn who_waits_through_others_is_behind_and_unseen_blockers_are_roots() {
        let graph = graph(&[(1, ""), (2, "1"), (3, "2, 77"), (4, ""), (5, "0")]);
        assert_eq!(pids(&graph, &graph.behind(0)), [2, 3]);
        let roots: Vec<usize> = graph.roots().collect();
        assert_eq!(pids(&graph, &roots), [0, 1, 77]);
        assert!(graph.is_row(3) && !graph.is_row(5));
        assert_eq!(graph.depths().get(..5), Some(&[0, 1, 2, 0, 1][..]));
    }

    #[test]
    fn of_several_prepared_transactions_the_one_that_holds_the_lock_is_the_root() {
        let row = |pid: i64, blocked_by: &str, behind: &str, xid: &str| {
            let text = |text: &str| match text {
                "" => Value::Null,
                text => text.into(),
            };
            vec![Value::Int(pid), text(blocked_by), text(behind), text(xid)]
        };
        let graph = WaitGraph::of(&Table {
            columns: ["pid", "blocked_by", "blocked_by_xid", "prepared_xid"]
                .map(Into::into)
                .into(),
            rows: vec![
                row(0, "", "", "745"),
                row(0, "", "", "746"),
                row(7, "0", "746", ""),
                row(8, "0,0", "745|746,746", ""),
                row(9, "0", "", ""),
            ],
        });
        assert_eq!(graph.blockers(2), [1]);
        assert_eq!(graph.released(&[1]), [2]);
        assert_eq!(graph.released(&[0]), Vec::<usize>::new());
        let unsure = graph.blockers(3).first().copied().unwrap();
        assert!(!graph.is_row(unsure) && graph.blockers(3).contains(&1));
        assert_eq!(graph.candidates(unsure), [0, 1]);
        let unknown = graph.blockers(4).first().copied().unwrap();
        assert_eq!(
            (graph.pid(unknown), graph.candidates(unknown)),
            (0, &[][..])
        );
    }

    #[test]
    fn only_who_waits_for_nobody_else_is_released() {
        let graph = graph(&[(1, ""), (2, ""), (3, "1"), (4, "1,2"), (5, "4"), (6, "3")]);
        assert_eq!(pids(&graph, &graph.released(&[0])), [3, 6]);
        assert_eq!(pids(&graph, &graph.released(&[0, 1])), [3, 4, 5, 6]);
        assert_eq!(pids(&graph, &graph.released(&[0, 2])), [6]);
    }

    #[test]
    fn a_circle_ends_and_is_released_by_nobody() {
        let graph = graph(&[(1, "2"), (2, "1,3"), (3, ""), (4, "4")]);
        assert_eq!(pids(&graph, &graph.behind(0)), [2]);
        assert_eq!(graph.released(&[2]), Vec::<usize>::new());
        assert_eq!(graph.depths(), [0, 1, 0, 0]);
    }

    /// A recording may contain any number of rows, each waiting for the previous one.
    #[test]
    fn a_queue_without_end_ends() {
        let rows = (0..200_000).map(|pid| {
            let blocker = pid - 1;
            vec![Value::Int(pid), blocker.to_string().as_str().into()]
        });
        let graph = WaitGraph::of(&Table {
            columns: ["pid", "blocked_by"].map(Into::into).into(),
            rows: rows.collect(),
        });
        let root: Vec<usize> = graph.roots().collect();
        assert_eq!(pids(&graph, &root), [-1]);
        assert_eq!(graph.released(&root).len(), 200_000);
        assert_eq!(graph.depths().iter().max(), Some(&200_000));
    }
}
