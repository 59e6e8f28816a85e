//! How long each holder has held its xmin, between bounds.

use crate::dashboard::rows::{Columns, Row, added, read};
use crate::dashboard::xid_clock::Clock;
use crate::pg::{Table, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// Deaths of rows, by relation, when a holder was seen to hold.
#[derive(Clone, Debug)]
pub struct Base {
    /// Rows updated or deleted since the counters began, by relation: what died before is in it for certain.
    pub deaths: Arc<HashMap<i64, i64>>,
    /// As they were counted last before it was seen to hold: what died since then is not in it.
    pub before: Option<Arc<HashMap<i64, i64>>>,
    /// The holder came while this program watched: nothing that waits for it died before.
    pub whole: bool,
}

/// What is remembered of holders from one sample to the next.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    held: HashMap<Key, Held>,
    /// Deaths of rows as they were counted last.
    deaths: Option<Arc<HashMap<i64, i64>>>,
    /// When holders were last looked at, where all of them were seen.
    at_s: Option<f64>,
}

/// Kind, holder and session; and which of its ids.
type Key = ([Box<str>; 3], Id);

/// What a holder holds by.
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
    /// The id, with all its 64 bits.
    value: i64,
    xact_start: Box<str>,
    query_start: Box<str>,
    /// When it was first seen to hold it.
    first_s: f64,
    /// It cannot have held it before then.
    since_most_s: Option<f64>,
    /// Deaths as they were counted last before it was first seen.
    before: Option<Arc<HashMap<i64, i64>>>,
    base: Option<Base>,
}

/// Bounds of an age, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Age {
    least: f64,
    most: Option<f64>,
}

/// Bounds that are no farther apart are told as one age.
const NEAR_S: f64 = 2.5;
/// As [`NEAR_S`], as a share of the age.
const NEAR_SHARE: f64 = 0.1;
/// A standby reports its oldest xmin every wal_receiver_status_interval, 10 seconds unless set: until the
/// next report is missed, it holds what it reported no longer.
const REPORT_S: f64 = 11.0;
/// The statement returns so many holders at most.
const LIMIT: usize = 50;
/// Sessions report what they changed up to so many seconds later.
const LATE_S: f64 = 10.0;
/// Statements whose snapshot is taken once, at their start.
const ONE_SNAPSHOT: [&str; 7] = [
    "select", "with", "insert", "update", "delete", "copy", "table",
];

impl Memory {
    /// Sets `age_s` and `age_least_s` of all rows, and remembers who holds what.
    pub(super) fn note(
        &mut self,
        table: &mut Table,
        added: &added::ToSnapshots,
        clock: &Clock<'_>,
    ) {
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

    /// What a holder holds now, with what is known of it from before.
    fn seen(
        &self,
        row: Holder<'_>,
        (id, value): (Id, i64),
        before: Option<&Held>,
        clock: &Clock<'_>,
    ) -> Held {
        let xact_start: Box<str> = row.xact_start().shown().into();
        let query_start: Box<str> = row.query_start().shown().into();
        // A snapshot taken now would have the same xmin: where the statement is another one, it was.
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

    /// Notes how many rows had died by now: who holds from now on keeps none of them.
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

    /// What had died when the holder in `row` was seen to hold the older of its ids.
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

/// The transaction id with the 32 bits that the server leaves out: none is half of all away from the next.
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
            // Since PREPARE: what it did before is not told.
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

/// The older of a session's snapshot and its own transaction id.
fn older(a: Age, b: Age) -> Age {
    Age {
        least: a.least.max(b.least),
        most: a.most.zip(b.most).map(|(a, b)| a.max(b)),
    }
}

/// How old a session's snapshot is.
fn session_age(row: Holder<'_>, held: &Held, clock: &Clock<'_>) -> Age {
    let mut age = bounded(row, Id::Xmin, held, clock);
    if held.value >= clock.xmin {
        // Nothing has been removed since that a snapshot taken now would still see: it holds nothing more.
        age.most = Some(age.least);
    }
    age
}

/// Bounds of how long a session has held an id.
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

/// Returns true if the session works on one statement that has kept its snapshot from its start.
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

/// How old the snapshot is that a slot or standby holds for others.
fn reported_age(held: &Held, clock: &Clock<'_>) -> Age {
    let xmin = held.value;
    if xmin >= clock.xmin {
        // A snapshot taken now would hold as much.
        return Age {
            least: 0.0,
            most: Some(0.0),
        };
    }
    let kept_s = clock.now_s - held.first_s;
    // As old as it was when it was reported, until the next report is missed.
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

/// Tells the age where its bounds are near each other, else what it is at least.
fn set(table: &mut Table, row: usize, added: &added::ToSnapshots, age: Age) {
    let near = age
        .most
        .filter(|most| most - age.least <= NEAR_S.max(most * NEAR_SHARE));
    let (known, least) = match near {
        // The upper bound of a session is by the server's own clock.
        Some(most) => (Value::Float(most.max(age.least)), Value::Null),
        None => (Value::Null, Value::Float(age.least)),
    };
    table.put(row, added.age_s, known);
    table.put(row, added.age_least_s, least);
}
