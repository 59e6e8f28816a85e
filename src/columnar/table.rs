//! The tables that the column store holds: their columns, as PostgreSQL has them and as files have them.

use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Digits of an amount: more than a price of 10 digits times an integer needs.
pub(super) const PRECISION: u8 = 20;
/// Of these, digits after the point.
pub(super) const SCALE: i8 = 2;
/// Digits of an amount in a file in which none needs more. Parquet writes such amounts as 64-bit integers, which are read
/// faster: the sums of 2.7 million sales by category in 49 instead of 62 ms.
pub(super) const FEW: u8 = 18;

/// Format of the files. It grows when files of an earlier version must be written anew.
pub(super) const FORMAT: i64 = 1;

/// Type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    SmallInt,
    Integer,
    BigInt,
    Text,
    /// A numeric with two decimals.
    Amount,
    Date,
    /// timestamptz.
    Time,
}

impl Kind {
    /// Its name in PostgreSQL.
    fn sql(self) -> &'static str {
        match self {
            Self::SmallInt => "smallint",
            Self::Integer => "integer",
            Self::BigInt => "bigint",
            Self::Text => "text",
            Self::Amount => "numeric",
            Self::Date => "date",
            Self::Time => "timestamp with time zone",
        }
    }

    /// Its type in files and in the engine.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Self::SmallInt => DataType::Int16,
            Self::Integer => DataType::Int32,
            Self::BigInt => DataType::Int64,
            // Whose values are compared by their first bytes, and not copied when rows are filtered.
            Self::Text => DataType::Utf8View,
            Self::Amount => DataType::Decimal128(PRECISION, SCALE),
            Self::Date => DataType::Date32,
            Self::Time => instant(),
        }
    }
}

/// A column.
#[derive(Debug)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) kind: Kind,
    /// Whether it may be NULL.
    pub(super) nullable: bool,
    /// Whether values are written as the differences to those before, not as their numbers in a dictionary: hardly two rows
    /// have the same value, and those of near rows are near.
    pub(super) as_differences: bool,
}

/// A table, or a view that is read as one.
pub(super) struct Table {
    /// Its name, behind that of its schema.
    pub(super) name: &'static str,
    /// The columns, in the table's order.
    pub(super) columns: &'static [Column],
    /// The column by which hours are told apart: a time, or a date, of which the first hour counts.
    pub(super) time: &'static str,
    /// The first time, as SQL.
    pub(super) first: &'static str,
    /// The order of rows in a file: by hour, then so that equal values stand together. Hours must, so that one of them can be
    /// left out; the order within them lets equal values and near times compress.
    pub(super) order: &'static str,
    /// Hours after its end in which the rows of an hour still change much.
    pub(super) unsettled: i64,
    /// The table as files and the engine have it.
    schema: LazyLock<SchemaRef>,
}

impl Table {
    /// Its name without that of its schema, in which all are.
    pub(super) fn bare_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// The table as files and the engine have it.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The table as a file has it whose amounts have at most so many digits.
    pub(super) fn schema_of_file(&self, digits: u8) -> SchemaRef {
        let schema = self.schema();
        let fields = schema.fields().iter().map(|field| {
            let kind = match field.data_type() {
                DataType::Decimal128(_, scale) => DataType::Decimal128(digits, *scale),
                other => other.clone(),
            };
            field.as_ref().clone().with_data_type(kind)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Whether it is that of orders: its rows lie in partitions, which come and go, and only changes of closed hours are logged.
    pub(super) fn is_of_orders(&self) -> bool {
        self.name == "mart.orders"
    }

    /// Whether days are told apart, not hours.
    pub(super) fn is_daily(&self) -> bool {
        let mut columns = self.columns.iter();
        columns.any(|column| column.name == self.time && column.kind == Kind::Date)
    }

    /// The columns that this program knows: one text, to compare with what the server says.
    pub(super) fn layout(&self) -> String {
        let columns = self.columns.iter();
        let columns = columns.map(|column| format!("{} {}", column.name, column.kind.sql()));
        columns.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        nullable: false,
        as_differences: false,
    }
}

/// A column whose values mostly grow from row to row.
const fn growing(name: &'static str, kind: Kind) -> Column {
    Column {
        as_differences: true,
        ..column(name, kind)
    }
}

// Lines of an order lie in several categories, so a dictionary has each order's number and time once.
const SALES: &[Column] = &[
    column("order_id", Kind::BigInt),
    column("line_no", Kind::SmallInt),
    column("user_id", Kind::BigInt),
    column("user_segment", Kind::Text),
    column("product_id", Kind::BigInt),
    column("category", Kind::Text),
    column("quantity", Kind::Integer),
    column("sales_amount", Kind::Amount),
    column("sale_time", Kind::Time),
];

const USER_DAY: &[Column] = &[
    growing("user_id", Kind::BigInt),
    column("day", Kind::Date),
    column("orders", Kind::BigInt),
    column("amount", Kind::Amount),
];

const ORDERS: &[Column] = &[
    growing("order_id", Kind::BigInt),
    column("user_id", Kind::BigInt),
    column("total_amount", Kind::Amount),
    column("status", Kind::Text),
    growing("created_at", Kind::Time),
    growing("updated_at", Kind::Time),
    Column {
        nullable: true,
        ..growing("completed_at", Kind::Time)
    },
];

/// The tables.
pub(super) static TABLES: [Table; 3] = [
    Table {
        name: "mart.fact_sales",
        columns: SALES,
        time: "sale_time",
        first: "min(f.sale_time)",
        order: "date_trunc('hour', f.sale_time, 'UTC'), f.category, f.sale_time, f.order_id, f.line_no",
        unsettled: 0,
        schema: LazyLock::new(|| schema(SALES)),
    },
    Table {
        name: "mart.user_day",
        columns: USER_DAY,
        time: "day",
        first: "min(f.day)",
        order: "f.day, f.user_id",
        unsettled: 0,
        schema: LazyLock::new(|| schema(USER_DAY)),
    },
    // A view of shop.orders, which has the status as a number.
    Table {
        name: "mart.orders",
        columns: ORDERS,
        time: "created_at",
        // The key says when an order was made, and has an index.
        first: "shop.order_time(min(f.order_id))",
        order: "date_trunc('hour', f.created_at, 'UTC'), f.status, f.created_at, f.order_id",
        unsettled: 24,
        schema: LazyLock::new(|| schema(ORDERS)),
    },
];

fn schema(columns: &[Column]) -> SchemaRef {
    let fields = columns
        .iter()
        .map(|column| Field::new(column.name, column.kind.data_type(), column.nullable));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The type of times: microseconds, UTC.
pub(super) fn instant() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
