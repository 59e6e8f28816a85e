//! DuckDB in a process of Python's.

use super::super::BenchError;
use super::failed;
use crate::cluster::cache;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Reads questions until its standard input ends.
const SCRIPT: &str = include_str!("../../../queries/bench/duckdb.py");

#[derive(Deserialize)]
struct Answer {
    ms: f64,
    csv: String,
}

pub(super) struct DuckDb {
    /// Ends with its standard input.
    _process: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl DuckDb {
    /// Starts the first Python that has DuckDB: that of `queries/columnar/compare.sh --fetch`, else `python3`.
    pub(super) async fn start() -> Result<Self, BenchError> {
        let own = cache::folder("columnar").map(|folder| folder.join("venv/bin/python3"));
        let pythons = own.into_iter().chain([PathBuf::from("python3")]);
        for python in pythons {
            if let Some(started) = Self::with(&python).await {
                return Ok(started);
            }
        }
        Err(BenchError::Unavailable(
            "no Python here has DuckDB: run queries/columnar/compare.sh --fetch, or pip install duckdb".to_owned(),
        ))
    }

    async fn with(python: &Path) -> Option<Self> {
        let mut process = Command::new(python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .ok()?;
        let to = process.stdin.take()?;
        let mut from = BufReader::new(process.stdout.take()?).lines();
        // Without DuckDB it has ended.
        let _version = from.next_line().await.ok()??;
        Some(Self {
            _process: process,
            to,
            from,
        })
    }

    /// Returns the time that a question took in milliseconds, and the answer as CSV.
    pub(super) async fn ask(
        &mut self,
        sql: &str,
        files: &[PathBuf],
        threads: usize,
        cold: bool,
    ) -> Result<(f64, String), BenchError> {
        let question = json!({ "sql": sql, "files": files, "threads": threads, "cold": cold });
        let sent = self.to.write_all(format!("{question}\n").as_bytes()).await;
        sent.map_err(failed("DuckDB"))?;
        let line = self.from.next_line().await.map_err(failed("DuckDB"))?;
        let line = line.ok_or_else(|| failed("DuckDB")("it ended"))?;
        let told: Answer = serde_json::from_str(&line).map_err(failed("DuckDB"))?;
        Ok((told.ms, told.csv))
    }
}
