//! Parses the files of the checks: front matter in TOML, written as SQL comments, then the statement.
//!
//! The statement returns four text columns: `severity`, `subject`, `evidence`, `cure`. The severity is `danger`,
//! `warning` or `info`; a row with `unknown` is no finding, and its evidence states what could not be checked.

use super::session;
use crate::sqlfile::split;
use crate::system::definition;
use serde::Deserialize;
use std::fmt::Write as _;

/// The front matter of a check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// The subject of the check.
    pub title: String,
    /// The conditions of a finding and its consequences, and the cost and limits of the check.
    pub about: String,
    /// Relations that it reads, schema-qualified.
    #[serde(default)]
    pub needs: Vec<String>,
    /// Relations that it reads if they exist.
    #[serde(default)]
    pub may_read: Vec<String>,
    /// The command that creates them.
    #[serde(default)]
    pub remedy: String,
}

/// A check from a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// File name without extension.
    pub name: &'static str,
    /// Its front matter.
    pub front: Front,
    /// The statement for the server's version.
    pub sql: String,
}

struct File {
    name: &'static str,
    /// Text for the oldest supported version, with front matter.
    base: &'static str,
    /// Texts for later versions, ascending.
    later: &'static [(i64, &'static str)],
}

macro_rules! file {
    ($name:literal $(, $major:literal)*) => {
        File {
            name: $name,
            base: include_str!(concat!("../../queries/doctor/", $name, ".sql")),
            later: &[$(($major, include_str!(concat!("../../queries/doctor/", $name, ".", $major, ".sql")))),*],
        }
    };
}

/// The checks in the order in which they run.
static FILES: &[File] = &[
    file!("privileges"),
    file!("reading"),
    file!("rules"),
    file!("statements"),
    file!("tracking"),
    file!("schema"),
    file!("summaries"),
    file!("views"),
    file!("limits"),
    file!("autovacuum"),
    file!("hot_updates", 16),
    file!("analyze"),
    file!("indexes"),
    file!("keys"),
    file!("sequences"),
    file!("partitions"),
    file!("slots"),
    file!("archiver"),
    file!("prepared"),
    file!("wraparound"),
    file!("checkpoints", 17),
    file!("durability"),
    file!("standby"),
];

/// Parses a file for its front matter, and selects the statement for the server's version.
fn parse(file: &File, major: i64) -> Result<Check, toml::de::Error> {
    let (front, base) = split(file.base);
    let later = file.later.iter().rev().find(|(from, _)| *from <= major);
    let sql = later.map_or(base, |(_, text)| split(text).1);
    Ok(Check {
        name: file.name,
        front: toml::from_str(&front)?,
        sql: sql.replace("{schema_version}", &definition::VERSION.to_string()),
    })
}

/// Returns all checks from files, for a server of this major version; an unknown newer one gets the newest. A file that
/// does not parse is left out here and fails a test.
pub fn all(major: i64) -> Vec<Check> {
    FILES
        .iter()
        .filter_map(|file| parse(file, major).ok())
        .collect()
}

/// Returns the names of all files and the major versions of their variants.
pub fn variants() -> impl Iterator<Item = (&'static str, Vec<i64>)> {
    FILES.iter().map(|file| {
        let majors = file.later.iter().map(|(major, _)| *major).collect();
        (file.name, majors)
    })
}

/// Formats the checks as Markdown, as included in docs/doctor.md.
pub fn markdown() -> String {
    let own = session::CHECKS.map(|(name, title)| (name, title.to_owned()));
    let files = all(0).into_iter();
    let files = files.map(|check| (check.name, check.front.title));
    let mut table = "| Check | What it looks at |\n| --- | --- |\n".to_owned();
    for (name, title) in files.chain(own) {
        let _ = writeln!(table, "| `{name}` | {title} |");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_parses() {
        for file in FILES {
            parse(file, 0).unwrap();
        }
    }

    #[test]
    fn the_docs_list_the_checks() {
        let page = include_str!("../../docs/doctor.md");
        let listed = page
            .split_once("<!-- doctor -->\n")
            .and_then(|(_, rest)| rest.split_once("<!-- /doctor -->"))
            .map(|(listed, _)| listed);
        assert_eq!(
            listed,
            Some(markdown().as_str()),
            "put the right side between the markers of docs/doctor.md"
        );
    }
}
