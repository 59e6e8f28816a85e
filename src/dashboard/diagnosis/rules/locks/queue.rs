//! Sessions that wait behind a blocker, and the ways to release them.

use super::super::described;
use crate::dashboard::diagnosis::blocker::{Blocker, Kind, statement};
use crate::dashboard::diagnosis::finding::{Fact, fact};
use crate::dashboard::diagnosis::{Evidence, all_waiting, wait_s, waiting};
use crate::dashboard::rows::{Row, Rows, read};
use crate::dashboard::wait_graph::WaitGraph;
use crate::format;
use crate::keys::Command;

/// Seconds; a shorter wait is normal for locks.
const WORTH_A_WORD_S: f64 = 0.2;
/// Maximum number of ways listed.
const LISTED: usize = 5;

/// Sessions that wait behind one root, or behind several roots that each block all of them.
pub(super) struct Queue<'a> {
    pub(super) evidence: &'a Evidence<'a>,
    pub(super) table: Rows<'a, read::Backend>,
    pub(super) graph: WaitGraph,
    /// Rows of the table, the longest wait first.
    pub(super) rows: Vec<usize>,
    pub(super) longest_s: f64,
    /// Nodes that have to end before any waiter proceeds; empty if no blocker is visible.
    pub(super) roots: Vec<usize>,
    /// Number of sessions that wait for any lock, if that is more than this queue.
    pub(super) of: Option<usize>,
    /// True if the blockers of some waiters were not queried: there may be more behind the root.
    pub(super) least: bool,
}

impl<'a> Queue<'a> {
    /// Returns the queue that loses the most time.
    pub(super) fn of(evidence: &'a Evidence<'a>) -> Option<Self> {
        let table = evidence.waits();
        let graph = WaitGraph::of(table.table());
        let wait = |row: &usize| wait_s(table.at(*row));
        let waiting: Vec<usize> = waiting(table).map(|row| row.position()).collect();
        let lost = |rows: &[usize]| rows.iter().map(wait).sum::<f64>();
        let mut queues: Vec<(usize, Vec<usize>)> = graph
            .roots()
            .map(|root| (root, graph.behind(root)))
            .collect();
        queues.sort_by(|a, b| lost(&b.1).total_cmp(&lost(&a.1)));
        let asked = |row: &&usize| !graph.blockers(**row).is_empty();
        let least = waiting.iter().filter(asked).count() < waiting.len();
        let mut roots = Vec::new();
        let mut rows = waiting;
        if let Some((root, behind)) = queues.first() {
            rows.clone_from(behind);
            roots.push(*root);
            // A session that waits behind two proceeds only when both have ended.
            for (other, also) in queues.get(1..).unwrap_or_default() {
                if !graph.released(&roots).is_empty() {
                    break;
                }
                if also.iter().any(|row| rows.contains(row)) {
                    roots.push(*other);
                }
            }
        }
        rows.sort_by(|a, b| wait(b).total_cmp(&wait(a)));
        let longest_s = rows.first().map_or(0.0, wait);
        let all = all_waiting(table, evidence.sessions);
        (longest_s >= WORTH_A_WORD_S).then(|| Self {
            evidence,
            table,
            of: (all > rows.len()).then_some(all),
            rows,
            longest_s,
            roots,
            least,
            graph,
        })
    }

    /// Returns `3 sessions wait up to 12s`, `3 of 8 waiting sessions wait up to 12s`.
    pub(super) fn waiting(&self) -> String {
        let n = self.rows.len();
        let who = match self.of {
            Some(all) if self.least => format!("≥{n} of {all} waiting sessions wait"),
            Some(all) => format!("{n} of {all} waiting sessions wait"),
            None if self.least => format!("≥{n} sessions wait"),
            None if n == 1 => "1 session waits".to_owned(),
            None => format!("{n} sessions wait"),
        };
        format!("{who} up to {}", format::seconds(self.longest_s))
    }

    pub(super) fn blocker(&self, row: usize) -> Blocker {
        Blocker::of(self.evidence, self.table.at(row))
    }

    /// Returns true if a session waits for a lock on a table, rather than on a row.
    fn wants_table(&self, row: usize) -> bool {
        let row = self.table.at(row);
        row.wait_event().is("relation") || row.locktype().is("relation")
    }

    /// Returns true if the node is a prepared transaction whose name is known.
    pub(super) fn is_prepared(&self, node: usize) -> bool {
        self.graph.is_row(node) && self.graph.pid(node) == 0
    }

    /// Name of a node: a session, a prepared transaction, or one of several such.
    pub(super) fn name(&self, node: usize) -> String {
        if self.is_prepared(node) {
            let row = self.table.at(node);
            let (gid, database) = (row.application_name().shown(), row.datname().shown());
            return format!("prepared transaction {gid} in database {database}");
        }
        if self.graph.is_row(node) {
            return session(self.evidence, self.table.at(node));
        }
        if self.graph.pid(node) != 0 {
            return format!("pid {}", self.graph.pid(node));
        }
        match self.graph.candidates(node).len() {
            0 => "a prepared transaction".to_owned(),
            n => format!("one of {n} prepared transactions"),
        }
    }

    /// Returns `, idle in tx` for a session whose state is visible.
    pub(super) fn state(&self, node: usize) -> String {
        let state = match self.table.at(node).state().text() {
            Some(state) if self.graph.is_row(node) && !self.is_prepared(node) => state,
            _ => return String::new(),
        };
        format!(", {}", super::super::short(state))
    }

    /// The ways to end it, the least harmful first.
    pub(super) fn ways(&self) -> Vec<Way> {
        let freed = |nodes: &[usize]| self.graph.released(nodes).len();
        let mut ways = Vec::new();
        if self.roots.iter().all(|root| self.graph.is_row(*root)) && !self.roots.is_empty() {
            let kinds = self.roots.iter().map(|root| self.blocker(*root).kind);
            ways.push(Way {
                harm: kinds.map(Kind::harm).max().unwrap_or(0),
                nodes: self.roots.clone(),
                frees: freed(&self.roots),
            });
        }
        // A waiter for a strong lock on a table blocks all later ones, even those the holder would not block.
        let in_front = self.rows.iter().copied();
        let in_front =
            in_front.filter(|row| self.wants_table(*row) && !self.graph.waiters(*row).is_empty());
        ways.extend(in_front.map(|row| Way {
            harm: self.blocker(row).kind.harm(),
            frees: freed(&[row]),
            nodes: vec![row],
        }));
        ways.retain(|way| way.frees > 0);
        ways.sort_by_key(|way| (way.harm, std::cmp::Reverse(way.frees)));
        ways
    }

    /// The recommended way: the least harmful of those that release nearly all waiters.
    fn advised(&self, ways: &[Way]) -> Option<Way> {
        // A waiter that is cancelled no longer waits, either.
        let served = |way: &Way| {
            let waiting = way.nodes.iter().filter(|node| self.rows.contains(node));
            way.frees + waiting.count()
        };
        let most = ways.iter().map(served).max()?;
        let enough = |way: &&Way| served(way) * 4 >= most * 3;
        ways.iter().find(enough).cloned()
    }

    /// The cure, in few words.
    pub(super) fn cure(&self, ways: &[Way]) -> String {
        let Some(way) = self.advised(ways) else {
            return String::new();
        };
        let blockers: Vec<Blocker> = way.nodes.iter().map(|node| self.blocker(*node)).collect();
        let keys = &self.evidence.config.keys;
        match (blockers.as_slice(), way.nodes.as_slice()) {
            ([only], [node]) if self.roots.contains(node) => {
                let cure = only.cure();
                // If the blocker may not be ended, a waiter in front can make room.
                match self
                    .waiting_definition()
                    .filter(|_| only.kind.is_costly() && only.kind != Kind::Prepared)
                {
                    Some(waiter) => format!("{cure}, or {waiter}"),
                    None => cure,
                }
            }
            ([only], [node]) => match only.ended_by() {
                Some(command) => format!(
                    "{} on pid {} frees {}",
                    keys.shown(command),
                    self.graph.pid(*node),
                    self.freed(&way)
                ),
                None => format!("pid {}: {}", self.graph.pid(*node), only.cure()),
            },
            _ => {
                let commands = blockers.iter().filter_map(Blocker::ended_by);
                let commands: Vec<Command> = commands.collect();
                match commands.as_slice() {
                    some if some.len() < blockers.len() => self.cure_of_several(&blockers),
                    [first, rest @ ..] if rest.iter().all(|command| command == first) => {
                        format!("{} on each of them", keys.shown(*first))
                    }
                    _ => keys.fill("{cancel} or {terminate} on each of them ({why})"),
                }
            }
        }
    }

    /// The process id of the only session that the cure ends, if it is one.
    pub(super) fn ends(&self, ways: &[Way]) -> Option<i64> {
        match self.advised(ways)?.nodes.as_slice() {
            [node] => self.blocker(*node).ends(),
            _ => None,
        }
    }

    /// The cure if several block and keys cannot end them all.
    fn cure_of_several(&self, blockers: &[Blocker]) -> String {
        let is_let = |blocker: &Blocker| blocker.kind.is_to_finish();
        let waiter = self
            .waiting_definition()
            .filter(|_| blockers.iter().any(is_let));
        let cure = if blockers.iter().all(is_let) {
            "let them finish"
        } else {
            "all of them must end ({why})"
        };
        let cure = self.evidence.config.keys.fill(cure);
        match waiter {
            Some(waiter) => format!("{cure}, or {waiter}"),
            None => cure,
        }
    }

    /// Returns `3 of 8`, or `≥50 of 60` if the blockers of some waiters were not queried.
    fn freed(&self, way: &Way) -> String {
        let all = self.of.filter(|_| self.least).unwrap_or(self.rows.len());
        let least = if self.least { "≥" } else { "" };
        format!("{least}{} of {all}", way.frees)
    }

    /// Returns `C on pid 9 (ALTER TABLE)` for a definition that waits directly behind the root.
    fn waiting_definition(&self) -> Option<String> {
        let direct = |row: &&usize| {
            let blockers = self.graph.blockers(**row);
            blockers.iter().any(|blocker| self.roots.contains(blocker))
        };
        // A waiter for a row lock blocks only sessions that would wait anyway.
        let strong = |row: &&usize| self.wants_table(**row);
        let mut queued = self.rows.iter().filter(direct).filter(strong);
        let row = *queued.find(|row| self.blocker(**row).ended_by() == Some(Command::Cancel))?;
        let what = statement(self.table.at(row).query().shown());
        let cancel = self.evidence.config.keys.shown(Command::Cancel);
        Some(format!("{cancel} on pid {} ({what})", self.graph.pid(row)))
    }

    /// The waiters released and the work lost by each way, one fact per way.
    pub(super) fn told(&self, ways: &[Way]) -> Vec<Fact> {
        let line = |way: &Way| {
            let names: Vec<String> = way.nodes.iter().map(|node| self.brief(*node)).collect();
            let lost: Vec<&str> = way
                .nodes
                .iter()
                .map(|node| self.blocker(*node).kind.loss())
                .collect();
            fact(
                format!("ending {}", names.join(" and ")),
                format!("frees {}. {}", self.freed(way), lost.join(" ")),
            )
        };
        ways.iter().take(LISTED).map(line).collect()
    }

    pub(super) fn brief(&self, node: usize) -> String {
        if self.is_prepared(node) {
            self.table.at(node).application_name().shown().to_owned()
        } else {
            format!("pid {}", self.graph.pid(node))
        }
    }
}

/// Sessions or prepared transactions to end together, and the consequences.
#[derive(Clone, Debug)]
pub(super) struct Way {
    harm: u8,
    nodes: Vec<usize>,
    frees: usize,
}

/// Returns `pid 812 (metabase, reports, olap)`, with its database unless that is the current one.
fn session(evidence: &Evidence<'_>, row: Row<'_, read::Backend>) -> String {
    let ours = evidence.facts.current_database().text();
    let database = row.datname().text();
    match database.filter(|database| ours.is_some_and(|ours| ours != *database)) {
        Some(database) => format!("{} in database {database}", described(row)),
        None => described(row),
    }
}
