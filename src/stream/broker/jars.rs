//! Kafka's jars: fetched with Maven, verified, and kept in the cache folder.

use crate::cluster::{ClusterError, cache, last_lines};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::sleep;

/// What a broker needs, one jar per line: `group:artifact:version`, and the SHA-256 of the file. Left out are the
/// libraries of tools and of OAuth.
const JARS: &str = include_str!("jars.txt");

/// Version of Kafka in [`JARS`].
pub(crate) const VERSION: &str = "4.3.1";

const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// A line of [`JARS`].
#[derive(Clone, Copy, Debug)]
struct Jar {
    group: &'static str,
    artifact: &'static str,
    version: &'static str,
    sha256: &'static str,
}

fn jars() -> impl Iterator<Item = Jar> {
    JARS.lines().filter_map(|line| {
        let (name, sha256) = line.split_once(' ')?;
        let mut parts = name.split(':');
        Some(Jar {
            group: parts.next()?,
            artifact: parts.next()?,
            version: parts.next()?,
            sha256,
        })
    })
}

impl Jar {
    fn file(self) -> String {
        format!("{}-{}.jar", self.artifact, self.version)
    }

    /// Compares the file in `folder` with the checksum.
    fn verify(self, folder: &Path) -> Result<(), ClusterError> {
        let path = folder.join(self.file());
        let bytes =
            std::fs::read(&path).map_err(ClusterError::io(format!("read {}", path.display())))?;
        let mut found = String::new();
        for byte in openssl::sha::sha256(&bytes) {
            let _ = write!(found, "{byte:02x}");
        }
        if found == self.sha256 {
            return Ok(());
        }
        Err(ClusterError::Missing(format!(
            "{} is not the file that Kafka {VERSION} was tested with: its SHA-256 is {found}, not {}. Remove it from the \
             local Maven repository (~/.m2/repository), and check the mirrors in ~/.m2/settings.xml",
            self.file(),
            self.sha256
        )))
    }
}

/// Returns the folder of the jars; `None` unless all were fetched and are as they were.
pub(super) fn fetched() -> Option<PathBuf> {
    let home = cache::folder("kafka")?.join(VERSION);
    jars().all(|jar| jar.verify(&home).is_ok()).then_some(home)
}

/// Returns the class path: these jars, and nothing else that may be in their folder.
pub(super) fn class_path(home: &Path) -> String {
    let paths = jars().map(|jar| home.join(jar.file()).display().to_string());
    paths.collect::<Vec<_>>().join(":")
}

/// Fetches the jars, about 40 MB, into the cache folder and returns their folder. Dropped before its end, it leaves neither
/// Maven nor files behind.
pub(super) async fn fetch() -> Result<PathBuf, ClusterError> {
    let cache = cache::folder("kafka")
        .ok_or_else(|| missing("HOME is not set, so there is no cache folder"))?;
    let home = cache.join(VERSION);
    let staging = cache::staging(&cache)?;
    let tree = staging.path().join("jars");
    run_maven(Path::new("mvn"), staging.path(), &tree).await?;
    for jar in jars() {
        jar.verify(&tree)?;
        cache::allow_everybody(&tree.join(jar.file()))?;
    }
    cache::allow_everybody(&tree)?;
    // Remains of a folder in which files are missing. The rename completes the download; if another one was faster, its
    // result is used.
    if fetched().is_none() {
        let _ = std::fs::remove_dir_all(&home);
    }
    let renamed = std::fs::rename(&tree, &home);
    match (fetched(), renamed) {
        (Some(home), _) => Ok(home),
        (None, Err(source)) => Err(ClusterError::io(format!("write {}", home.display()))(
            source,
        )),
        (None, Ok(())) => Err(missing("the fetched files were removed by another program")),
    }
}

/// Maven and what it starts. Dropping it kills them.
struct Maven(Child);

impl Drop for Maven {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            let _ = killpg(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGKILL);
            let _ = self.0.wait();
        }
    }
}

/// Lets Maven copy the jars to `tree`, with the user's own mirrors, proxies and local repository.
async fn run_maven(program: &Path, folder: &Path, tree: &Path) -> Result<(), ClusterError> {
    let writing = |path: &Path| ClusterError::io(format!("write {}", path.display()));
    let (project, log) = (folder.join("pom.xml"), folder.join("maven.log"));
    std::fs::write(&project, pom()).map_err(writing(&project))?;
    let told = File::create(&log).map_err(writing(&log))?;
    let maven = Command::new(program)
        .args([
            "-B",
            "-q",
            "-Dstyle.color=never",
            PLUGIN,
            "-DincludeScope=runtime",
        ])
        .arg(format!("-DoutputDirectory={}", tree.display()))
        .current_dir(folder)
        // Outside our group: Ctrl-C in the terminal reaches htap-top alone, which ends Maven.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(told)
        .stderr(Stdio::null())
        .spawn();
    let mut maven = match maven {
        Ok(maven) => Maven(maven),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(missing("there is no Maven client (mvn) to fetch them with"));
        }
        Err(error) => return Err(ClusterError::io("run mvn")(error)),
    };
    let status = loop {
        let ended = maven.0.try_wait();
        if let Some(status) = ended.map_err(ClusterError::io("wait for mvn"))? {
            break status;
        }
        sleep(Duration::from_millis(50)).await;
    };
    if status.success() {
        return Ok(());
    }
    let told = std::fs::read(&log).unwrap_or_default();
    Err(missing(&format!("Maven failed: {}", complaint(&told))))
}

/// A project that depends on exactly these jars.
fn pom() -> String {
    let mut text = String::from(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>htap-top</groupId><artifactId>broker</artifactId><version>1</version><packaging>pom</packaging>\
         <dependencies>\n",
    );
    for jar in jars() {
        let _ = writeln!(
            text,
            "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version><exclusions><exclusion>\
             <groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>",
            jar.group, jar.artifact, jar.version
        );
    }
    text.push_str("</dependencies></project>\n");
    text
}

/// Returns Maven's first error: what follows are hints about its own options.
fn complaint(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let first = text.lines().find_map(|line| line.strip_prefix("[ERROR] "));
    first.map_or_else(|| last_lines(output), |line| line.trim().to_owned())
}

fn missing(why: &str) -> ClusterError {
    ClusterError::Missing(format!(
        "failed to fetch the jars of Kafka {VERSION}: {why}. They come from Maven Central, or from the mirror in \
         ~/.m2/settings.xml, once. To install Maven:\n\x20 Debian, Ubuntu: sudo apt-get install maven\n\x20 Red Hat, \
         Fedora: sudo dnf install maven\n\x20 macOS: brew install maven"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_names_a_jar_and_its_checksum() {
        assert_eq!(jars().count(), JARS.lines().count());
        for jar in jars() {
            assert_eq!(jar.sha256.len(), 64, "{jar:?}");
            let kafka = jar.group == "org.apache.kafka";
            assert!(!kafka || jar.version == VERSION, "{jar:?}");
        }
        assert!(pom().contains("<artifactId>kafka_2.13</artifactId><version>4.3.1</version>"));
    }

    #[test]
    fn another_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let jar = jars().next().unwrap();
        std::fs::write(folder.path().join(jar.file()), "abc").unwrap();
        let message = jar.verify(folder.path()).unwrap_err().to_string();
        assert!(
            message.contains("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            "{message}"
        );
        let empty = Jar {
            sha256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ..jar
        };
        empty.verify(folder.path()).unwrap();
    }

    #[tokio::test]
    async fn maven_ends_with_who_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (program, started) = (folder.path().join("mvn"), folder.path().join("started"));
        let script =
            "#!/bin/sh\nsleep 600 &\necho $! > started.part && mv started.part started\nwait\n";
        std::fs::write(&program, script).unwrap();
        cache::allow_everybody(&program).unwrap();
        let begun = async {
            while !started.exists() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = run_maven(&program, folder.path(), Path::new("jars")) => panic!("{ended:?}"),
            () = begun => {}
        }
        let child = std::fs::read_to_string(&started).unwrap();
        let alive = Path::new("/proc").join(child.trim()).join("cmdline");
        // A zombie has no command line; who its new parent is does not concern us.
        while std::fs::read(&alive).is_ok_and(|line| !line.is_empty()) {
            sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn the_first_error_is_the_reason() {
        let output = b"x\n[ERROR] Could not transfer artifact \n[ERROR] [Help 1] http://x\n";
        assert_eq!(complaint(output), "Could not transfer artifact");
        assert_eq!(complaint(b"a\nb\n"), "a; b");
    }
}
