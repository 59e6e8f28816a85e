//! A server in the background: what it is asked, what its tab says, and what it does not do.

use super::{acts, names};
use crate::it::board::{Board, activity, requests, trouble};
use htap_top::config::{Config, GuardMode};
use htap_top::dashboard::diagnosis::Health;
use htap_top::dashboard::event::{Effect, Event, Show};
use htap_top::dashboard::model::Popup;
use htap_top::dashboard::tabs::{Place, Tab};
use htap_top::pg::sampler::SessionId;
use htap_top::pg::{Table, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The second of three servers.
fn second(config: Config) -> Board {
    let mut board = Board::with(config, |start| {
        start.server = Some(Place {
            number: 2,
            name: "reports".into(),
            colour: None,
        });
    });
    board.connect();
    let tabs = [1, 2, 3].map(|number| {
        let tab = board.model.tab(number == 2);
        let tab = tab.unwrap_or_else(|| unreachable!("it is one of several"));
        Tab {
            place: Place {
                number,
                ..tab.place
            },
            ..tab
        }
    });
    board.model.set_tabs(&Arc::from(tabs.to_vec()));
    board
}

/// Answers all statements for a minute; returns how often each feed was asked.
fn minute(board: &mut Board) -> BTreeMap<String, usize> {
    board.mute = true;
    let mut asked = BTreeMap::new();
    for _ in 0..240 {
        let _ = board.tick(250);
        // An answer may bring further statements.
        loop {
            let feeds = board.model.feeds.iter();
            let pending = feeds.filter(|feed| feed.sampling.in_flight.is_some());
            let pending: Vec<String> = pending.map(|feed| feed.spec.name.clone()).collect();
            if pending.is_empty() {
                break;
            }
            for name in pending {
                let facts = board.model.facts.clone().filter(|_| name == "facts");
                let _ = board.answer(&name, facts.unwrap_or_default());
                *asked.entry(name).or_default() += 1;
            }
        }
    }
    asked
}

#[test]
fn in_the_background_little_is_asked_and_all_at_once_when_it_is_shown() {
    let mut board = second(Config::default());
    let shown = minute(&mut board);
    let effects = board.event(Event::Background(true));
    assert!(matches!(effects.as_slice(), [Effect::PacePoints(pace)] if pace.apart.as_secs() == 1));
    let behind = minute(&mut board);
    let statements: usize = behind.values().sum();
    // The point query adds one a second.
    assert!(statements <= 90, "{statements} in a minute: {behind:?}");
    for (name, count) in [
        ("database", 12),
        ("activity", 12),
        ("replication", 6),
        ("bloat", 2),
        ("wraparound", 1),
    ] {
        assert_eq!(behind.get(name), Some(&count), "{name}: {behind:?}");
    }
    for name in ["waits", "io", "wal", "temp_files", "hourly_sales"] {
        assert!(
            shown.contains_key(name) || name == "hourly_sales",
            "{name}: {shown:?}"
        );
        assert_eq!(behind.get(name), None, "{name}");
    }
    let effects = board.event(Event::Background(false));
    let asked = names(&board, &effects);
    for name in ["database", "activity", "waits", "io"] {
        assert!(asked.iter().any(|other| other == name), "{name}: {asked:?}");
    }
    assert!(board.faults().is_empty(), "{:?}", board.faults());
}

/// An OLAP statement that has run for 61 s.
fn report() -> Table {
    let mut table = activity(&[
        "7|shop|reports|bi|client backend|active|||61.0|61.0||||0.0|SELECT 7|2026-01-02 03:00:00+00|\
         2026-01-02 03:03:00+00|2026-01-02 03:03:04+00|false",
    ]);
    table.ensure_column("superuser");
    table.set(0, "superuser", Value::Bool(false));
    table
}

#[test]
fn a_pause_a_question_and_the_guard_end_in_the_background() {
    let rule = "[guard]\nmode = \"act\"\n[[guard.rule]]\nname = \"a\"\naction = \"cancel\"\nclass = \"olap\"\nlonger_than = \"60s\"";
    let config = Config::parse(Path::new("x.toml"), rule);
    let mut board = second(config.unwrap_or_default());
    board.model.guarding.armed = true;
    assert_eq!(board.model.guard_mode(), GuardMode::Act);
    let _ = board.keys(" ");
    assert!(board.model.paused);
    let _ = board.event(Event::Background(true));
    assert!(!board.model.paused, "its tab would tell old figures");
    assert_eq!(board.model.guard_mode(), GuardMode::Off);
    let effects = board.answer("activity", report());
    assert!(acts(&effects).is_empty(), "{effects:?}");
    let _ = board.event(Event::Background(false));
    let effects = board.answer("activity", report());
    assert_eq!(acts(&effects).len(), 1, "{effects:?}");
    let _ = board.keys("8C");
    assert!(matches!(board.model.popup, Some(Popup::Confirm(_))));
    let question = board.screen(120, 40);
    assert!(
        question.contains("On reports (shop @ primary:5432)"),
        "{question}"
    );
    board.model.leave();
    assert_eq!(board.model.popup, None);
    assert!(acts(&board.keys("y")).is_empty());
}

#[test]
fn digits_after_the_list_and_the_keys_beside_choose_a_server() {
    let mut board = second(Config::default());
    let shows = |effects: &[Effect]| match effects {
        [Effect::Show(which)] => Some(*which),
        _ => None,
    };
    assert_eq!(shows(&board.keys("s3")), Some(Show::Number(3)));
    assert_eq!(board.model.popup, None);
    assert_eq!(shows(&board.keys(".")), Some(Show::Step(1)));
    assert_eq!(shows(&board.keys(",")), Some(Show::Step(-1)));
    // Without the list a digit opens a panel.
    assert_eq!(shows(&board.keys("3")), None);
    assert!(
        board.screen(120, 40).contains(" s servers "),
        "{}",
        board.screen(120, 40)
    );
    // A single server has no tabs, no key in the footer, and says why nothing happens.
    let mut alone = Board::live(Config::default());
    for key in ["s", ".", ","] {
        assert_eq!(shows(&alone.keys(key)), None);
        assert!(alone.said().contains("only one server"), "{}", alone.said());
    }
    let _ = alone.tick(10_000);
    assert!(!alone.screen(200, 60).contains(" s servers "));
    assert_eq!(alone.model.tab(true), None);
}

#[test]
fn a_tab_tells_the_worst_state() {
    let mut board = second(Config::default());
    let tab = |board: &Board| {
        let tab = board.model.tab(false);
        let tab = tab.unwrap_or_else(|| unreachable!("it is one of several"));
        (tab.health, tab.figure, tab.rule)
    };
    let _ = board.answer("activity", trouble());
    let (health, figure, rule) = tab(&board);
    assert_eq!((health, rule.as_str()), (Health::Danger, "lock queue"));
    assert!(figure.starts_with("locks 2 wait"), "{figure}");
    let _ = board.tick(1_000);
    let effects = board.tick(1_000);
    assert!(!requests(&effects).is_empty() || board.model.silent_s() > 0.0);
    let _ = board.tick(8_000);
    assert!(tab(&board).1.starts_with("silent "), "{:?}", tab(&board));
    let _ = board.lose(SessionId::Fast, 1);
    let _ = board.tick(3_000);
    assert_eq!(
        tab(&board),
        (Health::Danger, "lost 3s".into(), String::new())
    );
}

/// The charts have a place for each interval: what was not measured leaves a gap.
#[test]
fn the_series_keep_their_scale_of_time() {
    let mut board = second(Config::default());
    let counters = |second: i64| {
        let row = format!("{second}.0|{}|1|1.0|1.0", second * 100);
        crate::it::board::table(
            "now_epoch|xact_commit|xact_rollback|stats_reset|postmaster_start",
            &[&row],
        )
    };
    for second in 0..3 {
        let _ = board.answer("database", counters(second));
        let _ = board.tick(1_000);
    }
    let _ = board.event(Event::Background(true));
    let _ = board.tick(4_000);
    let _ = board.answer("database", counters(7));
    let _ = board.event(Event::Background(false));
    let _ = board.tick(1_000);
    let _ = board.answer("database", counters(8));
    let known: Vec<bool> = (board.model.history.tps.last(9).iter())
        .map(Option::is_some)
        .collect();
    let (yes, no) = (true, false);
    assert_eq!(known, [no, yes, yes, no, no, no, no, yes, yes]);
}
