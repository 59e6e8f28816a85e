//! Rows of `mart.fact_sales` from PostgreSQL, as batches of columns.

use super::error::ColumnarError;
use super::table::{PRECISION, SCALE, SCHEMA};
use crate::pg::Client;
use crate::system::archive::unescaped;
use datafusion::arrow::array::{
    Decimal128Builder, Int16Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use std::ops::Range;
use std::sync::Arc;

/// For each column its expression in the select list of COPY, and what stands for it if it is not needed. Amounts come as
/// text, of which no digit is lost; times as microseconds.
const FIELDS: [(&str, &str); 9] = [
    ("f.order_id", "0"),
    ("f.line_no", "0"),
    ("f.user_id", "0"),
    ("f.user_segment", "''"),
    ("f.product_id", "0"),
    ("f.category", "''"),
    ("f.quantity", "0"),
    ("f.sales_amount", "0"),
    ("(extract(epoch FROM f.sale_time) * 1000000)::bigint", "0"),
];

/// The order of rows in a file: by hour, and by category within it. Hours must stand together, so that one of them can be
/// left out; the order within them lets equal texts and near times compress.
pub(super) const IN_ORDER: &str = "ORDER BY date_trunc('hour', f.sale_time, 'UTC'), f.category, f.sale_time, f.order_id, f.line_no";

/// Rows of a batch.
const BATCH: usize = 8192;

/// The condition that selects ranges of hours; the ends of [`i64`] are none.
pub(super) fn within(open: &[Range<i64>]) -> String {
    let bound = |comparison: &str, hour: i64| match hour {
        i64::MIN | i64::MAX => "true".to_owned(),
        hour => format!("f.sale_time {comparison} to_timestamp({})", hour * 3600),
    };
    let open = open
        .iter()
        .map(|range| format!("{} AND {}", bound(">=", range.start), bound("<", range.end)));
    open.collect::<Vec<_>>().join(" OR ")
}

/// Reads the rows that `clause` selects (`WHERE … ORDER BY …`) and passes them on in batches, with the columns that are
/// `wanted`; the others hold nothing. Returns the number of rows.
pub(super) async fn read(
    client: &Client,
    wanted: &[bool],
    clause: &str,
    take: impl FnMut(RecordBatch) -> Result<(), ColumnarError> + Send,
) -> Result<u64, ColumnarError> {
    let fields = FIELDS.iter().zip(wanted);
    let fields = fields.map(|((field, nothing), wanted)| if *wanted { *field } else { *nothing });
    let fields = fields.collect::<Vec<_>>().join(", ");
    let copy = format!("COPY (SELECT {fields} FROM mart.fact_sales AS f {clause}) TO STDOUT");
    let mut reader = Reader {
        columns: Columns::default(),
        open: Vec::new(),
        rows: 0,
        take,
    };
    client.copy_out(&copy, |piece| reader.add(piece)).await?;
    reader.finish()
}

struct Reader<F> {
    columns: Columns,
    /// The incomplete line at the end of what has come.
    open: Vec<u8>,
    rows: u64,
    take: F,
}

impl<F: FnMut(RecordBatch) -> Result<(), ColumnarError>> Reader<F> {
    fn add(&mut self, piece: &[u8]) -> Result<(), ColumnarError> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(part);
            if self.open.pop_if(|last| *last == b'\n').is_some() {
                let mut line = std::mem::take(&mut self.open);
                self.columns.add(&line)?;
                line.clear();
                self.open = line;
                self.rows += 1;
                if self.columns.rows == BATCH {
                    (self.take)(self.columns.batch()?)?;
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<u64, ColumnarError> {
        if self.columns.rows > 0 {
            (self.take)(self.columns.batch()?)?;
        }
        Ok(self.rows)
    }
}

#[derive(Default)]
struct Columns {
    rows: usize,
    order_id: Int64Builder,
    line_no: Int16Builder,
    user_id: Int64Builder,
    user_segment: StringBuilder,
    product_id: Int64Builder,
    category: StringBuilder,
    quantity: Int32Builder,
    sales_amount: Decimal128Builder,
    sale_time: TimestampMicrosecondBuilder,
}

impl Columns {
    /// Adds a line of COPY's text format.
    fn add(&mut self, line: &[u8]) -> Result<(), ColumnarError> {
        let mut fields = line.split(|byte| *byte == b'\t');
        let mut next = |name: &'static str| Cell {
            name,
            bytes: fields.next().unwrap_or_default(),
        };
        self.order_id.append_value(next("order_id").number()?);
        self.line_no.append_value(next("line_no").number()?);
        self.user_id.append_value(next("user_id").number()?);
        self.user_segment.append_value(next("user_segment").text()?);
        self.product_id.append_value(next("product_id").number()?);
        self.category.append_value(next("category").text()?);
        self.quantity.append_value(next("quantity").number()?);
        self.sales_amount
            .append_value(next("sales_amount").amount()?);
        self.sale_time.append_value(next("sale_time").number()?);
        self.rows += 1;
        Ok(())
    }

    fn batch(&mut self) -> Result<RecordBatch, ColumnarError> {
        self.rows = 0;
        let amounts = self.sales_amount.finish();
        let amounts = amounts
            .with_precision_and_scale(PRECISION, SCALE)
            .map_err(|error| ColumnarError::Query(error.to_string()))?;
        RecordBatch::try_new(
            Arc::clone(&SCHEMA),
            vec![
                Arc::new(self.order_id.finish()),
                Arc::new(self.line_no.finish()),
                Arc::new(self.user_id.finish()),
                Arc::new(self.user_segment.finish()),
                Arc::new(self.product_id.finish()),
                Arc::new(self.category.finish()),
                Arc::new(self.quantity.finish()),
                Arc::new(amounts),
                Arc::new(self.sale_time.finish().with_timezone("UTC")),
            ],
        )
        .map_err(|error| ColumnarError::Query(error.to_string()))
    }
}

/// A field of COPY's text format.
struct Cell<'a> {
    name: &'static str,
    bytes: &'a [u8],
}

impl Cell<'_> {
    fn wrong(&self, why: &str) -> ColumnarError {
        let shown = String::from_utf8_lossy(self.bytes.get(..60).unwrap_or(self.bytes));
        ColumnarError::Refused(format!(
            "mart.fact_sales.{} of a row is {shown:?}, {why}: correct the row",
            self.name
        ))
    }

    fn number<T: std::str::FromStr>(&self) -> Result<T, ColumnarError> {
        let text = std::str::from_utf8(self.bytes).ok();
        text.and_then(|text| text.parse().ok())
            .ok_or_else(|| self.wrong("which the column store cannot hold"))
    }

    fn text(&self) -> Result<String, ColumnarError> {
        String::from_utf8(unescaped(self.bytes)).map_err(|_| self.wrong("which is not UTF-8"))
    }

    fn amount(&self) -> Result<i128, ColumnarError> {
        let text = std::str::from_utf8(self.bytes).unwrap_or_default();
        amount(text).ok_or_else(|| self.wrong("which is not a number of 18 digits and 2 decimals"))
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
    use super::*;

    #[test]
    fn hours_select_times() {
        assert_eq!(
            within(&[i64::MIN..5, 7..8]),
            "true AND f.sale_time < to_timestamp(18000) OR f.sale_time >= to_timestamp(25200) AND f.sale_time < to_timestamp(28800)"
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
