//! `htap-top replica`, the real program on real servers.

use super::admin;
use crate::it::server::{Order, Patience, Server, block_on, is_alive, until};
use htap_top::pg::{Client, Target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// A folder that the server's user can reach, which is also that user's if this test runs as root.
fn playground() -> TempDir {
    tempfile::Builder::new()
        .prefix("hr-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .unwrap()
}

/// How the program and libpq reach a server.
fn conninfo(server: &Server, user: &str) -> String {
    let folder = server.socket_dir().display();
    format!(
        "host={folder} port={} user={user} dbname=postgres",
        server.port()
    )
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command.arg("replica").args(arguments).stdin(Stdio::null());
    command
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Runs it; it must succeed. Returns what it printed.
fn works(arguments: &[&str]) -> String {
    let output = program(arguments).output().unwrap();
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    out
}

/// Runs it; it must fail with this code. Returns the error.
fn fails(arguments: &[&str], code: i32) -> String {
    let output = program(arguments).output().unwrap();
    let (out, err) = texts(&output);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {out}{err}"
    );
    err
}

/// A replica that `create` has built; the test removes it.
struct Built {
    folder: PathBuf,
    port: u16,
    socket_dir: PathBuf,
}

impl Built {
    fn new(primary: &Server, folder: PathBuf, more: &[&str]) -> Self {
        let conninfo = conninfo(primary, "postgres");
        let path = folder.to_str().unwrap();
        let said = works(&[&["create", path, &conninfo, "--yes"], more].concat());
        let port = said.split("follows its primary: port ").nth(1).unwrap();
        let port = port.split(',').next().unwrap().parse().unwrap();
        let socket_dir = primary.socket_dir().to_owned();
        Self {
            folder,
            port,
            socket_dir,
        }
    }

    fn target(&self) -> Target {
        Target::local(&self.socket_dir, self.port, "postgres", "postgres")
    }

    fn conninfo(&self) -> String {
        let folder = self.socket_dir.display();
        format!(
            "host={folder} port={} user=postgres dbname=postgres",
            self.port
        )
    }

    fn postmaster(&self) -> i32 {
        let text = fs::read_to_string(self.folder.join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Built {
    /// Cleans up after a failed assertion.
    fn drop(&mut self) {
        if let Ok(text) = fs::read_to_string(self.folder.join("postmaster.pid"))
            && let Some(Ok(pid)) = text.lines().next().map(|line| line.trim().parse())
        {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
    }
}

async fn slots(primary: &Client) -> i64 {
    let sql = "SELECT count(*) AS n FROM pg_replication_slots";
    let table = primary.query(sql, &[]).await.unwrap();
    table.first("n").int().unwrap()
}

/// With the Debian package's programs, and with a fetched version that has no pg_basebackup of its own.
#[test]
fn a_replica_is_built_shown_and_removed() {
    std::thread::scope(|scope| {
        let runs = [15, 14].map(|major| scope.spawn(move || lives(major)));
        for run in runs {
            run.join().unwrap();
        }
    });
}

fn lives(major: u16) {
    let primary = Server::of_major(major);
    let tmp = playground();
    // One that exists and is empty stays, one that is made goes.
    let folder = tmp.path().join("replica");
    if major == 14 {
        fs::create_dir(&folder).unwrap();
        let owner = fs::metadata(primary.data_dir()).unwrap();
        std::os::unix::fs::chown(
            &folder,
            Some(std::os::unix::fs::MetadataExt::uid(&owner)),
            None,
        )
        .unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    }
    let built = Built::new(
        &primary,
        folder.clone(),
        &["--hot-standby-feedback", "on", "--slot", "mine"],
    );
    let pid = built.postmaster();
    block_on(shows(&primary, &built));
    let path = folder.to_str().unwrap();
    // Without a terminal, nobody can say yes.
    let asked = fails(&["drop", path], 2);
    assert!(asked.contains("--yes") && is_alive(pid), "{asked}");
    let said = works(&["drop", path, "--yes"]);
    for step in ["pg_ctl -D", "pg_drop_replication_slot('mine')", path] {
        assert!(said.contains(step), "{said}");
    }
    assert!(!is_alive(pid));
    assert_eq!(
        folder.exists(),
        major == 14,
        "a folder that was there stays"
    );
    if major == 14 {
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }
    block_on(async { assert_eq!(slots(&admin(&primary).await).await, 0) });
    let log = fs::read_to_string(primary.socket_dir().join("postgres.log")).unwrap();
    for word in ["ERROR", "FATAL", "PANIC"] {
        assert!(!log.contains(word), "{major}: {log}");
    }
}

async fn shows(primary: &Server, built: &Built) {
    let writer = admin(primary).await;
    let reader = Client::connect(&built.target()).await.unwrap();
    let (of_primary, of_replica) = (conninfo(primary, "postgres"), built.conninfo());
    let status = || works(&["status", &of_primary, "--replica", &of_replica]);
    let json = || -> serde_json::Value {
        let text = works(&[
            "status",
            &of_primary,
            "--replica",
            &of_replica,
            "--format",
            "json",
        ]);
        serde_json::from_str(&text).unwrap()
    };
    let said = status();
    for part in [
        "\nslot       mine, active, retains",
        "standby    mine from local, streaming",
        "last replayed commit",
        "replay     running",
        "receiver   streaming from",
        "feedback   on",
        "conflicts  snapshot 0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The shop's heartbeats, written by a role that the reader trusts.
    let heartbeats = "CREATE SCHEMA htap;
        CREATE TABLE htap.heartbeat (seq bigint GENERATED ALWAYS AS IDENTITY, committed_at timestamptz DEFAULT clock_timestamp());
        INSERT INTO htap.heartbeat DEFAULT VALUES";
    writer.batch(heartbeats).await.unwrap();
    let arrived = "SELECT to_regclass('htap.heartbeat') IS NOT NULL AS yes";
    until(&reader, "heartbeats arrive", arrived, &[], |table| {
        table.first("yes").is_true()
    })
    .await;
    let seen = json();
    assert_eq!(seen["replica"]["lag_by"], "heartbeat", "{seen}");
    assert_eq!(seen["replica"]["system"], seen["primary"]["system"]);
    reader.batch("SELECT pg_wal_replay_pause()").await.unwrap();
    let patience = Patience::begin();
    loop {
        writer
            .batch("INSERT INTO htap.heartbeat DEFAULT VALUES")
            .await
            .unwrap();
        let seen = json();
        let replica = &seen["replica"];
        let behind =
            replica["lag_bytes"].as_i64() > Some(0) && replica["lag_ms"].as_f64() > Some(0.0);
        if replica["paused"] == true && behind {
            break;
        }
        assert!(patience.lasts(), "{seen}");
    }
    assert!(status().contains("PAUSED"));
    reader.batch("SELECT pg_wal_replay_resume()").await.unwrap();
    let patience = Patience::begin();
    loop {
        let seen = json();
        if seen["replica"]["lag_bytes"] == 0 && seen["replica"]["lag_ms"] == 0.0 {
            break;
        }
        assert!(patience.lasts(), "{seen}");
    }
    // Who lacks privileges is told so, and fails nothing.
    writer.batch("CREATE ROLE plain LOGIN").await.unwrap();
    let plain = works(&["status", &conninfo(primary, "plain")]);
    assert!(plain.contains("need pg_read_all_stats"), "{plain}");
}

/// Runs `create` on this server, which must refuse and change nothing; the sentence has these parts.
fn refused(server: &Server, user: &str, more: &[&str], code: i32, parts: &[&str]) {
    let tmp = playground();
    let path = tmp.path().join("replica");
    let conninfo = conninfo(server, user);
    let words = ["create", path.to_str().unwrap(), &conninfo, "--yes"];
    let said = fails(&[&words, more].concat(), code);
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    assert!(!path.exists(), "{said}");
}

#[test]
fn settings_that_forbid_a_replica_are_said() {
    for (settings, parts) in [
        (
            [("wal_level", "minimal"), ("max_wal_senders", "0")],
            ["wal_level is minimal", "ALTER SYSTEM SET wal_level"],
        ),
        (
            [("max_wal_senders", "1"), ("wal_level", "replica")],
            ["max_wal_senders is 1", "restart"],
        ),
        (
            [("max_replication_slots", "0"), ("wal_level", "replica")],
            ["max_replication_slots is 0", "restart"],
        ),
    ] {
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let server = Server::start(&Order {
            settings: settings.into(),
            ..Order::default()
        });
        refused(&server, "postgres", &[], 1, &parts);
    }
}

/// What is in the way, in a sentence that says what to do, and nothing is changed.
#[test]
fn what_forbids_a_replica_is_said() {
    let server = Server::alone();
    let place = playground();
    fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
    block_on(async {
        let admin = admin(&server).await;
        let setup = "CREATE ROLE plain LOGIN; SELECT pg_create_physical_replication_slot('taken')";
        admin.batch(setup).await.unwrap();
    });
    let role = ["may not replicate", "ALTER ROLE \"plain\" REPLICATION"];
    refused(&server, "plain", &[], 4, &role);
    let told = |more: &[&str], parts: &[&str]| refused(&server, "postgres", more, 1, parts);
    told(&["--slot", "taken"], &["slot taken already", "--slot"]);
    told(&["--slot", "Bad"], &["a-z, 0-9 and _"]);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let number = port.local_addr().unwrap().port().to_string();
    let in_use = ["is in use", "--replica-port"];
    told(&["--replica-port", &number], &in_use);
    told(&["--pg-bindir", "/etc"], &["does not contain"]);
    let standby = server.replica();
    let cascade = ["is a standby itself", "name the primary"];
    refused(&standby, "postgres", &[], 1, &cascade);
    of_status(&server, &standby);
    let full = place.path().join("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("precious"), "x").unwrap();
    let conninfo = conninfo(&server, "postgres");
    let says = |words: &[&str], code: i32, part: &str| {
        let said = fails(&[&["create"], words].concat(), code);
        assert!(said.contains(part), "{said}");
    };
    let path = full.to_str().unwrap();
    says(&[path, &conninfo, "--yes"], 1, "is not empty");
    assert!(full.join("precious").is_file());
    // Nobody can say yes.
    let path = place.path().join("new");
    says(
        &[path.to_str().unwrap(), &conninfo],
        2,
        "without a terminal",
    );
    says(
        &[path.to_str().unwrap(), "host=/nowhere", "--yes"],
        3,
        "failed to connect",
    );
    assert!(!path.exists());
    // A tablespace, which is a folder elsewhere.
    let elsewhere = place.path().join("tablespace");
    fs::create_dir(&elsewhere).unwrap();
    let owner = fs::metadata(server.data_dir()).unwrap();
    let uid = Some(std::os::unix::fs::MetadataExt::uid(&owner));
    std::os::unix::fs::chown(&elsewhere, uid, None).unwrap();
    block_on(async {
        let admin = admin(&server).await;
        let create = format!("CREATE TABLESPACE away LOCATION '{}'", elsewhere.display());
        admin.batch(&create).await.unwrap();
        assert_eq!(slots(&admin).await, 1);
    });
    told(&[], &["tablespace \"away\"", "--tablespace-mapping"]);
}

fn of_status(server: &Server, standby: &Server) {
    let other = Server::alone();
    let [server, standby, other] = [server, standby, &other].map(|of| conninfo(of, "postgres"));
    let said = fails(&["status", &standby], 1);
    assert!(said.contains("is a standby: name its primary"), "{said}");
    let said = fails(&["status", &other, "--replica", &standby], 1);
    assert!(said.contains("replica of another system"), "{said}");
    let said = fails(&["status", &server, "--replica", &server], 1);
    assert!(said.contains("became a primary"), "{said}");
}

/// A step that fails after others: what they made is removed, and that is said.
#[test]
fn a_failure_in_the_middle_leaves_nothing() {
    let server = Server::alone();
    let tmp = playground();
    let folder = tmp.path().join("replica");
    let path = folder.to_str().unwrap();
    let conninfo = conninfo(&server, "postgres");
    let nothing_left = |said: &str| {
        assert!(
            said.contains("removed ") && said.contains("the slot htap_top_replica"),
            "{said}"
        );
        assert!(!folder.exists(), "{said}");
        block_on(async { assert_eq!(slots(&admin(&server).await).await, 0) });
    };
    // The copy does not start: the primary's next start would fail, too.
    let alter =
        |sql: &'static str| block_on(async { admin(&server).await.batch(sql).await.unwrap() });
    alter("ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'");
    let said = fails(&["create", path, &conninfo, "--yes"], 1);
    assert!(said.contains("no_such_library"), "{said}");
    nothing_left(&said);
    alter("ALTER SYSTEM RESET shared_preload_libraries");
    // pg_hba.conf refuses replication.
    let hba = server.data_dir().join("pg_hba.conf");
    let text = fs::read_to_string(&hba).unwrap();
    let without: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("replication"))
        .collect();
    fs::write(&hba, without.join("\n") + "\n").unwrap();
    alter("SELECT pg_reload_conf()");
    let said = fails(&["create", path, &conninfo, "--yes"], 1);
    assert!(
        said.contains("samenet") && said.contains("pg_reload_conf"),
        "{said}"
    );
    nothing_left(&said);
    fs::write(&hba, text).unwrap();
    alter("SELECT pg_reload_conf()");
    // Somebody changes their mind while it copies.
    let mut child = program(&["create", path, &conninfo, "--yes"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = String::new();
    for line in lines.by_ref() {
        said = line.unwrap();
        if said.contains("copying the server") {
            break;
        }
    }
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    for line in lines {
        said += &line.unwrap();
    }
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    nothing_left(&said);
}

#[test]
fn drop_touches_only_what_create_made() {
    let server = Server::alone();
    let other = Server::alone();
    let tmp = playground();
    let refused = |folder: &Path, more: &[&str], part: &str| {
        let words = [&["drop", folder.to_str().unwrap(), "--yes"], more].concat();
        let said = fails(&words, 1);
        assert!(said.contains(part), "{said}");
    };
    refused(server.data_dir(), &[], "was not made by");
    refused(&tmp.path().join("none"), &[], "failed to find");
    let built = Built::new(&server, tmp.path().join("replica"), &[]);
    let of_other = conninfo(&other, "postgres");
    refused(
        &built.folder,
        &[&of_other],
        "is not the primary of this replica",
    );
    refused(&built.folder, &["host=/nowhere"], "--keep-slot");
    let copy = tmp.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let mark = "htap-top-replica.json";
    fs::copy(built.folder.join(mark), copy.join(mark)).unwrap();
    let owner = fs::metadata(&copy).unwrap();
    let uid = Some(std::os::unix::fs::MetadataExt::uid(&owner));
    std::os::unix::fs::chown(copy.join(mark), uid, None).unwrap();
    refused(&copy, &[], "is that of");
    block_on(async {
        let client = Client::connect(&built.target()).await.unwrap();
        client.query("SELECT pg_promote()", &[]).await.unwrap();
    });
    refused(&built.folder, &[], "it was promoted");
    let (of_server, promoted) = (conninfo(&server, "postgres"), built.conninfo());
    let said = fails(&["status", &of_server, "--replica", &promoted], 1);
    assert!(said.contains("became a primary"), "{said}");
    assert!(is_alive(built.postmaster()));
}

/// One whose slot is kept, and one that is stopped when it is removed.
#[test]
fn a_replica_without_its_primary_can_be_removed() {
    let server = Server::alone();
    let tmp = playground();
    let built = Built::new(&server, tmp.path().join("replica"), &[]);
    kill(Pid::from_raw(built.postmaster()), Signal::SIGKILL).unwrap();
    let said = works(&[
        "drop",
        built.folder.to_str().unwrap(),
        "--keep-slot",
        "--yes",
    ]);
    assert!(said.contains("Keep the slot htap_top_replica"), "{said}");
    assert!(!built.folder.exists());
    block_on(async { assert_eq!(slots(&admin(&server).await).await, 1) });
}
