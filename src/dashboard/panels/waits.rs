//! Waits of working sessions: samples of a minute, per class of work.

use super::classify::{Classifier, Session};
use crate::config::WorkClass;
use crate::dashboard::rows::{Rows, added, read};
use crate::pg::{Table, Value};
use crate::text::Clean;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, VecDeque};

/// Seconds by which the picture of the minute moves at a time: in between, only its newest step is written anew.
const AHEAD: usize = 5;
/// Length of the window in seconds.
const MINUTE: usize = 60;
/// Maximum number of statements kept per sample and state; the others are only counted.
const NAMED: usize = 20;
/// Number of intervals after which a sample was missed.
const LATE: f64 = 1.5;

/// A class of work, and the wait of its sessions.
type State = (WorkClass, String);

/// One sample.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Sample {
    at_s: f64,
    sessions: Vec<(State, i64)>,
    statements: Vec<(State, Clean, i64)>,
}

impl Sample {
    fn add(&mut self, state: State, n: i64) {
        match self.sessions.iter_mut().find(|(known, _)| *known == state) {
            Some((_, count)) => *count += n,
            None => self.sessions.push((state, n)),
        }
    }

    fn count(&self, state: &State) -> i64 {
        let found = self.sessions.iter().find(|(known, _)| known == state);
        found.map_or(0, |(_, n)| *n)
    }
}

/// The samples of the last minute.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    samples: VecDeque<Sample>,
}

impl Memory {
    /// Takes in a sample.
    pub fn note(&mut self, table: &Table, classifier: &Classifier, now_s: f64) {
        let mut sample = Sample {
            at_s: now_s,
            ..Sample::default()
        };
        for row in Rows::<read::WaitSample>::of(table).iter() {
            let session = Session {
                role: row.usename().name(),
                application: row.application_name().name(),
                database: row.datname().name(),
                backend_type: row.backend_type().name(),
                query: row.query().name(),
            };
            if classifier.is_own(session.role, session.application) {
                continue;
            }
            let class = classifier.classify(&session);
            let wait = match (row.wait_event_type().name(), row.wait_event().name()) {
                ("", _) => "on CPU".to_owned(),
                (kind, event) => format!("{kind} {event}"),
            };
            let n = row.n().unwrap_or(0);
            sample.add((class, wait.clone()), n);
            if let Some(query) = row.query().clean()
                && sample.statements.len() < NAMED
            {
                sample.statements.push(((class, wait), query.clone(), n));
            }
        }
        self.samples.push_back(sample);
        let old = |sample: &Sample| now_s - sample.at_s >= MINUTE as f64;
        while self.samples.front().is_some_and(old) {
            self.samples.pop_front();
        }
    }

    /// Returns a row for each class and wait: the classes with the most working sessions first, and their
    /// most frequent waits first. A sample stands for `every_s` seconds.
    pub fn table(&self, now_s: f64, every_s: f64) -> Table {
        let mut table = Table::default();
        let added = added::Waits::to(&mut table);
        let mut seen: BTreeMap<&State, i64> = BTreeMap::new();
        let mut of_class: BTreeMap<WorkClass, i64> = BTreeMap::new();
        for (state, n) in self.samples.iter().flat_map(|sample| &sample.sessions) {
            *seen.entry(state).or_default() += n;
            *of_class.entry(state.0).or_default() += n;
        }
        let total = |class: WorkClass| of_class.get(&class).copied().unwrap_or(0);
        let mut states: Vec<(&State, i64)> = seen.into_iter().collect();
        states.sort_by(|(a, n), (b, m)| {
            (total(b.0), b.0, m)
                .cmp(&(total(a.0), a.0, n))
                .then_with(|| a.1.cmp(&b.1))
        });
        let samples = self.samples.len().max(1) as f64;
        let mut frequent: HashMap<&State, HashMap<&Clean, i64>> = HashMap::new();
        for (state, query, n) in self.samples.iter().flat_map(|sample| &sample.statements) {
            *frequent.entry(state).or_default().entry(query).or_default() += n;
        }
        let rows = states.into_iter().map(|(state, n)| {
            let share = n as f64 / total(state.0).max(1) as f64 * 100.0;
            let mean = (n as f64 / samples * 100.0).round() / 100.0;
            let minute = self.minute(state, now_s, every_s);
            let query = frequent.get(state).and_then(most_frequent);
            [
                (added.class, state.0.name().into()),
                (added.wait, state.1.as_str().into()),
                (added.share_pct, Value::Float(share)),
                (added.sessions, Value::Float(mean)),
                (added.minute, minute.as_str().into()),
                (
                    added.query,
                    query.map_or(Value::Null, |query| Value::Text(query.clone())),
                ),
            ]
        });
        for cells in rows {
            table.push(cells);
        }
        table
    }

    /// Returns the number of sessions in this state as a sparkline with one step per second of the minute, which moves to
    /// the left by [`AHEAD`] at a time.
    fn minute(&self, state: &State, now_s: f64, every_s: f64) -> String {
        let mut steps: Vec<Option<i64>> = vec![None; MINUTE];
        let now = now_s.max(0.0) as usize;
        let end = now.next_multiple_of(AHEAD);
        let to_come = end - now;
        let ago = |sample: &Sample| end - (sample.at_s.max(0.0) as usize).min(now);
        let mut later = self.samples.iter().skip(1);
        for sample in &self.samples {
            let n = sample.count(state);
            // A sample stands for the seconds until the next one, which may be slightly early or late.
            let next = later.next();
            let first = ago(sample);
            let last = match next.filter(|next| next.at_s - sample.at_s <= every_s * LATE) {
                Some(next) => ago(next) + 1,
                None => first
                    .saturating_sub((every_s - 0.5).max(0.0) as usize)
                    .max(to_come),
            };
            for step in last.min(first)..=first {
                if let Some(step) = MINUTE
                    .checked_sub(step + 1)
                    .and_then(|at| steps.get_mut(at))
                {
                    *step = Some(step.map_or(n, |before| before.max(n)));
                }
            }
        }
        let steps = steps.into_iter().zip((0..MINUTE).rev());
        steps
            .map(|(step, ago)| match step {
                None if ago >= to_come => '·',
                None | Some(..=0) => ' ',
                Some(1) => '▁',
                Some(2) => '▂',
                Some(3) => '▃',
                Some(4) => '▄',
                Some(5) => '▅',
                Some(6) => '▆',
                Some(7) => '▇',
                Some(_) => '█',
            })
            .collect()
    }

    /// Returns the statements seen in this state, the most frequent first, with the number of sessions in all
    /// samples.
    pub fn statements(&self, class: &str, wait: &str) -> Vec<(Clean, i64)> {
        let mut seen: HashMap<&str, i64> = HashMap::new();
        let all = self.samples.iter().flat_map(|sample| &sample.statements);
        for (_, query, n) in all.filter(|(of, ..)| of.0.name() == class && of.1 == wait) {
            *seen.entry(query.as_str()).or_default() += n;
        }
        let mut seen: Vec<(&str, i64)> = seen.into_iter().collect();
        seen.sort_by_key(|(query, n)| std::cmp::Reverse((*n, *query)));
        let seen = seen.into_iter();
        seen.map(|(query, n)| (Clean::from(query), n)).collect()
    }
}

/// The statement with the greatest number; of several the last one in alphabetical order.
fn most_frequent<'s>(seen: &HashMap<&'s Clean, i64>) -> Option<&'s Clean> {
    let greatest = seen.iter().max_by_key(|(query, n)| (**n, query.as_str()));
    greatest.map(|(query, _)| *query)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(rows: &[(&str, &str, &str, i64)]) -> Table {
        let rows = rows.iter().map(|(role, kind, query, n)| {
            let kind = if kind.is_empty() {
                Value::Null
            } else {
                (*kind).into()
            };
            vec![
                (*role).into(),
                "client backend".into(),
                kind,
                "x".into(),
                (*query).into(),
                Value::Int(*n),
            ]
        });
        Table {
            columns: [
                "usename",
                "backend_type",
                "wait_event_type",
                "wait_event",
                "query",
                "n",
            ]
            .map(Into::into)
            .into(),
            rows: rows.collect(),
        }
    }

    #[test]
    fn waits_are_counted_over_the_minute_and_missed_samples_show() {
        let mut memory = Memory::default();
        let classifier = Classifier::new(Vec::new(), Vec::new());
        memory.note(&sample(&[("a", "", "one", 2)]), &classifier, 10.0);
        memory.note(
            &sample(&[("a", "IO", "two", 1), ("a", "", "one", 1)]),
            &classifier,
            11.0,
        );
        // Two seconds without an answer.
        memory.note(
            &sample(&[("a", "IO", "three", 9), ("a", "IO", "two", 1)]),
            &classifier,
            14.0,
        );
        let table = memory.table(14.0, 1.0);
        let text = |row, name| table.get(row, name).text().unwrap_or_default().to_owned();
        assert_eq!(
            (text(0, "wait"), text(0, "query")),
            ("IO x".into(), "three".into())
        );
        assert_eq!(text(1, "wait"), "on CPU");
        let end = |row| {
            text(row, "minute")
                .chars()
                .rev()
                .skip(1)
                .take(6)
                .collect::<String>()
        };
        assert_eq!((end(0), end(1)), ("█··▁ ·".into(), " ··▁▂·".into()));
        let behind = memory.statements("oltp", "IO x");
        let behind: Vec<_> = behind
            .iter()
            .map(|(query, n)| (query.as_str(), *n))
            .collect();
        assert_eq!(behind, [("three", 9), ("two", 2)]);
        let share = table.get(0, "share_pct").number().unwrap();
        assert!((share - 11.0 / 14.0 * 100.0).abs() < 1e-9, "{share}");
        memory.note(&sample(&[]), &classifier, 75.0);
        assert_eq!(memory.table(75.0, 1.0).rows.len(), 0, "a minute is over");
    }

    #[test]
    fn the_picture_of_the_minute_moves_by_five_seconds_at_a_time() {
        let mut memory = Memory::default();
        let classifier = Classifier::new(Vec::new(), Vec::new());
        let mut pictures = Vec::new();
        for at_s in 100..111 {
            memory.note(
                &sample(&[("a", "IO", "one", 1)]),
                &classifier,
                f64::from(at_s),
            );
            let table = memory.table(f64::from(at_s), 1.0);
            let picture = table.first("minute").text().unwrap().to_owned();
            pictures.push(picture.trim_start_matches('·').to_owned());
        }
        let five = ["▁", "▁▁    ", "▁▁▁   ", "▁▁▁▁  ", "▁▁▁▁▁ "];
        assert_eq!(pictures[..5], five);
        assert_eq!(pictures[5], "▁▁▁▁▁▁");
        assert_eq!(pictures[6], "▁▁▁▁▁▁▁    ");
    }

    #[test]
    fn a_sample_that_is_a_little_late_is_not_missed() {
        let mut memory = Memory::default();
        let classifier = Classifier::new(Vec::new(), Vec::new());
        for at_s in [10.0, 11.04, 11.97, 13.02, 13.99, 15.01, 17.4] {
            memory.note(&sample(&[("a", "IO", "one", 1)]), &classifier, at_s);
        }
        let minute = |now_s| {
            let table = memory.table(now_s, 1.0);
            table.first("minute").text().unwrap().to_owned()
        };
        let told = minute(17.4);
        assert!(told.ends_with("·▁▁▁▁▁▁·▁   "), "{told}");
        // One sample every two seconds, each one step wide.
        let mut memory = Memory::default();
        for at_s in [10.0, 12.1, 13.9] {
            memory.note(&sample(&[("a", "IO", "one", 1)]), &classifier, at_s);
        }
        let table = memory.table(14.0, 2.0);
        let minute = table.first("minute").text().unwrap();
        assert!(minute.ends_with("·▁▁▁▁▁ "), "{minute}");
    }
}
