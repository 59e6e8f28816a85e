//! Removes a replica that `create` made, and its slot.

use super::create::drop_slot;
use super::error::ReplicaError;
use super::facts::Server;
use super::local::{clear, run, shown};
use super::marker::Marker;
use crate::cluster::account::Account;
use crate::cluster::sweep::{end_postmaster, postmaster_pid, serves};
use crate::pg::{Flags, Target};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A replica that can be removed.
pub(crate) struct Removal {
    folder: PathBuf,
    marker: Marker,
    account: Account,
    /// `None` if the slot is to stay.
    primary: Option<Server>,
}

impl Removal {
    /// Looks at the data directory and at the primary; changes nothing. `primary` overrides the one in the mark;
    /// with `keep_slot` no primary is needed.
    ///
    /// # Errors
    /// The directory was not made by `create`, the replica was promoted, or the primary is not its own.
    pub(crate) async fn new(
        folder: &Path,
        primary: Option<Target>,
        keep_slot: bool,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, ReplicaError> {
        let shown = folder.display().to_string();
        let folder = folder
            .canonicalize()
            .map_err(ReplicaError::io(format!("find {shown}")))?;
        let marker = Marker::read(&folder)?;
        if !folder.join("standby.signal").exists() {
            return Err(ReplicaError::Refused(format!(
                "{shown} is no longer a standby: it was promoted, and may hold data that is nowhere else. Nothing was \
                 touched; save what you need, stop the server and remove the directory yourself"
            )));
        }
        let primary = if keep_slot {
            None
        } else {
            let target = match primary {
                Some(target) => target,
                None => of_marker(&marker, env)?,
            };
            Some(owner_of_slot(&target, &marker).await?)
        };
        Ok(Self {
            account: Account::of_folder(&folder)?,
            folder,
            marker,
            primary,
        })
    }

    /// Describes the steps.
    pub(crate) fn steps(&self) -> String {
        let mut text = String::new();
        let mut number = 0;
        let mut step = |what: &str| {
            number += 1;
            let _ = writeln!(text, "{number}. {what}");
        };
        if self.is_up() {
            let who = self.account.name();
            step(&format!("As {who}, stop it:\n     {}", shown(&self.stop())));
        }
        match &self.primary {
            Some(primary) if primary.is("has_slot") => step(&format!(
                "On the primary, drop the slot:\n     SELECT pg_catalog.pg_drop_replication_slot('{}');",
                self.marker.slot
            )),
            Some(_) => step(&format!(
                "Its slot {} is gone from the primary already",
                self.marker.slot
            )),
            None => step(&format!(
                "Keep the slot {} on the primary: it retains WAL until somebody drops it",
                self.marker.slot
            )),
        }
        let what = if self.marker.made_folder {
            "Remove the directory"
        } else {
            "Remove the contents of the directory"
        };
        step(&format!("{what} {}", self.folder.display()));
        text
    }

    /// Carries out the steps, and reports each before it begins.
    ///
    /// # Errors
    /// The step that failed; another run continues from there.
    pub(crate) async fn carry_out(&self, mut tell: impl FnMut(&str)) -> Result<(), ReplicaError> {
        if self.is_up() {
            tell("stopping the replica");
            if run(self.stop(), "pg_ctl").await.is_err() {
                end_postmaster(&self.folder);
            }
        }
        if let Some(primary) = &self.primary {
            tell("dropping the slot");
            if !drop_slot(primary, &self.marker.slot).await {
                return Err(ReplicaError::Refused(format!(
                    "could not drop the slot {} on the primary: another standby uses it, or the role may not; the \
                     directory was kept. Run the command again, with --keep-slot if the slot is to stay",
                    self.marker.slot
                )));
            }
        }
        tell("removing the directory");
        let removed = clear(&self.folder, self.marker.made_folder).await;
        removed.map_err(ReplicaError::io(format!(
            "remove {}",
            self.folder.display()
        )))
    }

    fn is_up(&self) -> bool {
        postmaster_pid(&self.folder).is_some_and(|pid| serves(pid, &self.folder))
    }

    fn stop(&self) -> Command {
        let mut command = self.account.command(&self.marker.bindir.join("pg_ctl"));
        command.arg("-D").arg(&self.folder);
        command.args(["-w", "-t", "60", "-s", "-m", "fast", "stop"]);
        command
    }
}

/// Returns the primary that the mark names.
fn of_marker(
    marker: &Marker,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Target, ReplicaError> {
    let flags = Flags {
        conninfo: Some(marker.primary.clone()),
        ..Flags::default()
    };
    let refused = |error: &dyn std::fmt::Display| ReplicaError::Refused(error.to_string());
    Target::resolve(&flags, env).map_err(|error| refused(&error))
}

/// Connects to the primary and checks that it is the one of which the replica is a copy.
async fn owner_of_slot(target: &Target, marker: &Marker) -> Result<Server, ReplicaError> {
    let asked = Server::ask(target, &marker.slot).await;
    let primary = asked.map_err(|error| {
        ReplicaError::Refused(format!(
            "{error}. The slot {} is there: name the primary (-h, -p, -U), or remove the replica without it by --keep-slot",
            marker.slot
        ))
    })?;
    let (here, there) = (marker.system.as_deref(), primary.text("system"));
    match (here, there) {
        (Some(here), Some(there)) if here != there => Err(ReplicaError::Refused(format!(
            "the server {target} (system {there}) is not the primary of this replica (system {here}): name the right one"
        ))),
        _ => Ok(primary),
    }
}
