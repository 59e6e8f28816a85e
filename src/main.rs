//! The `htap-top` binary: parses the command line and dispatches to the commands.

mod commands;

use clap::{CommandFactory, FromArgMatches, ValueEnum};
use commands::{Failure, USAGE, env, print};
use htap_top::cli::{Cli, Command};
use htap_top::config;
use htap_top::log::{self, Detail, Log, Place};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
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
    let log = log::begin(Place { file, detail })
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

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        None => commands::dashboard::watch(&cli.watch),
        Some(Command::Demo(demo)) if demo.headless => commands::demo::headless(&demo),
        Some(Command::Demo(demo)) => commands::dashboard::show(&demo),
        Some(Command::Init(init)) => commands::init::run(&init),
        Some(Command::Bench(bench)) => commands::bench::bench(&bench),
        Some(Command::Refresh(refresh)) => commands::refresh::refresh(&refresh),
        Some(Command::Workload(workload)) => commands::workload::put_on(&workload),
        Some(Command::Order(order)) => commands::order::run(&order.deed),
        Some(Command::Route(route)) => commands::route::route(&route),
        Some(Command::Doctor(doctor)) => commands::doctor::run(&doctor),
        Some(Command::Once(once)) => commands::once::once(&once),
        Some(Command::Serve(serve)) => commands::serve::serve(&serve),
        Some(Command::Partitions(partitions)) => commands::partitions::run(&partitions),
        Some(Command::Record(record)) => commands::record::record(&record),
        Some(Command::Replay(replay)) => commands::replay::replay(&replay),
        Some(Command::Report(report)) => commands::report::run(&report),
        Some(Command::Help { topic }) => commands::help::help(topic.as_deref()),
        Some(Command::Config) => print(config::EXAMPLE.as_bytes()),
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "htap-top", &mut text);
            print(&text)
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut text);
            rendered.map_err(Failure::from).and_then(|()| print(&text))
        }
    }
}
