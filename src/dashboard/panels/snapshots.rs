//! Who holds the xmin horizon, for how long, and how many dead rows wait for it.
//!
//! The server does not tell when a snapshot was taken. It is bounded: a snapshot is no older than its
//! transaction, than the moment at which its xmin became the oldest id that runs, and than the last sample
//! that did not show it; and it is at least as old as the first sample that showed it, and as the moment at
//! which a new snapshot would have had a later xmin.

mod age;

pub use age::{Base, Memory};

use super::classify::{Classifier, Session};
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
    table.drop_rows(|table, row| {
        let text = |name| table.get(row, name).text().unwrap_or_default();
        let age_s = table.get(row, "age_s").number();
        classifier.is_left_out(text("role"), text("application_name"), age_s)
    });
    for name in ["class", "age_least_s", "pins"] {
        table.ensure_column(name);
    }
    memory.note(&mut table, clock);
    oldest_first(&mut table);
    for row in 0..table.rows.len() {
        let class = class(&table, row, classifier);
        table.set(row, "class", class);
    }
    if let Some(row) = oldest(&table) {
        let holder = Holder::of(&table, row, memory);
        let pins = waiting(&holder).map_or(Value::Pending, Value::Int);
        table.set(row, "pins", pins);
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
    /// The holder in `row`.
    pub fn of(table: &Table, row: usize, memory: &Memory) -> Self {
        let number = |name| table.get(row, name).number();
        Self {
            age_xids: table.get(row, "age_xids").int(),
            least_s: number("age_s").or(number("age_least_s")).unwrap_or(0.0),
            base: memory.base(table, row),
        }
    }
}

/// The row of the oldest holder that keeps rows of this database.
pub fn oldest(table: &Table) -> Option<usize> {
    (0..table.rows.len()).find(|row| concerns(table, *row))
}

/// Returns true if it keeps rows of ordinary tables in this database.
fn concerns(table: &Table, row: usize) -> bool {
    table.get(row, "own_database").is_true()
        && table.get(row, "kind").text() != Some("slot_catalog")
}

/// Those that concern this database first. Of several with the same xmin the one that has had it longest: the
/// others only came to it.
fn oldest_first(table: &mut Table) {
    let rank = |row: usize| {
        let number = |name| table.get(row, name).number();
        let age_s = number("age_s").or(number("age_least_s")).unwrap_or(-1.0);
        let concerns = f64::from(u8::from(concerns(table, row)));
        [concerns, number("age_xids").unwrap_or(-1.0), age_s]
    };
    let ranks: Vec<_> = (0..table.rows.len()).map(rank).collect();
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

fn class(table: &Table, row: usize, classifier: &Classifier) -> Value {
    let text = |name: &str| table.get(row, name).raw().unwrap_or_default();
    if text("kind") != "backend" {
        return Value::Null;
    }
    let class = classifier.classify(&Session {
        role: text("role"),
        application: text("application_name"),
        database: text("datname"),
        backend_type: "client backend",
        query: text("query"),
    });
    class.name().into()
}

#[cfg(test)]
mod tests;
