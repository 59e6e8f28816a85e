//! Processes of this machine, as /proc shows them.

use crate::host;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A process. The system reuses a pid, but not the pair of pid and start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Process {
    /// Process ID.
    pub(super) pid: i32,
    /// Start in clock ticks since the boot.
    pub(super) started: u64,
}

/// Contents of /proc/PID/stat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// The process.
    pub(super) process: Process,
    /// Its parent's pid.
    pub(super) parent: i32,
    /// Processor time used so far, in clock ticks.
    pub(super) ticks: u64,
}

/// The processes of this machine.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    root: PathBuf,
    /// Time of the boot in epoch seconds, cut to whole ones.
    booted_s: f64,
    /// Number of processors that are online.
    pub(super) processors: u32,
}

impl Processes {
    /// Reads what all processes have in common; `None` without Linux's /proc.
    pub(super) fn here() -> Option<Self> {
        let root = PathBuf::from("/proc");
        let stat = std::fs::read_to_string(root.join("stat")).ok()?;
        Some(Self {
            root,
            booted_s: host::booted_s(&stat)?,
            processors: host::Processors::parse(&stat)?.count.max(1),
        })
    }

    /// Returns a made-up machine.
    #[cfg(test)]
    pub(super) fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            booted_s: 0.0,
            processors: 2,
        }
    }

    /// Returns the children of a process that has one thread; `None` if the kernel does not list them.
    pub(super) fn children(&self, pid: i32) -> Option<Vec<i32>> {
        let path = self.folder(pid).join(format!("task/{pid}/children"));
        let text = std::fs::read_to_string(path).ok()?;
        let pids = text.split_ascii_whitespace();
        Some(pids.filter_map(|pid| pid.parse().ok()).collect())
    }

    /// Returns the title of a process, which a server process of PostgreSQL sets itself; empty if there is no process.
    pub(super) fn title(&self, pid: i32) -> String {
        let text = std::fs::read(self.folder(pid).join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Returns the folder of a process.
    pub(super) fn folder(&self, pid: i32) -> PathBuf {
        self.root.join(pid.to_string())
    }

    /// Reads a process; `None` if there is none, or only a zombie.
    pub(super) fn stat(&self, pid: i32) -> Option<Stat> {
        let text = std::fs::read(self.folder(pid).join("stat")).ok()?;
        stat(pid, &String::from_utf8_lossy(&text))
    }

    /// Returns true if this very process still runs.
    pub(super) fn lives(&self, process: Process) -> bool {
        self.stat(process.pid)
            .is_some_and(|stat| stat.process == process)
    }

    /// Returns true if a session that began at these epoch seconds can be this process.
    pub(super) fn began(&self, process: Process, at_s: f64) -> bool {
        let started_s = self.booted_s + host::seconds(process.started);
        host::APART_S.contains(&(at_s - started_s))
    }

    /// Returns this program's process.
    pub(super) fn own(&self) -> Option<Process> {
        let pid = std::process::id().cast_signed();
        self.stat(pid).map(|stat| stat.process)
    }

    /// Returns the path of a process's cgroup in the hierarchy with this controller of version 1, or, if empty, in that
    /// of version 2.
    pub(super) fn cgroup(&self, pid: i32, controller: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.folder(pid).join("cgroup")).ok()?;
        cgroup(&text, controller)
    }

    /// Returns the number and the nice value of the autogroup of a process.
    pub(super) fn autogroup(&self, pid: i32) -> Option<(u64, i32)> {
        let text = std::fs::read_to_string(self.folder(pid).join("autogroup")).ok()?;
        autogroup(&text)
    }

    /// Returns true if the scheduler groups processes by itself.
    pub(super) fn groups_by_itself(&self) -> bool {
        let path = Path::new("sys/kernel/sched_autogroup_enabled");
        std::fs::read_to_string(self.root.join(path)).is_ok_and(|text| text.trim() == "1")
    }

    /// Returns the machine's processor time so far, and how much of it was idle, in clock ticks.
    pub(super) fn time(&self) -> Option<(u64, u64)> {
        let text = std::fs::read_to_string(self.root.join("stat")).ok()?;
        time(&text)
    }

    /// Returns the mounts that this program sees.
    pub(super) fn mounts(&self) -> String {
        let path = self.root.join("self/mountinfo");
        let text = std::fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Returns the machine's processor time, without what other virtual machines took, and how much of it was idle.
fn time(text: &str) -> Option<(u64, u64)> {
    let processors = host::Processors::parse(text)?;
    let total = processors.total().saturating_sub(processors.stolen);
    Some((total, processors.idle()))
}

fn stat(pid: i32, text: &str) -> Option<Stat> {
    let read = host::Process::parse(text).filter(|read| !matches!(read.state, 'Z' | 'X'))?;
    Some(Stat {
        process: Process {
            pid,
            started: read.start,
        },
        parent: read.parent.try_into().ok()?,
        ticks: read.user.saturating_add(read.system),
    })
}

fn cgroup(text: &str, controller: &str) -> Option<String> {
    let mut paths = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers
            .split(',')
            .any(|name| name == controller)
            .then(|| path.to_owned())
    });
    paths.next()
}

/// Parses `/autogroup-7 nice 0`.
fn autogroup(text: &str) -> Option<(u64, i32)> {
    let (number, nice) = text
        .trim()
        .strip_prefix("/autogroup-")?
        .split_once(" nice ")?;
    Some((number.parse().ok()?, nice.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_fake_a_process() {
        let line = "7 (post) R 1 (gres) S 3 7 7 0 -1 4194624 9 0 0 0 5 6 0 0 20 0 1 0 4711 1 2 3";
        let read = stat(7, line).unwrap();
        let of_read = (read.parent, read.ticks, read.process.started);
        assert_eq!(of_read, (3, 11, 4711));
        assert_eq!(stat(7, &line.replace(") S 3", ") Z 3")), None);
        for broken in ["", "7 (postgres", "7 (postgres) S", "7 (p) S x 1 2 3"] {
            assert_eq!(stat(7, broken), None);
        }
    }

    #[test]
    fn groups_are_found_by_their_controller() {
        let text = "12:cpu,cpuacct:/a:b\n9:cpuset:/set\n1:name=systemd:/s\n0::/unified\n";
        for (controller, path) in [
            ("cpu", Some("/a:b")),
            ("cpuset", Some("/set")),
            ("", Some("/unified")),
            ("memory", None),
        ] {
            assert_eq!(cgroup(text, controller).as_deref(), path, "{controller}");
        }
        assert_eq!(autogroup("/autogroup-7 nice -3\n"), Some((7, -3)));
        for broken in [
            "",
            "/autogroup-x nice 0",
            "/autogroup-7",
            "/autogroup-7 nice",
        ] {
            assert_eq!(autogroup(broken), None);
        }
    }

    #[test]
    fn a_start_time_is_tolerant_to_ticks_and_not_to_other_processes() {
        let processes = Processes {
            root: PathBuf::new(),
            booted_s: 1000.0,
            processors: 2,
        };
        let process = Process {
            pid: 7,
            started: 50_000,
        };
        for (at_s, same) in [
            (1500.0, true),
            (1501.9, true),
            (1498.5, true),
            (1497.0, false),
            (1511.0, false),
            (f64::NAN, false),
        ] {
            assert_eq!(processes.began(process, at_s), same, "{at_s}");
        }
        let stat = "cpu  1 2 3 4 5 6 7 8 9\ncpu0 1\nbtime 1000\nprocs_running 1\n";
        assert_eq!(time(stat), Some((28, 9)));
        assert_eq!(time("cpu  1 2\n"), None);
    }
}
