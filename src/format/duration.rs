//! Parsing of durations.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use std::time::Duration;

/// Parses a duration such as `500ms`, `5s`, `2m`, `1h`.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit.trim() {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        other => {
            return Err(format!(
                "unknown unit {other:?} in duration {text:?}: use ms, s, m, h or d"
            ));
        }
    };
    let seconds: f64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration: write it like 5s or 500ms"))?;
    Duration::try_from_secs_f64(seconds * factor)
        .map_err(|_| format!("duration {text:?} is out of range"))
}

/// Deserializes a duration, for `#[serde(deserialize_with = …)]`.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(Error::custom)
}

/// Like [`deserialize`], for a duration that may be missing.
pub(crate) fn maybe<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer).map(Some)
}
