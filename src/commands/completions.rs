//! `htap-top completions`.

use super::{Cli, Failure, print};
use clap::{Args, CommandFactory};

/// The options of `completions`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// bash, elvish, fish, powershell or zsh
    shell: clap_complete::Shell,
}

/// Prints the completions of a shell.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), "htap-top", &mut text);
    print(&text)
}
