//! `htap-top doctor`.

use super::options::Server;
use super::{FAILURE, Failure, MISSED, NO_CONNECTION, block_on, print, target};
use crate::doctor::{Severity, check, examine, report};
use clap::{Args, ValueEnum};

/// Options of `doctor`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Only reads: waits for no lock and changes nothing. Exit codes: 0 nothing found, or only notes \
                  (·), 3 cannot connect, 5 a warning (▲) or a danger (✖) was found. Connect as the role that runs \
                  the dashboard: doctor also reports what that role may not see."
)]
pub(super) struct Options {
    /// The server.
    #[command(flatten)]
    server: Server,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Output format of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned text
    #[default]
    Table,
    /// One JSON object
    Json,
}

/// Checks the requirements of the dashboard, the refresh and the shop.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    check::all(0).map_err(|why| Failure::new(FAILURE, why))?;
    let target = target(&options.server, "htap-top doctor")?;
    let examination = block_on(async {
        let examined = examine(&target).await;
        examined.map_err(|error| Failure::new(NO_CONNECTION, format!("failed to connect: {error}")))
    })?;
    let text = match options.format {
        Format::Table => report::table(&examination),
        Format::Json => {
            let json = serde_json::to_string_pretty(&report::json(&examination));
            json.map_err(|error| Failure::new(FAILURE, error))? + "\n"
        }
    };
    print(text.as_bytes())?;
    match examination.worst() {
        Some(worst) if worst >= Severity::Warning => Err(Failure::new(
            MISSED,
            format!("doctor: {} to look at", report::counted(&examination)),
        )),
        _ => Ok(()),
    }
}
