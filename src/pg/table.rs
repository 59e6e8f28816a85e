//! The result of a query: rows of typed cells, independent of the driver's types.

use crate::text::Clean;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// SQL NULL: there is no value. Drawn as `—`.
    #[default]
    Null,
    /// The value is not available here (privilege, version, extension). Drawn as `n/a`.
    Unavailable,
    /// Not measured yet. Drawn as `?`.
    Pending,
    /// boolean
    Bool(bool),
    /// smallint, integer, bigint, oid, xid
    Int(i64),
    /// real, double precision; NaN and the infinities are possible
    Float(#[serde(with = "any_float")] f64),
    /// numeric: the exact decimal text and its nearest double for charts
    Decimal(Box<str>, #[serde(with = "any_float")] f64),
    /// Computed here; a lower bound of the value. Drawn with `≥`.
    AtLeast(#[serde(with = "any_float")] f64),
    /// Computed here; an upper bound of the value. Drawn with `≤`.
    AtMost(#[serde(with = "any_float")] f64),
    /// any other type, as cleaned text
    Text(Clean),
}

/// Writes NaN and the infinities as text, because JSON has none.
mod any_float {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(f64),
        Text(Box<str>),
    }

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde hands a reference over"
    )]
    pub(super) fn serialize<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() {
            to.serialize_f64(*value)
        } else {
            Written::Text(value.to_string().into()).serialize(to)
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
        match Written::deserialize(from)? {
            Written::Number(value) => Ok(value),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl Value {
    /// Returns the cell as a number, if it is one.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(value) => Some(*value as f64),
            Self::Float(value)
            | Self::Decimal(_, value)
            | Self::AtLeast(value)
            | Self::AtMost(value) => Some(*value),
            Self::Bool(value) => Some(f64::from(u8::from(*value))),
            Self::Null | Self::Unavailable | Self::Pending | Self::Text(_) => None,
        }
    }

    /// Returns the cell as an integer, truncated, if it is a finite number.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Float(value)
            | Self::Decimal(_, value)
            | Self::AtLeast(value)
            | Self::AtMost(value)
                if value.is_finite() =>
            {
                Some(*value as i64)
            }
            _ => None,
        }
    }

    /// Returns the cell's text, if it is a text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }

    /// Returns the text as it was received, for comparing and sending, never for display.
    pub fn raw(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.raw()),
            _ => None,
        }
    }

    /// Returns the sign drawn before a number that is only a bound.
    pub fn sign(&self) -> &'static str {
        match self {
            Self::AtLeast(_) => "≥",
            Self::AtMost(_) => "≤",
            Self::Null
            | Self::Unavailable
            | Self::Pending
            | Self::Bool(_)
            | Self::Int(_)
            | Self::Float(_)
            | Self::Decimal(..)
            | Self::Text(_) => "",
        }
    }

    /// Returns true if the cell is boolean true.
    pub fn is_true(&self) -> bool {
        matches!(self, Self::Bool(true))
    }

    /// Returns true if the cell holds a value.
    pub fn is_known(&self) -> bool {
        !matches!(self, Self::Null | Self::Unavailable | Self::Pending)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Clean::new(text))
    }
}

impl From<Option<f64>> for Value {
    fn from(value: Option<f64>) -> Self {
        value.map_or(Self::Null, Self::Float)
    }
}

/// Position of a column in a table, looked up once for all rows, or `ABSENT` if the table has none of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column(u16);

impl Column {
    const ABSENT: Self = Self(u16::MAX);

    /// Returns the cell of this column; NULL if the row has none.
    pub fn of(self, cells: &[Value]) -> &Value {
        cells.get(usize::from(self.0)).unwrap_or(&Value::Null)
    }
}

/// The rows of an answer. Samples of the same query share the column names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Column names, in the order of the SELECT list.
    pub columns: Arc<[Box<str>]>,
    /// Rows; each has as many cells as there are columns.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// Returns the position of the column called `name`.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| &**column == name)
    }

    /// Returns true if it has columns of all these names.
    pub fn has_columns(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.column(name).is_some())
    }

    /// Returns the column called `name`, which is looked up once and read in many rows. The search begins at `next`, which
    /// becomes the place behind it: who looks up many in about their order compares few names.
    pub fn find(&self, name: &str, next: &mut usize) -> Column {
        let (before, after) = self.columns.split_at((*next).min(self.columns.len()));
        let is_it = |column: &_| AsRef::<str>::as_ref(column) == name;
        let behind = || Some(before.len() + after.iter().position(is_it)?);
        let Some(position) = behind().or_else(|| before.iter().position(is_it)) else {
            return Column::ABSENT;
        };
        *next = position + 1;
        position.try_into().map_or(Column::ABSENT, Column)
    }

    /// Returns the cell in `row` of the column called `name`; NULL if either does not exist.
    pub fn get(&self, row: usize, name: &str) -> &Value {
        self.column(name)
            .and_then(|column| self.rows.get(row)?.get(column))
            .unwrap_or(&Value::Null)
    }

    /// Returns the cell of the first row in the column called `name`.
    pub fn first(&self, name: &str) -> &Value {
        self.get(0, name)
    }

    /// Returns the cells that identify a row: those of the `key` columns, or all integers and texts if `key` is empty.
    pub fn identity(&self, row: usize, key: &[String]) -> Vec<Box<str>> {
        let wanted = |name: &str| key.is_empty() || key.iter().any(|column| column == name);
        let cells = self.rows.get(row).map_or(&[][..], Vec::as_slice);
        let named = self.columns.iter().zip(cells);
        named
            .filter(|(name, _)| wanted(name))
            .filter_map(|(_, cell)| match cell {
                Value::Int(number) => Some(number.to_string().into()),
                Value::Text(text) => Some(text.as_str().into()),
                _ => None,
            })
            .collect()
    }

    /// Sets the cell in `row` of the column called `name`; adds the column if it is missing.
    pub fn set(&mut self, row: usize, name: &str, value: Value) {
        let column = self.ensure_column(name);
        if let Some(cell) = self
            .rows
            .get_mut(row)
            .and_then(|cells| cells.get_mut(column))
        {
            *cell = value;
        }
    }

    /// Sets the cell in `row` of an existing column.
    pub fn put(&mut self, row: usize, column: Column, value: Value) {
        let cells = self.rows.get_mut(row);
        if let Some(cell) = cells.and_then(|cells| cells.get_mut(usize::from(column.0))) {
            *cell = value;
        }
    }

    /// Appends a row with these cells of existing columns; the others are NULL.
    pub fn push(&mut self, cells: impl IntoIterator<Item = (Column, Value)>) {
        let row = self.rows.len();
        self.rows.push(vec![Value::Null; self.columns.len()]);
        for (column, value) in cells {
            self.put(row, column, value);
        }
    }

    /// Removes the rows for which `unwanted` returns true.
    pub fn drop_rows(&mut self, unwanted: impl Fn(&Self, usize) -> bool) {
        let keep: Vec<bool> = (0..self.rows.len())
            .map(|row| !unwanted(self, row))
            .collect();
        let mut keep = keep.into_iter();
        self.rows.retain(|_| keep.next().unwrap_or(true));
    }

    /// Appends the missing columns of these names, filled with NULL.
    pub fn ensure(&mut self, names: &[&str]) {
        let missing = names.iter().filter(|name| self.column(name).is_none());
        let missing: Vec<Box<str>> = missing.map(|name| Box::from(*name)).collect();
        if missing.is_empty() {
            return;
        }
        for row in &mut self.rows {
            row.resize(row.len() + missing.len(), Value::Null);
        }
        self.columns = self.columns.iter().cloned().chain(missing).collect();
    }

    /// Returns the position of the column called `name`; appends it, filled with NULL, if it is missing.
    pub fn ensure_column(&mut self, name: &str) -> usize {
        if let Some(column) = self.column(name) {
            return column;
        }
        let position = self.columns.len();
        self.columns = self.columns.iter().cloned().chain([name.into()]).collect();
        for row in &mut self.rows {
            row.push(Value::Null);
        }
        position
    }
}
