//! Who holds the xmin horizon, for how long, and how many dead rows wait for it.
//!
//! The server does not tell when a snapshot was taken. It is bounded: a snapshot is no older than its
//! transaction, than the moment at which its xmin became the oldest id that runs, and than the last sample
//! that did not show it; and it is at least as old as the first sample that showed it, and as the moment at
//! which a new snapshot would have had a later xmin.

mod age;

pub use age::{Base, Memory};

use super::classify::{Classifier, Session};
use crate::dashboard::rows::{Columns, Row, Rows, added, read};
use crate::dashboard::xid_clock::Clock;
use crate::pg::{Table, Value};

/// Seconds: a younger snapshot keeps nothing that matters.
pub const YOUNG_S: f64 = 5.0;

/// Adds `class`, `age_s`, `age_least_s` (where the age itself is not known, what it is at least) and `pins`
/// (dead rows of this database that wait for the oldest holder), the oldest holder first. `pins` is told by
/// `waiting`.
pub fn derive(
    mut table: Table,
    classifier: &Classifier,
    clock: &Clock<'_>,
    memory: &mut Memory,
    waiting: impl FnOnce(&Holder) -> Option<i64>,
) -> Table {
    let columns = read::Holder::of(&table);
    table.drop_rows(|table, row| {
        let row = Row::of(table, columns, row);
        let (role, application) = (row.role().shown(), row.application_name().shown());
        classifier.is_left_out(role, application, row.age_s())
    });
    let added = added::ToSnapshots::to(&mut table);
    memory.note(&mut table, &added, clock);
    oldest_first(&mut table);
    for row in 0..table.rows.len() {
        let class = class(Row::of(&table, columns, row), classifier);
        table.put(row, added.class, class);
    }
    let oldest = oldest(Rows::of(&table)).map(|row| (row.position(), Holder::of(row, memory)));
    if let Some((row, holder)) = oldest {
        let pins = waiting(&holder).map_or(Value::Pending, Value::Int);
        table.put(row, added.pins, pins);
    }
    table
}

/// The oldest holder that keeps rows of this database.
pub struct Holder {
    /// Transaction ids given out since its xmin.
    pub age_xids: Option<i64>,
    /// Seconds for which it has held its xmin, at least.
    pub least_s: f64,
    /// What had died when it was seen to hold it.
    pub base: Option<Base>,
}

impl Holder {
    /// The holder in a row.
    pub fn of(row: Row<'_, read::Holder>, memory: &Memory) -> Self {
        Self {
            age_xids: row.age_xids(),
            least_s: row.age_s().or(row.age_least_s()).unwrap_or(0.0),
            base: memory.base(row),
        }
    }
}

/// The oldest holder that keeps rows of this database.
pub fn oldest(holders: Rows<'_, read::Holder>) -> Option<Row<'_, read::Holder>> {
    holders.iter().find(|row| concerns(*row))
}

/// Returns true if it keeps rows of ordinary tables in this database.
fn concerns(row: Row<'_, read::Holder>) -> bool {
    row.own_database() == Some(true) && !row.kind().is("slot_catalog")
}

/// Those that concern this database first. Of several with the same xmin the one that has had it longest: the
/// others only came to it.
fn oldest_first(table: &mut Table) {
    let rank = |row: Row<'_, read::Holder>| {
        let age_s = row.age_s().or(row.age_least_s()).unwrap_or(-1.0);
        let concerns = f64::from(u8::from(concerns(row)));
        let age_xids = row.age_xids().map_or(-1.0, |age| age as f64);
        [concerns, age_xids, age_s]
    };
    let ranks: Vec<_> = Rows::of(table).iter().map(rank).collect();
    let mut ranked: Vec<_> = ranks
        .into_iter()
        .zip(std::mem::take(&mut table.rows))
        .collect();
    ranked.sort_by(|(a, _), (b, _)| {
        let pairs = b.iter().zip(a);
        pairs.fold(std::cmp::Ordering::Equal, |order, (b, a)| {
            order.then(b.total_cmp(a))
        })
    });
    table.rows = ranked.into_iter().map(|(_, cells)| cells).collect();
}

fn class(row: Row<'_, read::Holder>, classifier: &Classifier) -> Value {
    if row.kind().name() != "backend" {
        return Value::Null;
    }
    let class = classifier.classify(&Session {
        role: row.role().name(),
        application: row.application_name().name(),
        database: row.datname().name(),
        backend_type: "client backend",
        query: row.query().name(),
    });
    class.name().into()
}

#[cfg(test)]
mod tests;
