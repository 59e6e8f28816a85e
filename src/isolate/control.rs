//! Adjusts the weight to the share that is measured: how many processes compete, and with what weights, is not known in
//! advance and changes.

use super::process::Process;
use super::share::Percent;
use std::collections::HashMap;

/// Maximum idle part of a machine that counts as full; if more is idle, nobody has to wait for a processor.
const IDLE: f64 = 0.05;
/// Deviation from the share, as a part of it, that is left alone.
const TOLERANCE: f64 = 0.08;
/// How far one step can change the weight.
const STEP: f64 = 2.0;
/// How far below the computed weight it can go: with fewer competitors than processors no weight gives the share.
const LEAST: f64 = 0.25;

/// Processor time until now, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// Time of the whole machine, without what its host took.
    pub(super) total: u64,
    /// The idle part of that.
    pub(super) idle: u64,
    /// Time of the group's processes while they were in it, including those that have ended.
    pub(super) inside: u64,
}

/// Processor time that processes had while they were in the group.
#[derive(Debug, Default)]
pub(super) struct Used {
    last: HashMap<Process, u64>,
    sum: u64,
}

impl Used {
    /// Begins to count a process that has used this many ticks so far.
    pub(super) fn begin(&mut self, process: Process, ticks: u64) {
        self.last.insert(process, ticks);
    }

    /// Counts what a process has used since it was seen last.
    pub(super) fn see(&mut self, process: Process, ticks: u64) {
        if let Some(last) = self.last.get_mut(&process) {
            self.sum = self.sum.saturating_add(ticks.saturating_sub(*last));
            *last = ticks;
        }
    }

    /// Forgets processes; what they have used still counts.
    pub(super) fn retain(&mut self, stays: impl Fn(&Process) -> bool) {
        self.last.retain(|process, _| stays(process));
    }

    /// Returns the sum in clock ticks.
    pub(super) fn sum(&self) -> u64 {
        self.sum
    }
}

/// Finds the weight that gives the share.
#[derive(Debug)]
pub(super) struct Controller {
    share: f64,
    /// The computed weight.
    base: f64,
    weight: f64,
    /// Weight of a process that is not in the group.
    of_process: f64,
    last: Reading,
    /// Measured share, smoothed.
    measured: Option<f64>,
}

impl Controller {
    /// Begins with the computed weight.
    pub(super) fn new(share: Percent, base: f64, of_process: f64) -> Self {
        Self {
            share: share.fraction().min(0.99),
            base,
            weight: base,
            of_process,
            last: Reading::default(),
            measured: None,
        }
    }

    /// Returns the share that was measured last, smoothed.
    pub(super) fn measured(&self) -> f64 {
        self.measured.unwrap_or_default()
    }

    /// Takes a reading; `busy` is the number of processes inside that are in a statement. Returns the weight if it is
    /// to change.
    pub(super) fn take(&mut self, now: Reading, busy: usize) -> Option<f64> {
        let last = std::mem::replace(&mut self.last, now);
        let share = measured(&last, &self.last).filter(|_| busy > 0)?;
        // Half of it is new.
        let smoothed = self
            .measured
            .map_or(share, |before| f64::midpoint(before, share));
        self.measured = Some(smoothed);
        if (smoothed - self.share).abs() <= TOLERANCE * self.share {
            return None;
        }
        let odds = |share: f64| share / (1.0 - share);
        let factor = odds(self.share) / odds(smoothed.clamp(0.001, 0.999));
        // The root, because a change shows its effect only partly in the next reading.
        let wanted = self.weight * factor.sqrt().clamp(1.0 / STEP, STEP);
        // Never more than its processes would have outside of the group.
        let most = (self.of_process * busy as f64).max(self.base);
        let weight = wanted.clamp(self.base * LEAST, most);
        let changed = (weight / self.weight - 1.0).abs() > 0.02;
        changed.then(|| {
            self.weight = weight;
            weight
        })
    }
}

/// Returns the share of the machine that the processes inside had between two readings; `None` if it was not full.
fn measured(before: &Reading, after: &Reading) -> Option<f64> {
    let total = after.total.checked_sub(before.total)? as f64;
    let idle = after.idle.saturating_sub(before.idle) as f64;
    if before.total == 0 || total <= 0.0 || idle > IDLE * total {
        return None;
    }
    let used = after.inside.checked_sub(before.inside)? as f64;
    Some((used / total).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full machine of two processors, on which `others` times a process's weight competes.
    fn settles(others: f64, busy: usize, seconds: usize) -> (f64, f64) {
        let mut controller = Controller::new("25%".parse().unwrap(), 683.0, 1024.0);
        let (mut weight, mut used, mut share) = (683.0, 0.0, 0.0);
        for second in 1..=seconds {
            share = weight / (weight + others * 1024.0);
            used += share * 200.0;
            let reading = Reading {
                total: second as u64 * 200,
                idle: 0,
                inside: used as u64,
            };
            weight = controller.take(reading, busy).unwrap_or(weight);
        }
        (share, weight)
    }

    #[test]
    fn the_share_is_reached_whoever_competes() {
        for others in [1.0, 2.0, 3.0, 6.0, 12.0] {
            let (share, weight) = settles(others, 5, 12);
            assert!((0.2..0.3).contains(&share), "{others}: {share} by {weight}");
        }
        // Without any competition no weight helps, and it does not fall for ever.
        let (_, weight) = settles(0.01, 5, 50);
        assert!((weight - 683.0 * LEAST).abs() < 1.0, "{weight}");
        // One process gets no more than it would have outside.
        let (_, weight) = settles(50.0, 1, 50);
        assert!((weight - 1024.0).abs() < 1.0, "{weight}");
    }

    #[test]
    fn a_machine_with_idle_time_tells_nothing() {
        let mut controller = Controller::new("25%".parse().unwrap(), 683.0, 1024.0);
        for second in 1..10 {
            let reading = Reading {
                total: second * 200,
                idle: second * 40,
                inside: second * 150,
            };
            assert_eq!(controller.take(reading, 5), None);
        }
    }

    #[test]
    fn what_ended_or_left_still_counts_and_what_came_before_does_not() {
        let process = |pid| Process { pid, started: 1 };
        let mut used = Used::default();
        used.see(process(1), 50);
        used.begin(process(1), 60);
        used.begin(process(2), 0);
        for ticks in [65, 70] {
            used.see(process(1), ticks);
        }
        used.see(process(2), 7);
        used.retain(|process| process.pid == 1);
        used.see(process(2), 99);
        used.see(process(1), 3);
        assert_eq!(used.sum(), 17);
    }

    #[test]
    fn counters_that_fall_do_no_harm() {
        let mut controller = Controller::new("25%".parse().unwrap(), 683.0, 1024.0);
        let reading = |total, inside| Reading {
            total,
            idle: 0,
            inside,
        };
        assert_eq!(controller.take(reading(200, 50), 1), None);
        assert_eq!(controller.take(reading(400, 5), 1), None);
        assert_eq!(controller.take(reading(300, 5), 1), None);
        assert_eq!(controller.take(reading(300, 5), 1), None);
        assert!(controller.take(reading(500, 5), 1).is_some());
        assert_eq!(controller.take(Reading::default(), 0), None);
    }
}
