//! Options of `htap-top refresh`.

use super::{Connection, parse_duration};
use crate::pg::conninfo::Flags;
use crate::system::refresh::Mode;
use clap::Args;
use std::time::Duration;

/// Options of `refresh`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Without --every and --fresh each view is refreshed once, in the order of their \
                  dependencies.\nModes: full recomputes everything; concurrent does too, but writes only what \
                  differs; incremental merges the changes, for the summaries mart.sales_hourly, mart.fact_sales \
                  and mart.segment_rfm. Without --mode each view gets the mode that suits it best. If several \
                  refreshers run with --every or --fresh, one leads and the others wait to take over. Exit code \
                  5: --verify found a difference."
)]
pub struct Refresh {
    /// Views to refresh, such as mart.sales_hourly; default: all those installed by htap-top init
    #[arg(value_name = "VIEW", value_parser = parse_view)]
    pub views: Vec<String>,
    /// Connection options, as in psql; -d also takes a conninfo string or URI.
    #[command(flatten)]
    pub connection: Connection,
    /// full, concurrent or incremental
    #[arg(long, value_name = "MODE")]
    pub mode: Option<Mode>,
    /// Repeat, starting a refresh this often, such as 30s or 5min
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "fresh")]
    pub every: Option<Duration>,
    /// Repeat, keeping the summaries no older than this, such as 1s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub fresh: Option<Duration>,
    /// Delay refreshes while commits take longer than this, such as 50ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub oltp_limit: Option<Duration>,
    /// Verify that each incremental summary equals its recomputation (EXCEPT ALL both ways)
    #[arg(long, conflicts_with_all = ["mode", "every", "fresh", "oltp_limit", "pg_cron"])]
    pub verify: bool,
    /// Create pg_cron jobs that refresh instead of this program (needs --every of 1min or more)
    #[arg(long, conflicts_with_all = ["fresh", "oltp_limit"])]
    pub pg_cron: bool,
    /// text, or json: one object per line
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

/// Parses a view's name; rejects a connection string, which other commands take in its place.
fn parse_view(text: &str) -> Result<String, String> {
    if text.contains('=') || text.contains("://") {
        return Err("this is a connection string: pass it with -d".to_owned());
    }
    Ok(text.to_owned())
}

impl Refresh {
    /// Returns the connection settings.
    pub fn flags(&self) -> Flags {
        self.connection.flags(None)
    }
}
