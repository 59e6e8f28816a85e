//! PgBouncer's admin console: a database of its own, which answers SHOW commands and nothing else.
//!
//! It speaks the simple query protocol only, refuses comments, settings and transactions, and sends every value as text.
//! The columns differ by version: those that this program uses are found by their names, and one that is missing is not
//! available.

use super::cell::TEXT_CAP;
use super::client::Client;
use super::client::session::Settings;
use super::conninfo::Target;
use super::error::{Class, PgError};
use super::table::{Table, Value};
use super::texts::ROW_LIMIT;
use crate::text::Clean;
use futures_util::{TryStreamExt, pin_mut};
use std::sync::OnceLock;
use tokio::time::Instant;
use tokio_postgres::SimpleQueryMessage;

/// The end of the version that an admin console reports when connecting: `1.18.0/bouncer`.
const CONSOLE: &str = "/bouncer";
/// Column with the time of an answer in seconds, for rates: the console reports no clock.
const CLOCK: &str = "now_epoch";
/// Column that a client has in common with its server connection.
const LINK: &str = "link";

/// A column of an answer that is kept.
struct Kept {
    name: &'static str,
    /// Its name in other versions; empty if it is the same in all.
    also: &'static str,
    is_figure: bool,
}

const fn text(name: &'static str) -> Kept {
    Kept {
        name,
        also: "",
        is_figure: false,
    }
}

const fn figure(name: &'static str) -> Kept {
    Kept {
        name,
        also: "",
        is_figure: true,
    }
}

const fn renamed(name: &'static str, also: &'static str) -> Kept {
    Kept {
        name,
        also,
        is_figure: true,
    }
}

/// The commands that are sent, and the columns kept of their answers.
const COMMANDS: &[(&str, &[Kept])] = &[
    (
        "SHOW POOLS",
        &[
            text("database"),
            text("user"),
            figure("cl_active"),
            figure("cl_waiting"),
            figure("sv_active"),
            figure("sv_idle"),
            figure("sv_used"),
            figure("sv_tested"),
            figure("sv_login"),
            figure("maxwait"),
            figure("maxwait_us"),
            text("pool_mode"),
        ],
    ),
    (
        "SHOW STATS",
        &[
            text("database"),
            figure("total_xact_count"),
            figure("total_query_count"),
            figure("total_received"),
            figure("total_sent"),
            figure("total_query_time"),
            figure("total_wait_time"),
        ],
    ),
    (
        "SHOW DATABASES",
        &[
            text("name"),
            text("database"),
            text("force_user"),
            figure("pool_size"),
            renamed("reserve_pool", "reserve_pool_size"),
            renamed("max_connections", "max_server_connections"),
            figure("current_connections"),
            figure("paused"),
            figure("disabled"),
        ],
    ),
    (
        "SHOW SERVERS",
        &[
            text("database"),
            text("user"),
            text("state"),
            text("addr"),
            figure("port"),
            figure("local_port"),
            text("ptr"),
            text(LINK),
            figure("remote_pid"),
        ],
    ),
    (
        "SHOW CLIENTS",
        &[
            text("database"),
            text("user"),
            text("addr"),
            figure("port"),
            text("ptr"),
            text(LINK),
            text("application_name"),
        ],
    ),
    ("SHOW VERSION", &[text("version")]),
];

fn kept(command: &str) -> &'static [Kept] {
    let found = COMMANDS.iter().find(|(name, _)| *name == command);
    found.map_or(&[], |(_, kept)| kept)
}

/// Names of the columns of a command's answer; none if the command is not one of the console's.
#[cfg(test)]
pub(crate) fn columns(command: &str) -> Vec<String> {
    let names = kept(command).iter().map(|kept| kept.name.to_owned());
    let mut names: Vec<String> = names.collect();
    if !names.is_empty() {
        names.push(CLOCK.to_owned());
    }
    names
}

/// Opens a session without any set-up, which the console would refuse.
///
/// # Errors
/// Those of [`Client::open`]; [`Class::Configuration`] with a cure if the console refuses the user, or if it is no
/// console.
pub(super) async fn open(target: &Target) -> Result<Client, PgError> {
    let opened = Client::open_to_watch(target, &Settings::default()).await;
    let client = opened.map_err(|error| explained(error, target))?;
    let version = client.server_version();
    if version.ends_with(CONSOLE) {
        return Ok(client);
    }
    let version = version.split(' ').next().unwrap_or_default();
    let why = format!(
        "database {} at {} is one of PostgreSQL {version}, not PgBouncer's admin console: the pooler's conninfo needs \
         PgBouncer's host and port (usually 6432) and dbname=pgbouncer",
        Clean::new(target.dbname()),
        target.host_display(),
    );
    client.close().await;
    Err(PgError::new(Class::Configuration, why))
}

/// Returns the error with its cure. PgBouncer reports most refusals as violations of the protocol, which do not tell
/// that only the user can fix them.
fn explained(error: PgError, target: &Target) -> PgError {
    let (user, place) = (Clean::new(target.user()), target.host_display());
    let said = error.message.as_str();
    let why = match error.code() {
        "" => return error,
        "3D000" => format!(
            "{said}: the pooler's conninfo needs the host and port of PgBouncer (usually 6432), and {place} seems to be \
             PostgreSQL"
        ),
        _ if said.contains("not allowed") => format!(
            "user {user} may not use PgBouncer's admin console at {place}: add {user} to stats_users in pgbouncer.ini, \
             then RELOAD"
        ),
        _ if said.contains("authentication failed") || said.contains("no such user") => format!(
            "PgBouncer at {place} refuses user {user} or the password ({said}): the user must be in auth_file with this \
             password, and in stats_users of pgbouncer.ini"
        ),
        _ if said.contains("startup parameter") => format!(
            "PgBouncer at {place}: {said}: leave it out of the pooler's conninfo, or add it to ignore_startup_parameters"
        ),
        _ if said.contains("no more connections") => {
            return PgError {
                class: Class::BackOff,
                ..error
            };
        }
        _ => return error,
    };
    PgError::new(Class::Configuration, why)
}

/// Runs a command, at the time `now`, and returns the columns of its answer that are used. Of the clients only those with a server connection
/// are returned: there may be thousands of others.
///
/// # Errors
/// Those of the console and the connection.
pub(super) async fn ask(client: &Client, command: &str, now: Instant) -> Result<Table, PgError> {
    let failed = |error| client.failed(error);
    let kept = kept(command);
    let linked_only = command == "SHOW CLIENTS";
    let names = kept.iter().map(|kept| kept.name).chain([CLOCK]);
    let mut table = Table {
        columns: names.map(Into::into).collect(),
        rows: Vec::new(),
    };
    let now_s = Value::Float(clock_s(now));
    let mut places: Vec<Option<usize>> = vec![None; kept.len()];
    let stream = client.inner().simple_query_raw(command).await;
    let stream = stream.map_err(failed)?;
    pin_mut!(stream);
    while let Some(message) = stream.try_next().await.map_err(failed)? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                let place = |name: &str| columns.iter().position(|column| column.name() == name);
                let of = |kept: &Kept| place(kept.name).or_else(|| place(kept.also));
                places = kept.iter().map(of).collect();
            }
            SimpleQueryMessage::Row(row) if table.rows.len() < ROW_LIMIT => {
                let cell = |(kept, place): (&Kept, &Option<usize>)| {
                    let text = place.map(|place| row.try_get(place)).transpose();
                    let text = text.map_err(failed)?;
                    Ok(text.map_or(Value::Unavailable, |text| value(kept, text)))
                };
                let cells = kept.iter().zip(&places).map(cell);
                let mut cells: Vec<Value> = cells.collect::<Result<_, PgError>>()?;
                let link = kept.iter().position(|kept| kept.name == LINK);
                let link = link.and_then(|link| cells.get(link)?.text());
                if linked_only && link.is_none_or(str::is_empty) {
                    continue;
                }
                cells.push(now_s.clone());
                table.rows.push(cells);
            }
            _ => {}
        }
    }
    Ok(table)
}

fn value(kept: &Kept, text: Option<&str>) -> Value {
    let Some(text) = text else { return Value::Null };
    if !kept.is_figure {
        return Value::Text(Clean::from_bytes(text.as_bytes(), TEXT_CAP));
    }
    let whole = text.parse().ok().map(Value::Int);
    let fraction = || text.parse().ok().map(Value::Float);
    whole.or_else(fraction).unwrap_or(Value::Unavailable)
}

/// Seconds from the first time that this was called with to `now`.
fn clock_s(now: Instant) -> f64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let begun = *BEGUN.get_or_init(|| now);
    now.duration_since(begun).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str, message: &str) -> PgError {
        let flags = crate::pg::Flags {
            conninfo: Some("host=bouncer port=6432 user=app dbname=pgbouncer".into()),
            ..crate::pg::Flags::default()
        };
        let target = Target::resolve(&flags, &|_| None).unwrap();
        let error = PgError {
            sqlstate: Some(code.into()),
            ..PgError::new(crate::pg::error::classify(code), message)
        };
        explained(error, &target)
    }

    #[test]
    fn a_refusal_says_what_to_do_and_is_not_repeated() {
        for (code, message, cure) in [
            ("08P01", "not allowed", "add app to stats_users"),
            ("08P01", "password authentication failed", "in auth_file"),
            ("28P01", "password authentication failed", "in auth_file"),
            ("08P01", "no such user: app", "in auth_file"),
            (
                "3D000",
                "database \"pgbouncer\" does not exist",
                "seems to be PostgreSQL",
            ),
            (
                "08P01",
                "unsupported startup parameter: options",
                "ignore_startup_parameters",
            ),
        ] {
            let error = refused(code, message);
            assert_eq!(error.class, Class::Configuration, "{error}");
            assert!(error.message.as_str().contains(cure), "{error}");
        }
        let full = refused("08P01", "no more connections allowed (max_client_conn)");
        assert_eq!(full.class, Class::BackOff);
        let other = refused("08P01", "bad packet");
        assert_eq!(other.class, Class::Reconnect);
    }

    #[test]
    fn a_figure_is_a_number_and_a_name_stays_a_text() {
        let cell = |kept: &Kept, text| value(kept, Some(text));
        assert_eq!(cell(&text("database"), "007"), Value::from("007"));
        assert_eq!(cell(&figure("maxwait"), "7"), Value::Int(7));
        let large = cell(&figure("total_sent"), "18446744073709551615");
        assert!(large.number() > Some(1e19), "{large:?}");
        assert_eq!(cell(&figure("maxwait"), "; --"), Value::Unavailable);
        assert_eq!(value(&figure("maxwait"), None), Value::Null);
    }
}
