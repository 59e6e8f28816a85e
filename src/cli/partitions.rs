//! Options of `htap-top partitions`.

use super::Server;
use crate::system::archive::Format;
use crate::system::partitions::Month;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Options of `partitions`.
#[derive(Clone, Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Row counts are the planner's estimates. Warns of orders in the default partition and of missing \
                  partitions for the months to come."
)]
pub struct Partitions {
    /// Command to run; lists the months if omitted.
    #[command(subcommand)]
    pub command: Option<PartitionsCommand>,
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: Output,
}

/// Output format of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Commands of `partitions`.
#[derive(Clone, Debug, Subcommand)]
pub enum PartitionsCommand {
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
pub struct MakePartitions {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// Number of months after the current one
    #[arg(long, value_name = "N", default_value_t = crate::system::partitions::AHEAD, value_parser = clap::value_parser!(u32).range(0..=120))]
    pub ahead: u32,
}

/// Options of `partitions archive`.
#[derive(Clone, Debug, Args)]
pub struct ArchiveMonths {
    /// The server.
    #[command(flatten)]
    pub server: Server,
    /// Archive all months before this one, such as 2026-06
    #[arg(long, value_name = "MONTH")]
    pub before: Month,
    /// Directory for the files; without it, the months are only detached
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// File format
    #[arg(long, value_enum, default_value_t, requires = "to")]
    pub format: Format,
    /// Drop the tables after their files are written and verified
    #[arg(long, requires = "to")]
    pub drop: bool,
}

/// Options of `partitions attach`.
#[derive(Clone, Debug, Args)]
pub struct AttachMonth {
    /// The month, such as 2026-05
    pub month: Month,
    /// The server.
    #[command(flatten)]
    pub server: Server,
}
