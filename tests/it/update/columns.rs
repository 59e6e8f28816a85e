//! Columns, as the configuration wants them or as chosen on the screen.

use crate::it::board::{Board, table};
use htap_top::config::{Config, Profile};
use htap_top::dashboard::choices::Choice;
use htap_top::dashboard::event::{Effect, Key};
use htap_top::dashboard::feed::Room;
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::spec::Spec;
use std::path::Path;

/// Room on the Overview.
const OVERVIEW: Room = Room {
    full: false,
    narrow: false,
};

/// A board with two tables in Bloat, and the chooser open in its full screen.
fn choosing(config: &str) -> Board {
    let mut board = with_bloat(config);
    let _ = board.keys("5f");
    board
}

fn with_bloat(config: &str) -> Board {
    let config = Config::parse(Path::new("config.toml"), config).unwrap();
    let mut board = Board::live(config);
    let rows = ["1|shop.b|10|90.0|7", "2|shop.a|20|1.0|"];
    let columns = "relid|relation|n_dead|dead_pct|held_by";
    let _ = board.answer("bloat", table(columns, &rows));
    let _ = board.screen(120, 40);
    board
}

fn columns(board: &Board, room: Room) -> Vec<String> {
    let feed = board.model.feed(board.id("bloat")).unwrap();
    feed.columns(room)
}

/// The column that is selected, and whether it is shown.
fn selected(screen: &str) -> String {
    let line = screen.lines().find(|line| line.contains("▌["));
    let line = line.unwrap_or_else(|| unreachable!("nothing is selected:\n{screen}"));
    line.split(['▌', '│'])
        .find(|part| part.contains('['))
        .map(|part| part.split("  ").next().unwrap_or(part).trim().to_owned())
        .unwrap_or_default()
}

/// What is kept of a key's effects.
fn kept(effects: &[Effect]) -> Option<&Choice> {
    effects.iter().find_map(|effect| match effect {
        Effect::KeepColumns { panel, choice } => {
            assert_eq!(panel, "bloat");
            choice.as_ref()
        }
        _ => None,
    })
}

#[test]
fn columns_are_hidden_moved_and_sorted_by_in_the_chooser() {
    let mut board = choosing("");
    let before = columns(&board, Room::ALL);
    assert_eq!(before[..4], ["relation", "n_dead", "dead_pct", "held_by"]);
    let screen = board.screen(80, 24);
    assert!(screen.contains("Columns · Bloat"), "{screen}");
    assert!(
        screen.contains("[by width]  narrow   usual   wide"),
        "{screen}"
    );
    assert_eq!(selected(&screen), "[x] table");
    assert!(screen.contains("[x] dead▼"), "{screen}");
    // Keys that act elsewhere do nothing here.
    for key in ['C', 'K', 'X', '5', 't', '>', 'd'] {
        assert_eq!(board.keys(&key.to_string()), Vec::new(), "{key}");
    }
    let effects = board.keys("jj ");
    assert_eq!(selected(&board.screen(80, 24)), "[ ] dead ±");
    assert!(kept(&effects).is_some());
    let effects = board.key(Key::Left);
    assert_eq!(selected(&board.screen(80, 24)), "[ ] dead ±", "it follows");
    assert!(kept(&effects).is_some());
    let effects = board.keys("js");
    let choice = kept(&effects).unwrap().clone();
    assert_eq!(
        choice.sort, "n_dead",
        "the second time the order is reversed"
    );
    assert!(
        choice.hide.contains(&"dead_change".to_owned()),
        "{choice:?}"
    );
    assert_eq!(choice.columns[..3], ["relation", "dead_change", "n_dead"]);
    // All others are as they were, on both pages.
    for room in [Room::ALL, OVERVIEW] {
        assert_eq!(columns(&board, room), before);
    }
    let shown = board.shown("bloat", "relation");
    assert_eq!(shown[0].text(), Some("shop.b"));
    // What is chosen is there in the next run, and on the screen of another server.
    let mut next = with_bloat("[panels.bloat]\nhide = [\"n_dead\"]\nsort = \"relation\"\n");
    let choice = std::sync::Arc::new(choice);
    next.model
        .take_choices(|panel| (panel == "bloat").then_some(&choice));
    assert_eq!(columns(&next, OVERVIEW), columns(&board, OVERVIEW));
    assert_eq!(next.shown("bloat", "relation"), shown);
    // A reset returns to the configuration.
    let effects = next.keys("5fr");
    assert_eq!(kept(&effects), None);
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::KeepColumns { choice: None, .. }))
    );
    let all = columns(&next, Room::ALL);
    assert_eq!(all[..3], ["relation", "dead_pct", "held_by"]);
    assert_eq!(next.shown("bloat", "relation")[0].text(), Some("shop.a"));
    let _ = next.key(Key::Esc);
    assert!(!next.screen(80, 24).contains("Columns ·"));
}

#[test]
fn the_last_column_stays() {
    let mut board = choosing("[panels.bloat]\ncolumns = [\"relation\"]\nprofile = \"usual\"\n");
    assert_eq!(columns(&board, Room::ALL), ["relation"]);
    assert_eq!(board.keys(" "), Vec::new());
    assert_eq!(board.said(), "one column stays shown");
    assert_eq!(columns(&board, Room::ALL), ["relation"]);
}

#[test]
fn profiles_go_round_and_come_back_to_what_was_chosen() {
    let mut board = Board::live(Config::default());
    let front = &panels::built_in().unwrap();
    let front = &front
        .iter()
        .find(|spec| spec.name == "locks")
        .unwrap()
        .front;
    let names =
        "pid|tree|frees|class|usename|application_name|state|wait_s|mode|target|query|datname";
    let _ = board.screen(120, 40);
    let _ = board.keys("pl");
    let _ = board.answer(
        "locks",
        table(names, &["1|1|2|oltp|app|app|active|1.0|m|t|q|shop"]),
    );
    let shown = |board: &Board, room| {
        let feed = board.model.feed(board.id("locks")).unwrap();
        feed.columns(room)
    };
    let narrow = Room {
        narrow: true,
        ..Room::ALL
    };
    assert_eq!(shown(&board, narrow)[..6], front.narrow, "these come first");
    assert_eq!(shown(&board, OVERVIEW), front.compact);
    let all = shown(&board, Room::ALL);
    let _ = board.keys("fp");
    for room in [OVERVIEW, Room::ALL] {
        assert_eq!(shown(&board, room), front.narrow);
    }
    let _ = board.keys("p");
    assert_eq!(shown(&board, Room::ALL), front.compact);
    let _ = board.keys("p");
    for room in [OVERVIEW, Room::ALL] {
        assert_eq!(shown(&board, room), all);
    }
    let _ = board.keys("p");
    assert_eq!(shown(&board, OVERVIEW), front.compact);
    // Once columns are chosen one by one, they have the place of the width.
    let _ = board.keys(" ");
    let own = shown(&board, Room::ALL);
    assert_eq!(own, all[1..]);
    assert!(board.screen(80, 24).contains("[own]  narrow"));
    let effects = board.keys("ppp");
    assert_eq!(shown(&board, Room::ALL), all);
    assert!(
        matches!(effects.last(), Some(Effect::KeepColumns { choice: Some(choice), .. }) if choice.profile == Some(Profile::Wide))
    );
    let _ = board.keys("p");
    assert_eq!(shown(&board, Room::ALL), own);
}

#[test]
fn the_configuration_has_a_profile_for_all_panels_and_for_one() {
    let board = with_bloat("profile = \"usual\"\n[panels.locks]\nprofile = \"narrow\"\n");
    let profile = |panel: &str| board.model.feed(board.id(panel)).unwrap().profile();
    assert_eq!(profile("bloat"), Some(Profile::Usual));
    assert_eq!(profile("locks"), Some(Profile::Narrow));
    let wrong = Config::parse(Path::new("config.toml"), "profile = \"large\"").unwrap_err();
    assert!(wrong.to_string().contains("narrow"), "{wrong}");
}

#[test]
fn own_panels_have_a_chooser_and_columns_that_nobody_described() {
    let text = "-- title = \"Mine\"\n-- pool = \"olap\"\n-- interval = \"5s\"\n-- about = \"a\"\nSELECT 1 AS a, 2 AS b\n";
    let mut board = Board::with(Config::default(), |start| {
        start.own_panels = vec![Spec::parse("mine", text).unwrap()];
    });
    let _ = board.connect();
    let _ = board.answer("mine", table("a|b", &["1|2"]));
    board.model.focus = board.id("mine");
    let _ = board.keys("fj ");
    let feed = board.model.feed(board.id("mine")).unwrap();
    assert_eq!(feed.columns(Room::ALL), ["a"]);
    // A column that came after the choice is shown.
    let _ = board.answer("mine", table("a|b|c", &["1|2|3"]));
    let feed = board.model.feed(board.id("mine")).unwrap();
    assert_eq!(feed.columns(Room::ALL), ["a", "c"]);
}

/// A stranger reads a row from the left: what it is, then what it is sorted by.
#[test]
fn every_panel_begins_with_what_a_row_is() {
    for spec in panels::built_in().unwrap() {
        let front = &spec.front;
        if front.internal || front.compact.is_empty() {
            continue;
        }
        let sort = front.sort.trim_start_matches('-');
        for (list, columns) in [("compact", &front.compact), ("narrow", &front.narrow)] {
            let unknown = columns.iter().find(|name| !spec.order.contains(name));
            assert_eq!(unknown, None, "{}: {list}", spec.name);
            let numeric = |name: &String| htap_top::format::is_numeric(spec.column(name).unit);
            let Some(first) = columns.first() else {
                continue;
            };
            assert!(!numeric(first), "{}: {list} begins with {first}", spec.name);
            let at = columns.iter().position(|name| name == sort);
            let figure = columns.iter().position(numeric);
            assert!(
                sort.is_empty() || at == figure,
                "{}: {list}: the first figure is not the one it is sorted by",
                spec.name
            );
        }
        let beyond = front
            .narrow
            .iter()
            .find(|name| !front.compact.contains(name));
        assert_eq!(beyond, None, "{}: narrow has more than compact", spec.name);
    }
}

#[test]
fn columns_come_first_or_not_at_all_as_configured() {
    let text = "[panels.bloat]\ncolumns = [\"dead_pct\", \"relation\"]\nhide = [\"held_by\"]\nsort = \"relation\"\n";
    let config = Config::parse(Path::new("config.toml"), text).unwrap();
    let mut board = Board::live(config);
    let rows = ["1|shop.b|10|90.0|", "2|shop.a|20|1.0|"];
    let _ = board.answer(
        "bloat",
        table("relid|relation|n_dead|dead_pct|held_by", &rows),
    );
    let feed = board.model.feed(board.id("bloat")).unwrap();
    assert_eq!(feed.columns(OVERVIEW), ["dead_pct", "relation"]);
    let all = feed.columns(Room::ALL);
    assert_eq!(all[..2], ["dead_pct", "relation"]);
    assert!(all.iter().any(|name| name == "n_dead"), "{all:?}");
    assert!(!all.iter().any(|name| name == "held_by"), "{all:?}");
    let shown = board.shown("bloat", "relation");
    let names: Vec<_> = shown.iter().map(|name| name.text().unwrap()).collect();
    assert_eq!(names, ["shop.a", "shop.b"]);
}
