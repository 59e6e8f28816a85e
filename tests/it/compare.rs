//! Before and after: the moment marked with a key, the list of changes since, and two recordings compared.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of a test"
)]

use super::board::{self, Board};
use super::facts::{feed, until, watch};
use super::output::Program;
use super::server::{Database, block_on, shared};
use htap_top::config::{Config, Targets};
use htap_top::dashboard::compare::{Baseline, Change, Comparison, Period, Server, What};
use htap_top::dashboard::event::{Event, Key};
use htap_top::dashboard::model::{Model, Popup};
use htap_top::dashboard::recording;
use htap_top::pg::sampler::SessionId;
use htap_top::pg::{Client, Table, Value};
use std::sync::Arc;

/// Names of the feeds that are asked now.
fn asked(board: &Board, effects: &[htap_top::dashboard::event::Effect]) -> Vec<String> {
    let requests = board::requests(effects);
    requests
        .iter()
        .map(|request| board.name_of(request))
        .collect()
}

#[test]
fn the_mark_is_set_moved_removed_and_survives_a_lost_connection() {
    let mut board = Board::live(Config::default());
    assert_eq!(board.keys("B"), Vec::new());
    assert!(
        board.said().contains("no moment is marked: b marks"),
        "{}",
        board.said()
    );
    assert_eq!(board.model.popup, None);
    let _ = board.tick(60_000);
    let effects = board.keys("b");
    let names = asked(&board, &effects);
    for name in ["statements", "indexes", "settings"] {
        assert!(names.contains(&name.to_owned()), "{name}: {names:?}");
    }
    let at = |board: &Board| {
        board
            .model
            .baseline
            .as_ref()
            .map(|baseline| baseline.at.mono_ms)
    };
    assert_eq!(at(&board), Some(60_000));
    // Nobody looks at them: they are not asked again.
    for name in ["statements", "indexes", "settings"] {
        let _ = board.answer(name, Table::default());
    }
    let effects = board.tick(120_000);
    assert!(!asked(&board, &effects).contains(&"statements".to_owned()));
    let _ = board.lose(SessionId::Fast, 1);
    let _ = board.tick(1_000);
    let _ = board.connect();
    assert_eq!(at(&board), Some(60_000));
    assert!(
        board.screen(80, 24).contains("since 03:05 b"),
        "{}",
        board.screen(80, 24)
    );
    // The list is opened: what it rests on is asked.
    let effects = board.keys("B");
    assert!(matches!(board.model.popup, Some(Popup::Changes { .. })));
    assert!(asked(&board, &effects).contains(&"statements".to_owned()));
    let _ = board.keys("B");
    assert_eq!(board.model.popup, None);
    let _ = board.keys("b");
    assert_eq!(at(&board), Some(181_000), "moved");
    let _ = board.tick(500);
    let _ = board.keys("b");
    assert_eq!(at(&board), None, "removed");
    assert_eq!(board.faults(), Vec::<String>::new());
}

fn of_server(system: &str, major: i64, epoch_ms: i64) -> Period {
    Period {
        server: Server {
            system: system.to_owned(),
            database: "shop".to_owned(),
            major,
        },
        epoch_ms: (epoch_ms, epoch_ms + 60_000),
        ..Period::default()
    }
}

#[test]
fn what_makes_two_periods_hard_to_compare_is_said() {
    let said = |before: &Period, after: &Period| {
        let comparison = Comparison::of(before, after, &Targets::default());
        assert!(comparison.changes.is_empty() && comparison.made.is_empty());
        comparison.notes.join("\n")
    };
    let monday = of_server("1", 16, 1_000_000);
    let same = said(&monday, &of_server("1", 16, 2_000_000));
    assert!(same.contains("OLTP: too few samples after"), "{same}");
    assert!(
        same.contains("no sample of pg_stat_statements before"),
        "{same}"
    );
    assert!(
        !same.contains("two servers") && !same.contains("matched"),
        "{same}"
    );
    let other = said(&monday, &of_server("2", 16, 2_000_000));
    assert!(
        other.contains("two servers") && other.contains("matched by role and text"),
        "{other}"
    );
    let upgraded = said(&monday, &of_server("1", 17, 500_000));
    assert!(
        upgraded.contains("PostgreSQL 16 before, 17 after"),
        "{upgraded}"
    );
    assert!(upgraded.contains("shown backwards"), "{upgraded}");
}

/// Orders with an index that a statement needs.
async fn ordered(about: &str) -> (Database<'static>, Client) {
    let database = shared().database(about).await;
    let admin = database.connect().await;
    admin
        .batch(
            "CREATE EXTENSION pg_stat_statements;
             CREATE TABLE ordered (id int, customer int, amount int, filler text);
             INSERT INTO ordered SELECT n, n % 5000, n % 97, repeat('x', 80) FROM generate_series(1, 100000) AS n;
             CREATE INDEX ordered_customer_idx ON ordered (customer);
             ANALYZE ordered;",
        )
        .await
        .unwrap();
    (database, admin)
}

async fn run(client: &Client, times: i64) {
    for n in 0..times {
        let sql = format!("SELECT sum(amount) AS of_customer FROM ordered WHERE customer = {n}");
        client.batch(&sql).await.unwrap();
    }
}

/// Calls and milliseconds of that statement, as pg_stat_statements has them.
async fn by_hand(admin: &Client) -> (f64, f64) {
    let sql = "SELECT sum(s.calls)::float8 AS calls, sum(s.total_exec_time)::float8 AS ms
               FROM pg_stat_statements AS s JOIN pg_database AS d ON d.oid = s.dbid
               WHERE d.datname = current_database() AND s.query LIKE 'SELECT sum(amount) AS of_customer%'";
    let table = admin.query(sql, &[]).await.unwrap();
    let figure = |name| table.first(name).number().unwrap_or_default();
    (figure("calls"), figure("ms"))
}

/// Calls of the statement in the last sample.
fn sampled(model: &Model) -> Option<f64> {
    let table = &feed(model, "statements").table;
    let is_it = |row: &usize| {
        let query = table.get(*row, "query").text().unwrap_or_default();
        query.starts_with("SELECT sum(amount) AS of_customer")
    };
    let row = (0..table.rows.len()).find(is_it)?;
    table.get(row, "total_calls").number()
}

fn statements(comparison: &Comparison) -> Vec<&Change> {
    let changes = comparison.changes.iter();
    changes
        .filter(|change| change.what == What::Statement)
        .collect()
}

fn near(figure: &Value, wanted: f64) -> bool {
    figure
        .number()
        .is_some_and(|figure| (figure - wanted).abs() < 1e-6 * wanted.abs())
}

/// The statement is on top, with these means.
fn assert_slowed(live: &Comparison, (fast, slow): (f64, f64)) {
    let top = &live.changes[0];
    assert_eq!(top.what, What::Statement, "{:?}", live.changes);
    let name = top.name.as_str();
    assert!(
        name.starts_with("SELECT sum(amount) AS of_customer"),
        "{top:?}"
    );
    assert!(
        near(&top.before, fast) && near(&top.after, slow),
        "{fast}, {slow}: {top:?}"
    );
    let (before, after) = top.work.unwrap();
    assert!(before.blocks_per_call.unwrap() < 60.0, "{before:?}");
    assert!(after.blocks_per_call.unwrap() > 1_000.0, "{after:?}");
    assert!(
        top.plan()
            .unwrap()
            .contains("for as many rows: probably another plan")
    );
    let made = live.made.iter();
    let gone: Vec<_> = made
        .map(|change| (change.what, change.name.as_str()))
        .collect();
    assert_eq!(gone, [(What::Index, "ordered_customer_idx of ordered")]);
    let mut notes = live.notes.iter();
    assert!(notes.any(|note| note.starts_with("statements: ") && note.ends_with(" after")));
}

/// An index dropped: the slowed statement is on top, with the figures of pg_stat_statements; so it is in a replay. After a
/// reset nothing is made up.
#[test]
fn a_dropped_index_is_seen_in_what_it_slowed() {
    block_on(async {
        let (database, admin) = ordered("compared").await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.htap");
        let all = ["statements", "indexes", "settings"];
        let mut headless = watch(&database.target(), &all);
        let file = std::fs::File::create(&path).unwrap();
        headless.record("a".into(), file, true);
        let client = database.connect().await;
        until(&mut headless, "all samples", |model| {
            let mut all = all.iter().chain(&["bloat", "database"]);
            all.all(|name| feed(model, name).sampling.at.is_some())
        })
        .await;
        assert_eq!(sampled(&headless.model), None);
        run(&client, 300).await;
        let (calls, ms) = by_hand(&admin).await;
        assert_eq!(Some(calls), Some(300.0));
        until(&mut headless, "the fast calls", |model| {
            sampled(model) == Some(300.0)
        })
        .await;
        let marked_ms = headless.model.now.mono_ms;
        let _ = headless.model.update(Event::KeyPressed(Key::Char('b')));
        assert_eq!(
            headless
                .model
                .baseline
                .as_ref()
                .map(|it| it.levels.indexes.is_some()),
            Some(true)
        );

        admin
            .batch("DROP INDEX ordered_customer_idx")
            .await
            .unwrap();
        run(&client, 100).await;
        let (calls_now, ms_now) = by_hand(&admin).await;
        until(
            &mut headless,
            "the slow calls, without the index",
            |model| {
                let told = model.comparison().filter(|_| sampled(model) == Some(400.0));
                told.is_some_and(|told| !told.made.is_empty() && !statements(&told).is_empty())
            },
        )
        .await;
        let live = headless.model.comparison().unwrap();
        assert_slowed(&live, (ms / calls, (ms_now - ms) / (calls_now - calls)));
        let seen_ms = headless.model.now.mono_ms;

        admin
            .batch("SELECT pg_stat_statements_reset(0, d.oid, 0) FROM pg_database AS d WHERE d.datname = current_database()")
            .await
            .unwrap();
        run(&client, 3).await;
        until(&mut headless, "the calls after the reset", |model| {
            sampled(model) == Some(3.0)
        })
        .await;
        let anew = headless.model.comparison().unwrap();
        assert_eq!(statements(&anew), Vec::<&Change>::new());
        let said = anew.notes.join("\n");
        assert!(said.contains("pg_stat_statements was reset"), "{said}");

        let _ = headless
            .go_on(std::time::Duration::ZERO, async {})
            .await
            .unwrap();
        headless.end().await;
        replayed(&path, marked_ms, seen_ms, &live);
    });
}

/// The same list in the replay of the recording, marked and looked at in the same moments.
fn replayed(path: &std::path::Path, marked_ms: u64, seen_ms: u64, live: &Comparison) {
    let start = Board::new(Config::default()).model.start;
    let recording = recording::read(&[path.to_owned()], (*start).clone()).unwrap();
    let mut past = recording.tape.at(marked_ms).unwrap();
    let effects = past.model.update(Event::KeyPressed(Key::Char('b')));
    drop(effects);
    past.advance(&recording.tape, seen_ms);
    let told = past.model.comparison().unwrap();
    let figures = |comparison: &Comparison| -> Vec<(String, [f64; 3])> {
        let changes = statements(comparison).into_iter();
        let figure = |figure: &Value| figure.number().unwrap_or(f64::NAN);
        // A figure in a recording may differ in its last bit.
        let round = |figure: f64| (figure * 1e9).round() / 1e9;
        let figures = changes.map(|change| {
            let weight = change.weight.unwrap();
            let figures = [figure(&change.before), figure(&change.after), weight];
            (change.name.to_string(), figures.map(round))
        });
        figures.collect()
    };
    assert!(!figures(live).is_empty());
    assert_eq!(figures(&told), figures(live));
    assert_eq!(told.made, live.made);
    // Before the mark there is nothing to compare.
    let baseline: Option<Arc<Baseline>> = past.model.baseline.clone();
    let mut earlier = recording.tape.at(0).unwrap().model;
    earlier.baseline = baseline;
    assert_eq!(earlier.comparison(), None);
}

/// The program's exit code, output and messages.
fn compare(program: &Program, arguments: &[&str]) -> (Option<i32>, String, String) {
    let all = [&["compare"], arguments].concat();
    let ended = program.command(&all).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        ended.status.code(),
        text(&ended.stdout),
        text(&ended.stderr),
    )
}

#[test]
fn two_recordings_are_compared() {
    block_on(async {
        let (database, admin) = ordered("recorded").await;
        let program = Program::new();
        let conninfo = database.conninfo("postgres");
        let client = database.connect().await;
        let mut files = Vec::new();
        for name in ["before.htap", "after.htap"] {
            if name == "after.htap" {
                let drop = "DROP INDEX ordered_customer_idx";
                admin.batch(drop).await.unwrap();
            }
            let file = program.path(name).to_str().unwrap().to_owned();
            let arguments = ["record", &file, &conninfo, "--duration", "8s"];
            let panels = ["--panel", "statements", "--panel", "indexes"];
            let mut recorder = program.command(&[&arguments[..], &panels].concat());
            let mut recorder = recorder.spawn().unwrap();
            while recorder.try_wait().unwrap().is_none() {
                run(&client, 10).await;
            }
            files.push(file);
        }
        assert_compared(&program, &files[0], &files[1]);
        assert_refused(&program, &files[0]);
    });
}

fn assert_compared(program: &Program, before: &str, after: &str) {
    let (code, json, said) = compare(program, &[before, after, "--format", "json"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{json}");
    let told: serde_json::Value = serde_json::from_str(&json).unwrap();
    let changes = told["changes"].as_array().unwrap();
    let top = &changes[0];
    assert_eq!(
        (&top["what"], &top["unit"]),
        (&"statement".into(), &"ms".into()),
        "{json}"
    );
    assert!(
        top["name"].as_str().unwrap().contains("of_customer"),
        "{json}"
    );
    assert!(top["factor"].as_f64().unwrap() > 5.0, "{json}");
    assert!(
        top["blocks_per_call_after"].as_f64().unwrap() > 1_000.0,
        "{json}"
    );
    let gone = changes
        .iter()
        .find(|change| change["what"] == "index")
        .unwrap();
    assert!(
        gone["after"].is_null() && gone["weight"].is_null(),
        "{gone}"
    );
    let (_, csv, _) = compare(program, &[before, after, "--format", "csv"]);
    assert!(
        csv.starts_with("what,name,unit,before,after,factor,weight,"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), changes.len() + 1);
    let (_, table, _) = compare(program, &[before, after]);
    let is_it = |line: &str| line.starts_with("statement ") && line.contains("of_customer");
    assert!(table.lines().any(is_it), "{table}");
    let (_, backwards, _) = compare(program, &[after, before]);
    assert!(backwards.contains("shown backwards"), "{backwards}");
}

fn assert_refused(program: &Program, before: &str) {
    let written = |name: &str, contents: &[u8]| {
        let path = program.path(name);
        std::fs::write(&path, contents).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (foreign, empty) = (written("foreign", b"PGDMP"), written("empty", b""));
    for (file, why, wanted) in [
        (foreign.as_str(), "it is not a recording of htap-top", 2),
        (empty.as_str(), "it ended before anything was recorded", 2),
        ("/nowhere", "cannot read it", 1),
    ] {
        let (code, out, said) = compare(program, &[before, file]);
        assert_eq!((code, out.as_str()), (Some(wanted), ""));
        assert!(said.contains(file) && said.contains(why), "{said}");
    }
}
