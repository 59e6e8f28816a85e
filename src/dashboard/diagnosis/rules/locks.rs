//! Who waits for whom.

use super::{described, doing, row_of, who};
use crate::dashboard::diagnosis::blocker::{Blocker, Kind, statement};
use crate::dashboard::diagnosis::finding::{Fact, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health, all_waiting, wait_s, waiting};
use crate::dashboard::wait_graph::WaitGraph;
use crate::format;
use crate::pg::Table;

/// A shorter wait is how locks work.
const WORTH_A_WORD_S: f64 = 0.2;
/// So many waiters are listed.
const LISTED: usize = 5;
/// So many who have to end together are named in the sentence.
const NAMED: usize = 2;

/// The sessions that wait behind one root, or behind several of which each holds all of them up.
struct Queue<'a> {
    evidence: &'a Evidence<'a>,
    table: &'a Table,
    graph: WaitGraph,
    /// Rows of the table, who waits longest first.
    rows: Vec<usize>,
    longest_s: f64,
    /// Who has to end, so that somebody goes on: nodes. None where nobody is seen who holds them up.
    roots: Vec<usize>,
    /// All who wait for any lock, where those are more.
    of: Option<usize>,
    /// Some were not asked whom they wait for: there may be more behind the root.
    least: bool,
}

impl<'a> Queue<'a> {
    /// The queue in which most time is lost.
    fn of(evidence: &'a Evidence<'a>) -> Option<Self> {
        let table = evidence.waits();
        let graph = WaitGraph::of(table);
        let wait = |row: &usize| wait_s(table, *row);
        let waiting = waiting(table);
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
            // Whoever waits behind two goes on only when both have ended.
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

    /// `3 sessions wait up to 12s`, `3 of 8 waiting sessions wait up to 12s`.
    fn waiting(&self) -> String {
        let n = self.rows.len();
        let who = match self.of {
            Some(all) if self.least => format!("≥{n} of {all} waiting sessions wait"),
            Some(all) => format!("{n} of {all} waiting sessions wait"),
            None if n == 1 => "1 session waits".to_owned(),
            None => format!("{n} sessions wait"),
        };
        format!("{who} up to {}", format::seconds(self.longest_s))
    }

    fn text(&self, row: usize, name: &str) -> &str {
        self.table.get(row, name).text().unwrap_or_default()
    }

    fn blocker(&self, row: usize) -> Blocker {
        Blocker::of(self.evidence, self.table, row)
    }

    /// Whether the node is a prepared transaction of which the name is known.
    fn is_prepared(&self, node: usize) -> bool {
        self.graph.is_row(node) && self.graph.pid(node) == 0
    }

    /// Who a node is: a session, a prepared transaction, or one of several.
    fn name(&self, node: usize) -> String {
        if self.is_prepared(node) {
            let gid = self.text(node, "application_name");
            let database = self.text(node, "datname");
            return format!("prepared transaction {gid} in database {database}");
        }
        if self.graph.is_row(node) {
            return session(self.evidence, self.table, node);
        }
        if self.graph.pid(node) != 0 {
            return format!("pid {}", self.graph.pid(node));
        }
        match self.graph.candidates(node).len() {
            0 => "a prepared transaction".to_owned(),
            n => format!("one of {n} prepared transactions"),
        }
    }

    /// `, idle in tx`, of a session whose state is told.
    fn state(&self, node: usize) -> String {
        let state = match self.table.get(node, "state").text() {
            Some(state) if self.graph.is_row(node) && !self.is_prepared(node) => state,
            _ => return String::new(),
        };
        format!(", {}", super::short(state))
    }

    /// How it may be ended, the least harmful first.
    fn ways(&self) -> Vec<Way> {
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
        // Who waits for a strong lock on a table holds up all who come after, also where the holder does not.
        let in_front = self.rows.iter().copied().filter(|row| {
            let wants = [self.text(*row, "wait_event"), self.text(*row, "locktype")];
            wants.contains(&"relation") && !self.graph.waiters(*row).is_empty()
        });
        ways.extend(in_front.map(|row| Way {
            harm: self.blocker(row).kind.harm(),
            frees: freed(&[row]),
            nodes: vec![row],
        }));
        ways.retain(|way| way.frees > 0);
        ways.sort_by_key(|way| (way.harm, std::cmp::Reverse(way.frees)));
        ways
    }

    /// The way that is advised: of those that free nearly all the least harmful one.
    fn advised(&self, ways: &[Way]) -> Option<Way> {
        // Whoever is cancelled while it waits waits no more, either.
        let served = |way: &Way| {
            let waiting = way.nodes.iter().filter(|node| self.rows.contains(node));
            way.frees + waiting.count()
        };
        let most = ways.iter().map(served).max()?;
        let enough = |way: &&Way| served(way) * 4 >= most * 3;
        ways.iter().find(enough).cloned()
    }

    /// What cures it, in few words.
    fn cure(&self, ways: &[Way]) -> String {
        let Some(way) = self.advised(ways) else {
            return String::new();
        };
        let blockers: Vec<Blocker> = way.nodes.iter().map(|node| self.blocker(*node)).collect();
        let all = self.rows.len();
        match (blockers.as_slice(), way.nodes.as_slice()) {
            ([only], [node]) if self.roots.contains(node) => {
                let cure = only.cure();
                // Whoever may not be ended can be made room for.
                match self
                    .waiting_definition()
                    .filter(|_| only.kind.is_costly() && only.kind != Kind::Prepared)
                {
                    Some(waiter) => format!("{cure}, or {waiter}"),
                    None => cure,
                }
            }
            ([only], [node]) => match only.key() {
                Some(key) => format!(
                    "{key} on pid {} frees {} of {all}",
                    self.graph.pid(*node),
                    way.frees
                ),
                None => format!("pid {}: {}", self.graph.pid(*node), only.cure()),
            },
            _ => {
                let keys: Vec<char> = blockers.iter().filter_map(Blocker::key).collect();
                match keys.as_slice() {
                    keys if keys.len() < blockers.len() => "all of them have to end (e)".into(),
                    [first, rest @ ..] if rest.iter().all(|key| key == first) => {
                        format!("{first} on each of them")
                    }
                    _ => "C or K on each of them (e)".into(),
                }
            }
        }
    }

    /// `C on pid 9 (ALTER TABLE)`: a definition that waits directly behind the root.
    fn waiting_definition(&self) -> Option<String> {
        let direct = |row: &&usize| {
            let blockers = self.graph.blockers(**row);
            blockers.iter().any(|blocker| self.roots.contains(blocker))
        };
        let mut queued = self.rows.iter().filter(direct);
        let row = *queued.find(|row| self.blocker(**row).key() == Some('C'))?;
        let what = statement(self.text(row, "query"));
        Some(format!("C on pid {} ({what})", self.graph.pid(row)))
    }

    /// What a way frees and what is lost, a fact each.
    fn told(&self, ways: &[Way]) -> Vec<Fact> {
        let all = self.rows.len();
        let line = |way: &Way| {
            let names: Vec<String> = way.nodes.iter().map(|node| self.brief(*node)).collect();
            let lost: Vec<&str> = way
                .nodes
                .iter()
                .map(|node| self.blocker(*node).kind.loss())
                .collect();
            fact(
                format!("ending {}", names.join(" and ")),
                format!("frees {} of {all}. {}", way.frees, lost.join(" ")),
            )
        };
        ways.iter().take(LISTED).map(line).collect()
    }

    fn brief(&self, node: usize) -> String {
        if self.is_prepared(node) {
            self.text(node, "application_name").to_owned()
        } else {
            format!("pid {}", self.graph.pid(node))
        }
    }
}

/// Sessions or prepared transactions that end together, and what comes of it.
#[derive(Clone, Debug)]
struct Way {
    harm: u8,
    nodes: Vec<usize>,
    frees: usize,
}

const EXPLAINS: &[&str] = &["locks", "p99", "tps", "olap", "oltp pool"];

/// Sessions that queue behind one.
pub fn lock_queue(evidence: &Evidence<'_>) -> Option<Finding> {
    let queue = Queue::of(evidence)?;
    let ways = queue.ways();
    let waiting = queue.waiting();
    let (subject, sentence) = match queue.roots.as_slice() {
        [] => (String::new(), format!("{waiting} for locks")),
        [root] => (
            queue.brief(*root),
            format!("{waiting} for {}{}", queue.name(*root), queue.state(*root)),
        ),
        roots => {
            let first = roots.iter().take(NAMED).map(|root| queue.name(*root));
            let first = first.collect::<Vec<_>>().join(" and ");
            let more = match roots.len().saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let subject = roots.iter().map(|root| queue.brief(*root));
            (
                subject.collect::<Vec<_>>().join(", "),
                format!("{waiting} for each of {first}{more}"),
            )
        }
    };
    Some(Finding {
        explains: EXPLAINS,
        subject,
        sentence,
        cure: queue.cure(&ways),
        evidence: listed(&queue, &ways),
        ..Finding::default()
    })
}

/// The root of the queue is a refresh that is not CONCURRENTLY.
pub fn plain_refresh(evidence: &Evidence<'_>) -> Option<Finding> {
    let queue = Queue::of(evidence)?;
    let [root] = *queue.roots.as_slice() else {
        return None;
    };
    let pid = queue.graph.pid(root);
    if pid == 0 || !queue.graph.is_row(root) {
        return None;
    }
    let views = evidence.views;
    let view = (0..views.rows.len()).find(|row| {
        views.get(*row, "refreshing").text() == Some("plain")
            && views.get(*row, "refresh_pid").int() == Some(pid)
    })?;
    let name = views.get(view, "view").text().unwrap_or_default();
    let ways = queue.ways();
    let mut facts = listed(&queue, &ways);
    let can = views.get(view, "concurrent_ok").is_true();
    let why_not = views.get(view, "concurrent_reason").text();
    facts.push(fact(
        format!("{name} CONCURRENTLY"),
        if can {
            "possible: it would lock no reader out".to_owned()
        } else {
            format!("not possible: {}", why_not.unwrap_or("?"))
        },
    ));
    let blocker = queue.blocker(root);
    let open = matches!(blocker.kind, Kind::Idle | Kind::IdleWriter);
    let mut cure = queue.cure(&ways);
    if can && !open && cure == blocker.cure() && super::views::refusal(evidence, view).is_none() {
        cure += ", r refreshes CONCURRENTLY";
    }
    let what = if open {
        "a plain refresh, done in a transaction still open,"
    } else {
        "a plain refresh"
    };
    Some(Finding {
        health: Health::Good,
        explains: EXPLAINS,
        subject: queue.brief(root),
        sentence: format!(
            "{} for {}: {what} locks the readers of {name} out",
            queue.waiting(),
            queue.name(root)
        ),
        cure,
        evidence: facts,
        ..Finding::default()
    })
}

/// `pid 812 (metabase, reports, olap)`, and its database where that is not ours.
fn session(evidence: &Evidence<'_>, table: &Table, row: usize) -> String {
    let ours = evidence.facts.first("current_database").text();
    let database = table.get(row, "datname").text();
    match database.filter(|database| ours.is_some_and(|ours| ours != *database)) {
        Some(database) => format!("{} in database {database}", described(table, row)),
        None => described(table, row),
    }
}

/// What a prepared transaction is, and who ends it how.
fn prepared(queue: &Queue<'_>, row: usize) -> Vec<Fact> {
    let text = |name| queue.text(row, name);
    let gid = text("application_name");
    let database = text("datname");
    let age = queue.table.get(row, "xact_age_s").number();
    let age = age.map_or_else(|| "?".into(), format::seconds);
    let literal = gid.replace('\'', "''");
    vec![
        fact(
            "prepared transaction",
            format!(
                "{gid}, by {} in database {database}, {age} ago",
                text("usename")
            ),
        ),
        fact(
            "to end it",
            format!(
                "in database {database}: COMMIT PREPARED '{literal}' or ROLLBACK PREPARED '{literal}'. Only the \
                 application's transaction manager knows which: the wrong one loses or forges its data"
            ),
        ),
    ]
}

/// The roots, those who wait longest, and how it may be ended.
fn listed(queue: &Queue<'_>, ways: &[Way]) -> Vec<Fact> {
    let table = queue.table;
    let mut facts = Vec::new();
    for root in queue.roots.iter().take(LISTED) {
        if queue.is_prepared(*root) {
            facts.extend(prepared(queue, *root));
        } else if queue.graph.is_row(*root) {
            facts.push(fact(
                "root",
                format!("{}, {}", queue.name(*root), doing(table, *root)),
            ));
            facts.push(fact("its statement", queue.text(*root, "query")));
        }
        let candidates = queue.graph.candidates(*root);
        for row in candidates.iter().take(LISTED) {
            facts.push(fact("it may be", queue.name(*row)));
        }
        if !candidates.is_empty() {
            facts.push(fact(
                "not certain",
                "the server does not tell which of them: end none before its transaction manager says so",
            ));
        }
    }
    facts.extend(queue.told(ways));
    for row in queue.rows.iter().take(LISTED) {
        let behind = queue.graph.blockers(*row).first();
        let behind = behind.map_or_else(|| "?".into(), |node| queue.brief(*node));
        facts.push(fact(
            queue.brief(*row),
            format!(
                "{}: waits {} behind {behind}{}",
                who(table, *row),
                format::seconds(wait_s(table, *row)),
                target(queue.evidence, queue.graph.pid(*row))
            ),
        ));
    }
    if queue.rows.len() > LISTED {
        facts.push(fact("and", format!("{} more", queue.rows.len() - LISTED)));
    }
    if let Some(all) = queue.of {
        let others = all - queue.rows.len();
        let why = if queue.least {
            "not asked behind whom, or behind another"
        } else {
            "behind another"
        };
        facts.push(fact("besides", format!("{others} wait, {why}")));
    }
    facts
}

/// ` for table t`, where the panel Locks is asked for it.
fn target(evidence: &Evidence<'_>, pid: i64) -> String {
    let target =
        row_of(evidence.locks, pid).and_then(|row| evidence.locks.get(row, "target").text());
    target.map_or_else(String::new, |target| format!(", for {target}"))
}
