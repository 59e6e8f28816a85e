use super::*;
use crate::dashboard::xid_clock::XidClock;

/// Samples of one server and its rows of snapshots.
struct Watch {
    xids: XidClock,
    memory: Memory,
    now_s: f64,
}

const COLUMNS: [&str; 14] = [
    "kind",
    "holder",
    "backend_start",
    "xact_start",
    "query_start",
    "state",
    "query",
    "own_database",
    "age_xids",
    "xmin",
    "xid",
    "xact_age_s",
    "query_age_s",
    "state_age_s",
];

/// A session whose statement began now, in a transaction of the given age.
fn active(xmin: i64, statement: &str, xact_age_s: f64) -> Vec<Value> {
    vec![
        "backend".into(),
        "812".into(),
        "b".into(),
        "x".into(),
        statement.into(),
        "active".into(),
        "SELECT 1".into(),
        Value::Bool(true),
        Value::Int(1),
        Value::Int(xmin),
        Value::Null,
        Value::Float(xact_age_s),
        Value::Float(0.0),
        Value::Float(0.0),
    ]
}

fn slot(xmin: i64) -> Vec<Value> {
    let mut cells = active(xmin, "", 0.0);
    cells[0] = "slot".into();
    for cell in &mut cells[2..7] {
        *cell = Value::Null;
    }
    cells[11] = Value::Null;
    cells
}

impl Watch {
    fn begin() -> Self {
        Self {
            xids: XidClock::default(),
            memory: Memory::default(),
            now_s: 1_000.0,
        }
    }

    /// Samples a second later, with the oldest running id and the row; returns its age and its lower bound.
    fn look(&mut self, xmin: i64, row: Option<Vec<Value>>) -> (Value, Value) {
        self.now_s += 1.0;
        self.xids.note(xmin, xmin + 5, self.now_s);
        let clock = Clock {
            xids: &self.xids,
            xmin,
            xmax: xmin + 5,
            now_s: self.now_s,
        };
        let table = Table {
            columns: COLUMNS.iter().map(|name| (*name).into()).collect(),
            rows: row.into_iter().collect(),
        };
        let classifier = Classifier::new(Vec::new(), Vec::new());
        let table = derive(table, &classifier, &clock, &mut self.memory, |_| None);
        (
            table.first("age_s").clone(),
            table.first("age_least_s").clone(),
        )
    }
}

#[test]
fn short_statements_of_a_long_transaction_are_young() {
    let mut watch = Watch::begin();
    for second in 0..30 {
        // No other session writes, so each statement's snapshot has the same xmin.
        let row = active(500, &second.to_string(), 14.0 + f64::from(second));
        assert_eq!(watch.look(500, Some(row)).0, Value::Float(0.0), "{second}");
    }
    for second in 0..30_u8 {
        let xmin = 501 + i64::from(second) * 10;
        let row = active(xmin, &format!("w{second}"), 44.0 + f64::from(second));
        let age = watch.look(xmin, Some(row)).0.number();
        assert!(age.is_some_and(|age| age <= 2.0), "{second}: {age:?}");
    }
}

#[test]
fn one_snapshot_grows_old_whether_others_write_or_not() {
    for step in [0, 10] {
        let mut watch = Watch::begin();
        let mut next = 500;
        for _ in 0..20 {
            next += step;
            let _ = watch.look(next, None);
        }
        let (xmin, mut idle) = (next, active(next, "once", 0.0));
        idle[5] = "idle in transaction".into();
        for second in 0..30 {
            for age in &mut idle[11..] {
                *age = Value::Float(f64::from(second));
            }
            let age = watch.look(next, Some(idle.clone())).0.number();
            let expected = f64::from(second);
            assert!(
                age.is_some_and(|age| (age - expected).abs() <= 1.5),
                "{step}, {second}: {age:?}, {xmin}"
            );
            next += step;
        }
    }
}

#[test]
fn a_slot_whose_xmin_moves_is_young_and_one_that_stays_is_not() {
    let mut watch = Watch::begin();
    for second in 0..60 {
        // A healthy standby reports every ten seconds.
        let reported = 1_000 + second / 10 * 1_000;
        let (age, least) = watch.look(1_000 + second * 100, Some(slot(reported)));
        let age = age.number().or(least.number());
        assert!(age.is_some_and(|age| age <= 1.5), "{second}: {age:?}");
    }
    let mut age = None;
    for second in 60..90 {
        age = watch
            .look(1_000 + second * 100, Some(slot(6_000)))
            .0
            .number();
    }
    assert!(
        age.is_some_and(|age| (38.0..=41.0).contains(&age)),
        "{age:?}"
    );
}

#[test]
fn a_slot_older_than_the_program_is_at_least_as_old_as_it_was_watched() {
    let mut watch = Watch::begin();
    let mut told = (Value::Null, Value::Null);
    for second in 0..40 {
        told = watch.look(5_000 + second, Some(slot(70)));
    }
    assert_eq!(told, (Value::Null, Value::Float(39.0)));
}

#[test]
fn ids_are_told_apart_beyond_32_bits() {
    let mut watch = Watch::begin();
    let all = 1_i64 << 32;
    for second in 0..20 {
        let _ = watch.look(all - 20 + second * 10, None);
    }
    // The id 5 after the first wraparound.
    let (age, _) = watch.look(all + 200, Some(slot(5)));
    assert!(age.number().is_some(), "{age:?}");
}
