//! Lock waits and their blockers.

mod point;
mod queue;

pub(super) use self::point::point_query;
use self::queue::{Queue, Way};
use super::{doing, row_of, who};
use crate::dashboard::diagnosis::blocker::{Kind, end_prepared};
use crate::dashboard::diagnosis::finding::{Fact, Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health, wait_s};
use crate::format;
use crate::keys::Command;
use std::fmt::Write as _;

/// Maximum number of waiters listed.
const LISTED: usize = 5;
/// Maximum number of blockers named in the sentence if several have to end together.
const NAMED: usize = 2;

const EXPLAINS: &[&str] = &["locks", "tps", "olap", "oltp pool"];
/// Like [`EXPLAINS`], if the point query waits in the queue, too: p99 measures that query alone.
const EXPLAINS_P99: &[&str] = &["locks", "p99", "tps", "olap", "oltp pool"];

/// The gauges whose missed target a queue explains.
fn explains(queue: &Queue<'_>) -> &'static [&'static str] {
    if point::waits_behind(queue) {
        EXPLAINS_P99
    } else {
        EXPLAINS
    }
}

/// Finds sessions that queue behind one or several blockers.
pub(super) fn lock_queue(evidence: &Evidence<'_>) -> Option<Finding> {
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
        explains: explains(&queue),
        subject,
        sentence,
        cure: queue.cure(&ways),
        ends: queue.ends(&ways),
        evidence: listed(&queue, &ways),
        ..Finding::default()
    })
}

/// Finds a queue whose root is a refresh without CONCURRENTLY.
pub(super) fn plain_refresh(evidence: &Evidence<'_>) -> Option<Finding> {
    let queue = Queue::of(evidence)?;
    let [root] = *queue.roots.as_slice() else {
        return None;
    };
    let pid = queue.graph.pid(root);
    if pid == 0 || !queue.graph.is_row(root) {
        return None;
    }
    let mut views = evidence.views.iter();
    let view = views.find(|row| row.refreshing().is("plain") && row.refresh_pid() == Some(pid))?;
    let name = view.view().shown();
    let ways = queue.ways();
    let mut facts = listed(&queue, &ways);
    let can = view.concurrent_ok() == Some(true);
    let why_not = view.concurrent_reason().text();
    facts.push(fact(
        format!("{name} CONCURRENTLY"),
        if can {
            "possible: it would not lock readers out".to_owned()
        } else {
            format!("not possible: {}", why_not.unwrap_or("?"))
        },
    ));
    let blocker = queue.blocker(root);
    let open = matches!(blocker.kind, Kind::Idle | Kind::IdleWriter);
    let mut cure = queue.cure(&ways);
    if can && !open && cure == blocker.cure() && super::views::refusal(evidence, view).is_none() {
        let refresh = evidence.config.keys.shown(Command::Refresh);
        let _ = write!(cure, ", {refresh} refreshes CONCURRENTLY");
    }
    let what = if open {
        "a plain refresh, in a transaction still open,"
    } else {
        "a plain refresh"
    };
    Some(Finding {
        health: Health::Good,
        explains: explains(&queue),
        subject: queue.brief(root),
        sentence: format!(
            "{} for {}: {what} locks the readers of {name} out",
            queue.waiting(),
            queue.name(root)
        ),
        cure,
        ends: queue.ends(&ways),
        evidence: facts,
        ..Finding::default()
    })
}

/// Facts about a prepared transaction, and the statement that ends it.
fn prepared(queue: &Queue<'_>, row: usize) -> Vec<Fact> {
    let row = queue.table.at(row);
    let gid = row.application_name();
    let database = row.datname().shown();
    let age = row.xact_age_s();
    let age = age.map_or_else(|| "?".into(), format::seconds);
    vec![
        fact(
            "prepared transaction",
            format!(
                "{}, by {} in database {database}, {age} ago",
                gid.shown(),
                row.usename().shown()
            ),
        ),
        fact("to end it", end_prepared(gid.name(), database)),
    ]
}

/// Facts about the roots, the longest waiters and the ways to end the queue.
fn listed(queue: &Queue<'_>, ways: &[Way]) -> Vec<Fact> {
    let mut facts = Vec::new();
    for root in queue.roots.iter().take(LISTED) {
        if queue.is_prepared(*root) {
            facts.extend(prepared(queue, *root));
        } else if queue.graph.is_row(*root) {
            let row = queue.table.at(*root);
            let root = format!("{}, {}", queue.name(*root), doing(row));
            facts.push(fact("root", root));
            facts.push(fact("its statement", row.query().shown()));
        }
        let candidates = queue.graph.candidates(*root);
        for row in candidates.iter().take(LISTED) {
            facts.push(fact("it may be", queue.name(*row)));
        }
        if !candidates.is_empty() {
            facts.push(fact(
                "not certain",
                "the server does not say which one: end none before its transaction manager says so",
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
                who(queue.table.at(*row)),
                format::seconds(wait_s(queue.table.at(*row))),
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
            "behind another session, or their blockers were not read"
        } else {
            "behind another"
        };
        facts.push(fact("besides", format!("{others} wait {why}")));
    }
    facts
}

/// Returns `, for table t` if the locks panel knows the relation.
fn target(evidence: &Evidence<'_>, pid: i64) -> String {
    let target = row_of(evidence.locks, pid).and_then(|row| row.target().text());
    target.map_or_else(String::new, |target| format!(", for {target}"))
}
