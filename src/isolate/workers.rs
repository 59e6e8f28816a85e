//! Parallel workers that begin between two samples: they live no longer than their statement, which may be short.

use super::process::{Process, Processes};
use std::collections::HashSet;

/// Text before the leader's pid in the title of a worker's process, in all versions.
const TITLE: &str = "parallel worker for PID ";

/// The postmaster's children that were looked at.
#[derive(Debug, Default)]
pub(super) struct Workers {
    known: HashSet<i32>,
}

/// A parallel worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Worker {
    pub(super) process: Process,
    /// The backend that it works for.
    pub(super) leader: i32,
}

impl Workers {
    /// Returns the workers that this postmaster has started since the last look; none on a kernel that does not list
    /// children. The next sample shows if they are what their titles say.
    pub(super) fn started(&mut self, processes: &Processes, postmaster: i32) -> Vec<Worker> {
        let Some(children) = processes.children(postmaster) else {
            return Vec::new();
        };
        let mut started = Vec::new();
        let mut known = HashSet::with_capacity(children.len());
        for pid in children {
            if self.known.contains(&pid) {
                known.insert(pid);
                continue;
            }
            let title = processes.title(pid);
            // Until it has one, a new process has that of the postmaster: it is looked at again.
            let Some(title) = title.strip_prefix("postgres: ") else {
                continue;
            };
            known.insert(pid);
            let stat = processes.stat(pid).filter(|stat| stat.parent == postmaster);
            if let (Some(leader), Some(stat)) = (leader(title), stat) {
                let process = stat.process;
                started.push(Worker { process, leader });
            }
        }
        self.known = known;
        started
    }
}

/// Returns the leader that a title names. A `cluster_name` and a colon come first.
fn leader(title: &str) -> Option<i32> {
    let (before, rest) = title.split_once(TITLE)?;
    if !(before.is_empty() || before.ends_with(": ")) {
        return None;
    }
    let digits = rest.find(|c: char| !c.is_ascii_digit());
    rest.get(..digits.unwrap_or(rest.len()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    /// A process of a made-up machine.
    fn process(root: &Path, pid: i32, parent: i32, title: &str) {
        let folder = root.join(pid.to_string());
        fs::create_dir_all(folder.join("task").join(pid.to_string())).unwrap();
        fs::write(folder.join("cmdline"), title).unwrap();
        let stat = format!(
            "{pid} (postgres) S {parent} 7 7 0 -1 4194624 9 0 0 0 5 6 0 0 20 0 1 0 4711 1 2 3"
        );
        fs::write(folder.join("stat"), stat).unwrap();
    }

    fn children(root: &Path, pids: &str) {
        fs::write(root.join("7/task/7/children"), pids).unwrap();
    }

    #[test]
    fn a_worker_is_found_once_it_has_its_title_and_only_once() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path();
        process(root, 7, 1, "/bin/postgres\0-D\0/data\0");
        process(root, 10, 7, "postgres: htap_olap shop [local] SELECT\0");
        process(root, 11, 7, "postgres: parallel worker for PID 10 \0");
        process(root, 12, 7, "/bin/postgres\0-D\0/data\0");
        process(root, 13, 7, "postgres: one: parallel worker for PID 10\0\0");
        process(root, 14, 9, "postgres: parallel worker for PID 10\0");
        let processes = Processes::at(root);
        let mut workers = Workers::default();
        let mut pids = || {
            let started = workers.started(&processes, 7);
            let of_10 = started.iter().filter(|worker| worker.leader == 10);
            of_10.map(|worker| worker.process.pid).collect::<Vec<_>>()
        };
        assert!(pids().is_empty(), "the kernel lists no children");
        children(root, "10 11 12 14 99 ");
        assert_eq!(pids(), [11]);
        process(root, 12, 7, "postgres: parallel worker for PID 10 \0");
        children(root, "10 11 12 13 ");
        assert_eq!(pids(), [12, 13]);
        assert!(pids().is_empty());
        // The pid of one that has ended is used again.
        children(root, "10 12 13 ");
        assert!(pids().is_empty());
        children(root, "10 11 12 13 ");
        assert_eq!(pids(), [11]);
    }

    #[test]
    fn a_title_names_a_leader_only_where_postgresql_writes_it() {
        for (title, named) in [
            ("parallel worker for PID 10 ", Some(10)),
            ("my: cluster: parallel worker for PID 10", Some(10)),
            ("parallel worker for PID ", None),
            ("parallel worker for PID 99999999999", None),
            ("my parallel worker for PID 10 shop [local] idle", None),
            ("logical replication parallel apply worker", None),
        ] {
            assert_eq!(leader(title), named, "{title}");
        }
    }
}
