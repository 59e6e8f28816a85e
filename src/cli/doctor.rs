//! Options of `htap-top doctor`.

use super::Server;
use clap::{Args, ValueEnum};

/// Options of `doctor`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Only reads: waits for no lock and changes nothing. Exit codes: 0 nothing found, or only notes \
                  (·), 3 cannot connect, 5 a warning (▲) or a danger (✖) was found. Connect as the role that runs \
                  the dashboard: doctor also reports what that role may not see."
)]
pub struct Doctor {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Output format of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned text
    #[default]
    Table,
    /// One JSON object
    Json,
}
