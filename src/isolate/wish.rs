//! The options of `isolate`.

use super::share::Percent;
use crate::dashboard::panels::classify::Classifier;
use std::path::PathBuf;

/// The requested mechanism.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Wanted {
    /// The first that can be used
    #[default]
    Auto,
    /// Control groups of version 2: cpu.weight, cpu.max
    Cgroup2,
    /// Control groups of version 1: cpu.shares, cpu.cfs_quota_us
    Cgroup1,
    /// The nice values of the scheduler's autogroups
    Autogroup,
}

/// The requested isolation.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// OLAP's share of a full machine.
    pub(crate) share: Percent,
    /// Hard limit, of all processors.
    pub(crate) limit: Option<Percent>,
    /// The mechanism.
    pub(crate) mechanism: Wanted,
    /// A made-up hierarchy of version 2.
    pub(crate) cgroup2_root: Option<PathBuf>,
    /// Assigns the classes.
    pub(crate) classifier: Classifier,
    /// Folder of the files that tell what must be undone.
    pub(crate) folder: PathBuf,
}

impl Wish {
    /// Returns the share that can be reached: the hard limit, if that is lower. No weight gives more.
    pub(super) fn least(&self) -> Percent {
        let limit = self.limit.unwrap_or(self.share);
        if limit.fraction() < self.share.fraction() {
            limit
        } else {
            self.share
        }
    }
}
