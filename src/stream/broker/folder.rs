//! The folder of a broker: settings, data, log. Only the user that the broker runs as may access it.

use crate::cluster::account::Account;
use crate::cluster::{ClusterError, DATA, private_folder};
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Name of the settings' file.
pub(super) const PROPERTIES: &str = "server.properties";

/// First line of the settings, by which the folder is recognised.
const HEADER: &str = "# Written by htap-top stream broker at each start.";

/// The folder of a broker.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    account: Account,
    /// Set if the folder is to be removed at the end.
    temporary: Option<TempDir>,
}

/// Refuses a folder that has other files than a broker's of ours.
pub(super) fn check(path: &Path) -> Result<(), ClusterError> {
    let shown = path.display();
    let mut entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(ClusterError::io(format!("read {shown}"))(error)),
    };
    let ours = std::fs::read_to_string(path.join(PROPERTIES))
        .is_ok_and(|text| text.lines().next() == Some(HEADER));
    if ours || entries.next().is_none() {
        return Ok(());
    }
    Err(ClusterError::Missing(format!(
        "{shown} is not empty, and htap-top stream broker did not make it: name a folder that is new or empty with --data"
    )))
}

impl Folder {
    /// Opens `kept`, which is created if it is missing, or creates a temporary folder.
    pub(super) fn open(kept: Option<&Path>) -> Result<Self, ClusterError> {
        let Some(kept) = kept else {
            let (account, home) = private_folder()?;
            return Ok(Self {
                path: home.path().to_owned(),
                account,
                temporary: Some(home),
            });
        };
        let making = || ClusterError::io(format!("make {}", kept.display()));
        let account = Account::of_folder(kept)?;
        if !kept.exists() {
            DirBuilder::new()
                .mode(0o700)
                .create(kept)
                .map_err(making())?;
        }
        let path = kept.canonicalize().map_err(making())?;
        std::fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(making())?;
        account.own(&path)?;
        Ok(Self {
            path,
            account,
            temporary: None,
        })
    }

    /// Writes the settings, and empties the folder of temporary files.
    pub(super) fn configure(&self, port: u16, controller: u16) -> Result<(), ClusterError> {
        let file = self.path.join(PROPERTIES);
        self.private(OpenOptions::new().write(true).truncate(true), &file)
            .and_then(|mut out| out.write_all(settings(port, controller).as_bytes()))
            .map_err(ClusterError::io(format!("write {}", file.display())))?;
        let _ = std::fs::remove_dir_all(self.scratch());
        for folder in [self.data(), self.scratch()] {
            let made = match DirBuilder::new().mode(0o700).create(&folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
                made => made,
            };
            made.map_err(ClusterError::io(format!("make {}", folder.display())))?;
            self.account.own(&folder)?;
        }
        Ok(())
    }

    fn private(&self, options: &mut OpenOptions, path: &Path) -> std::io::Result<File> {
        let file = options.create(true).mode(0o600).open(path)?;
        self.account.own(path).map_err(std::io::Error::other)?;
        Ok(file)
    }

    /// Opens the log, to add to it.
    pub(super) fn log(&self) -> Result<File, ClusterError> {
        let path = self.log_path();
        self.private(OpenOptions::new().append(true), &path)
            .map_err(ClusterError::io(format!("write {}", path.display())))
    }

    /// Returns true if the data belongs to a cluster already.
    pub(super) fn is_formatted(&self) -> bool {
        self.data().join("meta.properties").exists()
    }

    /// Removes the folder unless it is to be kept.
    pub(super) fn close(self) -> Result<(), ClusterError> {
        self.temporary.map_or(Ok(()), |home| {
            home.close()
                .map_err(ClusterError::io("remove the broker's folder"))
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.path.join("broker.log")
    }

    /// Returns the folder into which Java unpacks libraries.
    pub(super) fn scratch(&self) -> PathBuf {
        self.path.join("tmp")
    }

    fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }
}

/// Settings of a broker that is its own controller. Topics of the broker itself have one partition: a group's first
/// member waits until all of them are there.
fn settings(port: u16, controller: u16) -> String {
    let internal = [
        "offsets.topic",
        "transaction.state.log",
        "share.coordinator.state.topic",
    ]
    .map(|topic| format!("{topic}.num.partitions=1\n{topic}.replication.factor=1\n"))
    .concat();
    format!(
        "{HEADER}
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={DATA}
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
transaction.state.log.min.isr=1
share.coordinator.state.topic.min.isr=1
{internal}"
    )
}
