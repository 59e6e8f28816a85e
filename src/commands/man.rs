//! `htap-top man`.

use super::{Cli, Failure, print};
use clap::CommandFactory;

/// Prints the manual page.
pub(super) fn run() -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut text)?;
    print(&text)
}
