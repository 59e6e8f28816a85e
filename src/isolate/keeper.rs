//! Keeps OLAP's processes in their group until it is stopped, and then undoes everything.

mod moving;

use super::choice::Means;
use super::control::{Controller, Reading, Used};
use super::error::IsolateError;
use super::judge::Judge;
use super::plan::Plan;
use super::process::Process;
use super::report::{Note, Report};
use super::sample::Backend;
use super::state::{StateFile, returned};
use super::workers::Workers;
use std::collections::{BTreeMap, HashSet};
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Time between two samples.
const EVERY: Duration = Duration::from_secs(1);
/// Time between two looks for parallel workers of backends inside.
const LOOK: Duration = Duration::from_millis(100);
/// Longest pause before a lost server is tried again, in seconds.
const LONGEST_S: u64 = 30;

/// Isolates OLAP on one server, as long as its session lasts.
struct Keeper {
    plan: Plan,
    file: StateFile,
    judge: Judge,
    controller: Controller,
    /// Weight that was reported last.
    told_weight: f64,
    /// Processes in the group.
    inside: BTreeMap<i32, Process>,
    used: Used,
    workers: Workers,
    /// Workers that were moved in since the last sample.
    brief: Vec<Process>,
    /// Workers whose time is read at each look, because they may be gone at the next sample.
    close: Vec<Process>,
    /// True after the first move.
    works: bool,
    /// Processes that could not be moved; they are not tried again.
    refused: HashSet<Process>,
    /// Kinds of failures that were reported.
    told: HashSet<(&'static str, ErrorKind)>,
}

impl Plan {
    /// Carries it out until `stop` resolves, and undoes it then. A server that is lost is tried again, with everything
    /// undone meanwhile.
    ///
    /// # Errors
    /// It could not begin or begin again, the failure is one that does not pass, or something could not be undone.
    pub(crate) async fn carry_out(
        self,
        report: &mut dyn Report,
        stop: impl Future<Output = ()>,
    ) -> Result<(), IsolateError> {
        tokio::pin!(stop);
        let (target, wish) = (self.target.clone(), self.wish.clone());
        let mut plan = self;
        loop {
            let mut keeper = Keeper::begin(plan, report)?;
            let lost = tokio::select! {
                () = &mut stop => None,
                lost = keeper.watch(report) => Some(lost),
            };
            let why = lost
                .as_ref()
                .map_or_else(|| "stopped".to_owned(), ToString::to_string);
            keeper.end(report, &why)?;
            let Some(lost) = lost else {
                return Ok(());
            };
            if !lost.may_pass() {
                return Err(lost);
            }
            report.say("waiting for the server; nothing is isolated meanwhile");
            let again = async {
                let mut pause_s = 1;
                loop {
                    sleep(Duration::from_secs(pause_s)).await;
                    match Plan::new(&target, wish.clone()).await {
                        Err(error) if error.may_pass() => pause_s = (pause_s * 2).min(LONGEST_S),
                        planned => return planned,
                    }
                }
            };
            plan = tokio::select! {
                () = &mut stop => return Ok(()),
                planned = again => planned?,
            };
        }
    }
}

impl Keeper {
    /// Sets the mechanism up. If that fails, nothing is left.
    fn begin(plan: Plan, report: &mut dyn Report) -> Result<Self, IsolateError> {
        let own = plan.processes.own().ok_or_else(|| {
            IsolateError::Refused("cannot find this program's own process in /proc".to_owned())
        })?;
        let means = plan.choice.means.clone();
        let note = Note::Begins {
            mechanism: means.name(),
            share: plan.wish.share.to_string(),
            limit: plan.wish.limit.map(|limit| limit.to_string()),
            steps: means.steps(),
            postmaster: plan.watch.postmaster.pid,
        };
        if let Some(group) = means.taken() {
            return Err(IsolateError::Refused(format!(
                "{group} exists: OLAP on this server is already isolated, or was when an htap-top isolate was killed. Stop \
                 the other one, or run htap-top isolate --undo as its user"
            )));
        }
        let file = StateFile::create(&plan.wish.folder, own, plan.watch.postmaster, means.clone())?;
        if let Err(source) = report.note(&note) {
            file.discard();
            let what = "write the audit file, so nothing was changed".to_owned();
            return Err(IsolateError::Io { what, source });
        }
        if let Err(source) = means.prepare() {
            file.discard();
            let what = format!("set up {}", means.name());
            let why = format!("failed to {what}: {source}");
            let ended = Note::Ended {
                why: &why,
                failed: &[],
            };
            // The error itself is reported anyway.
            let _ = report.note(&ended);
            return Err(IsolateError::Io { what, source });
        }
        report.say(&format!("started: {}", plan.name()));
        let (weight, of_process) = means.weight();
        Ok(Self {
            controller: Controller::new(plan.wish.least(), weight, of_process),
            told_weight: weight,
            plan,
            file,
            judge: Judge::default(),
            inside: BTreeMap::new(),
            used: Used::default(),
            workers: Workers::default(),
            brief: Vec::new(),
            close: Vec::new(),
            works: false,
            refused: HashSet::new(),
            told: HashSet::new(),
        })
    }

    /// Watches until the server is lost; returns the reason.
    async fn watch(&mut self, report: &mut dyn Report) -> IsolateError {
        if let Err(lost) = self.plan.watch.tell(&self.plan.name()).await {
            return lost;
        }
        let every = |period| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let (mut samples, mut looks) = (every(EVERY), every(LOOK));
        loop {
            tokio::select! {
                biased;
                _ = samples.tick() => {}
                _ = looks.tick(), if !self.inside.is_empty() => {
                    if let Err(error) = self.look(report) {
                        return error;
                    }
                    continue;
                }
            }
            let sessions = self.plan.watch.sessions(&self.plan.wish.classifier);
            let sessions: Pin<Box<_>> = Box::pin(sessions);
            match sessions.await {
                Ok(sample) => {
                    if let Err(error) = self.step(&sample, report) {
                        return error;
                    }
                }
                Err(lost) => return lost,
            }
        }
    }

    /// Moves processes as a sample requires.
    fn step(&mut self, sample: &[Backend], report: &mut dyn Report) -> Result<(), IsolateError> {
        let judgement = self.judge.judge(sample);
        // What others wait for comes first.
        self.move_out(&judgement, report);
        for (pid, why) in &judgement.lifted {
            report.say(&format!("lifted out {pid}: {why}"));
            self.note(report, &Note::Lifted { pid: *pid, why });
        }
        for pid in &judgement.back {
            report.say(&format!("nobody waits for {pid} any more"));
        }
        self.weigh(judgement.busy, report);
        self.divide(judgement.busy, report);
        self.move_in(&judgement, sample, report)
    }

    /// Adjusts the weight to the share that was measured.
    fn weigh(&mut self, busy: usize, report: &mut dyn Report) {
        let processes = &self.plan.processes;
        let Some((total, idle)) = processes.time() else {
            return;
        };
        for process in self.inside.values() {
            if let Some(stat) = processes.stat(process.pid)
                && stat.process == *process
            {
                self.used.see(*process, stat.ticks);
            }
        }
        let inside = &self.inside;
        self.used
            .retain(|process| inside.get(&process.pid) == Some(process));
        let reading = Reading {
            total,
            idle,
            inside: self.used.sum(),
        };
        let Some(weight) = self.controller.take(reading, busy) else {
            return;
        };
        match self.file.state.means.set_weight(weight) {
            Err(error) => self.complain("the weight", "was not changed", &error, report),
            Ok(()) if (weight / self.told_weight).ln().abs() > 0.4 => {
                self.told_weight = weight;
                let had = self.controller.measured() * 100.0;
                report.say(&format!(
                    "weight {weight:.0}: OLAP had {had:.0}% of the full machine"
                ));
            }
            Ok(()) => {}
        }
    }

    /// Adjusts the nice values to the number of busy processes.
    fn divide(&mut self, busy: usize, report: &mut dyn Report) {
        let Means::Autogroup(groups) = &mut self.file.state.means else {
            return;
        };
        let Some(nice) = groups.divide(busy) else {
            return;
        };
        let inside: Vec<Process> = self.inside.values().copied().collect();
        if !inside.is_empty() {
            report.say(&format!("nice {nice} for {busy} busy processes"));
        }
        for process in inside {
            let entered = self.file.state.means.enter(&self.plan.processes, process);
            if let Err(error) = entered
                && error.kind() != ErrorKind::NotFound
            {
                self.complain(&pid_of(process), "keeps its nice value", &error, report);
            }
        }
    }

    /// Reports a failure, once per kind.
    fn complain(
        &mut self,
        who: &str,
        what: &'static str,
        error: &io::Error,
        report: &mut dyn Report,
    ) {
        if self.told.insert((what, error.kind())) {
            report.say(&format!(
                "{who} {what}: {error}; further failures of this kind are not reported"
            ));
        }
    }

    /// Writes a line of the audit file. A failure is only reported, once, because the change is already made.
    fn note(&mut self, report: &mut dyn Report, note: &Note<'_>) {
        if let Err(error) = report.note(note) {
            self.complain("the audit file", "was not written", &error, report);
        }
    }

    /// Undoes everything.
    fn end(mut self, report: &mut dyn Report, why: &str) -> Result<(), IsolateError> {
        let processes = self.plan.processes.clone();
        let lives = |process: &&Process| processes.lives(**process);
        let count = self.inside.values().filter(lives).count();
        let failed = self.file.undo(&processes);
        self.note(
            report,
            &Note::Ended {
                why,
                failed: &failed,
            },
        );
        if failed.is_empty() {
            report.say(&format!("ended ({why}): {}", returned(count)));
            return Ok(());
        }
        Err(IsolateError::Refused(format!(
            "ended ({why}), but failed to undo everything: {}. Run htap-top isolate --undo",
            failed.join("; ")
        )))
    }
}

fn pid_of(process: Process) -> String {
    format!("pid {}", process.pid)
}
