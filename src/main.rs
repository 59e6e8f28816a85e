//! The `htap-top` binary. PROVISIONAL: `htap-top demo --headless` only.

use clap::Parser;
use htap_top::demo::{Options, run};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Parser)]
enum Cli {
    /// A throw-away PostgreSQL with data and load.
    #[command(after_help = htap_top::workload::troubles::SCHEDULE)]
    Demo {
        #[arg(long)]
        headless: bool,
        #[arg(long)]
        lifeline: bool,
        #[arg(long)]
        calm: bool,
        #[arg(long)]
        pg_bindir: Option<PathBuf>,
        #[arg(long)]
        pg_major: Option<u16>,
        #[arg(long)]
        listen: Option<u16>,
        #[arg(long, default_value_t = 100_000)]
        orders: u64,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long, default_value_t = 150.0)]
        rate: f64,
    },
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let Cli::Demo {
        headless: _,
        lifeline,
        calm,
        pg_bindir,
        pg_major,
        listen,
        orders,
        seed,
        rate,
    } = Cli::parse();
    let options = Options {
        pg_bindir,
        pg_major,
        calm,
        listen,
        orders,
        seed,
        rate,
        lifeline,
    };
    match run(options, &mut std::io::stdout()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "htap-top: {error}");
            ExitCode::FAILURE
        }
    }
}
