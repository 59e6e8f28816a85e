//! `htap-top refresh`.

use super::options::Connection;
use super::{FAILURE, Failure, MISSED, USAGE, block_on, env, interrupted, print, refused};
use crate::format;
use crate::format::duration::parse as parse_duration;
use crate::pg::conninfo::Flags;
use crate::pg::{Client, PgError, Target};
use crate::system::refresh::journal::Journal;
use crate::system::refresh::keeper::{self, Event};
use crate::system::refresh::plan::{KeepError, Pace, Plan, chosen};
use crate::system::refresh::verify::verify;
use crate::system::refresh::{self, Done, Kind, Known, Mode, cron};
use clap::Args;
use serde_json::json;
use std::io::Write;
use std::time::Duration;

/// Options of `refresh`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Without --every and --fresh each view is refreshed once, in the order of their \
                  dependencies.\nModes: full recomputes everything; concurrent does too, but writes only what \
                  differs; incremental merges the changes, for the summaries mart.sales_hourly, mart.fact_sales \
                  and mart.segment_rfm. Without --mode each view gets the mode that suits it best. If several \
                  refreshers run with --every or --fresh, one leads and the others wait to take over. Exit code \
                  5: --verify found a difference."
)]
pub(super) struct Options {
    /// Views to refresh, such as mart.sales_hourly; default: all those installed by htap-top init
    #[arg(value_name = "VIEW", value_parser = parse_view)]
    views: Vec<String>,
    /// Connection options, as in psql; -d also takes a conninfo string or URI.
    #[command(flatten)]
    connection: Connection,
    /// full, concurrent or incremental
    #[arg(long, value_name = "MODE")]
    mode: Option<Mode>,
    /// Repeat, starting a refresh this often, such as 30s or 5min
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "fresh")]
    every: Option<Duration>,
    /// Repeat, keeping the summaries no older than this, such as 1s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    fresh: Option<Duration>,
    /// Delay refreshes while commits take longer than this, such as 50ms
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    oltp_limit: Option<Duration>,
    /// Verify that each incremental summary equals its recomputation (EXCEPT ALL both ways)
    #[arg(long, conflicts_with_all = ["mode", "every", "fresh", "oltp_limit", "pg_cron"])]
    verify: bool,
    /// Create pg_cron jobs that refresh instead of this program (needs --every of 1min or more)
    #[arg(long, conflicts_with_all = ["fresh", "oltp_limit"])]
    pg_cron: bool,
    /// text, or json: one object per line
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

/// Parses a view's name; rejects a connection string, which other commands take in its place.
fn parse_view(text: &str) -> Result<String, String> {
    if text.contains('=') || text.contains("://") {
        return Err("this is a connection string: pass it with -d".to_owned());
    }
    Ok(text.to_owned())
}

impl Options {
    /// Returns the connection settings.
    fn flags(&self) -> Flags {
        self.connection.flags(None)
    }
}

/// Interval of a loop's reports.
const REPORT: Duration = Duration::from_secs(5);

/// Refreshes as the options specify.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let target =
        Target::resolve(&options.flags(), &env).map_err(|error| Failure::new(USAGE, error))?;
    let target = target.with_application_name("htap-top refresh");
    let pace = match (options.every, options.fresh) {
        (Some(every), _) => Some(Pace::Every(every)),
        (_, Some(fresh)) => Some(Pace::Fresh(fresh)),
        _ => None,
    };
    let plan = Plan {
        views: options.views.clone(),
        mode: options.mode,
        pace: pace.unwrap_or(Pace::Every(Duration::ZERO)),
        oltp_limit: options.oltp_limit,
    };
    let json = options.format == "json";
    block_on(async {
        if options.verify {
            return prove(&target, &plan, json).await;
        }
        if options.pg_cron {
            return schedule(&target, &plan, options.every).await;
        }
        match pace {
            None => once(&target, &plan, json).await,
            Some(_) => keep(&target, &plan, json).await,
        }
    })
}

/// Returns the failure of a refresh.
fn unrefreshed(error: &PgError) -> Failure {
    refused(error, "failed to refresh: ")
}

fn unkept(error: KeepError) -> Failure {
    match error {
        KeepError::Server(error) => unrefreshed(&error),
        error => Failure::new(USAGE, error),
    }
}

async fn once(target: &Target, plan: &Plan, json: bool) -> Result<(), Failure> {
    let client = refresh::connect(target)
        .await
        .map_err(|error| unrefreshed(&error))?;
    let all = refresh::known(&client)
        .await
        .map_err(|error| unrefreshed(&error))?;
    for (known, mode) in chosen(&all, plan).map_err(unkept)? {
        let done = undisturbed(&client, &known, mode).await.map_err(|error| {
            let failure = unrefreshed(&error);
            Failure::new(failure.code, format!("{}: {}", known.view, failure.message))
        })?;
        let line = if json {
            json!({"view": known.view.to_string(), "mode": mode.word(), "took_ms": done.took_ms,
                   "changes": done.changes, "rebuilt": done.rebuilt})
            .to_string()
        } else {
            let what = match (done.changes, done.rebuilt) {
                (_, true) => "rebuilt".to_owned(),
                (Some(changes), _) => format!("{} changes merged", format::count(changes as f64)),
                (None, _) => "recomputed".to_owned(),
            };
            let took = format::ms(done.took_ms);
            format!(
                "{:<26} {:<12} {took:>8}  {what}",
                known.view.to_string(),
                mode.word()
            )
        };
        print(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// Maximum number of attempts, and the delay between them, if another refresh of the view is running.
const AGAIN: (u32, Duration) = (40, Duration::from_millis(250));

/// Refreshes a view; retries while another session refreshes it.
async fn undisturbed(client: &Client, known: &Known, mode: Mode) -> Result<Done, PgError> {
    let mut tries = 0;
    loop {
        match refresh::refresh(client, &known.view, known.kind, mode).await {
            Err(error) if refresh::is_busy(&error) && tries < AGAIN.0 => {
                tries += 1;
                tokio::time::sleep(AGAIN.1).await;
            }
            done => return done,
        }
    }
}

async fn keep(target: &Target, plan: &Plan, json: bool) -> Result<(), Failure> {
    let mut stop = std::pin::pin!(interrupted()?);
    // Far more than arrive between two turns of this loop; events beyond that are only missing in a report.
    let (tell, mut told) = tokio::sync::mpsc::channel(1_000);
    let keeping = keeper::keep(target, plan, |event| {
        let _ = tell.try_send(event);
    });
    tokio::pin!(keeping);
    let mut journal = Journal::default();
    let mut report = tokio::time::interval(REPORT);
    report.tick().await;
    loop {
        tokio::select! {
            () = &mut stop => {
                return say(&journal.report(json));
            }
            ended = &mut keeping => {
                let Err(error) = ended;
                return Err(unkept(error));
            }
            _ = report.tick() => say(&journal.report(json))?,
            Some(event) = told.recv() => {
                if let Some(line) = news(&event, json) {
                    print(format!("{line}\n").as_bytes())?;
                }
                journal.note(&event);
            }
        }
    }
}

fn say(lines: &[String]) -> Result<(), Failure> {
    lines
        .iter()
        .try_for_each(|line| print(format!("{line}\n").as_bytes()))
}

/// Formats events that are printed immediately; single refreshes are summed up in the reports.
fn news(event: &Event, json: bool) -> Option<String> {
    let (kind, text) = match event {
        Event::Waiting(leader) => {
            let who = leader.map_or_else(String::new, |pid| format!(" (backend {pid})"));
            (
                "waiting",
                format!("another refresher leads{who}: waiting to take over"),
            )
        }
        Event::Leading => ("leading", "leading: refreshing from now on".to_owned()),
        Event::Ran {
            view,
            took_ms,
            rebuilt: true,
            ..
        } => (
            "filled",
            format!("{view}: recomputed in {}", format::ms(*took_ms)),
        ),
        Event::Failed { view, error } => ("failed", format!("{view}: {error}; trying again")),
        Event::Uncaptured { view, what } => (
            "uncaptured",
            format!(
                "{view} is wrong, or will be, because changes bypassed its triggers: {what}. htap-top refresh \
                 --mode full {view} rebuilds it"
            ),
        ),
        Event::Lost(error) => ("lost", format!("no connection: {error}; trying again")),
        Event::Ran { .. } | Event::HeldBack { .. } => return None,
    };
    Some(if json {
        json!({"event": kind, "message": text}).to_string()
    } else {
        text
    })
}

async fn prove(target: &Target, plan: &Plan, json: bool) -> Result<(), Failure> {
    let client = refresh::connect(target)
        .await
        .map_err(|error| unrefreshed(&error))?;
    let all = refresh::known(&client)
        .await
        .map_err(|error| unrefreshed(&error))?;
    let mut differing = 0;
    for (known, _) in chosen(&all, plan).map_err(unkept)? {
        if known.kind != Kind::Incremental {
            continue;
        }
        let differences = verify(&client, &known.view)
            .await
            .map_err(|error| unrefreshed(&error))?;
        let view = known.view.to_string();
        if json {
            let found: Vec<_> = differences
                .iter()
                .map(|d| json!({"relation": d.relation, "side": d.side, "rows": d.rows, "example": d.example}))
                .collect();
            let line = json!({"view": view, "equal": differences.is_empty(), "differences": found});
            print(format!("{line}\n").as_bytes())?;
        } else if differences.is_empty() {
            print(format!("{view}: equal to its recomputation\n").as_bytes())?;
        } else {
            for d in &differences {
                let line = format!(
                    "{}: {} rows {}, such as {}\n",
                    d.relation, d.rows, d.side, d.example
                );
                print(line.as_bytes())?;
            }
        }
        differing += usize::from(!differences.is_empty());
    }
    if differing == 0 {
        return Ok(());
    }
    Err(Failure::new(
        MISSED,
        format!(
            "{differing} summaries differ from their recomputation; htap-top refresh --mode full repairs them"
        ),
    ))
}

async fn schedule(target: &Target, plan: &Plan, every: Option<Duration>) -> Result<(), Failure> {
    let client = refresh::connect(target)
        .await
        .map_err(|error| unrefreshed(&error))?;
    let all = refresh::known(&client)
        .await
        .map_err(|error| unrefreshed(&error))?;
    let chosen = chosen(&all, plan).map_err(unkept)?;
    let every = every.unwrap_or(Duration::from_secs(60));
    let jobs = cron::jobs(&chosen, every).map_err(|why| Failure::new(USAGE, why))?;
    cron::schedule(&client, &jobs).await.map_err(|error| {
        Failure::new(
            FAILURE,
            format!("failed to schedule jobs of pg_cron: {error}"),
        )
    })?;
    for job in jobs {
        print(format!("{:<40} {:<14} {}\n", job.name, job.schedule, job.command).as_bytes())?;
    }
    let _ = writeln!(
        std::io::stderr(),
        "htap-top: pg_cron runs them from now on, in its own time zone (GMT unless cron.timezone is set)"
    );
    Ok(())
}
