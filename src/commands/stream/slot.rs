//! `htap-top stream slot`.

use crate::commands::options::Server;
use crate::commands::{Failure, block_on, print, target};
use crate::stream::slot::own::{self, Made};
use clap::{Args, Subcommand};
use serde_json::json;

/// Options of `stream slot`.
#[derive(Clone, Debug, Args)]
pub(in crate::commands) struct Options {
    /// Command to run.
    #[command(subcommand)]
    pub(in crate::commands) command: SlotCommand,
}

/// Commands of `stream slot`.
#[derive(Clone, Debug, Subcommand)]
pub(in crate::commands) enum SlotCommand {
    /// Make a replication slot for events, and an empty publication; both are noted in htap.stream_slot
    #[command(
        after_help = "Needs PostgreSQL 14 or later, wal_level = logical, a free slot, and a role that has REPLICATION and ran \
                      htap-top init (or a superuser). Waits for the transactions that run. From then on the server keeps WAL \
                      until a relay has read it: start htap-top stream relay. SELECT htap.switch_to_slot() then lets the shop \
                      write its events for the slot."
    )]
    Create(Create),
    /// Drop the slot and the publication
    #[command(
        after_help = "Refuses while events are written for the slot (SELECT htap.switch_outbox(true) ends that), or if a relay \
                      has not sent all of them."
    )]
    Drop(Drop),
}

/// Options of `stream slot create`.
#[derive(Clone, Debug, Args)]
pub(in crate::commands) struct Create {
    /// Name of the slot: small letters, digits and underscores
    #[arg(value_name = "NAME", default_value = "htap_events", value_parser = parse_name)]
    name: String,
    /// The server.
    #[command(flatten)]
    server: Server,
    /// text, or json: one object
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

/// Options of `stream slot drop`.
#[derive(Clone, Debug, Args)]
pub(in crate::commands) struct Drop {
    /// The server.
    #[command(flatten)]
    server: Server,
    /// Drop it even if events in it were not sent: they are lost
    #[arg(long)]
    discard: bool,
    /// text, or json: one object
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

fn parse_name(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if text.is_empty() || text.len() > 63 || !text.chars().all(allowed) {
        return Err("a slot's name has 1 to 63 small letters, digits and underscores".to_owned());
    }
    Ok(text.to_owned())
}

/// Makes or drops the slot.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let (made, created, format) = match &options.command {
        SlotCommand::Create(options) => {
            let target = target(&options.server, "htap-top stream slot create")?;
            let made = block_on(async {
                let creating = async {
                    let client = own::open(&target).await?;
                    own::create(&client, &options.name).await
                };
                creating.await.map_err(super::failure)
            })?;
            (made, true, &options.format)
        }
        SlotCommand::Drop(options) => {
            let target = target(&options.server, "htap-top stream slot drop")?;
            let made = block_on(async {
                let dropping = async {
                    let client = own::open(&target).await?;
                    own::remove(&client, options.discard).await
                };
                dropping.await.map_err(super::failure)
            })?;
            (made, false, &options.format)
        }
    };
    let text = if format == "json" {
        let Made {
            slot,
            publication,
            existed,
        } = &made;
        json!({"slot": slot, "publication": publication, "created": created, "existed": existed})
            .to_string()
    } else {
        told(&made, created)
    };
    print(format!("{text}\n").as_bytes())
}

fn told(made: &Made, created: bool) -> String {
    let (slot, publication) = (&made.slot, &made.publication);
    if created {
        format!(
            "created replication slot {slot} and publication {publication}, which publishes nothing. The server keeps WAL for \
             it from now on: run htap-top stream relay, whose role needs REPLICATION. SELECT htap.switch_to_slot() lets the \
             shop write its events for it"
        )
    } else if made.existed {
        format!("dropped replication slot {slot} and publication {publication}")
    } else {
        format!("replication slot {slot} did not exist any more; dropped publication {publication}")
    }
}
