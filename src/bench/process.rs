//! A process of this program that runs beside a measurement.

use super::BenchError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::OsStr;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// Runs the command in the arguments, tells its process id, and kills it when standard input ends, as it does when this
/// program dies.
const SUPERVISE: &str =
    r#""$@" </dev/null >/dev/null 2>&1 & echo $!; read -r _; kill -KILL $! 2>/dev/null"#;

pub(super) struct Process {
    /// Holds the pipe that keeps it alive.
    _shell: Child,
    pub(super) pid: u32,
}

impl Process {
    /// Starts this program with these arguments.
    pub(super) async fn start<S: AsRef<OsStr>>(arguments: &[S]) -> Result<Self, BenchError> {
        let failed = |error: std::io::Error| BenchError::Program {
            program: arguments
                .iter()
                .take(2)
                .fold("htap-top".to_owned(), |name, argument| {
                    format!("{name} {}", argument.as_ref().to_string_lossy())
                }),
            detail: error.to_string(),
        };
        let program = std::env::current_exe().map_err(failed)?;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", SUPERVISE, "sh"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut shell = shell.spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(out) = shell.stdout.take() {
            BufReader::new(out)
                .read_line(&mut line)
                .await
                .map_err(failed)?;
        }
        let pid = line.trim().parse();
        let pid = pid.map_err(|_| failed(std::io::Error::other("it did not start")))?;
        Ok(Self { _shell: shell, pid })
    }

    pub(super) fn kill(&self) {
        let pid = i32::try_from(self.pid).unwrap_or(0);
        // Never a group or everybody.
        if pid > 1 {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}
