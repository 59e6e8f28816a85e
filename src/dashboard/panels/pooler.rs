//! The pooler: its pools with figures of their databases, and the client behind each server connection.

use crate::dashboard::rows::{Columns, Row, Rows, added, console, read};
use crate::pg::{Table, Value};
use crate::text::Clean;
use std::collections::HashMap;

/// The admin console's own database, which has no server.
const CONSOLE: &str = "pgbouncer";
/// The oldest version of PgBouncer that reports all that is shown.
const OLDEST: (u32, u32) = (1, 18);
/// PgBouncer's text for a client on a Unix-domain socket.
const UNIX: &str = "unix";

/// Adds the longest wait, the size of the pool and the rates of its database; the pool of the admin console is left out.
pub(crate) fn derive(mut table: Table, stats: &Table, databases: &Table) -> Table {
    let columns = console::ClientPool::of(&table);
    table.drop_rows(|table, row| Row::of(table, columns, row).database().name() == CONSOLE);
    let added = added::ToPooler::to(&mut table);
    let rates = Rows::<console::ClientRates>::of(stats);
    let known = Rows::<console::PooledDatabase>::of(databases);
    for row in 0..table.rows.len() {
        let pool = Row::of(&table, columns, row);
        let name = pool.database().name();
        let (whole, part) = (pool.maxwait(), pool.maxwait_us());
        let wait_s = whole.map(|whole| whole + part.unwrap_or(0.0) / 1e6);
        let database = known.iter().find(|row| row.name().name() == name);
        let rates = rates.iter().find(|row| row.database().name() == name);
        let size = database.and_then(|row| row.pool_size());
        let paused = database.map(is_held);
        table.put(
            row,
            added.wait_s,
            wait_s.map_or(Value::Unavailable, Value::Float),
        );
        table.put(
            row,
            added.pool_size,
            size.map_or(Value::Pending, Value::Int),
        );
        table.put(
            row,
            added.paused,
            paused.map_or(Value::Pending, Value::Bool),
        );
        let cells = rates.map_or([const { Value::Pending }; 6], figures);
        let places = [
            added.xacts_per_s,
            added.queries_per_s,
            added.received_bytes_per_s,
            added.sent_bytes_per_s,
            added.mean_wait_ms,
            added.mean_query_ms,
        ];
        for (place, cell) in places.into_iter().zip(cells) {
            table.put(row, place, cell);
        }
    }
    table
}

/// Returns true if no client of the database gets a server connection.
fn is_held(database: Row<'_, console::PooledDatabase>) -> bool {
    database.paused() == Some(1) || database.disabled() == Some(1)
}

/// Transactions, statements, bytes received and sent per second; mean wait of a transaction and mean time of a statement.
fn figures(rates: Row<'_, console::ClientRates>) -> [Value; 6] {
    let (xacts, queries) = (rates.total_xact_count(), rates.total_query_count());
    [
        xacts.clone(),
        queries.clone(),
        rates.total_received().clone(),
        rates.total_sent().clone(),
        mean_ms(rates.total_wait_time(), xacts),
        mean_ms(rates.total_query_time(), queries),
    ]
}

/// Divides microseconds per second by events per second; `None` if nothing happened.
fn mean_ms(us: &Value, events: &Value) -> Value {
    match (us.number(), events.number()) {
        (Some(us), Some(events)) if events > 0.0 => Value::Float(us / events / 1000.0),
        (Some(_), Some(_)) => Value::Null,
        _ => us.clone(),
    }
}

/// Longest wait of a client for a server connection in seconds; `None` if it is not known.
pub(crate) fn longest_wait_s(pools: Rows<'_, console::ClientPool>) -> Option<f64> {
    let waits = pools.iter().filter_map(|row| row.wait_s());
    let longest = waits.reduce(f64::max);
    longest.or((pools.is_told() && pools.is_empty()).then_some(0.0))
}

/// Returns the reason why figures are missing, if the pooler is older than what this program knows.
pub(crate) fn outdated(version: &str) -> Option<String> {
    let number = version.split_whitespace().last()?;
    let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
    let found = (parts.next()??, parts.next()??);
    let (major, minor) = OLDEST;
    (found < OLDEST).then(|| {
        format!("{version} is older than {major}.{minor}: what it lacks is n/a; upgrade PgBouncer")
    })
}

/// A server connection of the pooler that belongs to a backend of the watched server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Behind {
    /// The pool's database and user, as in pgbouncer.ini.
    pub(crate) pool: (Box<str>, Box<str>),
    /// The client that uses it, with address, port and application name; empty if none does.
    pub(crate) client: String,
}

/// Finds the backends that are server connections of the pooler, by pid. A pid alone proves nothing, as PgBouncer may serve
/// other servers, too: database and role must agree, and the port of the connection, if the server shows it. If a network
/// translates ports, most connections to that server must be found here.
pub(crate) fn behind(
    activity: &Table,
    servers: &Table,
    clients: &Table,
    databases: &Table,
) -> HashMap<i64, Behind> {
    let servers = Rows::<console::ServerConnection>::of(servers);
    let clients = Rows::<console::LinkedClient>::of(clients);
    let names = Rows::<console::PooledDatabase>::of(databases);
    let names: HashMap<&str, _> = names.iter().map(|row| (row.name().name(), row)).collect();
    let backends = Rows::<read::Backend>::of(activity).iter();
    let backends: HashMap<i64, _> = backends
        .filter_map(|row| Some((row.pid().filter(|pid| *pid > 0)?, row)))
        .collect();
    let by_ptr: HashMap<&str, _> = clients.iter().map(|row| (row.ptr().name(), row)).collect();
    let mut places: HashMap<(&str, Option<i64>), Vec<Candidate<'_>>> = HashMap::new();
    for server in servers.iter().filter(|row| is_linked(*row)) {
        let found = server.remote_pid().and_then(|pid| backends.get(&pid));
        let found = found.filter(|backend| agrees(server, **backend, &names));
        let port = found.and_then(|backend| same_port(server, *backend));
        let place = (server.addr().name(), server.port());
        places.entry(place).or_default().push(Candidate {
            server,
            found: found.is_some(),
            port,
        });
    }
    let mut behind = HashMap::new();
    for candidates in places.values() {
        let proven = candidates.iter().any(|one| one.port == Some(true));
        let found = candidates.iter().filter(|one| one.found).count();
        let is_ours = |one: &&Candidate<'_>| match one.port {
            Some(true) => true,
            Some(false) => !proven && found * 2 > candidates.len(),
            None => one.found && (proven || found * 2 > candidates.len()),
        };
        for Candidate { server, .. } in candidates.iter().filter(is_ours) {
            let client = by_ptr.get(server.link().name());
            // Both must say so: otherwise the connection was just changing hands.
            let client = client.filter(|client| client.link().name() == server.ptr().name());
            if let Some(pid) = server.remote_pid() {
                let pool = (server.database().name().into(), server.user().name().into());
                let client = client.map_or_else(String::new, |client| named(*client));
                behind.insert(pid, Behind { pool, client });
            }
        }
    }
    behind
}

/// A server connection, and the evidence that it belongs to the watched server.
struct Candidate<'t> {
    server: Row<'t, console::ServerConnection>,
    /// True if a backend has its pid, database and role.
    found: bool,
    /// True if that backend's client has its port; `None` if the server does not show the port.
    port: Option<bool>,
}

/// Returns true if a client has the connection.
fn is_linked(server: Row<'_, console::ServerConnection>) -> bool {
    !server.link().name().is_empty()
}

fn agrees(
    server: Row<'_, console::ServerConnection>,
    backend: Row<'_, read::Backend>,
    names: &HashMap<&str, Row<'_, console::PooledDatabase>>,
) -> bool {
    let alias = server.database().name();
    let known = names.get(alias);
    let database = known.map(|row| row.database().name());
    let database = database.filter(|name| !name.is_empty()).unwrap_or(alias);
    let user = known.map(|row| row.force_user().name());
    let user = user.filter(|name| !name.is_empty());
    let user = user.unwrap_or(server.user().name());
    backend.datname().name() == database && backend.usename().name() == user
}

/// Returns true if both ends name the same TCP port; `None` if one of them names none.
fn same_port(
    server: Row<'_, console::ServerConnection>,
    backend: Row<'_, read::Backend>,
) -> Option<bool> {
    let ours = server.local_port().filter(|port| *port > 0)?;
    let theirs = backend.client_port().filter(|port| *port > 0)?;
    Some(ours == theirs)
}

/// Returns `10.0.0.7:41234 checkout`.
fn named(client: Row<'_, console::LinkedClient>) -> String {
    let place = match (client.addr().shown(), client.port()) {
        (UNIX, _) => "local".to_owned(),
        (addr, Some(port)) if addr.contains(':') => format!("[{addr}]:{port}"),
        (addr, Some(port)) => format!("{addr}:{port}"),
        (addr, None) => addr.to_owned(),
    };
    let application = client.application_name().shown();
    format!("{place} {application}").trim_end().to_owned()
}

/// Writes the client behind each backend into the rows of the activity panel.
pub(crate) fn name_clients(activity: &mut Table, behind: &HashMap<i64, Behind>) {
    let columns = read::Backend::of(activity);
    let added = added::ToPooled::to(activity);
    for row in 0..activity.rows.len() {
        let pid = Row::of(activity, columns, row).pid();
        let found = pid.and_then(|pid| behind.get(&pid));
        let client = found.map(|found| found.client.as_str());
        let client = client.filter(|client| !client.is_empty());
        let cell = client.map_or(Value::Null, |client| Value::Text(Clean::from(client)));
        activity.put(row, added.pooler_client, cell);
    }
}

#[cfg(test)]
mod tests;
