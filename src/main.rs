//! The `htap-top` binary: parses the command line and dispatches to the commands.

mod commands;

use clap::{CommandFactory, Parser};
use commands::{Failure, print};
use htap_top::cli::{Cli, Command};
use htap_top::config;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
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
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "htap-top: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}
