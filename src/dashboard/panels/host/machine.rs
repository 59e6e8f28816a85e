//! The machine's own row: processors, memory, load, disks.

use super::{Answer, Usage, measured, put_usage};
use crate::dashboard::rows::{Row, added, host as host_rows};
use crate::format;
use crate::host::{self, Disk, Processors};
use crate::pg::{Table, Value};
use std::collections::VecDeque;

/// Seconds over which the gauge is averaged.
const MEAN_S: f64 = 10.0;

/// The machine's counters, as last read.
#[derive(Clone, Debug)]
struct Machine {
    read_s: f64,
    processors: Processors,
    disks: Vec<Disk>,
}

impl Machine {
    fn of(answer: &Answer<'_>) -> Option<Self> {
        let disks = answer.file("diskstats", |text| Some(host::disks(text)));
        Some(Self {
            read_s: answer.now_s,
            processors: answer.file("stat", Processors::parse)?,
            disks: disks.unwrap_or_default(),
        })
    }

    /// Returns what it did since an earlier sample; `None` if its counters started over.
    fn since(&self, before: &Self) -> Option<Work<'_>> {
        let (now, then) = (&self.processors, &before.processors);
        // By the machine's own clock: the sum of what all cores did.
        let total = now
            .total()
            .checked_sub(then.total())
            .filter(|total| *total > 0)?;
        let seconds = self.read_s - before.read_s;
        if seconds <= 0.0 || now.count == 0 {
            return None;
        }
        let cores = f64::from(now.count);
        let pct = |of: fn(&Processors) -> u64| {
            let part = of(now).saturating_sub(of(then));
            part as f64 / total as f64 * cores * 100.0
        };
        let rate = |now: f64, before: f64| (now - before).max(0.0) / seconds;
        let disks = self.disks.iter().filter_map(|disk| {
            let mut earlier = before.disks.iter();
            let earlier = earlier.find(|earlier| earlier.name == disk.name)?;
            let busy_pct = rate(disk.busy_ms, earlier.busy_ms) / 10.0;
            Some(DiskWork {
                name: &disk.name,
                read: rate(disk.read_bytes, earlier.read_bytes),
                written: rate(disk.write_bytes, earlier.write_bytes),
                busy_pct: busy_pct.min(100.0),
            })
        });
        let disks: Vec<DiskWork<'_>> = disks.collect();
        let (read, written) = (
            disks.iter().map(|disk| disk.read),
            disks.iter().map(|disk| disk.written),
        );
        Some(Work {
            cores,
            usage: Usage {
                user_pct: pct(|one| one.user),
                system_pct: pct(|one| one.system),
                storage: (!disks.is_empty()).then(|| (read.sum(), written.sum())),
            },
            stolen_pct: pct(|one| one.stolen),
            iowait_pct: pct(|one| one.iowait),
            busiest: disks
                .into_iter()
                .max_by(|a, b| a.busy_pct.total_cmp(&b.busy_pct)),
        })
    }
}

/// What the machine did per second.
#[derive(Debug)]
pub(super) struct Work<'d> {
    pub(super) cores: f64,
    /// Without time stolen by other virtual machines.
    pub(super) usage: Usage,
    stolen_pct: f64,
    iowait_pct: f64,
    busiest: Option<DiskWork<'d>>,
}

/// What a disk did: bytes per second, and the share of the time in which it had something to do.
#[derive(Debug)]
struct DiskWork<'d> {
    name: &'d str,
    read: f64,
    written: f64,
    busy_pct: f64,
}

/// Counters of earlier samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    last: Option<Machine>,
    /// Processor time at the samples of the last seconds.
    recent: VecDeque<(f64, Processors)>,
}

/// Adds the machine's row. Returns its number of cores and its use, if that is known.
pub(super) fn put(
    table: &mut Table,
    added: added::ToHost,
    answer: &Answer<'_>,
    memory: &mut Memory,
) -> Option<(f64, Usage)> {
    table.push([(added.who, "machine".into())]);
    put_usage(table, added, 0, None, 0.0);
    put_levels(table, added, answer);
    let now = Machine::of(answer)?;
    let busy = busy_pct(&mut memory.recent, now.read_s, now.processors);
    for (column, value) in [
        (added.cores, Value::Int(now.processors.count.into())),
        (added.running, Value::Int(now.processors.running.into())),
        (added.busy_pct, measured(busy)),
    ] {
        table.put(0, column, value);
    }
    let before = memory.last.replace(now.clone())?;
    let work = now.since(&before)?;
    let Work { cores, usage, .. } = work;
    put_usage(table, added, 0, Some(&usage), cores);
    let disk = work.busiest.as_ref();
    for (column, value) in [
        (
            added.share_pct,
            Value::Float((usage.cpu_pct() + work.stolen_pct) / cores),
        ),
        (added.steal_pct, Value::Float(work.stolen_pct)),
        (added.iowait_pct, Value::Float(work.iowait_pct)),
        (
            added.disk,
            disk.map_or(Value::Unavailable, |disk| disk.name.into()),
        ),
        (
            added.disk_busy_pct,
            available(disk.map(|disk| disk.busy_pct)),
        ),
    ] {
        table.put(0, column, value);
    }
    Some((cores, usage))
}

/// A cell of a figure that not every machine has.
fn available(figure: Option<f64>) -> Value {
    figure.map_or(Value::Unavailable, Value::Float)
}

/// Adds figures that are not counters: memory, load, and free space of disks.
fn put_levels(table: &mut Table, added: added::ToHost, answer: &Answer<'_>) {
    let ram = answer.file("meminfo", host::memory_bytes);
    let load = answer.file("loadavg", host::load);
    let [data, wal] = host::DIRECTORIES.map(|name| answer.file(name, host::space));
    for (column, value) in [
        (added.memory_bytes, ram.map(|(all, left)| all - left)),
        (added.memory_total_bytes, ram.map(|(all, _)| all)),
        (added.load_1m, load.map(|[one, _, _]| one)),
        (added.load_5m, load.map(|[_, five, _]| five)),
        (added.load_15m, load.map(|[_, _, fifteen]| fifteen)),
        (added.data_bytes, data.map(|(size, _)| size)),
        (added.data_left_bytes, data.map(|(_, left)| left)),
        (added.wal_bytes, wal.map(|(size, _)| size)),
        (added.wal_left_bytes, wal.map(|(_, left)| left)),
    ] {
        table.put(0, column, available(value));
    }
}

/// Busy share of all cores in percent over the last seconds, stolen time included.
fn busy_pct(recent: &mut VecDeque<(f64, Processors)>, now_s: f64, now: Processors) -> Option<f64> {
    let went_back =
        |(at_s, before): &(f64, Processors)| *at_s >= now_s || before.total() > now.total();
    if recent.back().is_some_and(went_back) {
        recent.clear();
    }
    recent.push_back((now_s, now));
    // The first one is the last that is old enough.
    while recent
        .get(1)
        .is_some_and(|(at_s, _)| now_s - at_s >= MEAN_S)
    {
        recent.pop_front();
    }
    let (_, before) = recent.front()?;
    let total = now
        .total()
        .checked_sub(before.total())
        .filter(|total| *total > 0)?;
    let idle = now.idle().saturating_sub(before.idle()).min(total);
    Some((total - idle) as f64 / total as f64 * 100.0)
}

/// Figures of the machine in one line.
pub(crate) fn summary(machine: Row<'_, host_rows::HostUse>) -> String {
    let mut parts = Vec::new();
    if let (Some(load), Some(cores)) = (machine.load_1m(), machine.cores()) {
        parts.push(format!("load {load:.1} on {cores} cores"));
    }
    if let (Some(used), Some(total)) = (machine.memory_bytes(), machine.memory_total_bytes()) {
        let (left, total) = (format::bytes(total - used), format::bytes(total));
        parts.push(format!("{left} of {total} memory left"));
    }
    if let Some(left) = machine.data_left_bytes() {
        parts.push(format!("{} disk left", format::bytes(left)));
    }
    if let (Some(name), Some(busy)) = (machine.disk().text(), machine.disk_busy_pct()) {
        parts.push(format!("{name} {busy:.0}% busy"));
    }
    parts.join(" · ")
}
