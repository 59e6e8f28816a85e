//! Reads column files that are open: the first access verifies the checksum of the whole file, unless this process has done so.

use super::file::checksum;
use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures_util::future::{BoxFuture, FutureExt, ready};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

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
    /// Hours in files that have changed, for each scan of a table.
    pub(super) changed: AtomicU64,
    /// Whether all hours of a table have.
    pub(super) all_changed: AtomicBool,
}

impl Tally {
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
            lines.push(format!("answer: {answer} rows"));
        }
        lines
    }
}

/// A file as it was when its content was verified. The system changes the time of a file's last change with everything that is
/// written to it, and no user can set that.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Verified {
    /// The hour of the server, so that a file is verified again in each hour: what happens to a disk changes no time.
    hour: i64,
    sha256: String,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What this process has verified in the last hour that it knows.
static VERIFIED: Mutex<BTreeSet<Verified>> = Mutex::new(BTreeSet::new());

impl Verified {
    fn new(hour: i64, sha256: &str, file: &Metadata) -> Self {
        Self {
            hour,
            sha256: sha256.to_owned(),
            device: file.dev(),
            inode: file.ino(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    fn is_known(&self) -> bool {
        VERIFIED.lock().is_ok_and(|known| known.contains(self))
    }

    fn remember(self) {
        if let Ok(mut known) = VERIFIED.lock() {
            known.retain(|other| other.hour == self.hour);
            known.insert(self);
        }
    }
}

/// An open column file.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its name, for messages.
    pub(super) name: String,
    file: File,
    bytes: u64,
    /// What it must hold, and the hour of the server; `None` if this process wrote it for itself.
    expected: Option<(String, i64)>,
    verified: OnceLock<Result<(), String>>,
    metadata: OnceLock<Result<Arc<ParquetMetaData>, String>>,
}

impl Opened {
    /// A file of the store, in this hour of the server.
    pub(super) fn new(file: File, name: String, bytes: u64, sha256: String, hour: i64) -> Self {
        Self {
            name,
            file,
            bytes,
            expected: Some((sha256, hour)),
            verified: OnceLock::new(),
            metadata: OnceLock::new(),
        }
    }

    /// A file that this process wrote.
    pub(super) fn temporary(file: File, bytes: u64) -> Self {
        Self {
            name: "rows".to_owned(),
            file,
            bytes,
            expected: None,
            verified: OnceLock::new(),
            metadata: OnceLock::new(),
        }
    }

    fn verify(&self) -> Result<(), String> {
        let verified = self.verified.get_or_init(|| {
            let Some((sha256, hour)) = &self.expected else {
                return Ok(());
            };
            let before = match self.file.metadata() {
                Ok(metadata) if metadata.len() == self.bytes => {
                    Verified::new(*hour, sha256, &metadata)
                }
                Ok(metadata) => {
                    return Err(format!(
                        "has {} bytes instead of {}",
                        metadata.len(),
                        self.bytes
                    ));
                }
                Err(error) => return Err(format!("cannot be read ({error})")),
            };
            if before.is_known() {
                return Ok(());
            }
            match checksum(&self.file) {
                Ok(found) if found == *sha256 => {
                    before.remember();
                    Ok(())
                }
                Ok(_) => Err("has another content than was written".to_owned()),
                Err(error) => Err(format!("cannot be read ({error})")),
            }
        });
        verified.clone().map_err(|why| {
            format!(
                "{} {why}: run htap-top columnar sync, which writes it anew",
                self.name
            )
        })
    }

    /// What was found wrong with it.
    pub(super) fn damage(&self) -> Option<String> {
        self.verified.get()?.clone().err()
    }

    fn read(&self, range: &Range<u64>, tally: &Tally) -> Result<Bytes, ParquetError> {
        self.verify().map_err(ParquetError::General)?;
        let length = usize::try_from(range.end.saturating_sub(range.start))?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, range.start)?;
        tally.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(bytes.into())
    }

    fn metadata(&self) -> Result<Arc<ParquetMetaData>, ParquetError> {
        self.verify().map_err(ParquetError::General)?;
        let metadata = self.metadata.get_or_init(|| {
            let reader =
                ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
            let read = reader.parse_and_finish(&self.file);
            read.map(Arc::new)
                .map_err(|error| format!("{}: {error}", self.name))
        });
        metadata.clone().map_err(ParquetError::General)
    }
}

/// Makes readers of [`Opened`] files.
#[derive(Debug)]
pub(super) struct Readers {
    pub(super) tally: Arc<Tally>,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        _: usize,
        file: PartitionedFile,
        _: Option<usize>,
        _: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>, DataFusionError> {
        let opened = file.extension::<Arc<Opened>>().cloned();
        let opened = opened
            .ok_or_else(|| DataFusionError::Internal("a file that was not opened".to_owned()))?;
        Ok(Box::new(Reader {
            opened,
            tally: Arc::clone(&self.tally),
        }))
    }
}

struct Reader {
    opened: Arc<Opened>,
    tally: Arc<Tally>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        ready(self.opened.read(&range, &self.tally)).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        ready(self.opened.metadata()).boxed()
    }
}
