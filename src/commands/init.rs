//! `htap-top init`.

use super::{FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, print, target};
use htap_top::cli::Init;
use htap_top::system::init::{self, InitError};
use std::io::Write;

/// The demo's schema in a database that is there.
pub fn install(options: &Init) -> Result<(), Failure> {
    let target = target(&options.server, "htap-top init")?;
    let progress = |doing: &str| {
        let _ = writeln!(std::io::stderr(), "{doing}");
    };
    let done = block_on(async {
        init::init(&target, options.orders, progress)
            .await
            .map_err(|error| {
                let code = match &error {
                    InitError::Connect { .. } => NO_CONNECTION,
                    InitError::Privilege(_) => NO_PRIVILEGE,
                    InitError::Refused(_) | InitError::Server { .. } => FAILURE,
                };
                Failure::new(code, error)
            })
    })?;
    print(done.to_string().as_bytes())
}
