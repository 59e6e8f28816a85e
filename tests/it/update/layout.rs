//! The Overview's rows: an empty panel is a line, and what one does not need, another gets.

use crate::it::board::{Board, activity, table};
use htap_top::config::Config;
use htap_top::dashboard::model::layout;
use htap_top::pg::Table;

const BLOAT: &str = "relid|relation|n_dead|dead_pct|held_by";

/// A board with a backend and some tables in Bloat.
fn board(tables: usize) -> Board {
    let mut board = Board::live(Config::default());
    let _ = board.answer("activity", one_backend());
    let _ = board.answer("bloat", tables_with_dead_rows(tables));
    board
}

fn one_backend() -> Table {
    activity(&[
        "655|shop|app|checkout|client backend|active|||0.002|0.002|||||SELECT 1|b|x|q|false",
    ])
}

fn tables_with_dead_rows(count: usize) -> Table {
    let rows: Vec<String> = (0..count)
        .map(|n| format!("{n}|shop.t{n}|{}|1.0|", 100 + n))
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    table(BLOAT, &rows)
}

/// Height of a panel on the page.
fn height(board: &Board, panel: &str) -> u16 {
    let regions = layout::regions(&board.model);
    let id = board.id(panel);
    let found = regions.panels.iter().find(|(other, _)| *other == id);
    found.map_or(0, |(_, area)| area.height)
}

/// Lets a second pass in which the server answers.
fn second(board: &mut Board, tables: usize) {
    let _ = board.tick(1_000);
    let _ = board.answer("activity", one_backend());
    let _ = board.answer("bloat", tables_with_dead_rows(tables));
}

#[test]
fn an_empty_panel_is_a_line_until_it_has_a_row_and_for_a_minute_more() {
    let mut board = board(0);
    let screen = board.screen(120, 40);
    assert_eq!(height(&board, "bloat"), 1);
    assert!(screen.contains("─ 5 Bloat ─ "), "{screen}");
    assert!(height(&board, "snapshots") > 5);
    second(&mut board, 1);
    assert!(height(&board, "bloat") > 5, "it grows at once");
    for _ in 0..59 {
        second(&mut board, 0);
        assert!(height(&board, "bloat") > 5, "it stays");
    }
    second(&mut board, 0);
    assert_eq!(height(&board, "bloat"), 1);
    // The page is filled at any size, and no panel overlaps another.
    for (width, rows) in [
        (80, 24),
        (100, 32),
        (120, 40),
        (160, 48),
        (200, 60),
        (240, 80),
    ] {
        let _ = board.screen(width, rows);
        let regions = layout::regions(&board.model);
        let mut cells = vec![0; usize::from(width) * usize::from(rows)];
        for (_, area) in &regions.panels {
            for place in area.positions() {
                cells[usize::from(place.y) * usize::from(width) + usize::from(place.x)] += 1;
            }
        }
        let body = usize::from(width) * 3..usize::from(width) * usize::from(rows - 1);
        assert!(cells[body].iter().all(|n| *n == 1), "{width}x{rows}");
    }
}

#[test]
fn a_small_screen_gives_what_queries_does_not_need_to_others() {
    let mut board = board(9);
    let _ = board.screen(80, 24);
    assert_eq!(height(&board, "activity"), 5);
    let few = height(&board, "bloat");
    assert!(few > 2, "{few}");
    let backends: Vec<String> = (0..12)
        .map(|n| {
            format!(
                "{n}|shop|app|checkout|client backend|active|||0.1|0.1|||||SELECT 1|b|x|q|false"
            )
        })
        .collect();
    let backends: Vec<&str> = backends.iter().map(String::as_str).collect();
    let _ = board.tick(1_000);
    let _ = board.answer("activity", activity(&backends));
    assert!(height(&board, "activity") > 5, "at once");
    assert_eq!(height(&board, "bloat"), 2);
    second(&mut board, 9);
    assert_eq!(height(&board, "bloat"), 2, "and for a while");
    for _ in 0..20 {
        second(&mut board, 9);
    }
    assert_eq!(height(&board, "bloat"), few);
}

#[test]
fn views_take_the_rows_that_they_need() {
    let mut board = board(3);
    let _ = board.screen(120, 40);
    let unknown = height(&board, "views");
    let views = |count: usize| {
        let rows: Vec<String> = (0..count).map(|n| format!("{n}|mart.v{n}|idle")).collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        table("relid|view|state", &rows)
    };
    let _ = board.answer("views", views(1));
    assert_eq!(height(&board, "views"), 4);
    assert!(height(&board, "timeline") > 5);
    let _ = board.answer("views", views(30));
    assert_eq!(height(&board, "views"), unknown);
    let _ = board.screen(120, 80);
    assert!(
        height(&board, "views") > unknown + 5,
        "on a high screen all of them"
    );
}

/// A database without the shop shows waits above all else.
#[test]
fn more_waits_move_no_panel() {
    let mut board = board(3);
    let needs = board.model.feeds.iter();
    let needs = needs.flat_map(|feed| feed.spec.front.needs.clone());
    let lacking: Vec<String> = needs.map(|name| format!("{name}|false")).collect();
    let lacking: Vec<&str> = lacking.iter().map(String::as_str).collect();
    let _ = board.answer("needs", table("name|found", &lacking));
    let waits = |count: usize| {
        let rows: Vec<String> = (0..count)
            .map(|n| format!("oltp|IO:w{n}|10.0|0.1|"))
            .collect();
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        table("class|wait|share_pct|sessions|minute", &rows)
    };
    for size in [(100, 32), (120, 40), (200, 60)] {
        let _ = board.answer("waits", waits(1));
        let _ = board.screen(size.0, size.1);
        let before = layout::regions(&board.model).panels;
        assert!(height(&board, "waits") > 3, "{size:?}");
        let _ = board.answer("waits", waits(2));
        assert_eq!(layout::regions(&board.model).panels, before, "{size:?}");
    }
}

/// Sessions that the server hides from this role are not counted as none.
#[test]
fn hidden_sessions_make_the_timeline_s_figure_a_bound() {
    let mut board = board(0);
    let _ = board.keys("H");
    second(&mut board, 0);
    let screen = board.screen(120, 40);
    assert!(!screen.contains("≥1"), "{screen}");
    board.model.history.oltp.restricted = 3;
    let screen = board.screen(120, 40);
    assert!(screen.contains("≥1"), "{screen}");
}
