//! A column file: written under another name, on disk before it gets its own, and read only if its checksum is right.

use super::error::ColumnarError;
use super::hours::hour_of;
use super::table::{PRECISION, Table};
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, SchemaRef, TimestampMicrosecondType,
};
use openssl::sha::Sha256;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use std::fmt::Write as _;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a row group. A day of a busy shop has several of them, so that a query of an hour reads a part of a file; a smaller
/// group would compress less and make the footer longer than what a query saves by it.
const GROUP_ROWS: usize = 65_536;
/// Rows of a page, the least that is read.
const PAGE_ROWS: usize = 8_192;

/// Writes a Parquet file: sorted rows come in batches.
pub(super) struct Writer {
    inner: ArrowWriter<File>,
    /// The table whose rows they are.
    table: &'static Table,
    /// The table as the file has it.
    schema: SchemaRef,
    /// Whether an amount has come that has more digits than the file holds. What comes then is not written.
    pub(super) outgrown: bool,
    /// The hours whose rows it may hold; `None`: any.
    hours: Option<Range<i64>>,
    /// Rows of each hour.
    pub(super) hour_rows: Vec<u64>,
}

fn broken(error: ParquetError) -> std::io::Error {
    match error {
        ParquetError::External(error) => std::io::Error::other(error),
        other => std::io::Error::other(other),
    }
}

impl Writer {
    /// Begins a file of these hours, whose amounts have at most so many digits.
    pub(super) fn new(
        file: File,
        table: &'static Table,
        hours: Range<i64>,
        digits: u8,
    ) -> std::io::Result<Self> {
        let count = usize::try_from(hours.end - hours.start).unwrap_or_default();
        let mut writer = Self::begin(file, table, digits)?;
        writer.hours = Some(hours);
        writer.hour_rows = vec![0; count];
        Ok(writer)
    }

    /// Begins a file of any rows.
    pub(super) fn of_any_hours(file: File, table: &'static Table) -> std::io::Result<Self> {
        Self::begin(file, table, PRECISION)
    }

    fn begin(file: File, table: &'static Table, digits: u8) -> std::io::Result<Self> {
        let level = ZstdLevel::try_new(1).map_err(broken)?;
        let differences = table.columns.iter().filter(|column| column.as_differences);
        let properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_compression(Compression::ZSTD(level))
            .set_dictionary_enabled(true)
            // Of pages, which also makes the page index.
            .set_statistics_enabled(EnabledStatistics::Page)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_data_page_row_count_limit(PAGE_ROWS)
            .set_created_by(concat!("htap-top ", env!("CARGO_PKG_VERSION")).to_owned());
        let properties = differences.fold(properties, |properties, column| {
            let path = ColumnPath::from(column.name);
            properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
        });
        let properties = properties.build();
        let schema = table.schema_of_file(digits);
        let inner = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties));
        Ok(Self {
            inner: inner.map_err(broken)?,
            table,
            schema,
            outgrown: false,
            hours: None,
            hour_rows: Vec::new(),
        })
    }

    /// Adds rows. They must lie in the file's hours, each hour's after those of the hour before.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> std::io::Result<()> {
        let fitted = fitted(batch, &self.schema).filter(|_| !self.outgrown);
        let Some(batch) = fitted else {
            self.outgrown = true;
            return Ok(());
        };
        if let Some(hours) = &self.hours {
            for hour in hours_of(&batch, self.table) {
                let place = usize::try_from(hour - hours.start).ok();
                let rows = place.and_then(|place| self.hour_rows.get_mut(place));
                *rows.ok_or_else(|| {
                    std::io::Error::other("the server sent a row of another hour")
                })? += 1;
            }
        }
        self.inner.write(&batch).map_err(broken)
    }

    /// Completes the file and returns it.
    pub(super) fn finish(self) -> std::io::Result<File> {
        self.inner.into_inner().map_err(broken)
    }
}

/// Rows with the types of this schema, which differ in the digits of decimals. `None` if one has more.
fn fitted(batch: &RecordBatch, schema: &SchemaRef) -> Option<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match *field.data_type() {
        DataType::Decimal128(digits, scale) => {
            let decimals = column.as_primitive_opt::<Decimal128Type>()?;
            decimals.validate_decimal_precision(digits).ok()?;
            let fitted = decimals.clone().with_precision_and_scale(digits, scale);
            Some(Arc::new(fitted.ok()?) as ArrayRef)
        }
        _ => Some(Arc::clone(column)),
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect::<Option<_>>()?).ok()
}

/// The hours of rows.
fn hours_of(batch: &RecordBatch, table: &Table) -> Vec<i64> {
    let Some(column) = batch.column_by_name(table.time) else {
        return Vec::new();
    };
    if let Some(days) = column.as_primitive_opt::<Date32Type>() {
        return days
            .values()
            .iter()
            .map(|day| i64::from(*day) * 24)
            .collect();
    }
    let times = column.as_primitive_opt::<TimestampMicrosecondType>();
    let times = times.map(|times| times.values().iter().map(|time| hour_of(*time)).collect());
    times.unwrap_or_default()
}

/// A file that got its name.
#[derive(Debug)]
pub(super) struct Written {
    /// Its length.
    pub(super) bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub(super) sha256: String,
}

/// The name of a file that is being written.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.unfinished"))
}

/// Puts a complete file on disk and gives it its name, so that it survives a crash from here on.
pub(super) fn keep(file: &File, path: &Path) -> Result<Written, ColumnarError> {
    let temporary = unfinished(path);
    let kept = file.sync_all().and_then(|()| {
        let bytes = file.metadata()?.len();
        let sha256 = checksum(&File::open(&temporary)?)?;
        std::fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(Written { bytes, sha256 })
    });
    kept.map_err(ColumnarError::file("write", path))
}

/// Returns the SHA-256 of a file in hexadecimal.
pub(super) fn checksum(file: &File) -> std::io::Result<String> {
    let mut sum = Sha256::new();
    each_piece(file, |piece| {
        sum.update(piece);
        Ok(())
    })?;
    Ok(hex(&sum.finish()))
}

/// Hands on the content of a file from its beginning, piece by piece.
pub(super) fn each_piece(
    file: &File,
    mut take: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        let read = file.read_at(&mut buffer, at)?;
        if read == 0 {
            return Ok(());
        }
        take(buffer.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
