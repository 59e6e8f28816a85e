//! The files of a report: for their owner alone, never in place of others, all or none.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Maximum number of reports of the same second.
const SAME_SECOND: u32 = 99;

/// The files of one report, which are removed again unless all of them are written.
pub(super) struct Files {
    folder: PathBuf,
    /// `20260301T140211`, or `20260301T140211.2` for the second report of that second.
    stem: String,
    report: File,
    path: PathBuf,
    written: Vec<PathBuf>,
    complete: bool,
}

/// A file that could not be written.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) path: PathBuf,
    pub(super) why: io::Error,
}

impl Files {
    /// Begins a report about `epoch_ms`.
    pub(super) fn begin(folder: &Path, epoch_ms: i64) -> Result<Self, Failed> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            |why| Failed { path, why }
        };
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(folder);
        made.map_err(failed(folder))?;
        let time = chrono::DateTime::from_timestamp_millis(epoch_ms).unwrap_or_default();
        let time = time.format("%Y%m%dT%H%M%S").to_string();
        let mut number = 1;
        loop {
            let stem = match number {
                1 => time.clone(),
                number => format!("{time}.{number}"),
            };
            let path = folder.join(format!("{stem}.md"));
            match create(&path) {
                Ok(report) => {
                    return Ok(Self {
                        folder: folder.to_owned(),
                        stem,
                        report,
                        written: vec![path.clone()],
                        path,
                        complete: false,
                    });
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < SAME_SECOND => {
                    number += 1;
                }
                Err(error) => return Err(failed(&path)(error)),
            }
        }
    }

    /// Writes a file beside the report and returns its name.
    pub(super) fn add(&mut self, ending: &str, bytes: &[u8]) -> Result<String, Failed> {
        let name = format!("{}-{ending}", self.stem);
        let path = self.folder.join(&name);
        let created = create(&path).and_then(|mut file| {
            self.written.push(path.clone());
            file.write_all(bytes)?;
            file.sync_all()
        });
        created.map_err(|why| Failed { path, why })?;
        Ok(name)
    }

    /// Writes the report itself and returns its path.
    pub(super) fn end(mut self, text: &[u8]) -> Result<PathBuf, Failed> {
        let path = self.path.clone();
        let written = self.report.write_all(text);
        // A file system may find out that it is full only now.
        match written.and_then(|()| self.report.sync_all()) {
            Ok(()) => {
                self.complete = true;
                Ok(path)
            }
            Err(why) => Err(Failed { path, why }),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        if !self.complete {
            for path in &self.written {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn names(folder: &Path) -> Vec<String> {
        let files = std::fs::read_dir(folder).unwrap();
        let name = |file: io::Result<std::fs::DirEntry>| {
            file.unwrap().file_name().to_string_lossy().into_owned()
        };
        let mut names: Vec<String> = files.map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_private_and_replace_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("state/reports");
        for text in ["one", "two"] {
            let mut files = Files::begin(&folder, 1_767_323_045_000).unwrap();
            files.add("chart.svg", b"<svg/>").unwrap();
            let path = files.end(text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&folder)), (0o600, 0o700));
        }
        let all = [
            "20260102T030405-chart.svg",
            "20260102T030405.2-chart.svg",
            "20260102T030405.2.md",
            "20260102T030405.md",
        ];
        assert_eq!(names(&folder), all);
        // A picture that is in the way is not replaced, and nothing is left of the report.
        std::fs::write(folder.join("20260102T030405.3-chart.svg"), "kept").unwrap();
        let mut files = Files::begin(&folder, 1_767_323_045_000).unwrap();
        assert!(files.add("chart.svg", b"<svg/>").is_err());
        drop(files);
        assert!(!folder.join("20260102T030405.3.md").exists());
        let kept = std::fs::read_to_string(folder.join("20260102T030405.3-chart.svg"));
        assert_eq!(kept.unwrap(), "kept");
    }
}
