//! Stepping through the last hour: what is shown is what was shown, and the present goes on meanwhile.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::board::{activity, facts, table, trouble};
use htap_top::config::Config;
use htap_top::dashboard::event::{Effect, Event, Key, Moment, OwnCost};
use htap_top::dashboard::model::{Model, Screen, Start};
use htap_top::dashboard::tape::{HOUR_MS, Tape};
use htap_top::dashboard::theatre::Theatre;
use htap_top::dashboard::theme::Theme;
use htap_top::dashboard::view::view;
use htap_top::pg::sampler::{Report, SessionId};
use htap_top::pg::{Class, Peer, PgError, Protection, Table, Value};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

fn model() -> Model {
    Model::new(Start {
        config: Config::default(),
        own_panels: Vec::new(),
        own_roles: vec!["monitor".into()],
        complaints: Vec::new(),
        utc_offset_s: 0,
        themes: Theme::names().map(str::to_owned).collect(),
        target: "shop @ primary:5432".into(),
        olap_target: None,
        demo: false,
    })
}

fn ticked(mono_ms: u64) -> Event {
    let now = Moment {
        mono_ms,
        epoch_ms: 1_767_323_045_000 + mono_ms as i64,
    };
    Event::Ticked {
        now,
        cost: OwnCost::default(),
    }
}

fn answered(model: &Model, feed: &str, outcome: Table) -> Event {
    Event::Reported(Report::Answered {
        id: model.feed_named(feed).unwrap().0,
        took_ms: 1.0,
        outcome: Ok(outcome),
    })
}

/// What happens in one second: a lock queue from second 100 to 110, and from 200 on.
fn second(model: &Model, at: u64) -> Vec<Event> {
    let queue = (100..110).contains(&at) || at >= 200;
    let backends = if queue { trouble() } else { activity(&[]) };
    let counters = table(
        "now_epoch|xmax|xact_commit|xact_rollback|blks_hit",
        &[&format!(
            "{at}.0|{}|{}|0|7",
            100 + at,
            1000 + at * (10 + at % 3)
        )],
    );
    vec![
        ticked(at * 1000),
        answered(model, "database", counters),
        answered(model, "activity", backends),
        Event::CanaryTimed {
            latencies_ms: vec![if queue { 90.0 } else { 2.0 + (at % 5) as f64 }; 5],
            failed: 0,
        },
    ]
}

fn opened() -> Vec<Event> {
    let open = |session| {
        Event::Reported(Report::Opened {
            session,
            peer: Peer {
                host: "primary".into(),
                port: 5432,
                protection: Protection::Local,
                pooled: false,
            },
        })
    };
    [SessionId::Fast, SessionId::Slow].map(open).to_vec()
}

fn screen(model: &Model) -> String {
    let theme = Theme::built_in("dark").unwrap();
    let mut terminal = Terminal::new(TestBackend::new(120, 40)).unwrap();
    terminal.draw(|frame| view(model, &theme, frame)).unwrap();
    let cells = terminal.backend().buffer().content.iter();
    cells.map(ratatui::buffer::Cell::symbol).collect()
}

/// The screen without the word that says live or past, and without the keys, of which some act on now alone.
fn body(model: &Model) -> String {
    screen(model).chars().skip(120).take(38 * 120).collect()
}

struct Watched {
    theatre: Theatre,
    /// What was on the screen at the end of each second.
    shown: Vec<String>,
}

fn watched(seconds: u64) -> Watched {
    let mut theatre = Theatre::live(model());
    let _ = theatre.update(Event::Resized {
        width: 120,
        height: 40,
    });
    let _ = theatre.update(ticked(0));
    for event in opened() {
        let _ = theatre.update(event);
    }
    let told = answered(theatre.shown(), "facts", facts());
    let _ = theatre.update(told);
    let mut shown = Vec::new();
    for at in 0..seconds {
        for event in second(theatre.shown(), at) {
            let _ = theatre.update(event);
        }
        shown.push(body(theatre.shown()));
    }
    Watched { theatre, shown }
}

fn go_on(theatre: &mut Theatre, seconds: std::ops::Range<u64>) {
    for at in seconds {
        for event in second(theatre.shown(), at) {
            let _ = theatre.update(event);
        }
    }
}

fn key(theatre: &mut Theatre, key: char) -> Vec<Effect> {
    theatre.update(Event::KeyPressed(Key::Char(key)))
}

/// The second of the model's time that is shown.
fn at(theatre: &Theatre) -> u64 {
    theatre.shown().now.mono_ms / 1000
}

#[test]
fn every_second_of_the_past_is_shown_as_it_was() {
    let Watched { mut theatre, shown } = watched(130);
    assert!(theatre.shown().then.is_none());
    for back in 1..=129_usize {
        assert_eq!(key(&mut theatre, 'h'), Vec::new());
        let second = 129 - back;
        assert_eq!(at(&theatre), second as u64);
        assert_eq!(body(theatre.shown()), shown[second], "second {second}");
    }
    // Forward again, and beyond the newest it is now.
    for (second, then) in shown.iter().enumerate().skip(1) {
        let _ = key(&mut theatre, 'l');
        assert_eq!(&body(theatre.shown()), then, "second {second}");
    }
    assert!(theatre.shown().then.is_some());
    let _ = key(&mut theatre, 'l');
    assert!(theatre.shown().then.is_none());
}

#[test]
fn the_present_goes_on_behind_the_past() {
    let Watched { mut theatre, .. } = watched(90);
    for _ in 0..30 {
        let _ = key(&mut theatre, 'h');
    }
    assert_eq!(at(&theatre), 59);
    let header = screen(theatre.shown());
    assert!(header.contains("PAST -30s held"), "{header}");
    go_on(&mut theatre, 90..100);
    assert_eq!(at(&theatre), 59, "it is held");
    let header = screen(theatre.shown());
    assert!(header.contains("PAST -40s held"), "{header}");
    // Nothing can be done to what may be gone.
    let _ = key(&mut theatre, 'C');
    let said = theatre.shown().last_log().unwrap().text.to_string();
    assert!(said.contains("this is the past"), "{said}");
    // Let it play at twice the speed.
    let _ = key(&mut theatre, ' ');
    let _ = key(&mut theatre, '+');
    go_on(&mut theatre, 100..110);
    assert_eq!(at(&theatre), 79, "ten seconds at twice the speed");
    let _ = theatre.update(Event::KeyPressed(Key::Esc));
    assert_eq!((at(&theatre), theatre.shown().then.is_none()), (109, true));
    assert_eq!(theatre.shown().rows("activity").rows.len(), 5);
}

#[test]
fn troubles_are_found_by_jumping() {
    let Watched { mut theatre, .. } = watched(250);
    let _ = key(&mut theatre, 'N');
    assert_eq!(at(&theatre), 200);
    assert!(theatre.shown().cause.sentence.contains("pid 812"));
    let _ = key(&mut theatre, 'N');
    assert_eq!(at(&theatre), 100);
    assert_eq!(theatre.shown().cause.rule, "lock_queue");
    let _ = key(&mut theatre, 'N');
    assert_eq!(at(&theatre), 100);
    let said = theatre.shown().last_log().unwrap().text.to_string();
    assert_eq!(said, "no trouble before this moment");
    let _ = key(&mut theatre, 'n');
    assert_eq!(at(&theatre), 200);
}

/// What the user looks at stays open from one moment to the next.
#[test]
fn the_page_stays_while_time_is_stepped() {
    let Watched { mut theatre, .. } = watched(250);
    for pressed in ['8', '/', 'c', 'h', 'e'] {
        let _ = key(&mut theatre, pressed);
    }
    let _ = theatre.update(Event::KeyPressed(Key::Enter));
    let _ = key(&mut theatre, 'h');
    let feed = |theatre: &Theatre| theatre.shown().feed_named("activity").unwrap();
    let rows = |theatre: &Theatre| {
        let model = theatre.shown();
        let feed = model.feed(feed(theatre)).unwrap();
        feed.cursor.order.len()
    };
    assert_eq!(rows(&theatre), 3, "the filter holds");
    assert!(screen(theatre.shown()).contains("PAST"));
}

/// Nobody presses keys for what is there a moment later.
#[test]
fn what_is_being_typed_stays_when_now_is_reached() {
    let Watched { mut theatre, .. } = watched(90);
    for pressed in ['8', 'h', 'h', ' ', '/', 'c', 'h'] {
        let _ = key(&mut theatre, pressed);
    }
    go_on(&mut theatre, 90..91);
    assert!(theatre.shown().then.is_some());
    // Twice as fast as time passes: it comes to now.
    let _ = theatre.update(Event::KeyPressed(Key::Enter));
    for pressed in ['+', '+', '/', 'e'] {
        let _ = key(&mut theatre, pressed);
    }
    go_on(&mut theatre, 91..100);
    let shown = theatre.shown();
    assert!(shown.then.is_none());
    let typed = shown.prompt.as_ref().map(|(typed, _)| typed.as_str());
    assert!(typed.is_some_and(|typed| typed.ends_with('e')), "{typed:?}");
    let queries = shown.feed_named("activity").unwrap();
    assert_eq!(shown.screen, Screen::Full(queries));
}

#[test]
fn a_server_that_is_away_is_a_trouble() {
    let Watched { mut theatre, .. } = watched(20);
    let lost = |attempt| {
        Event::Reported(Report::Lost {
            session: SessionId::Fast,
            error: PgError::new(Class::Reconnect, "connection refused"),
            attempt,
            retry_in_ms: Some(400),
        })
    };
    for second in 20..30 {
        let _ = theatre.update(lost(second as u32 - 19));
        let _ = theatre.update(ticked(second * 1_000));
    }
    let troubles: Vec<_> = theatre.tape().troubles().collect();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    let told = &troubles[0].sentence;
    assert_eq!(told, "cannot reach the server: connection refused");
}

#[test]
fn an_hour_is_kept_and_no_more() {
    let mut live = model();
    let mut tape = Tape::new(HOUR_MS);
    let _ = tape.tell(&mut live, ticked(0));
    for at in 0..5_000 {
        for event in second(&live, at) {
            let _ = tape.tell(&mut live, event);
        }
    }
    let (first, last) = tape.ends().unwrap();
    let kept_s = last.since(first);
    assert!((3_600.0..3_600.0 + 121.0).contains(&kept_s), "{kept_s} s");
    assert!(tape.at(0).unwrap().model.now.mono_ms <= first.mono_ms + 1_000);
    // Beside the model of each minute: the hour's events.
    assert!(tape.bytes() < 2_000_000, "{} bytes", tape.bytes());
}

/// What is derived from the sample before is so in each second, also in the first of a minute.
#[test]
fn rates_and_ages_of_every_second_are_those_that_were_shown() {
    let mut live = model();
    let mut tape = Tape::new(HOUR_MS);
    let mut shown = Vec::new();
    for at in 0..150 {
        let written = |relid: u64| 1_000 * relid + at * at * relid;
        let tables = table(
            "now_epoch|relid|table|n_tup_ins",
            &[
                &format!("{at}.0|7|orders|{}", written(7)),
                &format!("{at}.0|9|order_items|{}", written(9)),
            ],
        );
        let views = table(
            "now_epoch|relid|view|xmin",
            &[&format!("{at}.0|11|daily|{}", 500 + at / 20)],
        );
        for event in [
            ticked(at * 1_000),
            answered(&live, "tables", tables),
            answered(&live, "views", views),
        ] {
            let _ = tape.tell(&mut live, event);
        }
        shown.push([live.rows("tables").clone(), live.rows("views").clone()]);
    }
    let inserts = |at: usize| shown[at][0].get(1, "n_tup_ins").number();
    assert_eq!((inserts(0), inserts(149)), (None, Some(9.0 * 297.0)));
    for (at, then) in shown.iter().enumerate() {
        let past = tape.at(at as u64 * 1_000).unwrap();
        let rows = |name| past.model.rows(name).clone();
        assert_eq!(&[rows("tables"), rows("views")], then, "second {at}");
    }
}

/// A figure that JSON has no number for comes back as it was.
#[test]
fn what_is_no_number_is_kept_too() {
    let mut live = model();
    let mut tape = Tape::new(HOUR_MS);
    let _ = tape.tell(&mut live, ticked(0));
    let strange = Table {
        columns: ["n_dead".into(), "text".into()].into(),
        rows: vec![
            vec![Value::Float(f64::NAN), "a\nb\u{1b}[31m".into()],
            vec![Value::Float(f64::INFINITY), Value::Pending],
            vec![Value::Decimal("NaN".into(), f64::NAN), Value::Unavailable],
        ],
    };
    let told = answered(&live, "stock_alerts", strange);
    let _ = tape.tell(&mut live, told);
    let _ = tape.tell(&mut live, ticked(1000));
    let then = tape.at(1000).unwrap().model;
    assert_eq!(
        format!("{:?}", then.rows("stock_alerts")),
        format!("{:?}", live.rows("stock_alerts"))
    );
    assert_eq!(then.rows("stock_alerts").rows.len(), 3);
}
