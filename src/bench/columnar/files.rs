//! A column store with files of all hours that are over.

use super::super::{BenchError, Lab};
use super::asked::{Asked, timed};
use super::failed;
use crate::columnar::query;
use crate::columnar::sync::{Done, Options, Sync};
use crate::columnar::{Columnar, Form};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

pub(super) struct Store {
    pub(super) folder: TempDir,
    /// Writes it, and is the only one that does.
    pub(super) sync: Sync,
    /// Time of the first round in milliseconds. It writes files of all tables.
    pub(super) first_ms: f64,
}

impl Store {
    pub(super) async fn begin(lab: &Lab, asked: &Asked) -> Result<Self, BenchError> {
        let folder = tempfile::Builder::new()
            .prefix("htap-top-bench-")
            .tempdir()
            .map_err(failed("the column store"))?;
        let end = format!(
            "SELECT (extract(epoch FROM timestamptz '{}') / 3600)::float8",
            asked.end
        );
        let options = Options {
            folder: Some(folder.path().to_owned().into()),
            settle: Duration::ZERO,
            until: Some(lab.number(&end).await? as i64),
            keep: None,
            fresh: None,
        };
        let begun = Sync::begin(lab.target(), options, |_| ()).await;
        let (mut sync, _) = begun.map_err(failed("columnar sync"))?;
        let (first_ms, _) = round(&mut sync).await?;
        Ok(Self {
            folder,
            sync,
            first_ms,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The files of sales.
    pub(super) fn files(&self) -> Result<Vec<PathBuf>, BenchError> {
        let found = std::fs::read_dir(self.folder()).map_err(failed("the column store"))?;
        let files = found.flatten().map(|file| file.path());
        Ok(files
            .filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("fact_sales-") && name.ends_with(".parquet")
            })
            .collect())
    }

    /// The store in this process, with so many threads.
    pub(super) fn open(&self, lab: &Lab, threads: usize) -> Result<Columnar, BenchError> {
        let options = query::Options {
            folder: Some(self.folder().to_owned().into()),
            time_zone: Some("UTC".to_owned()),
            form: Form::Csv,
            threads: Some(threads),
            ..query::Options::default()
        };
        Columnar::open(lab.target(), &options).map_err(failed("columnar query"))
    }

    /// Answers in a process of its own, and returns its whole time in milliseconds.
    pub(super) async fn ask_anew(&self, lab: &Lab, sql: &str) -> Result<(f64, String), BenchError> {
        let program = std::env::current_exe().map_err(failed("htap-top"))?;
        let ended = tokio::process::Command::new(program)
            .args(["columnar", "query", "--format", "csv", "--time-zone", "UTC"])
            .args(["-d", &lab.target().to_conninfo(), "--folder"])
            .arg(self.folder())
            .arg(sql)
            .stdin(Stdio::null())
            .output();
        let (ms, ended) = timed(async { ended.await.map_err(failed("htap-top")) }).await?;
        if ended.status.success() {
            Ok((ms, String::from_utf8_lossy(&ended.stdout).into_owned()))
        } else {
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            Err(failed("htap-top columnar query")(said))
        }
    }
}

/// Answers in a session that is open. Returns the time in milliseconds, and the answer as CSV.
pub(super) async fn ask(columnar: &Columnar, sql: &str) -> Result<(f64, String), BenchError> {
    let mut answer = Vec::new();
    let asked = async {
        let asked = query::answer(columnar, sql, Form::Csv, &mut answer).await;
        asked.map_err(failed("columnar query"))
    };
    let (ms, ()) = timed(asked).await?;
    Ok((ms, String::from_utf8_lossy(&answer).into_owned()))
}

/// A round of the sync, with its time in milliseconds.
pub(super) async fn round(sync: &mut Sync) -> Result<(f64, Done), BenchError> {
    timed(async { sync.round(|_| ()).await.map_err(failed("columnar sync")) }).await
}

/// Takes files out of the system's cache, as far as a user may: what is written to disk and mapped by nobody goes.
pub(super) fn forget(files: &[PathBuf]) -> Result<(), BenchError> {
    for path in files {
        let file = File::open(path).map_err(failed("the system"))?;
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        nix::fcntl::posix_fadvise(
            &file,
            0,
            0,
            nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED,
        )
        .map_err(failed("the system"))?;
        drop(file);
    }
    Ok(())
}
