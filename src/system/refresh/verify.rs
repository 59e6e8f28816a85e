//! Checks that an incremental summary equals its recomputation.

use super::{ONE_SNAPSHOT, View, is_busy};
use crate::pg::{Client, Param, PgError};
use std::time::Duration;
use tokio::time::sleep;

/// A table of a summary that differs from its recomputation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The table.
    pub relation: String,
    /// `extra`: rows that should not be there; `missing`: rows that should be.
    pub side: String,
    /// Number of such rows.
    pub rows: u64,
    /// One of them, as a row literal.
    pub example: String,
}

/// Number of retries if another refresher was running, and the pause between them.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);

/// Log rows of one step. Small, so that a backlog is merged in many steps, as the refresher does; a single step would
/// hide errors between steps.
const STEP: i64 = 1_000;

/// Merges the committed changes into a summary and compares each of its tables with a recomputation from the base
/// tables (`EXCEPT ALL` both ways), in one REPEATABLE READ transaction, so that both see the same orders. Other merges
/// of this summary wait until it is done. An empty result means that they are equal.
pub async fn verify(client: &Client, view: &View) -> Result<Vec<Difference>, PgError> {
    let mut attempts = 0;
    loop {
        let outcome = compare(client, view).await;
        let ended = match outcome {
            Ok(_) => client.commit().await,
            Err(_) => client.rollback().await,
        };
        match outcome {
            Err(error) if attempts < ATTEMPTS && is_busy(&error) => {
                attempts += 1;
                sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
            Ok(differences) => {
                ended?;
                return Ok(differences);
            }
        }
    }
}

async fn compare(client: &Client, view: &View) -> Result<Vec<Difference>, PgError> {
    client.begin_as(ONE_SNAPSHOT, "").await?;
    let name = view.to_string();
    let merge = "SELECT remaining FROM htap.merge($1, $2)";
    let params = [Param::Text(&name), Param::Int(STEP)];
    while client
        .query(merge, &params)
        .await?
        .first("remaining")
        .is_true()
    {}
    let sql = "SELECT relation, difference, rows, example FROM htap.verify($1)";
    let found = client.query(sql, &[Param::Text(&name)]).await?;
    let text = |row, column| found.get(row, column).text().unwrap_or_default().to_owned();
    Ok((0..found.rows.len())
        .map(|row| Difference {
            relation: text(row, "relation"),
            side: text(row, "difference"),
            rows: found.get(row, "rows").int().unwrap_or(0).unsigned_abs(),
            example: text(row, "example"),
        })
        .collect())
}
