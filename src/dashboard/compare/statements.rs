//! What statements did in a time: from cumulative sums of pg_stat_statements at both of its ends.

use crate::dashboard::feed::Feed;
use crate::dashboard::rows::{Columns, Row, read};
use crate::text::Clean;
use std::collections::HashMap;

/// Identity of a statement: role, queryid and whether a client sent it; or role and text.
pub type Key = Vec<Box<str>>;

/// Maximum number of rows of the panels that are compared.
pub(super) const LISTED: usize = 200;
/// Shortest time in seconds whose work is known well enough.
pub(super) const LEAST_S: f64 = 4.5;
/// Difference in seconds from which two beginnings of statistics are not the same.
const SAME_S: f64 = 0.01;

/// Cumulative sums of a statement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    calls: f64,
    total_ms: f64,
    rows: Option<f64>,
    blocks: Option<f64>,
    /// Beginning of the statistics, as epoch; pg_stat_statements 1.11 and later.
    since: Option<f64>,
}

/// The sums of all listed statements at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statements {
    /// The server's clock, as epoch.
    at_s: f64,
    sums: HashMap<Key, Sums>,
    texts: HashMap<Key, Clean>,
}

/// The work of a statement in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Work {
    sums: Sums,
    /// Length of the time, if known.
    seconds: Option<f64>,
}

/// Figures of a statement in a time; those that are not known are `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Executions per second.
    pub calls_per_s: Option<f64>,
    /// Mean execution time.
    pub mean_ms: Option<f64>,
    /// Rows per execution.
    pub rows_per_call: Option<f64>,
    /// Blocks read per execution, from shared_buffers or not.
    pub blocks_per_call: Option<f64>,
}

/// The work of all listed statements in a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Works {
    /// Length of the time in seconds; `None` if it is the time since the statistics began.
    pub seconds: Option<f64>,
    /// Statements whose sums went back or vanished: they were reset or evicted.
    pub lost: usize,
    /// True if so many went back that the statistics were reset.
    pub reset: bool,
    /// True if every statement of the database is listed, so that others did not run.
    complete: bool,
    /// `None` if the work is not known.
    rows: HashMap<Key, Option<Work>>,
    texts: HashMap<Key, Clean>,
}

impl Statements {
    /// Reads the last answer; `None` if there is none. Texts take most of the memory.
    pub fn of(feed: &Feed, with_texts: bool) -> Option<Self> {
        feed.sampling.at?;
        let table = &feed.table;
        let columns = read::Statement::of(table);
        let mut statements = Self::default();
        for position in 0..table.rows.len() {
            let row = Row::of(table, columns, position);
            let key = feed.identity(position);
            statements.at_s = row.now_epoch().unwrap_or(0.0);
            if let (true, Some(text)) = (with_texts, row.query().clean()) {
                statements.texts.insert(key.clone(), text.clone());
            }
            let sums = Sums {
                calls: row.total_calls().unwrap_or(0.0),
                total_ms: row.total_exec_ms().unwrap_or(0.0),
                rows: row.total_rows(),
                blocks: row.total_blocks(),
                since: row.stats_since(),
            };
            statements.sums.insert(key, sums);
        }
        Some(statements)
    }

    /// The server's clock at the sample, as epoch.
    pub fn at_s(&self) -> f64 {
        self.at_s
    }

    /// Seconds by which this is later than `earlier`.
    pub fn after(&self, earlier: &Self) -> f64 {
        self.at_s - earlier.at_s
    }

    /// Returns the work from `earlier` to this moment; `None` if that time is too short.
    pub fn since(&self, earlier: &Self) -> Option<Works> {
        let seconds = Some(self.after(earlier)).filter(|seconds| *seconds >= LEAST_S)?;
        let mut works = Works {
            seconds: Some(seconds),
            complete: self.sums.len() < LISTED,
            texts: self.texts.clone(),
            ..Works::default()
        };
        let (mut kept, mut back) = (0, 0);
        for (key, now) in &self.sums {
            let known = match earlier.sums.get(key) {
                Some(before) => before.until(now),
                // It may have been there before, below the listed ones.
                None if earlier.sums.len() >= LISTED => None,
                None => Some(*now),
            };
            if earlier.sums.contains_key(key) {
                kept += 1;
                back += usize::from(known.is_none());
            }
            let seconds = Some(seconds);
            let work = known.map(|sums| Work { sums, seconds });
            works.rows.insert(key.clone(), work);
        }
        let gone = earlier.sums.keys();
        let gone: Vec<&Key> = gone.filter(|key| !self.sums.contains_key(*key)).collect();
        works.reset = back * 2 > kept || (kept == 0 && !gone.is_empty());
        if works.complete {
            works.lost = back + gone.len();
        } else {
            works.lost = back;
        }
        for key in gone {
            let text = earlier.texts.get(key).cloned();
            works.texts.extend(text.map(|text| (key.clone(), text)));
            works.rows.insert(key.clone(), None);
        }
        if works.reset {
            works.rows.values_mut().for_each(|work| *work = None);
        }
        Some(works)
    }

    /// Returns the work since the statistics began.
    pub fn since_reset(&self) -> Works {
        let work = |sums: &Sums| Work {
            sums: *sums,
            seconds: sums.since.map(|since| self.at_s - since),
        };
        let rows = self.sums.iter();
        Works {
            complete: self.sums.len() < LISTED,
            rows: rows
                .map(|(key, sums)| (key.clone(), Some(work(sums))))
                .collect(),
            texts: self.texts.clone(),
            ..Works::default()
        }
    }
}

impl Sums {
    /// Returns the growth until `now`; `None` if the sums were reset.
    fn until(&self, now: &Self) -> Option<Self> {
        let anew = self.since.zip(now.since);
        let anew = anew.is_some_and(|(before, now)| (now - before).abs() > SAME_S);
        let (calls, total_ms) = (now.calls - self.calls, now.total_ms - self.total_ms);
        let grown = |before: Option<f64>, now: Option<f64>| {
            let grown = before.zip(now).map(|(before, now)| now - before);
            grown.filter(|grown| *grown >= 0.0)
        };
        (!anew && calls >= 0.0 && total_ms >= 0.0).then(|| Self {
            calls,
            total_ms,
            rows: grown(self.rows, now.rows),
            blocks: grown(self.blocks, now.blocks),
            since: now.since,
        })
    }

    fn plus(&self, other: &Self) -> Self {
        let sum = |a: Option<f64>, b: Option<f64>| a.zip(b).map(|(a, b)| a + b);
        Self {
            calls: self.calls + other.calls,
            total_ms: self.total_ms + other.total_ms,
            rows: sum(self.rows, other.rows),
            blocks: sum(self.blocks, other.blocks),
            since: None,
        }
    }
}

impl Work {
    /// Returns the figures; a statement that did not run has no mean.
    pub fn figures(&self) -> Figures {
        let Sums { calls, .. } = self.sums;
        let per_call = |sum: f64| (calls > 0.0).then(|| sum / calls);
        Figures {
            calls_per_s: self
                .seconds
                .filter(|seconds| *seconds > 0.0)
                .map(|seconds| calls / seconds),
            mean_ms: per_call(self.sums.total_ms),
            rows_per_call: self.sums.rows.and_then(per_call),
            blocks_per_call: self.sums.blocks.and_then(per_call),
        }
    }
}

impl Works {
    /// The figures of a statement; `None` if they are not known.
    pub fn of(&self, key: &[Box<str>]) -> Option<Figures> {
        match self.rows.get(key) {
            Some(work) => work.as_ref().map(Work::figures),
            None if self.reset || !self.complete => None,
            None => Some(Figures {
                calls_per_s: Some(0.0),
                ..Figures::default()
            }),
        }
    }

    /// All statements of both, each once.
    pub fn keys<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Key> {
        let new = other.rows.keys();
        let new = new.filter(|key| !self.rows.contains_key(*key));
        self.rows.keys().chain(new)
    }

    /// The text of a statement, as the last of the samples had it.
    pub fn text(&self, key: &[Box<str>]) -> Option<&Clean> {
        self.texts.get(key)
    }

    /// Returns the same with role and text as identity: query ids of two servers have nothing in common.
    #[must_use]
    pub fn by_text(&self) -> Self {
        let mut by_text = Self {
            rows: HashMap::new(),
            texts: HashMap::new(),
            ..self.clone()
        };
        for (key, work) in &self.rows {
            let Some(text) = self.texts.get(key) else {
                continue;
            };
            let role = key.first().cloned().unwrap_or_default();
            let named: Key = vec![role, text.as_str().into()];
            by_text.texts.insert(named.clone(), text.clone());
            let sum = match (by_text.rows.get(&named), work) {
                (None, work) => *work,
                (Some(Some(other)), Some(work)) => Some(Work {
                    sums: other.sums.plus(&work.sums),
                    seconds: work.seconds,
                }),
                (Some(_), _) => None,
            };
            by_text.rows.insert(named, sum);
        }
        by_text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_s: f64, rows: &[(&str, f64, f64)]) -> Statements {
        let key = |id: &str| vec![id.into()];
        let sums = |calls, total_ms| Sums {
            calls,
            total_ms,
            ..Sums::default()
        };
        let rows = rows.iter();
        Statements {
            at_s,
            sums: rows
                .map(|(id, calls, total)| (key(id), sums(*calls, *total)))
                .collect(),
            texts: HashMap::new(),
        }
    }

    fn of(works: &Works, id: &str) -> Option<(Option<f64>, Option<f64>)> {
        let figures = works.of(&[id.into()])?;
        Some((figures.calls_per_s, figures.mean_ms))
    }

    #[test]
    fn work_is_that_of_the_time_and_what_is_not_known_is_none() {
        let first = at(
            100.0,
            &[
                ("ran", 10.0, 10.0),
                ("idle", 5.0, 5.0),
                ("evicted", 1.0, 1.0),
            ],
        );
        let second = at(
            110.0,
            &[
                ("ran", 30.0, 110.0),
                ("idle", 5.0, 5.0),
                ("new", 20.0, 40.0),
            ],
        );
        assert_eq!(at(103.0, &[]).since(&first), None, "too short");
        let works = second.since(&first).unwrap();
        assert_eq!(of(&works, "ran"), Some((Some(2.0), Some(5.0))));
        assert_eq!(of(&works, "idle"), Some((Some(0.0), None)));
        assert_eq!(of(&works, "new"), Some((Some(2.0), Some(2.0))));
        assert_eq!(of(&works, "evicted"), None);
        assert_eq!(of(&works, "never"), Some((Some(0.0), None)));
        assert_eq!((works.lost, works.reset), (1, false));
        let whole = second.since_reset();
        assert_eq!(of(&whole, "ran"), Some((None, Some(110.0 / 30.0))));
        assert_eq!(whole.seconds, None);
    }

    #[test]
    fn a_reset_is_not_a_change() {
        let first = at(100.0, &[("a", 10.0, 10.0), ("b", 5.0, 5.0)]);
        let second = at(110.0, &[("a", 2.0, 1.0), ("b", 1.0, 1.0), ("c", 1.0, 1.0)]);
        let works = second.since(&first).unwrap();
        assert!(works.reset);
        assert_eq!(
            (of(&works, "a"), of(&works, "c"), of(&works, "x")),
            (None, None, None)
        );
        // One statement alone.
        let second = at(110.0, &[("a", 20.0, 30.0), ("b", 1.0, 1.0)]);
        let works = second.since(&first).unwrap();
        assert_eq!((works.reset, works.lost), (false, 1));
        assert_eq!(of(&works, "a"), Some((Some(1.0), Some(2.0))));
        assert_eq!(of(&works, "b"), None);
    }
}
