//! Rows of a table from PostgreSQL, as batches of columns.

use super::error::ColumnarError;
use super::table::{Column, Kind, PRECISION, SCALE, Table};
use crate::pg::Client;
use crate::system::archive::unescaped;
use datafusion::arrow::array::{
    ArrayRef, Date32Builder, Decimal128Builder, Int16Builder, Int32Builder, Int64Builder,
    RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder,
};
use datafusion::arrow::datatypes::SchemaRef;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

/// The expression of a column in the select list of COPY. Amounts come as text, of which no digit is lost; times as
/// microseconds and dates as days since 1970.
fn field(column: &Column) -> String {
    let name = column.name;
    match column.kind {
        Kind::Time => format!("(extract(epoch FROM f.{name}) * 1000000)::bigint"),
        Kind::Date => format!("f.{name} - date '1970-01-01'"),
        _ => format!("f.{name}"),
    }
}

/// What stands for a column that is not needed.
fn nothing(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "''",
        _ => "0",
    }
}

/// Rows of a batch.
const BATCH: usize = 8192;

/// The condition that selects ranges of hours of a table; the ends of [`i64`] are none.
pub(super) fn within(table: &Table, open: &[Range<i64>]) -> String {
    let column = table.time;
    let bound = |comparison: &str, hour: i64| match hour {
        i64::MIN | i64::MAX => "true".to_owned(),
        // Of a day the first hour counts.
        hour if table.is_daily() => {
            let day = -(-hour).div_euclid(24);
            format!("f.{column} {comparison} date '1970-01-01' + ({day})")
        }
        hour => format!("f.{column} {comparison} to_timestamp({})", hour * 3600),
    };
    let open = open
        .iter()
        .map(|range| format!("{} AND {}", bound(">=", range.start), bound("<", range.end)));
    open.collect::<Vec<_>>().join(" OR ")
}

/// Finds partitions that were attached or detached after the transaction's snapshot: of these, too few or too many rows are
/// read. pg_partition_tree() tells what is so now, pg_inherits what was so for the snapshot.
const MONTHS: &str = "
    SELECT EXISTS (
        SELECT FROM (SELECT p.relid::oid AS part FROM pg_partition_tree(to_regclass('shop.orders')) AS p WHERE p.level = 1) AS n
        FULL JOIN (SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = to_regclass('shop.orders')) AS s
            ON s.inhrelid = n.part
        WHERE n.part IS NULL OR s.inhrelid IS NULL) AS changed";

/// Reads the rows of a table that `clause` selects (`WHERE … ORDER BY …`) and passes them on in batches, with the columns that
/// are `wanted`; the others hold nothing. Returns the number of rows.
pub(super) async fn read(
    client: &Client,
    table: &Table,
    wanted: &[bool],
    clause: &str,
    take: impl FnMut(RecordBatch) -> Result<(), ColumnarError> + Send,
) -> Result<u64, ColumnarError> {
    let fields = table.columns.iter().zip(wanted);
    let fields = fields.map(|(column, wanted)| match wanted {
        true => field(column),
        false => nothing(column.kind).to_owned(),
    });
    let fields = fields.collect::<Vec<_>>().join(", ");
    let name = table.name;
    let copy = format!("COPY (SELECT {fields} FROM {name} AS f {clause}) TO STDOUT");
    let mut reader = Reader {
        rows: Rows::new(table),
        open: Vec::new(),
        count: 0,
        take,
    };
    client.copy_out(&copy, |piece| reader.add(piece)).await?;
    let count = reader.finish()?;
    // COPY has locked the partitions: from here on none is attached or detached.
    if table.is_of_orders() {
        let months = client.query(MONTHS, &[]).await;
        let months = months.map_err(ColumnarError::server("read the partitions of shop.orders"))?;
        if months.first("changed").is_true() {
            return Err(ColumnarError::Refused(
                "a partition of shop.orders was attached or detached while it was read: ask again"
                    .to_owned(),
            ));
        }
    }
    Ok(count)
}

struct Reader<'a, F> {
    rows: Rows<'a>,
    /// The incomplete line at the end of what has come.
    open: Vec<u8>,
    count: u64,
    take: F,
}

impl<F: FnMut(RecordBatch) -> Result<(), ColumnarError>> Reader<'_, F> {
    fn add(&mut self, piece: &[u8]) -> Result<(), ColumnarError> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(part);
            if self.open.pop_if(|last| *last == b'\n').is_some() {
                let mut line = std::mem::take(&mut self.open);
                self.rows.add(&line)?;
                line.clear();
                self.open = line;
                self.count += 1;
                if self.rows.count == BATCH {
                    (self.take)(self.rows.batch()?)?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, ColumnarError> {
        if self.rows.count > 0 {
            (self.take)(self.rows.batch()?)?;
        }
        Ok(self.count)
    }
}

/// Rows that become a batch.
struct Rows<'a> {
    table: &'a Table,
    schema: SchemaRef,
    count: usize,
    columns: Vec<Builder>,
}

/// The values of a column.
enum Builder {
    SmallInt(Int16Builder),
    Integer(Int32Builder),
    BigInt(Int64Builder),
    Text(StringViewBuilder),
    Amount(Decimal128Builder),
    Date(Date32Builder),
    Time(TimestampMicrosecondBuilder),
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::SmallInt => Self::SmallInt(Int16Builder::new()),
            Kind::Integer => Self::Integer(Int32Builder::new()),
            Kind::BigInt => Self::BigInt(Int64Builder::new()),
            Kind::Text => Self::Text(StringViewBuilder::new()),
            Kind::Amount => Self::Amount(Decimal128Builder::new()),
            Kind::Date => Self::Date(Date32Builder::new()),
            Kind::Time => Self::Time(TimestampMicrosecondBuilder::new()),
        }
    }

    fn add(&mut self, cell: &Cell<'_>) -> Result<(), ColumnarError> {
        match self {
            Self::SmallInt(values) => values.append_option(cell.number()?),
            Self::Integer(values) => values.append_option(cell.number()?),
            Self::BigInt(values) => values.append_option(cell.number()?),
            Self::Text(values) => values.append_option(cell.text()?),
            Self::Amount(values) => values.append_option(cell.amount()?),
            Self::Date(values) => values.append_option(cell.number()?),
            Self::Time(values) => values.append_option(cell.number()?),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, ColumnarError> {
        Ok(match self {
            Self::SmallInt(values) => Arc::new(values.finish()),
            Self::Integer(values) => Arc::new(values.finish()),
            Self::BigInt(values) => Arc::new(values.finish()),
            Self::Text(values) => Arc::new(values.finish()),
            Self::Amount(values) => {
                let amounts = values.finish().with_precision_and_scale(PRECISION, SCALE);
                Arc::new(amounts.map_err(|error| ColumnarError::Query(error.to_string()))?)
            }
            Self::Date(values) => Arc::new(values.finish()),
            Self::Time(values) => Arc::new(values.finish().with_timezone("UTC")),
        })
    }
}

impl<'a> Rows<'a> {
    fn new(table: &'a Table) -> Self {
        Self {
            table,
            schema: table.schema(),
            count: 0,
            columns: table
                .columns
                .iter()
                .map(|column| Builder::new(column.kind))
                .collect(),
        }
    }

    /// Adds a line of COPY's text format.
    fn add(&mut self, line: &[u8]) -> Result<(), ColumnarError> {
        let mut fields = line.split(|byte| *byte == b'\t');
        for (column, values) in self.table.columns.iter().zip(&mut self.columns) {
            values.add(&Cell {
                table: self.table,
                column,
                bytes: fields.next().unwrap_or_default(),
            })?;
        }
        self.count += 1;
        Ok(())
    }

    fn batch(&mut self) -> Result<RecordBatch, ColumnarError> {
        self.count = 0;
        let columns = self.columns.iter_mut().map(Builder::finish);
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|error| ColumnarError::Query(error.to_string()))
    }
}

/// A field of COPY's text format.
struct Cell<'a> {
    table: &'a Table,
    column: &'a Column,
    bytes: &'a [u8],
}

impl Cell<'_> {
    fn wrong(&self, why: &str) -> ColumnarError {
        let shown = String::from_utf8_lossy(self.bytes.get(..60).unwrap_or(self.bytes));
        let (table, column) = (self.table.name, self.column.name);
        ColumnarError::Refused(format!(
            "{table}.{column} of a row is {shown:?}, {why}: correct the row"
        ))
    }

    /// Whether it is a NULL that may be one.
    fn is_null(&self) -> bool {
        self.column.nullable && self.bytes == b"\\N"
    }

    fn number<T: FromStr>(&self) -> Result<Option<T>, ColumnarError> {
        if self.is_null() {
            return Ok(None);
        }
        let text = std::str::from_utf8(self.bytes).ok();
        let number = text.and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| self.wrong("which the column store cannot hold"))?;
        Ok(Some(number))
    }

    fn text(&self) -> Result<Option<String>, ColumnarError> {
        if self.is_null() {
            return Ok(None);
        }
        if self.bytes == b"\\N" {
            return Err(self.wrong("which the column store cannot hold"));
        }
        let text = String::from_utf8(unescaped(self.bytes));
        text.map(Some).map_err(|_| self.wrong("which is not UTF-8"))
    }

    fn amount(&self) -> Result<Option<i128>, ColumnarError> {
        if self.is_null() {
            return Ok(None);
        }
        let text = std::str::from_utf8(self.bytes).unwrap_or_default();
        let amount = amount(text);
        let amount = amount
            .ok_or_else(|| self.wrong("which is not a number of 18 digits and 2 decimals"))?;
        Ok(Some(amount))
    }
}

/// Reads a numeric's text as hundredths. `None` if it has more digits than the column holds, or is none.
fn amount(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let decimals = decimals.trim_end_matches('0');
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 18
        || decimals.len() > 2
        || !all_digits(whole)
        || !all_digits(decimals)
    {
        return None;
    }
    let hundredths =
        whole.parse::<i128>().ok()? * 100 + format!("{decimals:0<2}").parse::<i128>().ok()?;
    Some(if negative { -hundredths } else { hundredths })
}

#[cfg(test)]
mod tests {
    use super::super::table::TABLES;
    use super::*;

    #[test]
    fn hours_select_times() {
        let [sales, days, _] = &TABLES;
        assert_eq!(
            within(sales, &[i64::MIN..5, 7..8]),
            "true AND f.sale_time < to_timestamp(18000) OR f.sale_time >= to_timestamp(25200) AND f.sale_time < to_timestamp(28800)"
        );
        // The first hour of a day is its rows'.
        assert_eq!(
            within(days, &[24..25, 25..48, 30..73]),
            "f.day >= date '1970-01-01' + (1) AND f.day < date '1970-01-01' + (2) OR \
             f.day >= date '1970-01-01' + (2) AND f.day < date '1970-01-01' + (2) OR \
             f.day >= date '1970-01-01' + (2) AND f.day < date '1970-01-01' + (4)"
        );
    }

    #[test]
    fn amounts_are_exact_or_refused() {
        for (text, hundredths) in [
            ("0", Some(0)),
            ("12.5", Some(1250)),
            ("-0.05", Some(-5)),
            ("7.1000", Some(710)),
            ("999999999999999999.99", Some(99_999_999_999_999_999_999)),
            ("1000000000000000000", None),
            ("0.001", None),
            ("NaN", None),
            ("Infinity", None),
            ("", None),
            ("1.2.3", None),
        ] {
            assert_eq!(amount(text), hundredths, "{text}");
        }
    }
}
