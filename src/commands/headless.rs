//! Steps shared by `once` and `serve`: settings and names, read before anything is queried.

use super::dashboard::{
    configuration, olap_server, olap_target, own_panels, place, pooler_target, shown, utc_offset_s,
};
use super::options::{OlapPool, Pooler, Server};
use super::{FAILURE, Failure, USAGE, env, target};
use crate::config;
use crate::dashboard::model::{Model, Start};
use crate::dashboard::runtime::Targets;
use crate::dashboard::{output, panels};
use clap::Args;
use std::io::Write;
use std::path::PathBuf;

/// The server and panels that `once`, `serve` and `record` read.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Watched {
    /// The server.
    #[command(flatten)]
    pub(super) server: Server,
    /// The OLAP pool.
    #[command(flatten)]
    pub(super) pool: OlapPool,
    /// The pooler.
    #[command(flatten)]
    pub(super) pooler: Pooler,
    /// Configuration file; default $XDG_CONFIG_HOME/htap-top/config.toml
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Panel to print, by file name; can be repeated
    #[arg(long = "panel", value_name = "NAME")]
    pub(super) panels: Vec<String>,
}

/// Returns the initial state of the model, and the targets of its sessions.
pub(super) fn prepare(options: &Watched) -> Result<(Start, Targets), Failure> {
    let folder = config::folder(&env);
    let mut config = configuration(options.config.as_deref(), &folder)?;
    let oltp = target(&options.server, "htap-top")?;
    let pool = olap_target(&options.pool)?;
    let pooler = pooler_target(&options.pooler, &config)?;
    if let Some(connections) = options.pool.olap_connections {
        config.olap.connections = connections;
    }
    let (own_panels, complaints) = own_panels(&config, options.config.as_deref(), &folder)?;
    let built_in = panels::built_in().map_err(|why| Failure::new(FAILURE, why))?;
    for complaint in complaints {
        let _ = writeln!(std::io::stderr(), "htap-top: {complaint}");
    }
    let olap_target = pool.as_ref().map(shown);
    let targets = Targets::new(oltp, pool, pooler);
    let start = Start {
        config,
        built_in,
        own_panels,
        complaints: Vec::new(),
        utc_offset_s: utc_offset_s(),
        themes: Vec::new(),
        target: shown(&targets.oltp),
        olap_target,
        olap_server: olap_server(&targets),
        pooler: targets.pooler.as_deref().map(place),
        own_roles: vec![
            targets.oltp.user().to_owned(),
            targets.olap.user().to_owned(),
        ],
        demo: false,
    };
    Ok((start, targets))
}

/// The panel that needs an option.
const POOLER: &str = "pooler";

/// Returns an error if a name is not that of a panel.
pub(super) fn check_names(model: &Model, panels: &[String]) -> Result<(), Failure> {
    let names = output::names(model);
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
