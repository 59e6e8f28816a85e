//! Materialized views and incremental summaries: how old their data is, and from what that is known.

use crate::format;
use crate::pg::{Table, Value};
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// What is remembered of a view from one sample to the next. Times are the model's, in seconds.
#[derive(Clone, Debug, Default)]
struct Seen {
    xmin: i64,
    /// When a change of pg_class.xmin was first seen, and the sample before that, which did not have it.
    changed: Option<(f64, f64)>,
    /// When a refresh was seen to hold its lock first and last.
    running: Option<(f64, f64)>,
    /// The end of the last refresh seen live.
    ended: Option<f64>,
    /// Duration of the last refresh, seconds, and whether exact.
    last_s: Option<f64>,
    sampled: f64,
    /// When the last refreshes were seen to be done.
    changes: VecDeque<f64>,
    /// Samples of the last minutes, and whether a refresh held its lock.
    samples: VecDeque<(f64, bool)>,
}

/// What earlier samples said.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    seen: HashMap<i64, Seen>,
}

impl Memory {
    /// A refresh made by this program took so long, seconds.
    pub fn took(&mut self, relid: i64, seconds: f64) {
        self.seen.entry(relid).or_default().last_s = Some(seconds);
    }

    /// The duration of the last refresh of a view, seconds.
    pub fn last_s(&self, relid: i64) -> Option<f64> {
        self.seen.get(&relid)?.last_s
    }
}

/// Seconds over which it is counted how often a refresh was seen, and the least that says something.
const WATCHED_S: (f64, f64) = (180.0, 60.0);

/// The age wanted of a view, and of all others.
pub type Wanted = (Option<Duration>, Option<Duration>);

/// So many refreshes tell how often somebody refreshes, and so many times the longest pause between them is late.
const HISTORY: usize = 4;
const LATE: f64 = 2.0;
/// Seconds: a view that is refreshed all the time is not late between two of them.
const LEAST_S: f64 = 10.0;

/// Adds `refresh_share` (of the last minutes, in which somebody refreshed), `fresh_s`, `source`, `target_s`, `late` (fresh / target), `last_s`, `mode`, `kind`, `backlog`, `uncaptured`,
/// `checked_s` and `state`, and the incremental ones of `summaries`; the latest comes first. `now_s` is the model's time of
/// the sample. `target` gives the age wanted of a view by the configuration, and that of all others; between
/// the two stands the server's own `htap.view_def`. Where none of them says anything, a view is wanted as fresh as
/// its own refreshes have kept it.
pub fn derive(
    mut table: Table,
    summaries: &Table,
    memory: &mut Memory,
    now_s: f64,
    target: &dyn Fn(&str) -> Wanted,
) -> Table {
    for name in [
        "fresh_s",
        "source",
        "target_s",
        "late",
        "last_s",
        "mode",
        "kind",
        "backlog",
        "state",
        "refresh_share",
        "uncaptured",
        "checked_s",
    ] {
        table.ensure_column(name);
    }
    let target_s = |view: &str| {
        let (own, general) = target(view);
        let row =
            (0..summaries.rows.len()).find(|row| summaries.get(*row, "view").raw() == Some(view));
        // The server knows the view, and may say that no age is wanted of it.
        let known = row.map(|row| summaries.get(row, "target_s").number());
        own.map(|own| own.as_secs_f64())
            .or(known.unwrap_or(general.map(|general| general.as_secs_f64())))
    };
    for row in 0..table.rows.len() {
        let Some(relid) = table.get(row, "relid").int() else {
            continue;
        };
        let seen = memory.seen.entry(relid).or_default();
        observe(seen, &table, row, now_s);
        let share = refresh_share(&mut seen.samples, now_s);
        let (fresh, source) = freshness(seen, &table, row, now_s);
        // As it is, not as it is shown: others may look the same.
        let view = table.get(row, "view").raw().unwrap_or_default().to_owned();
        let told = (0..summaries.rows.len())
            .any(|row| summaries.get(row, "view").raw() == Some(view.as_str()));
        let target_s = target_s(&view).or_else(|| usual_s(seen).filter(|_| !told));
        let last_s = seen.last_s.or(recorded_s(summaries, &view));
        let mode = if table.get(row, "concurrent_ok").is_true() {
            "concurrent"
        } else {
            "plain"
        };
        let state = state(&table, row, last_s);
        table.set(row, "refresh_share", share.into());
        table.set(row, "late", late(fresh, target_s));
        table.set(row, "fresh_s", fresh.map_or(Value::Pending, Value::Float));
        table.set(row, "source", source.into());
        table.set(row, "target_s", target_s.into());
        table.set(row, "last_s", last_s.map_or(Value::Pending, Value::Float));
        table.set(row, "mode", mode.into());
        table.set(row, "state", state.as_str().into());
        table.set(row, "kind", "materialized".into());
    }
    for row in 0..summaries.rows.len() {
        if summaries.get(row, "kind").text() == Some("incremental") {
            add_summary(&mut table, summaries, row, &target_s);
        }
    }
    if let Some(column) = table.column("late") {
        let late = |row: &Vec<Value>| row.get(column).and_then(Value::number).unwrap_or(-1.0);
        table.rows.sort_by(|a, b| late(b).total_cmp(&late(a)));
    }
    table
}

/// The age that a view's own refreshes do not let it reach, seconds; unknown before some of them were seen.
fn usual_s(seen: &Seen) -> Option<f64> {
    let later = seen.changes.iter().skip(1);
    let pauses = seen.changes.iter().zip(later);
    let longest = pauses.map(|(one, next)| next - one).reduce(f64::max)?;
    let last_s = seen.last_s.unwrap_or(0.0);
    (seen.changes.len() >= HISTORY).then_some((longest * LATE + last_s).max(LEAST_S))
}

/// How long the last refresh of a view took by `htap.refresh_run`, seconds.
fn recorded_s(summaries: &Table, view: &str) -> Option<f64> {
    let row =
        (0..summaries.rows.len()).find(|row| summaries.get(*row, "view").raw() == Some(view))?;
    summaries.get(row, "last_s").number()
}

/// The age of the data out of its target.
fn late(fresh: Option<f64>, target_s: Option<f64>) -> Value {
    Value::from(fresh.zip(target_s).map(|(fresh, target)| fresh / target))
}

/// Appends an incremental summary as a row beside the materialized views.
fn add_summary(
    table: &mut Table,
    summaries: &Table,
    row: usize,
    target_s: &dyn Fn(&str) -> Option<f64>,
) {
    let columns = table.columns.clone();
    let cells = columns.iter().map(|name| summaries.get(row, name).clone());
    table.rows.push(cells.collect());
    let at = table.rows.len() - 1;
    let target_s = target_s(summaries.get(row, "view").raw().unwrap_or_default());
    let fresh = summaries.get(row, "fresh_s").number();
    let backlog = summaries.get(row, "backlog").number().unwrap_or(0.0);
    let state = if let Some(what) = summaries.get(row, "uncaptured").text() {
        format!("not captured: {what}")
    } else if summaries.get(row, "populated").is_true() {
        match backlog {
            0.0 => "idle".to_owned(),
            100_000.0.. => "backlog 100k and more".to_owned(),
            rows => format!("backlog {}", format::count(rows)),
        }
    } else {
        "never filled".to_owned()
    };
    table.set(at, "late", late(fresh, target_s));
    table.set(at, "target_s", target_s.into());
    table.set(at, "source", "watermark".into());
    table.set(at, "mode", "incremental".into());
    table.set(at, "state", state.as_str().into());
}

fn observe(seen: &mut Seen, table: &Table, row: usize, now_s: f64) {
    let xmin = table.get(row, "xmin").int().unwrap_or(0);
    if seen.xmin != 0 && seen.xmin != xmin {
        seen.changed = Some((now_s, seen.sampled));
        seen.changes.push_back(now_s);
        if seen.changes.len() > HISTORY {
            seen.changes.pop_front();
        }
    }
    seen.xmin = xmin;
    seen.sampled = now_s;
    let held =
        table.get(row, "refreshing").is_known() && !table.get(row, "refresh_waiting").is_true();
    seen.samples.push_back((now_s, held));
    match (held, seen.running) {
        (true, None) => {
            let since = table.get(row, "refresh_running_s").number().unwrap_or(0.0);
            seen.running = Some((now_s - since, now_s));
        }
        (true, Some((first, _))) => seen.running = Some((first, now_s)),
        (false, Some((first, last))) => {
            seen.running = None;
            // A change of xmin proves that it was finished, not cancelled.
            if seen.changed.is_some_and(|(at, _)| at >= now_s) {
                let end = f64::midpoint(last, now_s);
                seen.ended = Some(end);
                seen.last_s = Some(end - first);
            }
        }
        (false, None) => {}
    }
}

/// Share of the last minutes in which a refresh held its lock, by the samples: none before there is a
/// minute of them.
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

/// The age of the data, seconds: they are as old as the snapshot of the refresh, which was taken
/// when it began, not when it ended.
fn freshness(seen: &Seen, table: &Table, row: usize, now_s: f64) -> (Option<f64>, &'static str) {
    let duration = seen.last_s.unwrap_or(0.0);
    if table.get(row, "populated") == &Value::Bool(false) {
        return (None, "never filled");
    }
    if let Some(age) = table.get(row, "refreshed_s").number() {
        return (Some(age + duration), "commit timestamp");
    }
    let changed = seen.changed.map(|(at, _)| at);
    if let Some(end) = seen
        .ended
        .filter(|end| changed.is_none_or(|at| at <= end + 30.0 && at >= *end - 30.0))
    {
        return (Some(now_s - end + duration), "seen refreshing");
    }
    match seen.changed {
        // After a pause the sample before is long ago: the data may be as old as that.
        Some((_, before)) => (Some(now_s - before + duration), "pg_class.xmin changed"),
        None => (None, "no refresh seen yet"),
    }
}

fn state(table: &Table, row: usize, last_s: Option<f64>) -> String {
    let running = table.get(row, "refresh_running_s").number().unwrap_or(0.0);
    match table.get(row, "refreshing").text() {
        Some(_) if table.get(row, "refresh_waiting").is_true() => "waiting for its lock".into(),
        Some(kind) => {
            let of = last_s
                .map(|last| of_last(running, last))
                .unwrap_or_default();
            format!("refreshing {}{of} ({kind})", format::seconds(running))
        }
        None if table.get(row, "populated") == &Value::Bool(false) => "never filled".into(),
        None => "idle".into(),
    }
}

/// How far a refresh is, going by how long the last one took: the server reports no progress.
fn of_last(running: f64, last: f64) -> String {
    let share = if last > 0.0 {
        (running / last).clamp(0.0, 1.0)
    } else {
        1.0
    };
    let filled = (share * 10.0) as usize;
    let bar = "▇".repeat(filled) + &"▁".repeat(10 - filled);
    format!(" of ~{} {bar}", format::seconds(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(xmin: i64, refreshing: Option<&str>, refreshed_s: Option<f64>) -> Table {
        let columns = [
            "relid",
            "view",
            "xmin",
            "populated",
            "refreshing",
            "refresh_waiting",
            "refresh_running_s",
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
                refreshed_s.into(),
            ]],
        }
    }

    #[test]
    fn freshness_counts_from_the_start_of_the_refresh() {
        let mut memory = Memory::default();
        let mut at = |now, table| {
            derive(table, &Table::default(), &mut memory, now, &|_| {
                (None, Some(Duration::from_secs(5)))
            })
        };
        let first = at(100.0, sample(7, None, None));
        assert_eq!(first.first("fresh_s"), &Value::Pending);
        at(110.0, sample(7, Some("concurrent"), None));
        at(112.0, sample(7, Some("concurrent"), None));
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
            derive(table, &Table::default(), &mut memory, now, &|_| {
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
            derive(table, &Table::default(), &mut memory, now, &|_| {
                (None, Some(Duration::from_secs(5)))
            })
        };
        at(100.0, sample(7, None, None));
        let after = at(700.0, sample(8, None, None));
        assert_eq!(after.first("fresh_s"), &Value::Float(600.0));
    }

    /// No age is wanted of it: it is late once it is much older than it has ever become.
    #[test]
    fn a_view_of_which_no_age_is_wanted_is_judged_by_its_own_history() {
        let mut memory = Memory::default();
        let mut at = |now, xmin| {
            derive(
                sample(xmin, None, None),
                &Table::default(),
                &mut memory,
                now,
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
        }
        assert_eq!(table.first("target_s"), &Value::Float(1_400.0));
        assert!(at(3_000.0, 5).first("late").number().unwrap() < 1.0);
        assert!(at(4_500.0, 5).first("late").number().unwrap() > 1.0);
    }

    #[test]
    fn the_commit_timestamp_is_believed_first() {
        let mut memory = Memory::default();
        let table = derive(
            sample(7, None, Some(2.5)),
            &Table::default(),
            &mut memory,
            100.0,
            &|_| (None, Some(Duration::from_secs(5))),
        );
        assert_eq!(table.first("fresh_s"), &Value::Float(2.5));
        assert_eq!(table.first("source").text(), Some("commit timestamp"));
    }
}
