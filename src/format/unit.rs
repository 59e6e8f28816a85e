//! Units of figures.

use serde::Deserialize;

/// The unit of a column's figures, which determines their format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Text unchanged; numbers without a unit.
    #[default]
    Plain,
    /// A count: at most four significant digits (`182k`).
    Count,
    /// Bytes (`1.2 MB`).
    Bytes,
    /// Seconds (`50s`, `4m12s`, `12d`).
    Seconds,
    /// Milliseconds (`31.0ms`).
    Ms,
    /// Percent, 0 to 100.
    Percent,
    /// An amount of money, with separators between thousands.
    Money,
    /// Per second.
    PerSecond,
    /// Epoch seconds, shown as local time of day.
    Time,
    /// Epoch seconds, shown as the hour of the day.
    Hour,
    /// Yes or no.
    Flag,
}
