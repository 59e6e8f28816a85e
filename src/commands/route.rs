//! `htap-top route`.

use super::options::Connection;
use super::{FAILURE, Failure, NO_CONNECTION, USAGE, block_on, print, resolved};
use crate::pg::{Client, Flags, Settings};
use crate::router::catalogue::Catalogue;
use crate::router::executor::replica_state;
use crate::router::traps::{TRAPS, Trap};
use crate::router::{Decision, OLAP_COST, Outcome, ReplicaState, Router, Session};
use crate::sql::shape;
use crate::text::Clean;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of `route`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Routes statements one after another, as one session would send them: what follows BEGIN goes \
                  where BEGIN went. Runs none of them: it looks up names on the server, and plans with EXPLAIN, \
                  which calls functions labelled stable or immutable. Connect as the role that reads (htap_olap), \
                  not as a superuser: its search path, policies and privileges count. Each argument is one client \
                  message; in a file, each statement is one."
)]
pub(super) struct Options {
    /// Statements
    #[arg(value_name = "SQL")]
    statements: Vec<String>,
    /// Read statements from this file; - means standard input
    #[arg(short = 'f', long, value_name = "FILE", conflicts_with = "statements")]
    file: Option<PathBuf>,
    /// Show the decisions of this router and of a keyword router for 16 statements; the latter gets 14 wrong
    #[arg(long, conflicts_with_all = ["statements", "file", "offline"])]
    traps: bool,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Plan cost from which a read goes to the OLAP pool
    #[arg(long, value_name = "COST", default_value_t = OLAP_COST, value_parser = parse_cost)]
    olap_cost: f64,
    /// Do not connect: uncommon functions go to the primary, and the pool is estimated
    #[arg(long, conflicts_with_all = ["host", "port", "user", "dbname", "replica"])]
    offline: bool,
    /// Replica to ask for its replay position; without it, a fully caught-up replica is assumed
    #[arg(long, value_name = "CONNINFO")]
    replica: Option<String>,
    /// Connection options, as in psql.
    #[command(flatten)]
    connection: Connection,
}

/// Output format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Text,
    /// A JSON object per line
    Json,
}

impl Options {
    /// Returns the connection settings.
    fn flags(&self) -> Flags {
        self.connection.flags(None)
    }
}

fn parse_cost(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(cost) if cost >= 0.0 => Ok(cost),
        _ => Err("expected a plan cost of at least 0".to_owned()),
    }
}

/// Time limit for a replica to report its replay position.
const ANSWER: Duration = Duration::from_secs(3);

/// Shows where statements would run, and the reasons.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let statements = statements(options)?;
    block_on(async {
        let router = router(options).await?.with_olap_cost(options.olap_cost);
        let replica = replica(options).await?;
        if options.traps {
            return traps(&router, replica, options.format).await;
        }
        let mut session = Session::default();
        for (position, sql) in statements.iter().enumerate() {
            let decision = router.route(&session, sql, replica).await;
            // The statement is assumed to succeed.
            session.settle(&decision, Outcome::Done(None));
            let text = match options.format {
                Format::Json => line(&Answer {
                    statement: sql,
                    decision: &decision,
                })?,
                Format::Text => {
                    let blank = if position > 0 { "\n" } else { "" };
                    format!("{blank}{}\n{}", shortened(sql), described(&decision))
                }
            };
            print(text.as_bytes())?;
        }
        Ok(())
    })
}

/// Returns the statements to route.
fn statements(options: &Options) -> Result<Vec<String>, Failure> {
    if options.traps {
        return Ok(Vec::new());
    }
    let Some(path) = &options.file else {
        if options.statements.is_empty() {
            let advice = "no statement given: pass one in quotes, -f FILE or --traps";
            return Err(Failure::new(USAGE, advice));
        }
        return Ok(options.statements.clone());
    };
    let text = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = text
        .map_err(|error| Failure::new(USAGE, format!("cannot read {}: {error}", path.display())))?;
    let split = shape::split(&text);
    Ok(split.into_iter().map(str::to_owned).collect())
}

async fn router(options: &Options) -> Result<Router, Failure> {
    if options.offline {
        return Ok(Router::offline());
    }
    let target = resolved(&options.flags(), "htap-top route")?;
    let catalogue = Catalogue::connect(target.clone()).await.map_err(|error| {
        let advice = "--offline works without a server";
        Failure::new(
            NO_CONNECTION,
            format!("failed to connect: {error}; {advice}"),
        )
    })?;
    let router = Router::new(catalogue);
    #[cfg(feature = "columnar")]
    if let Ok(Some(store)) = crate::columnar::begun(&target).await {
        return Ok(router.with_column_store(store));
    }
    Ok(router)
}

async fn replica(options: &Options) -> Result<ReplicaState, Failure> {
    let Some(conninfo) = &options.replica else {
        return Ok(ReplicaState::Current);
    };
    let flags = Flags {
        conninfo: Some(conninfo.clone()),
        ..Flags::default()
    };
    let target = resolved(&flags, "htap-top route")?;
    let asked = async {
        let client = Client::open(&target, &Settings::of_monitor(ANSWER)).await?;
        replica_state(&client).await
    };
    // A missing replica is an answer, too.
    Ok(asked.await.unwrap_or(ReplicaState::Unavailable))
}

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    decision: &'a Decision,
    statement: &'a str,
}

fn line(answer: &impl Serialize) -> Result<String, Failure> {
    let json = serde_json::to_string(answer).map_err(|error| Failure::new(FAILURE, error))?;
    Ok(format!("{json}\n"))
}

fn described(decision: &Decision) -> String {
    let (rule, reason) = (decision.rule.name(), Clean::new(&decision.reason));
    format!(
        "  {}, {} pool ({rule})\n  {reason}\n",
        decision.node, decision.pool
    )
}

/// Shortens a statement to one line.
fn shortened(sql: &str) -> String {
    const WIDTH: usize = 160;
    let clean = Clean::new(sql);
    let words: Vec<&str> = clean.as_str().split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[derive(Serialize)]
struct Trapped<'a> {
    #[serde(flatten)]
    answer: Answer<'a>,
    why: &'a str,
    right: bool,
    keywords: String,
    keywords_right: bool,
    keywords_dangerous: bool,
}

/// Prints all traps with the decisions of this router and of the case study.
async fn traps(router: &Router, replica: ReplicaState, format: Format) -> Result<(), Failure> {
    let mut right = 0;
    for trap in &TRAPS {
        let decision = router.route(&Session::default(), trap.sql, replica).await;
        right += usize::from(trap.is_right(&decision));
        let text = match format {
            Format::Json => line(&Trapped {
                right: trap.is_right(&decision),
                answer: Answer {
                    statement: trap.sql,
                    decision: &decision,
                },
                why: trap.why,
                keywords: trap.by_keywords().to_string(),
                keywords_right: !trap.misleads_keywords(),
                keywords_dangerous: trap.endangers(),
            })?,
            Format::Text => compared(trap, &decision),
        };
        print(text.as_bytes())?;
    }
    if format == Format::Text {
        let misled = TRAPS.iter().filter(|trap| trap.misleads_keywords()).count();
        let harm = TRAPS.iter().filter(|trap| trap.endangers()).count();
        let sum = format!(
            "{right} of {} right; by keywords {} right, {misled} wrong, {harm} of these a write, a side effect or row locks on the replica\n",
            TRAPS.len(),
            TRAPS.len() - misled
        );
        print(sum.as_bytes())?;
    }
    if right == TRAPS.len() {
        return Ok(());
    }
    Err(Failure::new(
        FAILURE,
        "some traps were routed wrongly: was this database set up by htap-top init?",
    ))
}

fn compared(trap: &Trap, decision: &Decision) -> String {
    let mut text = format!("{}\n", trap.sql);
    let verdict = |right: bool| if right { "right" } else { "WRONG" };
    let _ = writeln!(text, "  trap      {}", trap.why);
    let _ = writeln!(
        text,
        "  router    {:<13} {}  {}: {}",
        decision.lane().to_string(),
        verdict(trap.is_right(decision)),
        decision.rule.name(),
        decision.reason
    );
    let danger = if trap.endangers() {
        ", and dangerous"
    } else {
        ""
    };
    let _ = writeln!(
        text,
        "  keywords  {:<13} {}{danger}\n",
        trap.by_keywords().to_string(),
        verdict(!trap.misleads_keywords())
    );
    text
}
