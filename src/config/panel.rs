//! Settings of a panel.

use crate::format::duration::maybe as maybe_duration;
use serde::Deserialize;
use std::time::Duration;

/// Settings of a panel.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PanelConfig {
    /// Time between samples.
    #[serde(deserialize_with = "maybe_duration")]
    pub interval: Option<Duration>,
    /// Neither sample nor show it.
    pub off: bool,
    /// Columns shown first, in this order; the Overview shows only these.
    pub columns: Vec<String>,
    /// Columns not shown. Scripts get them nevertheless.
    pub hide: Vec<String>,
    /// Initial sort column, with a leading `-` for descending.
    pub sort: String,
}
