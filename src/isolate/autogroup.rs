//! The scheduler's autogroups: each process of a server is in one of its own, and competes with the weight of its nice
//! value. The nice value of the process itself counts only within it, so `renice` does nothing.

use super::cgroup::named;
use super::process::{Process, Processes};
use super::share::{self, Competitors, Percent};
use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

/// Logarithm of a change of the weight that is worth another nice value. Between two of them it is 0.22; half of that
/// would change forth and back.
const ENOUGH: f64 = 0.16;

/// Autogroups of OLAP's processes, which share a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Autogroups {
    /// Weight of all together, in the scheduler's unit.
    weight: f64,
    formula: String,
    /// Autogroup of the postmaster, which must keep its weight.
    of_postmaster: u64,
    /// Nice value of those inside.
    #[serde(skip)]
    nice: i32,
}

impl Autogroups {
    /// Computes the weight; changes nothing.
    ///
    /// # Errors
    /// The reason why autogroups are of no use here, to follow the name of the mechanism.
    pub(super) fn plan(
        processes: &Processes,
        postmaster: i32,
        share: Percent,
        is_at_root: bool,
    ) -> Result<Self, String> {
        if !processes.groups_by_itself() {
            return Err("kernel.sched_autogroup_enabled is off, or the kernel has none".to_owned());
        }
        if !is_at_root {
            return Err(
                "the server is in a control group with the cpu controller, or in one that is not visible here: autogroups do not \
                 count there"
                    .to_owned(),
            );
        }
        let (of_postmaster, _) = processes.autogroup(postmaster).ok_or_else(|| {
            "the server's processes have none (they were started with the kernel's)".to_owned()
        })?;
        let file = processes.folder(postmaster).join("autogroup");
        if access(&file, AccessFlags::W_OK).is_err() {
            return Err(format!(
                "this user may not write {}: run it as root or as the server's owner",
                file.display()
            ));
        }
        let competitors = Competitors::Processes(processes.processors);
        let weight = competitors.weight(share);
        Ok(Self {
            weight,
            formula: competitors.formula(share),
            of_postmaster,
            nice: share::nice(weight),
        })
    }

    /// Describes the weights.
    pub(super) fn steps(&self) -> Vec<String> {
        let of = |count: u32| {
            let nice = share::nice(self.weight / f64::from(count));
            format!("{count}: nice {nice} (weight {})", share::weight_of(nice))
        };
        vec![
            format!(
                "divide the weight {:.0} ({}) among OLAP's busy processes",
                self.weight, self.formula
            ),
            format!(
                "write the nice value nearest to that to /proc/PID/autogroup; for {}, for {}, for {}",
                of(1),
                of(5),
                of(10)
            ),
        ]
    }

    /// Returns the weight of all together, and that of one process outside.
    pub(super) fn weight(&self) -> (f64, f64) {
        (self.weight, share::NICE_0)
    }

    /// Changes the weight that is divided.
    pub(super) fn set_weight(&mut self, weight: f64) {
        self.weight = weight;
    }

    /// Sets the number of processes that divide the weight. Returns the nice value if it has changed.
    pub(super) fn divide(&mut self, busy: usize) -> Option<i32> {
        let each = self.weight / busy.max(1) as f64;
        let now = f64::from(share::weight_of(self.nice));
        if (each / now).ln().abs() < ENOUGH {
            return None;
        }
        let nice = share::nice(each);
        (std::mem::replace(&mut self.nice, nice) != nice).then_some(nice)
    }

    /// Returns the nice value of a process's autogroup, to return it to that.
    pub(super) fn place(&self, processes: &Processes, process: Process) -> io::Result<String> {
        match processes.autogroup(process.pid) {
            Some((group, _)) if group == self.of_postmaster => Err(io::Error::other(
                "it shares its autogroup with the postmaster",
            )),
            Some((_, nice)) => Ok(nice.to_string()),
            None => Err(io::Error::other("it has no autogroup")),
        }
    }

    /// Gives a process's autogroup the current nice value.
    pub(super) fn enter(&self, processes: &Processes, process: Process) -> io::Result<()> {
        write(processes, process, &self.nice.to_string())
    }

    /// Gives a process's autogroup its former nice value.
    pub(super) fn leave(processes: &Processes, process: Process, place: &str) -> io::Result<()> {
        write(processes, process, place)
    }
}

fn write(processes: &Processes, process: Process, nice: &str) -> io::Result<()> {
    let file = processes.folder(process.pid).join("autogroup");
    // Unless it is root, the kernel lets a user change one per 100 ms, and says EAGAIN.
    for _ in 0..10 {
        match fs::write(&file, nice) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(std::time::Duration::from_millis(110));
            }
            done => return done.map_err(|error| named(&file, &error)),
        }
    }
    fs::write(&file, nice).map_err(|error| named(&file, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_is_divided_and_small_changes_change_nothing() {
        let mut groups = Autogroups {
            weight: 683.0,
            formula: String::new(),
            of_postmaster: 1,
            nice: 2,
        };
        assert_eq!(groups.divide(1), None);
        assert_eq!(groups.divide(0), None);
        assert_eq!(groups.divide(5), Some(9));
        for weight in [700.0, 610.0, 780.0] {
            groups.set_weight(weight);
            assert_eq!(groups.divide(5), None, "{weight}");
        }
        groups.set_weight(900.0);
        assert_eq!(groups.divide(5), Some(8));
        groups.set_weight(1e9);
        assert_eq!(groups.divide(1), Some(0));
        assert_eq!(groups.divide(1), None);
    }
}
