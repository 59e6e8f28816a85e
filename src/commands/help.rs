//! `htap-top help`: options of a command, pages of the documentation.

use super::Cli;
use super::{Failure, USAGE, env, print};
use crate::dashboard::panels;
use crate::docs;
use clap::{Args, CommandFactory};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

/// The options of `help`.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Command, page or panel, such as refresh, privileges, keys or locks
    topic: Option<String>,
}

/// Shows the options of the command or the page that the topic names, or both if both have that name.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let topic = options.topic.as_deref();
    let mut cli = Cli::command();
    cli.build();
    let Some(topic) = topic else {
        let mut text = cli.render_long_help().to_string();
        let _ = writeln!(
            text,
            "\nPages, as `htap-top help PAGE` shows them: {}; and one for each panel, such as locks",
            names()
        );
        return show(&text);
    };
    let options = cli
        .find_subcommand_mut(topic)
        .map(|command| command.render_long_help().to_string());
    let page = docs::find(topic).map(|page| page.text.to_owned());
    let panel = panels::page(topic);
    let text: Vec<String> = options.into_iter().chain(page).chain(panel).collect();
    if text.is_empty() {
        let why = format!(
            "unknown command, page or panel {topic:?}; the pages are {}",
            names()
        );
        return Err(Failure::new(USAGE, why));
    }
    show(&text.join("\n"))
}

fn names() -> String {
    let names: Vec<&str> = docs::pages().iter().map(|page| page.name).collect();
    names.join(", ")
}

/// Prints `text`, on a terminal through $PAGER or less.
fn show(text: &str) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() {
        return print(text.as_bytes());
    }
    let pager = env("PAGER").unwrap_or_else(|| "less".to_owned());
    let mut command = Command::new("sh");
    command.args(["-c", &pager]).stdin(Stdio::piped());
    if env("LESS").is_none() {
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else {
        return print(text.as_bytes());
    };
    // A reader that quits early is not an error.
    let written = child
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(text.as_bytes()));
    let ended = child.wait()?;
    // 127: the shell did not find the program.
    if ended.code() == Some(127) || written.is_none() {
        return print(text.as_bytes());
    }
    Ok(())
}
