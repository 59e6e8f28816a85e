//! Time series of bounded size, and OLTP figures derived from cumulative counters.

use super::course::Course;
use super::panels::classify::{Classifier, Session};
use super::rows::{Panel, Rows, read};
use super::series::Series;
use crate::config::WorkClass;
use crate::pg::Table;
use std::collections::{BTreeMap, VecDeque};

/// Counters of pg_stat_database at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Counters {
    at_s: f64,
    commits: f64,
    rollbacks: f64,
    deadlocks: f64,
    wal_bytes: Option<f64>,
    blks_hit: f64,
    blks_read: f64,
    stats_reset: f64,
    postmaster_start: f64,
    /// Transactions of this program, contained in the others.
    own: f64,
}

impl Counters {
    fn ended(&self) -> f64 {
        self.commits + self.rollbacks - self.own
    }
}

/// Transaction figures of the watched database.
#[derive(Clone, Debug, Default)]
pub struct Oltp {
    /// Transactions per second over `STEADY_S`: commits and rollbacks, without this program's own. `None`
    /// until the counters were observed for [`CARRIES_TPS_S`].
    pub tps: Option<f64>,
    /// Seconds over which transactions were counted.
    pub tps_window_s: Option<f64>,
    /// Rollbacks as a percentage of the interval's transactions.
    pub rollback_pct: Option<f64>,
    /// Deadlocks since the program started, or since the counters were reset.
    pub deadlocks: Option<f64>,
    /// Deadlocks in the last minute.
    pub deadlocks_lately: f64,
    /// WAL written by the whole server, in bytes per second.
    pub wal_bytes_per_s: Option<f64>,
    /// Buffer cache hits as a percentage of the interval's block reads; `None` without reads.
    pub cache_hit_pct: Option<f64>,
    /// Percentiles of the point query over the last [`WINDOW_S`], in milliseconds.
    pub p50_ms: Option<f64>,
    /// Like `p50_ms`.
    pub p95_ms: Option<f64>,
    /// Like `p50_ms`.
    pub p99_ms: Option<f64>,
    /// Point queries in the window.
    pub timed: usize,
    /// Point queries that failed in the window.
    pub failed: u32,
    /// Client sessions that execute a statement.
    pub active: i64,
    /// Sessions that wait for a lock.
    pub waiting: i64,
    /// Sessions idle in transaction.
    pub idle_in_transaction: i64,
    /// Sessions per class.
    pub sessions: BTreeMap<WorkClass, i64>,
    /// Those of `active` per class.
    pub working: BTreeMap<WorkClass, i64>,
    /// Sessions whose state the current role may not see.
    pub restricted: i64,
    /// Mean statement time per class in the interval, in milliseconds.
    pub mean_ms: BTreeMap<WorkClass, f64>,
    /// True if the counters were reset in the last interval.
    pub reset: bool,
}

/// All data kept over time.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Current figures.
    pub oltp: Oltp,
    /// Transactions per second of each interval.
    pub tps: Series,
    /// Medians of the point query.
    pub p50: Series,
    /// 95th percentiles of the point query.
    pub p95: Series,
    /// 99th percentiles of the point query.
    pub p99: Series,
    /// Sessions that execute a statement.
    pub active: Series,
    /// Sessions that wait for a lock.
    pub waiting: Series,
    /// Age of the oldest snapshot, in seconds.
    pub snapshot: Series,
    /// Dead rows of the worst table.
    pub dead: Series,
    /// WAL bytes per second.
    pub wal: Series,
    /// What the timeline shows.
    pub course: Course,
    last: Option<Counters>,
    /// Time and number of finished transactions, over the last [`STEADY_S`].
    ended: VecDeque<(f64, f64)>,
    first_deadlocks: Option<f64>,
    /// Time and number of deadlocks, over the last [`LATELY_S`].
    deadlocks: VecDeque<(f64, f64)>,
    window: VecDeque<(f64, f64)>,
    failures: VecDeque<(f64, u32)>,
    statements: BTreeMap<(String, String), (f64, f64)>,
}

/// Classes recognised by a statement's text.
const CLASSES: [WorkClass; 2] = [WorkClass::Refresh, WorkClass::Maintenance];
/// Seconds over which transactions per second are averaged. A backend reports at most once per second, so a
/// single second's count is off by a fifth or more.
const STEADY_S: f64 = 5.5;
/// Minimum number of seconds for a rate of these counters.
pub(super) const CARRIES_TPS_S: f64 = 4.5;
/// Seconds over which the point query's percentiles are computed; longer if timing [`CARRIES_P99`] queries
/// takes longer.
pub(super) const WINDOW_S: f64 = 30.0;
/// Minimum number of timed queries for a median; with fewer, the highest percentiles coincide.
pub(super) const CARRIES_P50: usize = 10;
/// Like [`CARRIES_P50`], for a 95th percentile.
pub(super) const CARRIES_P95: usize = 20;
/// Like [`CARRIES_P50`], for a 99th percentile.
pub(super) const CARRIES_P99: usize = 100;
/// Seconds over which deadlocks are counted as recent.
const LATELY_S: f64 = 60.0;
/// Seconds without a slow point query that end an episode of them.
const GOOD_S: f64 = 2.0;

impl History {
    /// Takes in a row of counters that contain `own` transactions of this program.
    pub fn database(&mut self, table: &Table, own: f64) {
        let told = Rows::<read::Counters>::of(table).first();
        let now = Counters {
            at_s: told.now_epoch().unwrap_or(0.0),
            commits: told.xact_commit().unwrap_or(0.0),
            rollbacks: told.xact_rollback().unwrap_or(0.0),
            deadlocks: told.deadlocks().unwrap_or(0.0),
            wal_bytes: told.wal_lsn_bytes(),
            blks_hit: told.blks_hit().unwrap_or(0.0),
            blks_read: told.blks_read().unwrap_or(0.0),
            stats_reset: told.stats_reset().unwrap_or(0.0),
            postmaster_start: told.postmaster_start().unwrap_or(0.0),
            own,
        };
        let oltp = &mut self.oltp;
        let reset = self.last.is_some_and(|last| is_reset(&last, &now));
        oltp.reset = reset;
        let mut rate = None;
        if reset {
            self.ended.clear();
            (oltp.rollback_pct, oltp.wal_bytes_per_s, oltp.cache_hit_pct) = (None, None, None);
            self.first_deadlocks = None;
            self.deadlocks.clear();
        }
        let first_deadlocks = *self.first_deadlocks.get_or_insert(now.deadlocks);
        oltp.deadlocks = Some(now.deadlocks - first_deadlocks);
        oltp.deadlocks_lately = lately(&mut self.deadlocks, now.at_s, now.deadlocks);
        if let Some(last) = self.last.filter(|last| !reset && now.at_s > last.at_s) {
            let seconds = now.at_s - last.at_s;
            let rollbacks = now.rollbacks - last.rollbacks;
            // Sessions report late, so a few more transactions of this program may be subtracted than were
            // counted.
            let transactions = (now.ended() - last.ended()).max(rollbacks);
            rate = Some(transactions / seconds);
            oltp.rollback_pct = (transactions > 0.0).then(|| rollbacks / transactions * 100.0);
            oltp.wal_bytes_per_s = now
                .wal_bytes
                .zip(last.wal_bytes)
                .map(|(now, last)| (now - last) / seconds)
                .filter(|rate| *rate >= 0.0);
            let (hit, read) = (now.blks_hit - last.blks_hit, now.blks_read - last.blks_read);
            oltp.cache_hit_pct = (hit + read > 0.0).then(|| hit / (hit + read) * 100.0);
        }
        self.last = Some(now);
        self.ended.push_back((now.at_s, now.ended()));
        let age_s = |sample: Option<&(f64, f64)>| sample.map_or(0.0, |(at_s, _)| now.at_s - at_s);
        // At long intervals the one before is needed for a rate.
        while age_s(self.ended.front()) > STEADY_S && age_s(self.ended.get(1)) >= CARRIES_TPS_S {
            self.ended.pop_front();
        }
        let first = self.ended.front().filter(|_| rate.is_some());
        let carried = first.filter(|(at_s, _)| now.at_s - at_s >= CARRIES_TPS_S);
        oltp.tps = carried.map(|(at_s, ended)| (now.ended() - ended).max(0.0) / (now.at_s - at_s));
        oltp.tps_window_s = first.map(|(at_s, _)| now.at_s - at_s);
        self.tps.push(rate);
        self.wal.push(oltp.wal_bytes_per_s);
        self.p50.push(oltp.p50_ms);
        self.p95.push(oltp.p95_ms);
        self.p99.push(oltp.p99_ms);
        // Another statement counts sessions; they are appended here so that all series have the same length.
        let counted = !oltp.sessions.is_empty();
        self.active.push(counted.then_some(oltp.active as f64));
        self.waiting.push(counted.then_some(oltp.waiting as f64));
    }

    /// Leaves room for `count` samples that were not taken, so that the series keep their scale of time.
    pub fn skip(&mut self, count: usize) {
        for series in [
            &mut self.tps,
            &mut self.wal,
            &mut self.p50,
            &mut self.p95,
            &mut self.p99,
            &mut self.active,
            &mut self.waiting,
        ] {
            series.skip(count);
        }
    }

    /// Takes in the counts of sessions.
    pub fn sessions(&mut self, table: &Table, classifier: &Classifier) {
        let oltp = &mut self.oltp;
        (
            oltp.active,
            oltp.waiting,
            oltp.idle_in_transaction,
            oltp.restricted,
        ) = (0, 0, 0, 0);
        oltp.sessions.clear();
        oltp.working.clear();
        // Zero sessions are a count, too.
        oltp.sessions.insert(WorkClass::Oltp, 0);
        for row in Rows::<read::SessionCount>::of(table).iter() {
            let n = row.n().unwrap_or(0);
            let session = Session {
                role: row.usename().name(),
                application: row.application_name().name(),
                database: row.datname().name(),
                backend_type: "client backend",
                query: "",
            };
            if classifier.is_own(session.role, session.application) {
                continue;
            }
            let class = classifier.classify(&session);
            *oltp.sessions.entry(class).or_default() += n;
            match row.state().name() {
                "active" => {
                    oltp.active += n;
                    *oltp.working.entry(class).or_default() += n;
                }
                state if state.starts_with("idle in transaction") => oltp.idle_in_transaction += n,
                "" => oltp.restricted += n,
                _ => {}
            }
            if row.waiting() == Some(true) {
                oltp.waiting += n;
            }
        }
    }

    /// Takes in latencies of the point query, measured at `now_s` of the model's time. After an episode of
    /// latencies over `limit_ms` has ended, percentiles cover only the time since.
    pub fn canary(&mut self, latencies_ms: &[f64], failed: u32, now_s: f64, limit_ms: f64) {
        self.window
            .extend(latencies_ms.iter().map(|latency| (now_s, *latency)));
        self.failures.push_back((now_s, failed));
        self.forget_old_points(now_s);
        let slow = self.window.iter().filter(|point| point.1 > limit_ms);
        if let Some(end) = ended(slow.map(|point| point.0), now_s) {
            self.window.retain(|(at, _)| *at > end);
        }
        let failing = self.failures.iter().filter(|failure| failure.1 > 0);
        if let Some(end) = ended(failing.map(|failure| failure.0), now_s) {
            self.failures.retain(|(at, _)| *at > end);
        }
        self.rank_points();
    }

    /// Moves the window on if no point query is answered, so that no figures of a lost session remain.
    /// Returns true if something changed.
    pub fn expire(&mut self, now_s: f64) -> bool {
        let changed = self.forget_old_points(now_s);
        if changed {
            self.rank_points();
        }
        changed
    }

    fn forget_old_points(&mut self, now_s: f64) -> bool {
        let before = (self.window.len(), self.failures.len());
        let newest = self.window.back().map(|(at, _)| now_s - at);
        if newest.is_some_and(|ago| ago > WINDOW_S) {
            self.window.clear();
        }
        let old = |point: &(f64, f64)| now_s - point.0 > WINDOW_S;
        while self.window.len() > CARRIES_P99 && self.window.front().is_some_and(old) {
            self.window.pop_front();
        }
        self.failures.retain(|(at, _)| now_s - at <= WINDOW_S);
        before != (self.window.len(), self.failures.len())
    }

    fn rank_points(&mut self) {
        let mut sorted: Vec<f64> = self.window.iter().map(|(_, latency)| *latency).collect();
        sorted.sort_by(f64::total_cmp);
        // Nearest rank: the smallest latency not exceeded by at least this share of the queries.
        let rank = |share: f64| {
            let position = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(position.saturating_sub(1)).copied()
        };
        let oltp = &mut self.oltp;
        (oltp.p50_ms, oltp.p95_ms, oltp.p99_ms) = (rank(0.50), rank(0.95), rank(0.99));
        oltp.timed = sorted.len();
        oltp.failed = self.failures.iter().map(|(_, failed)| failed).sum();
    }

    /// Takes in the totals of pg_stat_statements per role, and computes the means since the previous totals.
    pub fn statements(&mut self, table: &Table, classifier: &Classifier) {
        let mut sums: BTreeMap<WorkClass, (f64, f64)> = BTreeMap::new();
        let mut totals = BTreeMap::new();
        for row in Rows::<read::StatementTotal>::of(table).iter() {
            // A role may have statements of several classes.
            let (role, class) = (row.usename().shown(), row.class().shown());
            let key = (role.to_owned(), class.to_owned());
            let calls = row.calls().unwrap_or(0.0);
            let total_ms = row.total_exec_ms().unwrap_or(0.0);
            if let Some((calls_before, total_before)) = self.statements.get(&key) {
                let (ran, took) = (calls - calls_before, total_ms - total_before);
                if ran > 0.0 && took >= 0.0 {
                    let told = CLASSES.iter().find(|class| class.name() == key.1);
                    let class = told.copied().unwrap_or_else(|| {
                        classifier.classify(&Session {
                            role: &key.0,
                            backend_type: "client backend",
                            ..Session::default()
                        })
                    });
                    let sum = sums.entry(class).or_default();
                    *sum = (sum.0 + ran, sum.1 + took);
                }
            }
            totals.insert(key, (calls, total_ms));
        }
        self.statements = totals;
        self.oltp.mean_ms = sums
            .into_iter()
            .map(|(class, (calls, total))| (class, total / calls))
            .collect();
    }

    /// A feed failed, so its figures are unknown.
    pub fn unanswered(&mut self, panel: Panel) {
        let oltp = &mut self.oltp;
        match panel {
            Panel::Database => {
                (oltp.tps, oltp.tps_window_s) = (None, None);
                (oltp.rollback_pct, oltp.wal_bytes_per_s, oltp.cache_hit_pct) = (None, None, None);
            }
            Panel::Sessions => oltp.sessions.clear(),
            Panel::StatementTotals => oltp.mean_ms.clear(),
            _ => {}
        }
    }

    /// Discards the counters: the next ones may come from another server, or from one that restarted.
    pub fn forget_counters(&mut self) {
        self.last = None;
        self.ended.clear();
        self.first_deadlocks = None;
        self.deadlocks.clear();
        self.statements.clear();
    }
}

/// Returns the growth of a counter over [`LATELY_S`]. Only changes are stored.
fn lately(seen: &mut VecDeque<(f64, f64)>, at_s: f64, counter: f64) -> f64 {
    if seen
        .back()
        .is_none_or(|(_, last)| last.total_cmp(&counter).is_ne())
    {
        seen.push_back((at_s, counter));
    }
    // The value before the window is the base of the growth.
    while seen.get(1).is_some_and(|(next, _)| at_s - next > LATELY_S) {
        seen.pop_front();
    }
    seen.front().map_or(0.0, |(_, first)| counter - first)
}

/// Returns the end of the episode that these bad moments form, if it has ended: after three times the average
/// gap between them without another one, and at least [`GOOD_S`].
fn ended(bad: impl Iterator<Item = f64>, now_s: f64) -> Option<f64> {
    let bad: Vec<f64> = bad.collect();
    let (first, last) = (bad.first()?, bad.last()?);
    let gap_s = match bad.len() {
        1 => GOOD_S,
        several => (last - first) / (several - 1) as f64,
    };
    (now_s - last >= (3.0 * gap_s).max(GOOD_S)).then_some(*last)
}

fn is_reset(last: &Counters, now: &Counters) -> bool {
    now.commits < last.commits
        || now.rollbacks < last.rollbacks
        || now.blks_hit < last.blks_hit
        || now.stats_reset > last.stats_reset
        || (now.postmaster_start - last.postmaster_start).abs() > 1.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::Value;

    fn counters(at: f64, commits: i64, reset: f64) -> Table {
        let columns = ["now_epoch", "xact_commit", "xact_rollback", "stats_reset"];
        Table {
            columns: columns.iter().map(|name| (*name).into()).collect(),
            rows: vec![vec![
                Value::Float(at),
                Value::Int(commits),
                Value::Int(0),
                Value::Float(reset),
            ]],
        }
    }

    #[test]
    fn rates_divide_by_the_time_that_passed_and_survive_a_reset() {
        let mut history = History::default();
        history.database(&counters(100.0, 1_000, 1.0), 0.0);
        assert_eq!(history.oltp.tps, None, "the first sample has no rate");
        history.database(&counters(102.0, 1_500, 1.0), 0.0);
        let oltp = &history.oltp;
        assert_eq!(
            (oltp.tps, oltp.tps_window_s),
            (None, Some(2.0)),
            "too short to carry a rate"
        );
        history.database(&counters(105.0, 2_250, 1.0), 0.0);
        assert_eq!(history.oltp.tps, Some(250.0));
        history.database(&counters(106.0, 10, 102.5), 0.0);
        assert_eq!((history.oltp.tps, history.oltp.reset), (None, true));
        history.database(&counters(111.0, 260, 102.5), 0.0);
        assert_eq!((history.oltp.tps, history.oltp.reset), (Some(50.0), false));
    }

    #[test]
    fn samples_far_apart_or_at_changing_intervals_have_a_rate() {
        let rates = |times: &[f64]| {
            let mut history = History::default();
            let rates = times.iter().map(|at| {
                history.database(&counters(*at, (*at * 10.0) as i64, 1.0), 0.0);
                history.oltp.tps
            });
            rates.collect::<Vec<_>>()
        };
        let (none, ten) = (None, Some(10.0));
        let every_other = rates(&[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(every_other, [none, none, none, ten, ten, ten]);
        let rarer = rates(&[0.0, 5.0, 10.0, 10.6, 11.6, 12.6]);
        assert_eq!(rarer, [none, ten, ten, ten, ten, ten]);
    }

    #[test]
    fn what_this_program_does_is_not_the_servers_work() {
        let mut history = History::default();
        history.database(&counters(100.0, 1_000, 1.0), 300.0);
        history.database(&counters(105.0, 1_100, 1.0), 400.0);
        assert_eq!(history.oltp.tps, Some(0.0));
        history.database(&counters(110.0, 1_250, 1.0), 500.0);
        assert_eq!(history.oltp.tps, Some(10.0));
    }

    #[test]
    fn the_rate_is_of_several_seconds_and_each_point_of_one() {
        let mut history = History::default();
        // Backends report irregularly; the average is 100 per second.
        for (at, commits) in [
            (0.0, 0),
            (1.0, 50),
            (2.0, 250),
            (3.0, 300),
            (4.0, 350),
            (5.0, 500),
        ] {
            history.database(&counters(at, commits, 1.0), 0.0);
        }
        assert_eq!(history.oltp.tps, Some(100.0));
        assert_eq!(history.tps.last(1), [Some(150.0)]);
        history.database(&counters(11.0, 500, 1.0), 0.0);
        assert_eq!(history.oltp.tps, Some(0.0), "what is older does not count");
    }

    #[test]
    fn percentiles_are_of_the_last_half_minute() {
        let mut history = History::default();
        history.canary(&[500.0], 1, 0.0, 1e9);
        let spread: Vec<f64> = (1..=100).map(f64::from).collect();
        history.canary(&spread, 0, 61.0, 1e9);
        let oltp = &history.oltp;
        assert_eq!(
            (oltp.p50_ms, oltp.p95_ms, oltp.p99_ms),
            (Some(50.0), Some(95.0), Some(99.0))
        );
        assert_eq!((oltp.timed, oltp.failed), (100, 0));
        assert!(!history.expire(91.0));
        assert!(history.expire(91.5), "nobody has timed anything since");
        assert_eq!((history.oltp.p99_ms, history.oltp.timed), (None, 0));
    }

    #[test]
    fn an_episode_that_is_over_counts_no_more() {
        let mut history = History::default();
        let mut p99 = |latencies: &[f64], failed, now_s| {
            history.canary(latencies, failed, now_s, 50.0);
            (history.oltp.p99_ms, history.oltp.failed)
        };
        assert_eq!(p99(&[1.0; 50], 0, 1.0), (Some(1.0), 0));
        assert_eq!(p99(&[80.0; 5], 1, 2.0), (Some(80.0), 1));
        assert_eq!(p99(&[90.0; 5], 1, 3.0), (Some(90.0), 2));
        assert_eq!(p99(&[2.0; 5], 0, 4.0), (Some(90.0), 2), "not for long");
        assert_eq!(p99(&[2.0; 5], 0, 6.0), (Some(2.0), 0));
        // One slow query every other second is an episode, too, until they stop.
        assert_eq!(p99(&[1.0, 70.0], 0, 7.0).0, Some(70.0));
        assert_eq!(p99(&[1.0, 70.0], 0, 9.0).0, Some(70.0));
        assert_eq!(p99(&[1.0], 0, 12.0).0, Some(70.0));
        assert_eq!(p99(&[1.0], 0, 15.0).0, Some(1.0));
    }

    #[test]
    fn a_reset_leaves_no_rate_of_before() {
        let columns = ["now_epoch", "xact_commit", "xact_rollback", "blks_hit"];
        let row = |at: f64, commits, hit| Table {
            columns: columns.iter().map(|name| (*name).into()).collect(),
            rows: vec![vec![
                Value::Float(at),
                Value::Int(commits),
                Value::Int(0),
                Value::Int(hit),
            ]],
        };
        let mut history = History::default();
        history.database(&row(1.0, 10, 10), 0.0);
        history.database(&row(2.0, 20, 20), 0.0);
        assert_eq!(history.oltp.cache_hit_pct, Some(100.0));
        history.database(&row(3.0, 1, 1), 0.0);
        assert_eq!(
            (history.oltp.rollback_pct, history.oltp.cache_hit_pct),
            (None, None)
        );
    }
}
