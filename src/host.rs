//! Figures of a machine and its processes, from files of `/proc` (proc(5)). Either this program reads the files
//! ([`local`]), or PostgreSQL does, by the function of `queries/host/install.sql`; both answer with the same rows.
//!
//! Line breaks may have become blanks, as in every text that can be shown: files are read word by word.

pub(crate) mod local;

/// The columns of both answers.
pub(crate) const COLUMNS: [&str; 3] = ["pid", "file", "content"];
/// The `file` of the row with the time of reading, in seconds since the epoch.
pub(crate) const CLOCK: &str = "clock";
/// The `file` of the row that says why there are no others.
pub(crate) const ABSENT: &str = "absent";
/// The `file` of the row with the size of a page of memory, in bytes.
pub(crate) const PAGE: &str = "page";
/// The directories whose file systems have a row each, with their size and what is left of it, in bytes.
pub(crate) const DIRECTORIES: [&str; 2] = ["data directory", "pg_wal"];
/// Seconds per unit of time in these files (USER_HZ), the same on all architectures since Linux 2.6.
pub(crate) fn seconds(time: u64) -> f64 {
    time as f64 / 100.0
}

/// Bytes per sector in `/proc/diskstats`, regardless of the device.
const SECTOR: f64 = 512.0;

/// Seconds by which a session may have begun before its process, as the machine's times are rounded, and after it, as a full
/// machine starts a process late.
pub(crate) const APART_S: std::ops::RangeInclusive<f64> = -2.0..=10.0;

/// A process, from `/proc/PID/stat`. Times are in units of 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) parent: i64,
    /// `R`: it runs, or is ready to run. `Z`: it has ended.
    pub(crate) state: char,
    /// Processor time in user mode.
    pub(crate) user: u64,
    /// Processor time in the kernel.
    pub(crate) system: u64,
    /// Time of its start since the machine was booted. Distinguishes it from an earlier process with the same pid.
    pub(crate) start: u64,
    /// Resident pages of memory.
    pub(crate) pages: u64,
}

impl Process {
    /// Returns `None` if the text has another form.
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        // The program's name may contain blanks and parentheses.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // The manual counts from the pid, 1; the first one here is the state, 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let count = |number| field(number)?.parse::<u64>().ok();
        Some(Self {
            parent: field(4)?.parse().ok()?,
            state: field(3)?.chars().next()?,
            user: count(14)?,
            system: count(15)?,
            start: count(22)?,
            pages: count(24)?,
        })
    }
}

/// Bytes that a process caused to be read from storage, and bytes that it gave to the kernel to write, from `/proc/PID/io`.
pub(crate) fn storage_bytes(io: &str) -> Option<(f64, f64)> {
    Some((after(io, "read_bytes:")?, after(io, "write_bytes:")?))
}

/// Returns the number after a word.
fn after(text: &str, word: &str) -> Option<f64> {
    let mut words = text.split_ascii_whitespace();
    words.find(|found| *found == word)?;
    words.next()?.parse().ok()
}

/// Time at which the machine was booted in epoch seconds, cut to whole ones, from `/proc/stat`.
pub(crate) fn booted_s(stat: &str) -> Option<f64> {
    after(stat, "btime")
}

/// Processor time of the whole machine in units of 10 ms, from `/proc/stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Processors {
    pub(crate) count: u32,
    /// In user mode, including guests and niced processes.
    pub(crate) user: u64,
    /// In the kernel, including interrupts.
    pub(crate) system: u64,
    /// Taken by other virtual machines.
    pub(crate) stolen: u64,
    pub(crate) idle: u64,
    /// Idle while something waits for storage.
    pub(crate) iowait: u64,
    /// Processes that run or are ready to run.
    pub(crate) running: u32,
}

impl Processors {
    pub(crate) fn parse(stat: &str) -> Option<Self> {
        let mut words = stat.split_ascii_whitespace();
        words.find(|word| word.eq(&"cpu"))?;
        let times: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let [user, nice, system, idle, iowait, irq, softirq, stolen, ..] = *times else {
            return None;
        };
        let is_core = |word: &&str| {
            let number = word.strip_prefix("cpu");
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        Some(Self {
            count: stat.split_ascii_whitespace().filter(is_core).count() as u32,
            user: user.saturating_add(nice),
            system: system.saturating_add(irq).saturating_add(softirq),
            stolen,
            idle,
            iowait,
            running: after(stat, "procs_running")? as u32,
        })
    }

    /// Time of all cores, whatever they did.
    pub(crate) fn total(&self) -> u64 {
        let parts = [self.user, self.system, self.stolen, self.idle, self.iowait];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// Time in which cores had nothing to do.
    pub(crate) fn idle(&self) -> u64 {
        self.idle.saturating_add(self.iowait)
    }
}

/// Memory in bytes: all of it, and what programs can still get without swapping, from `/proc/meminfo`.
pub(crate) fn memory_bytes(meminfo: &str) -> Option<(f64, f64)> {
    let of = |word| Some(after(meminfo, word)? * 1024.0);
    Some((of("MemTotal:")?, of("MemAvailable:")?))
}

/// Load averages of 1, 5 and 15 minutes, from `/proc/loadavg`.
pub(crate) fn load(loadavg: &str) -> Option<[f64; 3]> {
    let mut averages = loadavg.split_ascii_whitespace().map(str::parse::<f64>);
    let mut next = || averages.next()?.ok();
    Some([next()?, next()?, next()?])
}

/// A disk, from `/proc/diskstats`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Disk {
    pub(crate) name: String,
    pub(crate) read_bytes: f64,
    pub(crate) write_bytes: f64,
    /// Time in which it had something to do, in milliseconds.
    pub(crate) busy_ms: f64,
}

/// Returns the disks, without partitions and without devices that lie on others or in memory.
pub(crate) fn disks(diskstats: &str) -> Vec<Disk> {
    const LAYERS: [&str; 7] = ["dm-", "loop", "md", "nbd", "ram", "sr", "zram"];
    let words: Vec<&str> = diskstats.split_ascii_whitespace().collect();
    // Before a device's name are its two numbers; all figures are behind it.
    let is_name = |word: &str| word.parse::<u64>().is_err();
    let names: Vec<&str> = words.iter().copied().filter(|word| is_name(word)).collect();
    let is_disk = |name: &str| {
        let whole = name.trim_end_matches(|c: char| c.is_ascii_digit());
        // `sda1` is a part of `sda`, `nvme0n1p1` of `nvme0n1`.
        let part_of = [whole, whole.strip_suffix('p').unwrap_or(whole)];
        let is_part = whole.len() < name.len() && part_of.iter().any(|whole| names.contains(whole));
        !is_part && !LAYERS.iter().any(|layer| name.starts_with(layer))
    };
    let found = words
        .iter()
        .enumerate()
        .filter(|(_, word)| is_name(word) && is_disk(word));
    let disk = |(at, name): (usize, &&str)| {
        let figure = |number: usize| words.get(at + number)?.parse::<f64>().ok();
        Some(Disk {
            name: (*name).to_owned(),
            read_bytes: figure(3)? * SECTOR,
            write_bytes: figure(7)? * SECTOR,
            busy_ms: figure(10)?,
        })
    };
    found.filter_map(disk).collect()
}

/// Size and free space of a file system in bytes, from a row of one of [`DIRECTORIES`].
pub(crate) fn space(content: &str) -> Option<(f64, f64)> {
    let (size, rest) = content.split_once(' ')?;
    Some((size.parse().ok()?, rest.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_is_called() {
        let stat = "17 (a) b (c) R 1 17 17 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 1 0 12345 99 300 18446744073709551615 1";
        let process = Process::parse(stat).unwrap();
        assert_eq!(
            process,
            Process {
                parent: 1,
                state: 'R',
                user: 250,
                system: 50,
                start: 12345,
                pages: 300
            }
        );
        for bad in [
            "",
            "17 (x",
            "17 (x) S",
            "17 (x) S a",
            ") R 1 2 3 4 5 6 7 8 9 10 x 1",
        ] {
            assert_eq!(Process::parse(bad), None, "{bad}");
        }
        let io = "rchar: 9\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n";
        assert_eq!(storage_bytes(io), Some((4096.0, 8192.0)));
        assert_eq!(storage_bytes("read_bytes: x\nwrite_bytes: 1"), None);
    }

    #[test]
    fn the_machine_is_read() {
        let stat = "cpu  100 20 30 400 50 1 2 7 90 0\ncpu0 1 1\ncpu1 1 1\ncpufreq 1\nctxt 5\nprocs_running 3\nbtime 1700\n";
        assert_eq!(booted_s(stat), Some(1700.0));
        let processors = Processors::parse(stat).unwrap();
        assert_eq!(processors.count, 2);
        assert_eq!(processors.running, 3);
        assert_eq!((processors.user, processors.system), (120, 33));
        assert_eq!((processors.total(), processors.idle()), (610, 450));
        assert_eq!(Processors::parse("cpu  1 2 3"), None);
        let meminfo = "MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n";
        assert_eq!(memory_bytes(meminfo), Some((2_097_152.0, 1_048_576.0)));
        assert_eq!(load("0.50 1.25 2.00 3/400 999"), Some([0.5, 1.25, 2.0]));
        assert_eq!(load("0.50 x"), None);
        assert_eq!(space("100 40"), Some((100.0, 40.0)));
    }

    #[test]
    fn partitions_and_layers_are_no_disks() {
        let row = |name: &str| format!("8 0 {name} 1 0 8 5 1 0 16 5 0 70 9 0 0 0 0\n");
        let names = [
            "sda",
            "sda1",
            "nvme0n1",
            "nvme0n1p2",
            "dm-0",
            "loop3",
            "vda",
            "mmcblk0",
            "mmcblk0p1",
        ];
        let text: String = names.iter().map(|name| row(name)).collect();
        let disks = disks(&text);
        let found: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
        assert_eq!(found, ["sda", "nvme0n1", "vda", "mmcblk0"]);
        let first = disks.first().unwrap();
        assert_eq!(
            (first.read_bytes, first.write_bytes, first.busy_ms),
            (4096.0, 8192.0, 70.0)
        );
    }
}
