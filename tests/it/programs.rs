//! PostgreSQL's own client programs: `pg_dump`, `pg_basebackup`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use super::server::Server;
use htap_top::cluster::{self, Wanted};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A running program, killed on drop. Its output is not read.
pub struct Program(Child);

/// Path of a program: next to the server's own, else in PATH.
fn place(server: &Server, name: &str) -> PathBuf {
    let wanted = Wanted {
        major: Some(server.major()),
        ..Wanted::default()
    };
    let beside = cluster::find(&wanted).unwrap().bindir.join(name);
    if beside.is_file() {
        return beside;
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(name));
    places
        .find(|place| place.is_file())
        .unwrap_or_else(|| panic!("this test needs {name}, of PostgreSQL's client programs"))
}

impl Program {
    /// Starts it on this server as this role.
    pub fn start(server: &Server, name: &str, role: &str, args: &[&str]) -> Self {
        let process = Command::new(place(server, name))
            .arg("-h")
            .arg(server.socket_dir())
            .args(["-p", &server.port().to_string(), "-U", role])
            .args(args)
            .env_remove("PGAPPNAME")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(process)
    }

    fn group(&self) -> Pid {
        Pid::from_raw(self.0.id().try_into().unwrap())
    }

    /// Stops it and its children with SIGSTOP.
    pub fn stop(&self) {
        killpg(self.group(), Signal::SIGSTOP).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = killpg(self.group(), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}
