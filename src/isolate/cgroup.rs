//! A control group beside that of the server: its weight and its hard limit, and the processes moved there and back.

use super::process::{Process, Processes};
use super::share::{self, Competitors, Percent};
use nix::unistd::{AccessFlags, access, geteuid};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Prefix of the names of groups. Nothing else is ever removed.
const PREFIX: &str = "htap-top-olap-";
/// File with the pids of a group.
const MEMBERS: &str = "cgroup.procs";
/// Time for a group to become empty, in tenths of a second: a process that ends stays a while.
const PATIENCE: u32 = 20;

/// The version of a hierarchy of control groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Version {
    /// One hierarchy per controller.
    One,
    /// One hierarchy for all.
    Two,
}

/// A mounted hierarchy that has the cpu controller, or could have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hierarchy {
    version: Version,
    mount: PathBuf,
    /// The group that is mounted; another than `/` in a container.
    root: String,
}

/// A group for OLAP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Group {
    hierarchy: Hierarchy,
    folder: PathBuf,
    /// The postmaster's group. A process returns there if its own is gone.
    home: PathBuf,
    weight: f64,
    /// How the weight was computed.
    formula: String,
    /// Microseconds per period.
    quota_us: Option<u64>,
    /// True if the parent's groups have no cpu controller yet.
    enable: bool,
}

impl Hierarchy {
    /// Finds the hierarchy of this version in the text of /proc/self/mountinfo.
    pub(super) fn find(mounts: &str, version: Version) -> Option<Self> {
        mounts.lines().find_map(|line| {
            let (place, kind) = line.split_once(" - ")?;
            let mut place = place.split(' ').skip(3);
            let (root, mount) = (place.next()?, place.next()?);
            let mut kind = kind.split(' ');
            let (name, options) = (kind.next()?, kind.nth(1)?);
            let fits = match version {
                Version::One => name == "cgroup" && options.split(',').any(|word| word == "cpu"),
                Version::Two => name == "cgroup2",
            };
            fits.then(|| Self {
                version,
                mount: mount.replace("\\040", " ").into(),
                root: root.to_owned(),
            })
        })
    }

    /// Returns a hierarchy of version 2 in this folder.
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self {
            version: Version::Two,
            mount: folder.to_owned(),
            root: "/".to_owned(),
        }
    }

    fn controller(&self) -> &'static str {
        match self.version {
            Version::One => "cpu",
            Version::Two => "",
        }
    }

    /// Returns the folder of a process's group; `None` if it is not visible here, as from within a container.
    fn folder_of(&self, processes: &Processes, pid: i32) -> Option<PathBuf> {
        self.folder(&processes.cgroup(pid, self.controller())?)
    }

    fn folder(&self, path: &str) -> Option<PathBuf> {
        let below = path.strip_prefix(self.root.trim_end_matches('/'))?;
        let is_whole = below.is_empty() || below.starts_with('/');
        if !is_whole || below.split('/').any(|part| part == "..") {
            return None;
        }
        let below = below.trim_matches('/');
        Some(if below.is_empty() {
            self.mount.clone()
        } else {
            self.mount.join(below)
        })
    }

    /// Returns true if a process is scheduled with those of the root group, where the autogroups are.
    pub(super) fn is_at_root(&self, processes: &Processes, pid: i32) -> bool {
        let Some(folder) = self.folder_of(processes, pid) else {
            return false;
        };
        match self.version {
            Version::One => self.root == "/" && folder == self.mount,
            Version::Two => {
                // The nearest group with the controller schedules it.
                let with_cpu = folder
                    .ancestors()
                    .take_while(|folder| folder.starts_with(&self.mount))
                    .find(|folder| has_word(&folder.join("cgroup.controllers"), "cpu"));
                with_cpu.is_none_or(is_root_group)
            }
        }
    }
}

/// Returns true if a folder of version 2 is the root of all groups, which alone has no type.
fn is_root_group(folder: &Path) -> bool {
    !folder.join("cgroup.type").exists()
}

fn has_word(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|found| found == word))
}

fn number(file: &Path) -> Option<f64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

fn is_writable(path: &Path) -> bool {
    access(path, AccessFlags::W_OK).is_ok()
}

impl Group {
    /// Looks for the place of a group, and computes its weight; changes nothing.
    ///
    /// # Errors
    /// The reason why there cannot be one, to follow the name of the mechanism.
    pub(super) fn plan(
        hierarchy: &Hierarchy,
        processes: &Processes,
        postmaster: i32,
        share: Percent,
        limit: Option<Percent>,
    ) -> Result<Self, String> {
        let home = hierarchy.folder_of(processes, postmaster);
        let home = home.filter(|home| home.join(MEMBERS).exists());
        let home = home.ok_or_else(|| {
            "the server's group is not visible here: run it outside of the container".to_owned()
        })?;
        let (parent, competitors) = match hierarchy.version {
            Version::One => of_version_1(hierarchy, &home, processes.processors),
            Version::Two => of_version_2(hierarchy, &home, processes.processors)?,
        };
        let enable = hierarchy.version == Version::Two && needs_enabling(&parent)?;
        let weight = competitors.weight(share);
        let group = Self {
            hierarchy: hierarchy.clone(),
            folder: parent.join(format!("{PREFIX}{postmaster}")),
            weight: match hierarchy.version {
                Version::One => weight,
                Version::Two => share::in_unit_of_version_2(weight, competitors),
            },
            formula: competitors.formula(share),
            quota_us: limit.map(|limit| share::quota_us(limit, processes.processors)),
            enable,
            home,
        };
        group.check_rights(&parent, processes, postmaster)?;
        Ok(group)
    }

    /// Returns an error if this user may not create the group, or may not move processes into it and back.
    fn check_rights(
        &self,
        parent: &Path,
        processes: &Processes,
        postmaster: i32,
    ) -> Result<(), String> {
        let needed = [
            parent.to_owned(),
            parent.join(MEMBERS),
            self.home.join(MEMBERS),
        ];
        if let Some(path) = needed.iter().find(|path| !is_writable(path)) {
            return Err(format!(
                "this user may not write {}: run it as root, or have the group delegated to the server's owner",
                path.display()
            ));
        }
        let owner = fs::metadata(processes.folder(postmaster)).map_or(0, |meta| meta.uid());
        let us = geteuid();
        if self.hierarchy.version == Version::One && !us.is_root() && us.as_raw() != owner {
            return Err(
                "only root and the server's owner may move its processes: run it as one of them"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// Returns the name of the mechanism.
    pub(super) fn name(&self) -> &'static str {
        match self.hierarchy.version {
            Version::One => "cgroup v1 cpu.shares",
            Version::Two => "cgroup v2 cpu.weight",
        }
    }

    /// Returns the steps that `prepare` takes, and the computation of the weight.
    pub(super) fn steps(&self) -> Vec<String> {
        let mut steps = Vec::new();
        if self.enable {
            let parent = self.folder.parent().unwrap_or(Path::new("/"));
            steps.push(format!(
                "write +cpu to {}/cgroup.subtree_control, which stays: every group there then has a weight, 100 unless set",
                parent.display()
            ));
        }
        steps.push(format!("make the group {}", self.folder.display()));
        for (index, (file, value)) in self.settings().into_iter().enumerate() {
            let why = match index {
                0 => format!(" ({})", self.formula),
                _ => String::new(),
            };
            steps.push(format!("write {value} to its {file}{why}"));
        }
        steps
    }

    /// Returns the weight as the kernel takes it.
    fn rounded(&self) -> u64 {
        match self.hierarchy.version {
            Version::One => share::shares(self.weight),
            Version::Two => share::weight_of_version_2(self.weight),
        }
    }

    /// Returns the weight, and that of a process outside of all groups.
    pub(super) fn weight(&self) -> (f64, f64) {
        match self.hierarchy.version {
            Version::One => (self.weight, share::NICE_0),
            Version::Two => (self.weight, share::WEIGHT_0),
        }
    }

    /// Changes the weight.
    pub(super) fn set_weight(&mut self, weight: f64) -> io::Result<()> {
        self.weight = weight;
        // The first setting is the weight.
        let first = self.settings().into_iter().next();
        first.map_or(Ok(()), |(file, value)| {
            write(&self.folder.join(file), &value)
        })
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let (weight, period) = (self.rounded().to_string(), share::PERIOD_US);
        match (self.hierarchy.version, self.quota_us) {
            (Version::One, None) => vec![("cpu.shares", weight)],
            (Version::One, Some(quota)) => vec![
                ("cpu.shares", weight),
                ("cpu.cfs_period_us", period.to_string()),
                ("cpu.cfs_quota_us", quota.to_string()),
            ],
            (Version::Two, None) => vec![("cpu.weight", weight)],
            (Version::Two, Some(quota)) => vec![
                ("cpu.weight", weight),
                ("cpu.max", format!("{quota} {period}")),
            ],
        }
    }

    /// Returns the folder if it exists.
    pub(super) fn taken(&self) -> Option<String> {
        let exists = self.folder.exists();
        exists.then(|| self.folder.display().to_string())
    }

    /// Makes the group. If a setting is refused, it is removed.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if self.enable
            && let Some(parent) = self.folder.parent()
        {
            write(&parent.join("cgroup.subtree_control"), "+cpu")?;
        }
        fs::create_dir(&self.folder).map_err(|error| named(&self.folder, &error))?;
        for (file, value) in self.settings() {
            if let Err(error) = write(&self.folder.join(file), &value) {
                let _ = fs::remove_dir(&self.folder);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Returns where a process is, to return it there.
    pub(super) fn place(&self, processes: &Processes, process: Process) -> io::Result<String> {
        let folder = self.hierarchy.folder_of(processes, process.pid);
        // One that could not be returned before.
        let folder = folder.filter(|folder| *folder != self.folder);
        let folder = folder.unwrap_or_else(|| self.home.clone());
        let text = folder.into_os_string().into_string();
        text.map_err(|_| io::Error::other("the path of its group is not UTF-8"))
    }

    /// Moves a process into the group.
    pub(super) fn enter(&self, process: Process) -> io::Result<()> {
        write(&self.folder.join(MEMBERS), &process.pid.to_string())
    }

    /// Moves a process back to where it was.
    pub(super) fn leave(&self, process: Process, place: &str) -> io::Result<()> {
        let pid = process.pid.to_string();
        let left = write(&Path::new(place).join(MEMBERS), &pid);
        match left {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                write(&self.home.join(MEMBERS), &pid)
            }
            left => left,
        }
    }

    /// Moves the processes left in the group to the server's group, and removes the group. Blocks, for some seconds if a
    /// process does not leave.
    pub(super) fn remove(&self) -> io::Result<()> {
        let name = self.folder.file_name().unwrap_or_default();
        if !name.to_string_lossy().starts_with(PREFIX) {
            return Err(named(
                &self.folder,
                &io::Error::other("is no group of ours"),
            ));
        }
        let mut tries = 0;
        loop {
            let members = fs::read_to_string(self.folder.join(MEMBERS)).unwrap_or_default();
            for pid in members.split_whitespace() {
                // It may end at any moment.
                let _ = write(&self.home.join(MEMBERS), pid);
            }
            match fs::remove_dir(&self.folder) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
                Err(error) if tries == PATIENCE => return Err(named(&self.folder, &error)),
                Err(_) => tries += 1,
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Returns the parent of the new group, and its competitors there.
fn of_version_1(hierarchy: &Hierarchy, home: &Path, processors: u32) -> (PathBuf, Competitors) {
    let beside = home.parent().filter(|_| *home != hierarchy.mount);
    match (beside, number(&home.join("cpu.shares"))) {
        (Some(parent), Some(shares)) => (parent.to_owned(), Competitors::Group(shares)),
        _ => (home.to_owned(), Competitors::Processes(processors)),
    }
}

fn of_version_2(
    hierarchy: &Hierarchy,
    home: &Path,
    processors: u32,
) -> Result<(PathBuf, Competitors), String> {
    if is_root_group(home) {
        return Ok((home.to_owned(), Competitors::Processes(processors)));
    }
    let beside = home.parent().filter(|_| *home != hierarchy.mount);
    let parent = beside.ok_or_else(|| {
        "the server is in the uppermost group that is visible here, so none can be made beside it: run it outside of the \
         container, or start the server in a subgroup"
            .to_owned()
    })?;
    let weight = number(&home.join("cpu.weight")).unwrap_or(100.0);
    Ok((parent.to_owned(), Competitors::Group(weight)))
}

/// Returns true if the groups in `parent` get the cpu controller only after it is enabled.
fn needs_enabling(parent: &Path) -> Result<bool, String> {
    let shown = parent.display();
    if !has_word(&parent.join("cgroup.controllers"), "cpu") {
        return Err(format!(
            "{shown} has no cpu controller (cgroup.controllers); it is in a hierarchy of version 1, or not delegated"
        ));
    }
    let control = parent.join("cgroup.subtree_control");
    if has_word(&control, "cpu") {
        return Ok(false);
    }
    let has_members = fs::read_to_string(parent.join(MEMBERS))
        .is_ok_and(|members| members.split_whitespace().next().is_some());
    if has_members && !is_root_group(parent) {
        return Err(format!(
            "{shown} has processes of its own, so its groups can get no cpu controller: with systemd, set Delegate=cpu and \
             DelegateSubgroup=server for the server's unit"
        ));
    }
    if !is_writable(&control) {
        return Err(format!(
            "the groups in {shown} have no cpu controller, and this user may not enable it: run it as root"
        ));
    }
    Ok(true)
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    fs::write(file, text).map_err(|error| named(file, &error))
}

/// Adds the file to an error.
pub(super) fn named(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}

#[cfg(test)]
mod tests;
