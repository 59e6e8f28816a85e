//! The command line: the list of commands, and what they share. Each command is a file with its options and its `run`.

mod bench;
mod columnar;
mod compare;
mod completions;
mod config;
mod dashboard;
mod demo;
mod doctor;
mod headless;
mod help;
mod init;
mod isolate;
mod man;
mod meter;
mod once;
mod options;
mod order;
mod partitions;
mod picture;
mod record;
mod refresh;
mod replay;
mod replica;
mod report;
mod route;
mod serve;
mod servers;
mod stream;
mod workload;

use crate::log::{Detail, Log, Place};
use crate::pg::{Class, Flags, PgError, Target};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use options::{Logging, Server};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

/// A terminal dashboard for a PostgreSQL that runs OLTP and OLAP side by side.
#[derive(Debug, Parser)]
#[command(
    name = "htap-top",
    version,
    disable_help_flag = true,
    disable_help_subcommand = true,
    args_conflicts_with_subcommands = true
)]
#[command(
    after_help = "Exit codes: 0 ok, 1 failure, 2 usage or configuration, 3 cannot connect, 4 insufficient privilege, 5 a check failed."
)]
pub struct Cli {
    /// Command to run; opens the dashboard if omitted.
    #[command(subcommand)]
    command: Option<Command>,
    /// Options of the dashboard.
    #[command(flatten)]
    watch: dashboard::Options,
    /// The log.
    #[command(flatten)]
    log: Logging,
    /// Print help
    #[arg(short = '?', long, action = clap::ArgAction::Help, global = true)]
    help: Option<bool>,
}

/// Commands of the program.
#[derive(Debug, Subcommand)]
enum Command {
    /// Start a throw-away PostgreSQL with the sample shop under mixed load, and open the dashboard on it
    Demo(Box<demo::Options>),
    /// Install the sample shop in your database, fill it with history, or remove it
    Init(init::Options),
    /// Run the case study's experiments on a throw-away PostgreSQL
    Bench(bench::Options),
    /// Refresh materialized views and incremental summaries, once or repeatedly
    Refresh(refresh::Options),
    /// Run a mixed OLTP/OLAP load and report latencies
    Workload(Box<workload::Options>),
    /// Create an order, advance an order, or record a login
    Order(Box<order::Options>),
    /// Show where a statement would run (primary or replica, OLTP or OLAP pool), and why
    Route(Box<route::Options>),
    /// Check what the dashboard, the refresh and the shop need, and print the fix for each finding
    Doctor(doctor::Options),
    /// Print figures once, for scripts, as a table, JSON, CSV or Prometheus text; --check sets the exit code
    Once(Box<once::Options>),
    /// Serve the figures over HTTP: to Prometheus, and as a page that shows them live
    Serve(Box<serve::Options>),
    /// Build a streaming replica of a server, show its lag, or remove it
    Replica(Box<replica::Options>),
    /// Send order events to Kafka, and keep live figures from them
    Stream(Box<stream::Options>),
    /// Keep OLAP's processes in a group of lower weight, on the database's host
    Isolate(Box<isolate::Options>),
    /// Keep closed hours of sales, orders and customers' days in column files, and query them with the rows as one
    Columnar(Box<columnar::Options>),
    /// List the shop's monthly partitions, create coming ones, archive past ones
    Partitions(partitions::Options),
    /// Record all panels to a file, without a screen
    Record(Box<record::Options>),
    /// Open a recording: step through it, play it, jump to its troubles, report one
    Replay(replay::Options),
    /// Compare two recordings: what has changed most, such as from Monday to today
    Compare(compare::Options),
    /// Write a report for an issue: versions, settings, log and recording, without secrets
    Report(report::Options),
    /// Print a configuration file with every key and its default
    Config,
    /// Print shell completions
    Completions(completions::Options),
    /// Draw a screen as SVG, for the pictures of the documentation
    #[command(hide = true)]
    Picture,
    /// Print the manual page
    Man,
    /// Show the options of a command, a page of the documentation, or the page of a panel
    Help(help::Options),
}

/// Reads the command line and runs what it names.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let command = matches.subcommand_name().unwrap_or("dashboard");
    let outcome = begin_log(&cli, command).and_then(|_log| {
        let outcome = run(cli);
        let code = outcome.as_ref().map_or_else(|failure| failure.code, |()| 0);
        tracing::info!(code, "ended");
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "htap-top: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Begins the log that the command line or the environment names.
fn begin_log(cli: &Cli, command: &str) -> Result<Option<Log>, Failure> {
    let usage = |why: String| Failure::new(USAGE, why);
    let named = cli.log.log_file.clone();
    let Some(file) = named.or_else(|| env("HTAP_TOP_LOG").map(PathBuf::from)) else {
        return Ok(None);
    };
    let detail = match (cli.log.log_level, env("HTAP_TOP_LOG_LEVEL")) {
        (Some(detail), _) => detail,
        (None, Some(word)) => Detail::from_str(&word, true).map_err(|_| {
            usage(format!(
                "HTAP_TOP_LOG_LEVEL is {word:?}: it must be info or debug"
            ))
        })?,
        (None, None) => Detail::default(),
    };
    let shown = file.display().to_string();
    let log = crate::log::begin(Place { file, detail })
        .map_err(|error| usage(format!("cannot write the log {shown}: {error}")))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        command,
        os = std::env::consts::OS,
        arch = std::env::consts::ARCH,
        "started"
    );
    Ok(Some(log))
}

/// Runs a command.
fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => match cli
            .watch
            .servers
            .conninfos
            .iter()
            .find(|word| is_command(word))
        {
            Some(word) => Err(Failure::new(
                USAGE,
                format!(
                    "{word} is a command, and commands come first: write \"htap-top {word} OPTIONS\". To open a database \
                     called {word}, write \"-d {word}\""
                ),
            )),
            _ => dashboard::run(&cli.watch),
        },
        Some(Command::Demo(options)) => demo::run(&options),
        Some(Command::Init(options)) => init::run(&options),
        Some(Command::Bench(options)) => bench::run(&options),
        Some(Command::Refresh(options)) => refresh::run(&options),
        Some(Command::Workload(options)) => workload::run(&options),
        Some(Command::Order(options)) => order::run(&options),
        Some(Command::Route(options)) => route::run(&options),
        Some(Command::Doctor(options)) => doctor::run(&options),
        Some(Command::Once(options)) => once::run(&options),
        Some(Command::Serve(options)) => serve::run(&options),
        Some(Command::Replica(options)) => replica::run(&options),
        Some(Command::Stream(options)) => stream::run(&options),
        Some(Command::Isolate(options)) => isolate::run(&options),
        Some(Command::Columnar(options)) => columnar::run(&options),
        Some(Command::Partitions(options)) => partitions::run(&options),
        Some(Command::Record(options)) => record::run(&options),
        Some(Command::Replay(options)) => replay::run(&options),
        Some(Command::Compare(options)) => compare::run(&options),
        Some(Command::Report(options)) => report::run(&options),
        Some(Command::Config) => config::run(),
        Some(Command::Completions(options)) => completions::run(&options),
        Some(Command::Picture) => picture::run(),
        Some(Command::Man) => man::run(),
        Some(Command::Help(options)) => help::run(&options),
    }
}

/// Returns true if a command is called `word`.
fn is_command(word: &str) -> bool {
    Cli::command().find_subcommand(word).is_some()
}

/// Exit codes, as listed in the help.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const NO_CONNECTION: u8 = 3;
const NO_PRIVILEGE: u8 = 4;
const MISSED: u8 = 5;

/// The reason and exit code with which the program ends.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self {
            code,
            message: format!("{message}"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(FAILURE, error)
    }
}

/// Prints to standard output. A reader that closes it early (`| head -1`) is not an error.
fn print(text: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Returns the failure of work that htap_refresh does, after this beginning of the sentence, with its exit code and what
/// to do about it.
fn refused(error: &PgError, what: &str) -> Failure {
    let code = match (error.class, error.code()) {
        (Class::Reconnect | Class::BackOff | Class::Configuration, _) => NO_CONNECTION,
        (_, "42501") => NO_PRIVILEGE,
        _ => FAILURE,
    };
    let hint = match error.code() {
        "42501" => ". Connect as htap_refresh, or as a member of it (GRANT htap_refresh TO …)",
        "25006" => ". If the server is a standby, connect to its primary",
        code => missing(code),
    };
    Failure::new(code, format!("{what}{error}{hint}"))
}

/// What to do about an error with this code if the shop is missing or an earlier one.
fn missing(code: &str) -> &'static str {
    match code {
        // undefined_table, invalid_schema_name, undefined_function, undefined_column
        "42P01" | "3F000" | "42883" | "42703" => {
            ". htap-top init installs the schema, or completes an earlier one"
        }
        _ => "",
    }
}

/// Runs `work` on a single thread, which is enough: the server does the work, and the keyboard has its own thread.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Resolves the server of a command.
fn target(server: &Server, application_name: &str) -> Result<Target, Failure> {
    resolved(&server.flags(), application_name)
}

/// Resolves connection settings; prints warnings about them to standard error.
fn resolved(flags: &Flags, application_name: &str) -> Result<Target, Failure> {
    let target = Target::resolve(flags, &env).map_err(|error| Failure::new(USAGE, error))?;
    for warning in target.warnings() {
        let _ = writeln!(std::io::stderr(), "htap-top: {warning}");
    }
    Ok(target.with_application_name(application_name))
}

/// Resolves at Ctrl-C, SIGTERM or SIGHUP, which from now on do not end the process.
fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Creates a file for its owner alone, which must not exist.
fn create(path: &Path) -> Result<File, Failure> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let shown = path.display();
    created.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(
            USAGE,
            format!("{shown} already exists: choose another file or remove it"),
        ),
        _ => Failure::new(FAILURE, format!("{shown}: {error}")),
    })
}

/// Asks for confirmation on the terminal. Returns an error if there is none, because nobody can answer.
fn confirmed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let why = "cannot ask for confirmation without a terminal; nothing was changed. Pass --yes to proceed";
        return Err(Failure::new(USAGE, why));
    }
    write!(std::io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::Parser;

    #[test]
    fn the_command_line_is_consistent_and_speaks_as_psql() {
        Cli::command().debug_assert();
        let cli = Cli::try_parse_from([
            "htap-top", "-h", "db", "-p", "5433", "-U", "me", "-d", "shop",
        ])
        .unwrap();
        assert_eq!(cli.watch.servers.connection.host.as_deref(), Some("db"));
        assert_eq!(cli.watch.servers.connection.dbname.as_deref(), Some("shop"));
        let cli =
            Cli::try_parse_from(["htap-top", "postgresql://db/shop", "--olap", "host=replica"])
                .unwrap();
        assert_eq!(cli.watch.servers.conninfos, ["postgresql://db/shop"]);
        let mut all = Cli::command();
        all.build();
        for command in all.get_subcommands() {
            let logs = |arg: &clap::Arg| arg.get_long() == Some("log");
            assert!(
                command.get_arguments().any(logs),
                "{} has no --log",
                command.get_name()
            );
        }
        let cli = Cli::try_parse_from(["htap-top", "demo", "--calm", "--pg-major", "17"]).unwrap();
        assert!(
            matches!(cli.command, Some(Command::Demo(demo)) if demo.calm && demo.pg_major == Some(17))
        );
        for wrong in [
            &["htap-top", "demo", "--pg-major", "9"][..],
            &["htap-top", "demo", "--rate", "NaN"],
            &["htap-top", "demo", "--rate", "-1"],
            &["htap-top", "--interval", "soon"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err());
        }
    }

    #[test]
    fn what_init_and_partitions_are_told_makes_sense() {
        let cli = Cli::try_parse_from(["htap-top", "init", "-h", "db", "shop", "--scale", "0.05"])
            .unwrap();
        assert!(
            matches!(cli.command, Some(Command::Init(init)) if init.scale == Some(0.05)
                && (init.days, init.seed, init.jobs) == (180, 1, None)
                && init.server.flags().conninfo.as_deref() == Some("shop")
                && init.server.flags().host.as_deref() == Some("db"))
        );
        for wrong in [
            &["htap-top", "init", "--scale", "-1"][..],
            &["htap-top", "init", "--scale", "0"],
            &["htap-top", "init", "--scale", "NaN"],
            &["htap-top", "init", "--scale", "1e4"],
            &["htap-top", "init", "--scale", "1", "--days", "0"],
            &["htap-top", "init", "--seed", "3"],
            &["htap-top", "init", "--yes"],
            &["htap-top", "partitions", "make", "--ahead", "1000"],
            &["htap-top", "partitions", "archive"],
            &["htap-top", "partitions", "archive", "--before", "May"],
            &[
                "htap-top",
                "partitions",
                "archive",
                "--before",
                "2026-06",
                "--drop",
            ],
            &["htap-top", "partitions", "attach", "2026-5"],
            &["htap-top", "init", "--uninstall", "--scale", "1"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
