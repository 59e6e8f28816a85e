//! Facts about the server: its version, settings that differ from their defaults, the role, the extensions.

use super::{Section, aligned};
use crate::pg::{Client, Param, PgError, Settings, Table, Target};
use std::time::Duration;

/// The server's deadline for a statement.
const STATEMENT: Duration = Duration::from_secs(10);

const SERVER: &str = "/* htap-top */
    SELECT pg_catalog.version() AS version,
           pg_catalog.current_setting('server_encoding') AS encoding,
           d.datcollate::pg_catalog.text AS collation,
           pg_catalog.pg_is_in_recovery()::pg_catalog.text AS standby,
           pg_catalog.current_setting('data_checksums') AS data_checksums,
           (pg_catalog.clock_timestamp() - pg_catalog.pg_postmaster_start_time())::pg_catalog.text AS up_for
    FROM pg_catalog.pg_database AS d
    WHERE d.datname = pg_catalog.current_database()";

/// Settings that a session of this role would have without our own. Texts are asked for only of settings that hold
/// no secret.
const SETTINGS: &str = "/* htap-top */
    SELECT s.name, coalesce(s.unit, '') AS unit,
           CASE WHEN s.vartype <> 'string' OR s.name = ANY ($1) THEN s.reset_val END AS value,
           CASE WHEN s.pending_restart THEN 'restart pending' ELSE '' END AS pending
    FROM pg_catalog.pg_settings AS s
    WHERE s.context <> 'internal' AND s.reset_val IS DISTINCT FROM s.boot_val
    ORDER BY s.name";

/// Settings whose text is shown. All others can hold a path, a command, a connection string or a password.
const TEXTS: [&str; 24] = [
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "client_encoding",
    "createrole_self_grant",
    "debug_io_direct",
    "default_table_access_method",
    "default_text_search_config",
    "jit_provider",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "log_destination",
    "log_timezone",
    "restrict_nonsystem_relation_kind",
    "session_preload_libraries",
    "shared_preload_libraries",
    "synchronized_standby_slots",
    "timezone_abbreviations",
    "transaction_isolation",
    "default_transaction_isolation",
    "wal_consistency_checking",
    "wal_sync_method",
];

const ROLE: &str = "/* htap-top */
    SELECT r.rolsuper::pg_catalog.text AS superuser,
           r.rolcreaterole::pg_catalog.text AS createrole,
           r.rolcreatedb::pg_catalog.text AS createdb,
           r.rolreplication::pg_catalog.text AS replication,
           r.rolbypassrls::pg_catalog.text AS bypassrls,
           r.rolinherit::pg_catalog.text AS inherit,
           r.rolconnlimit::pg_catalog.text AS connection_limit,
           (SELECT pg_catalog.string_agg(g.rolname::pg_catalog.text, ', ' ORDER BY g.rolname)
            FROM pg_catalog.pg_roles AS g
            WHERE g.rolname LIKE 'pg\\_%' AND pg_catalog.pg_has_role(r.oid, g.oid, 'USAGE')) AS predefined_roles,
           pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')::pg_catalog.text AS create_in_database,
           pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP')::pg_catalog.text AS temporary_tables
    FROM pg_catalog.pg_roles AS r
    WHERE r.rolname = CURRENT_USER";

const EXTENSIONS: &str = "/* htap-top */
    SELECT e.extname::pg_catalog.text AS name, e.extversion AS version
    FROM pg_catalog.pg_extension AS e
    ORDER BY e.extname";

/// The server's facts; if it cannot be reached, the reason.
pub(crate) async fn sections(target: &Target) -> Vec<Section> {
    match Client::open_to_watch(target, &Settings::of_monitor(STATEMENT)).await {
        Ok(client) => {
            let sections = facts(&client).await;
            client.close().await;
            sections
        }
        Err(error) => vec![Section {
            title: "Server",
            about: "why there are no facts about the server",
            body: format!("no connection: {}", reason(&error)),
        }],
    }
}

/// An error without the server's words.
pub(crate) fn reason(error: &PgError) -> String {
    match &error.sqlstate {
        Some(code) => format!("SQLSTATE {code}"),
        None => error.message.to_string(),
    }
}

async fn facts(client: &Client) -> Vec<Section> {
    let names = TEXTS.map(str::to_owned);
    let server = client.query(SERVER, &[]).await;
    let settings = client.query(SETTINGS, &[Param::Texts(&names)]).await;
    let role = client.query(ROLE, &[]).await;
    let extensions = client.query(EXTENSIONS, &[]).await;
    let body = |table: Result<Table, PgError>, write: fn(&Table) -> String| match table {
        Ok(table) => write(&table),
        Err(error) => format!("not read: {}", reason(&error)),
    };
    let connection = aligned(&[
        vec!["protection".into(), format!("{:?}", client.peer.protection)],
        vec!["pooler".into(), client.is_pooled().to_string()],
    ]);
    vec![
        Section {
            title: "Server",
            about: "version, encoding, protection of the connection; no names, no addresses",
            body: body(server, fields) + &connection,
        },
        Section {
            title: "Settings",
            about: "settings that differ from their defaults, as this role sees them; no paths, commands or connection strings",
            body: body(settings, differing),
        },
        Section {
            title: "Role",
            about: "attributes and privileges of the role, without its name",
            body: body(role, fields),
        },
        Section {
            title: "Extensions",
            about: "names and versions of extensions",
            body: body(extensions, |table| {
                lines(table, |row| {
                    vec![cell(table, row, "name"), cell(table, row, "version")]
                })
            }),
        },
    ]
}

fn known<'a>(table: &'a Table, row: usize, name: &str) -> Option<&'a str> {
    table.get(row, name).text()
}

fn cell(table: &Table, row: usize, name: &str) -> String {
    known(table, row, name).unwrap_or_default().to_owned()
}

fn lines(table: &Table, row: impl Fn(usize) -> Vec<String>) -> String {
    aligned(&(0..table.rows.len()).map(row).collect::<Vec<_>>())
}

/// The one row, a line for each column.
fn fields(table: &Table) -> String {
    let names = table.columns.iter().map(ToString::to_string);
    let rows = names.map(|name| {
        let value = table.first(&name).text().unwrap_or("none").to_owned();
        vec![name, value]
    });
    aligned(&rows.collect::<Vec<_>>())
}

fn differing(table: &Table) -> String {
    lines(table, |row| {
        let value = known(table, row, "value");
        let value = value.map_or("(set, not shown)".to_owned(), str::to_owned);
        let unit = cell(table, row, "unit");
        let pending = cell(table, row, "pending");
        let value = [value, unit, pending].join(" ");
        vec![cell(table, row, "name"), value.trim_end().to_owned()]
    })
}
