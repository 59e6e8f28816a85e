//! Objects that a plain role plants in `public` are found by no session of this program, whatever its role;
//! and for every name in this program's SQL one is planted.

#[path = "names.rs"]
mod names;

use crate::it::server::{Database, Server, block_on};
use htap_top::pg::Client;
use names::Names;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

/// Plants, as a plain role, replacements for PostgreSQL's own objects: operators that match better, and
/// functions, relations and types of all names, for search paths with public first.
async fn plant(admin: &Client, database: &Database<'_>) {
    admin
        .batch(&format!(
            "CREATE ROLE planter LOGIN; GRANT CREATE ON SCHEMA public TO planter;
             ALTER DATABASE {} SET search_path = public, pg_catalog; SET client_min_messages = error",
            database.name
        ))
        .await
        .unwrap();
    let planter = database.connect_as("planter").await;
    planter.batch(include_str!("traps.sql")).await.unwrap();
}

/// Plants more once the shop is installed: objects named like its relations, in schemas searched before the
/// right ones.
async fn plant_more(admin: &Client, database: &Database<'_>) {
    let planter = database.connect_as("planter").await;
    let sql = "DO $$ DECLARE name text; BEGIN
                   FOR name IN SELECT DISTINCT c.relname FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                               WHERE n.nspname OPERATOR(pg_catalog.=) ANY (ARRAY['shop', 'mart', 'htap']) AND c.relkind IN ('r', 'p', 'v', 'm') LOOP
                       EXECUTE pg_catalog.format('CREATE VIEW public.%I AS SELECT pg_catalog.int4div(1, 0) AS trap', name);
                   END LOOP; GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC; END $$";
    let sql = format!("SET search_path = pg_catalog; {sql}");
    planter.batch(&sql).await.unwrap();
    for role in ["htap_oltp", "htap_olap", "htap_refresh", "htap_monitor"] {
        let sql = format!(
            "ALTER ROLE {role} IN DATABASE {} SET search_path = public, pg_catalog, mart, shop",
            database.name
        );
        admin.batch(&sql).await.unwrap();
    }
}

/// The commands that each role may run, in order; the shop is installed before and removed after.
const COMMANDS: [(&str, &[&str]); 7] = [
    ("postgres", &["init --scale 0.002 --days 40", "init"]),
    (
        "postgres",
        &[
            "once --wait 30s --format json",
            "doctor",
            "record FILE1 --duration 2s --interval 500ms",
            "refresh",
            "refresh --verify",
            "refresh --mode full",
            "partitions",
            "partitions make",
            "route SELECT~1",
            "order login 1",
            "workload --duration 3s --oltp 30 --olap 3 --hybrid 3",
        ],
    ),
    (
        "htap_oltp",
        &[
            "once --wait 30s --format json",
            "doctor",
            "route SELECT~*~FROM~shop.orders",
            "order login 1",
            "order create --user 1 --line 1x1 --strategy function",
            "order create --user 1 --line 2x1 --strategy pipelined",
            "order create --user 2 --line 3x1 --strategy group",
            "order create --user 3 --line 4x1 --strategy round-trips",
            "workload --duration 2s --oltp 30 --olap 0 --hybrid 0",
        ],
    ),
    (
        "htap_olap",
        &[
            "once --wait 30s --format json",
            "doctor",
            "route SELECT~sum(total_sales)~FROM~mart.sales_hourly",
            "partitions",
        ],
    ),
    (
        "htap_refresh",
        &[
            "once --wait 30s --format json",
            "doctor",
            "refresh",
            "refresh --verify",
            "refresh --mode full",
            "partitions",
        ],
    ),
    (
        "htap_monitor",
        &[
            "once --wait 30s --format json",
            "doctor",
            "record FILE2 --duration 2s --interval 500ms",
            "refresh",
            "refresh --verify",
            "partitions",
        ],
    ),
    ("postgres", &["init --uninstall --yes"]),
];

/// Runs a command as a role; meanwhile no planted object may be touched, and nothing else refused.
fn run(server: &Server, database: &Database<'_>, role: &str, line: &str, folder: &Path) {
    let log = || std::fs::read_to_string(server.socket_dir().join("postgres.log")).unwrap();
    let before = log().len();
    let line = line.replace("FILE", &folder.join("recording").display().to_string());
    let words = line.split(' ').map(|word| word.replace('~', " "));
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(words)
        .args(["-d", &database.conninfo(role)])
        .env("XDG_CONFIG_HOME", folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let log = log();
    let new = log.get(before..).unwrap_or_default();
    let sprung: Vec<&str> = new.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(
        sprung.is_empty(),
        "{line} as {role}: {said}\n{}",
        sprung.join("\n")
    );
    assert!(
        matches!(output.status.code(), Some(0 | 5)),
        "{line} as {role}: {said}"
    );
}

/// Names of planted objects.
async fn planted(admin: &Client, sql: &str) -> BTreeSet<String> {
    let table = admin.query(sql, &[]).await.unwrap();
    let names = (0..table.rows.len()).filter_map(|row| table.get(row, "name").text());
    names.map(str::to_owned).collect()
}

/// Every name that this program's SQL looks up in its search path is planted, or does not exist.
async fn every_name_has_its_trap(admin: &Client) {
    let texts = names::texts(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(texts.len() > 300, "{} texts", texts.len());
    let mut used = Names::default();
    for (_, text) in &texts {
        names::of(text, &mut used);
    }
    admin.batch("SET search_path = pg_catalog").await.unwrap();
    for (what, used, all, least) in [
        (
            "function",
            &used.functions,
            "SELECT proname::text AS name FROM pg_proc WHERE pronamespace = '{}'::regnamespace",
            60,
        ),
        (
            "type",
            &used.types,
            "SELECT typname::text AS name FROM pg_type WHERE typnamespace = '{}'::regnamespace",
            10,
        ),
        (
            "type in a declaration",
            &used.words,
            "SELECT typname::text AS name FROM pg_type WHERE typnamespace = '{}'::regnamespace",
            50,
        ),
        (
            "operator",
            &used.operators,
            "SELECT oprname::text AS name FROM pg_operator WHERE oprnamespace = '{}'::regnamespace",
            15,
        ),
        (
            "relation",
            &used.relations,
            "SELECT relname::text AS name FROM pg_class WHERE relnamespace = '{}'::regnamespace AND relkind IN ('r', 'v', 'p', 'm')",
            0,
        ),
    ] {
        let theirs = planted(admin, &all.replace("{}", "pg_catalog")).await;
        let traps = planted(admin, &all.replace("{}", "public")).await;
        // PostgreSQL's own objects of these names could be replaced from public.
        let found: Vec<&String> = used.iter().filter(|name| theirs.contains(*name)).collect();
        let bare: Vec<&&String> = found
            .iter()
            .filter(|name| !traps.contains(**name))
            .collect();
        assert!(bare.is_empty(), "no trap for the {what}s {bare:?}");
        assert!(found.len() >= least, "only {found:?}");
    }
}

fn nothing_planted_is_touched(major: u16) {
    let server = Server::of_major(major);
    block_on(async {
        let database = server.database("traps").await;
        let admin = database.connect().await;
        plant(&admin, &database).await;
        for (trap, sign) in [
            ("SELECT 1 = 1 AS x", "trap"),
            ("SELECT max(1) AS x", "trap"),
            ("SELECT 'a'::text AS x", "division by zero"),
            ("SELECT * FROM pg_class", "division by zero"),
        ] {
            let sprung = database.connect().await.query(trap, &[]).await;
            let sprung = sprung.unwrap_err();
            assert!(sprung.message.as_str().contains(sign), "{trap}: {sprung}");
        }
        every_name_has_its_trap(&admin).await;
        let folder = tempfile::tempdir().unwrap();
        for (at, (role, lines)) in COMMANDS.iter().enumerate() {
            for line in *lines {
                run(&server, &database, role, line, folder.path());
            }
            if at == 0 {
                plant_more(&admin, &database).await;
            }
        }
    });
}

#[test]
fn nothing_planted_is_touched_on_13() {
    nothing_planted_is_touched(13);
}

#[test]
fn nothing_planted_is_touched_on_15() {
    nothing_planted_is_touched(15);
}

#[test]
fn names_are_found_in_statements() {
    let mut names = Names::default();
    names::of(
        "SELECT count(*), pg_catalog.max(x), coalesce(a::text, 'is(not)') || 'x' -- nothing(of)
         FROM pg_class AS c JOIN pg_catalog.pg_proc ON a OPERATOR(pg_catalog.~) b WHERE c.oid <> $1::pg_catalog.oid AND format('%s', 1) ~ b",
        &mut names,
    );
    let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(list(&names.functions), "count format");
    assert_eq!(list(&names.types), "text");
    names::of(
        "CREATE FUNCTION f(a xid8, OUT b date[]) RETURNS TABLE (c inet) AS 'DECLARE d regclass; BEGIN CREATE TABLE t (e pg_catalog.uuid, e jsonb) END'",
        &mut names,
    );
    for word in ["xid8", "date", "inet", "regclass", "jsonb"] {
        assert!(names.words.contains(word), "{word}");
    }
    assert!(!names.words.contains("uuid"));
    assert_eq!(list(&names.relations), "pg_class");
    assert_eq!(list(&names.operators), "* <> || ~");
}

/// SQL is sent to servers with other encodings, so it must be the same bytes in all of them.
#[test]
fn sql_in_sources_is_ascii() {
    let texts = names::texts(Path::new(env!("CARGO_MANIFEST_DIR")));
    let sources = texts
        .iter()
        .filter(|(name, _)| Path::new(name).extension().is_some_and(|e| e == "rs"));
    let other: Vec<_> = sources.clone().filter(|(_, sql)| !sql.is_ascii()).collect();
    assert!(other.is_empty(), "{other:#?}");
    assert!(sources.count() > 150);
}
