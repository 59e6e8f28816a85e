//! Panels of the column store: asked only if it is given, and by nobody else.

use super::{Board, names};
use crate::it::board::{requests, table};
use htap_top::config::Config;
use htap_top::dashboard::panels::spec::{Pool, Spec};
use htap_top::pg::sampler::SessionId;
use htap_top::pg::{Class, PgError, Table};
use std::path::Path;

const OWN: &str = "-- title = \"Own\"\n-- pool = \"columnar\"\n-- interval = \"1s\"\n-- about = \"x\"\n\
                   -- [columns.at]\n-- unit = \"time\"\nSELECT max(sale_time) AS at FROM fact_sales";

fn board(given: bool) -> Board {
    let text = "[panels.rfm_segments]\npool = \"columnar\"";
    let config = Config::parse(Path::new("config.toml"), text).unwrap();
    let mut board = Board::with(config, |start| {
        start.own_panels = vec![Spec::parse("own", OWN).unwrap()];
        start.columnar = given.then(|| "127.0.0.1:5439".into());
    });
    let _ = board.connect();
    let needs = [
        "mart.sales_hourly|true|true",
        "mart.category_hourly|true|true",
    ];
    let _ = board.answer("needs", table("name|found|readable", &needs));
    board
}

/// Panels that are asked in the column store in the next seconds, unless their last statement is in progress.
fn asked(board: &mut Board) -> Vec<String> {
    let mut asked = Vec::new();
    for _ in 0..20 {
        for request in requests(&board.tick(1000)) {
            let name = board.name_of(request);
            if request.pool == Pool::Columnar && !asked.contains(&name) {
                assert!(request.sql.contains("FROM fact_sales"), "{}", request.sql);
                asked.push(name);
            }
        }
    }
    asked.sort();
    asked
}

#[test]
fn without_a_column_store_its_panels_say_what_they_need() {
    let mut board = board(false);
    assert_eq!(asked(&mut board), Vec::<String>::new());
    let _ = board.keys("9");
    let screen = board.screen(120, 40);
    assert!(screen.contains("needs --columnar CONNINFO"), "{screen}");
    assert_eq!(asked(&mut board), Vec::<String>::new());
    assert_eq!(board.faults(), Vec::<String>::new());
}

#[test]
fn a_column_store_is_asked_while_it_is_there() {
    let mut board = board(true);
    let _ = board.keys("9");
    let feeds = board.model.feeds.iter();
    let waiting = feeds.filter(|feed| feed.sampling.in_flight.is_some());
    let waiting = waiting.filter(|feed| feed.spec.front.pool == Pool::Columnar);
    let waiting: Vec<&str> = waiting.map(|feed| feed.spec.name.as_str()).collect();
    assert_eq!(waiting, ["rfm_segments", "own"]);
    let _ = board.open(SessionId::Columnar);
    let _ = board.answer("own", table("at", &["2026-03-01 14:00:00+00"]));
    let at = board.model.feed(board.id("own")).unwrap();
    assert_eq!(at.table.first("at").number(), Some(1_772_373_600.0));
    let refused = PgError {
        sqlstate: Some("0A000".into()),
        ..PgError::new(Class::Statement, "it is not supported")
    };
    let _ = board.outcome("rfm_segments", Err(refused));
    let _ = board.lose(SessionId::Columnar, 1);
    assert_eq!(
        asked(&mut board),
        Vec::<String>::new(),
        "not while it is lost"
    );
    let screen = board.screen(120, 40);
    assert!(screen.contains(" old, "), "{screen}");
    let _ = board.answer("database", Table::default());
    let others = board.tick(1000);
    assert!(
        names(&board, &others).contains(&"database".to_owned()),
        "others go on"
    );
    let back = board.open(SessionId::Columnar);
    assert!(
        names(&board, &back).contains(&"own".to_owned()),
        "at once when it is back"
    );
    assert_eq!(board.faults(), Vec::<String>::new());
}
