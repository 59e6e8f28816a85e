//! The dashboard on a server that is there: what runs if no command is named.

use super::options::{Beside, Look, Servers};
use super::servers::{self, Choice};
use super::{FAILURE, Failure, NO_CONNECTION, USAGE, block_on, env};
use crate::config::{self, Config};
use crate::dashboard::audit::Audit;
use crate::dashboard::choices::Choices;
use crate::dashboard::incident;
use crate::dashboard::model::Start;
use crate::dashboard::panels::spec::Spec;
use crate::dashboard::panels::{self, own};
use crate::dashboard::runtime::ring::Place as RecordingPlace;
use crate::dashboard::runtime::{self, Ended, Ending, Places, TerminalSession, Watch};
use crate::dashboard::theme::Theme;
use crate::text::Clean;
use clap::Args;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of the dashboard.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Options {
    /// The servers.
    #[command(flatten)]
    pub(super) servers: Servers,
    /// Connections beside those of the server.
    #[command(flatten)]
    pub(super) beside: Beside,
    /// Options of the screen.
    #[command(flatten)]
    pub(super) look: Look,
}

/// Opens the dashboard on existing servers.
pub(super) fn run(options: &Options) -> Result<(), Failure> {
    let mut prepared = Prepared::new(&options.look, false)?;
    let config = &mut prepared.start.config;
    if let Some(connections) = options.beside.pool.olap_connections {
        config.olap.connections = connections;
    }
    let choices = servers::choose(&options.servers, &options.beside, config)?;
    need_terminal()?;
    block_on(async {
        let terminal = TerminalSession::set()?;
        Box::pin(prepared.run(terminal, choices)).await
    })
}

pub(super) fn need_terminal() -> Result<(), Failure> {
    let dumb = env("TERM").is_none_or(|term| term == "dumb");
    if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !dumb {
        return Ok(());
    }
    let why = if dumb {
        "TERM is not set, or dumb"
    } else {
        "standard input or output is not a terminal"
    };
    let advice = "run it in a terminal; in scripts, run `htap-top once`";
    Err(Failure::new(
        USAGE,
        format!("the dashboard needs a terminal ({why}): {advice}"),
    ))
}

/// Returns the audit file, still without the target of the actions.
pub(super) fn audit(config: &Config) -> Audit {
    let path = config.audit_file.clone();
    let actor = nix::unistd::User::from_uid(nix::unistd::getuid());
    let actor = actor.ok().flatten();
    Audit {
        path: path.unwrap_or_else(|| config::state_folder(&env).join("audit.jsonl")),
        target: String::new(),
        actor: actor.map_or_else(|| "unknown".into(), |user| user.name),
    }
}

/// Everything read from files before the terminal is set up.
pub(super) struct Prepared {
    pub(super) start: Start,
    pub(super) themes: Vec<Theme>,
    audit: Audit,
    choices: Choices,
}

impl Prepared {
    pub(super) fn new(look: &Look, demo: bool) -> Result<Self, Failure> {
        let folder = config::folder(&env);
        let mut config = configuration(look.config.as_deref(), &folder)?;
        config.interval = look.interval.unwrap_or(config.interval);
        config.read_only |= look.read_only;
        if demo {
            // The demo's runaway report is to be reported soon.
            config.targets.olap_limit = config.targets.olap_limit.min(Duration::from_secs(20));
        }
        let wanted = look.theme.clone().unwrap_or_else(|| config.theme.clone());
        let mut complaints = Vec::new();
        let themes = themes(&folder, &wanted, &mut complaints)?;
        let (own_panels, refused) = own_panels(&config, look.config.as_deref(), &folder)?;
        complaints.extend(refused);
        let mut choices = Choices::default();
        if !demo {
            let (kept, unusable) = Choices::read(&columns());
            choices = kept;
            complaints.extend(unusable);
        }
        let built_in = panels::built_in().map_err(|why| Failure::new(FAILURE, why))?;
        let audit = audit(&config);
        let start = Start {
            config,
            built_in,
            own_panels,
            complaints,
            utc_offset_s: utc_offset_s(),
            themes: themes.iter().map(|theme| theme.name.clone()).collect(),
            target: Clean::default(),
            olap_target: None,
            olap_server: None,
            pooler: None,
            columnar: None,
            own_roles: Vec::new(),
            demo,
            server: None,
        };
        Ok(Self {
            start,
            themes,
            audit,
            choices,
        })
    }

    pub(super) async fn run(
        self,
        terminal: TerminalSession,
        choices: Vec<Choice>,
    ) -> Result<(), Failure> {
        let (count, places) = (choices.len(), self.places());
        let watched = (1..).zip(choices);
        let mut watched = watched.map(|(number, choice)| self.watch(choice, (number, count)));
        let first = watched
            .next()
            .ok_or_else(|| Failure::new(USAGE, "no server is named"))?;
        let others = watched.collect();
        let ending = Box::pin(runtime::run(terminal, self.themes, first, others, places));
        ended(ending.await?)
    }

    /// Returns where reports of incidents are written.
    pub(super) fn reports(&self) -> incident::Place {
        incident::Place {
            folder: config::state_folder(&env).join("reports"),
            audit: self.audit.path.clone(),
        }
    }

    /// Returns what the screen keeps in files. The demo leaves nothing behind and takes nothing over.
    pub(super) fn places(&self) -> Places {
        Places {
            reports: self.reports(),
            columns: (!self.start.demo).then(columns),
            choices: self.choices.clone(),
        }
    }

    /// Returns what is needed to watch a server; `part` is its number and the number of all.
    fn watch(&self, choice: Choice, part: (usize, usize)) -> Watch {
        let mut start = self.start.clone();
        choice.enter(&mut start);
        let warnings = choice.targets.oltp.warnings();
        start.complaints.extend(warnings.iter().cloned());
        let record = &start.config.record;
        // The demo leaves nothing behind.
        let place = (record.always && !start.demo).then(|| RecordingPlace {
            folder: recordings(record),
            limit: record.limit_mb.saturating_mul(1_000_000),
            mask: !record.literals,
            part,
        });
        Watch {
            audit: Audit {
                target: choice.targets.oltp.to_conninfo(),
                ..self.audit.clone()
            },
            targets: choice.targets,
            record: place,
            start,
        }
    }
}

/// Returns the file of columns chosen on the screen.
fn columns() -> PathBuf {
    config::state_folder(&env).join("columns.json")
}

/// Returns the folder of the recordings that dashboards make automatically.
pub(super) fn recordings(record: &config::Record) -> PathBuf {
    let folder = record.folder.clone();
    folder.unwrap_or_else(|| config::state_folder(&env).join("recordings"))
}

/// Converts the end of a screen to an exit code, and reports what could not be written.
pub(super) fn ended(ended: Ended) -> Result<(), Failure> {
    for what in ended.unwritten {
        let _ = writeln!(std::io::stderr(), "htap-top: {what}");
    }
    match ended.ending {
        Ending::Quit => Ok(()),
        Ending::NeverConnected => Err(Failure::new(
            NO_CONNECTION,
            "could not connect to the server",
        )),
        Ending::Panicked => Err(Failure::new(
            FAILURE,
            "ended by an internal error; please report the lines above",
        )),
    }
}

/// Loads the given configuration file, or the one in the folder if it exists.
pub(super) fn configuration(file: Option<&Path>, folder: &Path) -> Result<Config, Failure> {
    Config::load(&path(file, folder), file.is_some()).map_err(|error| Failure::new(USAGE, error))
}

fn path(file: Option<&Path>, folder: &Path) -> PathBuf {
    file.map_or_else(|| folder.join("config.toml"), Path::to_path_buf)
}

/// Returns the user's own panels, and complaints about them and about panels in the configuration.
pub(super) fn own_panels(
    config: &Config,
    file: Option<&Path>,
    folder: &Path,
) -> Result<(Vec<Spec>, Vec<String>), Failure> {
    let (own, mut complaints) = own::read(&folder.join("queries"));
    let built_in = panels::built_in().map_err(|why| Failure::new(FAILURE, why))?;
    complaints.extend(panels::unknown(config, built_in, &own));
    let checked = config.keys.check_panels(&panels::keys(built_in, &own));
    checked
        .map_err(|why| Failure::new(USAGE, format!("{}: {why}", path(file, folder).display())))?;
    Ok((own, complaints))
}

/// Returns the wanted theme followed by the others; `t` steps through them.
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
            Err(error) => complaints.push(format!("theme skipped: {}: {error}", path.display())),
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
                "unknown theme {wanted:?}{why}; the themes are {}",
                names.join(", ")
            ),
        ));
    };
    themes.rotate_left(first);
    Ok(themes)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the offset from UTC is asked once, before the model exists"
)]
pub(super) fn utc_offset_s() -> i32 {
    chrono::Local::now().offset().local_minus_utc()
}
