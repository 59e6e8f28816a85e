//! Who uses the processors while something is measured.

use crate::workload::busy;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::path::Path;
use tokio::time::Instant;

/// Processor time so far, in ticks of the clock.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    all: u64,
    own: u64,
    server: u64,
}

/// Measures from its making on.
#[derive(Debug)]
pub struct Meter {
    postmaster: i32,
    from: Option<Ticks>,
    begun: Instant,
}

/// How many processors were busy on average with whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// This program and its children.
    pub own: f64,
    /// The server: postmaster and all backends, also those that ended meanwhile.
    pub server: f64,
    /// Everybody else, also other guests of the same host.
    pub others: f64,
}

/// A verdict is not safe when others kept more processors busy than this.
pub const UNSAFE_OTHERS: f64 = 0.3;

impl Meter {
    /// Begins to measure the server whose data are in `data_dir`.
    pub fn start(data_dir: &Path) -> Self {
        let pid = fs::read_to_string(data_dir.join("postmaster.pid")).unwrap_or_default();
        let postmaster = pid.lines().next().and_then(|pid| pid.trim().parse().ok());
        let postmaster = postmaster.unwrap_or(0);
        Self {
            postmaster,
            from: now(postmaster),
            begun: Instant::now(),
        }
    }

    /// Since it began; `None` where the system does not tell (it is not Linux).
    pub fn stop(self) -> Option<Use> {
        let (from, to) = (self.from?, now(self.postmaster)?);
        let hertz = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
        let seconds = self.begun.elapsed().as_secs_f64();
        let busy = |to: u64, from: u64| to.saturating_sub(from) as f64 / hertz / seconds;
        let (own, server) = (busy(to.own, from.own), busy(to.server, from.server));
        Some(Use {
            own,
            server,
            others: (busy(to.all, from.all) - own - server).max(0.0),
        })
    }
}

fn now(postmaster: i32) -> Option<Ticks> {
    Some(Ticks {
        all: busy(&fs::read_to_string("/proc/stat").ok()?)?,
        own: process("/proc/self/stat")?.with_children,
        server: server(postmaster)?,
    })
}

/// How often it is looked again because a backend ended meanwhile. Sessions end in crowds, when a load does.
const LOOKS: usize = 50;

/// The postmaster and its backends. What a backend used moves to its postmaster when that has noticed its end:
/// a look in which this happens would count it twice or not at all.
fn server(postmaster: i32) -> Option<u64> {
    let path = format!("/proc/{postmaster}/stat");
    let mut ended = process(&path)?.with_children;
    let mut sum = 0;
    for _ in 0..LOOKS {
        sum = ended;
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            if let Some(child) = process(&format!("{}/stat", entry.path().display()))
                && child.parent == postmaster
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

struct Process {
    parent: i32,
    /// Its own user and system time.
    alone: u64,
    /// With that of children it has waited for.
    with_children: u64,
}

fn process(path: &str) -> Option<Process> {
    let stat = fs::read_to_string(path).ok()?;
    // Behind the name: state, ppid, and from the 12th on utime, stime, cutime, cstime.
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
