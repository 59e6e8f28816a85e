//! The recipes of CONTRIBUTING.md, followed.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::board::Board;
use super::server::{block_on, shared};
use super::tidy::build;
use htap_top::config::Config;
use htap_top::dashboard::model::Screen;
use htap_top::dashboard::panels::spec::Spec;
use htap_top::dashboard::{output, panels};
use htap_top::doctor::check;
use htap_top::pg::Value;
use htap_top::sqlfile::File;
use regex::Regex;
use std::path::Path;
use std::sync::Arc;

const PANEL: &str = r#"-- title = "Roles"
-- pool = "oltp"
-- interval = "10s"
-- order = 175
-- letter = "z"
-- key = ["role"]
-- sort = "-connections"
-- about = """
-- Roles and how many connections each may open. Cost: 0.1 ms. Blind spot: it does not tell who is connected.
-- """
--
-- [columns.role]
-- help = "Name of the role."
-- [columns.connections]
-- unit = "count"
-- help = "Connections it may open; -1: as many as there are."

SELECT r.rolname::pg_catalog.text AS role, r.rolconnlimit::pg_catalog.int8 AS connections
FROM pg_catalog.pg_roles AS r
"#;

const LATER: &str = "-- 9 tells the same.\nSELECT 'later'::pg_catalog.text AS role, 9::pg_catalog.int8 AS connections";

/// A copy of `folder` with these files added, as build.rs lists it for the next build.
fn with(folder: &str, added: &[(&str, &str)]) -> &'static [(&'static str, &'static str)] {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let copy = tempfile::tempdir().unwrap();
    for name in build::names(&from, ".sql").unwrap() {
        std::fs::copy(from.join(&name), copy.path().join(&name)).unwrap();
    }
    for (name, text) in added {
        std::fs::write(copy.path().join(name), text).unwrap();
    }
    let names = build::names(copy.path(), ".sql").unwrap();
    let files = names.into_iter().map(|name| {
        let text = std::fs::read_to_string(copy.path().join(&name)).unwrap();
        (&*name.leak(), &*text.leak())
    });
    files.collect::<Vec<_>>().leak()
}

/// Built-in panels as they are in the next build.
fn panels_with(added: &[(&str, &str)]) -> Result<&'static [Arc<Spec>], String> {
    let files = File::sort(with("queries", added))?;
    let specs = panels::read(&files)?;
    Ok(specs.leak())
}

#[test]
fn a_panel_is_one_file() {
    let built_in = panels_with(&[("roles.sql", PANEL), ("roles.99.sql", LATER)]).unwrap();
    let mut board = Board::with(Config::default(), |start| start.built_in = built_in);
    let _ = board.connect();
    let sql = board.model.feed(board.id("roles")).unwrap().sql.to_string();
    let rows = block_on(async {
        let database = shared().database("recipes").await;
        let session = database.connect().await;
        session.query(&sql, &[]).await.unwrap()
    });
    assert_eq!(rows.first("connections"), &Value::Int(-1), "{rows:?}");
    let _ = board.keys("p");
    assert!(board.screen(120, 40).contains("Roles"));
    let _ = board.keys("z");
    assert_eq!(board.model.screen, Screen::Full(board.id("roles")));
    let _ = board.answer("roles", rows);
    let screen = board.screen(120, 40);
    assert!(
        screen.contains("pg_monitor") && screen.contains("connections"),
        "{screen}"
    );
    assert!(panels::markdown(built_in).contains("| `p z` | Roles | `roles` | oltp | 10s |"));
    assert!(
        output::markdown(built_in).contains("| `roles` | `role` | `role`, `connections` count |")
    );
    let spec = built_in.iter().find(|spec| spec.name == "roles").unwrap();
    assert!(spec.statement(98).contains("pg_roles") && spec.statement(99).contains("later"));
    // After the panel whose order is next below, for Tab and in lists.
    let names = board.model.visible();
    let names: Vec<&str> = names.map(|(_, feed)| feed.spec.name.as_str()).collect();
    let at = names.iter().position(|name| *name == "roles").unwrap();
    assert_eq!(&names[at - 1..=at + 1], ["replication", "roles", "tables"]);
}

/// Two panels cannot have one key, and a version belongs to a file: the build that has such files says so at start.
#[test]
fn a_panel_that_is_wrong_is_named() {
    let twice = PANEL.replace("letter = \"z\"", "letter = \"l\"");
    let why = panels_with(&[("roles.sql", &twice)]).unwrap_err();
    assert!(
        why == "queries/locks.sql: letter 'l' opens roles.sql already"
            || why == "queries/roles.sql: letter 'l' opens locks.sql already",
        "{why}"
    );
    let why = panels_with(&[("rolls.99.sql", LATER)]).unwrap_err();
    assert_eq!(why, "rolls.99.sql: there is no rolls.sql beside it");
}

#[test]
fn a_check_of_the_doctor_is_one_file() {
    let text = "-- title = \"the number of roles\"\n-- order = 15\n-- about = \"\"\"\n-- x. Cost: 0.1 ms.\"\"\"\n\
                SELECT 'info' AS severity, 'roles' AS subject, count(*)::text AS evidence, '' AS cure FROM pg_roles";
    let files = File::sort(with("queries/doctor", &[("roles.sql", text)])).unwrap();
    let checks = check::read(&files, i64::from(shared().major())).unwrap();
    let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
    assert_eq!(names[..3], ["privileges", "roles", "reading"]);
    assert!(check::markdown(&checks).contains("| `roles` | the number of roles |\n"));
    let found = block_on(async {
        let database = shared().database("recipes").await;
        let session = database.connect().await;
        session.query(&checks[1].sql, &[]).await.unwrap()
    });
    assert_eq!(found.first("severity").text(), Some("info"));
}

/// What the recipes name is there: paths, and items said to be `in` or `of` a file.
#[test]
fn files_and_items_of_the_recipes_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    let path = Regex::new(r"`((?:src|tests|queries)/[a-z0-9_/]+(?:\.[a-z]+)?)`").unwrap();
    for found in path.captures_iter(&text) {
        assert!(root.join(&found[1]).exists(), "there is no {}", &found[1]);
    }
    let item = Regex::new(r"`(\w+)` (?:of|in) `([a-z0-9_/]+\.rs)`").unwrap();
    let mut items = 0;
    for found in item.captures_iter(&text) {
        let file = std::fs::read_to_string(root.join(&found[2])).unwrap();
        assert!(
            file.contains(&found[1]),
            "{} has no {}",
            &found[2],
            &found[1]
        );
        items += 1;
    }
    assert!(items >= 5, "{items}");
}
