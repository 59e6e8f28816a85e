//! What a second of the dashboard costs, counted, not timed: the same on every machine, however busy. A figure that grows
//! by half fails; `UPDATE_COSTS=1 cargo test --test it cost` records new ones: do it if a
//! new thing is worth its cost, or after a change that saved some.

#[path = "../bench/server.rs"]
mod server;

use allocation_counter::measure;
use htap_top::dashboard::event::{Effect, Event, Request};
use htap_top::dashboard::terminal::Canvas;
use htap_top::dashboard::theme::Theme;
use htap_top::dashboard::timeline::Timeline;
use htap_top::dashboard::view;
use server::{Server, ticked};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// Columns and rows of the terminal.
const SIZE: (u16, u16) = (160, 48);
/// Seconds before the measured ones: every panel has been answered twice.
const BEFORE: u64 = 12;
/// Seconds that are measured: a minute of the past is kept as a whole.
const MEASURED: u64 = 60;
/// A figure may grow to this many times the recorded one.
const MOST: f64 = 1.5;
/// The recorded figures.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/cost.toml");

/// What is counted, per second.
type Figures = BTreeMap<&'static str, f64>;

/// A dashboard with its past and its screen, and the server that it watches.
struct Watching {
    server: Server,
    timeline: Timeline,
    canvas: Canvas,
    theme: Theme,
    figures: Figures,
    /// Memory in use now.
    kept: i64,
}

impl Watching {
    fn new(server: Server) -> Self {
        let mut canvas = Canvas::default();
        canvas.begin(SIZE.0, SIZE.1);
        let mut watching = Self {
            server,
            timeline: Timeline::live(Server::model(SIZE.0, SIZE.1)),
            canvas,
            theme: Theme::built_in("dark").unwrap(),
            figures: Figures::new(),
            kept: 0,
        };
        watching.tell(ticked(0), 0);
        for opened in Server::opened() {
            watching.tell(opened, 0);
        }
        watching
    }

    fn add(&mut self, what: &'static str, n: u64) {
        *self.figures.entry(what).or_default() += n as f64;
    }

    /// Tells the model an event, and then all that the server answers to what it asks because of it.
    fn tell(&mut self, event: Event, second: u64) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let mut effects = Vec::new();
            let counted = measure(|| effects = self.timeline.update(event));
            self.add("allocations of the model", counted.count_total);
            self.add("bytes allocated by the model", counted.bytes_total);
            self.kept += counted.bytes_current;
            for effect in effects {
                let Effect::Sample(requests) = effect else {
                    continue;
                };
                self.add("statements", requests.len() as u64);
                let (server, model) = (self.server, self.timeline.main());
                let answer = |asked: &Request| server.answer(model, asked.feed, second);
                let counted = measure(|| events.extend(requests.iter().filter_map(answer)));
                self.kept += counted.bytes_current;
            }
        }
    }

    fn draw(&mut self) {
        if !self.timeline.shown().dirty {
            return;
        }
        let Self {
            timeline,
            canvas,
            theme,
            ..
        } = self;
        let model = timeline.shown();
        let mut bytes = 0;
        let counted = measure(|| {
            bytes = canvas.draw(|buf| view::draw(model, theme, buf)).len();
        });
        self.timeline.shown_mut().dirty = false;
        self.add("frames", 1);
        self.add("allocations of drawing", counted.count_total);
        self.add("bytes to the terminal", bytes as u64);
    }

    /// Lets seconds pass, and returns what they cost on average.
    fn watch(&mut self, seconds: std::ops::Range<u64>) -> Figures {
        self.figures.clear();
        let before = self.kept;
        let count = seconds.end - seconds.start;
        for second in seconds {
            for quarter in 0..4 {
                self.tell(ticked(second * 1000 + quarter * 250), second);
                if quarter == 1 {
                    let timed = Event::CanaryTimed {
                        latencies_ms: (0..5).map(|n| 0.4 + 0.1 * f64::from(n)).collect(),
                        failed: 0,
                    };
                    self.tell(timed, second);
                }
                self.draw();
            }
        }
        let kept = u64::try_from(self.kept - before).unwrap_or(0);
        self.add("bytes kept of the past", kept);
        let mut figures = std::mem::take(&mut self.figures);
        for figure in figures.values_mut() {
            *figure = (*figure / count as f64).ceil();
        }
        figures
    }
}

/// Counts a minute of the Overview, and compares it with what is recorded.
fn check(name: &str, server: Server) {
    let mut watching = Watching::new(server);
    watching.watch(1..BEFORE);
    let figures = watching.watch(BEFORE..BEFORE + MEASURED);
    let recorded = fs::read_to_string(FILE).unwrap_or_default();
    let mut recorded: toml::Table = recorded.parse().unwrap();
    if std::env::var_os("UPDATE_COSTS").is_some() {
        let figures = figures.iter();
        let figures = figures.map(|(what, figure)| ((*what).to_owned(), (*figure).into()));
        recorded.insert(name.to_owned(), toml::Value::Table(figures.collect()));
        fs::write(FILE, recorded.to_string()).unwrap();
        return;
    }
    println!("{name}: {figures:#?}");
    let known = recorded.get(name).and_then(toml::Value::as_table);
    let known = known.unwrap_or_else(|| panic!("{FILE} has no [{name}]"));
    let mut grown = String::new();
    for (what, figure) in &figures {
        let before = known
            .get(*what)
            .and_then(toml::Value::as_float)
            .unwrap_or(0.0);
        if *figure > before * MOST {
            let _ = writeln!(grown, "{what}: {figure} a second, {before} recorded");
        }
    }
    assert!(
        grown.is_empty(),
        "the dashboard costs more with {name}:\n{grown}If that has to be: UPDATE_COSTS=1 cargo test --test it cost"
    );
}

/// The statement of sessions returns the 200 that matter most, that of tables the 200 with the most dead rows.
#[test]
fn a_second_of_the_overview() {
    for (name, sessions, tables) in [
        ("20 sessions", 20, 20),
        ("1,000 sessions", 200, 20),
        ("10,000 tables", 20, 200),
    ] {
        check(name, Server { sessions, tables });
    }
}
