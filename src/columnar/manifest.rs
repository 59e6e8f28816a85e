//! What the server says of the column store, in one snapshot: its files and what changed since they were written; and how files
//! are taken out of it.

use super::error::ColumnarError;
use super::hours::{Dirty, Span};
use super::table::{FORMAT, LAYOUT, layout};
use crate::pg::{Client, Param, PgError, Table};

/// A file, as `htap.column_file` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Number and hours.
    pub(super) span: Span,
    /// Rows of each hour, in their order in the file.
    pub(super) hour_rows: Vec<u64>,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// SHA-256 in hexadecimal.
    pub(super) sha256: String,
    /// Format of the file.
    pub(super) format: i64,
}

impl Entry {
    /// Rows of the file.
    pub(super) fn rows(&self) -> u64 {
        self.hour_rows.iter().sum()
    }

    /// Name of the file in the folder.
    pub(super) fn name(&self, store: &str) -> String {
        name(store, self.span.id)
    }
}

/// Name of a file, which begins with that of its store.
pub(super) fn name(store: &str, id: i64) -> String {
    format!("{}{id}.parquet", prefix(store))
}

/// Beginning of the names of all files of a store.
pub(super) fn prefix(store: &str) -> String {
    format!("fact_sales-{store}-")
}

/// The store, in the snapshot of the transaction that read it.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Identity of the store.
    pub(super) store: String,
    /// Folder of the last sync.
    pub(super) folder: Option<String>,
    /// The files, by their numbers.
    pub(super) files: Vec<Entry>,
    /// What changed since.
    pub(super) dirty: Dirty,
    /// The number of the last whole hour.
    pub(super) now_hour: i64,
}

/// The store and the server, in one row. `logged`: all four triggers are there and fire.
const STORE: &str = "
    SELECT (SELECT s.store_id::text FROM htap.column_store AS s) AS store,
           (SELECT s.folder FROM htap.column_store AS s) AS folder,
           (SELECT s.log_oid OPERATOR(pg_catalog.=) to_regclass('htap.column_dirty')::oid FROM htap.column_store AS s) AS same,
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS t
            WHERE t.tgrelid = to_regclass('mart.fact_sales') AND t.tgenabled = 'A'
              AND t.tgfoid = to_regprocedure('htap.log_columns()')
              AND t.tgname IN ('log_columns_insert', 'log_columns_update', 'log_columns_delete', 'log_columns_truncate')) = 4 AS logged,
           pg_catalog.floor(extract(epoch FROM now()) / 3600)::bigint AS now_hour,
           pg_catalog.has_table_privilege(to_regclass('mart.fact_sales'), 'SELECT') AS readable,
           (SELECT c.relrowsecurity FROM pg_catalog.pg_class AS c WHERE c.oid = to_regclass('mart.fact_sales')) AS by_row";

const FILES: &str = "
    SELECT f.file_id, (extract(epoch FROM f.from_hour) / 3600)::bigint AS from_hour,
           (extract(epoch FROM f.to_hour) / 3600)::bigint AS to_hour, pg_catalog.array_to_string(f.hour_rows, ' ') AS hour_rows,
           f.bytes, pg_catalog.encode(f.sha256, 'hex') AS sha256, f.format::bigint AS format
    FROM htap.column_file AS f ORDER BY f.file_id";

/// An infinite time has no hour; the read of its row says so.
const DIRTY: &str = "
    SELECT DISTINCT CASE WHEN isfinite(d.hour) THEN (extract(epoch FROM d.hour) / 3600)::bigint
                         WHEN d.hour IS NOT NULL THEN -1 END AS hour
    FROM htap.column_dirty AS d";

/// What is there.
#[derive(Debug)]
pub(super) enum Found {
    /// A store whose changes are logged.
    Store(Manifest),
    /// None, or one that does not know all changes, for this reason. Its files must be written anew.
    Nothing(&'static str),
}

/// Reads the manifest. Refuses a shop that is none, or another one than this program knows.
pub(super) async fn read(client: &Client) -> Result<Found, ColumnarError> {
    let failed = || ColumnarError::server("read htap.column_file");
    let present = client
        .query(
            "SELECT to_regclass('htap.column_file') IS NOT NULL AND to_regclass('htap.column_sync') IS NOT NULL \
                    AND to_regclass('mart.fact_sales') IS NOT NULL AS present",
            &[],
        )
        .await
        .map_err(failed())?;
    if !present.first("present").is_true() {
        return Err(ColumnarError::Refused(
            "this database has no column store: htap-top init installs the schema, or completes an earlier one".to_owned(),
        ));
    }
    let found = client.query(LAYOUT, &[]).await.map_err(failed())?;
    let found = found.first("layout").text().unwrap_or_default().to_owned();
    if found != layout() {
        return Err(ColumnarError::Refused(format!(
            "mart.fact_sales has other columns than this version of htap-top knows ({found} instead of {}): use the version \
             that installed it, or run htap-top init",
            layout()
        )));
    }
    let store = client.query(STORE, &[]).await.map_err(failed())?;
    // Files hold all rows and columns, whoever asks.
    if !store.first("readable").is_true() {
        return Err(ColumnarError::Privilege(
            "column files hold mart.fact_sales, which this role may not read as a whole: GRANT SELECT ON mart.fact_sales TO …"
                .to_owned(),
        ));
    }
    if store.first("by_row").is_true() {
        return Err(ColumnarError::Refused(
            "mart.fact_sales has row security, which column files cannot have: ask PostgreSQL"
                .to_owned(),
        ));
    }
    let now_hour = store.first("now_hour").int().unwrap_or_default();
    let (Some(id), logged) = (store.first("store").text(), store.first("logged").is_true()) else {
        return Ok(Found::Nothing("there are no column files yet"));
    };
    if !logged {
        return Ok(Found::Nothing(
            "the triggers that log changes of mart.fact_sales are missing or disabled",
        ));
    }
    if !store.first("same").is_true() {
        return Ok(Found::Nothing("this database was restored from a dump"));
    }
    let files = client.query(FILES, &[]).await.map_err(failed())?;
    let dirty = client.query(DIRTY, &[]).await.map_err(failed())?;
    Ok(Found::Store(Manifest {
        store: id.to_owned(),
        folder: store.first("folder").raw().map(str::to_owned),
        files: (0..files.rows.len())
            .filter_map(|row| entry(&files, row))
            .collect(),
        dirty: changed(&dirty),
        now_hour,
    }))
}

fn entry(files: &Table, row: usize) -> Option<Entry> {
    let int = |name: &str| files.get(row, name).int();
    let text = |name: &str| files.get(row, name).text().unwrap_or_default();
    let rows = text("hour_rows").split_ascii_whitespace();
    Some(Entry {
        span: Span {
            id: int("file_id")?,
            hours: int("from_hour")?..int("to_hour")?,
        },
        hour_rows: rows.map(|rows| rows.parse().unwrap_or_default()).collect(),
        bytes: int("bytes")?.unsigned_abs(),
        sha256: text("sha256").to_owned(),
        format: int("format")?,
    })
}

fn changed(dirty: &Table) -> Dirty {
    let mut changed = Dirty::default();
    for row in 0..dirty.rows.len() {
        match dirty.get(row, "hour").int() {
            Some(hour) => _ = changed.hours.insert(hour),
            None => changed.all = true,
        }
    }
    changed
}

impl Manifest {
    /// The file with a number.
    pub(super) fn file(&self, id: i64) -> Option<&Entry> {
        self.files.iter().find(|file| file.span.id == id)
    }

    /// Returns an error if a file is of another version of the program.
    pub(super) fn need_known_formats(&self) -> Result<(), ColumnarError> {
        match self.files.iter().find(|file| file.format != FORMAT) {
            Some(file) => Err(ColumnarError::Refused(format!(
                "{} is of another version of htap-top: run htap-top columnar sync, which writes it anew",
                file.name(&self.store)
            ))),
            None => Ok(()),
        }
    }
}

/// Begins the log of changes, which also forgets all files.
pub(super) async fn switch_on(client: &Client) -> Result<(), ColumnarError> {
    let refused = |error: PgError| {
        match error.code() {
        "42501" => ColumnarError::Refused(
            "the log of changes of mart.fact_sales must be begun by a superuser, once: SELECT htap.switch_columnar(true)".to_owned(),
        ),
        _ => ColumnarError::server("begin the log of changes")(error),
    }
    };
    client
        .batch("SELECT htap.switch_columnar(true)")
        .await
        .map_err(refused)
}

/// Takes files out of the manifest; their hours count as changed.
pub(super) async fn discard(client: &Client, ids: &[i64]) -> Result<(), ColumnarError> {
    if ids.is_empty() {
        return Ok(());
    }
    let discard = "
        WITH gone AS (DELETE FROM htap.column_file AS f WHERE f.file_id = ANY ($1) RETURNING f.from_hour, f.to_hour)
        INSERT INTO htap.column_dirty (hour)
        SELECT DISTINCT h FROM gone AS g, generate_series(g.from_hour, g.to_hour - interval '1 hour', interval '1 hour') AS h";
    let done = client.execute(discard, &[Param::Ints(ids)]).await;
    done.map_err(ColumnarError::server("write htap.column_file"))?;
    Ok(())
}

/// Takes out all files, after the table was truncated.
pub(super) async fn discard_all(client: &Client) -> Result<(), ColumnarError> {
    // One statement, hence one snapshot: what truncates the table later is logged again.
    let discard = "
        WITH gone AS (DELETE FROM htap.column_file)
        DELETE FROM htap.column_dirty AS d WHERE d.hour IS NULL";
    let done = client.execute(discard, &[]).await;
    done.map_err(ColumnarError::server("write htap.column_file"))?;
    Ok(())
}
