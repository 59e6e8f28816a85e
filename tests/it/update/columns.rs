//! Columns, as the configuration wants them.

use crate::it::board::{Board, table};
use htap_top::config::Config;
use std::path::Path;

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
    assert_eq!(feed.columns(true), ["dead_pct", "relation"]);
    let all = feed.columns(false);
    assert_eq!(all[..2], ["dead_pct", "relation"]);
    assert!(all.iter().any(|name| name == "n_dead"), "{all:?}");
    assert!(!all.iter().any(|name| name == "held_by"), "{all:?}");
    let shown = board.shown("bloat", "relation");
    let names: Vec<_> = shown.iter().map(|name| name.text().unwrap()).collect();
    assert_eq!(names, ["shop.a", "shop.b"]);
}
