//! Stepping through the last hour: a past moment looks as it did then, and the live model is updated
//! meanwhile.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::board::{activity, facts, table, trouble};
use htap_top::config::{Config, PanelConfig};
use htap_top::dashboard::event::{Effect, Event, Key, Moment, OwnCost};
use htap_top::dashboard::model::{Model, Screen, Start};
use htap_top::dashboard::panels;
use htap_top::dashboard::rows::Panel;
use htap_top::dashboard::tape::{HOUR_MS, Tape};
use htap_top::dashboard::theme::Theme;
use htap_top::dashboard::timeline::Timeline;
use htap_top::dashboard::view::view;
use htap_top::pg::sampler::{Report, SessionId};
use htap_top::pg::{Class, Peer, PgError, Protection, Table, Value};
use ratatui::Terminal;
use ratatui::backend::TestBackend;

/// Without the timeline, which shows what came after a moment, too.
fn model() -> Model {
    let mut config = Config::default();
    let off = PanelConfig {
        off: true,
        ..PanelConfig::default()
    };
    config.panels.insert("timeline".into(), off);
    of(config)
}

fn of(config: Config) -> Model {
    Model::new(Start {
        config,
        built_in: panels::built_in().unwrap(),
        own_panels: Vec::new(),
        own_roles: vec!["monitor".into()],
        complaints: Vec::new(),
        utc_offset_s: 0,
        themes: Theme::names().map(str::to_owned).collect(),
        target: "shop @ primary:5432".into(),
        olap_target: None,
        olap_server: None,
        pooler: None,
        columnar: None,
        demo: false,
        server: None,
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

/// The events of one second: a lock queue from second 100 to 110, and from 200 on.
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

/// The screen without the word for live or past, and without the keys, some of which only act live.
fn body(model: &Model) -> String {
    screen(model).chars().skip(120).take(38 * 120).collect()
}

struct Watched {
    timeline: Timeline,
    /// The screen at the end of each second.
    shown: Vec<String>,
}

fn watched(seconds: u64) -> Watched {
    watched_by(model(), seconds)
}

fn watched_by(model: Model, seconds: u64) -> Watched {
    let mut timeline = Timeline::live(model);
    let _ = timeline.update(Event::Resized {
        width: 120,
        height: 40,
    });
    let _ = timeline.update(ticked(0));
    for event in opened() {
        let _ = timeline.update(event);
    }
    let told = answered(timeline.shown(), "facts", facts());
    let _ = timeline.update(told);
    let mut shown = Vec::new();
    for at in 0..seconds {
        for event in second(timeline.shown(), at) {
            let _ = timeline.update(event);
        }
        shown.push(body(timeline.shown()));
    }
    Watched { timeline, shown }
}

fn go_on(timeline: &mut Timeline, seconds: std::ops::Range<u64>) {
    for at in seconds {
        for event in second(timeline.shown(), at) {
            let _ = timeline.update(event);
        }
    }
}

fn key(timeline: &mut Timeline, key: char) -> Vec<Effect> {
    timeline.update(Event::KeyPressed(Key::Char(key)))
}

/// The second of the model's time that is shown.
fn at(timeline: &Timeline) -> u64 {
    timeline.shown().now.mono_ms / 1000
}

/// The past of a server that was in the background for a while says so, and shows that time as it was.
#[test]
fn time_in_the_background_is_marked_and_shown_as_it_was() {
    let Watched { mut timeline, .. } = watched(70);
    assert_ne!(timeline.update(Event::Background(true)), Vec::new());
    let mut behind = Vec::new();
    for at in 70..100 {
        // Every fifth second is sampled.
        let events = second(timeline.shown(), at);
        for event in events.into_iter().take(if at % 5 == 0 { 4 } else { 1 }) {
            let _ = timeline.update(event);
        }
        behind.push(body(timeline.shown()));
    }
    let _ = timeline.update(Event::Background(false));
    go_on(&mut timeline, 100..110);
    for _ in 0..42 {
        let _ = key(&mut timeline, 'h');
        let second = at(&timeline);
        // It was put there at the end of second 69, and shown again at the end of second 99.
        let behind_then = (69..99).contains(&second);
        assert_eq!(timeline.shown().is_in_background(), behind_then, "{second}");
        let marked = screen(timeline.shown()).contains("held, in the background");
        assert_eq!(marked, behind_then, "{second}");
        if let Some(then) = (second as usize).checked_sub(70).filter(|_| behind_then) {
            let then = &behind[then];
            assert_eq!(&body(timeline.shown()), then, "second {second}");
        }
    }
    // The live model goes on in the background while the past is shown.
    assert!(!timeline.main().is_in_background());
    let _ = timeline.update(Event::Background(true));
    assert!(timeline.main().is_in_background() && timeline.shown().playback.is_some());
}

/// The timeline begins with the span that it can fill, grows by itself, and keeps what somebody chooses.
#[test]
fn the_timeline_shows_the_span_that_it_can_fill() {
    let Watched { mut timeline, .. } = watched_by(of(Config::default()), 110);
    let span = |timeline: &Timeline| {
        let screen = screen(timeline.shown());
        let (_, title) = screen.split_once("Timeline · ").unwrap();
        title.split(' ').next().unwrap_or_default().to_owned()
    };
    let _ = key(&mut timeline, 'H');
    assert_eq!(span(&timeline), "2");
    go_on(&mut timeline, 110..130);
    assert_eq!(span(&timeline), "5");
    // The past has the same axis.
    let _ = key(&mut timeline, '[');
    assert_eq!((at(&timeline), span(&timeline).as_str()), (69, "5"));
    for chosen in ["15", "60", "2"] {
        let _ = key(&mut timeline, 'z');
        assert_eq!(span(&timeline), chosen);
    }
    let _ = key(&mut timeline, ']');
    let _ = key(&mut timeline, ']');
    assert_eq!(span(&timeline), "2", "chosen");
}

/// The timeline shows a moment of the past in its place, with what came before and after.
#[test]
fn the_moment_looked_at_is_a_cursor_on_the_timeline() {
    let Watched { mut timeline, .. } = watched_by(of(Config::default()), 240);
    let _ = key(&mut timeline, 'H');
    let lanes = |timeline: &Timeline| -> Vec<String> {
        let screen: Vec<char> = screen(timeline.shown()).chars().collect();
        let rows = screen.chunks(120).map(|row| row.iter().collect::<String>());
        rows.filter(|row| row.contains("│lock queue │")).collect()
    };
    let live = lanes(&timeline);
    assert!(screen(timeline.shown()).contains("│now "));
    let bars = |row: &[String]| row.concat().matches('╱').count();
    assert!(bars(&live) > 3, "{live:?}");
    assert!(!live.concat().contains("▲"));
    let _ = key(&mut timeline, '[');
    let _ = key(&mut timeline, '[');
    assert_eq!(at(&timeline), 119);
    let shown = screen(timeline.shown());
    assert!(shown.contains("▲03:06:04"), "{shown}");
    // The figures beside the charts are those of that moment.
    assert!(
        shown.contains("│then ") && !shown.contains("│now "),
        "{shown}"
    );
    assert_eq!(lanes(&timeline), live, "what came after is there, too");
    // A bar that has ended by then: Enter shows the moment at which it went on.
    let table = timeline.shown().rows(Panel::Timeline);
    let mut rows = 0..table.rows.len();
    let row = rows.find(|row| table.get(*row, "lane").text() == Some("idle in tx"));
    for _ in 0..row.unwrap() {
        let _ = key(&mut timeline, 'j');
    }
    let _ = timeline.update(Event::KeyPressed(Key::Enter));
    assert!((100..112).contains(&at(&timeline)), "{}", at(&timeline));
    let _ = timeline.update(Event::KeyPressed(Key::Enter));
    let shown = screen(timeline.shown());
    assert!(shown.contains("Backend 812"), "{shown}");
}

#[test]
fn every_second_of_the_past_is_shown_as_it_was() {
    let Watched {
        mut timeline,
        shown,
    } = watched(130);
    assert!(timeline.shown().playback.is_none());
    for back in 1..=129_usize {
        assert_eq!(key(&mut timeline, 'h'), Vec::new());
        let second = 129 - back;
        assert_eq!(at(&timeline), second as u64);
        assert_eq!(body(timeline.shown()), shown[second], "second {second}");
    }
    // Forward again; beyond the newest moment it is live.
    for (second, then) in shown.iter().enumerate().skip(1) {
        let _ = key(&mut timeline, 'l');
        assert_eq!(&body(timeline.shown()), then, "second {second}");
    }
    assert!(timeline.shown().playback.is_some());
    let _ = key(&mut timeline, 'l');
    assert!(timeline.shown().playback.is_none());
}

#[test]
fn the_present_goes_on_behind_the_past() {
    let Watched { mut timeline, .. } = watched(90);
    for _ in 0..30 {
        let _ = key(&mut timeline, 'h');
    }
    assert_eq!(at(&timeline), 59);
    let header = screen(timeline.shown());
    assert!(header.contains("PAST -30s held"), "{header}");
    go_on(&mut timeline, 90..100);
    assert_eq!(at(&timeline), 59, "it is held");
    let header = screen(timeline.shown());
    assert!(header.contains("PAST -40s held"), "{header}");
    // No action is possible on something that may be gone.
    let _ = key(&mut timeline, 'C');
    let said = timeline.shown().log.back().unwrap().text.to_string();
    assert!(said.contains("viewing the past"), "{said}");
    // Plays at twice the speed.
    let _ = key(&mut timeline, ' ');
    let _ = key(&mut timeline, '+');
    go_on(&mut timeline, 100..110);
    assert_eq!(at(&timeline), 79, "ten seconds at twice the speed");
    let _ = timeline.update(Event::KeyPressed(Key::Esc));
    assert_eq!(
        (at(&timeline), timeline.shown().playback.is_none()),
        (109, true)
    );
    assert_eq!(timeline.shown().rows(Panel::Activity).rows.len(), 5);
}

#[test]
fn troubles_are_found_by_jumping() {
    let Watched { mut timeline, .. } = watched(250);
    let _ = key(&mut timeline, 'N');
    assert_eq!(at(&timeline), 200);
    assert!(timeline.shown().cause.sentence.contains("pid 812"));
    let _ = key(&mut timeline, 'N');
    assert_eq!(at(&timeline), 100);
    assert_eq!(timeline.shown().cause.rule, "lock_queue");
    let _ = key(&mut timeline, 'N');
    assert_eq!(at(&timeline), 100);
    let said = timeline.shown().log.back().unwrap().text.to_string();
    assert_eq!(said, "no trouble before this moment");
    let _ = key(&mut timeline, 'n');
    assert_eq!(at(&timeline), 200);
}

/// The page and the selection stay while time is stepped.
#[test]
fn the_page_stays_while_time_is_stepped() {
    let Watched { mut timeline, .. } = watched(250);
    for pressed in ['8', '/', 'c', 'h', 'e'] {
        let _ = key(&mut timeline, pressed);
    }
    let _ = timeline.update(Event::KeyPressed(Key::Enter));
    let _ = key(&mut timeline, 'h');
    let feed = |timeline: &Timeline| timeline.shown().feed_named("activity").unwrap();
    let rows = |timeline: &Timeline| {
        let model = timeline.shown();
        let feed = model.feed(feed(timeline)).unwrap();
        feed.cursor.order.len()
    };
    assert_eq!(rows(&timeline), 3, "the filter holds");
    assert!(screen(timeline.shown()).contains("PAST"));
}

/// Keys typed before the end is reached must not act on what is there a moment later.
#[test]
fn what_is_being_typed_stays_when_now_is_reached() {
    let Watched { mut timeline, .. } = watched(90);
    for pressed in ['8', 'h', 'h', ' ', '/', 'c', 'h'] {
        let _ = key(&mut timeline, pressed);
    }
    go_on(&mut timeline, 90..91);
    assert!(timeline.shown().playback.is_some());
    // At twice the speed of time it catches up with the live model.
    let _ = timeline.update(Event::KeyPressed(Key::Enter));
    for pressed in ['+', '+', '/', 'e'] {
        let _ = key(&mut timeline, pressed);
    }
    go_on(&mut timeline, 91..100);
    let shown = timeline.shown();
    assert!(shown.playback.is_none());
    let typed = shown.prompt.as_ref().map(|(typed, _)| typed.as_str());
    assert!(typed.is_some_and(|typed| typed.ends_with('e')), "{typed:?}");
    let queries = shown.feed_named("activity").unwrap();
    assert_eq!(shown.screen, Screen::Full(queries));
}

#[test]
fn a_server_that_is_away_is_a_trouble() {
    let Watched { mut timeline, .. } = watched(20);
    let lost = |attempt| {
        Event::Reported(Report::Lost {
            session: SessionId::Fast,
            error: PgError::new(Class::Reconnect, "connection refused"),
            attempt,
            retry_in_ms: Some(400),
        })
    };
    for second in 20..30 {
        let _ = timeline.update(lost(second as u32 - 19));
        let _ = timeline.update(ticked(second * 1_000));
    }
    let troubles: Vec<_> = timeline.tape().troubles().collect();
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
    // Besides the model of each minute: the events of the hour.
    assert!(tape.bytes() < 2_000_000, "{} bytes", tape.bytes());
}

/// Figures derived from the previous sample are correct in each second, including the first of a minute.
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
        shown.push([
            live.rows(Panel::Tables).clone(),
            live.rows(Panel::Views).clone(),
        ]);
    }
    let inserts = |at: usize| shown[at][0].get(1, "n_tup_ins").number();
    assert_eq!((inserts(0), inserts(149)), (None, Some(9.0 * 297.0)));
    for (at, then) in shown.iter().enumerate() {
        let past = tape.at(at as u64 * 1_000).unwrap();
        let rows = |panel| past.model.rows(panel).clone();
        assert_eq!(
            &[rows(Panel::Tables), rows(Panel::Views)],
            then,
            "second {at}"
        );
    }
}

/// A figure that JSON cannot represent as a number is restored unchanged.
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
    let told = answered(&live, "hourly_sales", strange);
    let _ = tape.tell(&mut live, told);
    let _ = tape.tell(&mut live, ticked(1000));
    let then = tape.at(1000).unwrap().model;
    assert_eq!(
        format!("{:?}", then.rows(Panel::HourlySales)),
        format!("{:?}", live.rows(Panel::HourlySales))
    );
    assert_eq!(then.rows(Panel::HourlySales).rows.len(), 3);
}
