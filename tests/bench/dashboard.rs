//! The cost of a tick and of a frame: `cargo bench`. A frame must take less than 5 ms, otherwise keys lag.
//!
//! Models are built from events, as in the program; reading from the server is left out.
#![expect(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "helpers of a benchmark"
)]

mod server;

use criterion::{BatchSize, Criterion};
use htap_top::dashboard::event::{Event, FeedId, Key};
use htap_top::dashboard::model::Model;
use htap_top::dashboard::theme::Theme;
use htap_top::dashboard::view::view;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use server::{Server, ticked};
use std::hint::black_box;

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
    let known = model.clone();
    let mut second = SECONDS;
    criterion.bench_function(&format!("update/tick_{backends}_backends"), |bencher| {
        bencher.iter_batched(
            || {
                second += 1;
                let answers = answers(&known, backends, second, &FAST);
                (ticked(second * 1000), answers)
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
    let mut model = Server::model(SIZE.0, SIZE.1);
    let feeds = model.feeds.iter();
    let all: Vec<String> = feeds.map(|feed| feed.spec.name.clone()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for second in 0..SECONDS {
        send(&mut model, ticked(second * 1000));
        if second == 0 {
            for opened in Server::opened() {
                send(&mut model, opened);
            }
            // The program's first queries: the server's facts and the existence of relations.
            for answer in answers(&model, backends, second, &["facts", "needs"]) {
                send(&mut model, answer);
            }
        }
        let wanted = if second == 0 { &all[..] } else { &FAST };
        for answer in answers(&model, backends, second, wanted) {
            send(&mut model, answer);
        }
    }
    model
}

/// The answers of the feeds of these names, in that order.
fn answers(model: &Model, backends: usize, second: u64, wanted: &[&str]) -> Vec<Event> {
    let server = Server {
        sessions: backends,
        tables: 20,
    };
    let id = |name: &&str| model.feeds.iter().position(|feed| feed.spec.name == **name);
    let answer = |name| server.answer(model, FeedId(id(name)? as u16), second);
    wanted.iter().filter_map(answer).collect()
}

fn send(model: &mut Model, event: Event) {
    black_box(model.update(event));
}
