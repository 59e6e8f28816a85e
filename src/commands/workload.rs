//! `htap-top workload`.

use super::options::{Format, Server, commit, parse_rate};
use super::{
    FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, interrupted, print, resolved, target,
};
use crate::format::duration::parse as parse_duration;
use crate::pg::{Flags, Target};
use crate::system::orders::Strategy;
use crate::workload::{self, Live, Mix, Source, Spread, WorkloadError};
use clap::Args;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// Options of `workload`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Open loop: work falls due at the given rates however slow the server is, and its latency counts from then on.
Order of events: rates rise (--ramp), --warm-up, then --duration is measured. Ctrl-C ends it and prints the report.

  --mix shop     of 100 transactions 41 look at a product, 8 log in, 14 create an order
                 of 1 to 5 lines, and 37 lead an order on (pay, ship, complete, cancel);
                 if no order waits for a step, it is a look
  --mix orders   every transaction creates an order
  --mix lives    only whole lives of orders: create, pay, ship, complete
  --mix browse=50,log_in=10,create=12,steps=28   your own shares

With --replica, reports run on the replica, and a product is looked at there once it has replayed what this client
wrote before. While the replica lags, is paused or lost, the primary serves all.

Transactions run as htap_oltp and reports as htap_olap; the user in CONNINFO does not matter. Orders are real and remain.
The reports are the case study's three: sales by hour, sales by category, customers by segment.")]
pub(super) struct Options {
    /// The server.
    #[command(flatten)]
    server: Server,
    /// Streaming replica that serves reports and other reads; reads that it cannot serve go to CONNINFO
    #[arg(long, value_name = "CONNINFO")]
    replica: Option<String>,
    /// Transactions per second
    #[arg(long, value_name = "RATE", default_value_t = 500.0, value_parser = parse_rate)]
    oltp: f64,
    /// Reports per second
    #[arg(long, value_name = "RATE", default_value_t = 5.0, value_parser = parse_rate)]
    olap: f64,
    /// Hybrid transactions per second, in addition: an order whose transaction also reads what its customer has spent
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = parse_rate)]
    hybrid: f64,
    /// Measured time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_span)]
    duration: Duration,
    /// Time over which the rates rise from 0, before the warm-up
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    ramp: Duration,
    /// Warm-up time before the measured time
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    warm_up: Duration,
    /// Sessions for transactions
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=100))]
    clients: u16,
    /// Sessions for reports
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
    olap_clients: u16,
    /// Maximum number of concurrent reports; default: the number of processors of this machine
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=20))]
    olap_limit: Option<u16>,
    /// Distribution of arrivals: poisson or fixed
    #[arg(long, default_value = "poisson")]
    arrivals: Spread,
    /// Mix of transactions: shop, orders, lives, or shares (below)
    #[arg(long, default_value = "shop")]
    mix: Mix,
    /// Zipf exponent of product popularity; 0 means all products are equally popular
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.1, value_parser = parse_skew)]
    skew: f64,
    /// Method of creating orders: group, function, pipelined, or round-trips (the case study's way, for comparison)
    #[arg(long, default_value = "group")]
    strategy: Strategy,
    /// Commit asynchronously: a server crash may lose the last 0.6 s
    #[arg(long)]
    async_commit: bool,
    /// Give every order a request key, and resend it with that key if its session is lost
    #[arg(long)]
    keys: bool,
    /// Source of reports: rollup (merged summaries), mv (materialized views) or base (the orders)
    #[arg(long, default_value = "rollup")]
    reports: Source,
    /// Do not restock before the run: products may sell out
    #[arg(long)]
    keep_stock: bool,
    /// Random seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Options {
    /// Returns the options of the load.
    fn load(&self, replica: Option<Target>) -> workload::Options {
        let usual = workload::Options::default();
        workload::Options {
            replica,
            oltp_per_s: self.oltp,
            olap_per_s: self.olap,
            hybrid_per_s: self.hybrid,
            spread: self.arrivals,
            ramp: self.ramp,
            warm_up: self.warm_up,
            duration: self.duration,
            clients: self.clients.into(),
            olap_clients: self.olap_clients.into(),
            olap_running: self.olap_limit.map_or(usual.olap_running, usize::from),
            mix: self.mix,
            skew: self.skew,
            strategy: self.strategy,
            commit: commit(self.async_commit),
            keys: self.keys,
            reports: self.reports,
            deliver: !self.keep_stock,
            seed: self.seed,
        }
    }
}

fn parse_span(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("expected a duration longer than 0".to_owned()),
        span => Ok(span),
    }
}

fn parse_skew(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(skew) if (0.0..=10.0).contains(&skew) => Ok(skew),
        _ => Err("expected a number from 0 to 10".to_owned()),
    }
}

/// Runs the load and prints the report.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let target = target(&options.server, "htap-top workload")?;
    let replica = options.replica.as_ref().map(|conninfo| {
        let flags = Flags {
            conninfo: Some(conninfo.clone()),
            ..Flags::default()
        };
        resolved(&flags, "htap-top workload")
    });
    let load = options.load(replica.transpose()?);
    let mut block = Block::new(options.format);
    let done = block_on(async {
        let stop = interrupted()?;
        workload::run(&target, &load, stop, |live| block.show(live))
            .await
            .map_err(|error| Failure::new(code(&error), error))
    });
    block.clear();
    let summary = done?;
    match options.format {
        Format::Text => print(summary.to_string().as_bytes()),
        Format::Json => {
            let json =
                serde_json::to_string_pretty(&summary).map_err(|e| Failure::new(FAILURE, e))?;
            print(format!("{json}\n").as_bytes())
        }
    }
}

fn code(error: &WorkloadError) -> u8 {
    match error {
        WorkloadError::Connect { .. } => NO_CONNECTION,
        WorkloadError::Privilege(_) => NO_PRIVILEGE,
        WorkloadError::NoShop(_) | WorkloadError::Server { .. } => FAILURE,
    }
}

/// Lines of the terminal that are rewritten repeatedly.
struct Block {
    is_shown: bool,
    lines: usize,
}

impl Block {
    fn new(format: Format) -> Self {
        Self {
            is_shown: format == Format::Text && std::io::stdout().is_terminal(),
            lines: 0,
        }
    }

    fn show(&mut self, live: &Live) {
        if self.is_shown {
            let text = live.to_string();
            self.write(&text);
            self.lines = text.lines().count();
        }
    }

    /// Moves back to its first line and clears everything from there.
    fn clear(&mut self) {
        if self.lines > 0 {
            self.write("");
            self.lines = 0;
        }
    }

    fn write(&self, text: &str) {
        let up = match self.lines {
            0 => String::new(),
            lines => format!("\x1b[{lines}A"),
        };
        let mut stdout = std::io::stdout();
        // If the terminal is gone, a signal ends the program.
        let _ = write!(stdout, "{up}\r\x1b[J{text}").and_then(|()| stdout.flush());
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::{Cli, Command};
    use clap::Parser;

    fn workload(arguments: &[&str]) -> Option<super::Options> {
        let words = [&["htap-top", "workload"], arguments].concat();
        match Cli::try_parse_from(words).ok()?.command {
            Some(Command::Workload(workload)) => Some(*workload),
            _ => None,
        }
    }

    #[test]
    fn a_workload_says_what_it_wants() {
        let wanted = workload(&[
            "shop",
            "--oltp",
            "5000",
            "--olap",
            "50",
            "--mix",
            "orders",
            "--async-commit",
            "--strategy",
            "group",
            "--duration",
            "2m",
            "--reports",
            "mv",
            "--arrivals",
            "fixed",
            "--clients",
            "100",
            "--skew",
            "0",
        ])
        .unwrap();
        let options = wanted.load(None);
        assert_eq!(options.duration.as_secs(), 120);
        assert_eq!(options.clients, 100);
        assert_eq!(wanted.server.conninfo.as_deref(), Some("shop"));
        for wrong in [
            &["--oltp", "-1"][..],
            &["--oltp", "NaN"],
            &["--duration", "0s"],
            &["--duration", "soon"],
            &["--clients", "0"],
            &["--clients", "101"],
            &["--olap-clients", "21"],
            &["--olap-limit", "0"],
            &["--skew", "-1"],
            &["--mix", "all"],
            &["--strategy", "fast"],
            &["--reports", "cube"],
            &["--arrivals", "never"],
            &["--format", "xml"],
        ] {
            assert!(workload(wrong).is_none(), "{wrong:?}");
        }
    }
}
