//! Reads the files on this machine, after making sure that the server's processes are here.

use super::{ABSENT, APART_S, CLOCK, DIRECTORIES, PAGE, Process, booted_s, seconds};
use nix::sys::statvfs::statvfs;
use nix::unistd::{SysconfVar, sysconf};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Maximum number of bytes read from a file.
const LONGEST: u64 = 1 << 20;
/// Most files fit.
const BUFFER: usize = 16 << 10;

/// The processes and directories of a server to read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Processes to read.
    pub pids: Vec<i64>,
    /// Pids with the times of their start by the server, in seconds since the epoch. They prove where the server is.
    pub started: Vec<(i64, f64)>,
    /// The data directory, if the server shows it.
    pub directory: Option<String>,
}

/// A file: the process that it is about, or 0; its name; its text, unless it could not be read.
pub(crate) type Row = (i64, &'static str, Option<String>);

/// Reads the files at a time in seconds since the epoch. The only row is [`ABSENT`] if the server's processes are not on
/// this machine, or cannot be seen.
pub(crate) fn read(wanted: &Wanted, now_s: f64) -> Vec<Row> {
    let mut files = Files::new();
    match located(&mut files, wanted) {
        Err(why) => vec![(0, ABSENT, Some(why))],
        Ok((stat, mut read)) => {
            let mut rows = machine(&mut files, &stat, now_s);
            rows.extend(
                wanted
                    .directory
                    .iter()
                    .flat_map(|data| spaces(Path::new(data))),
            );
            for pid in &wanted.pids {
                let stat = read
                    .remove(pid)
                    .or_else(|| files.text(&format!("{pid}/stat")));
                rows.push((*pid, "stat", stat));
                rows.push((*pid, "io", files.text(&format!("{pid}/io"))));
            }
            rows
        }
    }
}

/// Reads files of `/proc`. Their reported length is 0, so the standard library would read each of them in small pieces.
struct Files {
    buffer: Vec<u8>,
}

impl Files {
    fn new() -> Self {
        Self {
            buffer: Vec::with_capacity(BUFFER),
        }
    }

    /// Returns the file's text; characters in the name of a process that are no UTF-8 are replaced.
    fn text(&mut self, name: &str) -> Option<String> {
        self.buffer.clear();
        let file = File::open(format!("/proc/{name}")).ok()?;
        file.take(LONGEST).read_to_end(&mut self.buffer).ok()?;
        Some(String::from_utf8_lossy(&self.buffer).into_owned())
    }
}

/// Returns `/proc/stat` if the server's processes are on this machine: those that exist began when the server says, and
/// have one parent. With it comes what was read about them.
fn located(files: &mut Files, wanted: &Wanted) -> Result<(String, BTreeMap<i64, String>), String> {
    let stat = files
        .text("stat")
        .ok_or("this machine has no readable /proc/stat")?;
    let booted_s = booted_s(&stat).ok_or("/proc/stat does not say when this machine was booted")?;
    let mut read = BTreeMap::new();
    let processes = wanted.started.iter().filter_map(|(pid, started_s)| {
        let text = files.text(&format!("{pid}/stat"))?;
        let process = Process::parse(&text)?;
        read.insert(*pid, text);
        let same = APART_S.contains(&(started_s - booted_s - seconds(process.start)));
        Some((same, process.parent))
    });
    let (same, other): (Vec<_>, Vec<_>) = processes.partition(|(same, _)| *same);
    let parent = same.first().map(|(_, parent)| *parent);
    let family = same.iter().all(|(_, other)| Some(*other) == parent);
    // A pid may have been reused since the server reported it.
    if parent.is_some() && family && same.len() > other.len() {
        Ok((stat, read))
    } else {
        Err("the server's processes are not on this machine".to_owned())
    }
}

fn machine(files: &mut Files, stat: &str, now_s: f64) -> Vec<Row> {
    // The server's function leaves the same lines out: everything read is kept for an hour.
    let stat = lines(stat, |line| {
        !line.starts_with("intr ") && !line.starts_with("softirq ")
    });
    let memory = files.text("meminfo").map(|text| {
        let wanted = ["MemTotal:", "MemAvailable:"];
        lines(&text, |line| {
            wanted.iter().any(|name| line.starts_with(name))
        })
    });
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    vec![
        (0, CLOCK, Some(now_s.to_string())),
        (0, PAGE, page.map(|bytes| bytes.to_string())),
        (0, "stat", Some(stat)),
        (0, "meminfo", memory),
        (0, "loadavg", files.text("loadavg")),
        (0, "diskstats", files.text("diskstats")),
    ]
}

/// The lines of a text that are wanted.
fn lines(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| wanted(line)).collect();
    lines.join("\n")
}

/// The file systems of the data directory and of pg_wal, which may be a link to another.
fn spaces(data: &Path) -> Vec<Row> {
    let paths = [PathBuf::from(data), data.join("pg_wal")];
    let space = |path: PathBuf| {
        let found = statvfs(&path).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.fragment_size());
        Some(format!(
            "{} {}",
            bytes(found.blocks()),
            bytes(found.blocks_available())
        ))
    };
    let rows = DIRECTORIES.into_iter().zip(paths);
    rows.map(|(name, path)| (0, name, space(path))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This process, with its start as a server would tell it.
    fn this() -> (i64, f64) {
        let pid = i64::from(std::process::id());
        let mut files = Files::new();
        let process = Process::parse(&files.text("self/stat").unwrap()).unwrap();
        let stat = files.text("stat").unwrap();
        (pid, booted_s(&stat).unwrap() + seconds(process.start))
    }

    fn absent(rows: &[Row]) -> bool {
        matches!(rows, [(0, ABSENT, Some(_))])
    }

    #[test]
    fn a_server_is_here_if_its_processes_began_when_it_says() {
        let (pid, started) = this();
        let wanted = |started: &[(i64, f64)]| Wanted {
            pids: vec![pid, i64::MAX],
            started: started.to_vec(),
            directory: Some("/".into()),
        };
        let rows = read(&wanted(&[(pid, started), (i64::MAX, 1.0)]), 5.0);
        let of = |pid, name| {
            rows.iter()
                .find(|row| (row.0, row.1) == (pid, name))
                .unwrap()
        };
        assert!(Process::parse(of(pid, "stat").2.as_deref().unwrap()).is_some());
        assert_eq!(of(i64::MAX, "stat").2, None);
        assert_eq!(of(0, CLOCK).2.as_deref(), Some("5"));
        assert!(super::super::space(of(0, "data directory").2.as_deref().unwrap()).is_some());
        assert!(absent(&read(&wanted(&[(pid, started + 60.0)]), 5.0)));
        assert!(absent(&read(&wanted(&[(i64::MAX, started)]), 5.0)));
        assert!(absent(&read(&wanted(&[]), 5.0)));
        // Two processes with different parents are not one server's.
        assert!(absent(&read(&wanted(&[(pid, started), (1, 0.0)]), 5.0)));
    }
}
