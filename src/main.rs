//! The `htap-top` binary: reads the command line and the files, and hands over.

use clap::{CommandFactory, Parser};
use htap_top::cli::{Cli, Command, Demo, Init, Look, Watch};
use htap_top::config::{self, Config};
use htap_top::dashboard::audit::Audit;
use htap_top::dashboard::model::Start;
use htap_top::dashboard::panels::own;
use htap_top::dashboard::runtime::{self, Ending, Stage, Targets};
use htap_top::dashboard::theme::Theme;
use htap_top::demo;
use htap_top::demo::launch::{Engine, Place};
use htap_top::pg::Target;
use htap_top::system::init::{self, InitError};
use htap_top::text::Clean;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Exit codes, as the help lists them.
const FAILURE: u8 = 1;
const USAGE: u8 = 2;
const NO_CONNECTION: u8 = 3;
const NO_PRIVILEGE: u8 = 4;

/// Why the program ends, and with which code.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn new(code: u8, message: impl std::fmt::Display) -> Self {
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

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => watch(&cli.watch),
        Some(Command::Demo(demo)) if demo.headless => headless(&demo),
        Some(Command::Demo(demo)) => show(&demo),
        Some(Command::Init(init)) => install(&init),
        Some(Command::Config) => print(config::EXAMPLE.as_bytes()),
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "htap-top", &mut text);
            print(&text)
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut text);
            rendered.map_err(Failure::from).and_then(|()| print(&text))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "htap-top: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Prints; a reader that has seen enough (`| head -1`) is no failure.
fn print(text: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// One thread is enough: the work is done by the server, and the keyboard has a thread of its own.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(work)
}

/// The dashboard on a server that is there.
fn watch(options: &Watch) -> Result<(), Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::new(USAGE, error);
    let oltp = Target::resolve(&options.flags(), &env).map_err(|error| usage(&error))?;
    let oltp = oltp.with_application_name("htap-top");
    let olap_pool = match &options.olap {
        Some(conninfo) => Some(olap_target(conninfo)?),
        None => None,
    };
    let mut prepared = Prepared::new(&options.look, false)?;
    if let Some(connections) = options.olap_connections {
        prepared.start.config.olap.connections = connections;
    }
    prepared.start.target = shown(&oltp);
    prepared.start.olap_target = olap_pool.as_ref().map(shown);
    prepared
        .start
        .complaints
        .extend(oltp.warnings().iter().cloned());
    need_terminal()?;
    block_on(async {
        let stage = Stage::set()?;
        prepared
            .run(
                stage,
                Targets {
                    olap: olap_pool.unwrap_or_else(|| oltp.clone()),
                    oltp,
                },
            )
            .await
    })
}

/// Where the OLAP pool connects: a replica, or the same server by another role.
fn olap_target(conninfo: &str) -> Result<Target, Failure> {
    let flags = htap_top::pg::Flags {
        conninfo: Some(conninfo.to_owned()),
        ..Default::default()
    };
    let target = Target::resolve(&flags, &env)
        .map_err(|error| Failure::new(USAGE, format!("--olap: {error}")))?;
    Ok(target.with_application_name("htap-top"))
}

/// `shop @ primary:5432`; a socket's folder says less than that it is on this machine.
fn shown(target: &Target) -> Clean {
    let host = target.host_display();
    let port = host.rsplit_once(':').map(|(_, port)| port);
    let host = match port {
        Some(port) if host.starts_with('/') => format!("[local]:{port}"),
        _ => host,
    };
    Clean::from(format!("{} @ {host}", target.dbname()))
}

fn need_terminal() -> Result<(), Failure> {
    let dumb = env("TERM").is_none_or(|term| term == "dumb");
    if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !dumb {
        return Ok(());
    }
    let why = if dumb {
        "TERM is not set, or dumb"
    } else {
        "standard input or output is not a terminal"
    };
    let advice = "run it in a terminal; in scripts, run a statement of queries/ with psql, or `htap-top demo --headless`";
    Err(Failure::new(
        USAGE,
        format!("the dashboard needs a terminal ({why}): {advice}"),
    ))
}

/// Everything read from files before the terminal is taken.
struct Prepared {
    start: Start,
    themes: Vec<Theme>,
    audit: Audit,
}

impl Prepared {
    fn new(look: &Look, demo: bool) -> Result<Self, Failure> {
        let folder = config::folder(&env);
        let path = look
            .config
            .clone()
            .unwrap_or_else(|| folder.join("config.toml"));
        let mut config = Config::load(&path, look.config.is_some())
            .map_err(|error| Failure::new(USAGE, error))?;
        config.interval = look.interval.unwrap_or(config.interval);
        config.read_only |= look.read_only;
        if demo {
            for_demo(&mut config);
        }
        let wanted = look.theme.clone().unwrap_or_else(|| config.theme.clone());
        let mut complaints = Vec::new();
        let themes = themes(&folder, &wanted, &mut complaints)?;
        let (own_panels, refused) = own::read(&folder.join("queries"));
        complaints.extend(refused);
        let audit = Audit {
            path: config
                .audit_file
                .clone()
                .unwrap_or_else(|| config::state_folder(&env).join("audit.jsonl")),
            target: String::new(),
            actor: nix::unistd::User::from_uid(nix::unistd::getuid())
                .ok()
                .flatten()
                .map_or_else(|| "unknown".into(), |user| user.name),
        };
        let start = Start {
            config,
            own_panels,
            complaints,
            utc_offset_s: utc_offset_s(),
            themes: themes.iter().map(|theme| theme.name.clone()).collect(),
            target: Clean::default(),
            olap_target: None,
            own_roles: Vec::new(),
            demo,
        };
        Ok(Self {
            start,
            themes,
            audit,
        })
    }

    async fn run(mut self, stage: Stage, targets: Targets) -> Result<(), Failure> {
        self.audit.target = targets.oltp.to_conninfo();
        self.start.own_roles = vec![
            targets.oltp.user().to_owned(),
            targets.olap.user().to_owned(),
        ];
        match runtime::run(stage, self.start, self.themes, targets, self.audit).await? {
            Ending::Quit => Ok(()),
            Ending::NeverConnected => Err(Failure::new(NO_CONNECTION, "it never had a connection")),
            Ending::Panicked => Err(Failure::new(
                FAILURE,
                "it ended by an internal error; please report the lines above",
            )),
        }
    }
}

/// Targets that fit the paces at which the demo refreshes its views, unless the file says others.
fn for_demo(config: &mut Config) {
    for (view, seconds) in [
        ("mart.user_behavior_mv", 45),
        ("mart.fact_sales_mv", 90),
        ("mart.daily_sales_summary", 90),
    ] {
        config
            .freshness
            .entry(view.into())
            .or_insert(Duration::from_secs(seconds));
    }
    config.targets.olap_limit = config.targets.olap_limit.min(Duration::from_secs(20));
}

/// The wanted theme first, then the others; `t` goes through them.
fn themes(
    folder: &Path,
    wanted: &str,
    complaints: &mut Vec<String>,
) -> Result<Vec<Theme>, Failure> {
    let mut themes: Vec<Theme> = Theme::names()
        .filter_map(|name| Theme::built_in(name).ok())
        .collect();
    for file in std::fs::read_dir(folder.join("themes"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let path = file.path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        match text.and_then(|text| Theme::parse(&name, &text).map_err(|error| error.to_string())) {
            Ok(theme) => {
                themes.retain(|other| other.name != theme.name);
                themes.push(theme);
            }
            Err(error) => complaints.push(format!("theme left out: {}: {error}", path.display())),
        }
    }
    let Some(first) = themes.iter().position(|theme| theme.name == wanted) else {
        let names: Vec<&str> = themes.iter().map(|theme| theme.name.as_str()).collect();
        let broken = complaints
            .iter()
            .find(|complaint| complaint.contains(wanted));
        let why = broken.map(|why| format!(" ({why})")).unwrap_or_default();
        return Err(Failure::new(
            USAGE,
            format!(
                "there is no theme {wanted:?}{why}; there are {}",
                names.join(", ")
            ),
        ));
    };
    themes.rotate_left(first);
    Ok(themes)
}

/// The demo's schema in a database that is there.
fn install(options: &Init) -> Result<(), Failure> {
    let target = Target::resolve(&options.flags(), &env)
        .map_err(|error| Failure::new(USAGE, error))?
        .with_application_name("htap-top init");
    for warning in target.warnings() {
        let _ = writeln!(std::io::stderr(), "htap-top: {warning}");
    }
    let progress = |doing: &str| {
        let _ = writeln!(std::io::stderr(), "{doing}");
    };
    let done = block_on(async {
        init::init(&target, options.orders, progress)
            .await
            .map_err(|error| {
                let code = match &error {
                    InitError::Connect { .. } => NO_CONNECTION,
                    InitError::Privilege(_) => NO_PRIVILEGE,
                    InitError::Refused(_) | InitError::Server { .. } => FAILURE,
                };
                Failure::new(code, error)
            })
    })?;
    print(done.to_string().as_bytes())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the offset from UTC is asked once, before the model exists"
)]
fn utc_offset_s() -> i32 {
    chrono::Local::now().offset().local_minus_utc()
}

/// The demo's engine alone.
fn headless(demo: &Demo) -> Result<(), Failure> {
    let options = demo::Options {
        pg_bindir: demo.pg_bindir.clone(),
        pg_major: demo.pg_major,
        calm: demo.calm,
        listen: demo.listen,
        orders: demo.orders,
        seed: demo.seed,
        rate: demo.rate,
        lifeline: demo.lifeline,
    };
    // The load has threads of its own, so that it is not held up by its own bookkeeping.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        demo::run(options, &mut std::io::stdout())
            .await
            .map_err(|error| Failure::new(FAILURE, error))
    })
}

/// The demo with the dashboard on it.
fn show(demo: &Demo) -> Result<(), Failure> {
    let mut prepared = Prepared::new(&demo.look, true)?;
    need_terminal()?;
    block_on(async {
        let mut stage = Stage::set()?;
        let mut engine = Engine::start(demo)?;
        let started = stage.wait_for(&mut engine, &prepared.themes).await;
        let outcome = match started {
            Ok(Some(place)) => {
                let targets = demo_targets(&place);
                prepared.start.target = shown(&targets.oltp);
                prepared.run(stage, targets).await
            }
            Ok(None) => {
                drop(stage);
                Ok(())
            }
            Err(error) => {
                drop(stage);
                Err(Failure::new(FAILURE, error))
            }
        };
        let _ = writeln!(
            std::io::stderr(),
            "htap-top: stopping the demo's server and removing its folder"
        );
        let stopped = engine
            .stop()
            .await
            .map_err(|error| Failure::new(FAILURE, error));
        outcome.and(stopped)
    })
}

fn demo_targets(place: &Place) -> Targets {
    let local = |user: &str| {
        Target::local(Path::new(&place.host), place.port, user, &place.dbname)
            .with_application_name("htap-top")
    };
    Targets {
        oltp: local(&place.user),
        olap: local(&place.olap_user),
    }
}
