//! The table that the column store holds, `mart.fact_sales`: its columns, as PostgreSQL has them and as files have them.

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::{Arc, LazyLock};

/// Digits of an amount: more than a price of 10 digits times an integer needs.
pub(super) const PRECISION: u8 = 20;
/// Of these, digits after the point.
pub(super) const SCALE: i8 = 2;

/// Format of the files. It grows when files of an earlier version must be written anew.
pub(super) const FORMAT: i64 = 1;

/// A column.
pub(super) struct Column {
    /// Its name.
    pub(super) name: &'static str,
    /// Its type in PostgreSQL.
    pub(super) sql: &'static str,
    /// Its type in files and in the engine.
    pub(super) kind: fn() -> DataType,
}

/// The columns, in the table's order. None may be NULL.
pub(super) const COLUMNS: [Column; 9] = [
    column("order_id", "bigint", || DataType::Int64),
    column("line_no", "smallint", || DataType::Int16),
    column("user_id", "bigint", || DataType::Int64),
    column("user_segment", "text", || DataType::Utf8),
    column("product_id", "bigint", || DataType::Int64),
    column("category", "text", || DataType::Utf8),
    column("quantity", "integer", || DataType::Int32),
    column("sales_amount", "numeric", || {
        DataType::Decimal128(PRECISION, SCALE)
    }),
    column("sale_time", "timestamp with time zone", instant),
];

/// The column by which hours are told apart.
pub(super) const TIME: &str = "sale_time";

const fn column(name: &'static str, sql: &'static str, kind: fn() -> DataType) -> Column {
    Column { name, sql, kind }
}

/// The type of times: microseconds, UTC.
pub(super) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The table as files and the engine have it.
pub(super) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let fields = COLUMNS
        .iter()
        .map(|column| Field::new(column.name, (column.kind)(), false));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
});

/// Selects the columns of the table as PostgreSQL has them now: one text, to compare with [`layout`].
pub(super) const LAYOUT: &str = "
    SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attname, pg_catalog.format_type(a.atttypid, NULL),
                                                      CASE WHEN NOT a.attnotnull THEN 'NULL' END), ', ' ORDER BY a.attnum) AS layout
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid = to_regclass('mart.fact_sales') AND a.attnum > 0 AND NOT a.attisdropped";

/// The columns that this program knows.
pub(super) fn layout() -> String {
    let columns = COLUMNS
        .iter()
        .map(|column| format!("{} {}", column.name, column.sql));
    columns.collect::<Vec<_>>().join(", ")
}
