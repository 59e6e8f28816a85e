//! Options of `htap-top init`.

use super::Server;
use clap::Args;

/// Options of `init`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Installs the schemas shop, mart and htap and the roles htap_oltp, htap_olap, htap_refresh and \
                  htap_monitor, all or nothing, owned by the role htap_owner, which cannot log in. An earlier \
                  version is upgraded and keeps its orders. Objects of these names that htap-top did not create \
                  are never touched. If run again, init creates what is missing and continues an interrupted \
                  load. Needs superuser, or CREATEROLE and CREATE on the database (from PostgreSQL 16 on also \
                  ADMIN OPTION on pg_monitor and pg_signal_backend)."
)]
pub struct Init {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// Fill an empty shop with history, 0.001 to 1000; 1 means 100,000 orders with 300,000 lines, about 180 MB
    #[arg(long, value_name = "N", value_parser = parse_scale)]
    pub scale: Option<f64>,
    /// Days of history
    #[arg(long, value_name = "D", default_value_t = 180, requires = "scale", value_parser = clap::value_parser!(i64).range(1..=1825))]
    pub days: i64,
    /// Random seed of the data
    #[arg(long, value_name = "S", default_value_t = 1, requires = "scale", value_parser = clap::value_parser!(u64).range(0..=i64::MAX as u64))]
    pub seed: u64,
    /// Sessions that load in parallel; default: two per processor, at most 8
    #[arg(long, value_name = "J", requires = "scale", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub jobs: Option<u8>,
    /// Print the schema's SQL instead of running it
    #[arg(long, conflicts_with_all = ["scale", "uninstall"])]
    pub dry_run: bool,
    /// Remove the schemas with their contents, and the roles if no other database uses them
    #[arg(long, conflicts_with = "scale")]
    pub uninstall: bool,
    /// Remove without asking for confirmation
    #[arg(long, requires = "uninstall")]
    pub yes: bool,
}

/// Parses a scale, in units of 100,000 orders.
fn parse_scale(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(scale) if (0.001..=1000.0).contains(&scale) => Ok(scale),
        _ => Err("expected a number from 0.001 to 1000".to_owned()),
    }
}
