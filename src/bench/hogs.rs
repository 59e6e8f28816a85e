//! Busy processes, one per processor, in place of the other programs of a full machine.

use super::BenchError;
use super::meter;
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Computes until its parent is gone, so that a killed benchmark leaves nothing behind.
const LOOP: &str =
    "while kill -0 $PPID; do i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; done 2>/dev/null";

/// Busy processes, ended when it is dropped.
pub(super) struct Hogs(Vec<Child>);

impl Hogs {
    /// Starts them, each in a session of its own: the scheduler's autogroup then takes each for a program of its own, as
    /// it does each PostgreSQL process.
    pub(super) fn start() -> Result<Self, BenchError> {
        let start = |_| {
            let mut command = Command::new("setsid");
            command.args(["sh", "-c", LOOP]);
            let command = command.stdin(Stdio::null()).stdout(Stdio::null());
            let started = command.stderr(Stdio::null()).kill_on_drop(true).spawn();
            started.map_err(|error| {
                BenchError::Unavailable(format!("failed to run setsid (util-linux): {error}"))
            })
        };
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        (0..processors)
            .map(start)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns the processor time that they have had, in clock ticks.
    pub(super) fn ticks(&self) -> u64 {
        let pids = self.0.iter().filter_map(Child::id);
        pids.filter_map(meter::ticks_of).sum()
    }
}
