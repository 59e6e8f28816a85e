//! `htap-top stream broker`: what it refuses, and, with Java, a real broker that leaves nothing behind.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use super::server::Patience;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_htap-top"));
    command.args(["stream", "broker"]).args(args);
    command
}

fn refused(args: &[&str]) -> String {
    let Output { status, stderr, .. } = command(args).output().unwrap();
    assert_eq!(status.code(), Some(1));
    String::from_utf8(stderr).unwrap()
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let message = refused(&["--port", &port]);
    assert!(
        message.contains(&format!("port {port} of 127.0.0.1 is taken")),
        "{message}"
    );
    assert!(message.contains("--port"), "{message}");
}

#[test]
fn a_folder_with_other_files_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes"), "x").unwrap();
    let mode = folder.path().metadata().unwrap().permissions();
    let message = refused(&["--port", "0", "--data", folder.path().to_str().unwrap()]);
    assert!(message.contains("is not empty"), "{message}");
    assert_eq!(folder.path().metadata().unwrap().permissions(), mode);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_java_that_is_missing_or_too_old_is_refused() {
    let message = refused(&["--port", "0", "--java", "/nowhere/java"]);
    assert!(message.contains("/nowhere/java does not run"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let java = folder.path().join("java");
    std::fs::write(
        &java,
        "#!/bin/sh\necho 'openjdk version \"11.0.2\" 2019-01-15' >&2\n",
    )
    .unwrap();
    std::fs::set_permissions(&java, std::fs::Permissions::from_mode(0o755)).unwrap();
    let message = refused(&["--port", "0", "--java", java.to_str().unwrap()]);
    assert!(
        message.contains("Java 17 or later") && message.contains("is Java 11"),
        "{message}"
    );
}

/// A broker that answers.
pub struct Broker {
    child: Child,
    pub port: u16,
    folder: PathBuf,
}

impl Broker {
    pub fn start(args: &[&str]) -> Self {
        Self::start_at(0, args)
    }

    fn start_at(port: u16, args: &[&str]) -> Self {
        let mut child = command(&["--port", &port.to_string()])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        let between = |from: &str, to: &str| {
            let rest = line.split_once(from).map(|(_, rest)| rest);
            rest.and_then(|rest| rest.split_once(to))
                .unwrap()
                .0
                .to_owned()
        };
        Self {
            port: between("127.0.0.1:", ";").parse().unwrap(),
            folder: between("broker.log are in ", " (").into(),
            child,
        }
    }

    /// Kills Kafka itself, and starts it again with the same data.
    pub fn crash(&mut self) {
        let mut processes = at_work(&self.folder).into_iter();
        let java = processes.find(|process| is_java(*process)).unwrap();
        kill(Pid::from_raw(java), Signal::SIGKILL).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(1));
        until_idle(&self.folder);
        let data = self.folder.to_str().unwrap().to_owned();
        *self = Self::start_at(self.port, &["--data", &data]);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        let servers = format!("127.0.0.1:{}", self.port);
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers);
        config.create().unwrap()
    }

    fn setting(&self, name: &str) -> String {
        let admin = self.admin();
        let broker = ResourceSpecifier::Broker(1);
        let described = super::server::block_on(async {
            admin
                .describe_configs([&broker], &AdminOptions::new())
                .await
        });
        let described = described.unwrap().remove(0).unwrap();
        described.get(name).unwrap().value.clone().unwrap()
    }

    fn topics(&self) -> Vec<String> {
        let admin = self.admin();
        let all = admin
            .inner()
            .fetch_metadata(None, Duration::from_secs(30))
            .unwrap();
        all.topics()
            .iter()
            .map(|topic| topic.name().to_owned())
            .collect()
    }
}

/// A test that fails leaves no Java behind.
impl Drop for Broker {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

/// Processes that work in this folder: the broker, and what watches it.
fn at_work(folder: &Path) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter(|process| {
            std::fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .filter_map(|process| process.file_name().to_string_lossy().parse().ok())
        .collect()
}

fn is_java(process: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name.trim() == "java")
}

/// Waits until no process works in this folder: the supervisor's last `sleep` may outlive it by a moment.
fn until_idle(folder: &Path) {
    let patience = Patience::begin();
    while !at_work(folder).is_empty() {
        assert!(patience.lasts(), "the broker lives on");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
#[ignore = "needs Java 17 and Kafka's jars: .ci/run runs it"]
fn a_broker_keeps_topics_in_its_folder_and_nobody_else_may_read_it() {
    let place = tempfile::Builder::new()
        .permissions(PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let data = place.path().join("kafka");
    let args = ["--data", data.to_str().unwrap()];
    let mut broker = Broker::start(&args);
    let mode = data.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let topic = NewTopic::new("kept", 3, TopicReplication::Fixed(1));
    let created = super::server::block_on(async {
        broker
            .admin()
            .create_topics([&topic], &AdminOptions::new())
            .await
    });
    assert_eq!(created.unwrap(), [Ok("kept".to_owned())]);
    broker.signal(Signal::SIGTERM);
    assert!(broker.child.wait().unwrap().success());
    until_idle(&data);
    let mut again = Broker::start(&args);
    again.crash();
    assert!(again.topics().contains(&"kept".to_owned()));
    // What the start after a crash waited for.
    let session: u32 = again.setting("broker.session.timeout.ms").parse().unwrap();
    assert!(session <= 1_000, "{session} ms");
    again.signal(Signal::SIGINT);
    assert!(again.child.wait().unwrap().success());
}

#[test]
#[ignore = "needs Java 17 and Kafka's jars: .ci/run runs it"]
fn nothing_is_left_of_a_broker_that_ends() {
    let mut broker = Broker::start(&[]);
    let folder = broker.folder.clone();
    let mode = folder.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    assert!(!at_work(&folder).is_empty());
    broker.signal(Signal::SIGTERM);
    assert!(broker.child.wait().unwrap().success());
    assert!(!folder.exists());
    // However htap-top ends, the broker ends.
    let mut killed = Broker::start(&[]);
    killed.signal(Signal::SIGKILL);
    killed.child.wait().unwrap();
    until_idle(&killed.folder);
    // The next command of this kind removes the folder.
    refused(&["--port", "0", "--java", "/nowhere/java"]);
    assert!(!killed.folder.exists());
}
