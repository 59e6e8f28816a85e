//! The operating system user that the server runs as: PostgreSQL refuses to run as root.

use super::error::ClusterError;
use nix::unistd::{Gid, Uid, User, geteuid};
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// The user that the server runs as.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// Set if it is not this process's own user.
    other: Option<(Uid, Gid)>,
}

impl Account {
    /// Returns this process's user; for root it is `postgres`, else `nobody`.
    pub(super) fn choose() -> Result<Self, ClusterError> {
        if !geteuid().is_root() {
            return Ok(Self { other: None });
        }
        for name in ["postgres", "nobody"] {
            if let Ok(Some(user)) = User::from_name(name)
                && !user.uid.is_root()
            {
                return Ok(Self {
                    other: Some((user.uid, user.gid)),
                });
            }
        }
        Err(ClusterError::Missing(
            "PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it as: run \
             htap-top demo as an ordinary user"
                .to_owned(),
        ))
    }

    /// Returns the user that a server with the data directory `folder` runs as: this process's user; for root it is the
    /// owner of the folder or, if that does not exist, of the folder it is in; if root owns that, it is `postgres`, else
    /// `nobody`.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self, ClusterError> {
        if geteuid().is_root() {
            let owner = folder
                .ancestors()
                .take(2)
                .find_map(|path| std::fs::metadata(path).ok());
            if let Some(owner) = owner.filter(|owner| owner.uid() != 0) {
                return Ok(Self {
                    other: Some((Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()))),
                });
            }
        }
        Self::choose()
    }

    /// Returns the user's name, or its number if it has none.
    pub(crate) fn name(&self) -> String {
        let uid = self.uid();
        let user = User::from_uid(uid).ok().flatten();
        user.map_or_else(|| uid.to_string(), |user| user.name)
    }

    /// Returns the user ID of the server.
    pub(super) fn uid(&self) -> Uid {
        self.other.map_or_else(geteuid, |(uid, _)| uid)
    }

    /// Returns a command that runs as this user, outside our process group: Ctrl-C in the terminal then reaches only
    /// the demo, which ends the server in its own order.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.process_group(0);
        if let Some((uid, gid)) = self.other {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        command
    }

    /// Changes the owner of `path` to this user; of a symbolic link, that of the link itself.
    pub(crate) fn own(&self, path: &Path) -> Result<(), ClusterError> {
        let Some((uid, gid)) = self.other else {
            return Ok(());
        };
        let given = lchown(path, Some(uid.as_raw()), Some(gid.as_raw()));
        given.map_err(|source| ClusterError::Io {
            what: format!("give {} to the server's user", path.display()),
            source,
        })
    }
}
