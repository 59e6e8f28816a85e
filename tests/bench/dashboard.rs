//! The cost of a tick and of a frame: `cargo bench`. A frame must take less than 5 ms, otherwise keys lag.
//!
//! Models are built from events, as in the program; reading from the server is left out.
#![expect(clippy::unwrap_used, reason = "helpers of a benchmark")]

use criterion::{BatchSize, Criterion};
use htap_top::config::Config;
use htap_top::dashboard::event::{Event, Key, Moment, OwnCost};
use htap_top::dashboard::model::{Model, Start};
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::spec::Spec;
use htap_top::dashboard::theme::Theme;
use htap_top::dashboard::view::view;
use htap_top::format::Unit;
use htap_top::pg::sampler::{Report, SessionId};
use htap_top::pg::{Peer, Protection, Table, Value};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::hint::black_box;
use std::sync::Arc;

/// Columns and rows of the terminal.
const SIZE: (u16, u16) = (160, 48);

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, backends, full) in [
        ("overview_20_sessions", 20, false),
        ("overview_1000_sessions", 1_000, false),
        ("table_10000_rows", 10_000, true),
    ] {
        frame(&mut criterion, name, backends, full)?;
    }
    for backends in [20, 200] {
        tick(&mut criterion, backends);
    }
    criterion.final_summary();
    Ok(())
}

/// Draws the same model repeatedly, each time as if something had changed.
fn frame(criterion: &mut Criterion, name: &str, backends: usize, full: bool) -> Outcome {
    let mut model = dashboard(backends);
    if full {
        send(&mut model, Event::KeyPressed(Key::Char('8')));
    }
    let theme = Theme::built_in("dark")?;
    let mut terminal = Terminal::new(TestBackend::new(SIZE.0, SIZE.1))?;
    criterion.bench_function(&format!("frame/{name}"), |bencher| {
        bencher.iter(|| {
            let drawn = terminal.draw(|frame| view(&model, &theme, frame));
            drawn.map(|drawn| drawn.count).ok()
        });
    });
    Ok(())
}

/// A tick of the clock and all answers of the fast session that follow.
fn tick(criterion: &mut Criterion, backends: usize) {
    let mut model = dashboard(backends);
    let specs = panels::built_in().unwrap();
    let mut second = SECONDS;
    criterion.bench_function(&format!("update/tick_{backends}_backends"), |bencher| {
        bencher.iter_batched(
            || {
                second += 1;
                (ticked(second), answers(specs, backends, second, &FAST))
            },
            |(ticked, answers)| {
                let mut effects = model.update(ticked).len();
                for answer in answers {
                    effects += model.update(answer).len();
                }
                black_box(effects)
            },
            BatchSize::SmallInput,
        );
    });
}

/// Seconds for which the model has watched the server.
const SECONDS: u64 = 30;
/// Feeds of the fast session.
const FAST: [&str; 4] = ["database", "sessions", "activity", "snapshots"];

/// A dashboard that has watched a server with this many backends for half a minute.
fn dashboard(backends: usize) -> Model {
    let mut model = Model::new(Start {
        config: Config::default(),
        built_in: panels::built_in().unwrap(),
        own_panels: Vec::new(),
        complaints: Vec::new(),
        utc_offset_s: 0,
        themes: vec!["dark".into()],
        target: "shop @ primary:5432".into(),
        olap_target: None,
        olap_server: None,
        pooler: None,
        own_roles: vec!["htap_monitor".into()],
        demo: false,
        server: None,
    });
    send(
        &mut model,
        Event::Resized {
            width: SIZE.0,
            height: SIZE.1,
        },
    );
    let specs = panels::built_in().unwrap();
    let all: Vec<&str> = specs.iter().map(|spec| spec.name.as_str()).collect();
    for second in 0..SECONDS {
        send(&mut model, ticked(second));
        if second == 0 {
            for session in [SessionId::Fast, SessionId::Slow, SessionId::Olap(0)] {
                let peer = Peer {
                    host: "primary".into(),
                    port: 5432,
                    protection: Protection::Verified,
                    pooled: false,
                };
                send(
                    &mut model,
                    Event::Reported(Report::Opened { session, peer }),
                );
            }
            // The program's first queries: the server's facts and the existence of relations.
            for answer in answers(specs, backends, second, &["facts", "needs"]) {
                send(&mut model, answer);
            }
        }
        for answer in answers(
            specs,
            backends,
            second,
            if second == 0 { &all } else { &FAST },
        ) {
            send(&mut model, answer);
        }
    }
    model
}

fn send(model: &mut Model, event: Event) {
    black_box(model.update(event));
}

fn ticked(second: u64) -> Event {
    let now = Moment {
        mono_ms: second * 1000,
        epoch_ms: 1_790_000_000_000 + second as i64 * 1000,
    };
    Event::Ticked {
        now,
        cost: OwnCost {
            cpu_ms: second as f64,
        },
    }
}

/// The answers of the `wanted` feeds, in that order; a feed's number is its position in `specs`.
fn answers(specs: &[Arc<Spec>], backends: usize, second: u64, wanted: &[&str]) -> Vec<Event> {
    let answer = |name: &&str| {
        let id = specs.iter().position(|spec| spec.name == **name)?;
        let outcome = Ok(sample(specs.get(id)?, backends, second));
        Some(Event::Reported(Report::Answered {
            id: id as u16,
            took_ms: 0.4,
            outcome,
        }))
    };
    wanted.iter().filter_map(answer).collect()
}

/// Rows with the columns described in the panel's file, filled according to their units.
fn sample(spec: &Spec, backends: usize, second: u64) -> Table {
    let columns = &spec.front.columns;
    let rows = match spec.name.as_str() {
        "activity" => backends,
        "database" | "facts" => 1,
        "needs" => 0,
        "hourly_sales" => 25,
        _ => 20,
    };
    let cells = |row: usize| {
        columns
            .iter()
            .map(|(column, spec)| cell(column, spec.unit, row, second))
            .collect()
    };
    let rows = (0..rows).map(cells).collect();
    Table {
        columns: columns.keys().map(|name| name.as_str().into()).collect(),
        rows,
    }
}

fn cell(column: &str, unit: Unit, row: usize, second: u64) -> Value {
    let at = 1_790_000_000 + second as i64;
    let number = row as i64;
    match (column, unit) {
        ("pid", _) => Value::Int(10_000 + number),
        ("server_version_num", _) => Value::Int(170_002),
        ("usename" | "role", _) => ["app", "reports", "refresh"]
            .get(row % 3)
            .copied()
            .unwrap_or("app")
            .into(),
        ("application_name", _) => ["checkout", "metabase", "htap-refresh"]
            .get(row % 3)
            .copied()
            .unwrap_or("")
            .into(),
        ("state", _) => ["active", "idle in transaction", "active"]
            .get(row % 3)
            .copied()
            .unwrap_or("active")
            .into(),
        ("backend_type", _) => "client backend".into(),
        ("wait_event_type", _) => {
            if row.is_multiple_of(4) {
                "Lock".into()
            } else {
                Value::Null
            }
        }
        ("wait_event", _) => {
            if row.is_multiple_of(4) {
                "transactionid".into()
            } else {
                Value::Null
            }
        }
        // One in four waits, fifty at a time for the same backend.
        ("blocked_by", _) if row.is_multiple_of(4) && row > 0 => {
            format!("{}", 10_000 + (row / 200) * 200).as_str().into()
        }
        ("blocked_by" | "leader_pid" | "pgss_schema", _) => Value::Null,
        ("query", _) => {
            let text = format!(
                "UPDATE shop.inventory SET quantity = quantity - $1 WHERE product_id = {number} RETURNING quantity"
            );
            text.as_str().into()
        }
        ("kind", _) => "backend".into(),
        ("xmax", _) => Value::Int(1_000_000 + second as i64 * 150),
        ("now_epoch", _) => Value::Float(at as f64),
        (_, Unit::Count) => Value::Int(number * 37 + second as i64 * 150),
        (_, Unit::Bytes) => Value::Int(number * 8192),
        (_, Unit::Seconds | Unit::Ms | Unit::Percent | Unit::PerSecond) => {
            Value::Float(row as f64 % 90.0 + 0.25)
        }
        (_, Unit::Money) => Value::Decimal("1234.50".into(), 1234.5 + row as f64),
        (_, Unit::Time | Unit::Hour) => Value::Float((at - 3600 * number) as f64),
        (_, Unit::Flag) => Value::Bool(row.is_multiple_of(5)),
        (_, Unit::Plain) => format!("{column} {number}").as_str().into(),
    }
}
