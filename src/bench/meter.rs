//! Measures CPU usage during an experiment.

use crate::workload::busy;
use nix::unistd::{SysconfVar, sysconf};
use std::collections::HashMap;
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

/// Processor time of the server's processes of one role and of all parallel workers, in clock ticks.
///
/// The system adds the time of a process that has ended to that of the postmaster, whoever's it was. The time of others
/// is subtracted as it was at the last reading: what the role gets too much is at most the time that processes of others
/// have had since, so read often.
#[derive(Debug)]
pub(super) struct RoleMeter {
    postmaster: i32,
    title: String,
    /// Children of the postmaster at the last reading.
    children: HashMap<String, Child>,
    /// Ticks of other processes that have ended since the first reading.
    others_ended: u64,
}

#[derive(Clone, Copy, Debug)]
struct Child {
    is_of_role: bool,
    ticks: u64,
}

impl RoleMeter {
    /// Prepares to read the time of `role` on the server whose data are in `data_dir`.
    pub(super) fn new(data_dir: &Path, role: &str) -> Self {
        Self {
            postmaster: postmaster(data_dir).unwrap_or(0),
            title: format!("postgres: {role} "),
            children: HashMap::new(),
            others_ended: 0,
        }
    }

    /// Returns the time so far; `None` if the system does not provide it. Only the difference between two readings means
    /// something: the time of processes that ended before the first one is included.
    pub(super) fn read(&mut self) -> Option<u64> {
        let (ended, found) = server(self.postmaster)?;
        let child = |(pid, ticks): (String, u64)| {
            let known = self.children.get(&pid);
            // A process that has just ended has no title any more.
            let is_of_role = known.map_or_else(|| self.is_of_role(&pid), |child| child.is_of_role);
            (pid, Child { is_of_role, ticks })
        };
        let children: HashMap<_, _> = found.into_iter().map(child).collect();
        let gone = self
            .children
            .iter()
            .filter(|(pid, _)| !children.contains_key(*pid));
        let others = gone.filter(|(_, child)| !child.is_of_role);
        self.others_ended += others.map(|(_, child)| child.ticks).sum::<u64>();
        self.children = children;
        let alive = self.children.values().filter(|child| child.is_of_role);
        let all = ended + alive.map(|child| child.ticks).sum::<u64>();
        Some(all.saturating_sub(self.others_ended))
    }

    fn is_of_role(&self, pid: &str) -> bool {
        let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        title.starts_with(self.title.as_bytes()) || title.starts_with(b"postgres: parallel worker ")
    }
}

fn now(postmaster: i32) -> Option<Ticks> {
    Some(Ticks {
        all: busy(&fs::read_to_string("/proc/stat").ok()?)?,
        own: process("/proc/self/stat")?.with_children,
        server: {
            let (ended, children) = server(postmaster)?;
            ended + children.iter().map(|(_, ticks)| ticks).sum::<u64>()
        },
    })
}

/// Number of repetitions if a backend ended during the reading. Many sessions end together when a load ends.
const LOOKS: usize = 50;

/// Returns the ticks of the postmaster's children that have ended, and its living children with their ticks, by pid. The time
/// of a backend moves to its postmaster when that has noticed its end: a reading during which this happens would count it
/// twice or not at all.
fn server(postmaster: i32) -> Option<(u64, Vec<(String, u64)>)> {
    let path = format!("/proc/{postmaster}/stat");
    let mut ended = process(&path)?.with_children;
    let mut children = Vec::new();
    for _ in 0..LOOKS {
        children.clear();
        for entry in fs::read_dir("/proc").ok()?.flatten() {
            if let Some(child) = process(&format!("{}/stat", entry.path().display()))
                && child.parent == postmaster
            {
                let pid = entry.file_name().to_string_lossy().into_owned();
                children.push((pid, child.alone));
            }
        }
        let now = process(&path)?.with_children;
        if now == ended {
            break;
        }
        ended = now;
    }
    Some((ended, children))
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

    /// A shell in place of a postmaster, with two backends that compute for a while and then stop.
    const POSTMASTER: &str = r#"
        backend() { exec -a "$1" sh -c 'i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; kill -STOP $$'; }
        backend "postgres: oltp shop" & echo $!
        backend "postgres: olap shop" & echo $!
        wait; wait"#;

    /// Waits until the time stands still, and returns it.
    fn at_rest(meter: &mut RoleMeter) -> u64 {
        let mut before = meter.read().unwrap();
        loop {
            std::thread::sleep(std::time::Duration::from_millis(300));
            let now = meter.read().unwrap();
            if now == before {
                return now;
            }
            before = now;
        }
    }

    #[test]
    fn the_time_of_others_does_not_become_the_role_s_when_they_end() {
        use std::io::BufRead;
        let mut command = std::process::Command::new("bash");
        let command = command
            .args(["-c", POSTMASTER])
            .stdout(std::process::Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let mut told = std::io::BufReader::new(shell.stdout.take().unwrap()).lines();
        let mut pid = || told.next().unwrap().unwrap().parse::<u32>().unwrap();
        let pids = [pid(), pid()];
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(
            folder.path().join("postmaster.pid"),
            format!("{}\n", shell.id()),
        )
        .unwrap();
        let stopped = |pid| {
            std::fs::read_to_string(format!("/proc/{pid}/stat"))
                .unwrap()
                .contains(") T ")
        };
        while !pids.into_iter().all(stopped) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let mut meter = RoleMeter::new(folder.path(), "olap");
        let before = meter.read().unwrap();
        let [others, ours] = pids.map(|pid| ticks_of(pid).unwrap());
        assert!(others > 10 && ours > 10, "{others} {ours}");
        assert!(before >= ours);
        for pid in pids {
            let pid = nix::unistd::Pid::from_raw(pid as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
            // The shell itself takes a moment.
            assert!(at_rest(&mut meter).abs_diff(before) < 5);
        }
        shell.wait().unwrap();
    }

    #[test]
    fn work_of_this_program_is_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let pid = std::process::id();
        std::fs::write(folder.path().join("postmaster.pid"), format!("{pid}\n")).unwrap();
        let meter = Meter::start(folder.path());
        let begun = Instant::now();
        let until = ticks_of(pid).unwrap() + 20;
        let mut sum = 0_u64;
        while ticks_of(pid).unwrap() < until {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(sum > 0);
        let used = meter.stop().unwrap();
        // A busy machine gives it little at a time.
        let seconds = begun.elapsed().as_secs_f64();
        let (own, server) = (used.own * seconds, used.server * seconds);
        assert!(own > 0.15 && server > 0.15, "{own} {server}");
    }
}
