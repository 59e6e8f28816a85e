//! The host: who uses the machine, by class of work, from the counters of its processes.

pub(crate) mod machine;

use super::classify::{Classifier, Session};
use crate::config::WorkClass;
use crate::dashboard::rows::{Columns, Row, Rows, added, host as host_rows, read};
use crate::host::{self, Process};
use crate::pg::{Table, Value};
use std::collections::{BTreeSet, HashMap};

/// Seconds without a reading after which a process is forgotten.
const FORGOTTEN_S: f64 = 300.0;
/// Percent of a core from which a process is read again in each sample.
const BUSY_PCT: f64 = 25.0;
/// Processes read in a sample, which bounds its cost.
const MOST: usize = 20;
/// Shortest time between two readings that makes a rate, in seconds: counters have steps of 10 ms.
const SHORTEST_S: f64 = 0.2;

/// Whose work a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    /// Sessions of a class.
    Class(WorkClass),
    /// The server's own processes.
    Server,
    /// This program's sessions.
    Own,
}

impl Who {
    /// All of them, in the order of the panel's rows.
    const ALL: [Self; 6] = [
        Self::Class(WorkClass::Oltp),
        Self::Class(WorkClass::Olap),
        Self::Class(WorkClass::Refresh),
        Self::Class(WorkClass::Maintenance),
        Self::Server,
        Self::Own,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Class(class) => class.name(),
            Self::Server => "server",
            Self::Own => "htap-top",
        }
    }

    fn of(row: Row<'_, host_rows::HostProcess>, classifier: &Classifier) -> Self {
        let (role, application) = (row.usename().name(), row.application_name().name());
        let backend_type = row.backend_type().name();
        if classifier.is_own(role, application) {
            return Self::Own;
        }
        // The server hides the type from a role without pg_monitor.
        if !matches!(
            backend_type,
            "" | "client backend" | "parallel worker" | "autovacuum worker"
        ) {
            return Self::Server;
        }
        Self::Class(classifier.classify(&Session {
            role,
            application,
            database: row.datname().name(),
            backend_type,
            query: row.query().name(),
        }))
    }
}

/// Use of the machine per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Percent of a core in user mode.
    user_pct: f64,
    /// Percent of a core in the kernel.
    system_pct: f64,
    /// Bytes read from storage and given to the kernel to write, if the counters are readable.
    storage: Option<(f64, f64)>,
}

impl Usage {
    fn cpu_pct(&self) -> f64 {
        self.user_pct + self.system_pct
    }

    fn add(&mut self, other: &Self) {
        self.user_pct += other.user_pct;
        self.system_pct += other.system_pct;
        let sum = self.storage.zip(other.storage);
        self.storage = sum.map(|(a, b)| (a.0 + b.0, a.1 + b.1));
    }
}

/// A process, as last read.
#[derive(Clone, Debug)]
struct Known {
    who: Who,
    leader: Option<i64>,
    read_s: f64,
    process: Process,
    storage: Option<(f64, f64)>,
    /// Since the reading before; `None` after the first.
    usage: Option<Usage>,
}

/// Counters of earlier samples.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    processes: HashMap<i64, Known>,
    machine: machine::Memory,
    page_bytes: Option<f64>,
}

impl Memory {
    /// Returns the pids to read in the next sample: those listed, those that were very busy in the last one, then the others,
    /// the oldest reading first. If the others were ordered by their rates, slow ones would often end before they are read, and
    /// the sums would be too small.
    pub(crate) fn wanted(&self, listed: Rows<'_, host_rows::HostProcess>) -> Vec<i64> {
        let listed = listed.iter().filter_map(|row| row.pid());
        let mut pids: Vec<i64> = listed.collect::<BTreeSet<_>>().into_iter().collect();
        let others = self.processes.iter().filter(|(pid, _)| !pids.contains(pid));
        let mut others: Vec<(bool, f64, i64)> = others
            .map(|(pid, known)| {
                let idle = known.usage.is_none_or(|usage| usage.cpu_pct() < BUSY_PCT);
                (idle, known.read_s, *pid)
            })
            .collect();
        others.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        let room = MOST.saturating_sub(pids.len());
        pids.extend(others.iter().take(room).map(|(_, _, pid)| *pid));
        pids
    }

    /// Takes in the readings of a sample.
    fn note(
        &mut self,
        answer: &Answer<'_>,
        listed: Rows<'_, host_rows::HostProcess>,
        classifier: &Classifier,
    ) {
        let now_s = answer.now_s;
        let listed: HashMap<i64, _> = listed
            .iter()
            .filter_map(|row| Some((row.pid()?, row)))
            .collect();
        for (pid, files) in &answer.processes {
            let Some(process) = files.stat.and_then(Process::parse) else {
                // It has ended.
                self.processes.remove(pid);
                continue;
            };
            let storage = files.io.and_then(host::storage_bytes);
            // The same pid with another start is another process.
            let before = self.processes.remove(pid);
            let before = before.filter(|before| before.process.start == process.start);
            let row = listed.get(pid);
            let Some(who) = row
                .map(|row| Who::of(*row, classifier))
                .or(before.as_ref().map(|before| before.who))
            else {
                continue;
            };
            let leader = row.map_or_else(
                || before.as_ref().and_then(|before| before.leader),
                Row::<host_rows::HostProcess>::leader_pid,
            );
            let mut known = Known {
                who,
                leader,
                read_s: now_s,
                process,
                storage,
                usage: None,
            };
            match before {
                Some(before) if now_s - before.read_s < SHORTEST_S => known = before,
                Some(before) => known.usage = Some(usage(&before, &known)),
                None => {}
            }
            self.processes.insert(*pid, known);
        }
        self.processes
            .retain(|_, known| now_s - known.read_s <= FORGOTTEN_S);
        self.page_bytes = answer.page_bytes;
    }

    /// The use of a backend including its parallel workers, and its own resident memory in bytes.
    fn of_backend(&self, pid: i64) -> Option<(Option<Usage>, Option<f64>)> {
        let known = self.processes.get(&pid)?;
        let mut usage = known.usage;
        if let Some(usage) = &mut usage {
            let others = self.processes.values();
            let workers = others.filter(|other| other.leader == Some(pid));
            for worker in workers.filter_map(|worker| worker.usage) {
                usage.add(&worker);
            }
        }
        Some((
            usage,
            self.page_bytes
                .map(|page| page * known.process.pages as f64),
        ))
    }
}

/// The rates between two readings of a process.
fn usage(before: &Known, now: &Known) -> Usage {
    let seconds = now.read_s - before.read_s;
    let used = |now: u64, before: u64| host::seconds(now.saturating_sub(before)) / seconds * 100.0;
    let rate = |now: f64, before: f64| (now - before).max(0.0) / seconds;
    let storage = now.storage.zip(before.storage);
    Usage {
        user_pct: used(now.process.user, before.process.user),
        system_pct: used(now.process.system, before.process.system),
        storage: storage.map(|(now, before)| (rate(now.0, before.0), rate(now.1, before.1))),
    }
}

/// Files of a process.
#[derive(Clone, Copy, Debug, Default)]
struct Files<'t> {
    stat: Option<&'t str>,
    io: Option<&'t str>,
}

/// An answer, sorted by process.
#[derive(Debug, Default)]
struct Answer<'t> {
    now_s: f64,
    page_bytes: Option<f64>,
    machine: HashMap<&'t str, &'t str>,
    processes: HashMap<i64, Files<'t>>,
}

impl<'t> Answer<'t> {
    /// Returns the reason if nothing was read.
    fn of(table: &'t Table) -> Result<Self, &'t str> {
        let mut answer = Self::default();
        for row in Rows::<host_rows::HostFile>::of(table).iter() {
            let content = row.content().text();
            match (row.pid(), row.file().shown()) {
                (Some(0), host::ABSENT) => return Err(content.unwrap_or_default()),
                (Some(0), name) => {
                    answer
                        .machine
                        .extend(content.map(|content| (name, content)));
                }
                (Some(pid), "stat") => answer.processes.entry(pid).or_default().stat = content,
                (Some(pid), "io") => answer.processes.entry(pid).or_default().io = content,
                _ => {}
            }
        }
        let number = |name| answer.machine.get(name)?.trim().parse::<f64>().ok();
        answer.page_bytes = number(host::PAGE);
        match number(host::CLOCK) {
            Some(now_s) => answer.now_s = now_s,
            None => return Err("the answer has no time"),
        }
        Ok(answer)
    }

    fn file<T>(&self, name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        parse(self.machine.get(name)?)
    }
}

/// Returns a row for the machine, each class of work, and the rest; or the reason why nothing was read.
pub(crate) fn derive(
    files: &Table,
    listed: &Table,
    classifier: &Classifier,
    memory: &mut Memory,
) -> Result<Table, String> {
    let answer = Answer::of(files)?;
    memory.note(&answer, Rows::of(listed), classifier);
    let mut table = Table::default();
    let added = added::ToHost::to(&mut table);
    let busy = machine::put(&mut table, added, &answer, &mut memory.machine);
    let (cores, mut rest) = (busy.map_or(0.0, |busy| busy.0), busy.map(|busy| busy.1));
    for who in Who::ALL {
        let of_it = || memory.processes.values().filter(|known| known.who == who);
        let known: Vec<Usage> = of_it().filter_map(|known| known.usage).collect();
        let mut sum = (!known.is_empty() || of_it().next().is_none()).then(|| Usage {
            storage: Some((0.0, 0.0)),
            ..Usage::default()
        });
        if let Some(sum) = &mut sum {
            for usage in &known {
                sum.add(usage);
            }
        }
        if let Some((rest, sum)) = rest.as_mut().zip(sum) {
            rest.user_pct = (rest.user_pct - sum.user_pct).max(0.0);
            rest.system_pct = (rest.system_pct - sum.system_pct).max(0.0);
        }
        let pages: u64 = of_it().map(|known| known.process.pages).sum();
        let running =
            of_it().filter(|known| known.process.state == 'R' && known.read_s >= answer.now_s);
        let memory_bytes = memory.page_bytes.map(|page| page * pages as f64);
        table.push([
            (added.who, who.name().into()),
            (added.running, Value::Int(running.count() as i64)),
            (added.processes, Value::Int(of_it().count() as i64)),
            (
                added.memory_bytes,
                memory_bytes.map_or(Value::Unavailable, Value::Float),
            ),
        ]);
        let row = table.rows.len() - 1;
        put_usage(&mut table, added, row, sum.as_ref(), cores);
    }
    table.push([(added.who, "others".into())]);
    let row = table.rows.len() - 1;
    put_usage(&mut table, added, row, rest.as_ref(), cores);
    for column in [added.read_bytes_per_s, added.write_bytes_per_s] {
        table.put(row, column, Value::Null);
    }
    Ok(table)
}

/// Cells of bytes read and written per second.
fn storage_cells(usage: Option<&Usage>) -> [Value; 2] {
    match usage.map(|usage| usage.storage) {
        None => [Value::Pending, Value::Pending],
        Some(None) => [Value::Unavailable, Value::Unavailable],
        Some(Some((read, written))) => [Value::Float(read), Value::Float(written)],
    }
}

/// A cell of a figure that may not have been measured yet.
fn measured(figure: Option<f64>) -> Value {
    figure.map_or(Value::Pending, Value::Float)
}

fn put_usage(
    table: &mut Table,
    added: added::ToHost,
    row: usize,
    usage: Option<&Usage>,
    cores: f64,
) {
    let [read, written] = storage_cells(usage);
    let share = usage
        .filter(|_| cores > 0.0)
        .map(|usage| usage.cpu_pct() / cores);
    for (column, value) in [
        (added.cpu_pct, measured(usage.map(Usage::cpu_pct))),
        (added.share_pct, measured(share)),
        (added.user_pct, measured(usage.map(|usage| usage.user_pct))),
        (
            added.system_pct,
            measured(usage.map(|usage| usage.system_pct)),
        ),
        (added.read_bytes_per_s, read),
        (added.write_bytes_per_s, written),
    ] {
        table.put(row, column, value);
    }
}

/// Adds the use of the machine to the rows of backends. A leader's includes that of its parallel workers.
pub(crate) fn add_usage(activity: &mut Table, memory: &Memory) {
    let added = added::ToHosted::to(activity);
    let columns = read::Backend::of(activity);
    for row in 0..activity.rows.len() {
        let pid = Row::of(activity, columns, row).pid();
        let Some(pid) = pid.filter(|pid| *pid > 0) else {
            continue;
        };
        let (usage, memory_bytes) = match memory.of_backend(pid) {
            Some((usage, bytes)) => (usage, bytes.map_or(Value::Unavailable, Value::Float)),
            None => (None, Value::Pending),
        };
        let [read, written] = storage_cells(usage.as_ref());
        for (column, value) in [
            (added.cpu_pct, measured(usage.map(|usage| usage.cpu_pct()))),
            (added.memory_bytes, memory_bytes),
            (added.read_bytes_per_s, read),
            (added.write_bytes_per_s, written),
        ] {
            activity.put(row, column, value);
        }
    }
}
