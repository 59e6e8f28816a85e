//! Backends: their class, whom they block, and an order by the harm they do.

use super::classify::{Classifier, Session};
use crate::config::WorkClass;
use crate::dashboard::wait_graph::WaitGraph;
use crate::pg::{Table, Value};
use crate::text::Clean;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// From so many rows on there may be more backends than are told: the statement gives 200, of which those of
/// this program are left out.
pub const CROWDED: usize = 150;
/// So many waits for locks are asked for whom they are, the longest.
const ASKED: usize = 50;
/// A session waiting for a lock is more urgent than its age in seconds says.
const BLOCKED_WEIGHT: f64 = 1_000.0;
/// Seconds below which a snapshot or a transaction is nothing to speak of.
const CALM_S: f64 = 5.0;

/// So many idle transactions that hold nothing keep their place among those that work.
const IDLE_IN_FRONT: usize = 5;

/// For how long each session has held its snapshot or transaction id, by pid, at least: as the panel of snapshots
/// has it.
pub fn held(snapshots: &Table) -> HashMap<i64, f64> {
    let age = |row| {
        let number = |name| snapshots.get(row, name).number();
        let pid = snapshots.get(row, "pid").int()?;
        Some((pid, number("age_s").or(number("age_least_s"))?))
    };
    (0..snapshots.rows.len()).filter_map(age).collect()
}

/// Adds `class`, `wait`, `blocks` and `harm`, and puts the most harmful first. `held` tells for how long sessions
/// have held what they hold; of others it is no longer than they have been in their state.
pub fn derive<S: BuildHasher>(
    mut table: Table,
    classifier: &Classifier,
    held: &HashMap<i64, f64, S>,
) -> Table {
    table.drop_rows(|table, row| {
        let text = |name| table.get(row, name).text().unwrap_or_default();
        let age_s = table.get(row, "xact_age_s").number();
        classifier.is_left_out(text("usename"), text("application_name"), age_s)
    });
    let graph = WaitGraph::of(&table);
    let oldest_xids = (0..table.rows.len())
        .map(|row| horizon_xids(&table, row))
        .max()
        .unwrap_or(0);
    let waits = |row: &usize| table.get(*row, "wait_event_type").text() == Some("Lock");
    let unasked = (0..table.rows.len()).filter(waits).count() > ASKED;
    for name in ["class", "wait", "blocks", "harm"] {
        table.ensure_column(name);
    }
    for row in 0..table.rows.len() {
        let class = class_of(&table, row, classifier);
        let blocks = graph.behind(row).len() as i64;
        let held_s = table.get(row, "pid").int().and_then(|pid| held.get(&pid));
        let harm = harm(&table, row, class, (blocks, oldest_xids), held_s.copied());
        let wait = wait_text(&table, row);
        table.set(row, "class", class.name().into());
        table.set(row, "wait", wait);
        table.set(
            row,
            "blocks",
            match (blocks, unasked) {
                (0, _) => Value::Null,
                (blocks, false) => Value::Int(blocks),
                (blocks, true) => Value::AtLeast(blocks as f64),
            },
        );
        table.set(row, "harm", Value::Float(harm));
    }
    if let Some(column) = table.column("harm") {
        let harm = |row: &Vec<Value>| row.get(column).and_then(Value::number).unwrap_or(0.0);
        table.rows.sort_by(|a, b| harm(b).total_cmp(&harm(a)));
    }
    busy_before_idle(&mut table);
    table
}

/// Hundreds of transactions that are open, idle and hold nothing would fill the screen: the most harmful
/// few stay in their place, the others come after the backends that work.
fn busy_before_idle(table: &mut Table) {
    let holds_nothing = |table: &Table, row: usize| {
        let state = table.get(row, "state").text().unwrap_or_default();
        state.starts_with("idle in transaction")
            && horizon_xids(table, row) == 0
            && !table.get(row, "blocks").is_known()
    };
    let idle: Vec<bool> = (0..table.rows.len())
        .map(|row| holds_nothing(table, row))
        .collect();
    let mut seen = 0;
    let (front, back): (Vec<_>, Vec<_>) = std::mem::take(&mut table.rows)
        .into_iter()
        .zip(idle)
        .partition(|(_, idle)| {
            seen += usize::from(*idle);
            !idle || seen <= IDLE_IN_FRONT
        });
    table.rows = front.into_iter().chain(back).map(|(row, _)| row).collect();
}

/// The class of the session in `row`.
fn class_of(table: &Table, row: usize, classifier: &Classifier) -> WorkClass {
    let text = |name| table.get(row, name).raw().unwrap_or_default();
    classifier.classify(&Session {
        role: text("usename"),
        application: text("application_name"),
        database: text("datname"),
        backend_type: text("backend_type"),
        query: text("query"),
    })
}

/// Transactions since the oldest of a session's snapshot and its own transaction id.
fn horizon_xids(table: &Table, row: usize) -> i64 {
    let age = |name| table.get(row, name).int().unwrap_or(0);
    age("xmin_age").max(age("xid_age"))
}

fn wait_text(table: &Table, row: usize) -> Value {
    if let Some(blockers) = table
        .get(row, "blocked_by")
        .text()
        .filter(|blockers| !blockers.is_empty())
    {
        return Value::Text(Clean::from(format!("Lock ← {blockers}")));
    }
    let kind = table.get(row, "wait_event_type").text();
    let event = table.get(row, "wait_event").text();
    match (kind, event) {
        (Some("Client") | None, _) => Value::Null,
        (Some(kind), Some(event)) => Value::Text(Clean::from(format!("{kind} {event}"))),
        (Some(kind), None) => kind.into(),
    }
}

/// Whoever blocks others comes first, then whoever holds the horizon, then the long OLAP statements,
/// then those who suffer; idle and upkeep come last.
fn harm(
    table: &Table,
    row: usize,
    class: WorkClass,
    (blocks, oldest_xids): (i64, i64),
    held_s: Option<f64>,
) -> f64 {
    let seconds = |name| table.get(row, name).number().unwrap_or(0.0).max(0.0);
    let state = table.get(row, "state").text().unwrap_or_default();
    let waiting = table
        .get(row, "blocked_by")
        .text()
        .is_some_and(|blockers| !blockers.is_empty());
    let transaction = seconds("xact_age_s");
    let statement = seconds("query_age_s");
    let mut harm = blocks as f64 * BLOCKED_WEIGHT;
    let xids = horizon_xids(table, row);
    let held_s = held_s.unwrap_or(statement);
    if xids > 0 && held_s > CALM_S && class != WorkClass::Maintenance {
        let share = if oldest_xids > 0 {
            xids as f64 / oldest_xids as f64
        } else {
            0.0
        };
        harm += held_s * 2.0 * share;
    }
    harm += match (state, class) {
        ("active", WorkClass::Olap) => statement * 1.5,
        ("active", WorkClass::Maintenance) => statement * 0.01,
        ("active", _) => statement,
        // A transaction left open without work does nothing but hold what it holds.
        (state, _) if state.starts_with("idle in transaction") => transaction,
        _ => 0.0,
    };
    if waiting {
        harm *= 0.5;
    }
    // A parallel worker works for its leader, which is the one to cancel.
    if table.get(row, "leader_pid").is_known() {
        harm *= 0.5;
    }
    if state == "active" {
        harm + 0.001
    } else {
        harm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions(rows: &[(i64, &str, &str, f64, i64, &str)]) -> Table {
        let columns = [
            "pid",
            "usename",
            "state",
            "xact_age_s",
            "xmin_age",
            "blocked_by",
            "query_age_s",
        ];
        Table {
            columns: columns.iter().map(|name| (*name).into()).collect(),
            rows: rows
                .iter()
                .map(|(pid, role, state, age, xmin, blocked)| {
                    let blocked = if blocked.is_empty() {
                        Value::Null
                    } else {
                        (*blocked).into()
                    };
                    let (role, state) = ((*role).into(), (*state).into());
                    vec![
                        Value::Int(*pid),
                        role,
                        state,
                        Value::Float(*age),
                        Value::Int(*xmin),
                        blocked,
                        Value::Float(*age),
                    ]
                })
                .collect(),
        }
    }

    fn order(table: Table) -> Vec<i64> {
        let table = derive(
            table,
            &Classifier::new(Vec::new(), Vec::new()),
            &HashMap::new(),
        );
        (0..table.rows.len())
            .filter_map(|row| table.get(row, "pid").int())
            .collect()
    }

    #[test]
    fn the_root_of_a_queue_comes_before_its_waiters() {
        let table = sessions(&[
            (1, "app", "active", 9.0, 0, "3"),
            (2, "app", "active", 9.0, 0, "1"),
            (3, "app", "idle in transaction", 8.0, 0, ""),
        ]);
        let derived = derive(
            table.clone(),
            &Classifier::new(Vec::new(), Vec::new()),
            &HashMap::new(),
        );
        assert_eq!(derived.get(0, "pid"), &Value::Int(3));
        assert_eq!(derived.get(0, "blocks"), &Value::Int(2));
        assert_eq!(derived.get(1, "wait"), &Value::from("Lock ← 3"));
        assert_eq!(order(table), [3, 1, 2]);
    }

    #[test]
    fn the_holder_of_the_horizon_comes_before_a_longer_statement() {
        let table = sessions(&[
            (1, "app", "active", 40.0, 10, ""),
            (2, "reports", "idle in transaction", 50.0, 90_000, ""),
            (3, "app", "idle in transaction", 0.1, 0, ""),
            (4, "app", "active", 0.0, 0, ""),
        ]);
        assert_eq!(order(table), [2, 1, 3, 4]);
    }

    #[test]
    fn many_idle_transactions_do_not_hide_who_works() {
        let idle = |pid| (pid, "app", "idle in transaction", 100.0 - pid as f64, 0, "");
        let mut rows: Vec<_> = (1..=20).map(idle).collect();
        rows.push((21, "app", "active", 0.5, 0, ""));
        rows.push((22, "app", "idle in transaction", 0.2, 9, ""));
        let order = order(sessions(&rows));
        assert_eq!(order.get(..8), Some(&[1, 2, 3, 4, 5, 21, 22, 6][..]));
        assert_eq!(order.len(), 22);
    }

    #[test]
    fn a_parallel_worker_comes_behind_its_leader() {
        let mut table = sessions(&[
            (1, "reports", "active", 41.0, 900, ""),
            (2, "reports", "active", 40.0, 900, ""),
        ]);
        table.ensure_column("leader_pid");
        table.set(0, "leader_pid", Value::Int(2));
        assert_eq!(order(table), [2, 1]);
    }

    #[test]
    fn a_deadlock_cycle_ends() {
        let table = sessions(&[
            (1, "a", "active", 1.0, 0, "2"),
            (2, "a", "active", 1.0, 0, "1"),
        ]);
        assert_eq!(order(table).len(), 2);
    }
}
