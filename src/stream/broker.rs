//! A broker for one machine: Apache Kafka in KRaft mode, on the loopback address, as a child process that ends when this
//! process does, however it does.

mod folder;
mod jars;
mod java;

use crate::cluster::{ClusterError, last_lines};
use folder::Folder;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{sleep, timeout};

pub(crate) use jars::VERSION;

/// How long a broker may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a broker may take to stop; the supervisor kills it after 10 s.
const FAREWELL: Duration = Duration::from_secs(15);

/// The requested broker.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Port on 127.0.0.1; 0 is a free one.
    pub port: u16,
    /// Folder that is kept; without one, the data is removed at the end.
    pub data: Option<PathBuf>,
    /// The program java.
    pub java: Option<PathBuf>,
    /// Maximum size of Java's heap, in MiB.
    pub heap: u32,
}

/// A broker that can be started.
#[derive(Debug)]
pub struct Plan {
    port: u16,
    controller: u16,
    folder: Folder,
    java: PathBuf,
    jars: PathBuf,
    heap: u32,
}

/// A running broker. Dropping it ends the broker, too, but does not wait for that.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// The supervisor ends the broker when this closes.
    lifeline: Option<ChildStdin>,
    port: u16,
    folder: Folder,
    /// Where this run's part of the log begins.
    log_start: u64,
}

impl Plan {
    /// Checks port, folder and Java, and fetches Kafka's jars if they are missing; `say` is told before that. Dropped
    /// meanwhile, it leaves nothing behind.
    pub async fn new(wish: Wish, say: impl FnOnce(&str)) -> Result<Self, ClusterError> {
        let kept = wish.data.clone();
        let looking = move || {
            let ports = ports(wish.port)?;
            if let Some(folder) = &wish.data {
                folder::check(folder)?;
            }
            let java = java::find(wish.java.as_deref())?;
            Ok((ports, java, jars::fetched()))
        };
        let looked = tokio::task::spawn_blocking(looking).await;
        let ((port, controller), java, jars) =
            looked.map_err(|error| ClusterError::io("look for Java and Kafka")(error.into()))??;
        let jars = if let Some(jars) = jars {
            jars
        } else {
            say(&format!(
                "fetching Apache Kafka {VERSION} with Maven (40 MB, once)"
            ));
            jars::fetch().await?
        };
        Ok(Self {
            port,
            controller,
            folder: Folder::open(kept.as_deref())?,
            java,
            jars,
            heap: wish.heap,
        })
    }

    /// Formats the folder if it is new, and starts the broker.
    pub async fn start(self) -> Result<Running, ClusterError> {
        self.folder.configure(self.port, self.controller).await?;
        if !self.folder.is_formatted() {
            self.format().await?;
        }
        let log_start = self.folder.log_length();
        let mut command = Command::from(self.folder.account().command(Path::new("/bin/sh")));
        command
            .args(["-c", include_str!("broker/supervise.sh"), "sh"])
            .arg(&self.java)
            .args(self.java_options())
            .args(["kafka.Kafka", folder::PROPERTIES])
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command.spawn().map_err(ClusterError::io("run sh"))?;
        Ok(Running {
            lifeline: child.stdin.take(),
            child,
            port: self.port,
            folder: self.folder,
            log_start,
        })
    }

    async fn format(&self) -> Result<(), ClusterError> {
        let mut command = Command::from(self.folder.account().command(&self.java));
        let formatted = command
            .args(self.java_options())
            .args(["kafka.tools.StorageTool", "format", "-t", &cluster_id()])
            .args(["-c", folder::PROPERTIES])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(ClusterError::io("run java"))?;
        if formatted.status.success() {
            return Ok(());
        }
        let output = [formatted.stdout, formatted.stderr].concat();
        Err(ClusterError::program(
            "kafka.tools.StorageTool",
            reason(&output).as_bytes(),
        ))
    }

    fn java_options(&self) -> Vec<String> {
        vec![
            format!("-Xmx{}m", self.heap),
            // Smallest in memory, and fast enough for one broker.
            "-XX:+UseSerialGC".to_owned(),
            // At 1,000 events per second the second compiler works for longer than it saves: 218 ms of processor time
            // per 1,000 events, 152 without it.
            "-XX:TieredStopAtLevel=1".to_owned(),
            "-XX:+ExitOnOutOfMemoryError".to_owned(),
            "-XX:-UsePerfData".to_owned(),
            "-Djava.awt.headless=true".to_owned(),
            format!("-Djava.io.tmpdir={}", self.folder.scratch().display()),
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn".to_owned(),
            "-Dorg.slf4j.simpleLogger.showDateTime=true".to_owned(),
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSX".to_owned(),
            "-cp".to_owned(),
            jars::class_path(&self.jars),
        ]
    }
}

impl Running {
    /// Waits until the broker answers.
    pub async fn ready(&mut self) -> Result<(), ClusterError> {
        let waiting = async {
            while !answers(self.port).await {
                if let Ok(Some(status)) = self.child.try_wait() {
                    return Err(self.failure(status));
                }
                sleep(Duration::from_millis(50)).await;
            }
            Ok(())
        };
        timeout(PATIENCE, waiting).await.unwrap_or_else(|_| {
            Err(ClusterError::Missing(format!(
                "the broker did not answer within {} s",
                PATIENCE.as_secs()
            )))
        })
    }

    /// Waits until the broker ends by itself; returns the reason.
    pub async fn ended(&mut self) -> ClusterError {
        match self.child.wait().await {
            Ok(status) => self.failure(status),
            Err(error) => ClusterError::io("wait for the broker")(error),
        }
    }

    /// Stops the broker, waits for it, and removes its folder unless that is to be kept.
    pub async fn stop(mut self) -> Result<(), ClusterError> {
        drop(self.lifeline.take());
        if timeout(FAREWELL, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        self.folder.close()
    }

    /// Returns the port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the folder of data, settings and log.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn failure(&self, status: ExitStatus) -> ClusterError {
        let text = self.folder.read_log(self.log_start).unwrap_or_default();
        let mut why = reason(&text);
        if why.is_empty() {
            why = status.to_string();
        }
        let cure = cure(&why).map_or_else(String::new, |cure| format!(". {cure}"));
        ClusterError::program("Kafka's broker", format!("{why}{cure}").as_bytes())
    }
}

/// What to do about the reason for which a broker ended.
fn cure(why: &str) -> Option<&'static str> {
    if why.contains("No space left on device") {
        return Some("Free space, or name a folder on another file system with --data");
    }
    if why.contains("Failed to acquire lock on file") {
        return Some(
            "Another broker uses this folder: stop it, or name another folder with --data",
        );
    }
    if why.contains("OutOfMemoryError") {
        return Some("Give it more memory with --heap");
    }
    None
}

/// Returns what a log says last, without stack traces and SLF4J's lines about itself.
fn reason(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log);
    let lines = text.lines().filter(|line| {
        !line.starts_with([' ', '\t']) && !line.starts_with("SLF4J") && !line.contains(" WARN ")
    });
    last_lines(lines.collect::<Vec<_>>().join("\n").as_bytes())
}

/// Returns the port `wanted`, or a free one if it is 0, and a free one for the controller.
fn ports(wanted: u16) -> Result<(u16, u16), ClusterError> {
    let open = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    let number = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let broker = open(wanted).map_err(|error| match error.kind() {
        ErrorKind::AddrInUse => ClusterError::Missing(format!(
            "port {wanted} of 127.0.0.1 is taken by another program: name another with --port, or 0 for a free one"
        )),
        ErrorKind::PermissionDenied => ClusterError::Missing(format!(
            "port {wanted} of 127.0.0.1 is for root: name one above 1023 with --port"
        )),
        _ => ClusterError::io(format!("listen on port {wanted} of 127.0.0.1"))(error),
    })?;
    // Both are held until both are known, so that they differ.
    let controller = open(0).map_err(ClusterError::io("find a free port"))?;
    let both = number(&broker).and_then(|port| Ok((port, number(&controller)?)));
    both.map_err(ClusterError::io("find a free port"))
}

/// Returns a random cluster ID: 16 bytes in URL-safe base64, as Kafka's own tool makes them. The first one is not a
/// hyphen, which would be an option.
fn cluster_id() -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letter = |number: usize| LETTERS.get(number).copied().map_or('A', char::from);
    let mut id: String = (0..21)
        .map(|place| letter(rand::random_range(0..if place == 0 { 52 } else { 64 })))
        .collect();
    // The last letter holds two bits only.
    id.push('A');
    id
}

/// Asks for the versions that the broker speaks: it answers when it takes requests, later than it listens.
async fn answers(port: u16) -> bool {
    // Length, API key 18 (ApiVersions), version 0, correlation ID 1, no client ID.
    const REQUEST: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
    let ask = async {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        stream.write_all(&REQUEST).await?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer).await?;
        std::io::Result::Ok(answer.ends_with(&[0, 0, 0, 1, 0, 0]))
    };
    matches!(timeout(Duration::from_secs(5), ask).await, Ok(Ok(true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_differ_and_begin_with_a_letter() {
        let ids = [cluster_id(), cluster_id()];
        assert_ne!(ids[0], ids[1]);
        for id in ids {
            assert_eq!(id.len(), 22);
            assert!(id.starts_with(|c: char| c.is_ascii_alphabetic()), "{id}");
        }
    }

    #[test]
    fn the_reason_is_what_the_log_says_last() {
        let log = b"SLF4J: x\n[main] WARN x - slow\n[main] ERROR kafka.Kafka - Exiting\njava.io.IOException: No space left \
                    on device\n\tat java.base/x\n";
        let why = reason(log);
        assert_eq!(
            why,
            "[main] ERROR kafka.Kafka - Exiting; java.io.IOException: No space left on device"
        );
        assert!(cure(&why).unwrap().contains("--data"));
        assert_eq!(cure("x"), None);
    }
}
