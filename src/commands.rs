//! The commands of the command line: each reads its options and calls the library.

pub mod bench;
pub mod dashboard;
pub mod demo;
pub mod doctor;
mod headless;
pub mod help;
pub mod init;
mod meter;
pub mod once;
pub mod order;
pub mod partitions;
pub mod record;
pub mod refresh;
pub mod replay;
pub mod report;
pub mod route;
pub mod serve;
pub mod workload;

use htap_top::cli::Server;
use htap_top::pg::{Flags, Target};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

/// Exit codes, as listed in the help.
pub const FAILURE: u8 = 1;
pub const USAGE: u8 = 2;
pub const NO_CONNECTION: u8 = 3;
pub const NO_PRIVILEGE: u8 = 4;
pub const MISSED: u8 = 5;

/// The reason and exit code with which the program ends.
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn new(code: u8, message: impl std::fmt::Display) -> Self {
        Self {
            code,
            message: format!("{message}"),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(FAILURE, error)
    }
}

/// Prints to standard output. A reader that closes it early (`| head -1`) is not an error.
pub fn print(text: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Runs `work` on a single thread, which is enough: the server does the work, and the keyboard has its own thread.
pub fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// Resolves the server of a command.
pub fn target(server: &Server, application_name: &str) -> Result<Target, Failure> {
    resolved(&server.flags(), application_name)
}

/// Resolves connection settings; prints warnings about them to standard error.
pub fn resolved(flags: &Flags, application_name: &str) -> Result<Target, Failure> {
    let target = Target::resolve(flags, &env).map_err(|error| Failure::new(USAGE, error))?;
    for warning in target.warnings() {
        let _ = writeln!(std::io::stderr(), "htap-top: {warning}");
    }
    Ok(target.with_application_name(application_name))
}

/// Resolves at Ctrl-C, SIGTERM or SIGHUP, which from now on do not end the process.
pub fn interrupted() -> Result<impl Future<Output = ()>, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// Creates a file for its owner alone, which must not exist.
pub fn create(path: &Path) -> Result<File, Failure> {
    let created = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let shown = path.display();
    created.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(
            USAGE,
            format!("{shown} already exists: choose another file or remove it"),
        ),
        _ => Failure::new(FAILURE, format!("{shown}: {error}")),
    })
}

/// Asks for confirmation on the terminal. Returns an error if there is none, because nobody can answer.
pub fn confirmed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        let why = "cannot ask for confirmation without a terminal; nothing was changed. Pass --yes to proceed";
        return Err(Failure::new(USAGE, why));
    }
    write!(std::io::stderr(), "{question} [y/N] ")?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
