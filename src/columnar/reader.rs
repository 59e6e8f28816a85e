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
use parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader,
};
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

    /// Has the system begin to read these ranges, and, of columns that are read as a whole, those of the next row group.
    async fn announce(&self, ranges: &[Range<u64>]) -> Result<(), ParquetError> {
        let file = self.file().await?;
        let footer = self.metadata.get().and_then(|footer| footer.as_ref().ok());
        let next = footer.map_or_else(Vec::new, |footer| next_group(footer, ranges));
        for range in ranges.iter().chain(&next) {
            let length = range.end.saturating_sub(range.start);
            let (Ok(from), Ok(length)) = (i64::try_from(range.start), i64::try_from(length)) else {
                continue;
            };
            // A length of 0 stands for all.
            if length > 0 {
                read_ahead(file, from, length);
            }
        }
        Ok(())
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

/// Has the system begin to read a part of a file. What cannot be read says so when it is read.
#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn read_ahead(file: &File, from: i64, length: i64) {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    let _ = posix_fadvise(file, from, length, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn read_ahead(_: &File, _: i64, _: i64) {}

/// Where the next row group has the columns that these ranges are in this one, each as a whole.
fn next_group(footer: &ParquetMetaData, ranges: &[Range<u64>]) -> Vec<Range<u64>> {
    let range_of = |column: &ColumnChunkMetaData| {
        let (start, length) = column.byte_range();
        start..start.saturating_add(length)
    };
    let Some(first) = ranges.first() else {
        return Vec::new();
    };
    let mut groups = footer.row_groups().windows(2);
    let place = groups.find_map(|pair| {
        let [group, next] = pair else { return None };
        let is_here = group
            .columns()
            .iter()
            .any(|column| range_of(column) == *first);
        is_here.then_some((group, next))
    });
    let columns = place.map(|(group, next)| group.columns().iter().zip(next.columns()));
    let read = columns.into_iter().flatten();
    let read = read.filter(|(column, _)| ranges.contains(&range_of(column)));
    read.map(|(_, next)| range_of(next)).collect()
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

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move {
            self.opened.announce(&ranges).await?;
            let mut read = Vec::with_capacity(ranges.len());
            for range in ranges {
                read.push(self.opened.read(&range, &self.tally).await?);
            }
            Ok(read)
        }
        .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        async move { self.opened.metadata().await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{ArrayRef, Int32Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;

    #[test]
    fn columns_that_are_read_as_a_whole_are_read_ahead() {
        let values: ArrayRef = Arc::new(Int32Array::from_iter_values(0..20));
        let columns = [("a", Arc::clone(&values)), ("b", values)];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let groups = WriterProperties::builder().set_max_row_group_row_count(Some(10));
        let mut writer =
            ArrowWriter::try_new(Vec::new(), rows.schema(), Some(groups.build())).unwrap();
        writer.write(&rows).unwrap();
        let footer = writer.finish().unwrap();
        let range = |group: usize, column: usize| {
            let (start, length) = footer.row_group(group).column(column).byte_range();
            start..start + length
        };
        assert_eq!(
            next_group(&footer, &[range(0, 0), range(0, 1)]),
            [range(1, 0), range(1, 1)]
        );
        assert_eq!(next_group(&footer, &[range(0, 1)]), [range(1, 1)]);
        // There is none, nothing is read, or only a page.
        assert_eq!(next_group(&footer, &[range(1, 0)]), []);
        assert_eq!(next_group(&footer, &[]), []);
        let page = range(0, 0).start..range(0, 0).start + 1;
        assert_eq!(next_group(&footer, &[page, range(0, 1)]), []);
    }
}
