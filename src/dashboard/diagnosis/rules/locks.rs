//! Who waits for whom.

use super::{cure, described, doing, who};
use crate::dashboard::diagnosis::finding::{Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health, all_waiting, wait_s, waiting};
use crate::dashboard::wait_graph::WaitGraph;
use crate::format;
use crate::pg::Table;

/// A shorter wait is how locks work.
const WORTH_A_WORD_S: f64 = 0.2;
/// So many waiters are listed.
const LISTED: usize = 5;

/// The sessions that wait behind one root.
struct Queue {
    /// Rows of the activity, who waits longest first.
    rows: Vec<usize>,
    longest_s: f64,
    root: Root,
    /// All who wait for any lock, where those are more.
    of: Option<usize>,
    /// Some were not asked whom they wait for: there may be more behind the root.
    least: bool,
}

enum Root {
    /// A row of the activity.
    Backend(usize),
    /// A prepared transaction: pg_blocking_pids calls it 0.
    Prepared,
    /// Not among the backends that we see.
    Unknown,
}

impl Queue {
    /// The queue in which most time is lost.
    fn of(evidence: &Evidence<'_>) -> Option<Self> {
        let activity = evidence.waits();
        let graph = WaitGraph::of(activity);
        let wait = |row: &usize| wait_s(activity, *row);
        let waiting = waiting(activity);
        let lost = |rows: &[usize]| rows.iter().map(wait).sum::<f64>();
        let worst = graph
            .roots()
            .map(|root| (root, graph.behind(root)))
            .max_by(|a, b| lost(&a.1).total_cmp(&lost(&b.1)));
        let asked = |row: &&usize| !graph.blockers(**row).is_empty();
        let least = waiting.iter().filter(asked).count() < waiting.len();
        let (root, mut rows) = match worst {
            Some((root, rows)) if graph.is_row(root) => (Root::Backend(root), rows),
            Some((root, rows)) if graph.pid(root) == 0 => (Root::Prepared, rows),
            _ => (Root::Unknown, waiting),
        };
        rows.sort_by(|a, b| wait(b).total_cmp(&wait(a)));
        let longest_s = rows.first().map_or(0.0, wait);
        let all = all_waiting(activity, evidence.sessions);
        (longest_s >= WORTH_A_WORD_S).then(|| Self {
            of: (all > rows.len()).then_some(all),
            rows,
            longest_s,
            root,
            least,
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
}

const EXPLAINS: &[&str] = &["locks", "p99", "tps", "olap", "oltp pool"];

/// Sessions that queue behind one.
pub fn lock_queue(evidence: &Evidence<'_>) -> Option<Finding> {
    let activity = evidence.waits();
    let queue = Queue::of(evidence)?;
    let waiting = queue.waiting();
    let (subject, sentence, cure) = match queue.root {
        Root::Backend(row) => {
            let state = activity.get(row, "state").text().unwrap_or("?");
            let who = described(activity, row);
            let sentence = format!("{waiting} for {who}, {}", super::short(state));
            (pid(activity, row), sentence, cure(state))
        }
        Root::Prepared => {
            let snapshots = evidence.snapshots;
            let gid = (0..snapshots.rows.len())
                .find(|row| snapshots.get(*row, "kind").text() == Some("prepared"))
                .and_then(|row| snapshots.get(row, "holder").text());
            let name = gid.map_or_else(String::new, |gid| format!(" {gid}"));
            (
                format!("prepared{name}"),
                format!("{waiting} for a prepared transaction{name}"),
                "COMMIT or ROLLBACK PREPARED it",
            )
        }
        Root::Unknown => (String::new(), format!("{waiting} for locks"), ""),
    };
    Some(Finding {
        explains: EXPLAINS,
        subject,
        sentence,
        cure: cure.into(),
        evidence: listed(activity, &queue),
        ..Finding::default()
    })
}

/// The root of the queue is a refresh that is not CONCURRENTLY.
pub fn plain_refresh(evidence: &Evidence<'_>) -> Option<Finding> {
    let activity = evidence.waits();
    let queue = Queue::of(evidence)?;
    let Root::Backend(root) = queue.root else {
        return None;
    };
    let views = evidence.views;
    let pid_of_root = activity.get(root, "pid").int();
    let view = (0..views.rows.len()).find(|row| {
        views.get(*row, "refreshing").text() == Some("plain")
            && views.get(*row, "refresh_pid").int() == pid_of_root
    })?;
    let name = views.get(view, "view").text().unwrap_or_default();
    let mut evidence = listed(activity, &queue);
    let can = views.get(view, "concurrent_ok").is_true();
    let why_not = views.get(view, "concurrent_reason").text();
    evidence.push(fact(
        format!("{name} CONCURRENTLY"),
        if can {
            "possible: it would lock no reader out".to_owned()
        } else {
            format!("not possible: {}", why_not.unwrap_or("?"))
        },
    ));
    Some(Finding {
        health: Health::Good,
        explains: EXPLAINS,
        subject: pid(activity, root),
        sentence: format!(
            "{} for {}: a plain refresh locks the readers of {name} out",
            queue.waiting(),
            described(activity, root)
        ),
        cure: if can {
            "C cancels it, r refreshes CONCURRENTLY".into()
        } else {
            "C cancels it".into()
        },
        evidence,
        ..Finding::default()
    })
}

fn pid(activity: &Table, row: usize) -> String {
    format!("pid {}", activity.get(row, "pid").int().unwrap_or(0))
}

/// The root, and those who wait longest.
fn listed(activity: &Table, queue: &Queue) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    if let Root::Backend(row) = queue.root {
        facts.push(fact(
            "root",
            format!("{}, {}", described(activity, row), doing(activity, row)),
        ));
        let query = activity.get(row, "query").text().unwrap_or_default();
        facts.push(fact("its statement", query));
    }
    for row in queue.rows.iter().take(LISTED) {
        let behind = activity.get(*row, "blocked_by").text().unwrap_or("?");
        let behind = behind.split(',').next().unwrap_or_default();
        facts.push(fact(
            pid(activity, *row),
            format!(
                "{}: waits {} behind pid {behind}",
                who(activity, *row),
                format::seconds(wait_s(activity, *row))
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
