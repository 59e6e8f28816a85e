//! `htap-top replica`.

use super::options::{Connection, Format, Server, parse_switch};
use super::{
    FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, USAGE, block_on, confirmed, env, interrupted,
    print, resolved, target,
};
use crate::pg::{Flags, Target};
use crate::replica::{Plan, Removal, ReplicaError, Wish, look};
use clap::{Args, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;

/// Options of `replica`.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// Command to run.
    #[command(subcommand)]
    pub(super) command: ReplicaCommand,
}

/// Commands of `replica`.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ReplicaCommand {
    /// Build a streaming replica of a server on this machine: slot, copy, settings, start
    #[command(
        after_help = "Shows every statement and command first, and asks. If run by root, it runs pg_basebackup and pg_ctl \
                      as the owner of the directory, else of its parent, and as postgres if that is root. If a \
                      step fails or is interrupted, the slot and the files made so far are removed. The role needs \
                      REPLICATION, and the server's pg_hba.conf must let it in for replication. A password is stored in \
                      the replica's postgresql.auto.conf, which only its owner may read."
    )]
    Create(Create),
    /// Show a replica's lag, the WAL that its slot retains, and the queries that it cancelled
    Status(Look),
    /// Stop a replica that `create` built, drop its slot and remove its directory
    Drop(Discard),
}

/// Options of `replica create`.
#[derive(Clone, Debug, Args)]
pub(super) struct Create {
    /// Data directory of the replica; must be missing or empty
    #[arg(value_name = "DATADIR")]
    pub(super) folder: PathBuf,
    /// The primary.
    #[command(flatten)]
    pub(super) server: Server,
    /// Name of the replica's slot on the primary
    #[arg(long, value_name = "NAME", default_value = "htap_top_replica")]
    pub(super) slot: String,
    /// Port of the replica; default: the first free one above the primary's
    #[arg(long = "replica-port", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) replica_port: Option<u16>,
    /// Let the replica keep on the primary the rows that its queries need (hot_standby_feedback)
    #[arg(long, value_name = "on|off", default_value = "off", value_parser = parse_switch,
          action = clap::ArgAction::Set)]
    pub(super) hot_standby_feedback: bool,
    /// Directory of pg_ctl and postgres
    #[arg(long, value_name = "DIR")]
    pub(super) pg_bindir: Option<PathBuf>,
    /// Proceed without asking for confirmation
    #[arg(long)]
    pub(super) yes: bool,
}

/// Options of `replica status`.
#[derive(Clone, Debug, Args)]
pub(super) struct Look {
    /// The primary.
    #[command(flatten)]
    pub(super) server: Server,
    /// The replica: conninfo string or URI
    #[arg(long, value_name = "CONNINFO")]
    pub(super) replica: Option<String>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Format,
}

/// Options of `replica drop`.
#[derive(Clone, Debug, Args)]
pub(super) struct Discard {
    /// Data directory of the replica
    #[arg(value_name = "DATADIR")]
    pub(super) folder: PathBuf,
    /// Primary: conninfo string or URI; default: the one that the replica was built from
    #[arg(value_name = "CONNINFO")]
    pub(super) conninfo: Option<String>,
    /// The primary.
    #[command(flatten)]
    pub(super) connection: Connection,
    /// Leave the slot on the primary; for a primary that is gone
    #[arg(long)]
    pub(super) keep_slot: bool,
    /// Proceed without asking for confirmation
    #[arg(long)]
    pub(super) yes: bool,
}

impl From<ReplicaError> for Failure {
    fn from(error: ReplicaError) -> Self {
        let code = match &error {
            ReplicaError::Connect { .. } => NO_CONNECTION,
            ReplicaError::Privilege(_) => NO_PRIVILEGE,
            ReplicaError::Refused(_) | ReplicaError::Server { .. } | ReplicaError::Local(_) => {
                FAILURE
            }
        };
        Self::new(code, error)
    }
}

const NAME: &str = "htap-top replica";

/// Builds, shows or removes a replica.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        ReplicaCommand::Create(options) => create(options),
        ReplicaCommand::Status(options) => status(options),
        ReplicaCommand::Drop(options) => discard(options),
    }
}

fn create(options: &Create) -> Result<(), Failure> {
    let target = target(&options.server, NAME)?;
    let wish = Wish {
        folder: options.folder.clone(),
        slot: options.slot.clone(),
        port: options.replica_port,
        feedback: options.hot_standby_feedback,
        bindir: options.pg_bindir.clone(),
    };
    block_on(async {
        let mut plan = Plan::new(&target, &wish).await?;
        print(plan.steps().as_bytes())?;
        if !options.yes && !confirmed("Build this replica?")? {
            return print(b"nothing was changed\n");
        }
        let interrupted = interrupted()?;
        let built = tokio::select! {
            built = plan.carry_out(say) => built.map_err(Failure::from),
            () = interrupted => Err(Failure::new(FAILURE, "interrupted")),
        };
        match built {
            Ok(next) => print(next.as_bytes()),
            Err(failure) => {
                let undone = plan.undo().await;
                let message = format!("{}\nhtap-top: {undone}", failure.message);
                Err(Failure::new(failure.code, message))
            }
        }
    })
}

fn status(options: &Look) -> Result<(), Failure> {
    let primary = target(&options.server, NAME)?;
    let replica = options.replica.as_ref().map(|conninfo| {
        let flags = Flags {
            conninfo: Some(conninfo.clone()),
            ..Flags::default()
        };
        let resolved = Target::resolve(&flags, &env);
        resolved
            .map(|target| target.with_application_name(NAME))
            .map_err(|error| Failure::new(USAGE, format!("--replica: {error}")))
    });
    let replica = replica.transpose()?;
    let seen = block_on(async { Ok(look(&primary, replica.as_ref()).await?) })?;
    let text = match options.format {
        Format::Text => seen.text(),
        Format::Json => {
            let json = serde_json::to_string_pretty(&seen);
            json.map_err(|error| Failure::new(FAILURE, error))? + "\n"
        }
    };
    print(text.as_bytes())
}

fn discard(options: &Discard) -> Result<(), Failure> {
    let flags = options.connection.flags(options.conninfo.as_ref());
    let primary = if flags == Flags::default() {
        None
    } else {
        Some(resolved(&flags, NAME)?)
    };
    block_on(async {
        let removal = Removal::new(&options.folder, primary, options.keep_slot, &env).await?;
        print(removal.steps().as_bytes())?;
        if !options.yes && !confirmed("Remove this replica?")? {
            return print(b"nothing was changed\n");
        }
        removal.carry_out(say).await?;
        print(b"removed the replica\n")
    })
}

/// Reports the step that begins.
fn say(doing: &str) {
    let _ = writeln!(std::io::stderr(), "{doing}");
}
