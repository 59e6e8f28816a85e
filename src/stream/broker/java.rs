//! The Java that runs the broker.

use crate::cluster::ClusterError;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Oldest Java that Kafka's broker runs on.
const OLDEST: u32 = 17;

/// Returns `wanted`, else the program in `$JAVA_HOME`, else the one in `PATH`, if it is new enough. Blocks briefly.
pub(super) fn find(wanted: Option<&Path>) -> Result<PathBuf, ClusterError> {
    let home = || std::env::var_os("JAVA_HOME").filter(|home| !home.is_empty());
    let program = wanted
        .map(Path::to_owned)
        .or_else(|| home().map(|home| Path::new(&home).join("bin/java")))
        .unwrap_or_else(|| PathBuf::from("java"));
    let shown = program.display();
    let answer = Command::new(&program)
        .arg("-version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| missing(&format!("{shown} does not run: {error}")))?;
    match major_of(&String::from_utf8_lossy(&answer.stderr)) {
        Some(major) if major >= OLDEST => Ok(program),
        Some(major) => Err(missing(&format!("{shown} is Java {major}"))),
        None => Err(missing(&format!("{shown} does not report a version"))),
    }
}

/// Parses the major version in `openjdk version "17.0.15" 2025-04-15`. Java 8 is `1.8.0`.
fn major_of(text: &str) -> Option<u32> {
    let version = text.split("version \"").nth(1)?.split('"').next()?;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit());
    let first = numbers.next()?.parse().ok()?;
    if first == 1 {
        numbers.next()?.parse().ok()
    } else {
        Some(first)
    }
}

fn missing(why: &str) -> ClusterError {
    ClusterError::Missing(format!(
        "Kafka's broker needs Java {OLDEST} or later: {why}. Install it, or set JAVA_HOME to its folder:\n\x20 Debian, \
         Ubuntu: sudo apt-get install openjdk-17-jre-headless\n\x20 Red Hat, Fedora: sudo dnf install \
         java-21-openjdk-headless\n\x20 macOS: brew install openjdk"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_read_from_what_java_reports() {
        let of = |version: &str| major_of(&format!("Picked up X\nopenjdk version {version} x"));
        assert_eq!(of("\"17.0.15\""), Some(17));
        assert_eq!(of("\"1.8.0_452\""), Some(8));
        assert_eq!(of("\"25\""), Some(25));
        assert_eq!(of("\"26-ea\""), Some(26));
        assert_eq!(major_of("bash: java: command not found"), None);
    }
}
