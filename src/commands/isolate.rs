//! `htap-top isolate`.

use super::dashboard::{audit, configuration};
use super::options::Server;
use super::{
    FAILURE, Failure, NO_CONNECTION, NO_PRIVILEGE, block_on, confirmed, env, interrupted, print,
    target,
};
use crate::config;
use crate::dashboard::action::ActionId;
use crate::dashboard::audit::Audit;
use crate::dashboard::panels::classify::Classifier;
use crate::isolate::{IsolateError, Note, Percent, Plan, Report, Wanted, Wish, repair};
use clap::Args;
use std::io::Write as _;
use std::path::PathBuf;

/// Options of `isolate`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Run it on the database's host, as root or as the server's owner. It shows what it will do, and asks. When it \
                  ends (Ctrl-C, SIGTERM, a lost server), it returns every process to where it was. Only backends of class \
                  olap and their parallel workers are moved; one that others wait for is lifted out. \
                  See `htap-top help isolation`."
)]
pub(super) struct Options {
    /// The server.
    #[command(flatten)]
    pub(super) server: Server,
    /// OLAP's share of the processors while others want the rest
    #[arg(long, value_name = "PERCENT", default_value = "25%")]
    pub(super) olap_share: Percent,
    /// Hard limit in percent of all processors, even while they are idle; default: none
    #[arg(long, value_name = "PERCENT")]
    pub(super) max: Option<Percent>,
    /// Mechanism to use
    #[arg(long, value_enum, default_value_t)]
    pub(super) mechanism: Wanted,
    /// Show the mechanism, the weights and the processes that would be moved; change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Proceed without asking for confirmation
    #[arg(long)]
    pub(super) yes: bool,
    /// Undo what a killed run left behind, and exit
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "max", "conninfo"])]
    pub(super) undo: bool,
    /// Configuration file; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// A made-up hierarchy of control groups, for tests
    #[arg(long, value_name = "DIR", hide = true)]
    pub(super) cgroup2_root: Option<PathBuf>,
}

impl From<IsolateError> for Failure {
    fn from(error: IsolateError) -> Self {
        let code = match &error {
            IsolateError::Connect { .. } => NO_CONNECTION,
            IsolateError::Privilege(_) => NO_PRIVILEGE,
            IsolateError::Refused(_) | IsolateError::Server(_) | IsolateError::Io { .. } => FAILURE,
        };
        Self::new(code, error)
    }
}

const NAME: &str = "htap-top isolate";

/// Isolates OLAP until it is stopped.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let folder = config::state_folder(&env).join("isolate");
    if options.undo {
        return undo(&folder);
    }
    let config = configuration(options.config.as_deref(), &config::folder(&env))?;
    let target = target(&options.server, NAME)?;
    let mut audit = audit(&config);
    audit.target = target.to_conninfo();
    let mut reporter = Reporter { audit, lines: 0 };
    let wish = Wish {
        share: options.olap_share,
        limit: options.max,
        mechanism: options.mechanism,
        cgroup2_root: options.cgroup2_root.clone(),
        classifier: Classifier::new(config.classes, vec![target.user().to_owned()]),
        folder,
    };
    block_on(async {
        if !options.dry_run {
            let repaired = repair(&wish.folder)?;
            for sentence in repaired.undone.iter().chain(&repaired.failed) {
                reporter.say(sentence);
            }
        }
        let plan = Box::pin(Plan::new(&target, wish)).await?;
        print(plan.text().as_bytes())?;
        if options.dry_run {
            return print(b"nothing was changed\n");
        }
        if !options.yes && !confirmed("Isolate OLAP like this?")? {
            return print(b"nothing was changed\n");
        }
        let interrupted = interrupted()?;
        Ok(Box::pin(plan.carry_out(&mut reporter, interrupted)).await?)
    })
}

fn undo(folder: &std::path::Path) -> Result<(), Failure> {
    let repaired = repair(folder)?;
    for sentence in &repaired.undone {
        print(format!("{sentence}\n").as_bytes())?;
    }
    if !repaired.failed.is_empty() {
        let why = format!("failed to undo everything: {}", repaired.failed.join("; "));
        return Err(Failure::new(FAILURE, why));
    }
    if let Some(pid) = repaired.running.first() {
        let why = format!(
            "process {pid} is isolating OLAP now: stop it (kill {pid}), and it undoes everything itself"
        );
        return Err(Failure::new(FAILURE, why));
    }
    if repaired.undone.is_empty() {
        return print(b"there is nothing to undo\n");
    }
    Ok(())
}

/// Reports to the terminal and the audit file.
struct Reporter {
    audit: Audit,
    lines: u32,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the time of a change is only reported, nothing depends on it"
)]
fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

impl Report for Reporter {
    fn say(&mut self, what: &str) {
        let at = now().format("%H:%M:%S");
        let _ = writeln!(std::io::stderr(), "{at} {what}");
    }

    fn note(&mut self, note: &Note<'_>) -> std::io::Result<()> {
        self.lines = self.lines.saturating_add(1);
        let at = now().to_rfc3339();
        self.audit.isolation(&at, ActionId(self.lines), note)
    }
}
