//! Moves processes in and out.

use super::super::error::IsolateError;
use super::super::judge::Judgement;
use super::super::plan::described;
use super::super::process::{Process, Processes};
use super::super::report::{Move, Note, Report};
use super::super::sample::Backend;
use super::super::state::Moved;
use super::{Keeper, pid_of};
use std::collections::{BTreeSet, HashMap};
use std::io::{self, ErrorKind};

/// A process that is to be moved in.
struct Found {
    process: Process,
    /// Where it is.
    place: String,
    /// Processor time from before it was moved, which does not count.
    ticks: u64,
}

impl Keeper {
    /// Returns those that are not to be inside any longer.
    pub(super) fn move_out(&mut self, judgement: &Judgement, report: &mut dyn Report) {
        let out = self.inside.iter();
        let out = out.filter(|(pid, _)| !judgement.inside.contains(pid));
        let out: Vec<Process> = out.map(|(_, process)| *process).collect();
        for process in out {
            self.inside.remove(&process.pid);
            let moved = &mut self.file.state.moved;
            let Some(at) = moved.iter().position(|moved| moved.process == process) else {
                continue;
            };
            let Moved { place, .. } = moved.swap_remove(at);
            let left = self
                .file
                .state
                .means
                .leave(&self.plan.processes, process, &place);
            if let Err(error) = left {
                // So that the end tries again.
                self.file.state.moved.push(Moved { process, place });
                self.complain(&pid_of(process), "was not returned", &error, report);
            }
        }
    }

    /// Moves in those of a sample that are not inside yet, and reports them and the workers that came before it.
    pub(super) fn move_in(
        &mut self,
        judgement: &Judgement,
        sample: &[Backend],
        report: &mut dyn Report,
    ) -> Result<(), IsolateError> {
        let of_pid: HashMap<i32, &Backend> = sample
            .iter()
            .map(|backend| (backend.pid, backend))
            .collect();
        self.refused
            .retain(|process| of_pid.contains_key(&process.pid));
        let belong = judgement.inside.iter().filter_map(|pid| of_pid.get(pid));
        let found: Vec<Found> = belong
            .filter_map(|backend| self.find(backend, report))
            .collect();
        let brief = std::mem::take(&mut self.brief);
        let entered = self.enter(found, report)?;
        let moved = brief.into_iter().chain(entered);
        let told: Vec<Move> = moved
            .filter(|process| judgement.inside.contains(&process.pid))
            .filter_map(|process| Some(self.moved(of_pid.get(&process.pid)?, process)))
            .collect();
        let pids: BTreeSet<i32> = told.iter().map(|moved| moved.pid).collect();
        if !pids.is_empty() {
            report.say(&format!("moved in {}", described(&pids, sample)));
            self.note(report, &Note::MovedIn(told));
        }
        Ok(())
    }

    /// Moves in the workers that backends inside have started since the last look.
    pub(super) fn look(&mut self, report: &mut dyn Report) -> Result<(), IsolateError> {
        let processes = &self.plan.processes;
        let used = &mut self.used;
        self.close.retain(|process| {
            let stat = processes.stat(process.pid);
            let stat = stat.filter(|stat| stat.process == *process);
            stat.is_some_and(|stat| {
                used.see(*process, stat.ticks);
                true
            })
        });
        let postmaster = self.plan.watch.postmaster.pid;
        let mut started = self.workers.started(processes, postmaster);
        let inside = &self.inside;
        started.retain(|worker| {
            inside.contains_key(&worker.leader)
                && inside.get(&worker.process.pid) != Some(&worker.process)
        });
        let found = started.into_iter().filter_map(|worker| {
            let place = self.place(worker.process, report)?;
            Some(Found {
                process: worker.process,
                place,
                // All that it does is done for OLAP.
                ticks: 0,
            })
        });
        let found = found.collect();
        let entered = self.enter(found, report)?;
        self.close.extend(&entered);
        self.brief.extend(entered);
        Ok(())
    }

    /// Moves processes in, after recording in the file where they were. Returns those that are inside now.
    fn enter(
        &mut self,
        found: Vec<Found>,
        report: &mut dyn Report,
    ) -> Result<Vec<Process>, IsolateError> {
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let processes = self.plan.processes.clone();
        let live = |moved: &Moved| processes.lives(moved.process);
        self.file.state.moved.retain(live);
        for Found { process, place, .. } in &found {
            let (process, place) = (*process, place.clone());
            self.file.state.moved.push(Moved { process, place });
        }
        self.file.save()?;
        let mut entered = Vec::new();
        let mut failed = None;
        for Found { process, ticks, .. } in found {
            match self.file.state.means.enter(&processes, process) {
                Ok(()) => {
                    self.inside.insert(process.pid, process);
                    self.used.begin(process, ticks);
                    entered.push(process);
                }
                Err(error) => {
                    self.forget(process);
                    if error.kind() != ErrorKind::NotFound {
                        self.refused.insert(process);
                        self.complain(&pid_of(process), "was not moved", &error, report);
                        failed = Some(error);
                    }
                }
            }
        }
        self.works |= !entered.is_empty();
        match failed.filter(|_| !self.works) {
            Some(error) => Err(IsolateError::Refused(format!(
                "no process can be moved here ({error}): try another --mechanism"
            ))),
            None => Ok(entered),
        }
    }

    /// Finds the process of a backend that is not inside yet, and where it is.
    fn find(&mut self, backend: &Backend, report: &mut dyn Report) -> Option<Found> {
        let processes: &Processes = &self.plan.processes;
        let stat = processes.stat(backend.pid)?;
        let process = stat.process;
        if self.inside.get(&process.pid) == Some(&process) || self.refused.contains(&process) {
            return None;
        }
        let began = backend
            .started_s
            .is_some_and(|at_s| processes.began(process, at_s));
        if stat.parent != self.plan.watch.postmaster.pid || !began {
            let error = io::Error::other(
                "its start does not agree with that of its session: was the machine's clock set?",
            );
            self.refused.insert(process);
            self.complain(&pid_of(process), "was not moved", &error, report);
            return None;
        }
        let place = self.place(process, report)?;
        Some(Found {
            process,
            place,
            ticks: stat.ticks,
        })
    }

    /// Returns where a process is; `None` if it must not be moved.
    fn place(&mut self, process: Process, report: &mut dyn Report) -> Option<String> {
        let processes = &self.plan.processes;
        match self.file.state.means.place(processes, process) {
            Ok(place) => Some(place),
            Err(_) if !processes.lives(process) => None,
            Err(error) => {
                self.refused.insert(process);
                self.complain(&pid_of(process), "was not moved", &error, report);
                None
            }
        }
    }

    fn forget(&mut self, process: Process) {
        let moved = &mut self.file.state.moved;
        moved.retain(|moved| moved.process != process);
    }

    fn moved(&self, backend: &Backend, process: Process) -> Move {
        let moved = self.file.state.moved.iter();
        let mut of_process = moved.filter(|moved| moved.process == process);
        Move {
            pid: process.pid,
            started: process.started,
            class: backend.class.name(),
            leader: backend.leader,
            from: of_process
                .next()
                .map_or_else(String::new, |moved| moved.place.clone()),
            to: self.file.state.means.name(),
        }
    }
}
