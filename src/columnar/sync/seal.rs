//! Up to where files of `mart.orders` may be written. Changes of an order are only logged if it lies before
//! `htap.column_relation.logged_until`, as the transaction that changes it sees that. So before later hours are written,
//! `logged_until` is moved, and then all transactions must have ended that write orders and may have seen it as it was before.

use crate::columnar::error::ColumnarError;
use crate::columnar::manifest::Manifest;
use crate::pg::{Client, Param, PgError};
use std::time::Duration;
use tokio::time::sleep;

/// Time between two looks at the transactions.
const LOOK: Duration = Duration::from_millis(20);
/// Looks of a round. The next one goes on with it.
const LOOKS: usize = 100;

/// The transactions that write orders: each has this lock before it writes, until it ends.
const WRITERS: &str = "
    SELECT DISTINCT l.virtualtransaction AS writer
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.granted
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
      AND (l.relation = to_regclass('shop.orders') OR l.relation IN (
          SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = to_regclass('shop.orders')))";

/// What this session knows of it.
#[derive(Debug, Default)]
pub(super) struct Seal {
    /// Changes before this hour are logged by all transactions.
    sealed: Option<i64>,
    /// Changes before this hour will be, once these transactions have ended.
    waits: Option<(i64, Vec<String>)>,
}

impl Seal {
    /// Returns the hour up to which files may be written, if all up to `wanted` shall be. `None`: no hour yet.
    pub(super) async fn up_to(
        &mut self,
        client: &Client,
        store: &Manifest,
        wanted: i64,
    ) -> Result<Option<i64>, ColumnarError> {
        if self.known().is_some_and(|known| store.orders_until < known) {
            // The log was begun anew.
            *self = Self::default();
        }
        if store.orders_until < wanted {
            let advance = "
                UPDATE htap.column_relation SET logged_until = to_timestamp($1)
                WHERE relation = 'mart.orders' AND logged_until < to_timestamp($1)";
            let hour = [Param::Float((wanted * 3600) as f64)];
            let advanced = client.execute(advance, &hour).await;
            advanced.map_err(ColumnarError::server("write htap.column_relation"))?;
        }
        let until = store.orders_until.max(wanted);
        if self.known() != Some(until) {
            self.waits = Some((until, writers(client).await?));
        }
        self.wait(client).await?;
        Ok(self.sealed.map(|sealed| sealed.min(wanted)))
    }

    /// The hour before which changes are logged by all transactions, or will be.
    fn known(&self) -> Option<i64> {
        let waits = self.waits.as_ref().map(|(until, _)| *until);
        waits.max(self.sealed)
    }

    /// Waits for a moment until the transactions have ended.
    async fn wait(&mut self, client: &Client) -> Result<(), ColumnarError> {
        for look in 0..LOOKS {
            let Some((until, before)) = &mut self.waits else {
                break;
            };
            if look > 0 {
                sleep(LOOK).await;
            }
            if !before.is_empty() {
                let now = writers(client).await?;
                before.retain(|writer| now.contains(writer));
            }
            if before.is_empty() {
                self.sealed = Some(*until);
                self.waits = None;
            }
        }
        Ok(())
    }

    /// Whether it waits for transactions.
    pub(super) fn is_waiting(&self) -> bool {
        self.waits.is_some()
    }
}

async fn writers(client: &Client) -> Result<Vec<String>, ColumnarError> {
    let failed: fn(PgError) -> ColumnarError = |source| ColumnarError::Server {
        what: "wait for transactions that write orders",
        source,
    };
    let writers = client.query(WRITERS, &[]).await.map_err(failed)?;
    let rows = 0..writers.rows.len();
    let names = rows.filter_map(|row| writers.get(row, "writer").text());
    Ok(names.map(str::to_owned).collect())
}
