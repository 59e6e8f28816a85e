//! `htap-top report`: a file for an issue.

use super::dashboard::{configuration, recordings};
use super::options::Server;
use super::{FAILURE, Failure, block_on, confirmed, create, env, print, target};
use crate::config::{self, Config};
use crate::dashboard::panels;
use crate::dashboard::recording::excerpt::excerpt;
use crate::dashboard::runtime::ring;
use crate::doctor::{examine, report as doctor};
use crate::report::{Report, Section, machine, server, settings};
use crate::sql::mask::mask;
use crate::{format, log};
use clap::{Args, ValueEnum};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The options of `report`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Collects facts about the program, the machine and the server, the doctor's findings, the end of the log and the \
last minute of the newest recording. Shows what is in the report and asks before writing it. Reads only; changes \
nothing on the server, and works without one. To include a log, name the file that the other command wrote: --log FILE or HTAP_TOP_LOG."
)]
pub(super) struct Options {
    /// Server to connect to.
    #[command(flatten)]
    server: Server,
    /// File to write; must not exist; - means standard output; default: htap-top-report-TIME.md
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Part to leave out; can be repeated
    #[arg(long, value_name = "PART", value_enum)]
    without: Vec<Part>,
    /// Configuration file; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write without asking for confirmation
    #[arg(long)]
    yes: bool,
}

/// A part of a report that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Part {
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

/// Lines of the log's end.
const LOG_LINES: usize = 500;

/// Collects the facts, shows what they are, and writes them.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let report = collect(options)?;
    let text = report.text();
    if options.output.as_deref() == Some(Path::new("-")) {
        return print(text.as_bytes());
    }
    let stamp = report.made.replace([':', '-'], "");
    let named = || PathBuf::from(format!("htap-top-report-{stamp}.md"));
    let path = options.output.clone().unwrap_or_else(named);
    let mut err = std::io::stderr();
    let _ = write!(err, "{}", report.contents());
    let size = format::bytes(text.len() as f64);
    if !options.yes && !confirmed(&format!("write {size} to {}?", path.display()))? {
        return Err(Failure::new(FAILURE, "nothing was written"));
    }
    let mut file = create(&path)?;
    let written = file.write_all(text.as_bytes());
    written.map_err(|error| Failure::new(FAILURE, format!("{}: {error}", path.display())))?;
    print(format!("{}\n", path.display()).as_bytes())
}

#[expect(clippy::disallowed_methods, reason = "a report says when it was made")]
fn collect(options: &Options) -> Result<Report, Failure> {
    let made = chrono::Utc::now().format("%FT%TZ").to_string();
    let wants = |part| !options.without.contains(&part);
    let folder = config::folder(&env);
    let mut sections = vec![machine::program(), machine::machine(&env)];
    if wants(Part::Server) || wants(Part::Doctor) {
        let target = target(&options.server, "htap-top report")?;
        let of_server = block_on(async {
            let mut found = Vec::new();
            if wants(Part::Server) {
                found.extend(server::sections(&target).await);
            }
            if wants(Part::Doctor) {
                found.push(findings(examine(&target).await));
            }
            Ok(found)
        });
        sections.extend(of_server?);
    }
    if wants(Part::Configuration) {
        let file = options.config.clone();
        let file = file.unwrap_or_else(|| folder.join("config.toml"));
        sections.push(settings::section(&file, &folder, mask));
    }
    if wants(Part::Log) {
        sections.push(end_of_log());
    }
    if wants(Part::Recording) {
        // The section of the configuration reports that it cannot be read.
        let config = configuration(options.config.as_deref(), &folder);
        let record = config.unwrap_or_else(|_| Config::default()).record;
        sections.push(end_of_recording(&recordings(&record)));
    }
    Ok(Report { made, sections })
}

fn findings(examined: Result<crate::doctor::Examination, crate::pg::PgError>) -> Section {
    let body = match examined {
        Ok(examination) => doctor::table(&examination),
        Err(error) => format!("no connection: {}", server::reason(&error)),
    };
    Section {
        title: "Doctor",
        about: "findings of htap-top doctor; can name roles, relations and databases",
        body,
    }
}

fn end_of_log() -> Section {
    let body = match (log::place(), log::tail(LOG_LINES)) {
        (None, _) => {
            "no log: run the command again with --log FILE, then htap-top report --log FILE"
                .to_owned()
        }
        (Some(_), Ok(text)) => text,
        (Some(_), Err(error)) => format!("cannot be read: {error}"),
    };
    Section {
        title: "Log",
        about: "the end of the log: hosts and ports, SQLSTATEs, process ids; no statements, no names of objects",
        body,
    }
}

fn end_of_recording(folder: &Path) -> Section {
    let built_in = panels::built_in().unwrap_or_default();
    let keep = |name: &str| built_in.iter().any(|spec| spec.name == name);
    let files = ring::newest(folder);
    let body = match files.last().map(|file| excerpt(file, keep)) {
        None => "no recording: dashboards record if [record] always = true".to_owned(),
        Some(Ok(text)) => text,
        Some(Err(error)) => format!("cannot be used: {error}"),
    };
    Section {
        title: "Recording",
        about: "the last minute that a dashboard recorded: names of databases, roles, applications, relations, client addresses; statements without their literals; no panels of your own",
        body,
    }
}
