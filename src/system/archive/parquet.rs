//! Parquet: the server sends integers (cents, microseconds), and this module arranges them in columns.

use super::{Content, WriteError, in_order};
use crate::pg::{Class, Client, Param, PgError, quote_ident};
use openssl::sha::Sha256;
use parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;
use std::fs::File;
use std::sync::Arc;

/// Rows in a row group: some megabytes in memory.
const GROUP_ROWS: usize = 100_000;

const COLUMNS: &str = "
    SELECT attname::text AS name, attnotnull, atttypid::regtype::text AS type,
           ((atttypmod - 4) >> 16 & 65535)::bigint AS precision, ((atttypmod - 4) & 65535)::bigint AS scale
    FROM pg_catalog.pg_attribute
    WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum";

/// Values gathered for a column. In a nullable column, only those that are not NULL.
enum Values {
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Text(Vec<ByteArray>),
}

struct Column {
    /// Expression of the column in the SELECT list.
    expression: String,
    kind: Arc<Type>,
    values: Values,
    /// Checksum of all values added so far.
    sum: Sum,
    /// Definition levels: 1 for a value and 0 for NULL; empty if the column is NOT NULL.
    present: Vec<i16>,
    nullable: bool,
}

/// Copies a table from the server to `file`, if there is one, and returns the content that the server sent.
pub(super) async fn write(
    client: &Client,
    table: &str,
    file: Option<File>,
) -> Result<(Option<File>, Content), WriteError> {
    let columns = columns(client, table).await?;
    let expressions: Vec<&str> = columns.iter().map(|c| c.expression.as_str()).collect();
    let copy = format!(
        "COPY (SELECT {} FROM shop.{table} {}) TO STDOUT",
        expressions.join(", "),
        in_order(table)
    );
    let mut sink = Sink::new(file, columns).map_err(broken)?;
    client
        .copy_out(&copy, |piece| Ok::<(), WriteError>(sink.take(piece)?))
        .await?;
    Ok(sink.finish()?)
}

/// Reads the content of a file.
pub(super) fn read(file: File) -> std::io::Result<Content> {
    let reader = SerializedFileReader::new(file).map_err(broken)?;
    let schema = reader.metadata().file_metadata().schema().get_fields();
    let mut sums: Vec<Sum> = schema.iter().map(|kind| Sum::new(kind)).collect();
    let mut rows = 0;
    for at in 0..reader.num_row_groups() {
        let group = reader.get_row_group(at).map_err(broken)?;
        let there = group.metadata().num_rows();
        rows += there as u64;
        for (column, sum) in sums.iter_mut().enumerate() {
            let column = group.get_column_reader(column).map_err(broken)?;
            sum.read(column, there as usize).map_err(broken)?;
        }
    }
    Ok(content(rows, sums.iter()))
}

/// The checksum of a column: of its definition and of every value in order.
struct Sum(Sha256);

impl Sum {
    fn new(kind: &Type) -> Self {
        let mut sum = Self(Sha256::new());
        let nullable = kind.get_basic_info().repetition() == Repetition::OPTIONAL;
        sum.text(kind.name().as_bytes());
        sum.text(format!("{:?} {nullable}", kind.get_physical_type()).as_bytes());
        sum.text(format!("{:?}", kind.get_basic_info().logical_type_ref()).as_bytes());
        sum
    }

    fn null(&mut self) {
        self.0.update(b"0");
    }

    fn int(&mut self, value: i64) {
        self.0.update(b"1");
        self.0.update(&value.to_le_bytes());
    }

    fn text(&mut self, value: &[u8]) {
        self.int(value.len() as i64);
        self.0.update(value);
    }

    fn read(&mut self, column: ColumnReader, rows: usize) -> Result<(), ParquetError> {
        match column {
            ColumnReader::Int32ColumnReader(reader) => {
                self.take(reader, rows, |sum, value| sum.int(i64::from(*value)))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                self.take(reader, rows, |sum, value| sum.int(*value))
            }
            ColumnReader::ByteArrayColumnReader(reader) => {
                self.take(reader, rows, |sum, value| sum.text(value.data()))
            }
            _ => Err(ParquetError::General("a column of another type".to_owned())),
        }
    }

    fn take<T: DataType>(
        &mut self,
        mut reader: ColumnReaderImpl<T>,
        rows: usize,
        add: impl Fn(&mut Self, &T::T),
    ) -> Result<(), ParquetError> {
        let (mut values, mut present) = (Vec::new(), Vec::new());
        reader.read_records(rows, Some(&mut present), None, &mut values)?;
        let mut values = values.iter();
        if present.is_empty() {
            values.for_each(|value| add(self, value));
            return Ok(());
        }
        for is_there in present {
            match (is_there > 0).then(|| values.next()).flatten() {
                Some(value) => add(self, value),
                None => self.null(),
            }
        }
        Ok(())
    }
}

/// Combines the checksums of all columns.
fn content<'a>(rows: u64, sums: impl Iterator<Item = &'a Sum>) -> Content {
    let mut all = Sha256::new();
    sums.for_each(|sum| all.update(&sum.0.clone().finish()));
    Content {
        rows,
        sum: all.finish(),
    }
}

fn broken(error: ParquetError) -> std::io::Error {
    std::io::Error::other(error)
}

async fn columns(client: &Client, table: &str) -> Result<Vec<Column>, PgError> {
    let name = format!("shop.{table}");
    let table = client.query(COLUMNS, &[Param::Text(&name)]).await?;
    (0..table.rows.len())
        .map(|row| {
            let text = |column| table.get(row, column).text().unwrap_or_default();
            let int = |column| table.get(row, column).int().unwrap_or_default() as i32;
            let nullable = !table.get(row, "attnotnull").is_true();
            let digits = (int("precision"), int("scale"));
            Column::new(text("name"), text("type"), digits, nullable)
                .map_err(|error| PgError::new(Class::Statement, error.to_string()))
        })
        .collect()
}

impl Column {
    fn new(
        name: &str,
        of: &str,
        (precision, scale): (i32, i32),
        nullable: bool,
    ) -> Result<Self, ParquetError> {
        let quoted = quote_ident(name);
        let integer = |bit_width| LogicalType::integer(bit_width, true);
        let (expression, physical, logical) = match of {
            "smallint" => (quoted, Physical::INT32, Some(integer(16))),
            "integer" => (quoted, Physical::INT32, Some(integer(32))),
            "bigint" => (quoted, Physical::INT64, Some(integer(64))),
            "numeric" if (1..=18).contains(&precision) && scale <= precision => (
                format!("({quoted} * 1{})::bigint", "0".repeat(scale as usize)),
                Physical::INT64,
                Some(LogicalType::decimal(scale, precision)),
            ),
            "timestamp with time zone" => (
                format!("(extract(epoch FROM {quoted}) * 1000000)::bigint"),
                Physical::INT64,
                Some(LogicalType::timestamp(true, TimeUnit::MICROS)),
            ),
            _ => (
                format!("{quoted}::text"),
                Physical::BYTE_ARRAY,
                Some(LogicalType::String),
            ),
        };
        let mut kind = Type::primitive_type_builder(name, physical)
            .with_repetition(if nullable {
                Repetition::OPTIONAL
            } else {
                Repetition::REQUIRED
            })
            .with_logical_type(logical.clone());
        if let Some(LogicalType::Decimal(_)) = logical {
            kind = kind.with_precision(precision).with_scale(scale);
        }
        let kind = kind.build()?;
        Ok(Self {
            expression,
            sum: Sum::new(&kind),
            kind: Arc::new(kind),
            values: match physical {
                Physical::INT32 => Values::Int32(Vec::new()),
                Physical::INT64 => Values::Int64(Vec::new()),
                _ => Values::Text(Vec::new()),
            },
            present: Vec::new(),
            nullable,
        })
    }

    /// Adds a field of COPY's text format.
    fn add(&mut self, field: &[u8]) -> std::io::Result<()> {
        let wrong = || std::io::Error::other("the server sent a field that is not a number");
        let is_null = field == b"\\N";
        if self.nullable {
            self.present.push(i16::from(!is_null));
        }
        if is_null {
            self.sum.null();
            return Ok(());
        }
        let text = || std::str::from_utf8(field).map_err(|_| wrong());
        match &mut self.values {
            Values::Int32(values) => {
                let value = text()?.parse().map_err(|_| wrong())?;
                self.sum.int(i64::from(value));
                values.push(value);
            }
            Values::Int64(values) => {
                let value = text()?.parse().map_err(|_| wrong())?;
                self.sum.int(value);
                values.push(value);
            }
            Values::Text(values) => {
                let value = unescaped(field);
                self.sum.text(&value);
                values.push(value.into());
            }
        }
        Ok(())
    }

    /// Discards the gathered values.
    fn clear(&mut self) {
        self.present.clear();
        match &mut self.values {
            Values::Int32(values) => values.clear(),
            Values::Int64(values) => values.clear(),
            Values::Text(values) => values.clear(),
        }
    }

    /// Writes the gathered values as the next column of a row group.
    fn write(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, File>,
    ) -> Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("a column too many".to_owned()));
        };
        let present = std::mem::take(&mut self.present);
        let present = self.nullable.then_some(present.as_slice());
        match &mut self.values {
            Values::Int32(values) => {
                let values = std::mem::take(values);
                (column.typed::<Int32Type>()).write_batch(&values, present, None)?;
            }
            Values::Int64(values) => {
                let values = std::mem::take(values);
                (column.typed::<Int64Type>()).write_batch(&values, present, None)?;
            }
            Values::Text(values) => {
                let values = std::mem::take(values);
                (column.typed::<ByteArrayType>()).write_batch(&values, present, None)?;
            }
        }
        column.close()
    }
}

/// Decodes a field of COPY's text format.
pub(crate) fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => text.extend(bytes.next().map(|escaped| match escaped {
                b'b' => 8,
                b'f' => 12,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 11,
                other => *other,
            })),
            other => text.push(*other),
        }
    }
    text
}

/// Takes COPY's text in pieces and writes row groups.
struct Sink {
    /// `None` if the data is only checksummed.
    writer: Option<SerializedFileWriter<File>>,
    columns: Vec<Column>,
    /// The incomplete line at the end of the data received so far.
    open: Vec<u8>,
    gathered: usize,
    rows: u64,
}

impl Sink {
    fn new(file: Option<File>, columns: Vec<Column>) -> Result<Self, ParquetError> {
        let fields = columns.iter().map(|column| Arc::clone(&column.kind));
        let schema = Type::group_type_builder("row").with_fields(fields.collect());
        let schema = Arc::new(schema.build()?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let properties = Arc::new(properties.build());
        let writer = file.map(|file| SerializedFileWriter::new(file, schema, properties));
        Ok(Self {
            writer: writer.transpose()?,
            columns,
            open: Vec::new(),
            gathered: 0,
            rows: 0,
        })
    }

    fn take(&mut self, piece: &[u8]) -> std::io::Result<()> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(part);
            if self.open.pop_if(|last| *last == b'\n').is_some() {
                let line = std::mem::take(&mut self.open);
                let fields = line.split(|byte| *byte == b'\t');
                for (column, field) in self.columns.iter_mut().zip(fields) {
                    column.add(field)?;
                }
                self.rows += 1;
                self.gathered += 1;
                if self.gathered == GROUP_ROWS {
                    self.write_group().map_err(broken)?;
                }
            }
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        self.gathered = 0;
        let Some(writer) = &mut self.writer else {
            self.columns.iter_mut().for_each(Column::clear);
            return Ok(());
        };
        let mut group = writer.next_row_group()?;
        for column in &mut self.columns {
            column.write(&mut group)?;
        }
        group.close().map(|_| ())
    }

    fn finish(mut self) -> std::io::Result<(Option<File>, Content)> {
        if self.gathered > 0 {
            self.write_group().map_err(broken)?;
        }
        let content = content(self.rows, self.columns.iter().map(|column| &column.sum));
        let file = self.writer.map(SerializedFileWriter::into_inner);
        Ok((file.transpose().map_err(broken)?, content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_s_escapes_are_undone() {
        assert_eq!(unescaped(br"a\tb\\c\nd"), b"a\tb\\c\nd");
        assert_eq!(unescaped(b"plain"), b"plain");
        assert_eq!(unescaped(b"\\"), b"");
    }
}
