//! Parses the files of the checks: front matter in TOML, written as SQL comments, then the statement.
//!
//! The statement returns four text columns: `severity`, `subject`, `evidence`, `cure`. The severity is `danger`,
//! `warning` or `info`; a row with `unknown` is no finding, and its evidence states what could not be checked.

use super::session;
use crate::embedded;
use crate::sqlfile::File;
use crate::system::definition;
use serde::Deserialize;
use std::fmt::{Display, Write as _};
use std::sync::LazyLock;

/// The front matter of a check.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Front {
    /// The subject of the check.
    pub title: String,
    /// Place among the checks.
    pub order: u32,
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
pub struct Check<'a> {
    /// File name without extension.
    pub name: &'a str,
    /// Its front matter.
    pub front: Front,
    /// The statement for the server's version.
    pub sql: String,
}

/// The files of `queries/doctor/`.
static FILES: LazyLock<Result<Vec<File<'static>>, String>> =
    LazyLock::new(|| File::sort(embedded::CHECKS).map_err(|why| format!("queries/doctor/{why}")));

/// Reads checks for a server of this major version, in their order; an unknown newer one gets the newest statements.
/// An error names the file.
pub fn read<'a>(files: &[File<'a>], major: i64) -> Result<Vec<Check<'a>>, String> {
    let mut checks: Vec<Check<'_>> = Vec::new();
    for file in files {
        let fail = |why: &dyn Display| Err(format!("queries/doctor/{}.sql: {why}", file.name));
        let (front, sql) = file.parts(major);
        let front: Front = match toml::from_str(&front) {
            Ok(front) => front,
            Err(error) => return fail(&error.to_string().trim_end()),
        };
        if let Some(other) = checks.iter().find(|check| check.front.order == front.order) {
            return fail(&format!("order is that of {}.sql", other.name));
        }
        checks.push(Check {
            name: file.name,
            front,
            sql: sql.replace("{schema_version}", &definition::VERSION.to_string()),
        });
    }
    checks.sort_by_key(|check| check.front.order);
    Ok(checks)
}

/// Returns all checks from files, for a server of this major version.
pub fn all(major: i64) -> Result<Vec<Check<'static>>, String> {
    read(FILES.as_deref().map_err(Clone::clone)?, major)
}

/// Returns the names of all files and the major versions of their variants.
pub fn variants() -> impl Iterator<Item = (&'static str, Vec<i64>)> {
    let files = FILES.as_deref().unwrap_or_default();
    files.iter().map(|file| {
        let majors = file.later.iter().map(|(major, _)| *major).collect();
        (file.name, majors)
    })
}

/// Formats the checks as Markdown, as included in docs/doctor.md.
pub fn markdown(checks: &[Check<'_>]) -> String {
    let own = session::CHECKS;
    let files = checks.iter();
    let files = files.map(|check| (check.name, check.front.title.as_str()));
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
    fn a_check_has_a_place_of_its_own() {
        let refused = |front: &str| {
            let text = format!("-- title = \"x\"\n-- about = \"x\"\n{front}SELECT 1");
            let mut files = FILES.clone().unwrap();
            files.push(File {
                name: "mine",
                base: &text,
                later: Vec::new(),
                columnar: None,
            });
            read(&files, 15).err().unwrap_or_default()
        };
        assert_eq!(refused("-- order = 1\n"), "");
        assert!(refused("").starts_with("queries/doctor/mine.sql: "));
        assert!(refused("").contains("missing field `order`"));
        let taken = refused("-- order = 10\n");
        assert_eq!(
            taken,
            "queries/doctor/mine.sql: order is that of privileges.sql"
        );
    }
}
