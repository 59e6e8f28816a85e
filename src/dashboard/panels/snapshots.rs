//! Holders of the xmin horizon, the time for which they hold it, and the dead rows they keep.
//!
//! The server does not report the time of a snapshot, but it can be bounded. A snapshot is no older than its
//! transaction, than the moment at which its xmin became the oldest running id, and than the last sample
//! without it. It is at least as old as the first sample with it, and as the moment from which a new snapshot
//! would have had a later xmin.

mod age;

pub use age::{Base, Memory};

use super::classify::{Classifier, Session};
use crate::dashboard::rows::{Columns, Row, Rows, added, read};
use crate::dashboard::xid_clock::Clock;
use crate::pg::{Table, Value};

/// Seconds below which a snapshot keeps nothing that matters.
pub const YOUNG_S: f64 = 5.0;

/// Adds `class`, `age_s`, `age_least_s` (a lower bound if the age is not known) and `pins` (dead rows of this
/// database kept by the oldest holder), the oldest holder first. `pins` comes from `waiting`.
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
    memory.note(&mut table, added, clock);
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
    /// Transaction ids assigned since its xmin.
    pub age_xids: Option<i64>,
    /// Minimum number of seconds for which it has held its xmin.
    pub least_s: f64,
    /// Deaths counted when it was first seen to hold it.
    pub base: Option<Base>,
}

impl Holder {
    /// The holder in a row.
    pub(crate) fn of(row: Row<'_, read::Holder>, memory: &Memory) -> Self {
        Self {
            age_xids: row.age_xids(),
            least_s: row.age_s().or(row.age_least_s()).unwrap_or(0.0),
            base: memory.base(row),
        }
    }
}

/// The oldest holder that keeps rows of this database.
pub(crate) fn oldest(holders: Rows<'_, read::Holder>) -> Option<Row<'_, read::Holder>> {
    holders.iter().find(|row| concerns(*row))
}

/// Returns true if it keeps rows of ordinary tables in this database.
fn concerns(row: Row<'_, read::Holder>) -> bool {
    row.own_database() == Some(true) && !row.kind().is("slot_catalog")
}

/// Sorts the holders that concern this database first. Of several with the same xmin, the one that has held
/// it longest comes first: the others merely share it.
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
