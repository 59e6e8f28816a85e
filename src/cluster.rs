//! A private, temporary PostgreSQL cluster: its server programs, the account that they run as, start and stop, and the
//! removal of clusters whose process was killed.

pub(crate) mod account;
pub(crate) mod binaries;
pub(crate) mod cache;
mod copy;
mod error;
mod standby;
pub mod sweep;

pub use binaries::{Binaries, Wanted, find};
pub use error::ClusterError;
pub(crate) use error::last_lines;
pub use standby::Origin;
pub use sweep::sweep;

use crate::pg::Target;
use nix::unistd::geteuid;
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;

use account::Account;
use sweep::{Marker, PREFIX, postmaster_pid, serves};

/// Options for starting a cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// Port of the loopback address on which to listen in addition; TCP connections need a password (scram-sha-256).
    pub listen_port: Option<u16>,
    /// Number in the socket's name; default: `listen_port`, else 5432. The folder is private, so any number works.
    pub socket_port: Option<u16>,
    /// Settings for postgresql.conf, which override [`demo_settings`].
    pub settings: Vec<(String, String)>,
}

/// A running cluster. Dropping it stops the server and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    binaries: Binaries,
    account: Account,
    port: u16,
    /// `None` after the final stop.
    home: Option<TempDir>,
    data: PathBuf,
}

/// The port in the socket's name if none is requested.
const SOCKET_PORT: u16 = 5432;

/// Maximum length of a socket's path on every supported system, in bytes (macOS: 104 with the final NUL).
const SOCKET_PATH_CAP: usize = 103;

/// Name of the data directory in the folder of a server.
pub(crate) const DATA: &str = "data";

/// Superuser of the cluster.
pub const SUPERUSER: &str = "postgres";

/// Settings for a cluster whose data may be lost, with extensive statistics.
pub fn demo_settings() -> Vec<(String, String)> {
    [
        ("fsync", "off"),
        ("synchronous_commit", "off"),
        ("full_page_writes", "off"),
        ("shared_buffers", "256MB"),
        ("max_connections", "150"),
        ("max_prepared_transactions", "10"),
        ("wal_level", "replica"),
        ("max_wal_size", "1GB"),
        ("checkpoint_timeout", "5min"),
        ("autovacuum_naptime", "2s"),
        ("track_io_timing", "on"),
        ("track_functions", "pl"),
        ("track_commit_timestamp", "on"),
        ("track_activity_query_size", "4096"),
        ("deadlock_timeout", "500ms"),
        ("log_lock_waits", "on"),
        ("log_line_prefix", "%m [%p] %u@%d %a "),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

impl Cluster {
    /// Creates a new cluster and starts it. Blocks for about 1 s.
    pub fn start(binaries: &Binaries, options: &ClusterOptions) -> Result<Self, ClusterError> {
        let cluster = Self::prepare(binaries, options)?;
        cluster.initdb(options)?;
        cluster.start_again()?;
        Ok(cluster)
    }

    /// Creates the folder, still without data.
    fn prepare(binaries: &Binaries, options: &ClusterOptions) -> Result<Self, ClusterError> {
        let (account, home) = private_folder()?;
        let data = home.path().join(DATA);
        Ok(Self {
            binaries: binaries.clone(),
            account,
            port: options
                .listen_port
                .or(options.socket_port)
                .unwrap_or(SOCKET_PORT),
            data,
            home: Some(home),
        })
    }

    fn initdb(&self, options: &ClusterOptions) -> Result<(), ClusterError> {
        let initdb = self
            .account
            .command(&self.binaries.bindir.join("initdb"))
            .arg("-D")
            .arg(&self.data)
            .args(["-U", SUPERUSER, "--auth-local=trust", "--no-sync"])
            .args(["--auth-host=scram-sha-256", "-E", "UTF8", "--locale=C"])
            .current_dir(self.socket_dir())
            .stdin(Stdio::null())
            .output()
            .map_err(ClusterError::io("run initdb"))?;
        if !initdb.status.success() {
            return Err(ClusterError::program("initdb", &initdb.stderr));
        }
        self.configure(options)
    }

    fn configure(&self, options: &ClusterOptions) -> Result<(), ClusterError> {
        let conf = self.data.join("postgresql.conf");
        std::fs::OpenOptions::new()
            .append(true)
            .open(&conf)
            .and_then(|mut file| file.write_all(self.settings(options).as_bytes()))
            .map_err(ClusterError::io(format!("write {}", conf.display())))
    }

    fn settings(&self, options: &ClusterOptions) -> String {
        let listen = options.listen_port.map_or("", |_| "127.0.0.1");
        let socket_dir = self.socket_dir().display().to_string();
        let mut text = String::from("\n# htap-top\n");
        let mut set = |name: &str, value: &str| {
            let _ = writeln!(text, "{name} = '{}'", value.replace('\'', "''"));
        };
        set("listen_addresses", listen);
        set("port", &self.port.to_string());
        set("unix_socket_directories", &socket_dir);
        set("unix_socket_permissions", "0700");
        // By this the doctor knows that these settings are intended.
        set("htap_top.throw_away", "on");
        if self.has_library("pg_stat_statements") {
            set("shared_preload_libraries", "pg_stat_statements");
        }
        for (name, value) in demo_settings().iter().chain(&options.settings) {
            set(name, value);
        }
        text
    }

    /// Returns true if this build of the server has the loadable library `name`.
    pub fn has_library(&self, name: &str) -> bool {
        let prefix = self.binaries.bindir.parent().unwrap_or(Path::new("/"));
        ["lib", "lib/postgresql", "lib64/pgsql", "lib/pgsql"]
            .iter()
            .flat_map(|folder| ["so", "dylib"].map(|end| format!("{folder}/{name}.{end}")))
            .any(|file| prefix.join(file).is_file())
    }

    /// Returns the connection target of a database, by the private socket.
    pub fn target(&self, dbname: &str, user: &str) -> Target {
        Target::local(self.socket_dir(), self.port, user, dbname)
    }

    /// Returns the folder of the socket, which also contains the server's log.
    pub fn socket_dir(&self) -> &Path {
        self.home.as_ref().map_or(Path::new("/"), TempDir::path)
    }

    /// Returns the port in the socket's name, which is also that of the loopback address if one was requested.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the data directory.
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// Returns the server's log file.
    pub fn log_file(&self) -> PathBuf {
        self.socket_dir().join("postgres.log")
    }

    /// Returns the server programs.
    pub(crate) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Returns the major version of the server.
    pub fn major(&self) -> u16 {
        self.binaries.major
    }

    /// Starts the stopped server and waits until it accepts connections. Blocks.
    pub fn start_again(&self) -> Result<(), ClusterError> {
        let log = self.log_file();
        let log = log.to_string_lossy();
        self.pg_ctl(&["start", "-w", "-t", "60", "-l", &log])
            .map_err(|error| match std::fs::read(self.log_file()) {
                Ok(text) => ClusterError::program("postgres", &text),
                Err(_) => error,
            })
    }

    /// Returns true if the postmaster is running.
    pub fn is_up(&self) -> bool {
        postmaster_pid(&self.data).is_some_and(|pid| serves(pid, &self.data))
    }

    /// Stops the server immediately and removes everything. Blocks briefly.
    pub fn stop(mut self) -> Result<(), ClusterError> {
        self.tear_down()
    }

    fn tear_down(&mut self) -> Result<(), ClusterError> {
        if self.home.is_some() && postmaster_pid(&self.data).is_some() {
            let stopped = self.pg_ctl(&["stop", "-w", "-t", "10", "-m", "immediate"]);
            if stopped.is_err() {
                sweep::end_postmaster(&self.data);
            }
        }
        self.home.take().map_or(Ok(()), |home| {
            home.close()
                .map_err(ClusterError::io("remove the demo's folder"))
        })
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Result<(), ClusterError> {
        let ended = self
            .account
            .command(&self.binaries.bindir.join("pg_ctl"))
            .arg("-D")
            .arg(&self.data)
            .arg("-s")
            .args(arguments)
            .current_dir(self.socket_dir())
            .stdin(Stdio::null())
            .output()
            .map_err(ClusterError::io("run pg_ctl"))?;
        if ended.status.success() {
            Ok(())
        } else {
            Err(ClusterError::program("pg_ctl", &ended.stderr))
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.tear_down();
    }
}

/// Creates a temporary folder for a server, which only the returned user may access, with the marker by which a later
/// sweep finds it.
pub(crate) fn private_folder() -> Result<(Account, TempDir), ClusterError> {
    let account = Account::choose()?;
    let base = base_folder();
    let home = tempfile::Builder::new()
        .prefix(PREFIX)
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&base)
        .map_err(ClusterError::io(format!(
            "make a folder in {}",
            base.display()
        )))?;
    Marker::write(home.path(), &home.path().join(DATA))?;
    account.own(home.path())?;
    Ok((account, home))
}

/// Returns the temporary folder, or /tmp if the server's user cannot access it or its sockets' paths are too long.
fn base_folder() -> PathBuf {
    let wanted = std::env::temp_dir();
    let socket = format!("/{PREFIX}XXXXXX/.s.PGSQL.65535");
    let short = wanted.as_os_str().len() + socket.len() <= SOCKET_PATH_CAP;
    let reachable = !geteuid().is_root()
        || wanted.ancestors().all(|folder| {
            std::fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
        });
    let base = if short && reachable {
        wanted
    } else {
        PathBuf::from("/tmp")
    };
    // The sweep compares it with paths reported by the system, in which links are resolved.
    base.canonicalize().unwrap_or(base)
}

#[cfg(test)]
mod tests {
    use super::*;
    use super::{Wanted, find};
    use crate::pg::Client;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    async fn answers(cluster: &Cluster) -> bool {
        let target = cluster.target("postgres", SUPERUSER);
        match Client::connect(&target).await {
            Ok(client) => client.batch("SELECT 1").await.is_ok(),
            Err(_) => false,
        }
    }

    #[tokio::test]
    async fn a_cluster_starts_restarts_and_leaves_nothing() {
        let binaries = find(&Wanted::default()).unwrap();
        let cluster = Cluster::start(&binaries, &ClusterOptions::default()).unwrap();
        let home = cluster.socket_dir().to_owned();
        let mode = home.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        assert!(answers(&cluster).await);
        let postmaster = postmaster_pid(&cluster.data).unwrap();
        kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
        for _ in 0..100 {
            if !cluster.is_up() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert!(!cluster.is_up());
        cluster.stop().unwrap();
        assert!(!home.exists());
    }

    #[test]
    fn a_panic_leaves_nothing() {
        let binaries = find(&Wanted::default()).unwrap();
        let home = std::sync::Mutex::new(PathBuf::new());
        let panicked = std::panic::catch_unwind(|| {
            let cluster = Cluster::start(&binaries, &ClusterOptions::default()).unwrap();
            cluster.socket_dir().clone_into(&mut home.lock().unwrap());
            assert!(!cluster.is_up(), "on purpose");
        });
        assert!(panicked.is_err());
        let home = home
            .lock()
            .map_or_else(|e| e.into_inner().clone(), |home| home.clone());
        assert!(home.starts_with("/") && !home.exists());
    }
}
