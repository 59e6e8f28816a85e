//! Bounds of the time for which each holder has held its xmin.

use crate::dashboard::rows::{Columns, Row, added, read};
use crate::dashboard::xid_clock::Clock;
use crate::pg::{Table, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Deaths of rows by relation, when a holder was first seen.
#[derive(Clone, Debug)]
pub struct Base {
    /// Rows updated or deleted since the counters started, by relation; certain to include all that died
    /// before.
    pub deaths: Arc<HashMap<i64, i64>>,
    /// The last count before it was first seen; includes nothing that died since then.
    pub before: Option<Arc<HashMap<i64, i64>>>,
    /// True if the holder appeared while this program watched: it keeps nothing that died before.
    pub whole: bool,
}

/// State of holders kept between samples.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    held: HashMap<Key, Held>,
    /// The last count of dead rows.
    deaths: Option<Arc<HashMap<i64, i64>>>,
    /// Time of the last sample of holders, if that was complete.
    at_s: Option<f64>,
}

/// Kind, holder and session, and the id that it holds.
type Key = ([Box<str>; 3], Id);

/// The id by which a holder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Id {
    /// The xmin of its snapshot.
    Xmin,
    /// Its own transaction id.
    Xid,
}

type Holder<'t> = Row<'t, read::Holder>;

impl Id {
    /// This id of a holder.
    fn of(self, row: Holder<'_>) -> Option<i64> {
        match self {
            Self::Xmin => row.xmin(),
            Self::Xid => row.xid(),
        }
    }
}

#[derive(Clone, Debug)]
struct Held {
    /// The 64-bit id.
    value: i64,
    xact_start: Box<str>,
    query_start: Box<str>,
    /// Time at which it was first seen to hold it.
    first_s: f64,
    /// The earliest time at which it can have started to hold it.
    since_most_s: Option<f64>,
    /// The last count of deaths before it was first seen.
    before: Option<Arc<HashMap<i64, i64>>>,
    base: Option<Base>,
}

/// Bounds of an age, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Age {
    least: f64,
    most: Option<f64>,
}

/// Maximum distance in seconds of bounds that are reported as one age.
const NEAR_S: f64 = 2.5;
/// Like [`NEAR_S`], as a share of the age.
const NEAR_SHARE: f64 = 0.1;
/// A standby reports its oldest xmin every wal_receiver_status_interval, by default 10 seconds. It holds the
/// reported xmin no longer than that unless the next report repeats it.
const REPORT_S: f64 = 11.0;
/// Maximum number of holders that the statement returns.
const LIMIT: usize = 50;
/// Seconds until sessions have reported their changes.
const LATE_S: f64 = 10.0;
/// Statements that take a single snapshot, at their start.
const ONE_SNAPSHOT: [&str; 7] = [
    "select", "with", "insert", "update", "delete", "copy", "table",
];

impl Memory {
    /// Sets `age_s` and `age_least_s` of all rows, and records the holders.
    pub(super) fn note(&mut self, table: &mut Table, added: added::ToSnapshots, clock: &Clock<'_>) {
        let columns = read::Holder::of(table);
        let mut all = HashMap::new();
        for row in 0..table.rows.len() {
            let holder = Row::of(table, columns, row);
            let mut age: Option<Age> = None;
            for id in [Id::Xmin, Id::Xid] {
                let Some(value) = number64(holder, id, clock) else {
                    continue;
                };
                let key = key(holder, id);
                let held = self.seen(holder, (id, value), self.held.get(&key), clock);
                let of_id = age_of(holder, id, &held, clock);
                age = Some(age.map_or(of_id, |age| older(age, of_id)));
                all.insert(key, held);
            }
            if let Some(age) = age {
                set(table, row, added, age);
            }
        }
        self.held = all;
        self.at_s = (table.rows.len() < LIMIT).then_some(clock.now_s);
    }

    /// Returns a holder's current id, with the known facts about it from earlier samples.
    fn seen(
        &self,
        row: Holder<'_>,
        (id, value): (Id, i64),
        before: Option<&Held>,
        clock: &Clock<'_>,
    ) -> Held {
        let xact_start: Box<str> = row.xact_start().shown().into();
        let query_start: Box<str> = row.query_start().shown().into();
        // A new snapshot would have the same xmin, so a new statement has taken a new snapshot.
        let anew = |before: &Held| {
            id == Id::Xmin
                && row.kind().is("backend")
                && !is_idle(row)
                && before.query_start != query_start
                && value >= clock.xmin
        };
        let same = |before: &&Held| {
            before.value == value && before.xact_start == xact_start && !anew(before)
        };
        let before = before.filter(same);
        Held {
            value,
            first_s: before.map_or(clock.now_s, |held| held.first_s),
            since_most_s: before.map_or(self.at_s, |held| held.since_most_s),
            before: before.map_or_else(|| self.deaths.clone(), |held| held.before.clone()),
            base: before.and_then(|held| held.base.clone()),
            xact_start,
            query_start,
        }
    }

    /// Records the number of rows that have died so far: later holders keep none of them.
    pub fn note_deaths(&mut self, deaths: HashMap<i64, i64>, now_s: f64) {
        let deaths = Arc::new(deaths);
        let without = self.held.values_mut().filter(|held| held.base.is_none());
        for held in without.filter(|held| now_s - held.first_s >= LATE_S) {
            held.base = Some(Base {
                deaths: Arc::clone(&deaths),
                before: held.before.clone(),
                whole: held.since_most_s.is_some(),
            });
        }
        self.deaths = Some(deaths);
    }

    /// Returns the deaths counted when the holder in `row` was seen to hold the older of its ids.
    pub(super) fn base(&self, row: Holder<'_>) -> Option<Base> {
        let ids = [Id::Xmin, Id::Xid].map(|id| self.held.get(&key(row, id)));
        let oldest = ids.into_iter().flatten().min_by_key(|held| held.value)?;
        oldest.base.clone()
    }
}

fn key(row: Holder<'_>, id: Id) -> Key {
    let texts = [row.kind(), row.holder(), row.backend_start()];
    (texts.map(|text| Box::from(text.shown())), id)
}

fn is_idle(row: Holder<'_>) -> bool {
    row.state().shown().starts_with("idle in transaction")
}

/// Returns the 64-bit transaction id, restoring the 32 bits that the server omits: no id is further than half
/// the range from the next one.
fn number64(row: Holder<'_>, id: Id, clock: &Clock<'_>) -> Option<i64> {
    const ALL: i64 = 1 << 32;
    let behind = (clock.xmax - id.of(row)?).rem_euclid(ALL);
    let behind = if behind >= ALL / 2 {
        behind - ALL
    } else {
        behind
    };
    Some(clock.xmax - behind)
}

fn age_of(row: Holder<'_>, id: Id, held: &Held, clock: &Clock<'_>) -> Age {
    match (row.kind().text(), id) {
        (Some("prepared"), _) => {
            // The time since PREPARE; earlier times are not reported.
            let since = row.xact_age_s();
            Age {
                least: since.unwrap_or(0.0),
                most: since,
            }
        }
        (Some("backend"), Id::Xmin) => session_age(row, held, clock),
        (Some("backend"), Id::Xid) => bounded(row, id, held, clock),
        _ => reported_age(held, clock),
    }
}

/// Returns the bounds for the older of a session's snapshot and its own transaction id.
fn older(a: Age, b: Age) -> Age {
    Age {
        least: a.least.max(b.least),
        most: a.most.zip(b.most).map(|(a, b)| a.max(b)),
    }
}

/// Returns the bounds of the age of a session's snapshot.
fn session_age(row: Holder<'_>, held: &Held, clock: &Clock<'_>) -> Age {
    let mut age = bounded(row, Id::Xmin, held, clock);
    if held.value >= clock.xmin {
        // A snapshot taken now would keep the same rows: it holds nothing more than that.
        age.most = Some(age.least);
    }
    age
}

/// Returns the bounds of the time for which a session has held an id.
fn bounded(row: Holder<'_>, id: Id, held: &Held, clock: &Clock<'_>) -> Age {
    let ago = |at_s: f64| (clock.now_s - at_s).max(0.0);
    let idle = row.state_age_s().filter(|_| is_idle(row));
    let snapshot = id == Id::Xmin;
    let busy = row.query_age_s();
    let busy = busy.filter(|_| snapshot && has_one_snapshot(row));
    let xmin = Some(held.value).filter(|_| snapshot);
    let passed = xmin.and_then(|xmin| clock.xids.passed_s(xmin)).map(ago);
    let reached = xmin.and_then(|xmin| {
        if xmin > clock.xmin {
            Some(clock.now_s)
        } else {
            clock.xids.reached_s(xmin)
        }
    });
    let least = [Some(ago(held.first_s)), idle, busy, passed];
    let most = [
        row.xact_age_s(),
        reached.map(ago),
        held.since_most_s.map(ago),
    ];
    let most = most.into_iter().flatten().reduce(f64::min);
    let least = least.into_iter().flatten().fold(0.0, f64::max);
    Age {
        least: most.map_or(least, |most| least.min(most)),
        most,
    }
}

/// Returns true if the session runs one statement that keeps its snapshot from start to end.
fn has_one_snapshot(row: Holder<'_>) -> bool {
    let query = row.query().shown().trim();
    let word = query.split(|c: char| !c.is_ascii_alphabetic()).next();
    let one = |first: &str| {
        ONE_SNAPSHOT
            .iter()
            .any(|word| first.eq_ignore_ascii_case(word))
    };
    !is_idle(row) && word.is_some_and(one) && !query.trim_end_matches(';').contains(';')
}

/// Returns the bounds of the age of a snapshot that a slot or standby holds for others.
fn reported_age(held: &Held, clock: &Clock<'_>) -> Age {
    let xmin = held.value;
    if xmin >= clock.xmin {
        // A snapshot taken now would keep as much.
        return Age {
            least: 0.0,
            most: Some(0.0),
        };
    }
    let kept_s = clock.now_s - held.first_s;
    // Until the next report is due, its age is that of the time it was reported.
    let then_s = if kept_s < REPORT_S {
        held.first_s
    } else {
        clock.now_s
    };
    let ago = |at_s: f64| (then_s - at_s).max(0.0);
    let passed = clock.xids.passed_s(xmin).map_or(0.0, ago);
    let kept = if kept_s < REPORT_S { 0.0 } else { kept_s };
    Age {
        least: passed.max(kept),
        most: clock.xids.reached_s(xmin).map(ago),
    }
}

/// Sets the age if its bounds are close to each other, else its lower bound.
fn set(table: &mut Table, row: usize, added: added::ToSnapshots, age: Age) {
    let near = age
        .most
        .filter(|most| most - age.least <= NEAR_S.max(most * NEAR_SHARE));
    let (known, least) = match near {
        // The upper bound for a session comes from the server's clock.
        Some(most) => (Value::Float(most.max(age.least)), Value::Null),
        None => (Value::Null, Value::Float(age.least)),
    };
    table.put(row, added.age_s, known);
    table.put(row, added.age_least_s, least);
}
