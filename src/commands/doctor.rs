//! `htap-top doctor`.

use super::{FAILURE, Failure, MISSED, NO_CONNECTION, block_on, print, target};
use htap_top::cli::doctor::{Doctor, Format};
use htap_top::doctor::{Severity, check, examine, report};

/// Checks the requirements of the dashboard, the refresh and the shop.
pub fn run(options: &Doctor) -> Result<(), Failure> {
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
