//! The options of `report`.

use super::Server;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// The options of `report`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Collects facts about the program, the machine and the server, the doctor's findings, the end of the log and the \
last minute of the newest recording. Shows what is in the report and asks before writing it. Reads only; changes \
nothing on the server, and works without one. To include a log, name the file that the other command wrote: --log FILE or HTAP_TOP_LOG."
)]
pub struct Report {
    /// Server to connect to.
    #[command(flatten)]
    pub server: Server,
    /// File to write; must not exist; - means standard output; default: htap-top-report-TIME.md
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Part to leave out; can be repeated
    #[arg(long, value_name = "PART", value_enum)]
    pub without: Vec<Part>,
    /// Configuration file; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Write without asking for confirmation
    #[arg(long)]
    pub yes: bool,
}

/// A part of a report that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Version, settings, role and extensions of the server
    Server,
    /// The doctor's findings
    Doctor,
    /// The configuration file
    Configuration,
    /// The end of the log
    Log,
    /// The last minute of the newest recording
    Recording,
}
