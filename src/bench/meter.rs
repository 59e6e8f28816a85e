//! Measures CPU usage during an experiment.

use crate::workload::busy;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::path::Path;
use tokio::time::Instant;

/// CPU time so far, in clock ticks.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    all: u64,
    own: u64,
    server: u64,
}

/// A measurement that begins when it is created.
#[derive(Debug)]
pub(super) struct Meter {
    postmaster: i32,
    from: Option<Ticks>,
    begun: Instant,
}

/// Average number of busy processors, by user.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Use {
    /// Processors busy with this program and its children.
    pub own: f64,
    /// Processors busy with the server: postmaster and all backends, including those that have ended.
    pub server: f64,
    /// Processors busy with anything else, including other virtual machines on the host.
    pub others: f64,
}

/// A verdict is not safe if others kept more processors busy than this.
pub(super) const UNSAFE_OTHERS: f64 = 0.3;

impl Meter {
    /// Starts to measure the server whose data are in `data_dir`.
    pub(super) fn start(data_dir: &Path) -> Self {
        let postmaster = postmaster(data_dir).unwrap_or(0);
        Self {
            postmaster,
            from: now(postmaster),
            begun: Instant::now(),
        }
    }

    /// Returns the usage since the start; `None` if the system does not provide it (it is not Linux).
    pub(super) fn stop(self) -> Option<Use> {
        let (from, to) = (self.from?, now(self.postmaster)?);
        let seconds = self.begun.elapsed().as_secs_f64();
        let (own, server) = (
            cores(from.own, to.own, seconds)?,
            cores(from.server, to.server, seconds)?,
        );
        Some(Use {
            own,
            server,
            others: (cores(from.all, to.all, seconds)? - own - server).max(0.0),
        })
    }
}

fn postmaster(data_dir: &Path) -> Option<i32> {
    let pid = fs::read_to_string(data_dir.join("postmaster.pid")).ok()?;
    pid.lines().next()?.trim().parse().ok()
}

/// Returns the processor time of the server's processes of one role and of all parallel workers, in clock ticks. That of
/// processes that have ended is included, whatever they were: workers end with their statement, and few others do.
pub(super) fn ticks_of_role(data_dir: &Path, role: &str) -> Option<u64> {
    let role = format!("postgres: {role} ");
    server(postmaster(data_dir)?, &|pid| {
        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.starts_with(role.as_bytes()) || title.starts_with(b"postgres: parallel worker ")
    })
}

fn now(postmaster: i32) -> Option<Ticks> {
    Some(Ticks {
        all: busy(&fs::read_to_string("/proc/stat").ok()?)?,
        own: process("/proc/self/stat")?.with_children,
        server: server(postmaster, &|_| true)?,
    })
}

/// Number of repetitions if a backend ended during the reading. Many sessions end together when a load ends.
const LOOKS: usize = 50;

/// Returns the ticks of the postmaster and of those of its backends that `counts` selects by their pid. The time of a
/// backend moves to its postmaster when that has noticed its end: a reading during which this happens would count it
/// twice or not at all.
fn server(postmaster: i32, counts: &dyn Fn(&str) -> bool) -> Option<u64> {
    let path = format!("/proc/{postmaster}/stat");
    let mut ended = process(&path)?.with_children;
    let mut sum = 0;
    for _ in 0..LOOKS {
        sum = ended;
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            if let Some(child) = process(&format!("{}/stat", entry.path().display()))
                && child.parent == postmaster
                && counts(&entry.file_name().to_string_lossy())
            {
                sum += child.alone;
            }
        }
        let now = process(&path)?.with_children;
        if now == ended {
            break;
        }
        ended = now;
    }
    Some(sum)
}

/// Returns the user and system time of a process, in clock ticks.
pub(super) fn ticks_of(pid: u32) -> Option<u64> {
    Some(process(&format!("/proc/{pid}/stat"))?.alone)
}

/// Returns the number of processors busy between two readings of clock ticks.
pub(super) fn cores(from: u64, to: u64, seconds: f64) -> Option<f64> {
    let hertz = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
    Some(to.saturating_sub(from) as f64 / hertz / seconds)
}

struct Process {
    parent: i32,
    /// User and system time of the process.
    alone: u64,
    /// The same plus that of children it has waited for.
    with_children: u64,
}

fn process(path: &str) -> Option<Process> {
    let stat = fs::read_to_string(path).ok()?;
    // Fields after the name: state, ppid, and from the 12th on utime, stime, cutime, cstime.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let alone = number(11)? + number(12)?;
    Some(Process {
        parent: fields.get(1)?.parse().ok()?,
        alone,
        with_children: alone + number(13)? + number(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_of_this_program_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        std::fs::write(folder.path().join("postmaster.pid"), format!("{pid}\n")).unwrap();
        let meter = Meter::start(folder.path());
        let begun = Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed().as_millis() < 200 {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(sum > 0);
        let used = meter.stop().unwrap();
        assert!(used.own > 0.1 && used.server > 0.1, "{used:?}");
    }
}
