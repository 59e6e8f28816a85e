//! What a query reads and writes, for EXPLAIN and the report of the store.

use datafusion::physical_plan::ExecutionPlan;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a query has read.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Files that hold hours of the query, for each scan of a table.
    pub(super) files: AtomicU64,
    /// All files of the table, for each scan.
    pub(super) all_files: AtomicU64,
    /// Rows of these hours in files.
    pub(super) file_rows: AtomicU64,
    /// Rows from PostgreSQL.
    pub(super) server_rows: AtomicU64,
    /// Bytes read from files.
    pub(super) bytes: AtomicU64,
    /// Bytes written to temporary files for lack of memory.
    pub(super) spilled: AtomicU64,
    /// Hours in files that have changed, for each scan of a table.
    pub(super) changed: AtomicU64,
    /// Whether all hours of a table have.
    pub(super) all_changed: AtomicBool,
}

impl Tally {
    /// Notes what a plan that has run wrote to temporary files.
    pub(super) fn note_spilled(&self, plan: &Arc<dyn ExecutionPlan>) {
        let metrics = plan.metrics().and_then(|metrics| metrics.spilled_bytes());
        let bytes = metrics.map_or(0, |bytes| bytes as u64);
        self.spilled.fetch_add(bytes, Ordering::Relaxed);
        for child in plan.children() {
            self.note_spilled(child);
        }
    }

    /// What EXPLAIN says, and EXPLAIN ANALYZE of an answer of so many rows.
    pub(super) fn lines(&self, answer: Option<usize>) -> Vec<String> {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (files, all) = (of(&self.files), of(&self.all_files));
        let changed = if self.all_changed.load(Ordering::Relaxed) {
            "all hours".to_owned()
        } else {
            format!("{} hours", of(&self.changed))
        };
        let mut lines = vec![
            format!(
                "column files: {files} of {all} are read, {} are pruned; their hours have {} rows",
                all - files.min(all),
                of(&self.file_rows)
            ),
            format!("since the last sync: {changed} changed"),
        ];
        if let Some(answer) = answer {
            lines.push(format!("bytes read from files: {}", of(&self.bytes)));
            lines.push(format!(
                "rows read from PostgreSQL: {}",
                of(&self.server_rows)
            ));
            lines.push(match of(&self.spilled) {
                0 => "temporary files: none".to_owned(),
                bytes => format!("temporary files: {bytes} bytes written; more --memory avoids it"),
            });
            lines.push(format!("answer: {answer} rows"));
        }
        lines
    }
}
