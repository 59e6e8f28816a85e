//! After any events in any order the model is consistent and can be drawn at any size.

use crate::it::board::{Board, activity, facts, table, trouble, views};
use htap_top::config::Config;
use htap_top::dashboard::action::{ActionId, Outcome};
use htap_top::dashboard::event::{Event, Key, Mouse};
use htap_top::pg::admin::Verdict;
use htap_top::pg::sampler::SessionId;
use htap_top::pg::{Class, PgError, Table, Value};
use proptest::prelude::*;

/// One step of a test.
#[derive(Clone, Debug)]
enum Step {
    Tick(u64),
    Key(Key),
    Paste(String),
    Mouse(Mouse, u16, u16),
    Resize(u16, u16),
    Open(SessionId),
    Lose(SessionId, u32),
    /// An answer to the feed with this number (modulo the number of feeds), if it was queried.
    Answer(usize, Answer),
    Canary(Vec<f64>, u32),
    End(u32, u8),
    Background(bool),
    Resume,
}

#[derive(Clone, Debug)]
enum Answer {
    Facts,
    Activity(usize),
    Views,
    Nonsense(Vec<Vec<Value>>),
    Error(Class),
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        8 => prop::sample::select("0123456789jkgGhl<>ITrRCKXyn/ +-tMLc?q(!s.,".chars().collect::<Vec<_>>()).prop_map(Key::Char),
        4 => prop::sample::select(vec![
            Key::Enter, Key::Esc, Key::Tab, Key::BackTab, Key::Up, Key::Down, Key::Left, Key::Right, Key::PageUp,
            Key::PageDown, Key::F(1), Key::Home, Key::End, Key::Backspace, Key::Ctrl('u'), Key::Ctrl('d'), Key::Ctrl('z'),
        ]),
        1 => any::<char>().prop_map(Key::Char),
    ]
}

fn session() -> impl Strategy<Value = SessionId> {
    prop::sample::select(vec![
        SessionId::Fast,
        SessionId::Slow,
        SessionId::Olap(0),
        SessionId::Olap(2),
        SessionId::Canary,
        SessionId::Replica,
        SessionId::StandIn,
    ])
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        Just(Value::Unavailable),
        Just(Value::Pending),
        any::<bool>().prop_map(Value::Bool),
        // No counter of a server comes close to the limits of 64 bits.
        (-(1_i64 << 50)..1 << 50).prop_map(Value::Int),
        any::<f64>().prop_map(|double| Value::Float(if double.is_finite() {
            double % 1e15
        } else {
            double
        })),
        Just(Value::Decimal("NaN".into(), f64::NAN)),
        "\\PC{0,40}".prop_map(|text| Value::from(text.as_str())),
        prop::sample::select(vec![
            "active",
            "olap",
            "812",
            "1,2",
            "e\u{301}\u{301}",
            "日本語",
            "👩‍👩‍👧",
            "\u{202e}x\u{1b}[31m"
        ])
        .prop_map(Value::from),
    ]
}

fn answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        2 => Just(Answer::Facts),
        4 => (0..400_usize).prop_map(Answer::Activity),
        3 => Just(Answer::Views),
        3 => prop::collection::vec(prop::collection::vec(value(), 24), 0..6).prop_map(Answer::Nonsense),
        1 => prop::sample::select(vec![Class::Reconnect, Class::BackOff, Class::Statement, Class::Timeout, Class::Configuration])
            .prop_map(Answer::Error),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..20_000_u64).prop_map(Step::Tick),
        10 => key().prop_map(Step::Key),
        1 => "\\PC{0,20}".prop_map(Step::Paste),
        2 => (prop::sample::select(vec![Mouse::Click, Mouse::ScrollDown, Mouse::ScrollUp]), 0..310_u16, 0..110_u16)
            .prop_map(|(mouse, x, y)| Step::Mouse(mouse, x, y)),
        2 => (1..=300_u16, 1..=100_u16).prop_map(|(width, height)| Step::Resize(width, height)),
        2 => session().prop_map(Step::Open),
        1 => (session(), 0..9_u32).prop_map(|(session, attempt)| Step::Lose(session, attempt)),
        8 => (0..40_usize, answer()).prop_map(|(feed, answer)| Step::Answer(feed, answer)),
        1 => (prop::collection::vec(any::<f64>(), 0..6), 0..6_u32).prop_map(|(ms, failed)| Step::Canary(ms, failed)),
        1 => (0..6_u32, 0..4_u8).prop_map(|(id, how)| Step::End(id, how)),
        1 => any::<bool>().prop_map(Step::Background),
        1 => Just(Step::Resume),
    ]
}

/// Sessions 1 to `n`, each waiting for the previous one.
fn queue(n: usize) -> Table {
    let rows: Vec<String> = (1..=n)
        .map(|pid| {
            let before = if pid > 1 { format!("'{}", pid - 1) } else { String::new() };
            format!(
                "{pid}|d|app|a|client backend|active|Lock|tuple|{pid}.5|{pid}.5|{pid}||{before}|1.5|SELECT {pid}|\
                 2026-01-01 00:00:00+00|2026-01-01 00:00:01+00|2026-01-01 00:00:02+00|false"
            )
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    if n == 5 { trouble() } else { activity(&rows) }
}

#[expect(clippy::too_many_lines, reason = "one arm for each kind of step")]
fn apply(board: &mut Board, step: Step) {
    let event = match step {
        Step::Tick(ms) => {
            let _ = board.tick(ms);
            return;
        }
        Step::Open(session) => {
            let _ = board.open(session);
            return;
        }
        Step::Lose(session, attempt) => {
            let _ = board.lose(session, attempt);
            return;
        }
        Step::Answer(feed, answer) => {
            let Some(feed) = board.model.feeds.iter().cycle().nth(feed) else {
                return;
            };
            if feed.sampling.in_flight.is_none() {
                return;
            }
            let columns: Vec<String> = feed.spec.front.columns.keys().cloned().collect();
            let name = feed.spec.name.clone();
            let outcome = match answer {
                Answer::Error(class) => Err(PgError::new(class, "no \u{1b}[2J way")),
                Answer::Facts if name == "facts" => Ok(facts()),
                Answer::Activity(n) if name == "activity" => Ok(queue(n)),
                Answer::Views if name == "views" => Ok(views()),
                Answer::Nonsense(rows) => {
                    let cells =
                        |row: Vec<Value>| row.into_iter().cycle().take(columns.len()).collect();
                    let names: Vec<Box<str>> =
                        columns.iter().map(|name| name.as_str().into()).collect();
                    Ok(Table {
                        columns: names.into(),
                        rows: rows.into_iter().map(cells).collect(),
                    })
                }
                _ => Ok(table(
                    "name|found",
                    &[
                        "shop.products|true",
                        "mart.sales_hourly|true",
                        "mart.fact_sales|false",
                    ],
                )),
            };
            let _ = board.outcome(&name, outcome);
            return;
        }
        Step::Key(key) => Event::KeyPressed(key),
        Step::Paste(text) => Event::Pasted(text),
        Step::Mouse(action, x, y) => Event::MouseUsed { action, x, y },
        Step::Resize(width, height) => Event::Resized { width, height },
        Step::Canary(latencies_ms, failed) => Event::CanaryTimed {
            latencies_ms,
            failed,
        },
        Step::End(id, how) => {
            let outcome = match how {
                0 => Outcome::Refreshed(12.0),
                1 => Outcome::Cancelled,
                2 => Outcome::Signalled(vec![Verdict::Gone, Verdict::Changed]),
                _ => Outcome::Failed(PgError::new(Class::Statement, "x")),
            };
            Event::ActionEnded {
                id: ActionId(id),
                outcome,
            }
        }
        Step::Background(behind) => Event::Background(behind),
        Step::Resume => Event::Resumed,
    };
    let _ = board.event(event);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_leave_a_sound_model_that_can_be_drawn(
        live in any::<bool>(),
        steps in prop::collection::vec(step(), 1..60),
        size in (1..=300_u16, 1..=100_u16),
    ) {
        let mut board = if live { Board::live(Config::default()) } else { Board::new(Config::default()) };
        for step in steps {
            let told = format!("{step:?}");
            apply(&mut board, step);
            prop_assert_eq!(board.faults(), Vec::<String>::new(), "after {}", told);
        }
        let drawn = board.screen(size.0, size.1);
        prop_assert_eq!(drawn.lines().count(), usize::from(size.1));
        for (width, height) in [(1, 1), (60, 15), (80, 24), (120, 40)] {
            let drawn = board.screen(width, height);
            let unsafe_ones = drawn.matches(['\u{1b}', '\u{202e}']).count();
            prop_assert_eq!(unsafe_ones, 0);
        }
    }
}

/// A check that cannot fail checks nothing.
#[test]
fn faults_are_found() {
    let mut board = Board::live(Config::default());
    let _ = board.answer("activity", trouble());
    assert_eq!(board.faults(), Vec::<String>::new());
    let position = board
        .model
        .feeds
        .iter()
        .position(|feed| feed.spec.name == "activity")
        .unwrap_or(0);
    board.model.feeds[position].cursor.selected = 5;
    assert_eq!(board.faults(), ["activity: row 5 of 5 is selected"]);
    board.model.feeds[position].cursor.selected = 0;
    board.model.feeds[position].sampling.due_ms = 0;
    board.model.feeds[position].sampling.in_flight = None;
    let _ = board.tick(0);
    board.model.feeds[position].sampling.due_ms = 0;
    board.model.feeds[position].sampling.in_flight = None;
    let _ = board.tick(0);
    assert_eq!(board.faults(), ["activity was asked twice"]);
}
