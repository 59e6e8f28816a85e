//! `htap-top demo` run as the real binary: under load, and removed without a trace however it ends.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "helpers of a test"
)]

mod replica;
mod stream;

use crate::it::server::{PATIENCE, block_on, is_alive, until};
use htap_top::pg::{Client, Target};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;
use tempfile::TempDir;

/// A folder for temporary folders that the server's user can access.
fn playground() -> TempDir {
    tempfile::Builder::new()
        .prefix("hd-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in("/tmp")
        .unwrap()
}

fn program(tmp: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command
        .args(["demo", "--headless", "--orders", "1000"])
        .args(arguments)
        .env("TMPDIR", tmp)
        .stdin(Stdio::piped());
    command
}

/// A demo that is starting or running.
struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
    /// Output so far.
    said: String,
}

impl Demo {
    fn start(tmp: &Path, arguments: &[&str]) -> Self {
        Self::run(&mut program(tmp, arguments))
    }

    fn run(program: &mut Command) -> Self {
        let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            output,
            said: String::new(),
        }
    }

    /// Reads up to a line with `text`, and returns that line.
    fn until(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(
                self.output.read_line(&mut line).unwrap() > 0,
                "it ended without {text:?}: {}",
                self.said
            );
            self.said += &line;
            if line.contains(text) {
                return line.trim().to_owned();
            }
        }
    }

    /// Waits until it is ready, and reads from its output where it is.
    fn ready(&mut self) -> Place {
        let line = self.until("psql -h");
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["psql", "-h", host, "-p", port, "-U", user, dbname] = words[..] else {
            panic!("{line}")
        };
        let target = Target::local(Path::new(host), port.parse().unwrap(), user, dbname);
        Place {
            home: host.into(),
            target,
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end, which must be successful.
    fn ended_well(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.said);
    }
}

impl Drop for Demo {
    /// Cleans up after a failed assertion.
    fn drop(&mut self) {
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}

struct Place {
    home: PathBuf,
    target: Target,
}

impl Place {
    /// The server's processes.
    async fn processes(&self) -> Vec<i32> {
        let client = Client::connect(&self.target).await.unwrap();
        let table = client
            .query("SELECT pid FROM pg_stat_activity", &[])
            .await
            .unwrap();
        let pid_file = fs::read_to_string(self.home.join("data/postmaster.pid")).unwrap();
        let postmaster = pid_file.lines().next().unwrap().trim().parse().unwrap();
        let mut pids: Vec<i32> = table
            .rows
            .iter()
            .map(|row| row[0].int().unwrap() as i32)
            .collect();
        pids.push(postmaster);
        assert!(
            pids.len() > 5 && pids.iter().filter(|pid| is_alive(**pid)).count() > 5,
            "{pids:?}"
        );
        pids
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn nothing_is_left(tmp: &Path, pids: &[i32]) {
    assert_eq!(entries(tmp), Vec::<String>::new());
    let alive: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
    assert_eq!(alive, Vec::<&i32>::new());
}

#[test]
fn it_is_under_load_and_ends_with_sigterm() {
    let tmp = playground();
    let mut demo = Demo::start(tmp.path(), &[]);
    let place = demo.ready();
    demo.until("stock-audit");
    let pids = block_on(async {
        let client = Client::connect(&place.target).await.unwrap();
        let orders = "SELECT max(order_id) AS n FROM shop.orders";
        until(&client, "orders grow", orders, &[], |table| {
            table.first("n").int().unwrap() > 1_003
        })
        .await;
        let paid = "SELECT count(*) AS n FROM shop.orders WHERE order_id > 1000 AND status > 0";
        until(&client, "orders are paid", paid, &[], |table| {
            table.first("n").int().unwrap() > 0
        })
        .await;
        let refreshed = "SELECT count(*) AS n FROM htap.refresh_run WHERE mode = 'concurrent' AND finished IS NOT NULL";
        until(&client, "views are refreshed", refreshed, &[], |table| {
            table.first("n").int().unwrap() > 1
        })
        .await;
        place.processes().await
    });
    demo.signal(Signal::SIGTERM);
    demo.ended_well();
    nothing_is_left(tmp.path(), &pids);
}

#[test]
fn it_ends_with_the_dashboard_that_started_it() {
    let tmp = playground();
    let mut demo = Demo::start(tmp.path(), &["--calm", "--lifeline"]);
    let line = demo.until("\"ready\"");
    let ready: serde_json::Value = serde_json::from_str(&line).unwrap();
    let word = |name: &str| ready["ready"][name].as_str().unwrap().to_owned();
    let home = PathBuf::from(word("host"));
    let port = ready["ready"]["port"].as_u64().unwrap() as u16;
    let target = Target::local(&home, port, &word("user"), &word("dbname"));
    let pids = block_on(Place { home, target }.processes());
    drop(demo.child.stdin.take());
    demo.ended_well();
    nothing_is_left(tmp.path(), &pids);
}

#[test]
fn a_hangup_ends_it_and_calm_it_has_no_troubles() {
    let tmp = playground();
    let mut demo = Demo::start(tmp.path(), &["--calm"]);
    let place = demo.ready();
    let pids = block_on(place.processes());
    demo.signal(Signal::SIGHUP);
    demo.until("clearing up");
    assert!(!demo.said.contains("stock-audit"), "{}", demo.said);
    demo.ended_well();
    nothing_is_left(tmp.path(), &pids);
}

#[test]
fn an_interrupt_while_it_starts_leaves_nothing() {
    let tmp = playground();
    for moment in [
        "looking for",
        "starting",
        "creating the schema",
        "filling mart",
    ] {
        let mut demo = Demo::start(tmp.path(), &[]);
        demo.until(moment);
        demo.signal(Signal::SIGINT);
        demo.ended_well();
        nothing_is_left(tmp.path(), &[]);
    }
}

/// Start time of this process, in the marker's format.
fn own_start() -> String {
    if cfg!(target_os = "linux") {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        return stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .nth(19)
            .unwrap()
            .to_owned();
    }
    let ps = Command::new("ps")
        .args(["-o", "lstart=", "-p", &std::process::id().to_string()])
        .output()
        .unwrap();
    String::from_utf8_lossy(&ps.stdout).trim().to_owned()
}

#[test]
fn the_next_demo_clears_up_after_a_killed_one_and_only_after_that() {
    let tmp = playground();
    let mut demo = Demo::start(tmp.path(), &["--calm"]);
    let place = demo.ready();
    let pids = block_on(place.processes());
    let private = |name: &str| {
        let folder = tmp.path().join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        fs::write(folder.join("precious"), "x").unwrap();
        folder
    };
    // A user's folder with a similar name, and one whose owner is alive: this test.
    private("htap-top-notes");
    let owned = private("htap-top-owned");
    let marker = fs::read_to_string(place.home.join("htap-top.json")).unwrap();
    let mut marker: serde_json::Value = serde_json::from_str(&marker).unwrap();
    marker["pid"] = std::process::id().into();
    marker["started"] = own_start().into();
    marker["data"] = owned.join("data").to_str().unwrap().into();
    fs::write(owned.join("htap-top.json"), marker.to_string()).unwrap();
    // One whose owner is gone, but whose folder is accessible to others.
    let open = private("htap-top-open");
    marker["pid"] = 1.into();
    marker["data"] = open.join("data").to_str().unwrap().into();
    fs::write(open.join("htap-top.json"), marker.to_string()).unwrap();
    fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();

    demo.signal(Signal::SIGKILL);
    assert!(!demo.child.wait().unwrap().success());
    let postmaster = *pids.last().unwrap();
    assert!(
        is_alive(postmaster) && place.home.is_dir(),
        "killed, it leaves its server"
    );

    let mut next = Demo::start(tmp.path(), &[]);
    next.until("starting");
    assert!(!place.home.exists());
    let begun = Instant::now();
    while pids.iter().any(|pid| is_alive(*pid)) {
        assert!(
            begun.elapsed() < PATIENCE,
            "a process of the killed demo lives on"
        );
    }
    next.signal(Signal::SIGTERM);
    next.ended_well();
    assert_eq!(
        entries(tmp.path()),
        ["htap-top-notes", "htap-top-open", "htap-top-owned"]
    );
    for name in entries(tmp.path()) {
        assert!(tmp.path().join(name).join("precious").is_file());
    }
}

/// Server programs that only print their version; initdb fails with `name`.
fn fake(tmp: &Path, name: &str, major: u16) -> PathBuf {
    let bin = tmp.join(name);
    fs::create_dir(&bin).unwrap();
    for (program, script) in [
        (
            "postgres",
            format!("echo 'postgres (PostgreSQL) {major}.1'"),
        ),
        ("initdb", format!("echo 'this is {name}' >&2; exit 1")),
        ("pg_ctl", "exit 1".to_owned()),
        ("pg_config", format!("echo {}", bin.display())),
    ] {
        let path = bin.join(program);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
    bin
}

#[test]
fn the_programs_the_user_points_at_come_first() {
    let (tmp, tools) = (playground(), playground());
    let by_config = fake(tools.path(), "by-config", 97);
    let by_path = fake(tools.path(), "by-path", 96);
    let by_option = fake(tools.path(), "by-option", 95);
    let old = fake(tools.path(), "old", 12);
    let link = tools.path().join("links");
    fs::create_dir(&link).unwrap();
    std::os::unix::fs::symlink(by_path.join("postgres"), link.join("postgres")).unwrap();
    let config = by_config.join("pg_config");
    let path = |first: &Path| format!("{}:/usr/bin:/bin", first.display());
    let option = by_option.to_str().unwrap();
    let nowhere = tools.path().join("nowhere");
    for (pg_config, path, arguments, chosen) in [
        (&config, path(&by_path), &[][..], "this is by-config"),
        (&nowhere, path(&by_path), &[], "this is by-path"),
        (&nowhere, path(&link), &[], "this is by-path"),
        (
            &nowhere,
            format!("{}:{}", old.display(), path(&by_path)),
            &[],
            "this is by-path",
        ),
        (
            &config,
            path(&by_path),
            &["--pg-major", "96"],
            "this is by-path",
        ),
        (
            &config,
            path(&by_path),
            &["--pg-bindir", option],
            "this is by-option",
        ),
        (
            &config,
            path(&by_path),
            &["--pg-bindir", option, "--pg-major", "96"],
            "contains PostgreSQL 95, not 96",
        ),
    ] {
        let output = program(tmp.path(), arguments)
            .env("PG_CONFIG", pg_config)
            .env("PATH", &path)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(chosen), "{chosen}: {stderr}");
        assert_eq!(entries(tmp.path()), Vec::<String>::new());
    }
}

#[test]
fn a_wrong_folder_is_said_clearly() {
    let tmp = playground();
    let output = program(tmp.path(), &["--pg-bindir", "/etc"])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr,
        "htap-top: /etc does not contain PostgreSQL's server programs initdb, pg_ctl and postgres\n"
    );
    assert_eq!(entries(tmp.path()), Vec::<String>::new());
}
