//! `htap-top partitions`.

use super::meter::Meter;
use super::{FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, print, target};
use htap_top::cli::{ArchiveMonths, Output, Partitions, PartitionsCommand};
use htap_top::format;
use htap_top::system::archive::{self, Archive, Archived};
use htap_top::system::partitions::{self, Listing, PartitionError, State};
use std::fmt::Write as _;
use std::io::Write as _;

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
pub fn run(options: &Partitions) -> Result<(), Failure> {
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

fn list(options: &Partitions) -> Result<(), Failure> {
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
