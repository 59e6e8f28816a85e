//! `htap-top columnar query`: writes an answer in a form.

pub use super::options::Options;

use super::answer::{Answer, Form};
use super::engine::failed;
use super::error::ColumnarError;
use super::store::{Columnar, Rows};
use crate::pg::Target;
use datafusion::arrow::array::{AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use std::io::Write;
use std::sync::Arc;

/// Answers a SELECT, or an EXPLAIN of one, in a session of its own, and writes the answer.
pub async fn query(
    target: &Target,
    sql: &str,
    options: &Options,
    out: impl Write + Send,
) -> Result<(), ColumnarError> {
    let columnar = Columnar::open(target, options)?;
    answer(&columnar, sql, options.form, out).await
}

/// Answers a SELECT, or an EXPLAIN of one, and writes the answer.
pub async fn answer(
    columnar: &Columnar,
    sql: &str,
    form: Form,
    out: impl Write + Send,
) -> Result<(), ColumnarError> {
    let rows = Box::pin(columnar.query(sql)).await?;
    if rows.explains() {
        return lines(rows, out).await;
    }
    write(rows, form, out).await
}

async fn write(mut rows: Rows, form: Form, out: impl Write + Send) -> Result<(), ColumnarError> {
    if form == Form::Arrow {
        return arrow(rows, out).await;
    }
    let names = rows.schema().fields().iter();
    let names = names.map(|field| field.name().clone()).collect();
    let zone = rows.zone();
    let mut answer = Answer::new(out, form, names, &zone).map_err(failed)?;
    while let Some(batch) = rows.next().await? {
        answer.add(&batch).map_err(failed)?;
    }
    answer.finish().map_err(failed)?;
    Ok(())
}

/// Writes a stream of Arrow's IPC format.
async fn arrow(mut rows: Rows, out: impl Write + Send) -> Result<(), ColumnarError> {
    let failed = |error| match error {
        ArrowError::IoError(_, source) => writing(source),
        other => ColumnarError::Query(other.to_string()),
    };
    let schema = without_views(rows.schema());
    let mut stream = StreamWriter::try_new(out, &schema).map_err(failed)?;
    while let Some(batch) = rows.next().await? {
        let columns = batch.columns().iter().zip(schema.fields());
        let columns = columns.map(|(column, field)| cast(column, field.data_type()));
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &rows);
        stream.write(&batch.map_err(failed)?).map_err(failed)?;
    }
    stream.finish().map_err(failed)
}

/// The columns with texts in the form that all programs read.
fn without_views(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let kind = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            other => other.clone(),
        };
        Field::new(field.name(), kind, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn writing(source: std::io::Error) -> ColumnarError {
    ColumnarError::File {
        what: "write the answer".to_owned(),
        source,
    }
}

/// Writes what EXPLAIN says.
async fn lines(mut rows: Rows, mut out: impl Write + Send) -> Result<(), ColumnarError> {
    while let Some(batch) = rows.next().await? {
        for column in batch.columns() {
            for line in column.as_string::<i32>().iter().flatten() {
                writeln!(out, "{line}").map_err(writing)?;
            }
        }
    }
    out.flush().map_err(writing)
}
