//! Options of `htap-top workload` and `htap-top order`.

use super::{Connection, Server};
use crate::format::duration::parse as parse_duration;
use crate::system::orders::{Commit, Line, Step, Strategy};
use crate::workload::{Mix, Options, Source, Spread};
use clap::{Args, Subcommand};
use std::time::Duration;

/// Output format of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

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

Transactions run as htap_oltp and reports as htap_olap; the user in CONNINFO does not matter. Orders are real and remain.
The reports are the case study's three: sales by hour, sales by category, customers by segment.")]
pub struct Workload {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// Transactions per second
    #[arg(long, value_name = "RATE", default_value_t = 500.0, value_parser = super::parse_rate)]
    pub oltp: f64,
    /// Reports per second
    #[arg(long, value_name = "RATE", default_value_t = 5.0, value_parser = super::parse_rate)]
    pub olap: f64,
    /// Hybrid transactions per second, in addition: an order whose transaction also reads what its customer has spent
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = super::parse_rate)]
    pub hybrid: f64,
    /// Measured time
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_span)]
    pub duration: Duration,
    /// Time over which the rates rise from 0, before the warm-up
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub ramp: Duration,
    /// Warm-up time before the measured time
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = parse_duration)]
    pub warm_up: Duration,
    /// Sessions for transactions
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=100))]
    pub clients: u16,
    /// Sessions for reports
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=20))]
    pub olap_clients: u16,
    /// Maximum number of concurrent reports; default: the number of processors of this machine
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=20))]
    pub olap_limit: Option<u16>,
    /// Distribution of arrivals: poisson or fixed
    #[arg(long, default_value = "poisson")]
    pub arrivals: Spread,
    /// Mix of transactions: shop, orders, lives, or shares (below)
    #[arg(long, default_value = "shop")]
    pub mix: Mix,
    /// Zipf exponent of product popularity; 0 means all products are equally popular
    #[arg(long, value_name = "EXPONENT", default_value_t = 1.1, value_parser = parse_skew)]
    pub skew: f64,
    /// Method of creating orders: group, function, pipelined, or round-trips (the case study's way, for comparison)
    #[arg(long, default_value = "group")]
    pub strategy: Strategy,
    /// Commit asynchronously: a server crash may lose the last 0.6 s
    #[arg(long)]
    pub async_commit: bool,
    /// Give every order a request key, and resend it with that key if its session is lost
    #[arg(long)]
    pub keys: bool,
    /// Source of reports: rollup (merged summaries), mv (materialized views) or base (the orders)
    #[arg(long, default_value = "rollup")]
    pub reports: Source,
    /// Do not restock before the run: products may sell out
    #[arg(long)]
    pub keep_stock: bool,
    /// Random seed
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

impl Workload {
    /// Returns the options of the load.
    pub fn options(&self) -> Options {
        let usual = Options::default();
        Options {
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

/// Options of `order`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Give the connection with -h -p -U -d or in the environment, as for psql. The role htap_oltp has the privileges needed.

  htap-top order create -d shop -U htap_oltp --user 7 --line 17x3 --line 4 --key cart-981
  htap-top order pay -d shop -U htap_oltp 867239742423040001")]
pub struct Order {
    /// The command.
    #[command(subcommand)]
    pub deed: Deed,
}

/// Commands of `order`.
#[derive(Clone, Debug, Subcommand)]
pub enum Deed {
    /// Create an order, all or nothing, at catalogue prices
    Create {
        /// Connection, durability and output.
        #[command(flatten)]
        way: Way,
        /// User who orders
        #[arg(long = "user", value_name = "ID")]
        buyer: i64,
        /// Product and quantity, such as 17x3, or 17 for one piece; can be repeated
        #[arg(long = "line", value_name = "PRODUCT[xPIECES]", required = true, value_parser = parse_line)]
        lines: Vec<Line>,
        /// Request key: sending the order again with the same key does not create it twice
        #[arg(long)]
        key: Option<String>,
        /// function, pipelined, group or round-trips
        #[arg(long, default_value = "function")]
        strategy: Strategy,
    },
    /// Advance an order.
    #[command(flatten)]
    Step(StepDeed),
    /// Record that a user logged in
    Login {
        /// Connection, durability and output.
        #[command(flatten)]
        way: Way,
        /// User who logged in
        #[arg(value_name = "USER")]
        who: i64,
    },
}

impl Deed {
    /// Returns the connection, durability and output of the command.
    pub fn way(&self) -> &Way {
        match self {
            Self::Create { way, .. } | Self::Login { way, .. } => way,
            Self::Step(deed) => &deed.which().way,
        }
    }
}

/// A step of an order.
#[derive(Clone, Debug, Subcommand)]
pub enum StepDeed {
    /// pending to paid
    Pay(Which),
    /// paid to shipped
    Ship(Which),
    /// shipped to completed
    Complete(Which),
    /// pending or paid to cancelled; its goods return to stock
    Cancel(Which),
}

impl StepDeed {
    /// Returns the step.
    pub fn step(&self) -> Step {
        match self {
            Self::Pay(_) => Step::Pay,
            Self::Ship(_) => Step::Ship,
            Self::Complete(_) => Step::Complete,
            Self::Cancel(_) => Step::Cancel,
        }
    }

    /// Returns the order to advance.
    pub fn which(&self) -> &Which {
        match self {
            Self::Pay(which) | Self::Ship(which) | Self::Complete(which) | Self::Cancel(which) => {
                which
            }
        }
    }
}

/// An order to advance.
#[derive(Clone, Debug, Args)]
pub struct Which {
    /// Connection, durability and output.
    #[command(flatten)]
    pub way: Way,
    /// Order number
    #[arg(value_name = "ORDER")]
    pub order: i64,
}

/// Options of connection, durability and output.
#[derive(Clone, Debug, Args)]
pub struct Way {
    /// The server.
    #[command(flatten)]
    pub connection: Connection,
    /// Commit asynchronously: a server crash may lose the last 0.6 s
    #[arg(long = "async")]
    pub async_commit: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

impl Way {
    /// Returns the durability of the commit.
    pub fn commit(&self) -> Commit {
        commit(self.async_commit)
    }

    /// Returns the server.
    pub fn server(&self) -> Server {
        Server {
            conninfo: None,
            connection: self.connection.clone(),
        }
    }
}

fn commit(asynchronous: bool) -> Commit {
    if asynchronous {
        Commit::Asynchronous
    } else {
        Commit::Synchronous
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

fn parse_line(text: &str) -> Result<Line, String> {
    let (product, quantity) = text.split_once('x').unwrap_or((text, "1"));
    match (product.parse(), quantity.parse()) {
        (Ok(product), Ok(quantity)) => Ok(Line { product, quantity }),
        _ => Err("expected a product number and how many pieces, such as 17x3".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn workload(arguments: &[&str]) -> Option<super::Workload> {
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
        let options = wanted.options();
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

    #[test]
    fn an_order_has_lines() {
        let parse = |words: &[&str]| Cli::try_parse_from([&["htap-top", "order"], words].concat());
        assert!(
            parse(&[
                "create", "--user", "7", "--line", "17x3", "--line", "4", "--key", "k", "-d",
                "shop"
            ])
            .is_ok()
        );
        assert!(parse(&["pay", "123", "-U", "me", "--async"]).is_ok());
        assert!(parse(&["login", "7", "--format", "json"]).is_ok());
        for wrong in [
            &["create", "--user", "7"][..],
            &["create", "--line", "1"],
            &["create", "--user", "7", "--line", "x"],
            &["create", "--user", "7", "--line", "3x"],
            &["create", "--user", "me", "--line", "3"],
            &["pay"],
            &["return", "1"],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
