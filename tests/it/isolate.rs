//! `htap-top isolate`, the real program on a real server: by every mechanism that this machine has.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "helpers of a test"
)]

use super::server::{Order, Patience, Server, block_on, pid, until, until_waiting};
use htap_top::cluster::SUPERUSER;
use htap_top::pg::{Client, Param};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use tempfile::TempDir;

const MECHANISMS: [&str; 3] = ["cgroup2", "cgroup1", "autogroup"];

/// A server with an OLAP role and a table that is read by four workers.
fn server() -> Server {
    let server = Server::alone();
    block_on(async {
        let setup = "CREATE ROLE olap_reports LOGIN; CREATE ROLE plain LOGIN;
            CREATE TABLE big AS SELECT generate_series(1, 100000) AS n; GRANT SELECT ON big TO olap_reports;
            CREATE TABLE held (n int); ALTER TABLE held OWNER TO olap_reports;
            ALTER TABLE big SET (parallel_workers = 4); ANALYZE big";
        session(&server, SUPERUSER)
            .await
            .batch(setup)
            .await
            .unwrap();
    });
    server
}

async fn session(server: &Server, role: &str) -> Client {
    let target = server.target("postgres", role);
    let target = target.with_application_name("test");
    Client::connect(&target).await.unwrap()
}

fn conninfo(server: &Server, role: &str) -> String {
    let folder = server.socket_dir().display();
    format!(
        "host={folder} port={} user={role} dbname=postgres",
        server.port()
    )
}

/// Runs the program; its state and its audit file are in `home`.
fn program(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command.arg("isolate").args(arguments).stdin(Stdio::null());
    command.env("XDG_STATE_HOME", home);
    command.env("XDG_CONFIG_HOME", home);
    command
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// Runs it; it must end with this code. Returns what it said.
fn ends(home: &Path, arguments: &[&str], code: i32) -> String {
    let output = program(home, arguments).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// The mechanisms of this machine. A machine without any cannot run these tests.
fn mechanisms(server: &Server) -> Vec<&'static str> {
    let home = tempfile::tempdir().unwrap();
    let conninfo = conninfo(server, SUPERUSER);
    let mut why = String::new();
    let found = MECHANISMS.into_iter().filter(|mechanism| {
        let wanted = ["--dry-run", "--mechanism", mechanism, &conninfo];
        let output = program(home.path(), &wanted).output().unwrap();
        why += &text(&output);
        output.status.success()
    });
    let found: Vec<_> = found.collect();
    assert!(
        !found.is_empty(),
        "this test needs a machine on which it may weigh processes: {why}"
    );
    println!("by {found:?}; others cannot be used here: {why}");
    found
}

/// A running `htap-top isolate`.
struct Running {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    fn start(home: &Path, server: &Server, more: &[&str]) -> Self {
        let conninfo = conninfo(server, SUPERUSER);
        let words = [&["--yes", &conninfo], more].concat();
        let mut child = program(home, &words)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (lines, into) = (
            BufReader::new(child.stderr.take().unwrap()).lines(),
            said.clone(),
        );
        let reader = std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                *into.lock().unwrap() += &(line + "\n");
            }
        });
        Self {
            child,
            said,
            reader: Some(reader),
        }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until it has said `what` so many times.
    fn says(&self, what: &str, times: usize) {
        let patience = Patience::begin();
        while self.said().matches(what).count() < times {
            assert!(patience.lasts(), "{what:?} is not said: {}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Sends a signal after which it must undo everything and succeed.
    fn stop(mut self, signal: Signal) -> String {
        self.signal(signal);
        let status = self.child.wait().unwrap();
        // Its last lines.
        self.reader.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}: {}", self.said());
        self.said()
    }

    fn kill(mut self) {
        self.signal(Signal::SIGKILL);
        self.child.wait().unwrap();
    }
}

/// Cleans up after a failed assertion.
impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.signal(Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// Where a process is: its control groups, and the nice value of its autogroup.
fn place(pid: i64) -> String {
    let read = |file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let autogroup = read("autogroup");
    let nice = autogroup.split(" nice ").nth(1).unwrap_or_default();
    format!("{}{nice}", read("cgroup"))
}

fn places(pids: &[i64]) -> BTreeMap<i64, String> {
    pids.iter().map(|pid| (*pid, place(*pid))).collect()
}

/// Waits until the processes are elsewhere than before, or where they were.
fn until_moved(before: &BTreeMap<i64, String>, pids: &[i64], moved: bool, running: &Running) {
    let patience = Patience::begin();
    while !pids.iter().all(|pid| (place(*pid) != before[pid]) == moved) {
        assert!(
            patience.lasts(),
            "moved {moved}: {:?}: {}",
            places(pids),
            running.said()
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// A statement that four workers run until it is cancelled. Returns the pids, the leader's first.
async fn runaway(server: &Server, admin: &Client) -> Vec<i64> {
    let client = session(server, "olap_reports").await;
    let leader = pid(&client).await;
    tokio::spawn(async move {
        let sql = "SET max_parallel_workers_per_gather = 4; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
            SET min_parallel_table_scan_size = 0;
            SELECT count(*) FROM big, generate_series(1, 1000000) AS g WHERE n + g > 0";
        let _ = client.batch(sql).await;
    });
    let workers = "SELECT pid::int8 AS pid FROM pg_stat_activity WHERE leader_pid = $1";
    let parameter = [Param::Int(leader)];
    let seen = until(admin, "four workers", workers, &parameter, |table| {
        table.rows.len() == 4
    });
    let seen = seen.await;
    let workers = (0..4).map(|row| seen.get(row, "pid").int().unwrap());
    std::iter::once(leader).chain(workers).collect()
}

/// Folders of groups that were made for this server.
fn groups(server: &Server) -> Vec<std::path::PathBuf> {
    let name = format!("htap-top-olap-{}", server.postmaster());
    let mut open = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                open.push(entry.path());
                if entry.file_name() == name.as_str() {
                    found.push(entry.path());
                }
            }
        }
    }
    found
}

fn nothing_is_left(home: &TempDir, server: &Server) {
    assert_eq!(groups(server), Vec::<std::path::PathBuf>::new());
    let files = fs::read_dir(home.path().join("htap-top/isolate")).unwrap();
    assert_eq!(files.count(), 0, "a state is left");
}

#[test]
fn olap_is_moved_and_returned_by_every_mechanism() {
    let server = server();
    let mechanisms = mechanisms(&server);
    block_on(async {
        let admin = session(&server, SUPERUSER).await;
        let other = session(&server, "plain").await;
        let olap = runaway(&server, &admin).await;
        let checkpointer =
            "SELECT pid::int8 AS pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
        let checkpointer = admin.query(checkpointer, &[]).await.unwrap();
        let others = [
            pid(&admin).await,
            pid(&other).await,
            server.postmaster().into(),
            checkpointer.first("pid").int().unwrap(),
        ];
        let before = places(&[&olap[..], &others].concat());
        for mechanism in mechanisms {
            let home = tempfile::tempdir().unwrap();
            let running = Running::start(home.path(), &server, &["--mechanism", mechanism]);
            until_moved(&before, &olap, true, &running);
            until_moved(&before, &others, false, &running);
            let named = "SELECT 1 AS n FROM pg_stat_activity WHERE application_name LIKE 'htap-top isolate: olap 25\\% by %'";
            until(&admin, "its name", named, &[], |table| {
                table.rows.len() == 1
            })
            .await;
            // One that comes later, holds a lock, and is waited for.
            let new = session(&server, "olap_reports").await;
            let late = pid(&new).await;
            let of_late = BTreeMap::from([(late, before[&others[1]].clone())]);
            until_moved(&of_late, &[late], true, &running);
            new.batch("BEGIN; LOCK TABLE held").await.unwrap();
            let waiter = session(&server, SUPERUSER).await;
            let waiting = pid(&waiter).await;
            let wait = tokio::spawn(async move { waiter.batch("TABLE held").await });
            until_waiting(&admin, waiting).await;
            until_moved(&of_late, &[late], false, &running);
            running.says(&format!("lifted out {late}: pid {waiting} (oltp) waits"), 1);
            until_moved(&before, &olap, true, &running);
            new.batch("ROLLBACK").await.unwrap();
            wait.await.unwrap().unwrap();
            let said = running.stop(Signal::SIGTERM);
            assert!(said.contains("ended (stopped)"), "{said}");
            assert_eq!(places(&[&olap[..], &others].concat()), before, "{said}");
            nothing_is_left(&home, &server);
            is_audited(&home, late);
        }
        let log = fs::read_to_string(server.socket_dir().join("postgres.log")).unwrap();
        for word in ["ERROR", "FATAL", "WARNING"] {
            assert!(!log.contains(word), "{log}");
        }
    });
}

fn is_audited(home: &TempDir, lifted: i64) {
    let lines = fs::read_to_string(home.path().join("htap-top/audit.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (first, last) = (&lines[0]["isolation"], &lines[lines.len() - 1]["isolation"]);
    assert_eq!(first["begins"]["share"], "25%");
    let moved = &lines[1]["isolation"]["moved_in"][0];
    assert_eq!(moved["class"], "olap", "{moved}");
    assert!(moved["from"].is_string() && moved["started"].is_u64());
    let is_lift = |line: &&serde_json::Value| line["isolation"]["lifted"]["pid"] == lifted;
    assert_eq!(lines.iter().filter(is_lift).count(), 1);
    assert_eq!(last["ended"]["failed"], serde_json::json!([]), "{last}");
}

#[test]
fn what_a_killed_run_left_is_repaired_and_a_lost_server_is_found_again() {
    let server = server();
    mechanisms(&server);
    let home = tempfile::tempdir().unwrap();
    let home = &home;
    block_on(async {
        let admin = session(&server, SUPERUSER).await;
        let olap = runaway(&server, &admin).await;
        let before = places(&olap);
        let killed = Running::start(home.path(), &server, &[]);
        until_moved(&before, &olap, true, &killed);
        killed.kill();
        assert!(olap.iter().all(|pid| place(*pid) != before[pid]));
        if !groups(&server).is_empty() {
            // Another user's run knows nothing of it, and must not remove it.
            let theirs = tempfile::tempdir().unwrap();
            let wanted = ["--yes", &conninfo(&server, SUPERUSER)];
            let said = ends(theirs.path(), &wanted, 1);
            assert!(
                said.contains("exists: OLAP on this server is already isolated"),
                "{said}"
            );
            assert!(olap.iter().all(|pid| place(*pid) != before[pid]));
        }
        let said = ends(home.path(), &["--undo"], 0);
        assert!(said.contains("undid what an earlier run left"), "{said}");
        assert_eq!(places(&olap), before);
        nothing_is_left(home, &server);
        let said = ends(home.path(), &["--undo"], 0);
        assert!(said.contains("nothing to undo"), "{said}");
        // The next start does the same.
        let killed = Running::start(home.path(), &server, &[]);
        until_moved(&before, &olap, true, &killed);
        killed.kill();
        let running = Running::start(home.path(), &server, &[]);
        running.says("undid what an earlier run left", 1);
        until_moved(&before, &olap, true, &running);
        let said = ends(home.path(), &["--yes", &conninfo(&server, SUPERUSER)], 1);
        assert!(said.contains("is already isolated"), "{said}");
        let said = ends(home.path(), &["--undo"], 1);
        assert!(
            said.contains("is isolating OLAP now: stop it (kill "),
            "{said}"
        );
        until_moved(&before, &olap, true, &running);
        // A server that goes away, and comes back with other processes.
        let of_old = groups(&server);
        server.signal(Signal::SIGQUIT);
        running.says("ended (", 1);
        assert!(
            of_old.iter().all(|group| !group.exists()),
            "{}",
            running.said()
        );
        server.start_again();
        running.says("started: ", 2);
        let client = session(&server, "olap_reports").await;
        let late = pid(&client).await;
        running.says(&format!("moved in {late} (olap_reports, test)"), 1);
        running.stop(Signal::SIGINT);
        nothing_is_left(home, &server);
    });
}

/// Nothing is changed, and a sentence says why and what to do.
#[test]
fn what_forbids_isolation_is_said() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let server = Server::start(&Order {
        listen_port: Some(port),
        ..Order::default()
    });
    let home = tempfile::tempdir().unwrap();
    block_on(async {
        let setup =
            "CREATE ROLE plain LOGIN; CREATE ROLE watcher LOGIN PASSWORD 'w' IN ROLE pg_monitor";
        session(&server, SUPERUSER)
            .await
            .batch(setup)
            .await
            .unwrap();
    });
    let ours = conninfo(&server, SUPERUSER);
    let says = |arguments: &[&str], code: i32, parts: &[&str]| {
        let said = ends(home.path(), arguments, code);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let grant = ["GRANT pg_monitor TO \"plain\"", "may not see"];
    says(&[&conninfo(&server, "plain"), "--dry-run"], 4, &grant);
    let unknown = ["failed to connect"];
    says(&["host=/nowhere", "--dry-run"], 3, &unknown);
    // A hard limit is nothing that autogroups have.
    let limit = [
        &ours,
        "--dry-run",
        "--mechanism",
        "autogroup",
        "--max",
        "40%",
    ];
    says(
        &limit,
        1,
        &["autogroup: it has no hard limit", "cgroup v2: --mechanism"],
    );
    says(&[&ours, "--olap-share", "0"], 2, &["from 1% to 100%"]);
    another_place(&home, &ours);
    another_user(&home, &server, port);
    version_2(&home, &server);
    if MECHANISMS.iter().any(|mechanism| {
        let wanted = [&ours, "--dry-run", "--mechanism", mechanism];
        program(home.path(), &wanted)
            .output()
            .unwrap()
            .status
            .success()
    }) {
        says(&[&ours], 2, &["without a terminal", "Pass --yes"]);
    }
    assert!(!home.path().join("htap-top/isolate").exists());
    assert!(!home.path().join("htap-top/audit.jsonl").exists());
}

/// The server's processes are not those of this program's machine: it runs where other pids count.
fn another_place(home: &TempDir, ours: &str) {
    let mut command = Command::new("unshare");
    if !Uid::effective().is_root() {
        command.args(["--user", "--map-current-user"]);
    }
    command.args(["--pid", "--fork", "--mount-proc"]);
    command.arg(env!("CARGO_BIN_EXE_htap-top"));
    command
        .args(["isolate", ours, "--dry-run"])
        .stdin(Stdio::null());
    let output = command.env("XDG_STATE_HOME", home.path()).output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for part in [
        "is not on this machine",
        "run htap-top isolate on the database's host",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// One that may not touch the server's processes. Only root can become one; for others it is control groups.
fn another_user(home: &TempDir, server: &Server, port: u16) {
    let conninfo = format!("host=127.0.0.1 port={port} user=watcher dbname=postgres");
    let output = if Uid::effective().is_root() {
        // Where that user can reach it.
        let folder = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        let copy = folder.path().join("htap-top");
        fs::copy(env!("CARGO_BIN_EXE_htap-top"), &copy).unwrap();
        let mut command = Command::new(copy);
        command.args(["isolate", &conninfo, "--dry-run"]);
        command.env("PGPASSWORD", "w").env("HOME", "/nonexistent");
        command.uid(65_534).gid(65_534).stdin(Stdio::null());
        command.output().unwrap()
    } else {
        let ours = self::conninfo(server, SUPERUSER);
        let wanted = [&ours, "--dry-run", "--mechanism", "cgroup1"];
        program(home.path(), &wanted).output().unwrap()
    };
    let said = text(&output);
    assert!(!output.status.success(), "{said}");
    let parts: &[&str] = if Uid::effective().is_root() {
        &[
            "no mechanism can be used",
            "this user may not write",
            "/autogroup: run it as root or as the server's owner",
        ]
    } else {
        &["no mechanism can be used", "cgroup v1: "]
    };
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
}

/// Version 2 in a made-up tree, with the server's group in it.
fn version_2(home: &TempDir, server: &Server) {
    let tree = tempfile::tempdir().unwrap();
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", server.postmaster())).unwrap();
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let path = path.unwrap_or_else(|| panic!("this test needs Linux 4.5 or later: {groups}"));
    let mut folder = tree.path().to_owned();
    let make = |folder: &Path, typed: bool| {
        fs::create_dir_all(folder).unwrap();
        for (file, text) in [
            ("cgroup.controllers", "cpu\n"),
            ("cgroup.subtree_control", "cpu\n"),
            ("cgroup.procs", ""),
            ("cpu.weight", "100\n"),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
        if typed {
            fs::write(folder.join("cgroup.type"), "domain\n").unwrap();
        }
    };
    make(&folder, false);
    for part in path.split('/').filter(|part| !part.is_empty()) {
        folder.push(part);
        make(&folder, true);
    }
    let root = tree.path().to_str().unwrap();
    let ours = conninfo(server, SUPERUSER);
    let wanted = [
        &ours,
        "--dry-run",
        "--cgroup2-root",
        root,
        "--olap-share",
        "50%",
        "--max",
        "40%",
    ];
    let said = ends(home.path(), &wanted, 0);
    let group = format!("htap-top-olap-{}", server.postmaster());
    for part in [
        "cgroup v2 cpu.weight",
        "not autogroup: not needed",
        "to its cpu.weight",
        "to its cpu.max",
        &group,
    ] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!folder.join(&group).exists());
}
