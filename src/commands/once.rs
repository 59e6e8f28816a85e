//! `htap-top once`: figures for scripts.

use super::headless::{Prepared, Watched, check_names, prepare};
use super::{FAILURE, Failure, MISSED, NO_CONNECTION, NO_PRIVILEGE, USAGE, block_on, print};
use crate::dashboard::diagnosis::Health;
use crate::dashboard::model::{Model, Start};
use crate::dashboard::output::sheet::Sheet;
use crate::dashboard::output::{self, csv, json, prometheus, table};
use crate::dashboard::rows::Panel;
use crate::dashboard::runtime::Targets;
use crate::dashboard::runtime::headless::{Headless, Settled};
use crate::dashboard::terminal;
use crate::format::duration::parse as parse_duration;
use clap::{Args, ValueEnum};
use futures_util::future::join_all;
use std::io::Write;
use std::time::Duration;

/// Options of `once`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Without --panel: the figures beside their targets, the cause line with its evidence, and the \
                  OLTP figures. Exit codes: 0 data arrived, 1 nothing that was asked for arrived, 2 usage or \
                  configuration, 3 cannot connect, 4 nothing arrived for lack of privilege, 5 a target is missed \
                  (with --check)."
)]
pub(super) struct Options {
    /// The server and panels.
    #[command(flatten)]
    watched: Watched,
    /// Output format
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Exit with code 5 if a target is missed; prints the cause line, plus what --format or --panel ask for
    #[arg(long)]
    check: bool,
    /// Maximum time to wait until all figures are measured
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    wait: Duration,
}

/// Output format of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Aligned text, for people
    Table,
    /// One JSON object
    Json,
    /// RFC 4180 with a header, of one panel
    Csv,
    /// Prometheus' text exposition format
    Prometheus,
}

/// Time between the two samples of a rate; not a multiple of a second, because intervals are aligned with the
/// clock.
const APART: Duration = Duration::from_millis(1_100);
/// Like [`APART`], for rates of counters: a session reports at most once per second, so the counts of a
/// single second are unreliable.
const RATES_APART: Duration = Duration::from_millis(5_100);
/// Panels derived from other feeds that may be answered later.
const TOGETHER: [Panel; 2] = [Panel::Bloat, Panel::Snapshots];

/// Takes samples, prints them, and checks the targets if requested.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let panels = &options.watched.panels;
    if options.format == Some(Format::Csv) && panels.len() != 1 {
        let why = "--format csv prints the rows of one panel: name it with --panel";
        return Err(Failure::new(USAGE, why));
    }
    let mut prepared = prepare(&options.watched)?;
    for (start, _) in &mut prepared {
        hurry(start, panels);
    }
    let (start, targets) = match prepared.pop() {
        Some(only) if prepared.is_empty() => only,
        last => return check_all(options, prepared.into_iter().chain(last).collect()),
    };
    let only = !panels.is_empty() && !options.check;
    block_on(async {
        let whole = panels.is_empty() && options.format == Some(Format::Prometheus);
        let told = if whole {
            output::DEFAULT
                .map(|panel| panel.name().to_owned())
                .to_vec()
        } else {
            panels.clone()
        };
        let mut headless = Headless::start(start, targets, &told, only);
        check_names(&headless.model, panels)?;
        let told = match headless.settle(options.wait).await {
            Settled::NotConnected(error) => Err(Failure::new(
                NO_CONNECTION,
                format!("failed to connect: {error}"),
            )),
            Settled::TimeUp => {
                let why = late(options, &headless.model);
                if options.check {
                    // A target that was not measured is not met.
                    tell(options, &headless.model).and(Err(Failure::new(FAILURE, why)))
                } else {
                    let _ = writeln!(std::io::stderr(), "htap-top: {why}");
                    tell(options, &headless.model)
                }
            }
            Settled::All => tell(options, &headless.model),
        };
        headless.end().await;
        told
    })
}

/// Returns why figures are missing after the time to wait.
fn late(options: &Options, model: &Model) -> String {
    let waited = crate::format::seconds(options.wait.as_secs_f64());
    let why = format!("not everything was measured within {waited} (--wait)");
    match output::unknown(model) {
        unknown if unknown.is_empty() => why,
        unknown => format!("{why}: {}", unknown.join("; ")),
    }
}

/// Exit codes of a server's check, the worst first.
const WORST: [u8; 5] = [NO_CONNECTION, MISSED, NO_PRIVILEGE, FAILURE, USAGE];

/// Checks several servers at once. Prints the cause line of each behind its name, in their order.
fn check_all(options: &Options, servers: Vec<Prepared>) -> Result<(), Failure> {
    if !options.check {
        let why = "once prints the figures of one server, and several are given: name one by its conninfo, or check all \
                   with --check";
        return Err(Failure::new(USAGE, why));
    }
    if options.format.is_some() || !options.watched.panels.is_empty() {
        let why =
            "--check of several servers prints a line for each: leave --format and --panel out";
        return Err(Failure::new(USAGE, why));
    }
    let checks = servers
        .into_iter()
        .map(|(start, targets)| Box::pin(check(options, start, targets)));
    let told = block_on(async { Ok(join_all(checks).await) })?;
    let lines: String = told.iter().map(|(line, _)| line.as_str()).collect();
    print(lines.as_bytes())?;
    let failed: Vec<Failure> = told
        .into_iter()
        .filter_map(|(_, told)| told.err())
        .collect();
    let rank = |code: u8| WORST.iter().position(|worst| *worst == code);
    let codes = failed.iter().map(|failure| failure.code);
    let Some(code) = codes.min_by_key(|code| rank(*code).unwrap_or(WORST.len())) else {
        return Ok(());
    };
    let why: Vec<String> = failed.into_iter().map(|failure| failure.message).collect();
    Err(Failure::new(code, why.join("\nhtap-top: ")))
}

/// Checks a server among several; returns its line and the outcome, both with its name.
async fn check(options: &Options, start: Start, targets: Targets) -> (String, Result<(), Failure>) {
    let name = start.server.as_ref().map(|place| place.name.clone());
    let name = name.unwrap_or_default();
    let mut headless = Headless::start(start, targets, &[], false);
    let settled = headless.settle(options.wait).await;
    let model = &headless.model;
    let (line, told) = match settled {
        Settled::NotConnected(error) => {
            let why = format!("failed to connect: {error}");
            let told = Failure::new(NO_CONNECTION, &why);
            (format!("danger: {why}\n"), Err(told))
        }
        Settled::TimeUp => {
            let late = Failure::new(FAILURE, late(options, model));
            (table::cause_line(model), verdict(model).and(Err(late)))
        }
        Settled::All => {
            let told = verdict(model).and_then(|()| came(model, &[], true));
            (table::cause_line(model), told)
        }
    };
    headless.end().await;
    let told = told.map_err(|failure| Failure {
        message: format!("{name}: {}", failure.message),
        ..failure
    });
    (format!("{name}: {line}"), told)
}

/// Shortens the intervals of panels that need two samples, which are meant for longer sessions.
fn hurry(start: &mut Start, panels: &[String]) {
    let hurried = start.built_in.iter().filter(|spec| {
        let rates = !spec.front.rates.is_empty() && panels.contains(&spec.name);
        rates || Panel::of(&spec.name).is_some_and(|panel| TOGETHER.contains(&panel))
    });
    for spec in hurried {
        let panels = &mut start.config.panels;
        let panel = panels.entry(spec.name.clone()).or_default();
        panel.interval = Some(if spec.front.rates.is_empty() {
            panel.interval.map_or(APART, |wanted| wanted.min(APART))
        } else {
            RATES_APART
        });
    }
}

fn tell(options: &Options, model: &Model) -> Result<(), Failure> {
    let panels = &options.watched.panels;
    let sheets = output::sheets(model, panels);
    let oltp = Sheet::oltp(model);
    let bare = options.check && options.format.is_none() && panels.is_empty();
    let width = terminal::width().map_or(usize::MAX, usize::from);
    let text = match options.format.unwrap_or(Format::Table) {
        _ if bare => String::new(),
        Format::Json => json::text(model, &oltp, &sheets)
            .map_err(|error| Failure::new(FAILURE, format!("failed to write JSON: {error}")))?,
        Format::Csv => sheets
            .iter()
            .filter(|sheet| sheet.rows.is_some())
            .map(csv::text)
            .collect(),
        Format::Prometheus => {
            let told = if panels.is_empty() {
                output::default_sheets(model)
            } else {
                sheets.clone()
            };
            prometheus::text(model, &told).map_err(|error| Failure::new(FAILURE, error))?
        }
        Format::Table if panels.is_empty() => table::summary(model, &oltp, width),
        Format::Table => {
            let offset = model.start.utc_offset_s;
            let told = sheets
                .iter()
                .map(|sheet| table::panel(sheet, offset, width));
            told.collect::<Vec<_>>().join("\n")
        }
    };
    print(text.as_bytes())?;
    if options.check {
        judge(model, bare)?;
    }
    came(model, &sheets, panels.is_empty())
}

/// Prints the cause line if standard output is not used otherwise; returns an error if a target is missed.
fn judge(model: &Model, bare: bool) -> Result<(), Failure> {
    let line = table::cause_line(model);
    if bare {
        print(line.as_bytes())?;
    } else {
        let _ = write!(std::io::stderr(), "{line}");
    }
    verdict(model)
}

/// Returns an error if a target is missed, or not known to be met.
fn verdict(model: &Model) -> Result<(), Failure> {
    let missed = output::missed(model);
    let danger = !missed.is_empty() || model.cause.health == Health::Danger;
    let mut faults = Vec::new();
    if !missed.is_empty() {
        let names: Vec<&str> = missed.iter().map(|gauge| gauge.label).collect();
        faults.push(format!("targets missed: {}", names.join(", ")));
    } else if danger {
        faults.push(format!("a rule found danger: {}", model.cause.label));
    }
    // As in the cause line, an unknown figure does not count as within its target.
    let unknown = output::unknown(model);
    if !unknown.is_empty() {
        faults.push(format!("not known: {}", unknown.join("; ")));
    }
    if faults.is_empty() {
        return Ok(());
    }
    let code = if danger { MISSED } else { FAILURE };
    Err(Failure::new(code, faults.join("; ")))
}

/// Returns an error if nothing requested was measured.
fn came(model: &Model, sheets: &[Sheet], all: bool) -> Result<(), Failure> {
    if all {
        let why = output::unmeasured(model);
        return why.map_or(Ok(()), |why| Err(Failure::new(FAILURE, why)));
    }
    if sheets.iter().any(|sheet| sheet.rows.is_some()) {
        return Ok(());
    }
    let why: Vec<String> = sheets
        .iter()
        .map(|sheet| {
            let reason = sheet.reason.as_deref().unwrap_or_default();
            format!("{}: {reason}", sheet.name)
        })
        .collect();
    let forbidden = sheets.iter().all(|sheet| sheet.forbidden);
    let code = if forbidden { NO_PRIVILEGE } else { FAILURE };
    Err(Failure::new(code, why.join("; ")))
}
