//! The beginning of a connection: who asks, and whether PostgreSQL knows them by their password.

use super::fault::{Fault, fault, unsupported};
use super::variables::Variables;
use super::wire::{Fields, Wire, put_error, put_status, put_text};
use crate::columnar::error::ColumnarError;
use crate::columnar::options::Options;
use crate::columnar::session::Session;
use crate::pg::{COLUMN_STORE, PgError, Target};
use std::io;

/// Codes that stand in place of a protocol's version.
const CANCEL: i32 = 80_877_102;
const TLS: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
/// The version of the protocol.
const MAJOR: i32 = 3;

/// What a connection is for.
pub(super) enum Wanted {
    /// To end the statement of the session with this number and secret.
    Cancel(i32, i32),
    /// A session.
    Session(Startup),
}

/// What a client says first.
pub(super) struct Startup {
    user: String,
    database: String,
    settings: Vec<(String, String)>,
}

/// Reads what a client wants.
pub(super) async fn wanted(wire: &mut Wire) -> Result<Wanted, Fault> {
    for _ in 0..3 {
        let mut fields = wire.first().await?;
        match fields.i32()? {
            // There is no encryption: the address is loopback.
            TLS | GSS => {
                wire.add_raw(b"N");
                wire.send().await?;
            }
            CANCEL => return Ok(Wanted::Cancel(fields.i32()?, fields.i32()?)),
            version if version >> 16 == MAJOR => {
                let (startup, unknown) = startup(&mut fields)?;
                if version & 0xFFFF > 0 || !unknown.is_empty() {
                    wire.add(b'v', |out| {
                        out.extend_from_slice(&(MAJOR << 16).to_be_bytes());
                        let count = i32::try_from(unknown.len()).unwrap_or_default();
                        out.extend_from_slice(&count.to_be_bytes());
                        for name in &unknown {
                            put_text(out, name);
                        }
                    });
                }
                return Ok(Wanted::Session(startup));
            }
            _ => {
                return Err(fault(
                    "0A000",
                    "unsupported frontend protocol: use version 3.0",
                ));
            }
        }
    }
    Err(fault("08P01", "expected a startup message"))
}

fn startup(fields: &mut Fields) -> Result<(Startup, Vec<String>), Fault> {
    let (mut user, mut database, mut settings, mut unknown) = (None, None, Vec::new(), Vec::new());
    loop {
        let name = fields.text()?;
        if name.is_empty() {
            break;
        }
        let value = fields.text()?;
        match name.to_lowercase().as_str() {
            "user" => user = Some(value),
            "database" => database = Some(value),
            "replication" if !matches!(value.as_str(), "false" | "off" | "no" | "0") => {
                return Err(unsupported("replication is not supported"));
            }
            "replication" => {}
            "options" => settings.extend(given(&value)?),
            name if name.starts_with("_pq_.") => unknown.push(name.to_owned()),
            name => settings.push((name.to_owned(), value)),
        }
    }
    let user = user.filter(|user| !user.is_empty());
    let user = user.ok_or_else(|| {
        fault(
            "28000",
            "no PostgreSQL user name specified in startup packet",
        )
    })?;
    let startup = Startup {
        database: database
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| user.clone()),
        user,
        settings,
    };
    Ok((startup, unknown))
}

/// Settings in the form of command-line options, `-c name=value`.
fn given(options: &str) -> Result<Vec<(String, String)>, Fault> {
    let mut words = options.split_ascii_whitespace();
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next(),
            Some(setting) => Some(setting),
            None => word.strip_prefix("--"),
        };
        let pair = setting.and_then(|setting| setting.split_once('='));
        let Some((name, value)) = pair else {
            return Err(unsupported(
                "of the options for the server only -c NAME=VALUE is supported",
            ));
        };
        settings.push((name.replace('-', "_").to_lowercase(), value.to_owned()));
    }
    Ok(settings)
}

/// Has PostgreSQL verify the password of a client. Returns its session, with its settings.
pub(super) async fn login(
    wire: &mut Wire,
    startup: &Startup,
    (target, options): (&Target, &Options),
) -> Result<(Session, Variables), Fault> {
    if startup.database != target.dbname() {
        let (there, asked) = (target.dbname(), &startup.database);
        let why = format!("database \"{asked}\" is not served here: connect to \"{there}\"");
        return Err(fault("3D000", why));
    }
    // Clear text: a hash of the password is of no use to have PostgreSQL verify it.
    wire.add(b'R', |out| out.extend_from_slice(&3_i32.to_be_bytes()));
    wire.send().await?;
    let Some((b'p', mut fields)) = wire.next().await? else {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    };
    let password = fields.text()?;
    if password.is_empty() {
        let why = format!(
            "password authentication failed for user \"{}\"",
            startup.user
        );
        return Err(fault("28P01", why));
    }
    let target = target.with_login(&startup.user, &password);
    let mut session = Session::of_client(&target, options);
    let client = session.lend().await?;
    let sql = "SELECT pg_catalog.current_setting('server_version') AS version, pg_catalog.current_setting('is_superuser') AS superuser";
    let facts = client.query(sql, &[]).await;
    let facts = facts.map_err(|error: PgError| ColumnarError::server("connect")(error))?;
    let fact = |name: &str| facts.first(name).raw().unwrap_or_default().to_owned();
    session.give_back(client);
    let mut variables = Variables::default();
    for (name, value) in &startup.settings {
        variables
            .set(&mut session, name, Some(value), false)
            .await?;
    }
    wire.add(b'R', |out| out.extend_from_slice(&0_i32.to_be_bytes()));
    let zone = variables.show(&mut session, "timezone").await?;
    for (name, value) in [
        ("server_version", fact("version").as_str()),
        ("is_superuser", &fact("superuser")),
        ("session_authorization", &startup.user),
        ("server_encoding", "UTF8"),
        ("client_encoding", "UTF8"),
        ("DateStyle", "ISO, MDY"),
        ("IntervalStyle", "postgres"),
        ("TimeZone", &zone),
        ("integer_datetimes", "on"),
        ("standard_conforming_strings", "on"),
        ("default_transaction_read_only", "on"),
        (COLUMN_STORE, "on"),
    ] {
        put_status(wire, name, value);
    }
    wire.is_trusted();
    Ok((session, variables))
}

/// Tells a client why its connection ends, if it still listens.
pub(super) async fn farewell(wire: &mut Wire, why: Fault) {
    match why {
        Fault::Told {
            code,
            message,
            hint,
        } => put_error(wire, "FATAL", (&code, &message, hint.as_deref())),
        // What came was not the protocol.
        Fault::Lost(error) if error.kind() == io::ErrorKind::InvalidData => {
            put_error(wire, "FATAL", ("08P01", &error.to_string(), None));
        }
        Fault::Lost(_) => return,
    }
    let _ = wire.send().await;
}
