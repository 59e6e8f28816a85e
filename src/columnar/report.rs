//! What syncs and queries write to the server about themselves, for the panel Columnar and its rules. No answer depends on it.

use super::error::ColumnarError;
use super::scan::Snapshot;
use crate::pg::relation::oid_of;
use crate::pg::{Client, Param, PgError};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Characters of an error that are kept.
const LONGEST: usize = 500;

/// A round of a sync.
#[derive(Debug)]
pub(super) struct Round {
    fresh: Option<Duration>,
    began: Instant,
}

// A crash of the server may lose the last row: the next one comes with the next round.
const WRITES: &str = "
    INSERT INTO htap.column_sync (writing_since, fresh_s) VALUES (clock_timestamp(), nullif($1, -1))
    ON CONFLICT (only_row) DO UPDATE SET writing_since = excluded.writing_since, fresh_s = excluded.fresh_s
    RETURNING set_config('synchronous_commit', 'off', true) AS committed";

/// A round without work is only noted if the last one was a second ago.
const ENDED: &str = "
    INSERT INTO htap.column_sync AS s (synced_at, fresh_s, wrote_at, took_ms, wrote_files, wrote_rows, wrote_bytes, free_bytes, disk_bytes)
    VALUES (clock_timestamp(), nullif($1, -1), CASE WHEN $3 > 0 THEN clock_timestamp() END, CASE WHEN $3 > 0 THEN $2 END,
            nullif($3, 0), $4, $5, nullif($6, -1), nullif($7, -1))
    ON CONFLICT (only_row) DO UPDATE
    SET synced_at = excluded.synced_at, fresh_s = excluded.fresh_s, free_bytes = excluded.free_bytes, disk_bytes = excluded.disk_bytes,
        wrote_at = coalesce(excluded.wrote_at, s.wrote_at), took_ms = coalesce(excluded.took_ms, s.took_ms),
        wrote_files = coalesce(excluded.wrote_files, s.wrote_files),
        wrote_rows = CASE WHEN excluded.wrote_at IS NULL THEN s.wrote_rows ELSE excluded.wrote_rows END,
        wrote_bytes = CASE WHEN excluded.wrote_at IS NULL THEN s.wrote_bytes ELSE excluded.wrote_bytes END,
        writing_since = NULL, failed_at = NULL, error = NULL
    WHERE excluded.wrote_at IS NOT NULL OR s.writing_since IS NOT NULL OR s.error IS NOT NULL
       OR s.fresh_s IS DISTINCT FROM excluded.fresh_s
       OR s.synced_at BETWEEN clock_timestamp() - interval '1 second' AND clock_timestamp() IS NOT TRUE
    RETURNING set_config('synchronous_commit', 'off', true) AS committed";

const MENDED: &str = "DELETE FROM htap.column_damage AS d WHERE d.file_id = ANY ($1)";

impl Round {
    /// Notes when it began.
    pub(super) fn begin(fresh: Option<Duration>) -> Self {
        Self {
            fresh,
            began: Instant::now(),
        }
    }

    fn fresh_s(&self) -> Param<'static> {
        Param::Float(self.fresh.map_or(-1.0, |fresh| fresh.as_secs_f64()))
    }

    /// Says that it writes files.
    pub(super) async fn writes(&self, client: &Client) -> Result<(), ColumnarError> {
        let told = client.execute(WRITES, &[self.fresh_s()]).await;
        told.map_err(writing())?;
        Ok(())
    }

    /// Says that it succeeded and what it wrote: files, rows, bytes; and that the files in `checked` were written anew or are
    /// sound. `space`: bytes left on the disk, and its size.
    pub(super) async fn ended(
        &self,
        client: &Client,
        (files, rows, bytes): (usize, u64, u64),
        checked: &[i64],
        space: Option<(u64, u64)>,
    ) -> Result<(), ColumnarError> {
        if !checked.is_empty() {
            let mended = client.execute(MENDED, &[Param::Ints(checked)]).await;
            mended.map_err(writing())?;
        }
        let count = |value: u64| Param::Int(i64::try_from(value).unwrap_or(i64::MAX));
        let (free, size) = match space {
            Some((free, size)) => (count(free), count(size)),
            None => (Param::Int(-1), Param::Int(-1)),
        };
        let params = [
            self.fresh_s(),
            Param::Float(self.began.elapsed().as_secs_f64() * 1000.0),
            count(files as u64),
            count(rows),
            count(bytes),
            free,
            size,
        ];
        client.execute(ENDED, &params).await.map_err(writing())?;
        Ok(())
    }
}

fn writing() -> impl FnOnce(PgError) -> ColumnarError {
    ColumnarError::server("write htap.column_sync")
}

const FAILED: &str = "
    INSERT INTO htap.column_sync (failed_at, error) VALUES (clock_timestamp(), $1)
    ON CONFLICT (only_row) DO UPDATE SET failed_at = excluded.failed_at, error = excluded.error, writing_since = NULL";

/// Says why a sync failed, if the server still listens. Returns the error.
pub(super) async fn failed(client: &Client, error: ColumnarError) -> ColumnarError {
    let relation = oid_of("htap.column_sync");
    let there = format!(
        "SELECT coalesce(pg_catalog.has_table_privilege({relation}, 'INSERT'), false) AS there"
    );
    let there = client.query(&there, &[]).await;
    if there.is_ok_and(|there| there.first("there").is_true()) {
        let why: String = error.to_string().chars().take(LONGEST).collect();
        let _ = client.execute(FAILED, &[Param::Text(&why)]).await;
    }
    error
}

/// The files that were found damaged.
pub(super) async fn damaged(client: &Client) -> Result<Vec<i64>, ColumnarError> {
    let damaged = "SELECT d.file_id FROM htap.column_damage AS d";
    let damaged = client.query(damaged, &[]).await;
    let damaged = damaged.map_err(ColumnarError::server("read htap.column_damage"))?;
    let rows = 0..damaged.rows.len();
    Ok(rows
        .filter_map(|row| damaged.get(row, "file_id").int())
        .collect())
}

const DAMAGE: &str = "
    INSERT INTO htap.column_damage (file_id, why) VALUES ($1, $2)
    ON CONFLICT (file_id) DO UPDATE SET why = excluded.why";

/// Says that the sync found a file damaged.
pub(super) async fn damage(client: &Client, file: i64, why: &str) -> Result<(), ColumnarError> {
    let why: String = why.chars().take(LONGEST).collect();
    let told = client
        .execute(DAMAGE, &[Param::Int(file), Param::Text(&why)])
        .await;
    told.map_err(ColumnarError::server("write htap.column_damage"))?;
    Ok(())
}

/// What queries of a store have done in this process and nobody has written yet.
#[derive(Debug, Default)]
struct Pending {
    queries: u64,
    bytes: u64,
    rows: u64,
    /// Files that were found damaged, and what is wrong with them.
    damage: BTreeMap<i64, String>,
    written: Option<Instant>,
}

/// By store: a process may read several.
static PENDING: LazyLock<Mutex<BTreeMap<String, Pending>>> = LazyLock::new(Mutex::default);

/// Time between two writes of a process.
const PACE: Duration = Duration::from_secs(1);

fn pending<T>(store: &str, what: impl FnOnce(&mut Pending) -> T) -> T {
    let mut stores = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
    what(stores.entry(store.to_owned()).or_default())
}

/// Notes a query that was answered.
pub(super) fn answered(snapshot: &Snapshot) {
    pending(&snapshot.manifest.store, |pending| {
        pending.queries += 1;
        pending.bytes += snapshot.tally.bytes.load(Ordering::Relaxed);
        pending.rows += snapshot.tally.server_rows.load(Ordering::Relaxed);
    });
}

/// Notes which files of a query were found damaged.
pub(super) fn failed_on(snapshot: &Snapshot) {
    for (file, opened) in &*snapshot.files {
        if let Some(why) = opened.damage() {
            damaged_file(&snapshot.manifest.store, *file, why);
        }
    }
}

/// Notes that a file was found damaged.
pub(super) fn damaged_file(store: &str, file: i64, why: String) {
    pending(store, |pending| pending.damage.insert(file, why));
}

/// True if this role may report, on a primary.
const MAY: &str = "
    SELECT NOT pg_catalog.pg_is_in_recovery()
           AND coalesce(pg_catalog.has_function_privilege(to_regprocedure('htap.count_column_queries(bigint,bigint,bigint)')::oid, 'EXECUTE'),
                        false) AS may";

const COUNT: &str = "
    SELECT htap.count_column_queries($1, $2, $3) AS counted, set_config('synchronous_commit', 'off', true) AS committed";

const FOUND: &str = "SELECT htap.report_column_damage($1, $2)::text AS reported";

/// Writes what was noted, over a session that nobody else uses and that is in no transaction: counts once per second at most.
/// Who may not write them reads nevertheless.
pub(super) async fn write(client: &Client, store: &str) {
    let due = pending(store, |pending| {
        let counts = pending.queries > 0
            && pending
                .written
                .is_none_or(|written| written.elapsed() >= PACE);
        if !counts && pending.damage.is_empty() {
            return None;
        }
        let due = std::mem::take(pending);
        if counts {
            pending.written = Some(Instant::now());
            return Some(due);
        }
        (pending.queries, pending.bytes, pending.rows) = (due.queries, due.bytes, due.rows);
        pending.written = due.written;
        Some(Pending {
            damage: due.damage,
            ..Pending::default()
        })
    });
    let Some(due) = due else {
        return;
    };
    if let Ok(false) = told(client, &due).await {
        // Another session counts at this moment.
        pending(store, |pending| {
            pending.queries += due.queries;
            pending.bytes += due.bytes;
            pending.rows += due.rows;
        });
    }
}

/// Returns false if the queries were not counted and are to be counted later.
async fn told(client: &Client, due: &Pending) -> Result<bool, PgError> {
    if !client.query(MAY, &[]).await?.first("may").is_true() {
        return Ok(true);
    }
    // The role's default is to read only.
    client.begin_as("READ WRITE", "").await?;
    let counted = async {
        for (file, why) in &due.damage {
            let report = [Param::Int(*file), Param::Text(why)];
            client.query(FOUND, &report).await?;
        }
        if due.queries == 0 {
            return Ok(true);
        }
        let counts = [due.queries, due.bytes, due.rows].map(|count| Param::Int(count as i64));
        let counted = client.query(COUNT, &counts).await?;
        Ok(counted.first("counted").is_true())
    };
    match counted.await {
        Ok(counted) => client.commit().await.map(|()| counted),
        Err(error) => {
            let _ = client.rollback().await;
            Err(error)
        }
    }
}
