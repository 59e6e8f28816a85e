//! `htap-top columnar`. Without cargo's feature `columnar` it only says how to get it.

#[cfg(not(feature = "columnar"))]
use super::Failure;
use super::options::Connection;
use super::serve::parse_address;
use crate::format::duration::parse as parse_duration;
use clap::{Args, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `columnar`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Needs a program that was built with the column store: cargo build --release --features columnar. See \
                  htap-top help columnar."
)]
pub(super) struct Options {
    /// Command to run.
    #[command(subcommand)]
    command: ColumnarCommand,
}

/// Commands of `columnar`.
#[derive(Clone, Debug, Subcommand)]
enum ColumnarCommand {
    /// Write closed hours of sales, orders and customers' days to column files, and those anew whose rows have changed
    #[command(
        after_help = "The first sync begins the log of changes, for which it needs a superuser; later ones can connect as \
                      htap_refresh. Run it where queries run: they read the same folder. Files that are missing or damaged \
                      are written anew from the rows."
    )]
    Sync(Syncing),
    /// Answer a SELECT from column files and, for hours that are open or have changed, from PostgreSQL
    #[command(
        after_help = "The tables are fact_sales, orders and user_day of the schema mart. What the column store does not compute exactly as PostgreSQL \
                      does is refused with exit code 2 before anything runs. EXPLAIN and EXPLAIN ANALYZE tell what is read."
    )]
    Query(Querying),
    /// Answer SELECTs by PostgreSQL's protocol, for psql and other programs on this machine
    #[command(
        after_help = "Clients connect as a role of PostgreSQL with its password, which PostgreSQL verifies: pg_hba.conf must \
                      demand one of the role. A query runs with the privileges of this role. -U and a password of one's own \
                      are not used. See htap-top help columnar. Ctrl-C or SIGTERM ends it."
    )]
    Serve(Serving),
}

/// Options of `columnar sync`.
#[derive(Clone, Debug, Args)]
struct Syncing {
    /// Connection options, as in psql; -d also takes a conninfo string or URI.
    #[command(flatten)]
    connection: Connection,
    /// Folder of the column files, or s3://BUCKET/PREFIX; default: that of the last sync
    #[arg(long, value_name = "PLACE")]
    folder: Option<OsString>,
    /// Repeat, writing an hour that has closed or changed within this time, such as 1s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    fresh: Option<Duration>,
    /// Time for which an hour stays open after its end; hours of orders stay open a day more
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1min")]
    settle: Duration,
    /// Keep hours from this many days ago on in files; older ones are read from the rows
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i64).range(1..=100_000))]
    keep: Option<i64>,
    /// Leave hours from this time on open, such as 2026-06-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    until: Option<chrono::DateTime<chrono::Utc>>,
}

/// Options of `columnar query`.
#[derive(Clone, Debug, Args)]
struct Querying {
    /// The SELECT, such as "SELECT category, sum(sales_amount) FROM fact_sales GROUP BY category"
    #[arg(value_name = "SQL")]
    sql: String,
    /// Connection options, as in psql; -d also takes a conninfo string or URI.
    #[command(flatten)]
    connection: Connection,
    /// Folder of the column files, or s3://BUCKET/PREFIX; default: that of the last sync
    #[arg(long, value_name = "PLACE")]
    folder: Option<OsString>,
    /// Format of the answer
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Time zone of the session; default: that of the role and the database
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Memory for the query, in megabytes; what needs more uses temporary files
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    memory: u32,
    /// Time that the query may take, such as 30s; default: any
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Folder of temporary files; default: the system's
    #[arg(long, value_name = "DIR")]
    temporary: Option<PathBuf>,
}

/// Options of `columnar serve`.
#[derive(Clone, Debug, Args)]
struct Serving {
    /// Connection options, as in psql; -d also takes a conninfo string or URI.
    #[command(flatten)]
    connection: Connection,
    /// Loopback address to listen on; a port alone means 127.0.0.1
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5439", value_parser = parse_address)]
    listen: SocketAddr,
    /// Clients at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    connections: u16,
    /// Folder of the column files, or s3://BUCKET/PREFIX; default: that of the last sync
    #[arg(long, value_name = "PLACE")]
    folder: Option<OsString>,
    /// Memory for all queries together, in megabytes; what needs more uses temporary files
    #[arg(long, value_name = "MB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    memory: u32,
    /// Longest time of a query, such as 30s; clients can only set a shorter statement_timeout; default: any
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    /// Folder of temporary files; default: the system's
    #[arg(long, value_name = "DIR")]
    temporary: Option<PathBuf>,
}

/// Format of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned, for people
    #[default]
    Table,
    /// An array of objects
    Json,
    /// With a header
    Csv,
    /// A stream of Arrow's IPC format, for programs
    Arrow,
}

/// Runs a command of the column store.
#[cfg(not(feature = "columnar"))]
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let command = match &options.command {
        ColumnarCommand::Sync(_) => "sync",
        ColumnarCommand::Query(_) => "query",
        ColumnarCommand::Serve(_) => "serve",
    };
    Err(Failure::new(
        super::USAGE,
        format!(
            "this program was built without the column store, so there is no columnar {command}: build it with \
             cargo build --release --features columnar (Rust 1.94 or later)"
        ),
    ))
}

#[cfg(feature = "columnar")]
pub(super) use with_it::run;

#[cfg(feature = "columnar")]
mod with_it {
    use super::{ColumnarCommand, Format, Options, Querying, Serving, Syncing};
    use crate::columnar::query::{self, query};
    use crate::columnar::sync::{self, Done, Sync};
    use crate::columnar::{ColumnarError, Form, Place, serve};
    use crate::commands::{
        FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, USAGE, interrupted, resolved,
    };
    use crate::format;
    use crate::pg::{Class, Target};
    use std::ffi::OsStr;
    use std::io::{IsTerminal as _, Write as _};
    use std::time::Duration;

    impl From<ColumnarError> for Failure {
        fn from(error: ColumnarError) -> Self {
            let code = match &error {
                ColumnarError::Unsupported(_) => USAGE,
                ColumnarError::Privilege(_) => NO_PRIVILEGE,
                ColumnarError::Server { source, .. } => match (source.class, source.code()) {
                    (Class::Reconnect | Class::BackOff | Class::Configuration, _) => NO_CONNECTION,
                    (_, "42501") => NO_PRIVILEGE,
                    _ => FAILURE,
                },
                _ => FAILURE,
            };
            Self::new(code, error)
        }
    }

    /// Runs a command of the column store.
    pub(in crate::commands) fn run(options: &Options) -> Result<(), Failure> {
        // The engine computes on several threads.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?;
        match &options.command {
            ColumnarCommand::Sync(options) => runtime.block_on(sync(options)),
            ColumnarCommand::Query(options) => runtime.block_on(ask(options)),
            ColumnarCommand::Serve(options) => runtime.block_on(serve(options)),
        }
    }

    fn place(text: Option<&OsStr>) -> Result<Option<Place>, Failure> {
        let place = text.map(Place::read).transpose();
        place.map_err(|error| Failure::new(USAGE, error))
    }

    async fn ask(options: &Querying) -> Result<(), Failure> {
        if options.format == Format::Arrow && std::io::stdout().is_terminal() {
            return Err(Failure::new(
                USAGE,
                "this format is for programs: send it to a file or a pipe, not to a terminal",
            ));
        }
        let target = resolved(&options.connection.flags(None), "htap-top columnar query")?;
        let limits = query::Options {
            folder: place(options.folder.as_deref())?,
            time_zone: options.time_zone.clone(),
            memory: options.memory as usize * 1024 * 1024,
            timeout: options.timeout,
            spill: options.temporary.clone().unwrap_or_else(std::env::temp_dir),
            form: match options.format {
                Format::Table => Form::Table,
                Format::Json => Form::Json,
                Format::Csv => Form::Csv,
                Format::Arrow => Form::Arrow,
            },
            threads: None,
        };
        let stop = interrupted()?;
        let out = std::io::BufWriter::new(std::io::stdout());
        tokio::select! {
            answered = query(&target, &options.sql, &limits, out) => match answered {
                // Nobody reads the rest.
                Err(ColumnarError::File { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
                answered => Ok(answered?),
            },
            () = stop => Err(Failure::new(FAILURE, "canceled")),
        }
    }

    async fn serve(options: &Serving) -> Result<(), Failure> {
        let target = resolved(&options.connection.flags(None), "htap-top columnar serve")?;
        let limits = query::Options {
            folder: place(options.folder.as_deref())?,
            memory: options.memory as usize * 1024 * 1024,
            timeout: options.timeout,
            spill: options.temporary.clone().unwrap_or_else(std::env::temp_dir),
            ..query::Options::default()
        };
        let stop = interrupted()?;
        let listener = serve::listen(options.listen).await?;
        let address = listener.local_addr()?;
        say(&format!(
            "htap-top: serving {} at host={} port={}",
            target.dbname(),
            address.ip(),
            address.port()
        ));
        let served = (listener, usize::from(options.connections));
        Ok(serve::serve(&target, &limits, served, stop).await?)
    }

    async fn sync(options: &Syncing) -> Result<(), Failure> {
        let target = resolved(&options.connection.flags(None), "htap-top columnar sync")?;
        let wanted = sync::Options {
            folder: place(options.folder.as_deref())?,
            settle: options.settle,
            until: options
                .until
                .map(|until| until.timestamp().div_euclid(3600)),
            keep: options.keep.map(|days| days * 24),
            fresh: options.fresh,
        };
        let stop = interrupted()?;
        tokio::select! {
            done = work(&target, wanted, options.fresh) => done,
            () = stop => Ok(()),
        }
    }

    /// Time before a new attempt after the server was lost.
    const AGAIN: Duration = Duration::from_secs(1);

    async fn work(
        target: &Target,
        wanted: sync::Options,
        fresh: Option<Duration>,
    ) -> Result<(), Failure> {
        loop {
            let lost = match rounds(target, &wanted, fresh).await {
                Err(ColumnarError::Server { source, what })
                    if fresh.is_some()
                        && matches!(source.class, Class::Reconnect | Class::BackOff) =>
                {
                    format!("failed to {what}: {source}; trying again")
                }
                ended => return Ok(ended?),
            };
            say(&lost);
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn say(what: &str) {
        let _ = writeln!(std::io::stderr(), "{what}");
    }

    async fn rounds(
        target: &Target,
        wanted: &sync::Options,
        fresh: Option<Duration>,
    ) -> Result<(), ColumnarError> {
        let (mut sync, notes) = Sync::begin(target, wanted.clone(), say).await?;
        for note in &notes {
            say(note);
        }
        loop {
            let done = sync.round(say).await?;
            for note in &done.notes {
                say(note);
            }
            if fresh.is_none() || done.written > 0 {
                report(&done)?;
            }
            match fresh {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Ok(()),
            }
        }
    }

    fn report(done: &Done) -> Result<(), ColumnarError> {
        let rows = format::count(done.rows as f64);
        let bytes = format::bytes(done.bytes as f64);
        let line = format!(
            "{} files written with {rows} rows, {bytes}; {} files in all\n",
            done.written, done.files
        );
        let written = std::io::stdout().write_all(line.as_bytes());
        written.map_err(|source| ColumnarError::File {
            what: "write to standard output".to_owned(),
            source,
        })
    }
}
