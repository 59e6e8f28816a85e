//! Runs statements with unknown result types: all their cells arrive as text.

use super::Client;
use crate::pg::cell::TEXT_CAP;
use crate::pg::error::{Class, PgError};
use crate::pg::table::{Table, Value};
use crate::text::Clean;
use futures_util::{TryStreamExt, pin_mut};
use tokio_postgres::SimpleQueryMessage;

/// Maximum number of rows kept of an answer; a user's panel may select a whole table.
pub(crate) const ROW_LIMIT: usize = 10_000;

/// Maximum size of the rows of a user's panel, in bytes: they are sorted, searched and recorded repeatedly.
const PANEL_BYTES: u64 = 4 << 20;

/// program_limit_exceeded, used for this program's own limit.
const PROGRAM_LIMIT: &str = "54000";

impl Client {
    /// Runs statements of unknown result types over the simple protocol; every cell arrives as text, and columns that
    /// contain only numbers are converted. The last statement with columns counts; at most `row_limit` rows are kept.
    #[track_caller]
    pub fn query_text(
        &self,
        sql: &str,
        row_limit: usize,
    ) -> impl Future<Output = Result<Table, PgError>> {
        let keep = Keep {
            rows: row_limit,
            bytes: self.limits().kept,
            cell: usize::MAX,
        };
        self.noting(self.within(self.texts(sql, keep)))
    }

    /// Like [`Self::query_text`], for a panel: rows and text beyond the limits of a panel are dropped. Truncated cells
    /// are marked.
    ///
    /// # Errors
    /// The rows take more than `PANEL_BYTES` nevertheless; the session continues.
    #[track_caller]
    pub fn query_panel(&self, sql: &str) -> impl Future<Output = Result<Table, PgError>> {
        self.noting(self.within(self.texts(sql, Keep::OF_A_PANEL)))
    }

    async fn texts(&self, sql: &str, keep: Keep) -> Result<Table, PgError> {
        let failed = |error| self.failed(error);
        let stream = self.inner().simple_query_raw(sql).await.map_err(failed)?;
        pin_mut!(stream);
        let mut table = Table::default();
        let mut kept = 0;
        while let Some(message) = stream.try_next().await.map_err(failed)? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    let columns = columns.iter();
                    table.columns = columns.map(|column| column.name().into()).collect();
                    table.rows.clear();
                    kept = 0;
                }
                SimpleQueryMessage::Row(row) if keep.has_room(&table, kept) => {
                    let mut cells = Vec::with_capacity(row.len());
                    for position in 0..row.len() {
                        let text = row.try_get(position).map_err(failed)?;
                        let text = text.map(|text| Clean::from_bytes(text.as_bytes(), keep.cell));
                        cells.push(text.map_or(Value::Null, Value::Text));
                    }
                    kept += weight(&cells);
                    table.rows.push(cells);
                }
                _ => {}
            }
        }
        let mut table = keep.checked(table, kept)?;
        crate::pg::sniff::numbers(&mut table);
        Ok(table)
    }
}

/// Limits on the rows kept of an answer.
#[derive(Clone, Copy)]
pub(in crate::pg) struct Keep {
    rows: usize,
    /// A larger answer is an error.
    bytes: u64,
    /// Length at which a cell is truncated.
    cell: usize,
}

impl Keep {
    /// Those of a user's panel.
    pub(in crate::pg) const OF_A_PANEL: Self = Self {
        rows: ROW_LIMIT,
        bytes: PANEL_BYTES,
        cell: TEXT_CAP,
    };

    /// Returns true if another row is kept beside those of `table`, which take so many bytes.
    pub(in crate::pg) fn has_room(&self, table: &Table, kept: u64) -> bool {
        table.rows.len() < self.rows && kept <= self.bytes
    }

    /// Returns the table, or an error if its rows take too many bytes.
    pub(in crate::pg) fn checked(&self, table: Table, kept: u64) -> Result<Table, PgError> {
        if kept <= self.bytes {
            return Ok(table);
        }
        // Everything that the server sent was read, so the session stays usable.
        Err(PgError {
            sqlstate: Some(PROGRAM_LIMIT.into()),
            ..PgError::new(Class::Statement, too_much(self.bytes))
        })
    }
}

pub(in crate::pg) fn too_much(limit: u64) -> String {
    let limit = crate::format::bytes(limit as f64);
    format!("the rows exceed the limit of {limit}: select fewer rows or shorter texts")
}

/// Returns the approximate size of a row in memory, in bytes.
pub(in crate::pg) fn weight(cells: &[Value]) -> u64 {
    let texts = cells.iter().map(|cell| match cell {
        Value::Text(text) => text.as_str().len(),
        Value::Decimal(text, _) => text.len(),
        _ => 0,
    });
    let fixed = size_of::<Vec<Value>>() + size_of_val(cells);
    (fixed + texts.sum::<usize>()) as u64
}
