//! Bars of sessions, from the rows of Queries.

use super::{Key, Lane, Lanes};
use crate::config::WorkClass;
use crate::dashboard::panels::classify::without_comments;
use crate::dashboard::rows::{Row, Rows, Text, read};
use crate::sql::mask::mask;
use crate::text::{self, Clean};
use std::collections::HashMap;

/// Lanes that the rows of Queries fill.
const LANES: [Lane; 6] = [
    Lane::LockQueue,
    Lane::IdleInTransaction,
    Lane::Statement,
    Lane::Refresh,
    Lane::Maintenance,
    Lane::Backup,
];
/// Seconds from which a statement is long, and a transaction is left open.
const LONG_S: f64 = 5.0;
/// Seconds from which a wait for a lock is shown: shorter ones are everywhere.
const QUEUE_S: f64 = 1.0;
/// Seconds from which refreshes and maintenance are shown.
const SHORT_S: f64 = 0.2;
/// Columns of a statement in a name.
const QUERY_COLUMNS: usize = 60;

type Backend<'t> = Row<'t, read::Backend>;

/// What a row of Queries says about a session.
struct Seen<'t> {
    lane: Lane,
    /// What tells it from other bars of the same process.
    since: &'t str,
    age_s: f64,
    /// True if it is to be shown from now on; else only if it is already.
    opens: bool,
}

impl Lanes {
    /// Takes in the rows of Queries, with those of Views as of `views_ms`.
    pub(in crate::dashboard) fn backends(
        &mut self,
        rows: Rows<'_, read::Backend>,
        views: (Rows<'_, read::View>, i64),
        at_ms: i64,
    ) {
        let refreshing = Refreshing::of(views.0, at_ms - views.1);
        for row in rows.iter() {
            let Some(pid) = row.pid() else { continue };
            for seen in seen(row, &refreshing) {
                let key = Key {
                    lane: seen.lane,
                    pid,
                    since: seen.since,
                    class: class(row),
                };
                let start_ms = at_ms - (seen.age_s * 1000.0) as i64;
                let start_ms = seen.opens.then_some(start_ms);
                self.see(key, at_ms, start_ms, || {
                    let view = refreshing.view(pid).filter(|_| seen.lane == Lane::Refresh);
                    view.map_or_else(|| name(row, seen.lane), str::to_owned)
                });
            }
        }
        self.queues(rows, at_ms);
        self.sweep(&LANES, at_ms);
    }

    /// Takes in lock queues: those who wait, directly or not, for a session that does not wait itself.
    fn queues(&mut self, rows: Rows<'_, read::Backend>, at_ms: i64) {
        let queued = |row: &Backend<'_>| row.blocked_by().is_known();
        if !rows.iter().any(|row| queued(&row)) {
            return;
        }
        // The first in the queue waits for its head, and the longest. Before 14 only the statement's age is known.
        let mut first: HashMap<&str, (f64, &str)> = HashMap::new();
        for row in rows.iter().filter(queued) {
            let wait_s = row.wait_s().or(row.query_age_s()).unwrap_or(0.0);
            let application = row.application_name().shown();
            for pid in row.blocked_by().shown().split(',') {
                let (longest_s, of) = first.entry(pid).or_insert((wait_s, application));
                *longest_s = longest_s.max(wait_s);
                if *of != application {
                    *of = "";
                }
            }
        }
        let heads = rows.iter().filter(|row| !queued(row));
        for head in heads.filter(|row| row.blocks().number().is_some()) {
            let Some(pid) = head.pid() else { continue };
            let waiting = first.get(pid.to_string().as_str()).copied();
            let (wait_s, application) = waiting.unwrap_or_default();
            let size = head.blocks().number().unwrap_or(0.0) as usize;
            let key = Key {
                lane: Lane::LockQueue,
                pid,
                since: head.backend_start().shown(),
                class: class(head),
            };
            let known = self.open.iter().any(|bar| bar.is(&key));
            let start_ms = at_ms - (wait_s * 1000.0) as i64;
            let opens = wait_s >= QUEUE_S || (size > 0 && known);
            let bar = self.see(key, at_ms, opens.then_some(start_ms), String::new);
            if let Some(bar) = bar.filter(|bar| bar.size < size) {
                bar.size = size;
                let wait = if size == 1 { "waits" } else { "wait" };
                let holder = match named(head) {
                    Some(name) => format!("pid {pid} ({name})"),
                    None => format!("pid {pid}"),
                };
                let statement = words(head);
                // Little room cuts the end: who is waited for matters most.
                let waiting = match application {
                    "" => String::new(),
                    one => format!(" (waiting: {one})"),
                };
                bar.name = Clean::from(format!("{size} {wait} for {holder}: {statement}{waiting}"));
            }
        }
    }

    /// Takes in the names of the views that are being refreshed.
    pub(in crate::dashboard) fn views(&mut self, views: Rows<'_, read::View>) {
        let refreshing = Refreshing::of(views, 0);
        for bar in self.open.iter_mut().filter(|bar| bar.lane == Lane::Refresh) {
            let view = refreshing.view(bar.pid);
            if let Some(view) = view.filter(|view| *view != bar.name.as_str()) {
                bar.name = Clean::from(view.to_owned());
            }
        }
    }
}

/// The views that are being refreshed, with the processes that do it, as of the last sample of Views.
struct Refreshing<'t> {
    views: Vec<(i64, &'t str)>,
    /// Age of that sample in seconds.
    age_s: f64,
}

impl<'t> Refreshing<'t> {
    fn of(rows: Rows<'t, read::View>, age_ms: i64) -> Self {
        let known = rows.iter().filter(|row| row.refreshing().is_known());
        let known = known.filter_map(|row| Some((row.refresh_pid()?, row.view().shown())));
        Self {
            views: known.collect(),
            age_s: age_ms as f64 / 1000.0,
        }
    }

    fn view(&self, pid: i64) -> Option<&'t str> {
        let found = self.views.iter().find(|(one, _)| *one == pid);
        found.map(|(_, view)| *view)
    }

    /// Returns true if the session's statement refreshed a view at that sample.
    fn has(&self, row: Backend<'_>) -> bool {
        let there = row.pid().is_some_and(|pid| self.view(pid).is_some());
        there && row.query_age_s() >= Some(self.age_s)
    }
}

/// Returns the bars that a row belongs to.
fn seen<'t>(row: Backend<'t>, refreshing: &Refreshing<'_>) -> impl Iterator<Item = Seen<'t>> {
    let state = row.state().shown();
    let active = state == "active";
    let leads = row.leader_pid().is_none();
    let waits = row.wait_event_type().is("Lock") || row.blocked_by().is_known();
    let statement_s = row.query_age_s().filter(|_| active && leads);
    let statement = |lane, from_s: f64, waits: bool| {
        statement_s.map(|age_s| Seen {
            lane,
            since: row.query_start().shown(),
            age_s,
            opens: age_s >= from_s && !waits,
        })
    };
    let kind = row.backend_type().shown();
    let client = matches!(kind, "" | "client backend");
    let work = match row.class().shown() {
        _ if is_backup(row) => {
            let age_s = row.xact_age_s().or(row.query_age_s());
            age_s.map(|age_s| Seen {
                lane: Lane::Backup,
                since: row.backend_start().shown(),
                age_s,
                opens: true,
            })
        }
        "refresh" => statement(Lane::Refresh, SHORT_S, false),
        _ if client && refreshing.has(row) => statement(Lane::Refresh, SHORT_S, false),
        "maintenance" if client || kind == "autovacuum worker" => {
            statement(Lane::Maintenance, SHORT_S, false)
        }
        "maintenance" => None,
        _ if client => statement(Lane::Statement, LONG_S, waits),
        _ => None,
    };
    // It may run statements between: the transaction is what is left open.
    let idle = row.xact_age_s().filter(|_| client && leads);
    let idle = idle.map(|age_s| Seen {
        lane: Lane::IdleInTransaction,
        since: row.xact_start().shown(),
        age_s,
        opens: age_s >= LONG_S && state.starts_with("idle in transaction"),
    });
    work.into_iter().chain(idle)
}

fn is_backup(row: Backend<'_>) -> bool {
    let query = row.query().shown();
    match row.application_name().shown() {
        "pg_dump" | "pg_dumpall" => row.state().is("active"),
        "pg_basebackup" => !query.starts_with("START_REPLICATION"),
        _ => query.starts_with("BASE_BACKUP"),
    }
}

fn class(row: Backend<'_>) -> Option<WorkClass> {
    let mut all = WorkClass::ALL.into_iter();
    all.find(|class| row.class().is(class.name()))
}

/// The application, or the role of one that has no name.
fn named(row: Backend<'_>) -> Option<&str> {
    let names = [row.application_name(), row.usename()];
    let mut names = names.into_iter().map(Text::shown);
    names.find(|name| !name.is_empty())
}

/// The application and the process: `checkout, pid 812`.
fn who(row: Backend<'_>) -> String {
    let pid = row.pid().unwrap_or(0);
    match named(row) {
        Some(name) if pid > 0 => format!("{name}, pid {pid}"),
        Some(name) => name.to_owned(),
        None => format!("pid {pid}"),
    }
}

/// The beginning of a statement. Bars are in reports and their pictures, too, which hold no literals.
fn words(row: Backend<'_>) -> String {
    let query = mask(without_comments(row.query().shown()));
    let words = query.split_whitespace().collect::<Vec<_>>().join(" ");
    text::cut(&words, QUERY_COLUMNS).into_owned()
}

fn name(row: Backend<'_>, lane: Lane) -> String {
    let query = without_comments(row.query().shown());
    match lane {
        Lane::Refresh => refreshed(query).map_or_else(|| words(row), str::to_owned),
        Lane::Maintenance => words(row),
        Lane::Backup => row.application_name().shown().to_owned(),
        Lane::Statement => format!("{}: {}", who(row), words(row)),
        _ => who(row),
    }
}

/// Returns the view that a statement refreshes, if it says so.
fn refreshed(query: &str) -> Option<&str> {
    if let Some((_, call)) = query.split_once("htap.refresh_view('") {
        return call.split('\'').next();
    }
    let mut words = query.split_whitespace().skip(3);
    let first = words.next()?;
    let view = if first.eq_ignore_ascii_case("concurrently") {
        words.next()?
    } else {
        first
    };
    let plain = query.get(..7)?.eq_ignore_ascii_case("refresh");
    plain.then(|| view.trim_end_matches(';'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::lanes::Bar;
    use crate::pg::{Table, Value};

    const COLUMNS: [&str; 12] = [
        "pid",
        "class",
        "application_name",
        "backend_type",
        "state",
        "query_age_s",
        "xact_age_s",
        "query_start",
        "xact_start",
        "query",
        "blocked_by",
        "blocks",
    ];

    /// `pid|class|application|type|state|statement's age|transaction's age|query|blocked by|blocks`
    fn rows(told: &[&str]) -> Table {
        let number = |text: &str| text.parse().map_or(Value::Null, Value::Float);
        let word = |text: &str| match text {
            "" => Value::Null,
            text => text.into(),
        };
        let row = |line: &&str| {
            let cells: Vec<&str> = line.split('|').collect();
            let [
                pid,
                class,
                app,
                kind,
                state,
                query_s,
                xact_s,
                query,
                by,
                blocks,
            ] = cells[..]
            else {
                unreachable!("{line}")
            };
            let pid = pid.parse().map_or(Value::Null, Value::Int);
            let words = [class, app, kind, state].map(word);
            let ages = [query_s, xact_s].map(number);
            let rest = [word("q"), word("x"), word(query), word(by), number(blocks)];
            let cells = std::iter::once(pid).chain(words).chain(ages).chain(rest);
            cells.collect()
        };
        Table {
            columns: COLUMNS.iter().map(|name| (*name).into()).collect(),
            rows: told.iter().map(row).collect(),
        }
    }

    fn told(lanes: &Lanes) -> Vec<(Lane, String, i64, Option<i64>)> {
        let told = |bar: &Bar| (bar.lane, bar.name.to_string(), bar.start_ms, bar.end_ms);
        lanes.since(i64::MIN).map(told).collect()
    }

    fn sample(lanes: &mut Lanes, at_ms: i64, sessions: &[&str]) {
        let views = Table::default();
        lanes.backends(Rows::of(&rows(sessions)), (Rows::of(&views), at_ms), at_ms);
    }

    #[test]
    fn bars_begin_when_the_server_says_and_end_between_two_samples() {
        let mut lanes = Lanes::default();
        let refresh = "7|refresh|psql|client backend|active|1.5|1.5|REFRESH MATERIALIZED VIEW CONCURRENTLY mart.a;||";
        sample(&mut lanes, 10_000, &[refresh]);
        sample(&mut lanes, 11_000, &[refresh]);
        let name = "mart.a".to_owned();
        assert_eq!(told(&lanes), [(Lane::Refresh, name.clone(), 8_500, None)]);
        sample(&mut lanes, 12_000, &[]);
        assert_eq!(told(&lanes), [(Lane::Refresh, name, 8_500, Some(11_500))]);
    }

    #[test]
    fn a_refresh_has_the_name_of_its_view() {
        for (query, view) in [
            (
                "REFRESH MATERIALIZED VIEW CONCURRENTLY mart.a;",
                Some("mart.a"),
            ),
            ("refresh materialized view b", Some("b")),
            ("SELECT htap.refresh_view('mart.c', true)", Some("mart.c")),
            ("SELECT htap.merge($1, $2)", None),
            ("", None),
        ] {
            assert_eq!(refreshed(query), view, "{query}");
        }
    }

    #[test]
    fn each_kind_of_work_has_its_lane() {
        let mut lanes = Lanes::default();
        let sessions = [
            "1|olap|metabase|client backend|active|6|6|SELECT  1||",
            "2|olap|metabase|client backend|active|4|4|SELECT 2||",
            "3|oltp|app|client backend|idle in transaction|0.5|9|UPDATE t||",
            "4|oltp|app|client backend|active|0.1|0.1|UPDATE t||",
            "5|maintenance||autovacuum worker|active|3|3|autovacuum: VACUUM shop.orders||",
            "6|maintenance|standby|walsender|active|900|900|START_REPLICATION||",
            "7|maintenance|pg_basebackup|walsender|active|20||BASE_BACKUP ( LABEL 'x')||",
            "8|maintenance|pg_dump|client backend|active|1|30|COPY x TO stdout||",
            "9|olap|metabase|parallel worker|active|6|6|SELECT 1||",
            "10|oltp|app|client backend|active|7|7|UPDATE t|1|",
        ];
        sample(&mut lanes, 100_000, &sessions);
        let told: Vec<(Lane, String, i64)> = told(&lanes)
            .into_iter()
            .map(|(lane, name, start, _)| (lane, name, start))
            .collect();
        let bar = |lane, name: &str, start| (lane, name.to_owned(), start);
        assert_eq!(
            told,
            [
                bar(Lane::Statement, "metabase, pid 1: SELECT ?", 94_000),
                bar(Lane::IdleInTransaction, "app, pid 3", 91_000),
                bar(Lane::Maintenance, "autovacuum: VACUUM shop.orders", 97_000),
                bar(Lane::Backup, "pg_basebackup", 80_000),
                bar(Lane::Backup, "pg_dump", 70_000),
            ]
        );
    }

    #[test]
    fn a_transaction_left_open_lasts_while_it_runs_statements_between() {
        let mut lanes = Lanes::default();
        let at = |state: &str, age: u32| format!("3|oltp|app|client backend|{state}|0.1|{age}|x||");
        for (second, state) in [
            (9, "idle in transaction"),
            (10, "active"),
            (11, "idle in transaction"),
        ] {
            sample(&mut lanes, second * 1_000, &[&at(state, second as u32)]);
        }
        let name = "app, pid 3".to_owned();
        assert_eq!(told(&lanes), [(Lane::IdleInTransaction, name, 0, None)]);
    }

    #[test]
    fn a_lock_queue_is_that_of_its_head() {
        let mut lanes = Lanes::default();
        let head = "1|oltp|app|client backend|active|3|3|ALTER TABLE t||2";
        let queue = [
            head,
            "2|oltp|app|client backend|active|2|2|x|1|1",
            "3|oltp|app|client backend|active|1|1|x|2|",
        ];
        let short = [head, "2|oltp|app|client backend|active|0.4|2|x|1|"];
        sample(&mut lanes, 8_000, &short);
        assert_eq!(told(&lanes), []);
        sample(&mut lanes, 10_000, &queue);
        sample(&mut lanes, 11_000, &short);
        let name = "2 wait for pid 1 (app): ALTER TABLE t (waiting: app)".to_owned();
        assert_eq!(told(&lanes), [(Lane::LockQueue, name.clone(), 8_000, None)]);
        sample(&mut lanes, 12_000, &[]);
        assert_eq!(told(&lanes), [(Lane::LockQueue, name, 8_000, Some(11_500))]);
    }

    #[test]
    fn a_refresh_within_another_statement_is_known_by_its_lock() {
        let mut lanes = Lanes::default();
        let view = Table {
            columns: ["view", "refreshing", "refresh_pid"].map(Into::into).into(),
            rows: vec![vec!["mart.b".into(), "plain".into(), Value::Int(7)]],
        };
        let views = Rows::of(&view);
        let call =
            |age: &str| format!("7|oltp|app|client backend|active|{age}|9|SELECT nightly()||");
        // What began after the sample of Views is another statement.
        lanes.backends(Rows::of(&rows(&[&call("0.5")])), (views, 9_000), 10_000);
        assert_eq!(told(&lanes), []);
        lanes.backends(Rows::of(&rows(&[&call("3")])), (views, 9_000), 10_000);
        let bar = (Lane::Refresh, "mart.b".to_owned(), 7_000, None);
        assert_eq!(told(&lanes), [bar]);
    }
}
