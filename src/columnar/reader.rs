//! Reads column files that are open: the first access verifies the checksum of the whole file, unless this process has done so.
//! An object of a bucket is fetched as a whole by the first access of the process, because that verifies it and is one request
//! instead of one per column; what was fetched stays in a temporary file as long as the manifest names it.

use super::bucket::Bucket;
use super::file::checksum;
use super::tally::Tally;
use bytes::Bytes;
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures_util::future::{BoxFuture, FutureExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::OnceCell;

/// A file as it was when its content was verified. The system changes the time of a file's last change with everything that is
/// written to it, and no user can set that.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Verified {
    /// The hour of the server, so that a file is verified again in each hour: what happens to a disk changes no time.
    hour: i64,
    sha256: String,
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What this process has verified in the last hour that it knows, with the footers that it has read since: to read that of a
/// file takes longer than its columns of a day.
static VERIFIED: Mutex<BTreeMap<Arc<Verified>, Option<Arc<ParquetMetaData>>>> =
    Mutex::new(BTreeMap::new());

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
        VERIFIED.lock().is_ok_and(|known| known.contains_key(self))
    }

    fn remember(self: &Arc<Self>) {
        if let Ok(mut known) = VERIFIED.lock() {
            known.retain(|other, _| other.hour == self.hour);
            known.insert(Arc::clone(self), None);
        }
    }

    /// The footer, if it was read before.
    fn footer(&self) -> Option<Arc<ParquetMetaData>> {
        VERIFIED.lock().ok()?.get(self)?.clone()
    }

    fn remember_footer(&self, footer: &Arc<ParquetMetaData>) {
        if let Ok(mut known) = VERIFIED.lock()
            && let Some(place) = known.get_mut(self)
        {
            *place = Some(Arc::clone(footer));
        }
    }
}

/// Objects that this process has fetched, by [`key`].
static FETCHED: Mutex<BTreeMap<String, Arc<File>>> = Mutex::new(BTreeMap::new());

/// What tells an object: a server that was restored to an earlier moment gives names again.
pub(super) fn key(bucket: &Bucket, name: &str, sha256: &str) -> String {
    format!("{}{name}#{sha256}", bucket.url)
}

/// Forgets objects of a store, whose keys begin like this, that its manifest no longer names.
pub(super) fn forget_others(begin: &[String], named: &BTreeSet<String>) {
    if let Ok(mut fetched) = FETCHED.lock() {
        fetched.retain(|key, _| {
            named.contains(key) || !begin.iter().any(|begin| key.starts_with(begin))
        });
    }
}

/// Where the bytes of a file are.
#[derive(Debug)]
enum Source {
    Here(Arc<File>),
    /// An object, and the folder for what is fetched.
    Object {
        bucket: Arc<Bucket>,
        folder: PathBuf,
        fetched: OnceCell<Arc<File>>,
    },
}

/// An open column file.
#[derive(Debug)]
pub(super) struct Opened {
    /// Its name, for messages.
    pub(super) name: String,
    source: Source,
    bytes: u64,
    /// What it must hold, and the hour of the server; `None` if this process wrote it for itself.
    expected: Option<(String, i64)>,
    /// `None`: nothing was to be verified.
    verified: OnceLock<Result<Option<Arc<Verified>>, String>>,
    metadata: OnceLock<Result<Arc<ParquetMetaData>, String>>,
}

impl Opened {
    /// A file of the store, in this hour of the server.
    pub(super) fn new(file: File, name: String, bytes: u64, sha256: String, hour: i64) -> Self {
        Self::of(
            Source::Here(Arc::new(file)),
            name,
            bytes,
            Some((sha256, hour)),
        )
    }

    /// An object of the store, in this hour of the server. What is fetched goes to a temporary file of this folder.
    pub(super) fn object(
        (bucket, folder): (Arc<Bucket>, PathBuf),
        name: String,
        bytes: u64,
        sha256: String,
        hour: i64,
    ) -> Self {
        let source = Source::Object {
            bucket,
            folder,
            fetched: OnceCell::new(),
        };
        Self::of(source, name, bytes, Some((sha256, hour)))
    }

    fn of(source: Source, name: String, bytes: u64, expected: Option<(String, i64)>) -> Self {
        Self {
            name,
            source,
            bytes,
            expected,
            verified: OnceLock::new(),
            metadata: OnceLock::new(),
        }
    }

    /// A file that this process wrote.
    pub(super) fn temporary(file: File, bytes: u64) -> Self {
        Self::of(Source::Here(Arc::new(file)), "rows".to_owned(), bytes, None)
    }

    /// The file, which is fetched if it is an object.
    async fn file(&self) -> Result<&Arc<File>, ParquetError> {
        let (bucket, folder, fetched) = match &self.source {
            Source::Here(file) => return Ok(file),
            Source::Object {
                bucket,
                folder,
                fetched,
            } => (bucket, folder, fetched),
        };
        let fetched = fetched.get_or_try_init(async || {
            let sha256 = self.expected.as_ref().map_or("", |(sha256, _)| sha256);
            let key = key(bucket, &self.name, sha256);
            let known = FETCHED.lock().ok();
            let known = known.and_then(|known| known.get(&key).cloned());
            if let Some(known) = known {
                return Ok(known);
            }
            let file = bucket.get(&self.name, folder).await;
            let file = file.map_err(|error| ParquetError::General(error.to_string()))?;
            let Some(file) = file else {
                let why = "is missing, or was replaced while the query ran".to_owned();
                let _ = self.verified.set(Err(why.clone()));
                return Err(ParquetError::General(self.damaged(&why)));
            };
            let file = Arc::new(file);
            if let Ok(mut known) = FETCHED.lock() {
                known.insert(key, Arc::clone(&file));
            }
            Ok(file)
        });
        fetched.await
    }

    fn verify(&self, file: &File) -> Result<Option<Arc<Verified>>, String> {
        let verified = self.verified.get_or_init(|| {
            let Some((sha256, hour)) = &self.expected else {
                return Ok(None);
            };
            let before = match file.metadata() {
                Ok(metadata) if metadata.len() == self.bytes => {
                    Arc::new(Verified::new(*hour, sha256, &metadata))
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
                return Ok(Some(before));
            }
            match checksum(file) {
                Ok(found) if found == *sha256 => {
                    before.remember();
                    Ok(Some(before))
                }
                Ok(_) => Err("has another content than was written".to_owned()),
                Err(error) => Err(format!("cannot be read ({error})")),
            }
        });
        verified.clone().map_err(|why| self.damaged(&why))
    }

    fn damaged(&self, why: &str) -> String {
        format!(
            "{} {why}: run htap-top columnar sync, which writes it anew",
            self.name
        )
    }

    /// What was found wrong with it.
    pub(super) fn damage(&self) -> Option<String> {
        self.verified.get()?.clone().err()
    }

    async fn read(&self, range: &Range<u64>, tally: &Tally) -> Result<Bytes, ParquetError> {
        let file = self.file().await?;
        self.verify(file).map_err(ParquetError::General)?;
        let length = usize::try_from(range.end.saturating_sub(range.start))?;
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, range.start)?;
        tally.bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(bytes.into())
    }

    async fn metadata(&self) -> Result<Arc<ParquetMetaData>, ParquetError> {
        let file = self.file().await?;
        let verified = self.verify(file).map_err(ParquetError::General)?;
        let metadata = self.metadata.get_or_init(|| {
            if let Some(known) = verified.as_ref().and_then(|verified| verified.footer()) {
                return Ok(known);
            }
            let reader =
                ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
            let read = reader.parse_and_finish(&**file).map(Arc::new);
            let footer = read.map_err(|error| format!("{}: {error}", self.name))?;
            if let Some(verified) = &verified {
                verified.remember_footer(&footer);
            }
            Ok(footer)
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
        async move { self.opened.read(&range, &self.tally).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move { self.opened.metadata().await }.boxed()
    }
}
