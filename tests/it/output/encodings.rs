//! Databases of several encodings on one server, and bytes that are valid text in none of them: each panel
//! has its rows, an unreadable text affects only itself, and nothing appears in the server's log.

use super::super::facts;
use super::super::server::{Database, Order, Server, block_on, until};
use super::Program;
use htap_top::dashboard::rows::Panel;
use htap_top::pg::Client;
use std::io::Write;
use std::process::{Child, Command, Stdio};

/// Panels that show names and texts.
const PANELS: [&str; 12] = [
    "activity",
    "waits",
    "locks",
    "snapshots",
    "bloat",
    "views",
    "tables",
    "indexes",
    "vacuum",
    "databases",
    "progress",
    "statements",
];

/// A psql that sends these bytes unchanged.
fn psql(database: &Database<'_>, encoding: &str, statements: &[u8]) -> Child {
    let mut child = Command::new("psql")
        .args(["-Xqd", &database.conninfo("postgres")])
        .env("PGCLIENTENCODING", encoding)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(statements).unwrap();
    child
}

/// Waits until this many sessions run a statement that contains the mark.
async fn until_running(client: &Client, sessions: i64) {
    let sql = "SELECT count(*) AS n FROM pg_stat_activity WHERE encode(textsend(query), 'escape') LIKE '%pg_sleep(300)%' \
               AND pid <> pg_backend_pid() AND state = 'active'";
    until(client, "they run", sql, &[], |table| {
        table.first("n").int() == Some(sessions)
    })
    .await;
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn no_text_of_any_encoding_hides_a_panel() {
    block_on(async {
        let settings = [
            ("shared_preload_libraries", "pg_stat_statements"),
            ("logging_collector", "on"),
            ("log_filename", "server.log"),
        ];
        let server = Server::start(&Order {
            settings: settings
                .map(|(name, value)| (name.into(), value.into()))
                .into(),
            ..Order::default()
        });
        let admin = Client::connect(&server.target("postgres", "postgres"))
            .await
            .unwrap();
        let mut databases = Vec::new();
        for (encoding, name) in [
            ("UTF8", "u"),
            ("SQL_ASCII", "a"),
            ("LATIN1", "l"),
            ("EUC_JP", "e"),
        ] {
            let create = format!(
                "CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            );
            admin.batch(&create).await.unwrap();
            let database = Database {
                server: &server,
                name: name.into(),
            };
            let extension = database.connect().await;
            extension
                .batch("CREATE EXTENSION pg_stat_statements")
                .await
                .unwrap();
            databases.push((database, encoding));
        }
        let odd = b"CREATE TABLE \"t\xff\" (a int PRIMARY KEY); INSERT INTO \"t\xff\" VALUES (1); SELECT 1 AS \"c\xff\";
            CREATE MATERIALIZED VIEW \"v\xff\" AS SELECT a FROM \"t\xff\"; ANALYZE;
            BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT a FROM \"t\xff\"; SELECT pg_sleep(300) /* \xff";
        let cut = "CREATE TABLE grün (a int PRIMARY KEY); INSERT INTO grün VALUES (1); \
             CREATE MATERIALIZED VIEW blau AS SELECT a FROM grün; ANALYZE; BEGIN; SELECT pg_sleep(300) /* 日本";
        let japanese = "CREATE TABLE 日本 (a int PRIMARY KEY); INSERT INTO 日本 VALUES (1); ANALYZE; SELECT 1 AS 日本";
        let mut holders = Vec::new();
        for (database, encoding) in &databases {
            match *encoding {
                "SQL_ASCII" => {
                    // The last text ends inside a character.
                    let end = [&odd[..], b" */ -- \xe3"].concat();
                    holders.push(psql(database, "SQL_ASCII", &[&end[..], b"\n;\n"].concat()));
                }
                "UTF8" => holders.push(psql(database, "UTF8", format!("{cut} */;\n").as_bytes())),
                "LATIN1" => holders.push(psql(
                    database,
                    "UTF8",
                    "CREATE TABLE grün (a int PRIMARY KEY); INSERT INTO grün VALUES (1); ANALYZE; \
                     BEGIN; SELECT pg_sleep(300) /* grün */;\n"
                        .as_bytes(),
                )),
                _ => holders.push(psql(
                    database,
                    "UTF8",
                    format!("{japanese}; BEGIN; SELECT pg_sleep(300) /* 日本 */;\n").as_bytes(),
                )),
            }
        }
        until_running(&admin, 4).await;
        let log =
            "SELECT pg_read_binary_file(current_setting('log_directory') || '/server.log') AS log";
        let lines = async || {
            let sql = format!("SELECT octet_length(log)::int8 AS n FROM ({log}) AS l");
            admin
                .query(&sql, &[])
                .await
                .unwrap()
                .first("n")
                .int()
                .unwrap()
        };
        let before = lines().await;
        let program = Program::new();
        for (database, encoding) in &databases {
            let panels = PANELS.iter().flat_map(|panel| ["--panel", panel]);
            let mut arguments = vec!["--format", "json"];
            arguments.extend(panels);
            let told = program.once(&database.conninfo("postgres"), &arguments);
            let json = told.json();
            for panel in PANELS {
                let why = &json["reasons"][panel];
                assert!(why.is_null(), "{encoding}: {panel}: {why}");
                assert!(
                    json["panels"][panel].is_array(),
                    "{encoding}: {panel}: {}",
                    told.stdout
                );
            }
            let own = match *encoding {
                "SQL_ASCII" => "t\u{fffd}",
                "EUC_JP" => "日本",
                _ => "grün",
            };
            let tables = json["panels"]["tables"].to_string();
            assert!(tables.contains(own), "{encoding}: {tables}");
            let running = json["panels"]["activity"].as_array().unwrap();
            assert!(running.len() >= 4, "{encoding}: {running:?}");
        }
        let new = format!(
            "SELECT encode(substring(log FROM {}), 'escape') AS new FROM ({log}) AS l",
            before + 1
        );
        let table = admin.query(&new, &[]).await.unwrap();
        assert_eq!(table.first("new").text(), Some(""), "the server's log");
        for mut holder in holders {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    });
}

/// A server that counts statements.
fn counting() -> Server {
    let preload = ("shared_preload_libraries", "pg_stat_statements");
    Server::start(&Order {
        settings: vec![(preload.0.into(), preload.1.into())],
        ..Order::default()
    })
}

/// Returns a session in a database in which the counters can be read.
async fn shows(here: &Database<'_>) -> Client {
    let admin = here.connect().await;
    admin
        .batch("CREATE EXTENSION pg_stat_statements")
        .await
        .unwrap();
    admin
}

/// Runs this statement, so that it is counted, in a database of this name and encoding.
async fn counted(admin: &Client, database: &Database<'_>, encoding: &str, statement: &[u8]) {
    let create = format!(
        "CREATE DATABASE {} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
        database.name
    );
    admin.batch(&create).await.unwrap();
    let mut said = psql(database, encoding, statement);
    assert!(said.wait().unwrap().success());
}

/// Checks that the server refuses all texts with this SQLSTATE, and that the statements panel has its rows
/// without them.
async fn shown_without_texts(here: &Database<'_>, admin: &Client, code: &str) {
    let unreadable = admin
        .query("SELECT query FROM pg_stat_statements", &[])
        .await
        .unwrap_err();
    assert_eq!(unreadable.code(), code);
    let mut headless = facts::watch(&here.target(), &["statements"]);
    facts::until(&mut headless, "statements without texts", |model| {
        let feed = facts::feed(model, "statements");
        feed.sampling.error.is_none() && !feed.table.rows.is_empty()
    })
    .await;
    headless.model.judge();
    let model = &headless.model;
    let shown = model.rows(Panel::Statements).first("query").text().unwrap();
    assert!(shown.contains("not shown"), "{shown}");
    assert!(!facts::is_unknown(model, "statements", code));
}

/// In SQL_ASCII a text may contain any bytes, and none is known to be valid: one unreadable text makes the
/// server fail to read any. They are then left out.
#[test]
fn statements_are_shown_without_texts_where_one_cannot_be_read() {
    block_on(async {
        let server = counting();
        let here = server.database("here").await;
        let admin = shows(&here).await;
        let odd = Database {
            server: &server,
            name: "a".into(),
        };
        counted(&admin, &odd, "SQL_ASCII", b"SELECT 1 AS \"c\xff\";\n").await;
        shown_without_texts(&here, &admin, "22021").await;
    });
}

/// The texts of a dropped database stay without any record of their encoding: one may contain a character
/// that does not exist here, or be in an encoding without a conversion.
#[test]
fn statements_are_shown_without_texts_where_a_dropped_database_left_what_does_not_convert() {
    block_on(async {
        let server = counting();
        let here = server.database("here").await;
        let admin = shows(&here).await;
        let gone = Database {
            server: &server,
            name: "gone".into(),
        };
        for (encoding, statement, code) in [
            ("WIN1252", &b"SELECT 1 AS \"c\x81\";\n"[..], "22P05"),
            ("MULE_INTERNAL", &b"SELECT 1 AS c;\n"[..], "42883"),
        ] {
            admin
                .batch("SELECT pg_stat_statements_reset()")
                .await
                .unwrap();
            counted(&admin, &gone, encoding, statement).await;
            admin
                .batch("DROP DATABASE gone WITH (FORCE)")
                .await
                .unwrap();
            shown_without_texts(&here, &admin, code).await;
        }
    });
}
