//! Rates of routers, from the totals that each of them reports.

use crate::dashboard::rows::{Row, Rows, nodes};
use crate::format;
use crate::pg::Value;
use serde_json::{Map, Value as Json};
use std::collections::{BTreeMap, HashMap};

/// Totals or rates by name.
type ByName = BTreeMap<String, f64>;

/// State kept between samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    routers: HashMap<Box<str>, Seen>,
    /// What all of them do.
    pub(super) now: Routers,
}

/// The last report of a router, and its growth since the one before.
#[derive(Clone, Debug, Default)]
struct Seen {
    reported_s: f64,
    routed: ByName,
    fallbacks: ByName,
    /// Per second; `None` until it has reported twice.
    rates: Option<(ByName, ByName)>,
}

/// What all routers do.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Routers {
    /// Number of routers that report.
    pub(super) count: i64,
    /// Statements per second to the primary and to the replica, by rule; `None` if not known yet.
    pub(super) rates: Option<[ByName; 2]>,
    /// Reads per second that ran on the primary in place of the replica, by reason; `None` if not known yet.
    pub(super) fallbacks: Option<ByName>,
    /// Statements that a read-only role refused.
    pub(super) misroutes: i64,
    /// Routers that have a replica, and those of them whose breaker is open.
    pub(super) breakers: (i64, i64),
    /// Why breakers are open.
    pub(super) barred: Option<String>,
    /// Seconds for which the first of them has been open.
    pub(super) open_s: Option<f64>,
}

impl Memory {
    /// Takes in the reports.
    pub(crate) fn note(&mut self, reports: Rows<'_, nodes::Router>) {
        let mut now = Routers::default();
        let mut seen = HashMap::new();
        for report in reports.iter() {
            let instance: Box<str> = report.instance().name().into();
            let before = self.routers.remove(&instance);
            let after = Seen::of(report, before);
            now.add(report, &after);
            seen.insert(instance, after);
        }
        self.routers = seen;
        self.now = now;
    }
}

impl Seen {
    fn of(report: Row<'_, nodes::Router>, before: Option<Self>) -> Self {
        let reported_s = report.reported_epoch().unwrap_or(0.0);
        let (routed, fallbacks) = (
            totals(report.routed().name()),
            totals(report.fallbacks().name()),
        );
        let rates = before.and_then(|before| {
            let passed_s = reported_s - before.reported_s;
            if passed_s == 0.0 {
                return before.rates;
            }
            // `growth` returns `None` for an earlier report: it is that of another router.
            let grown = (
                growth(&before.routed, &routed, passed_s),
                growth(&before.fallbacks, &fallbacks, passed_s),
            );
            grown.0.zip(grown.1)
        });
        Self {
            reported_s,
            routed,
            fallbacks,
            rates,
        }
    }
}

impl Routers {
    fn add(&mut self, report: Row<'_, nodes::Router>, seen: &Seen) {
        self.count += 1;
        self.misroutes = self
            .misroutes
            .saturating_add(report.misroutes().unwrap_or(0));
        if let Some((routed, fallbacks)) = &seen.rates {
            let [primary, replica] = self.rates.get_or_insert_default();
            for (lane, rate) in routed {
                // Node, pool and rule.
                let mut words = lane.splitn(3, ' ');
                let side = if words.next() == Some("replica") {
                    &mut *replica
                } else {
                    &mut *primary
                };
                let rule = words.nth(1).unwrap_or(lane);
                *side.entry(rule.to_owned()).or_default() += rate;
            }
            let reasons = self.fallbacks.get_or_insert_default();
            for (reason, rate) in fallbacks {
                *reasons.entry(reason.clone()).or_default() += rate;
            }
        }
        if report.breaker().is("none") {
            return;
        }
        self.breakers.0 += 1;
        if report.breaker().is("open") {
            self.breakers.1 += 1;
            let open_s = report.breaker_s().map_or(0.0, |open_s| open_s.max(0.0));
            if self.open_s.is_none_or(|longest| longest < open_s) {
                self.open_s = Some(open_s);
                self.barred = report.barred().text().map(str::to_owned);
            }
        }
    }

    /// `closed`, `open: paused`, `open 1 of 2: paused`; none if no router has a replica.
    pub(super) fn breaker(&self) -> Value {
        let (all, open) = self.breakers;
        let why = self
            .barred
            .as_deref()
            .map_or_else(String::new, |why| format!(": {why}"));
        let text = match open {
            _ if all == 0 => return Value::Null,
            0 => "closed".to_owned(),
            open if open == all => format!("open{why}"),
            open => format!("open {open} of {all}{why}"),
        };
        Value::from(text.as_str())
    }
}

/// Sum of rates, and their names, the highest first: `read 118, read_your_writes 2`.
pub(super) fn told(rates: Option<&ByName>) -> (Value, Value) {
    let Some(rates) = rates else {
        return (Value::Pending, Value::Pending);
    };
    let mut some: Vec<_> = rates.iter().filter(|(_, rate)| **rate > 0.0).collect();
    some.sort_by(|a, b| b.1.total_cmp(a.1).then(a.0.cmp(b.0)));
    let parts = some.into_iter();
    let parts = parts.map(|(name, rate)| format!("{name} {}", format::count(*rate)));
    let list = parts.collect::<Vec<_>>().join(", ");
    let list = if list.is_empty() {
        Value::Null
    } else {
        Value::from(list.as_str())
    };
    (Value::Float(rates.values().sum()), list)
}

/// Returns the numbers of a JSON object; empty if the text is not an object.
fn totals(json: &str) -> ByName {
    let read: Map<String, Json> = serde_json::from_str(json).unwrap_or_default();
    let numbers = read
        .into_iter()
        .filter_map(|(name, total)| Some((name, total.as_f64()?)));
    numbers.collect()
}

/// Growth per second; `None` if a total has decreased or time went backwards.
fn growth(before: &ByName, now: &ByName, passed_s: f64) -> Option<ByName> {
    let grown = now.iter().map(|(name, total)| {
        let rate = (total - before.get(name).unwrap_or(&0.0)) / passed_s;
        (rate >= 0.0 && rate.is_finite()).then(|| (name.clone(), rate))
    });
    grown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Table;

    /// Instance, time, statements, fallbacks, breaker and why it is open.
    type Report<'a> = (&'a str, f64, &'a str, &'a str, &'a str, Option<&'a str>);

    fn reports(rows: &[Report<'_>]) -> Table {
        let columns = [
            "instance",
            "reported_epoch",
            "routed",
            "fallbacks",
            "misroutes",
            "breaker",
            "barred",
            "breaker_s",
        ];
        let cells = |(instance, at_s, routed, fallbacks, breaker, barred): &Report<'_>| {
            vec![
                Value::from(*instance),
                Value::Float(*at_s),
                Value::from(*routed),
                Value::from(*fallbacks),
                Value::Int(1),
                Value::from(*breaker),
                barred.map_or(Value::Null, Value::from),
                Value::Float(7.0),
            ]
        };
        Table {
            columns: columns.iter().map(|name| (*name).into()).collect(),
            rows: rows.iter().map(cells).collect(),
        }
    }

    #[test]
    fn rates_are_the_growth_of_all_routers_totals() {
        let mut memory = Memory::default();
        let first = reports(&[
            (
                "a",
                10.0,
                r#"{"replica olap read": 100, "primary oltp write": 7}"#,
                "{}",
                "closed",
                None,
            ),
            (
                "b",
                10.5,
                r#"{"primary oltp read_your_writes": 3}"#,
                r#"{"lost": 1}"#,
                "open",
                Some("lost"),
            ),
        ]);
        memory.note(Rows::of(&first));
        assert_eq!(memory.now.rates, None, "one report is no rate");
        let second = reports(&[
            (
                "a",
                12.0,
                r#"{"replica olap read": 140, "primary oltp write": 7, "replica oltp read": 2}"#,
                "{}",
                "closed",
                None,
            ),
            (
                "b",
                11.5,
                r#"{"primary oltp read_your_writes": 5}"#,
                r#"{"lost": 2}"#,
                "open",
                Some("lost"),
            ),
        ]);
        memory.note(Rows::of(&second));
        let [primary, replica] = memory.now.rates.clone().unwrap();
        assert_eq!(
            told(Some(&replica)),
            (Value::Float(21.0), Value::from("read 21"))
        );
        assert_eq!(
            told(Some(&primary)),
            (Value::Float(2.0), Value::from("read_your_writes 2"))
        );
        assert_eq!(
            told(memory.now.fallbacks.as_ref()),
            (Value::Float(1.0), Value::from("lost 1"))
        );
        assert_eq!(memory.now.breaker(), Value::from("open 1 of 2: lost"));
        assert_eq!((memory.now.count, memory.now.misroutes), (2, 2));
        // The same reports again: nothing new is known.
        memory.note(Rows::of(&second));
        assert_eq!(memory.now.rates, Some([primary, replica]));
        // It was restarted under its name.
        memory.note(Rows::of(&reports(&[(
            "a",
            14.0,
            r#"{"replica olap read": 1}"#,
            "{}",
            "none",
            None,
        )])));
        assert_eq!(memory.now.rates, None);
        assert_eq!(memory.now.breaker(), Value::Null);
    }

    #[test]
    fn what_is_no_object_of_numbers_counts_nothing() {
        for text in ["", "[1]", "{\"a\": \"x\"}", "{\"a\": {}}", "…"] {
            assert_eq!(totals(text), ByName::new(), "{text}");
        }
    }
}
