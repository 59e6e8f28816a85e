//! Decides which processes belong in the group at this moment.
//!
//! A process that gets little time keeps what it holds for long. So one that others wait for is lifted out at once and
//! comes back after a quiet time. `pg_blocking_pids` names the holder of a heavyweight lock. No view names the holder of a
//! lightweight lock or a buffer pin: if somebody outside still waits for the same one, in the same
//! statement, a sample later, all OLAP backends that could hold one are lifted.

use super::sample::{Backend, Kind};
use crate::config::WorkClass;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Samples without a reason after which a lifted backend comes back.
const QUIET: u32 = 10;

/// State kept between samples.
#[derive(Debug, Default)]
pub(super) struct Judge {
    /// Lifted backends, with the samples that are left until they come back.
    lifted: BTreeMap<i32, u32>,
    /// Waits for lightweight locks and pins in the last sample.
    waits: HashMap<i32, Wait>,
}

/// A wait of a statement.
#[derive(Debug, PartialEq)]
struct Wait {
    event: String,
    query_start_s: Option<f64>,
}

/// The verdict on a sample.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Judgement {
    /// Processes that belong in the group.
    pub(super) inside: BTreeSet<i32>,
    /// Those of them that are inside of a statement.
    pub(super) busy: usize,
    /// Backends that are lifted from now on, and why.
    pub(super) lifted: Vec<(i32, String)>,
    /// Backends that come back.
    pub(super) back: Vec<i32>,
}

impl Judge {
    /// Judges a sample.
    pub(super) fn judge(&mut self, sample: &[Backend]) -> Judgement {
        let of_pid: HashMap<i32, &Backend> = sample
            .iter()
            .map(|backend| (backend.pid, backend))
            .collect();
        let is_olap =
            |backend: &Backend| backend.kind == Kind::Client && backend.class == WorkClass::Olap;
        let olap: BTreeSet<i32> = sample
            .iter()
            .filter(|backend| is_olap(backend))
            .map(|backend| backend.pid)
            .collect();
        self.lifted.retain(|pid, _| olap.contains(pid));
        let leader = |backend: &Backend| match backend.kind {
            Kind::Client => Some(backend.pid),
            Kind::Worker => backend.leader,
            Kind::Other => None,
        };
        let outside = |backend: &&Backend| {
            leader(backend).is_none_or(|pid| !olap.contains(&pid) || self.lifted.contains_key(&pid))
        };
        let outside: Vec<&Backend> = sample.iter().filter(outside).collect();
        let mut reasons = blocking(&outside, &of_pid, &olap);
        let stuck = self.stuck(&outside);
        if let Some((waiter, event)) = stuck {
            let could = sample.iter().filter(|backend| could_hold(backend, &event));
            for pid in could.filter_map(leader).filter(|pid| olap.contains(pid)) {
                let why = format!(
                    "pid {} ({}) still waits for {event}, and this backend could hold it",
                    waiter.pid,
                    waiter.class.name()
                );
                reasons.entry(pid).or_insert(why);
            }
        }
        self.decide(reasons, sample, &olap, leader)
    }

    /// Applies the reasons to lift.
    fn decide(
        &mut self,
        reasons: BTreeMap<i32, String>,
        sample: &[Backend],
        olap: &BTreeSet<i32>,
        leader: impl Fn(&Backend) -> Option<i32>,
    ) -> Judgement {
        let mut judgement = Judgement::default();
        self.lifted.retain(|pid, left| {
            *left -= 1;
            let stays = *left > 0 || reasons.contains_key(pid);
            if !stays {
                judgement.back.push(*pid);
            }
            stays
        });
        for (pid, why) in reasons {
            if self.lifted.insert(pid, QUIET).is_none() {
                judgement.lifted.push((pid, why));
            }
        }
        for backend in sample {
            let belongs = |pid: &i32| olap.contains(pid) && !self.lifted.contains_key(pid);
            if leader(backend).as_ref().is_some_and(belongs) {
                judgement.inside.insert(backend.pid);
                judgement.busy += usize::from(backend.is_busy());
            }
        }
        judgement
    }

    /// Returns somebody who waits for the same lightweight lock or pin as in the last sample, in the same statement.
    fn stuck<'a>(&mut self, outside: &[&'a Backend]) -> Option<(&'a Backend, String)> {
        let waits = outside.iter().filter(|backend| {
            matches!(
                backend.wait_type.as_str(),
                "LWLock" | "BufferPin" | "Buffer"
            )
        });
        let mut now = HashMap::new();
        let mut found = None;
        for backend in waits {
            let wait = Wait {
                event: format!("{} {}", backend.wait_type, backend.wait),
                query_start_s: backend.query_start_s,
            };
            if self.waits.get(&backend.pid) == Some(&wait) {
                found = Some((*backend, wait.event.clone()));
            }
            now.insert(backend.pid, wait);
        }
        self.waits = now;
        found
    }
}

/// Returns the OLAP backends that somebody outside waits for, directly or behind others, and why.
fn blocking(
    outside: &[&Backend],
    of_pid: &HashMap<i32, &Backend>,
    olap: &BTreeSet<i32>,
) -> BTreeMap<i32, String> {
    let mut reasons = BTreeMap::new();
    for waiter in outside
        .iter()
        .filter(|backend| !backend.blocked_by.is_empty())
    {
        let mut open = waiter.blocked_by.clone();
        let mut seen = BTreeSet::new();
        while let Some(pid) = open.pop() {
            if !seen.insert(pid) {
                continue;
            }
            if olap.contains(&pid) {
                let why = format!(
                    "pid {} ({}) waits for a lock behind it",
                    waiter.pid,
                    waiter.class.name()
                );
                reasons.entry(pid).or_insert(why);
            }
            if let Some(blocker) = of_pid.get(&pid) {
                open.extend(&blocker.blocked_by);
            }
        }
    }
    reasons
}

/// Returns false if a backend cannot hold what this event waits for: a lightweight lock lives within a statement and not
/// while it waits for a heavyweight lock or for its client; a pin lives as long as a cursor.
fn could_hold(backend: &Backend, event: &str) -> bool {
    if matches!(backend.wait_type.as_str(), "Lock") {
        return false;
    }
    if event.starts_with("LWLock") {
        return backend.is_busy() && backend.wait_type != "Client";
    }
    backend.state != "idle"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(pid: i32, class: WorkClass) -> Backend {
        Backend {
            pid,
            leader: None,
            class,
            kind: Kind::Client,
            started_s: Some(1.0),
            query_start_s: Some(1.0),
            state: "active".into(),
            wait_type: String::new(),
            wait: String::new(),
            blocked_by: Vec::new(),
            described: String::new(),
        }
    }

    fn worker(pid: i32, leader: i32) -> Backend {
        Backend {
            leader: Some(leader),
            kind: Kind::Worker,
            ..backend(pid, WorkClass::Oltp)
        }
    }

    fn waits(pid: i32, kind: &str, event: &str) -> Backend {
        Backend {
            wait_type: kind.into(),
            wait: event.into(),
            ..backend(pid, WorkClass::Oltp)
        }
    }

    fn behind(pid: i32, class: WorkClass, blockers: &[i32]) -> Backend {
        Backend {
            wait_type: "Lock".into(),
            blocked_by: blockers.into(),
            ..backend(pid, class)
        }
    }

    fn other(mut backend: Backend) -> Backend {
        backend.kind = Kind::Other;
        backend
    }

    fn inside(judgement: &Judgement) -> Vec<i32> {
        judgement.inside.iter().copied().collect()
    }

    fn lifted(judgement: &Judgement) -> Vec<i32> {
        judgement.lifted.iter().map(|(pid, _)| *pid).collect()
    }

    #[test]
    fn olap_and_its_workers_are_inside_and_nothing_else() {
        let mut judge = Judge::default();
        let sample = [
            backend(10, WorkClass::Olap),
            worker(11, 10),
            worker(12, 10),
            backend(20, WorkClass::Oltp),
            worker(21, 20),
            backend(30, WorkClass::Refresh),
            other(backend(40, WorkClass::Olap)),
            // A worker of logical replication has a leader, too.
            other(worker(41, 10)),
        ];
        let judgement = judge.judge(&sample);
        assert_eq!(inside(&judgement), [10, 11, 12]);
        assert_eq!((judgement.busy, lifted(&judgement)), (3, Vec::new()));
    }

    #[test]
    fn who_others_wait_for_is_lifted_with_its_workers_and_comes_back() {
        let mut judge = Judge::default();
        let olap = backend(10, WorkClass::Olap);
        let held = [
            olap.clone(),
            worker(11, 10),
            backend(12, WorkClass::Olap),
            behind(20, WorkClass::Oltp, &[21]),
            behind(21, WorkClass::Refresh, &[10]),
        ];
        let judgement = judge.judge(&held);
        assert_eq!(
            (inside(&judgement), lifted(&judgement)),
            (vec![12], vec![10])
        );
        assert!(judgement.lifted[0].1.contains("waits for a lock behind it"));
        // Said once, and it stays out while anybody waits.
        for _ in 0..20 {
            let judgement = judge.judge(&held);
            assert_eq!((inside(&judgement), lifted(&judgement)), (vec![12], vec![]));
        }
        let free = [olap, backend(12, WorkClass::Olap)];
        for _ in 1..QUIET {
            assert_eq!(inside(&judge.judge(&free)), [12]);
        }
        let judgement = judge.judge(&free);
        assert_eq!(
            (inside(&judgement), judgement.back),
            (vec![10, 12], vec![10])
        );
    }

    #[test]
    fn olap_behind_olap_is_no_inversion() {
        let mut judge = Judge::default();
        let sample = [
            backend(10, WorkClass::Olap),
            behind(11, WorkClass::Olap, &[10]),
        ];
        assert_eq!(inside(&judge.judge(&sample)), [10, 11]);
        // A circle ends, and a prepared transaction (0) is nobody.
        let circle = [
            behind(10, WorkClass::Olap, &[20, 0]),
            behind(20, WorkClass::Oltp, &[10]),
        ];
        assert_eq!(lifted(&judge.judge(&circle)), [10]);
    }

    #[test]
    fn a_lightweight_lock_that_is_still_waited_for_lifts_all_who_could_hold_it() {
        let mut judge = Judge::default();
        let idle = Backend {
            state: "idle in transaction".into(),
            ..backend(12, WorkClass::Olap)
        };
        let sample = |kind: &str, event: &str| {
            vec![
                backend(10, WorkClass::Olap),
                behind(11, WorkClass::Olap, &[99]),
                idle.clone(),
                waits(20, kind, event),
            ]
        };
        assert!(lifted(&judge.judge(&sample("LWLock", "WALWrite"))).is_empty());
        assert!(lifted(&judge.judge(&sample("LWLock", "ProcArray"))).is_empty());
        let judgement = judge.judge(&sample("LWLock", "ProcArray"));
        assert_eq!(
            (lifted(&judgement), inside(&judgement)),
            (vec![10], vec![11, 12])
        );
        assert!(judgement.lifted[0].1.contains("LWLock ProcArray"));
        // A cursor's pin.
        judge.judge(&sample("BufferPin", "BufferPin"));
        let judgement = judge.judge(&sample("BufferPin", "BufferPin"));
        assert_eq!(lifted(&judgement), [12]);
    }

    #[test]
    fn many_short_waits_lift_nobody() {
        let mut judge = Judge::default();
        for statement in 0..5 {
            let waiter = Backend {
                query_start_s: Some(f64::from(statement)),
                ..waits(20, "LWLock", "WALWrite")
            };
            let judgement = judge.judge(&[backend(10, WorkClass::Olap), waiter]);
            assert!(lifted(&judgement).is_empty());
        }
        // Waits inside of the group are its own affair.
        let within = Backend {
            class: WorkClass::Olap,
            ..waits(11, "LWLock", "BufferContent")
        };
        for _ in 0..3 {
            let judgement = judge.judge(&[backend(10, WorkClass::Olap), within.clone()]);
            assert!(lifted(&judgement).is_empty());
        }
    }

    #[test]
    fn what_has_ended_is_forgotten() {
        let mut judge = Judge::default();
        judge.judge(&[
            backend(10, WorkClass::Olap),
            behind(20, WorkClass::Oltp, &[10]),
        ]);
        assert_eq!(judge.judge(&[]), Judgement::default());
        assert_eq!(inside(&judge.judge(&[backend(10, WorkClass::Olap)])), [10]);
    }
}
