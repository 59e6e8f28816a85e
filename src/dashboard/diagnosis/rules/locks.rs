//! Who waits for whom.

use super::{cure, described, doing, who};
use crate::dashboard::diagnosis::finding::{Finding, fact};
use crate::dashboard::diagnosis::{Evidence, Health, waiters};
use crate::format;
use crate::pg::Table;

/// A shorter wait is how locks work.
const WORTH_A_WORD_S: f64 = 0.2;
/// So many waiters are listed.
const LISTED: usize = 5;

/// Sessions that wait behind one root.
struct Queue {
    waiters: usize,
    longest_s: f64,
    root: Root,
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
    fn of(activity: &Table) -> Option<Self> {
        let waits = waiters(activity);
        let longest_s = waits.iter().copied().fold(0.0, f64::max);
        if longest_s < WORTH_A_WORD_S {
            return None;
        }
        let blocks = |row: &usize| activity.get(*row, "blocks").int().unwrap_or(0);
        let waits_itself = |row: &usize| activity.get(*row, "blocked_by").is_known();
        let root = (0..activity.rows.len())
            .filter(|row| blocks(row) > 0 && !waits_itself(row))
            .max_by_key(blocks);
        let prepared = (0..activity.rows.len()).any(|row| {
            let blockers = activity.get(row, "blocked_by").text().unwrap_or_default();
            blockers.split(',').any(|pid| pid.trim() == "0")
        });
        Some(Self {
            waiters: waits.len(),
            longest_s,
            root: match root {
                Some(row) => Root::Backend(row),
                None if prepared => Root::Prepared,
                None => Root::Unknown,
            },
        })
    }

    /// `3 sessions wait up to 12s`.
    fn waiting(&self) -> String {
        let plural = if self.waiters == 1 {
            "session waits"
        } else {
            "sessions wait"
        };
        format!(
            "{} {plural} up to {}",
            self.waiters,
            format::seconds(self.longest_s)
        )
    }
}

const EXPLAINS: &[&str] = &["locks", "p99", "tps", "olap", "oltp pool"];

/// Sessions that queue behind one.
pub fn lock_queue(evidence: &Evidence<'_>) -> Option<Finding> {
    let activity = evidence.activity;
    let queue = Queue::of(activity)?;
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
    let activity = evidence.activity;
    let queue = Queue::of(activity)?;
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
    let wait = |row: &usize| {
        let number = |name| activity.get(*row, name).number();
        number("wait_s").or(number("query_age_s")).unwrap_or(0.0)
    };
    let mut waiting: Vec<usize> = (0..activity.rows.len())
        .filter(|row| activity.get(*row, "blocked_by").is_known())
        .collect();
    waiting.sort_by(|a, b| wait(b).total_cmp(&wait(a)));
    for row in waiting.iter().take(LISTED) {
        let behind = activity.get(*row, "blocked_by").text().unwrap_or_default();
        let behind = behind.split(',').next().unwrap_or_default();
        facts.push(fact(
            pid(activity, *row),
            format!(
                "{}: waits {} behind pid {behind}",
                who(activity, *row),
                format::seconds(wait(row))
            ),
        ));
    }
    if waiting.len() > LISTED {
        facts.push(fact("and", format!("{} more", waiting.len() - LISTED)));
    }
    facts
}
