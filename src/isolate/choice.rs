//! Chooses the mechanism that this machine supports, and says why not another.

use super::autogroup::Autogroups;
use super::cgroup::{Group, Hierarchy, Version};
use super::error::IsolateError;
use super::process::{Process, Processes};
use super::wish::{Wanted, Wish};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::io;

/// How OLAP's processes are isolated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Means {
    /// In a control group.
    Cgroup(Group),
    /// By the nice values of their autogroups.
    Autogroup(Autogroups),
}

/// The mechanism that was chosen, and why the others were not.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) means: Means,
    /// Names and reasons.
    pub(super) others: Vec<(&'static str, String)>,
}

impl Means {
    /// Returns the name of the mechanism.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Cgroup(group) => group.name(),
            Self::Autogroup(_) => "autogroup nice",
        }
    }

    /// Returns the steps in which it is set up.
    pub(super) fn steps(&self) -> Vec<String> {
        match self {
            Self::Cgroup(group) => group.steps(),
            Self::Autogroup(groups) => groups.steps(),
        }
    }

    /// Returns the weight of OLAP, and that of one process outside.
    pub(super) fn weight(&self) -> (f64, f64) {
        match self {
            Self::Cgroup(group) => group.weight(),
            Self::Autogroup(groups) => groups.weight(),
        }
    }

    /// Changes the weight; that of autogroups counts after [`Autogroups::divide`].
    pub(super) fn set_weight(&mut self, weight: f64) -> io::Result<()> {
        match self {
            Self::Cgroup(group) => group.set_weight(weight),
            Self::Autogroup(groups) => {
                groups.set_weight(weight);
                Ok(())
            }
        }
    }

    /// Returns the group if it already exists, and therefore belongs to somebody else.
    pub(super) fn taken(&self) -> Option<String> {
        match self {
            Self::Cgroup(group) => group.taken(),
            Self::Autogroup(_) => None,
        }
    }

    /// Sets it up. If that fails, nothing is left.
    pub(super) fn prepare(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(group) => group.prepare(),
            Self::Autogroup(_) => Ok(()),
        }
    }

    /// Returns where a process is, to return it there.
    pub(super) fn place(&self, processes: &Processes, process: Process) -> io::Result<String> {
        match self {
            Self::Cgroup(group) => group.place(processes, process),
            Self::Autogroup(groups) => groups.place(processes, process),
        }
    }

    /// Moves a process in.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if it has ended.
    pub(super) fn enter(&self, processes: &Processes, process: Process) -> io::Result<()> {
        ended(processes, process)?;
        let entered = match self {
            Self::Cgroup(group) => group.enter(process),
            Self::Autogroup(groups) => groups.enter(processes, process),
        };
        entered.or_else(|error| ended(processes, process).and(Err(error)))
    }

    /// Moves a process back to `place`. One that has ended needs nothing.
    pub(super) fn leave(
        &self,
        processes: &Processes,
        process: Process,
        place: &str,
    ) -> io::Result<()> {
        if !processes.lives(process) {
            return Ok(());
        }
        let left = match self {
            Self::Cgroup(group) => group.leave(process, place),
            Self::Autogroup(_) => Autogroups::leave(processes, process, place),
        };
        left.or_else(|error| {
            if processes.lives(process) {
                Err(error)
            } else {
                Ok(())
            }
        })
    }

    /// Removes what `prepare` made.
    pub(super) fn remove(&self) -> io::Result<()> {
        match self {
            Self::Cgroup(group) => group.remove(),
            Self::Autogroup(_) => Ok(()),
        }
    }
}

fn ended(processes: &Processes, process: Process) -> io::Result<()> {
    if processes.lives(process) {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::NotFound, "it has ended"))
    }
}

/// Why `renice` is no mechanism.
const RENICE: &str = "under the autogroup a process's own nice value counts only within its own group, where it is alone";

/// Chooses the mechanism; changes nothing.
///
/// # Errors
/// There is none, with the reason for each.
pub(super) fn choose(
    processes: &Processes,
    postmaster: i32,
    wish: &Wish,
) -> Result<Choice, IsolateError> {
    let mounts = processes.mounts();
    let made_up = wish.cgroup2_root.as_deref().map(Hierarchy::in_folder);
    let second = made_up.or_else(|| Hierarchy::find(&mounts, Version::Two));
    let first = Hierarchy::find(&mounts, Version::One);
    let is_at_root = [&first, &second]
        .into_iter()
        .flatten()
        .all(|hierarchy| hierarchy.is_at_root(processes, postmaster));
    let group = |hierarchy: Option<&Hierarchy>, missing: &str| {
        let hierarchy = hierarchy.ok_or_else(|| missing.to_owned())?;
        let (share, limit) = (wish.share, wish.limit);
        let group = Group::plan(hierarchy, processes, postmaster, share, limit)?;
        Ok(Means::Cgroup(group))
    };
    let mut others = Vec::new();
    let mut chosen = None;
    for (wanted, name) in [
        (Wanted::Cgroup2, "cgroup v2"),
        (Wanted::Cgroup1, "cgroup v1"),
        (Wanted::Autogroup, "autogroup"),
    ] {
        let tried: Result<Means, String> =
            if wish.mechanism != Wanted::Auto && wish.mechanism != wanted {
                Err("--mechanism names another".to_owned())
            } else if chosen.is_some() {
                Err("not needed".to_owned())
            } else {
                match wanted {
                    Wanted::Cgroup2 => group(second.as_ref(), "it is not mounted"),
                    Wanted::Cgroup1 => group(first.as_ref(), "no hierarchy with cpu is mounted"),
                    Wanted::Auto | Wanted::Autogroup if wish.limit.is_some() => {
                        Err("it has no hard limit (--max)".to_owned())
                    }
                    Wanted::Auto | Wanted::Autogroup => {
                        Autogroups::plan(processes, postmaster, wish.share, is_at_root)
                            .map(Means::Autogroup)
                    }
                }
            };
        match tried {
            Ok(means) => chosen = Some(means),
            Err(why) => others.push((name, why)),
        }
    }
    if processes.groups_by_itself() && is_at_root {
        others.push(("renice", RENICE.to_owned()));
    }
    match chosen {
        Some(means) => Ok(Choice { means, others }),
        None => Err(none(&others)),
    }
}

fn none(others: &[(&'static str, String)]) -> IsolateError {
    let mut text = "cannot isolate OLAP here, as no mechanism can be used:".to_owned();
    for (name, why) in others {
        let _ = write!(text, "\n  {name}: {why}");
    }
    if others.iter().any(|(_, why)| why.contains("may not")) {
        IsolateError::Privilege(text)
    } else {
        IsolateError::Refused(text)
    }
}
