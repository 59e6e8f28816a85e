//! The folder of a broker: settings, data, log. Only the user that the broker runs as may access it.

use crate::cluster::account::Account;
use crate::cluster::{ClusterError, DATA, private_folder};
use nix::fcntl::OFlag;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Name of the settings' file.
pub(super) const PROPERTIES: &str = "server.properties";

/// First line of the settings, by which the folder is recognised.
const HEADER: &str = "# Written by htap-top stream broker at each start.";

/// Prepares the folder it is started in; the settings come from standard input.
const PREPARE: &str = "set -e; umask 077; chmod 700 .; rm -rf tmp; mkdir -p data tmp; rm -f server.properties; \
                       cat > server.properties";

/// Bytes of the log that are read at most.
const LOG_READ: u64 = 1 << 20;

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
    let ours = begins(&path.join(PROPERTIES), HEADER).unwrap_or(false);
    if ours || entries.next().is_none() {
        return Ok(());
    }
    Err(ClusterError::Missing(format!(
        "{shown} is not empty, and htap-top stream broker did not make it: name a folder that is new or empty with --data"
    )))
}

/// Opens a regular file for reading: no link, and nothing that could block.
fn open_file(path: &Path) -> std::io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(ErrorKind::InvalidInput.into())
}

/// Returns true if the first line of a file is this.
fn begins(path: &Path, line: &str) -> std::io::Result<bool> {
    let mut start = Vec::new();
    let length = line.len() as u64 + 1;
    open_file(path)?.take(length).read_to_end(&mut start)?;
    Ok(start.strip_suffix(b"\n") == Some(line.as_bytes()))
}

impl Folder {
    /// Opens `kept`, which is created if it is missing, or creates a temporary folder. A folder that is there is given to
    /// the broker's user only if it is empty: what is in it could be links.
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
        if path.read_dir().map_err(making())?.next().is_none() {
            account.own(&path)?;
        }
        Ok(Self {
            path,
            account,
            temporary: None,
        })
    }

    /// Writes the settings, and empties the folder of temporary files. All of it is done by the broker's user: in a
    /// folder of another user root follows no path.
    pub(super) async fn configure(&self, port: u16, controller: u16) -> Result<(), ClusterError> {
        let writing = || ClusterError::io(format!("write in {}", self.path.display()));
        let mut command = Command::from(self.account.command(Path::new("/bin/sh")));
        let mut child = command
            .args(["-c", PREPARE])
            .current_dir(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(writing())?;
        if let Some(mut settings_in) = child.stdin.take() {
            let text = settings(port, controller);
            // If the program failed before, its own message is better.
            let _ = settings_in.write_all(text.as_bytes()).await;
        }
        let done = child.wait_with_output().await.map_err(writing())?;
        if done.status.success() {
            return Ok(());
        }
        Err(ClusterError::program("sh", &done.stderr))
    }

    /// Returns true if the data belongs to a cluster already.
    pub(super) fn is_formatted(&self) -> bool {
        self.data().join("meta.properties").exists()
    }

    /// Returns the length of the log so far.
    pub(super) fn log_length(&self) -> u64 {
        let meta = self.log_path().symlink_metadata();
        meta.map_or(0, |meta| meta.len())
    }

    /// Reads the log from `start` on.
    pub(super) fn read_log(&self, start: u64) -> std::io::Result<Vec<u8>> {
        let mut log = open_file(&self.log_path())?;
        log.seek(SeekFrom::Start(start))?;
        let mut text = Vec::new();
        log.take(LOG_READ).read_to_end(&mut text)?;
        Ok(text)
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

    fn log_path(&self) -> PathBuf {
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

/// Settings of a broker that is its own controller.
///
/// Topics of the broker itself have one partition: a group's first member waits until all of them are there.
///
/// After a kill -9 the broker may register again only when the session of the one before is over, 9 s by default; and a
/// controller that led before stands for election only after the time-out of an election, 1 to 2 s by default. Nobody else
/// could lead here, and controller and broker are one process, which is alive as a whole or not at all. So both are short.
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
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=250
controller.quorum.election.timeout.ms=100
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
transaction.state.log.min.isr=1
share.coordinator.state.topic.min.isr=1
{internal}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[tokio::test]
    async fn links_in_a_folder_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(
            place.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let secret = place.path().join("secret");
        std::fs::write(&secret, format!("{HEADER}\nkept")).unwrap();
        let before = secret.metadata().unwrap();
        let kept = place.path().join("kafka");
        let folder = Folder::open(Some(&kept)).unwrap();
        for name in [PROPERTIES, "broker.log", "tmp"] {
            symlink(&secret, kept.join(name)).unwrap();
        }
        assert!(check(&kept).is_err(), "a link proves nothing");
        folder.configure(9092, 9093).await.unwrap();
        assert!(check(&kept).is_ok());
        assert_eq!(
            std::fs::read_to_string(&secret).unwrap(),
            format!("{HEADER}\nkept")
        );
        let after = secret.metadata().unwrap();
        assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
        assert!(folder.read_log(0).is_err(), "the log is a link");
        let written = kept.join(PROPERTIES).symlink_metadata().unwrap();
        assert!(written.is_file() && written.mode() & 0o777 == 0o600);
    }
}
