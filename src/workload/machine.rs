//! CPU usage of this machine.

use nix::unistd::{SysconfVar, sysconf};
use std::fs;

/// CPU time since the machine started, in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Processors {
    /// Time of all processes, and time stolen by other virtual machines.
    busy: u64,
    /// Time of this process.
    own: u64,
}

/// Average number of busy processors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Usage {
    /// Processors busy with this process.
    pub(super) own: f64,
    /// Processors busy with other processes; on the server's machine this is mostly the server.
    pub(super) others: f64,
}

/// Returns the ticks in which a processor was busy, from the text of /proc/stat. proc(5): its first line is user, nice,
/// system, idle, iowait, irq, softirq, steal, …; guest times are part of user and nice.
pub(crate) fn busy(stat: &str) -> Option<u64> {
    let mut all = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace();
    let mut next = || all.next()?.parse::<u64>().ok();
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _iowait, irq, softirq) = (next()?, next()?, next()?, next()?);
    Some(user + nice + system + irq + softirq + next().unwrap_or(0))
}

impl Processors {
    /// Reads the current times; `None` if the system does not provide them (it is not Linux).
    pub(super) fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        Self::read(&stat, &own)
    }

    /// Parses the times. proc(5): after the name in a process's own stat come 11 fields, then user and system time.
    fn read(stat: &str, own: &str) -> Option<Self> {
        let busy = busy(stat)?;
        let mut own = own.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut next = || own.next()?.parse::<u64>().ok();
        Some(Self {
            busy,
            own: next()? + next()?,
        })
    }

    /// Returns the usage since `earlier`, `seconds` ago.
    pub(super) fn since(self, earlier: Self, seconds: f64) -> Option<Usage> {
        let ticks = sysconf(SysconfVar::CLK_TCK).ok()?? as f64;
        if seconds <= 0.0 {
            return None;
        }
        let own = self.own.saturating_sub(earlier.own);
        let others = self.busy.saturating_sub(earlier.busy).saturating_sub(own);
        Some(Usage {
            own: own as f64 / ticks / seconds,
            others: others as f64 / ticks / seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_is_others() {
        let own = |user| format!("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 {user} 20 0 0");
        let read = |stat: &str, user| Processors::read(stat, &own(user));
        let before = read("cpu  100 1 50 9000 7 2 3 4 0 0\ncpu0 1", 30).unwrap();
        assert_eq!(before, Processors { busy: 160, own: 50 });
        let after = read("cpu  400 1 50 9500 7 2 3 4 0 0\n", 130).unwrap();
        let ticks = sysconf(SysconfVar::CLK_TCK).unwrap().unwrap() as f64;
        let usage = after.since(before, 1.0).unwrap();
        assert_eq!((usage.own * ticks, usage.others * ticks), (100.0, 200.0));
        assert_eq!(read("intr 1", 1), None);
        assert_eq!(after.since(before, 0.0), None);
    }
}
