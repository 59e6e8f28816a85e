//! Characters of charts.

use serde::Deserialize;

/// Characters that the timeline is drawn with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Charts {
    /// Braille dots for lines, blocks for the rest.
    #[default]
    Braille,
    /// Blocks only, for fonts without braille.
    Block,
    /// Characters that every terminal has.
    Ascii,
}
