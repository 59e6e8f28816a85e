//! Steps shared by `once` and `serve`: settings and names, read before anything is queried.

use super::dashboard::{configuration, own_panels, utc_offset_s};
use super::options::{Beside, Servers};
use super::{FAILURE, Failure, USAGE, env, servers};
use crate::config;
use crate::dashboard::model::{Model, Start};
use crate::dashboard::runtime::Targets;
use crate::dashboard::view::COLUMN_STORE;
use crate::dashboard::{output, panels};
use crate::text::Clean;
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// The server and panels that `once`, `serve` and `record` read.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Watched {
    /// The servers.
    #[command(flatten)]
    pub(super) servers: Servers,
    /// Connections beside those of the server.
    #[command(flatten)]
    pub(super) beside: Beside,
    /// Configuration file; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Panel to print, by file name; can be repeated
    #[arg(long = "panel", value_name = "NAME")]
    pub(super) panels: Vec<String>,
}

/// The initial state of a model, and the targets of its sessions.
pub(super) type Prepared = (Start, Targets);

/// Returns what is needed to watch each server.
pub(super) fn prepare(options: &Watched) -> Result<Vec<Prepared>, Failure> {
    let folder = config::folder(&env);
    let mut config = configuration(options.config.as_deref(), &folder)?;
    let choices = servers::choose(&options.servers, &options.beside, &config)?;
    if let Some(connections) = options.beside.pool.olap_connections {
        config.olap.connections = connections;
    }
    let (own_panels, complaints) = own_panels(&config, options.config.as_deref(), &folder)?;
    let built_in = panels::built_in().map_err(|why| Failure::new(FAILURE, why))?;
    let warnings = choices
        .iter()
        .flat_map(|choice| choice.targets.oltp.warnings());
    for complaint in warnings.chain(&complaints) {
        let _ = writeln!(std::io::stderr(), "htap-top: {complaint}");
    }
    let start = Start {
        config,
        built_in,
        own_panels,
        complaints: Vec::new(),
        utc_offset_s: utc_offset_s(),
        themes: Vec::new(),
        target: Clean::default(),
        olap_target: None,
        olap_server: None,
        pooler: None,
        columnar: None,
        own_roles: Vec::new(),
        demo: false,
        server: None,
    };
    let prepared = choices.into_iter().map(|choice| {
        let mut start = start.clone();
        choice.enter(&mut start);
        (start, choice.targets)
    });
    Ok(prepared.collect())
}

/// Like [`prepare`], for a command that reads one server.
pub(super) fn prepare_one(options: &Watched, command: &str) -> Result<Prepared, Failure> {
    let mut prepared = prepare(options)?;
    match prepared.pop() {
        Some(only) if prepared.is_empty() => Ok(only),
        _ => Err(Failure::new(
            USAGE,
            format!("{command} reads one server, and several are given: name one by its conninfo"),
        )),
    }
}

/// A panel that needs an option.
const POOLER: &str = "pooler";

/// Returns an error if a name is not that of a panel.
pub(super) fn check_names(model: &Model, panels: &[String]) -> Result<(), Failure> {
    let names = output::names(model);
    let lacking = model.feeds.iter();
    let mut lacking = lacking.filter(|feed| model.lacks_column_store(feed));
    if let Some(feed) = lacking.find(|feed| panels.contains(&feed.spec.name)) {
        let why = format!("panel {} needs {COLUMN_STORE}", feed.spec.name);
        return Err(Failure::new(USAGE, why));
    }
    match panels.iter().find(|panel| !names.contains(&panel.as_str())) {
        None => Ok(()),
        Some(unknown) if unknown == POOLER && model.start.pooler.is_none() => {
            let why = "panel pooler needs --pooler CONNINFO, PgBouncer's admin console";
            Err(Failure::new(USAGE, why))
        }
        Some(unknown) => {
            let why = format!(
                "unknown panel {unknown:?}; the panels are {}",
                names.join(", ")
            );
            Err(Failure::new(USAGE, why))
        }
    }
}
