//! Options of `htap-top route`.

use super::Connection;
use crate::pg::conninfo::Flags;
use crate::router::OLAP_COST;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Options of `route`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Routes statements one after another, as one session would send them: what follows BEGIN goes \
                  where BEGIN went. Runs none of them: it looks up names on the server, and plans with EXPLAIN, \
                  which calls functions labelled stable or immutable. Connect as the role that reads (htap_olap), \
                  not as a superuser: its search path, policies and privileges count. Each argument is one client \
                  message; in a file, each statement is one."
)]
pub struct Route {
    /// Statements
    #[arg(value_name = "SQL")]
    pub statements: Vec<String>,
    /// Read statements from this file; - means standard input
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "statements")]
    pub file: Option<PathBuf>,
    /// Show 16 statements that a keyword router misroutes, with both routers' decisions
    #[arg(long, conflicts_with_all = ["statements", "file", "offline"])]
    pub traps: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Plan cost from which a read goes to the OLAP pool
    #[arg(long, value_name = "COST", default_value_t = OLAP_COST, value_parser = parse_cost)]
    pub olap_cost: f64,
    /// Do not connect: uncommon functions go to the primary, and the pool is estimated
    #[arg(long, conflicts_with_all = ["host", "port", "user", "dbname", "replica"])]
    pub offline: bool,
    /// Replica to ask for its replay position; without it, a fully caught-up replica is assumed
    #[arg(long, value_name = "CONNINFO")]
    pub replica: Option<String>,
    /// Connection options, as in psql.
    #[command(flatten)]
    pub connection: Connection,
}

/// Output format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// A JSON object per line
    Json,
}

impl Route {
    /// Returns the connection settings.
    pub fn flags(&self) -> Flags {
        self.connection.flags(None)
    }
}

fn parse_cost(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(cost) if cost >= 0.0 => Ok(cost),
        _ => Err("expected a plan cost of at least 0".to_owned()),
    }
}
