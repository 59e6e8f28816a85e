//! `htap-top partitions`.

use super::meter::Meter;
use super::options::{Format as Output, Server};
use super::{FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, print, target};
use crate::format;
use crate::system::archive::{self, Archive, Archived, Format};
use crate::system::partitions::{self, Listing, Month, PartitionError, State};
use clap::{Args, Subcommand};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

/// Options of `partitions`.
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Row counts are the planner's estimates. Warns of orders in the default partition and of missing \
                  partitions for the months to come."
)]
pub(super) struct Options {
    /// Command to run; lists the months if omitted.
    #[command(subcommand)]
    pub(super) command: Option<PartitionsCommand>,
    /// The server.
    #[command(flatten)]
    pub(super) server: Server,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub(super) format: Output,
}

/// Commands of `partitions`.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum PartitionsCommand {
    /// Create coming months, and the months of orders in the default partition, which move there
    Make(MakePartitions),
    /// Detach past months from the shop and its summaries, write them to files, drop them
    #[command(
        after_help = "A month's four tables (orders, order_items, payments, shipments) are detached together and \
                      remain under their names, such as shop.orders_2026_05, until they are dropped or attached \
                      again. The next refresh removes their completed orders from the summaries. A file gets its \
                      name once it is complete and on disk; before anything is dropped, the file is read back and \
                      compared with the table by SHA-256. If interrupted, run the same command again to continue."
    )]
    Archive(ArchiveMonths),
    /// Attach a detached month again; the next refresh adds its orders to the summaries
    Attach(AttachMonth),
}

/// Options of `partitions make`.
#[derive(Clone, Debug, Args)]
pub(super) struct MakePartitions {
    /// The server.
    #[command(flatten)]
    pub(super) server: Server,
    /// Number of months after the current one
    #[arg(long, value_name = "N", default_value_t = crate::system::partitions::AHEAD, value_parser = clap::value_parser!(u32).range(0..=120))]
    pub(super) ahead: u32,
}

/// Options of `partitions archive`.
#[derive(Clone, Debug, Args)]
pub(super) struct ArchiveMonths {
    /// The server.
    #[command(flatten)]
    pub(super) server: Server,
    /// Archive all months before this one, such as 2026-06
    #[arg(long, value_name = "MONTH")]
    pub(super) before: Month,
    /// Directory for the files; without it, the months are only detached
    #[arg(long, value_name = "DIR")]
    pub(super) to: Option<PathBuf>,
    /// File format
    #[arg(long, value_enum, default_value_t, requires = "to")]
    pub(super) format: Format,
    /// Drop the tables after their files are written and verified
    #[arg(long, requires = "to")]
    pub(super) drop: bool,
}

/// Options of `partitions attach`.
#[derive(Clone, Debug, Args)]
pub(super) struct AttachMonth {
    /// The month, such as 2026-05
    pub(super) month: Month,
    /// The server.
    #[command(flatten)]
    pub(super) server: Server,
}

/// Message while other sessions hold the required locks.
const WAITING: &str = "waiting for sessions that use the shop's tables";

impl From<PartitionError> for Failure {
    fn from(error: PartitionError) -> Self {
        let code = match &error {
            PartitionError::Connect { .. } => NO_CONNECTION,
            PartitionError::Server { source, .. } if source.code() == "42501" => NO_PRIVILEGE,
            _ => FAILURE,
        };
        Self::new(code, error)
    }
}

/// Lists, creates, archives or attaches months.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    match &options.command {
        None => list(options),
        Some(PartitionsCommand::Make(make)) => {
            let target = target(&make.server, "htap-top partitions")?;
            let months = block_on(async {
                let client = partitions::connect(&target).await?;
                let mut meter = Meter::default();
                Ok(partitions::make(&client, make.ahead, || meter.say(WAITING)).await?)
            })?;
            print(format!("created the partitions of {months} months\n").as_bytes())
        }
        Some(PartitionsCommand::Archive(archive)) => archive_months(archive),
        Some(PartitionsCommand::Attach(attach)) => {
            let target = target(&attach.server, "htap-top partitions")?;
            let month = attach.month;
            let orders = block_on(async {
                let client = partitions::connect(&target).await?;
                let mut meter = Meter::default();
                Ok(partitions::attach(&client, month, || meter.say(WAITING)).await?)
            })?;
            let said = format!(
                "attached {month} with {orders} orders; the summaries follow with the next refresh\n"
            );
            print(said.as_bytes())
        }
    }
}

fn list(options: &Options) -> Result<(), Failure> {
    let target = target(&options.server, "htap-top partitions")?;
    let listing = block_on(async {
        let client = partitions::connect(&target).await?;
        Ok(partitions::list(&client).await?)
    })?;
    for warning in listing.warnings() {
        let _ = writeln!(std::io::stderr(), "htap-top: {warning}");
    }
    let text = match options.format {
        Output::Text => table(&listing),
        Output::Json => {
            let json = serde_json::to_string_pretty(&listing);
            json.map_err(|error| Failure::new(FAILURE, error))? + "\n"
        }
    };
    print(text.as_bytes())
}

/// Formats the list for people.
fn table(listing: &Listing) -> String {
    let mut text = format!(
        "{:<8} {:<9} {:>8} {:>8} {:>9}\n",
        "month", "state", "orders", "rows", "size"
    );
    for listed in &listing.months {
        let state = match listed.state {
            State::Attached => "attached",
            State::Detached => "detached",
            State::Partly => "partly",
        };
        let _ = writeln!(
            text,
            "{:<8} {state:<9} {:>8} {:>8} {:>9}",
            listed.month.to_string(),
            format::count(listed.orders as f64),
            format::count(listed.rows as f64),
            format::bytes(listed.size_bytes as f64),
        );
    }
    let strays = format::count(listing.strays as f64);
    let _ = writeln!(text, "{:<8} {:<9} {strays:>8}", "default", "attached");
    text
}

fn archive_months(options: &ArchiveMonths) -> Result<(), Failure> {
    let target = target(&options.server, "htap-top partitions")?;
    let wanted = Archive {
        before: options.before,
        to: options.to.clone(),
        format: options.format,
        drop: options.drop,
    };
    let archived = block_on(async {
        let client = partitions::connect(&target).await?;
        let mut meter = Meter::default();
        Ok(archive::archive(&client, &wanted, |what| meter.say(what)).await?)
    })?;
    if archived.is_empty() {
        return print(format!("there are no months before {}\n", wanted.before).as_bytes());
    }
    print(report(&archived).as_bytes())
}

/// Formats the result for each month.
fn report(archived: &[Archived]) -> String {
    let mut text = String::new();
    for month in archived {
        let _ = match month.detached {
            Some(orders) => write!(text, "{}: detached {orders} orders", month.month),
            None => write!(text, "{}: was already detached", month.month),
        };
        let rows: u64 = month.files.iter().map(|(_, rows)| rows).sum();
        if !month.files.is_empty() {
            let _ = write!(text, ", {rows} rows are in {} files", month.files.len());
        }
        text.push_str(if month.dropped { ", dropped\n" } else { "\n" });
    }
    if archived.iter().any(|month| month.detached.is_some()) {
        text.push_str("the summaries follow with the next refresh\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{Cli, Command};
    use clap::Parser;

    fn parsed(arguments: &[&str]) -> Options {
        let words = [&["htap-top", "partitions"], arguments].concat();
        match Cli::try_parse_from(words).unwrap().command {
            Some(Command::Partitions(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_lists_unless_told_otherwise() {
        let list = parsed(&["shop", "--format", "json"]);
        assert_eq!(list.format, Output::Json);
        assert_eq!(list.server.conninfo.as_deref(), Some("shop"));
        assert!(list.command.is_none());
        let archive = parsed(&["archive", "--before", "2026-06", "-d", "shop"]);
        let Some(PartitionsCommand::Archive(archive)) = archive.command else {
            panic!("{archive:?}");
        };
        assert_eq!(archive.before.to_string(), "2026-06");
        assert!(archive.to.is_none() && archive.format == Format::Csv);
    }
}
