//! Materialized views and incremental summaries: the age of their data, and the source of that knowledge.

mod age;

use self::age::{Age, HISTORY, holds};
use crate::dashboard::rows::{Columns, Row, Rows, added, read};
use crate::format;
use crate::pg::{Table, Value};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// State of a view kept between samples. Times are the model's, in seconds.
#[derive(Clone, Debug, Default)]
struct Seen {
    age: Age,
    /// Samples of the last minutes: the time, and true if a refresh held its lock.
    samples: VecDeque<(f64, bool)>,
}

/// State of all views.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    seen: HashMap<i64, Seen>,
}

impl Memory {
    /// Records that this program's refresh of a view took `seconds`.
    pub fn took(&mut self, relid: i64, seconds: f64) {
        self.seen.entry(relid).or_default().age.took(seconds);
    }
}

/// Seconds over which refreshes are counted, and the minimum for a result.
const WATCHED_S: (f64, f64) = (180.0, 60.0);

/// Freshness target of a view, and the one for all views.
pub type Wanted = (Option<Duration>, Option<Duration>);

/// Multiple of the longest pause between recent refreshes from which a view is late.
const LATE: f64 = 2.0;
/// Minimum age in seconds for a view to be late, as views refreshed continuously are not.
const LEAST_S: f64 = 10.0;

type View<'t> = Row<'t, read::View>;

/// Adds `refresh_share` (of the last minutes, during which a refresh ran), `fresh_s`, `source`, `target_s`,
/// `target_own`, `late` (fresh / target), `last_s`, `mode`, `kind`, `backlog`, `uncaptured`, `checked_s` and
/// `state`, and appends the incremental ones of `summaries`; the latest comes first. `at_s` is the model's
/// time of the sample, `now_s` its current time. `target` returns the target configured for a view and the
/// one for all views; the server's own `htap.view_def` ranks between the two. If none of them has one, the
/// target is what the view's own refreshes have achieved (`target_own`), which nobody set.
pub fn derive(
    mut table: Table,
    summaries: &Table,
    memory: &mut Memory,
    (at_s, now_s): (f64, f64),
    target: &dyn Fn(&str) -> Wanted,
) -> Table {
    let columns = read::View::of(&table);
    let added = added::ToViews::to(&mut table);
    let told = Rows::<read::Summary>::of(summaries);
    let told_of = |view: &str| told.iter().find(|row| row.view().raw() == Some(view));
    let target_s = |view: &str| {
        let (own, general) = target(view);
        // The server knows the view, and may define that it has no target.
        let known = told_of(view).map(|told| told.target_s());
        own.map(|own| own.as_secs_f64())
            .or(known.unwrap_or(general.map(|general| general.as_secs_f64())))
    };
    for row in 0..table.rows.len() {
        let view: View<'_> = Row::of(&table, columns, row);
        let Some(relid) = view.relid() else {
            continue;
        };
        let seen = memory.seen.entry(relid).or_default();
        if seen.age.observe(view, at_s) {
            seen.samples.push_back((at_s, holds(view)));
        }
        let share = refresh_share(&mut seen.samples, now_s);
        // The raw name: displayed names may coincide.
        let told = told_of(view.view().name());
        let populated = view.populated() != Some(false);
        let recorded_s = told.and_then(|told| told.fresh_s().number());
        let (fresh, source) = seen.age.told(populated, recorded_s, now_s);
        let wanted = target_s(view.view().name());
        let usual = usual_s(&seen.age).filter(|_| wanted.is_none() && told.is_none());
        let target_s = wanted.or(usual);
        let last_s = seen.age.last_s.or(told.and_then(|told| told.last_s()));
        let mode = if view.concurrent_ok() == Some(true) {
            "concurrent"
        } else {
            "plain"
        };
        let state = state(view, last_s);
        for (column, value) in [
            (added.refresh_share, share.into()),
            (added.late, late(&fresh, target_s)),
            (added.fresh_s, fresh),
            (added.source, source.into()),
            (added.target_s, target_s.into()),
            (added.target_own, Value::Bool(usual.is_some())),
            (added.last_s, last_s.map_or(Value::Pending, Value::Float)),
            (added.mode, mode.into()),
            (added.state, state.as_str().into()),
            (added.kind, "materialized".into()),
        ] {
            table.put(row, column, value);
        }
    }
    for summary in told.iter().filter(|row| row.kind().is("incremental")) {
        add_summary(&mut table, summaries, summary, &added, &target_s);
    }
    let late = |row: &Vec<Value>| added.late.of(row).number().unwrap_or(-1.0);
    table.rows.sort_by(|a, b| late(b).total_cmp(&late(a)));
    table
}

/// Returns the age in seconds that a view's own refreshes have not let it reach; `None` before several were
/// seen.
fn usual_s(seen: &Age) -> Option<f64> {
    let later = seen.changes.iter().skip(1);
    let pauses = seen.changes.iter().zip(later);
    let longest = pauses.map(|(one, next)| next - one).reduce(f64::max)?;
    let last_s = seen.last_s.unwrap_or(0.0);
    (seen.changes.len() >= HISTORY).then_some((longest * LATE + last_s).max(LEAST_S))
}

/// Returns the age of the data divided by its target.
fn late(fresh: &Value, target_s: Option<f64>) -> Value {
    let ratio = fresh.number().zip(target_s);
    let ratio = ratio.map(|(fresh, target)| fresh / target);
    match (fresh, ratio) {
        (Value::AtLeast(_), Some(ratio)) => Value::AtLeast(ratio),
        (Value::AtMost(_), Some(ratio)) => Value::AtMost(ratio),
        (_, ratio) => ratio.into(),
    }
}

/// Appends an incremental summary as a row after the materialized views.
fn add_summary(
    table: &mut Table,
    summaries: &Table,
    summary: Row<'_, read::Summary>,
    added: &added::ToViews,
    target_s: &dyn Fn(&str) -> Option<f64>,
) {
    let columns = table.columns.iter();
    let cells = columns.map(|name| summaries.get(summary.position(), name).clone());
    let cells = cells.collect();
    table.rows.push(cells);
    let at = table.rows.len() - 1;
    let target_s = target_s(summary.view().name());
    let state = if let Some(what) = summary.uncaptured().text() {
        format!("not captured: {what}")
    } else if summary.populated() == Some(true) {
        match summary.backlog().unwrap_or(0.0) {
            0.0 => "idle".to_owned(),
            100_000.0.. => "backlog 100k or more".to_owned(),
            rows => format!("backlog {}", format::count(rows)),
        }
    } else {
        "never filled".to_owned()
    };
    table.put(at, added.late, late(summary.fresh_s(), target_s));
    table.put(at, added.target_s, target_s.into());
    table.put(at, added.source, "watermark".into());
    table.put(at, added.mode, "incremental".into());
    table.put(at, added.state, state.as_str().into());
}

/// Returns the share of the last minutes in which a refresh held its lock, according to the samples; `None`
/// before they span a minute.
fn refresh_share(samples: &mut VecDeque<(f64, bool)>, now_s: f64) -> Option<f64> {
    while samples
        .front()
        .is_some_and(|(at, _)| now_s - at > WATCHED_S.0)
    {
        samples.pop_front();
    }
    let (first, _) = samples.front()?;
    let held = samples.iter().filter(|(_, held)| *held).count();
    (now_s - first >= WATCHED_S.1).then(|| held as f64 / samples.len() as f64)
}

fn state(view: View<'_>, last_s: Option<f64>) -> String {
    let running = view.refresh_running_s().unwrap_or(0.0);
    match view.refreshing().text() {
        Some(_) if view.refresh_waiting() == Some(true) => "waiting for its lock".into(),
        Some(kind) => {
            let of = last_s
                .map(|last| of_last(running, last))
                .unwrap_or_default();
            format!("refreshing {}{of} ({kind})", format::seconds(running))
        }
        None if view.populated() == Some(false) => "never filled".into(),
        None => "idle".into(),
    }
}

/// Estimates the progress of a refresh from the duration of the last one: the server reports none.
fn of_last(running: f64, last: f64) -> String {
    let share = if last > 0.0 {
        (running / last).clamp(0.0, 1.0)
    } else {
        1.0
    };
    let filled = (share * 10.0) as usize;
    let [done, left] = BAR.map(String::from);
    let bar = done.repeat(filled) + &left.repeat(10 - filled);
    format!(" of ~{} {bar}", format::seconds(last))
}

/// What a bar of progress is drawn with: what is done, and what is left.
const BAR: [char; 2] = ['▇', '▁'];

/// A view's state without its bar of progress, for a sentence.
pub(crate) fn in_words(state: &str) -> String {
    let words = state.split(' ').filter(|word| !word.starts_with(BAR));
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_has_no_bar_of_progress() {
        let state = format!("refreshing 2.0s{} (concurrent)", of_last(2.0, 4.0));
        assert_eq!(state, "refreshing 2.0s of ~4s ▇▇▇▇▇▁▁▁▁▁ (concurrent)");
        let words = in_words(&state);
        assert_eq!(words, "refreshing 2.0s of ~4s (concurrent)");
        assert_eq!(in_words("backlog 4"), "backlog 4");
    }

    fn sample(xmin: i64, refreshing: Option<&str>, refreshed_s: Option<f64>) -> Table {
        let columns = [
            "relid",
            "view",
            "xmin",
            "populated",
            "refreshing",
            "refresh_waiting",
            "refresh_running_s",
            "refresh_xact_s",
            "refreshed_s",
        ];
        Table {
            columns: columns.iter().map(|name| (*name).into()).collect(),
            rows: vec![vec![
                Value::Int(1),
                "mart.a".into(),
                Value::Int(xmin),
                Value::Bool(true),
                refreshing.map_or(Value::Null, Value::from),
                Value::Bool(false),
                Value::Float(0.0),
                Value::Float(0.0),
                refreshed_s.into(),
            ]],
        }
    }

    #[test]
    fn freshness_counts_from_the_start_of_the_refresh() {
        let mut memory = Memory::default();
        let mut at = |now, table| {
            derive(table, &Table::default(), &mut memory, (now, now), &|_| {
                (None, Some(Duration::from_secs(5)))
            })
        };
        let first = at(100.0, sample(7, None, None));
        assert_eq!(first.first("fresh_s"), &Value::Pending);
        at(110.0, sample(7, Some("concurrent"), None));
        let mut later = sample(7, Some("concurrent"), None);
        later.set(0, "refresh_xact_s", Value::Float(2.0));
        at(112.0, later);
        let done = at(114.0, sample(8, None, None));
        // It ended between 112 and 114, so about 113, after 3 s: the data are as of 110.
        assert_eq!(done.first("last_s"), &Value::Float(3.0));
        assert_eq!(done.first("fresh_s"), &Value::Float(4.0));
        assert_eq!(done.first("source").text(), Some("seen refreshing"));
        assert_eq!(done.first("late"), &Value::Float(0.8));
    }

    #[test]
    fn a_cancelled_refresh_does_not_make_the_view_fresh() {
        let mut memory = Memory::default();
        let mut at = |now, table| {
            derive(table, &Table::default(), &mut memory, (now, now), &|_| {
                (None, Some(Duration::from_secs(5)))
            })
        };
        at(100.0, sample(7, Some("plain"), None));
        let after = at(102.0, sample(7, None, None));
        assert_eq!(after.first("fresh_s"), &Value::Pending);
    }

    #[test]
    fn a_change_during_a_pause_is_as_old_as_the_sample_before_it() {
        let mut memory = Memory::default();
        let mut at = |now, table| {
            derive(table, &Table::default(), &mut memory, (now, now), &|_| {
                (None, Some(Duration::from_secs(5)))
            })
        };
        at(100.0, sample(7, None, None));
        let after = at(700.0, sample(8, None, None));
        assert_eq!(after.first("fresh_s"), &Value::AtMost(600.0));
    }

    /// Without a target, a view is late once it is much older than it has ever been.
    #[test]
    fn a_view_of_which_no_age_is_wanted_is_compared_with_its_own_history() {
        let mut memory = Memory::default();
        let mut at = |now, xmin| {
            derive(
                sample(xmin, None, None),
                &Table::default(),
                &mut memory,
                (now, now),
                &|_| (None, None),
            )
        };
        let mut table = Table::default();
        for (now, xmin) in [
            (0.0, 1),
            (600.0, 2),
            (1_200.0, 3),
            (1_800.0, 4),
            (2_500.0, 5),
        ] {
            table = at(now, xmin);
            assert_eq!(table.first("target_s").is_known(), xmin == 5, "{xmin}");
            assert_eq!(table.first("target_own"), &Value::Bool(xmin == 5), "{xmin}");
        }
        assert_eq!(table.first("target_s"), &Value::Float(1_400.0));
        assert!(at(3_000.0, 5).first("late").number().unwrap() < 1.0);
        assert!(at(4_500.0, 5).first("late").number().unwrap() > 1.0);
    }

    #[test]
    fn a_commit_tells_what_the_age_is_at_least() {
        let mut memory = Memory::default();
        let mut at = |now, xmin, refreshed_s| {
            derive(
                sample(xmin, None, refreshed_s),
                &Table::default(),
                &mut memory,
                (now, now),
                &|_| (None, Some(Duration::from_secs(5))),
            )
        };
        let table = at(100.0, 7, Some(2.5));
        assert_eq!(table.first("fresh_s"), &Value::AtLeast(2.5));
        assert_eq!(table.first("source").text(), Some("commit timestamp"));
        // It began after the previous sample and was done a second later.
        let table = at(102.0, 8, Some(1.0));
        assert_eq!(table.first("fresh_s"), &Value::Float(2.0));
    }
}
