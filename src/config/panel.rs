//! Settings of a panel.

use crate::format::duration::maybe as maybe_duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How many columns of a panel are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// What a row is, what it is sorted by, and little else.
    Narrow,
    /// Those of the Overview.
    Usual,
    /// All.
    Wide,
}

impl Profile {
    /// All profiles.
    pub const ALL: [Self; 3] = [Self::Narrow, Self::Usual, Self::Wide];

    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Usual => "usual",
            Self::Wide => "wide",
        }
    }
}

/// Where a business panel can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PanelPool {
    /// The column store.
    Columnar,
}

/// Settings of a panel.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PanelConfig {
    /// Time between samples.
    #[serde(deserialize_with = "maybe_duration")]
    pub interval: Option<Duration>,
    /// Where a business panel is asked instead of its own pool.
    pub pool: Option<PanelPool>,
    /// Neither sample nor show it.
    pub off: bool,
    /// Columns shown first, in this order; the Overview shows only these.
    pub columns: Vec<String>,
    /// Columns not shown. Scripts get them nevertheless.
    pub hide: Vec<String>,
    /// How many columns are shown.
    pub profile: Option<Profile>,
    /// Initial sort column, with a leading `-` for descending.
    pub sort: String,
}
