//! Writes values as PostgreSQL does, and answers as a table, CSV or JSON.

use super::zone::Zone;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, UInt64Type,
};
use datafusion::common::{DataFusionError, Result};
use std::fmt::Write as _;
use std::io::Write;
use unicode_width::UnicodeWidthStr;

/// Form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Aligned, for people.
    #[default]
    Table,
    /// CSV with a header; NULL is empty, an empty text is "".
    Csv,
    /// An array of objects.
    Json,
    /// A stream of Arrow's IPC format, for programs.
    Arrow,
}

/// A writer of batches.
pub(super) struct Answer<'a, W> {
    out: W,
    form: Form,
    names: Vec<String>,
    zone: &'a Zone,
    /// The cells of a table, whose widths are known at its end.
    cells: Vec<Vec<(String, bool)>>,
    rows: u64,
}

fn failed(error: std::io::Error) -> DataFusionError {
    DataFusionError::IoError(error)
}

impl<'a, W: Write> Answer<'a, W> {
    pub(super) fn new(out: W, form: Form, names: Vec<String>, zone: &'a Zone) -> Result<Self> {
        let mut answer = Self {
            out,
            form,
            names,
            zone,
            cells: Vec::new(),
            rows: 0,
        };
        match form {
            Form::Csv => {
                let names: Vec<String> = answer.names.iter().map(|name| quoted(name)).collect();
                writeln!(answer.out, "{}", names.join(",")).map_err(failed)?;
            }
            Form::Json => write!(answer.out, "[").map_err(failed)?,
            Form::Table | Form::Arrow => {}
        }
        Ok(answer)
    }

    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut line = String::new();
        for row in 0..batch.num_rows() {
            line.clear();
            match self.form {
                Form::Csv => self.csv(batch, row, &mut line)?,
                Form::Json => self.json(batch, row, &mut line)?,
                Form::Table | Form::Arrow => {
                    let cells = batch.columns().iter().map(|column| {
                        let number = column.data_type().is_numeric();
                        Ok((
                            text(column, row, self.zone, false)?.unwrap_or_default(),
                            number,
                        ))
                    });
                    let cells = cells.collect::<Result<Vec<_>>>()?;
                    self.cells.push(cells);
                }
            }
            self.out.write_all(line.as_bytes()).map_err(failed)?;
            self.rows += 1;
        }
        Ok(())
    }

    fn csv(&self, batch: &RecordBatch, row: usize, line: &mut String) -> Result<()> {
        for (place, column) in batch.columns().iter().enumerate() {
            if place > 0 {
                line.push(',');
            }
            if let Some(value) = text(column, row, self.zone, false)? {
                *line += &quoted(&value);
            }
        }
        line.push('\n');
        Ok(())
    }

    fn json(&self, batch: &RecordBatch, row: usize, line: &mut String) -> Result<()> {
        *line += if self.rows == 0 { "\n  {" } else { ",\n  {" };
        for (place, (column, name)) in batch.columns().iter().zip(&self.names).enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            let value = match text(column, row, self.zone, true)? {
                None => "null".to_owned(),
                Some(value) if column.data_type().is_numeric() => value,
                Some(value) if *column.data_type() == DataType::Boolean => {
                    if value == "t" { "true" } else { "false" }.to_owned()
                }
                Some(value) => string(&value),
            };
            let _ = write!(line, "{comma}{}: {value}", string(name));
        }
        line.push('}');
        Ok(())
    }

    /// Writes what is left, and returns the number of rows.
    pub(super) fn finish(mut self) -> Result<u64> {
        match self.form {
            Form::Csv => {}
            Form::Json => {
                writeln!(self.out, "{}]", if self.rows > 0 { "\n" } else { "" }).map_err(failed)?;
            }
            Form::Table | Form::Arrow => self.table().map_err(failed)?,
        }
        self.out.flush().map_err(failed)?;
        Ok(self.rows)
    }

    fn table(&mut self) -> std::io::Result<()> {
        let clean = |text: &str| crate::text::Clean::new(text).as_str().to_owned();
        let names: Vec<String> = self.names.iter().map(|name| clean(name)).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| name.width()).collect();
        for row in &mut self.cells {
            for ((cell, _), width) in row.iter_mut().zip(&mut widths) {
                *cell = clean(cell);
                *width = (*width).max(cell.width());
            }
        }
        let pad = |text: &str, width: usize, right: bool| {
            let space = " ".repeat(width.saturating_sub(text.width()));
            if right {
                format!("{space}{text}")
            } else {
                format!("{text}{space}")
            }
        };
        let header: Vec<String> = names
            .iter()
            .zip(&widths)
            .map(|(name, width)| pad(name, *width, false))
            .collect();
        writeln!(self.out, " {}", header.join(" | ").trim_end())?;
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width + 2)).collect();
        writeln!(self.out, "{}", rule.join("+"))?;
        for row in &self.cells {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|((cell, number), width)| pad(cell, *width, *number))
                .collect();
            writeln!(self.out, " {}", cells.join(" | ").trim_end())?;
        }
        let rows = if self.rows == 1 { "row" } else { "rows" };
        writeln!(self.out, "({} {rows})", self.rows)
    }
}

/// A field of CSV. An empty text is quoted, to differ from NULL.
fn quoted(text: &str) -> String {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn string(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

/// A value as PostgreSQL writes it; `None` is NULL.
pub(super) fn text(
    column: &dyn Array,
    row: usize,
    zone: &Zone,
    json: bool,
) -> Result<Option<String>> {
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return Ok(None);
    }
    let unknown = || DataFusionError::Execution("a value that cannot be written".to_owned());
    Ok(Some(match column.data_type() {
        DataType::Boolean => if column.as_boolean().value(row) {
            "t"
        } else {
            "f"
        }
        .to_owned(),
        DataType::Int16 => column.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).to_string(),
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Utf8View => column.as_string_view().value(row).to_owned(),
        DataType::Decimal128(_, scale) => {
            decimal(column.as_primitive::<Decimal128Type>().value(row), *scale)
        }
        DataType::Float64 => double(column.as_primitive::<Float64Type>().value(row)),
        DataType::Date32 => {
            let day = column.as_primitive::<Date32Type>().value(row);
            let date = chrono::NaiveDate::from_epoch_days(day);
            date.map(|date| date.format("%Y-%m-%d").to_string())
                .ok_or_else(unknown)?
        }
        DataType::Timestamp(_, _) => {
            let at = column.as_primitive::<TimestampMicrosecondType>().value(row);
            zone.text(at, if json { 'T' } else { ' ' }, json)
                .ok_or_else(unknown)?
        }
        _ => return Err(unknown()),
    }))
}

/// A numeric. A quotient is written without the zeros at its end, whose number PostgreSQL chooses by the operands.
pub(super) fn decimal(value: i128, scale: i8) -> String {
    let Some(digits) = usize::try_from(scale).ok().filter(|digits| *digits > 0) else {
        return value.to_string();
    };
    let sign = if value < 0 { "-" } else { "" };
    let all = format!("{:0>width$}", value.unsigned_abs(), width = digits + 1);
    let (whole, decimals) = all
        .split_at_checked(all.len() - digits)
        .unwrap_or((&all, ""));
    if scale == super::functions::QUOTIENT_SCALE {
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        return format!("{sign}{whole}{point}{decimals}");
    }
    format!("{sign}{whole}.{decimals}")
}

/// A double precision, as few digits as tell it from all others (float8out).
fn double(value: f64) -> String {
    let mut shortest = format!("{value:e}");
    let digits = shortest.trim_start_matches('-').find('e');
    let mut places = digits.unwrap_or_default().saturating_sub(2);
    while is_halfway(&shortest, value) && places < 16 {
        places += 1;
        shortest = format!("{value:.places$e}");
    }
    let Some((digits, exponent)) = shortest.split_once('e') else {
        return shortest;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if (-4..15).contains(&exponent) => value.to_string(),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        Err(_) => shortest,
    }
}

/// Whether a text lies halfway between a number and the next one, so that some programs would read it as the other:
/// PostgreSQL then writes more digits. Only integers beyond 2^53 have such texts.
fn is_halfway(text: &str, value: f64) -> bool {
    let whole = || {
        let (mantissa, exponent) = text.trim_start_matches('-').split_once('e')?;
        let (first, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i128 = format!("{first}{decimals}").parse().ok()?;
        let zeros = exponent
            .parse::<usize>()
            .ok()?
            .checked_sub(decimals.len())?;
        digits.checked_mul(10_i128.checked_pow(u32::try_from(zeros).ok()?)?)
    };
    let size = value.abs();
    let Some(written) = (size >= (1_u64 << 53) as f64).then(whole).flatten() else {
        return false;
    };
    let exact = size as i128;
    let next = if written > exact {
        size.next_up()
    } else {
        size.next_down()
    };
    written != exact && 2 * (written - exact) == next as i128 - exact
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_postgresql_does() {
        for (value, text) in [
            (0.0, "0"),
            (0.1, "0.1"),
            (-52.575, "-52.575"),
            (0.0001, "0.0001"),
            (0.000_01, "1e-05"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e15, "1e+15"),
            (1.5e300, "1.5e+300"),
            (915_161_782_958_424_064_i64 as f64, "9.151617829584241e+17"),
            (
                -915_161_782_958_424_064_i64 as f64,
                "-9.151617829584241e+17",
            ),
            (9_007_199_254_740_992_i64 as f64, "9.007199254740992e+15"),
        ] {
            assert_eq!(double(value), text);
        }
    }

    #[test]
    fn numerics_and_texts_are_written_as_postgresql_does() {
        assert_eq!(decimal(-5, 2), "-0.05");
        assert_eq!(decimal(12_345, 2), "123.45");
        assert_eq!(decimal(7, 0), "7");
        assert_eq!(decimal(250_000_000_000_000_000_000, 20), "2.5");
        assert_eq!(decimal(0, 20), "0");
        assert_eq!(
            (quoted("a,\"b\""), quoted(""), quoted("x")),
            ("\"a,\"\"b\"\"\"".into(), "\"\"".into(), "x".into())
        );
    }
}
