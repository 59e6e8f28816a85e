//! The dashboard's side of the demo. The engine runs as a child process that cleans up when its standard input ends, so
//! even a dashboard killed with SIGKILL leaves nothing behind.

use crate::text::Clean;
use serde::Deserialize;
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// Time limit for the engine to stop the server and remove its folder.
const FAREWELL: Duration = Duration::from_secs(20);

/// A running demo engine.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    lifeline: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A message of the starting engine.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// The engine is starting.
    Working {
        /// Progress from 0 to 1.
        progress: f64,
        /// Description of the current step.
        doing: Clean,
        /// Seconds since the start.
        elapsed_s: f64,
    },
    /// The engine is ready.
    Ready {
        /// Connection parameters of the server.
        ready: Place,
    },
    /// The engine failed.
    Failed {
        /// The reason, and the remedy.
        error: String,
    },
}

/// Connection parameters of the demo's server.
#[derive(Clone, Debug, Deserialize)]
pub struct Place {
    /// Folder of the socket.
    pub host: String,
    /// Number in the socket's name.
    pub port: u16,
    /// Name of the database.
    pub dbname: String,
    /// Role of the dashboard.
    pub user: String,
    /// Role of the dashboard's OLAP pool.
    pub olap_user: String,
    /// The replica, on which the OLAP pool is then.
    #[serde(default)]
    pub replica: Option<Socket>,
    /// The stream, if it was requested.
    #[serde(default)]
    pub stream: Option<Streamed>,
}

/// What the dashboard reports about the stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Streamed {
    /// Why it is not on Apache Kafka, or not at all.
    pub note: Option<String>,
}

/// Place of a server's socket.
#[derive(Clone, Debug, Deserialize)]
pub struct Socket {
    /// Its folder.
    pub host: String,
    /// Number in its name.
    pub port: u16,
}

impl Engine {
    /// Starts this program again as the engine, with these options of `demo`.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(options: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["demo", "--headless", "--lifeline"]);
        command.args(options);
        // A process group of its own: only the dashboard handles Ctrl-C and Ctrl-Z.
        command
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let stdout = child
            .stdout
            .take()
            .ok_or_else(|| io::Error::other("no pipe from the engine"))?;
        let lifeline = child.stdin.take();
        Ok(Self {
            child,
            lifeline,
            lines: BufReader::new(stdout).lines(),
        })
    }

    /// Returns the next message; an engine that ended without one has failed.
    pub async fn next(&mut self) -> Step {
        let line = match self.lines.next_line().await {
            Ok(Some(line)) => line,
            Ok(None) => {
                return Step::Failed {
                    error: "the demo's engine ended unexpectedly".into(),
                };
            }
            Err(error) => {
                return Step::Failed {
                    error: format!("failed to read from the demo's engine: {error}"),
                };
            }
        };
        serde_json::from_str(&line).unwrap_or_else(|_| Step::Failed {
            error: format!("unexpected output from the demo's engine: {line}"),
        })
    }

    /// Ends the engine and waits until everything is removed. Returns an error if something went wrong.
    pub async fn stop(mut self) -> Result<(), String> {
        drop(self.lifeline.take());
        // Read the remaining output, so that the pipe does not fill up.
        let drain = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let ended = timeout(FAREWELL, async {
            drain.await;
            self.child.wait().await
        });
        match ended.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("failed to wait for the demo's engine: {error}")),
            Err(_) => Err(format!(
                "the demo's engine has not stopped within {} s; the next `htap-top demo` removes what it leaves",
                FAREWELL.as_secs()
            )),
        }
    }
}
