//! What went on, from when to when: refreshes, long statements, vacuums, checkpoints, backups, idle transactions, lock
//! queues, troubles and actions, as bars in lanes over the last hour.
//!
//! The beginning of a bar is the server's, such as query_start; its end lies between the last sample that shows it and
//! the next, in the middle of which it is put.

mod backends;
mod checkpoints;

use crate::config::WorkClass;
use crate::text::Clean;
use std::collections::VecDeque;
use std::sync::Arc;

/// Maximum number of bars that have ended; beyond it the oldest are forgotten.
const MOST: usize = 1_500;
/// Maximum number of open bars of a lane.
const MOST_OPEN: usize = 40;
/// Milliseconds for which bars are kept.
const KEEP_MS: i64 = 3_600_000;
/// Milliseconds within which a trouble that comes back is the same one.
const APART_MS: i64 = 30_000;

/// Kind of a bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// A danger that the cause line names.
    Trouble,
    /// An action of this program.
    Action,
    /// Sessions that wait for a lock of the same session.
    LockQueue,
    /// A transaction that is left open.
    IdleInTransaction,
    /// A statement that takes long.
    Statement,
    /// A refresh of a materialized view or summary.
    Refresh,
    /// Vacuum, analyze, an index build or other maintenance.
    Maintenance,
    /// A checkpoint.
    Checkpoint,
    /// A base backup or a dump.
    Backup,
}

impl Lane {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Trouble,
        Self::Action,
        Self::LockQueue,
        Self::IdleInTransaction,
        Self::Statement,
        Self::Refresh,
        Self::Maintenance,
        Self::Checkpoint,
        Self::Backup,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Trouble => "trouble",
            Self::Action => "action",
            Self::LockQueue => "lock queue",
            Self::IdleInTransaction => "idle in tx",
            Self::Statement => "statement",
            Self::Refresh => "refresh",
            Self::Maintenance => "maintenance",
            Self::Checkpoint => "checkpoint",
            Self::Backup => "backup",
        }
    }
}

/// A bar. Times are [`Moment::mono_ms`](super::event::Moment); it may have begun before this program did.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// Its lane.
    pub lane: Lane,
    /// Short description.
    pub name: Clean,
    /// Class of the work, if it is of a session.
    pub class: Option<WorkClass>,
    /// The session's process; 0 if there is none.
    pub pid: i64,
    /// Beginning.
    pub start_ms: i64,
    /// End; `None` while it goes on.
    pub end_ms: Option<i64>,
    /// What tells it from other bars of the same process.
    since: Box<str>,
    /// Last time it was seen.
    seen_ms: i64,
    /// Size of a lock queue, at most.
    size: usize,
}

impl Bar {
    /// Returns its end, or `now_ms` if it goes on.
    pub fn until_ms(&self, now_ms: i64) -> i64 {
        self.end_ms.unwrap_or(now_ms).max(self.start_ms)
    }

    fn is(&self, key: &Key<'_>) -> bool {
        (self.lane, self.pid, &*self.since) == (key.lane, key.pid, key.since)
    }
}

/// Identity of a bar.
#[derive(Clone, Copy, Debug)]
struct Key<'a> {
    lane: Lane,
    pid: i64,
    since: &'a str,
    class: Option<WorkClass>,
}

/// The bars of the last hour.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    /// Those that have ended, in the order of their ends.
    closed: VecDeque<Arc<Bar>>,
    open: Vec<Bar>,
    checkpoints: checkpoints::Memory,
}

impl Lanes {
    /// Returns all bars that were there after `from_ms`; those that have ended first.
    pub fn since(&self, from_ms: i64) -> impl Iterator<Item = &Bar> {
        let closed = self.closed.iter().rev().map(|bar| &**bar);
        let closed = closed.take_while(move |bar| bar.end_ms >= Some(from_ms));
        closed.chain(&self.open)
    }

    /// Keeps the bar of this key open, or opens it at `start_ms` if that is known. `name` is asked only then.
    fn see(
        &mut self,
        key: Key<'_>,
        at_ms: i64,
        start_ms: Option<i64>,
        name: impl FnOnce() -> String,
    ) -> Option<&mut Bar> {
        let found = self.open.iter().position(|bar| bar.is(&key));
        if let Some(found) = found {
            let bar = self.open.get_mut(found)?;
            bar.seen_ms = at_ms;
            return Some(bar);
        }
        let start_ms = start_ms?;
        let of_lane = self.open.iter().filter(|bar| bar.lane == key.lane);
        if of_lane.count() >= MOST_OPEN {
            return None;
        }
        self.open.push(Bar {
            lane: key.lane,
            name: Clean::from(name()),
            class: key.class,
            pid: key.pid,
            start_ms: start_ms.min(at_ms),
            end_ms: None,
            since: key.since.into(),
            seen_ms: at_ms,
            size: 0,
        });
        self.open.last_mut()
    }

    /// Ends the bars of these lanes that were not seen at `at_ms`.
    fn sweep(&mut self, lanes: &[Lane], at_ms: i64) {
        let gone = |bar: &mut Bar| lanes.contains(&bar.lane) && bar.seen_ms < at_ms;
        let gone: Vec<Bar> = self.open.extract_if(.., gone).collect();
        for mut bar in gone {
            bar.end_ms = Some(i64::midpoint(bar.seen_ms, at_ms).max(bar.start_ms));
            self.close(bar);
        }
    }

    fn close(&mut self, bar: Bar) {
        let old_ms = bar.end_ms.map(|end| end - KEEP_MS);
        self.closed.push_back(Arc::new(bar));
        let old = |bar: &Arc<Bar>| bar.end_ms < old_ms;
        while self.closed.len() > MOST || self.closed.front().is_some_and(old) {
            self.closed.pop_front();
        }
    }

    /// Takes in the dangers of a moment: what each is about, and its sentence.
    pub fn troubles<'a>(&mut self, found: impl Iterator<Item = (String, &'a str)>, at_ms: i64) {
        for (about, sentence) in found {
            let key = Key {
                lane: Lane::Trouble,
                pid: 0,
                since: &about,
                class: None,
            };
            if !self.open.iter().any(|bar| bar.is(&key)) {
                self.reopen(&key, at_ms);
            }
            // Its figures grow.
            if let Some(bar) = self.see(key, at_ms, Some(at_ms), String::new)
                && bar.name.as_str() != sentence
            {
                bar.name = Clean::from(sentence);
            }
        }
        self.sweep(&[Lane::Trouble], at_ms);
    }

    /// Opens again what has just ended.
    fn reopen(&mut self, key: &Key<'_>, at_ms: i64) {
        let recent = |bar: &Bar| bar.end_ms.is_some_and(|end| at_ms - end <= APART_MS);
        let mut closed = self.closed.iter().rev().take_while(|bar| recent(bar));
        if let Some(before) = closed.position(|bar| bar.is(key))
            && let Some(bar) = self.closed.remove(self.closed.len() - 1 - before)
        {
            let bar = Arc::unwrap_or_clone(bar);
            self.open.push(Bar {
                end_ms: None,
                ..bar
            });
        }
    }

    /// Takes in that an action of this program began.
    pub fn began(&mut self, number: u32, name: &str, at_ms: i64) {
        let number = number.to_string();
        let key = Key {
            lane: Lane::Action,
            pid: 0,
            since: &number,
            class: None,
        };
        self.see(key, at_ms, Some(at_ms), || name.to_owned());
    }

    /// Takes in an action that began and ended at these times; returns false if its end is known.
    pub fn acted(
        &mut self,
        number: u32,
        (name, outcome): (&str, &str),
        (start_ms, end_ms): (i64, i64),
    ) -> bool {
        let since = number.to_string();
        let ended = |bar: &Arc<Bar>| bar.lane == Lane::Action && *bar.since == *since;
        if self.closed.iter().any(ended) {
            return false;
        }
        self.began(number, name, start_ms);
        self.ended(number, outcome, end_ms);
        true
    }

    /// Takes in that an action of this program ended.
    pub fn ended(&mut self, number: u32, outcome: &str, at_ms: i64) {
        let number = number.to_string();
        let found = |bar: &Bar| bar.lane == Lane::Action && *bar.since == *number;
        if let Some(position) = self.open.iter().position(found) {
            let mut bar = self.open.remove(position);
            bar.end_ms = Some(at_ms.max(bar.start_ms));
            bar.name = Clean::from(format!("{}: {outcome}", bar.name));
            self.close(bar);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(lanes: &Lanes, from_ms: i64) -> Vec<(String, i64, Option<i64>)> {
        let bars = lanes.since(from_ms);
        let told = bars.map(|bar| (bar.name.to_string(), bar.start_ms, bar.end_ms));
        told.collect()
    }

    #[test]
    fn a_danger_that_comes_back_soon_is_the_same_trouble() {
        let mut lanes = Lanes::default();
        let mut at = |at_ms, there: &[&'static str]| {
            let found = there.iter().map(|what| ((*what).to_owned(), *what));
            lanes.troubles(found, at_ms);
            named(&lanes, 0)
        };
        at(1_000, &["p99"]);
        assert_eq!(at(2_000, &["p99"]), [("p99".into(), 1_000, None)]);
        assert_eq!(at(3_000, &[]), [("p99".into(), 1_000, Some(2_500))]);
        assert_eq!(at(9_000, &["p99"]), [("p99".into(), 1_000, None)]);
        at(10_000, &["lock"]);
        let later = at(60_000, &["p99"]);
        let starts: Vec<i64> = later.iter().map(|bar| bar.1).collect();
        assert_eq!(starts, [10_000, 1_000, 60_000]);
    }

    #[test]
    fn a_trouble_has_the_sentence_of_its_last_moment() {
        let mut lanes = Lanes::default();
        for (at_ms, sentence) in [
            (1_000, "waits for 5s"),
            (2_000, "waits for 6s"),
            (3_000, ""),
        ] {
            let found = ("lock".to_owned(), sentence);
            lanes.troubles(
                Some(found).filter(|_| !sentence.is_empty()).into_iter(),
                at_ms,
            );
        }
        let expected = [("waits for 6s".into(), 1_000, Some(2_500))];
        assert_eq!(named(&lanes, 0), expected);
    }

    #[test]
    fn an_action_says_how_it_ended() {
        let mut lanes = Lanes::default();
        lanes.began(3, "terminate pid 8", 500);
        lanes.ended(3, "gone", 900);
        lanes.ended(4, "gone", 900);
        assert_eq!(
            named(&lanes, 0),
            [("terminate pid 8: gone".into(), 500, Some(900))]
        );
        assert_eq!(named(&lanes, 901), []);
    }

    #[test]
    fn the_oldest_bars_are_forgotten() {
        let mut lanes = Lanes::default();
        for n in 0..MOST as u32 + 10 {
            lanes.began(n, "x", i64::from(n));
            lanes.ended(n, "y", i64::from(n));
        }
        assert_eq!(lanes.since(0).count(), MOST);
        lanes.began(1, "x", KEEP_MS * 2);
        lanes.ended(1, "y", KEEP_MS * 2);
        assert_eq!(lanes.since(0).count(), 1);
        for n in 0..100 {
            lanes.began(n, "x", KEEP_MS * 2);
        }
        assert_eq!(lanes.since(0).count(), 1 + MOST_OPEN);
    }
}
