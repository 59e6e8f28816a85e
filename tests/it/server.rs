//! PostgreSQL for the tests: one shared server of the default major for the whole run with a database per
//! test, and separate servers for tests that restart, stop or kill theirs.
//!
//! A server runs in a keeper: this test binary, started again as a separate process group. The keeper owns
//! the product's [`Cluster`] and stops it when its standard input closes, which happens however the test run
//! ends, including `kill -9` and Ctrl-C. Nothing is left behind.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use htap_top::cluster::SUPERUSER;
use htap_top::cluster::{self, Cluster, ClusterOptions, Origin, Wanted};
use htap_top::pg::{Client, Param, Table, Target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// The keeper's order; a process with this in its environment is a keeper.
const ORDER: &str = "HTAP_TOP_TEST_KEEPER";
/// Prefix of the keeper's lines, because libtest writes to the same pipe.
const MARK: &str = "keeper: ";

/// The server that a keeper starts.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Order {
    pub major: Option<u16>,
    pub listen_port: Option<u16>,
    pub settings: Vec<(String, String)>,
    /// Socket folder and port of the server to replicate, if it is a streaming replica.
    pub replica_of: Option<(PathBuf, u16)>,
    /// Slot of that replica on its primary.
    pub slot: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Place {
    socket_dir: PathBuf,
    data_dir: PathBuf,
    port: u16,
    major: u16,
}

/// Configuration of the program for tests of what is told of a whole server: the machine's disk may be nearly full.
pub const ANY_DISK: &str = "[targets]\ndisk_left_pct = 0.001\n";

/// A folder for `XDG_CONFIG_HOME` with [`ANY_DISK`].
pub fn on_any_disk() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("htap-top")).unwrap();
    std::fs::write(home.path().join("htap-top/config.toml"), ANY_DISK).unwrap();
    home
}

/// A running server.
pub struct Server {
    place: Place,
    keeper: Mutex<Keeper>,
}

struct Keeper {
    process: Child,
    /// `None` once it was told to end.
    say: Option<ChildStdin>,
    hear: BufReader<ChildStdout>,
}

/// The server shared by all tests that look at their own database.
///
/// Other tests queue for locks, compute and hold snapshots there at the same time: a test of what is told of a whole server
/// (`once --check`, a cause, a class of work, the number of processes) starts a separate one with [`Server::alone`].
pub fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::alone)
}

impl Server {
    /// Starts a separate server with the usual settings, for a test of what is told of a whole server.
    pub fn alone() -> Self {
        Self::start(&Order::default())
    }

    /// Starts a separate server for one test.
    pub fn start(order: &Order) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "it::server::keeper",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(ORDER, serde_json::to_string(order).unwrap())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut keeper = Keeper {
            say: process.stdin.take(),
            hear: BufReader::new(process.stdout.take().unwrap()),
            process,
        };
        let place = serde_json::from_str(&keeper.listen()).unwrap();
        Self {
            place,
            keeper: Mutex::new(keeper),
        }
    }

    /// Starts a server of the given major version with default settings.
    pub fn of_major(major: u16) -> Self {
        Self::start(&Order {
            major: Some(major),
            ..Order::default()
        })
    }

    /// Starts a streaming replica of this server.
    pub fn replica(&self) -> Self {
        Self::start(&Order {
            major: Some(self.major()),
            replica_of: Some((self.socket_dir().to_owned(), self.port())),
            ..Order::default()
        })
    }

    fn tell(&self, command: &str) {
        let mut keeper = self.keeper.lock().unwrap();
        writeln!(keeper.say.as_mut().unwrap(), "{command}").unwrap();
        assert_eq!(keeper.listen(), "done", "{command}");
    }

    /// Restarts the server after its postmaster was killed.
    pub fn start_again(&self) {
        self.tell("start");
    }

    /// Sends a signal to the postmaster.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.postmaster()), signal).unwrap();
    }

    /// Kills the postmaster and all its processes.
    pub fn kill_all(&self) {
        let postmaster = self.postmaster();
        let children = Command::new("ps")
            .args(["-o", "pid=", "--ppid", &postmaster.to_string()])
            .output()
            .unwrap();
        let children = String::from_utf8_lossy(&children.stdout).into_owned();
        let children = children.split_whitespace().map(|pid| pid.parse().unwrap());
        for pid in std::iter::once(postmaster).chain(children) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// The postmaster's process id.
    pub fn postmaster(&self) -> i32 {
        let text = std::fs::read_to_string(self.place.data_dir.join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().trim().parse().unwrap()
    }

    /// Connection settings for a database of this server.
    pub fn target(&self, dbname: &str, user: &str) -> Target {
        Target::local(&self.place.socket_dir, self.place.port, user, dbname)
    }

    /// Folder of the socket.
    pub fn socket_dir(&self) -> &Path {
        &self.place.socket_dir
    }

    /// The data directory.
    pub fn data_dir(&self) -> &Path {
        &self.place.data_dir
    }

    /// Port in the socket's name.
    pub fn port(&self) -> u16 {
        self.place.port
    }

    /// Major version.
    pub fn major(&self) -> u16 {
        self.place.major
    }

    /// A new database.
    pub async fn database(&self, about: &str) -> Database<'_> {
        // template0, because nobody is ever connected to it.
        self.copy("template0", about).await
    }

    /// Returns a copy of a database that nobody is connected to.
    pub async fn copy(&self, template: &str, about: &str) -> Database<'_> {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let name = format!("{about}_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let admin = Client::connect(&self.target("postgres", SUPERUSER))
            .await
            .unwrap();
        admin
            .batch(&format!("CREATE DATABASE {name} TEMPLATE {template}"))
            .await
            .unwrap();
        Database { server: self, name }
    }

    /// Ends the server like the end of the test run, and waits for it.
    fn end(&mut self) {
        let keeper = self
            .keeper
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        keeper.say = None;
        let _ = keeper.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

impl Keeper {
    /// Returns the keeper's next line; an error of the keeper fails the test.
    fn listen(&mut self) -> String {
        let mut line = String::new();
        while self.hear.read_line(&mut line).unwrap() > 0 {
            if let Some(answer) = line.trim_end().strip_prefix(MARK) {
                return answer.to_owned();
            }
            line.clear();
        }
        let mut why = String::new();
        let _ = std::io::Read::read_to_string(self.process.stderr.as_mut().unwrap(), &mut why);
        panic!("the server's keeper ended:\n{why}");
    }
}

/// The database of one test.
pub struct Database<'a> {
    pub server: &'a Server,
    pub name: String,
}

impl Database<'_> {
    /// Its connection settings for this role.
    ///
    /// With a distinct application name: sessions with the program's name would be hidden as its own.
    pub fn target_of(&self, user: &str) -> Target {
        self.server
            .target(&self.name, user)
            .with_application_name("test")
    }

    /// Its connection settings for the superuser.
    pub fn target(&self) -> Target {
        self.target_of(SUPERUSER)
    }

    /// Opens a session of this role.
    pub async fn connect_as(&self, user: &str) -> Client {
        Client::connect(&self.target_of(user)).await.unwrap()
    }

    /// Opens a superuser's session.
    pub async fn connect(&self) -> Client {
        self.connect_as(SUPERUSER).await
    }

    /// A connection string for the program, using the private socket.
    pub fn conninfo(&self, user: &str) -> String {
        let folder = self.server.socket_dir().display();
        format!(
            "host={folder} port={} user={user} dbname={}",
            self.server.port(),
            self.name
        )
    }
}

/// Creates a role with these memberships, such as `IN ROLE pg_monitor`, unless it is there. Several tests may do so on the
/// same server at the same time: role and memberships come at once, as a GRANT of its own may fail beside another.
pub async fn role(admin: &Client, name: &str, memberships: &str) {
    let sql = format!(
        "DO $$BEGIN CREATE ROLE {name} LOGIN {memberships};
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END$$"
    );
    admin.batch(&sql).await.unwrap();
}

/// The process id of a session's backend.
pub async fn pid(client: &Client) -> i64 {
    let table = client
        .query("SELECT pg_backend_pid() AS pid", &[])
        .await
        .unwrap();
    table.first("pid").int().unwrap()
}

/// Maximum time for a condition on a busy machine. After thousands of files have been removed, as those of a hundred servers,
/// it may take a minute to make those of a few databases: ext4 does not reuse inodes at once.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// Time between two looks at a condition: what has to come about needs the processors.
pub async fn pause() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

/// A limited wait.
pub struct Patience(Instant);

impl Patience {
    #[expect(
        clippy::disallowed_methods,
        reason = "a wait that never ends tells nothing"
    )]
    pub fn begin() -> Self {
        Self(Instant::now())
    }

    /// Returns true until the time is over.
    pub fn lasts(&self) -> bool {
        self.0.elapsed() < PATIENCE
    }

    /// Whole seconds since it began.
    pub fn seconds(&self) -> u64 {
        self.0.elapsed().as_secs()
    }
}

/// Repeats the query until the answer satisfies the condition; panics with the last answer after
/// [`PATIENCE`].
pub async fn until(
    client: &Client,
    what: &str,
    sql: &str,
    params: &[Param<'_>],
    good: impl Fn(&Table) -> bool,
) -> Table {
    let patience = Patience::begin();
    loop {
        let table = client.query(sql, params).await.unwrap();
        if good(&table) {
            return table;
        }
        assert!(patience.lasts(), "{what}: still {table:?}");
        pause().await;
    }
}

/// Waits until the backend with this pid waits for a lock.
pub async fn until_waiting(client: &Client, pid: i64) {
    let sql = "SELECT 1 AS n FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock'";
    until(
        client,
        "waits for a lock",
        sql,
        &[Param::Int(pid)],
        |table| !table.rows.is_empty(),
    )
    .await;
}

/// Longer than any test takes: a test that hangs fails alone, not with the whole run.
pub const LONGEST: Duration = Duration::from_secs(300);

/// A runtime for a test; multi-threaded, so that a blocked helper does not hold up the others.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    block_on_within(LONGEST, work)
}

/// The same for a test that was asked to take longer.
pub fn block_on_within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let done = runtime.block_on(async { tokio::time::timeout(limit, work).await });
    done.unwrap_or_else(|_| panic!("not done after {limit:?}"))
}

/// The keeper's side. Run without an order, it checks that a keeper ends its server.
#[test]
fn keeper() {
    let Ok(order) = std::env::var(ORDER) else {
        nothing_is_left_behind();
        return;
    };
    let order: Order = serde_json::from_str(&order).unwrap();
    cluster::sweep();
    let wanted = Wanted {
        major: order.major,
        ..Wanted::default()
    };
    let binaries = cluster::find(&wanted).unwrap_or_else(|error| panic!("{error}"));
    // For logical slots.
    let mut settings = vec![("wal_level".to_owned(), "logical".to_owned())];
    settings.extend(order.settings);
    let options = ClusterOptions {
        listen_port: order.listen_port,
        settings,
        ..ClusterOptions::default()
    };
    let cluster = match &order.replica_of {
        None => Cluster::start(&binaries, &options),
        Some((primary, port)) => {
            let origin = Origin {
                socket_dir: primary.clone(),
                port: *port,
                slot: order.slot.clone(),
                feedback: false,
            };
            Cluster::standby(&binaries, &origin, &options)
        }
    };
    let cluster = cluster.unwrap_or_else(|error| panic!("{error}"));
    let place = Place {
        socket_dir: cluster.socket_dir().to_owned(),
        data_dir: cluster.data_dir().to_owned(),
        port: cluster.port(),
        major: cluster.major(),
    };
    println!("\n{MARK}{}", serde_json::to_string(&place).unwrap());
    for command in std::io::stdin().lines() {
        assert_eq!(command.unwrap(), "start");
        start_again(&cluster);
        println!("{MARK}done");
    }
    cluster.stop().unwrap_or_else(|error| panic!("{error}"));
}

/// After the postmaster was killed, its backends need a moment to notice, and keep the shared memory until
/// then.
fn start_again(cluster: &Cluster) {
    let patience = Patience::begin();
    while let Err(error) = cluster.start_again() {
        assert!(patience.lasts(), "{error}");
    }
}

fn nothing_is_left_behind() {
    let mut server = Server::alone();
    let (folder, postmaster) = (server.socket_dir().to_owned(), server.postmaster());
    assert!(folder.is_dir() && is_alive(postmaster));
    server.end();
    assert!(!folder.exists(), "{} was left behind", folder.display());
    assert!(!is_alive(postmaster), "the postmaster lives on");
}

/// Returns true if a process runs; a zombie does not.
pub fn is_alive(pid: i32) -> bool {
    let ps = Command::new("ps")
        .args(["-o", "stat=", "-p", &pid.to_string()])
        .output()
        .unwrap();
    let state = String::from_utf8_lossy(&ps.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}
