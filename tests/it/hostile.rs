//! Settings of a role do not change the meaning of this program's statements: each is run as a role without
//! settings, with hostile ones, and without again. Everything equal in the two plain runs must be equal in
//! the hostile one.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

mod planted;
mod stranger;

use super::output::sell;
use super::server::{Database, Server, block_on};
use htap_top::dashboard::feed::PID;
use htap_top::dashboard::panels;
use htap_top::dashboard::panels::spec::Spec;
use htap_top::doctor::{check, examine};
use htap_top::pg::{Client, Settings, Table, Value};
use htap_top::system::{fill, schema};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A value for every setting that changes the meaning of SQL, the format of answers or time limits. Versions
/// that lack a setting skip it.
const HOSTILE: [(&str, &str); 39] = [
    ("search_path", "public, pg_catalog"),
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "on"),
    ("escape_string_warning", "on"),
    ("operator_precedence_warning", "on"),
    ("quote_all_identifiers", "on"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("xmloption", "document"),
    ("xmlbinary", "hex"),
    ("datestyle", "SQL, DMY"),
    ("intervalstyle", "sql_standard"),
    ("timezone", "Asia/Kolkata"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("row_security", "off"),
    ("restrict_nonsystem_relation_kind", "view, foreign-table"),
    ("plpgsql.extra_errors", "all"),
    ("plpgsql.extra_warnings", "all"),
    ("exit_on_error", "on"),
    ("client_min_messages", "debug1"),
    ("debug_print_parse", "on"),
    ("debug_print_rewritten", "on"),
    ("debug_print_plan", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("statement_timeout", "1s"),
    ("lock_timeout", "1ms"),
    ("idle_in_transaction_session_timeout", "200ms"),
    ("idle_session_timeout", "1s"),
    ("transaction_timeout", "1s"),
    ("jit", "on"),
    ("jit_above_cost", "0"),
    ("force_parallel_mode", "on"),
    ("debug_parallel_query", "on"),
    ("parallel_setup_cost", "0"),
    ("min_parallel_table_scan_size", "0"),
    ("max_parallel_workers_per_gather", "4"),
    ("default_table_access_method", "heap"),
];

/// Roles of the program and of the shop.
const ROLES: [&str; 4] = ["hostile", "htap_oltp", "htap_olap", "htap_refresh"];

#[expect(clippy::disallowed_methods, reason = "the made-up history ends now")]
fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

async fn shop(server: &Server) -> Database<'_> {
    let database = server.database("hostile").await;
    let client = database.connect().await;
    schema::create(&client).await.unwrap();
    schema::extensions(&client).await.unwrap();
    sell(&client, "Books", 1).await;
    let what = fill::Fill {
        orders: 1_000,
        seed: 1,
        end_ms: now_ms(),
    };
    fill::fill(&database.target(), what, |_, _| {})
        .await
        .unwrap();
    schema::fill_all(&client, |_, _| {}).await.unwrap();
    let host = include_str!("../../queries/host/install.sql");
    client.batch(host).await.unwrap();
    // Planted operators that would affect every comparison and every sum.
    client
        .batch(
            "CREATE ROLE hostile LOGIN; GRANT pg_monitor, htap_olap, htap_refresh TO hostile;
             GRANT USAGE ON SCHEMA htap_host TO hostile;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA htap_host TO hostile;
             CREATE FUNCTION public.no(oid, oid) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
             CREATE OPERATOR public.= (LEFTARG = oid, RIGHTARG = oid, FUNCTION = public.no);
             CREATE FUNCTION public.no(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false';
             CREATE OPERATOR public.= (LEFTARG = text, RIGHTARG = text, FUNCTION = public.no);
             CREATE FUNCTION public.zero(numeric, numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT 0::numeric';
             CREATE OPERATOR public.* (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = public.zero);
             CREATE OPERATOR public./ (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = public.zero);
             CREATE TABLE public.\"back\\\\slash 'n' \"\"quotes\"\"\" (id int PRIMARY KEY, t text DEFAULT 'a\\\\b');
             CREATE MATERIALIZED VIEW public.\"an\\\\other\" AS SELECT E'\\\\d' ~ 'x' AS x, now() AS at;
             ANALYZE",
        )
        .await
        .unwrap();
    database
}

async fn set(admin: &Client, hostile: bool) {
    let sql = "SELECT name FROM pg_settings";
    let known = admin.query(sql, &[]).await.unwrap();
    let known: Vec<&str> = (0..known.rows.len())
        .filter_map(|row| known.get(row, "name").text())
        .collect();
    for role in ROLES {
        if !hostile {
            admin
                .batch(&format!("ALTER ROLE {role} RESET ALL"))
                .await
                .unwrap();
            continue;
        }
        for (name, value) in HOSTILE {
            // Timeouts of applications belong to their roles.
            if name.ends_with("_timeout") && matches!(role, "htap_oltp" | "htap_olap") {
                continue;
            }
            if known.iter().any(|known| known.eq_ignore_ascii_case(name)) || name.contains('.') {
                let value = match name {
                    "search_path" | "datestyle" => value.to_owned(),
                    _ => format!("'{value}'"),
                };
                admin
                    .batch(&format!("ALTER ROLE {role} SET {name} = {value}"))
                    .await
                    .unwrap();
            }
        }
    }
}

/// All statements of this program, by name.
fn statements(major: u16) -> Vec<(String, String)> {
    let mut all = Vec::new();
    // The pooler's are no SQL; those of the host of the OLAP pool's own server are those of the host.
    let others = ["pooler", "node_host"];
    let asked =
        panels::variants().filter(|(name, _)| !others.iter().any(|of| name.starts_with(of)));
    for (name, _) in asked {
        let path = format!("{}/queries/{name}.sql", env!("CARGO_MANIFEST_DIR"));
        let spec = Spec::parse(name, &std::fs::read_to_string(path).unwrap()).unwrap();
        let since = spec
            .front
            .since
            .is_some_and(|since| i64::from(major) < since);
        if since || spec.front.extension.is_some() || name.starts_with("canary") {
            continue;
        }
        let sql = panels::statement(name, i64::from(major)).unwrap();
        all.push((name.to_owned(), sql.replace(PID, "0")));
    }
    for check in check::all(i64::from(major)).unwrap() {
        all.push((format!("doctor {}", check.name), check.sql.clone()));
    }
    all
}

/// The answers of one run.
async fn look(database: &Database<'_>, major: u16) -> BTreeMap<String, Table> {
    let target = database
        .target_of("hostile")
        .with_application_name("htap-top");
    let settings = Settings::of_monitor(Duration::from_secs(60));
    let client = Client::open(&target, &settings).await.unwrap();
    let mut answers = BTreeMap::new();
    for (name, sql) in statements(major) {
        let table = client.query(&sql, &[]).await;
        let table = table.unwrap_or_else(|error| panic!("{name} on {major}: {error}"));
        // Not all statements promise an order of rows.
        answers.insert(name, table);
    }
    answers
}

/// Statements about the moment or about settings of roles: they must run, but answer differently each time.
const OF_THE_MOMENT: [&str; 11] = [
    "activity",
    "backend_locks",
    "doctor limits",
    "host",
    "host_processes",
    "locks",
    "progress",
    "sessions",
    "settings",
    "snapshots",
    "waits",
];

/// Statements that select rows by counters, such as TOAST tables with dead rows: two runs may have different
/// rows.
const BY_COUNTERS: [&str; 2] = ["bloat", "vacuum"];

/// Numbers of sessions: a session that ended may be counted for a while.
const SESSIONS: [&str; 3] = ["numbackends", "numbackends_all", "sessions"];

/// The sorted cells of a column, because not all statements promise an order of rows.
fn column(table: &Table, position: usize) -> Vec<String> {
    let cells = table.rows.iter().filter_map(|row| row.get(position));
    let mut cells: Vec<String> = cells.map(|cell: &Value| format!("{cell:?}")).collect();
    cells.sort_unstable();
    cells
}

/// Compares the columns that are equal in the plain runs; returns their number.
fn compare(
    major: u16,
    plain: [&BTreeMap<String, Table>; 2],
    hostile: &BTreeMap<String, Table>,
) -> usize {
    let mut compared = 0;
    for (name, table) in hostile {
        let [before, after] = plain.map(|look| look.get(name).unwrap());
        let changed = table.rows.len() != before.rows.len() && BY_COUNTERS.contains(&name.as_str());
        if before.rows.len() != after.rows.len()
            || changed
            || OF_THE_MOMENT.contains(&name.as_str())
        {
            continue;
        }
        assert_eq!(table.columns, before.columns, "{name} on {major}");
        for position in 0..table.columns.len() {
            let title = table.columns.get(position).unwrap();
            let (a, b) = (column(before, position), column(after, position));
            if a == b && !SESSIONS.contains(&&**title) {
                compared += 1;
                assert_eq!(column(table, position), a, "{name} on {major}: {title:?}");
            }
        }
    }
    compared
}

/// Runs the program as a role.
fn run(database: &Database<'_>, role: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_htap-top"))
        .args(arguments)
        .args(["-d", &database.conninfo(role)])
        .env("XDG_CONFIG_HOME", folder.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{arguments:?} as {role}: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[expect(clippy::too_many_lines, reason = "one story, told in order")]
fn on_major(major: u16) {
    let server = Server::of_major(major);
    block_on(async {
        let database = shop(&server).await;
        let admin = database.connect().await;
        let before = look(&database, major).await;
        let examined = examine(&database.target_of("hostile")).await.unwrap();
        set(&admin, true).await;
        let hostile = look(&database, major).await;
        let told = examine(&database.target_of("hostile")).await.unwrap();
        // Commands work correctly under these settings, too.
        let sql = "SELECT p.product_id, p.price::text AS price FROM shop.products AS p JOIN shop.inventory AS i USING (product_id)
                   WHERE i.quantity > 10 ORDER BY p.price DESC, 1 LIMIT 1";
        let product = admin.query(sql, &[]).await.unwrap();
        let line = format!("{}x2", product.first("product_id").int().unwrap());
        for strategy in ["function", "pipelined", "group", "round-trips"] {
            let said = run(
                &database,
                "htap_oltp",
                &[
                    "order",
                    "create",
                    "--user",
                    "1",
                    "--line",
                    &line,
                    "--strategy",
                    strategy,
                ],
            );
            let id = said.split(' ').nth(1).unwrap();
            let sql = format!(
                "SELECT (total_amount = 2 * {})::text AS is_right FROM shop.orders WHERE order_id = {id}",
                product.first("price").text().unwrap()
            );
            let right = admin.query(&sql, &[]).await.unwrap();
            assert_eq!(
                right.first("is_right").text(),
                Some("true"),
                "{strategy} on {major}"
            );
            for step in ["pay", "ship", "complete"] {
                run(&database, "htap_oltp", &["order", step, id]);
            }
        }
        run(&database, "htap_refresh", &["refresh"]);
        let said = run(&database, "htap_refresh", &["refresh", "--verify"]);
        assert_eq!(
            said.matches("equal to its recomputation").count(),
            3,
            "{said}"
        );
        run(&database, "hostile", &["refresh", "mart.sales_hourly"]);
        set(&admin, false).await;
        let after = look(&database, major).await;
        let compared = compare(major, [&before, &after], &hostile);
        assert!(compared > 150, "{compared} columns");
        for (plain, hostile) in examined.outcomes.iter().zip(&told.outcomes) {
            assert_eq!(plain.check, hostile.check);
            if plain.check == "limits" {
                // It examines the settings of roles.
                continue;
            }
            let subjects = |outcome: &htap_top::doctor::Outcome| {
                let found = outcome
                    .findings
                    .iter()
                    .map(|f| (f.severity, f.subject.clone()));
                found.collect::<Vec<_>>()
            };
            assert_eq!(
                subjects(plain),
                subjects(hostile),
                "{} on {major}",
                plain.check
            );
            assert_eq!(plain.reason, hostile.reason, "{} on {major}", plain.check);
        }
    });
}

#[test]
fn settings_of_a_role_change_nothing_on_13() {
    on_major(13);
}

#[test]
fn settings_of_a_role_change_nothing_on_15() {
    on_major(15);
}

#[test]
fn settings_of_a_role_change_nothing_on_18() {
    on_major(18);
}
