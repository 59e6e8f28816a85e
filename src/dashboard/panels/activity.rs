//! Backends: their class and the sessions they block, ordered by the harm they do.

use super::classify::{Classifier, Session};
use crate::config::WorkClass;
use crate::dashboard::rows::{Columns, Row, Rows, added, read};
use crate::dashboard::wait_graph::WaitGraph;
use crate::pg::{Table, Value};
use crate::text::Clean;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// Number of rows from which backends may be missing: the statement returns at most 200, and those of this
/// program are removed.
pub const CROWDED: usize = 150;
/// Maximum number of lock waits whose blockers are queried, the longest ones.
const ASKED: usize = 50;
/// Weight of a session that waits for a lock, which is more urgent than its age in seconds suggests.
const BLOCKED_WEIGHT: f64 = 1_000.0;
/// Seconds below which a snapshot or transaction does not matter.
const CALM_S: f64 = 5.0;

/// Harm of a session that works, so that it comes before one that does not.
const ACTIVE: f64 = 0.001;
/// Number of idle transactions that hold nothing and may precede working backends.
const IDLE_IN_FRONT: usize = 5;

/// Returns the minimum time in seconds for which each session has held its snapshot or transaction id, by
/// pid, from the snapshots panel.
pub fn held(snapshots: &Table) -> HashMap<i64, f64> {
    let holders = Rows::<read::Holder>::of(snapshots);
    let age = |row: Row<'_, read::Holder>| Some((row.pid()?, row.age_s().or(row.age_least_s())?));
    holders.iter().filter_map(age).collect()
}

type Backend<'t> = Row<'t, read::Backend>;

/// Adds `class`, `wait`, `blocks` and `harm`, and sorts the most harmful first. `held` contains the seconds
/// for which sessions have held their snapshot or id; other sessions cannot have held one longer than their
/// current state.
pub fn derive<S: BuildHasher>(
    mut table: Table,
    classifier: &Classifier,
    held: &HashMap<i64, f64, S>,
) -> Table {
    let columns = read::Backend::of(&table);
    table.drop_rows(|table, row| {
        let row = Row::of(table, columns, row);
        let (role, application) = (row.usename().shown(), row.application_name().shown());
        classifier.is_left_out(role, application, row.xact_age_s())
    });
    let graph = WaitGraph::of(&table);
    let added = added::ToActivity::to(&mut table);
    let backends = Rows::<read::Backend>::of(&table);
    let oldest_xids = backends.iter().map(horizon_xids).max().unwrap_or(0);
    let waits = |row: &Backend<'_>| row.wait_event_type().is("Lock");
    let unasked = backends.iter().filter(waits).count() > ASKED;
    let mut ranks = Vec::with_capacity(table.rows.len());
    for row in 0..table.rows.len() {
        let backend: Backend<'_> = Row::of(&table, columns, row);
        let class = class_of(backend, classifier);
        let blocks = graph.behind(row).len() as i64;
        let held_s = backend.pid().and_then(|pid| held.get(&pid));
        let harm = harm(backend, class, (blocks, oldest_xids), held_s.copied());
        let (pid, leader) = (backend.pid(), backend.leader_pid());
        // A leader comes before its workers.
        let place = (leader.or(pid), leader.is_some(), pid);
        ranks.push((rank(harm, backend), place));
        let wait = wait_text(backend);
        table.put(row, added.class, class.name().into());
        table.put(row, added.wait, wait);
        let blocks = match (blocks, unasked) {
            (0, _) => Value::Null,
            (blocks, false) => Value::Int(blocks),
            (blocks, true) => Value::AtLeast(blocks as f64),
        };
        table.put(row, added.blocks, blocks);
        table.put(row, added.harm, Value::Float(harm));
    }
    let rows = std::mem::take(&mut table.rows);
    let mut rows: Vec<_> = ranks.into_iter().zip(rows).collect();
    rows.sort_by(|((a, place), _), ((b, other), _)| b.total_cmp(a).then_with(|| place.cmp(other)));
    table.rows = rows.into_iter().map(|(_, row)| row).collect();
    busy_before_idle(&mut table);
    table
}

/// Returns the harm that decides the order. Below a second it is chance: rows would change places with every sample.
fn rank(harm: f64, row: Backend<'_>) -> f64 {
    if harm >= 1.0 {
        harm
    } else if row.state().is("active") {
        ACTIVE
    } else {
        0.0
    }
}

/// Moves idle open transactions that hold nothing behind the working backends, except for the most harmful
/// few: hundreds of them would fill the screen.
fn busy_before_idle(table: &mut Table) {
    let holds_nothing = |row: Backend<'_>| {
        row.state().shown().starts_with("idle in transaction")
            && horizon_xids(row) == 0
            && !row.blocks().is_known()
    };
    let backends = Rows::<read::Backend>::of(table);
    let idle: Vec<bool> = backends.iter().map(holds_nothing).collect();
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

/// The class of a session.
fn class_of(row: Backend<'_>, classifier: &Classifier) -> WorkClass {
    classifier.classify(&Session {
        role: row.usename().name(),
        application: row.application_name().name(),
        database: row.datname().name(),
        backend_type: row.backend_type().name(),
        query: row.query().name(),
    })
}

/// Transactions since the older of a session's snapshot and its own transaction id.
fn horizon_xids(row: Backend<'_>) -> i64 {
    row.xmin_age().unwrap_or(0).max(row.xid_age().unwrap_or(0))
}

fn wait_text(row: Backend<'_>) -> Value {
    let blockers = row.blocked_by().shown();
    if !blockers.is_empty() {
        return Value::Text(Clean::from(format!("Lock ← {blockers}")));
    }
    match (row.wait_event_type().text(), row.wait_event().text()) {
        (Some("Client") | None, _) => Value::Null,
        (Some(kind), Some(event)) => Value::Text(Clean::from(format!("{kind} {event}"))),
        (Some(kind), None) => kind.into(),
    }
}

/// Harm done by a session: highest if it blocks others, then if it holds the horizon, then for long OLAP
/// statements, then for those that wait; lowest for idle sessions and maintenance.
fn harm(
    row: Backend<'_>,
    class: WorkClass,
    (blocks, oldest_xids): (i64, i64),
    held_s: Option<f64>,
) -> f64 {
    let state = row.state().shown();
    let waiting = !row.blocked_by().shown().is_empty();
    let transaction = row.xact_age_s().unwrap_or(0.0).max(0.0);
    let statement = row.query_age_s().unwrap_or(0.0).max(0.0);
    let mut harm = blocks as f64 * BLOCKED_WEIGHT;
    let xids = horizon_xids(row);
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
        // An open transaction without work only does harm by what it holds.
        (state, _) if state.starts_with("idle in transaction") => transaction,
        _ => 0.0,
    };
    if waiting {
        harm *= 0.5;
    }
    // A parallel worker works for its leader, which is the one to cancel.
    if row.leader_pid().is_some() {
        harm *= 0.5;
    }
    if state == "active" {
        harm + ACTIVE
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
        assert_eq!(order(table), [2, 1, 4, 3]);
    }

    #[test]
    fn below_a_second_rows_keep_their_places() {
        let rows = |ages: [f64; 3]| {
            sessions(&[
                (7, "app", "active", ages[0], 0, ""),
                (5, "app", "active", ages[1], 0, ""),
                (6, "app", "idle in transaction", ages[2], 0, ""),
            ])
        };
        assert_eq!(order(rows([0.1, 0.9, 0.3])), [5, 7, 6]);
        assert_eq!(order(rows([0.8, 0.2, 0.7])), [5, 7, 6]);
        assert_eq!(order(rows([1.1, 0.2, 0.7])), [7, 5, 6]);
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
        for (worker_s, leader_s) in [(41.0, 40.0), (0.2, 0.1)] {
            let mut table = sessions(&[
                (1, "reports", "active", worker_s, 900, ""),
                (2, "reports", "active", leader_s, 900, ""),
            ]);
            table.ensure_column("leader_pid");
            table.set(0, "leader_pid", Value::Int(2));
            assert_eq!(order(table), [2, 1], "{worker_s}");
        }
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
