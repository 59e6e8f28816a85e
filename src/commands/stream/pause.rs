//! `htap-top stream pause` and `htap-top stream resume`.

use super::trail::Trail;
use crate::commands::options::Server;
use crate::commands::{FAILURE, Failure, block_on, print, refused, target};
use crate::dashboard::action::{Action, Outcome};
use crate::stream::pause::{self, Verdict};
use clap::Args;
use serde_json::json;

/// Options of `stream pause` and `stream resume`.
#[derive(Clone, Debug, Args)]
pub(in crate::commands) struct Options {
    /// The server.
    #[command(flatten)]
    server: Server,
    /// text, or json: one object
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

/// Pauses or resumes relays.
pub(super) fn run(options: &Options, paused: bool) -> Result<(), Failure> {
    let (name, action) = if paused {
        ("htap-top stream pause", Action::PauseRelay)
    } else {
        ("htap-top stream resume", Action::ResumeRelay)
    };
    let target = target(&options.server, name)?;
    let trail = Trail::begin(&target, &action)?;
    let mut sent = false;
    let switched = block_on(async {
        let switching = async {
            let client = pause::open(&target).await?;
            sent = true;
            pause::switch(&client, paused, trail.actor()).await
        };
        Ok(switching.await)
    })?;
    let switched = match switched {
        Ok(switched) => switched,
        Err(error) => {
            let outcome = if sent && !error.session_survives() {
                Outcome::Unknown(error.clone())
            } else {
                Outcome::Failed(error.clone())
            };
            trail.end(&outcome.masked())?;
            let what = format!("failed to {}: ", action.describe());
            return Err(refused(&error, &what));
        }
    };
    let outcome = Outcome::Switched(switched.clone());
    trail.end(&outcome)?;
    let (_, told) = outcome.describe();
    if options.format == "json" {
        print(
            format!(
                "{}\n",
                json!({"paused": paused, "changed": switched.changed, "relay": switched.verdict})
            )
            .as_bytes(),
        )?;
    } else {
        print(format!("{}: {told}\n", action.describe()).as_bytes())?;
    }
    match switched.verdict {
        Verdict::Obeyed | Verdict::Unled => Ok(()),
        Verdict::Pending(_) => Err(Failure::new(
            FAILURE,
            "the relay has not confirmed it within 5 s: see the panel Stream",
        )),
    }
}
