//! The dashboard's side of the demo: the engine runs as a child process that clears up when its
//! standard input ends, so even a dashboard killed with SIGKILL leaves nothing behind.

use crate::text::Clean;
use serde::Deserialize;
use std::ffi::OsString;
use std::io;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long the engine may take to stop the server and remove its folder.
const FAREWELL: Duration = Duration::from_secs(20);

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    child: Child,
    lifeline: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

/// What the engine says while it starts.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Step {
    /// It works.
    Working {
        /// 0 to 1.
        progress: f64,
        /// On what.
        doing: Clean,
        /// Since the start, seconds.
        elapsed_s: f64,
    },
    /// It is ready.
    Ready {
        /// Where.
        ready: Place,
    },
    /// It failed.
    Failed {
        /// Why, and what to do.
        error: String,
    },
}

/// Where the demo's server is.
#[derive(Clone, Debug, Deserialize)]
pub struct Place {
    /// Socket folder.
    pub host: String,
    /// Number in the socket's name.
    pub port: u16,
    /// Database.
    pub dbname: String,
    /// Role of the dashboard.
    pub user: String,
    /// Role of its OLAP pool.
    pub olap_user: String,
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
        // Its own process group: Ctrl-C and Ctrl-Z in the terminal are the dashboard's business.
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

    /// The next thing it says; an engine that ended without a word has failed.
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
            error: format!("the demo's engine said something odd: {line}"),
        })
    }

    /// Ends it and waits until everything is removed; what went wrong, if anything.
    pub async fn stop(mut self) -> Result<(), String> {
        drop(self.lifeline.take());
        // Its last words must not fill the pipe.
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
