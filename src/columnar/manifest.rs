//! What the server says of the column store, in one snapshot: its files and what changed since they were written; and how files
//! are taken out of it.

use super::error::ColumnarError;
use super::hours::{Dirty, Span};
use super::table::{FORMAT, TABLES, Table as Relation};
use crate::pg::{Client, Param, PgError, Table};
use futures_util::future::join4;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A file, as `htap.column_file` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Number and hours.
    pub(super) span: Span,
    /// Rows of the file.
    pub(super) rows: u64,
    /// Length in bytes.
    pub(super) bytes: u64,
    /// SHA-256 in hexadecimal.
    pub(super) sha256: String,
    /// Format of the file.
    pub(super) format: i64,
}

impl Entry {
    /// Name of the file in the folder.
    pub(super) fn name(&self, relation: &Relation, store: &str) -> String {
        name(relation, store, self.span.id)
    }
}

/// Name of a file, which begins with those of its table and its store.
pub(super) fn name(relation: &Relation, store: &str, id: i64) -> String {
    format!("{}{id}.parquet", prefix(relation, store))
}

fn prefix(relation: &Relation, store: &str) -> String {
    format!("{}-{store}-", relation.bare_name())
}

/// How the names of a store's files begin.
pub(super) fn beginnings(store: &str) -> impl Iterator<Item = String> {
    TABLES.iter().map(move |table| prefix(table, store))
}

/// Whether a file has the name of one of a store.
pub(super) fn is_of_store(name: &str, store: &str) -> bool {
    beginnings(store).any(|beginning| name.starts_with(&beginning))
}

/// The store, in the snapshot of the transaction that read it.
#[derive(Debug)]
pub(super) struct Manifest {
    /// Identity of the store.
    pub(super) store: String,
    /// Folder of the last sync.
    pub(super) folder: Option<String>,
    /// The tables, in the order of [`TABLES`].
    pub(super) held: Vec<Held>,
    /// The number of the last whole hour.
    pub(super) now_hour: i64,
    /// The hour from which on changes of orders are not logged.
    pub(super) orders_until: i64,
}

/// What the store has of a table.
#[derive(Debug)]
pub(super) struct Held {
    /// The table.
    pub(super) table: &'static Relation,
    /// Its files, by their numbers.
    pub(super) files: Vec<Entry>,
    /// What changed since.
    pub(super) dirty: Dirty,
    /// Why its files cannot be used.
    pub(super) barred: Option<Barred>,
}

/// Why the files of a table cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Barred {
    /// Nobody wants them.
    NotHeld,
    /// The triggers that log changes are missing or disabled, or partitions were attached or detached by hand.
    Unlogged,
    /// The table has other columns: these.
    Columns(String),
    /// The role may not read all rows and columns, which files hold whoever asks.
    Privilege,
    /// It has row security.
    ByRow,
}

impl Held {
    /// Returns an error if the files cannot be used.
    pub(super) fn need_usable(&self) -> Result<(), ColumnarError> {
        let name = self.table.name;
        let Some(barred) = &self.barred else {
            return Ok(());
        };
        Err(match barred {
            Barred::NotHeld => ColumnarError::Unsupported(format!(
                "the column store does not hold {name} in this database: a superuser can add it by \
                 SELECT htap.switch_columns('{name}', true)"
            )),
            Barred::Unlogged => ColumnarError::Refused(format!(
                "changes of {name} are not logged (its triggers are missing or disabled, or a partition was attached or detached \
                 by hand): run htap-top columnar sync as a superuser, which writes its files anew"
            )),
            Barred::Columns(found) => ColumnarError::Refused(format!(
                "{name} has other columns than this version of htap-top knows ({found} instead of {}): use the version that \
                 installed it, or run htap-top init",
                self.table.layout()
            )),
            Barred::Privilege => ColumnarError::Privilege(format!(
                "column files hold {name}, which this role may not read as a whole: GRANT SELECT ON {name} TO …"
            )),
            Barred::ByRow => ColumnarError::Refused(format!(
                "{name} has row security, which column files cannot have: ask PostgreSQL"
            )),
        })
    }

    /// The file with a number.
    pub(super) fn file(&self, id: i64) -> Option<&Entry> {
        self.files.iter().find(|file| file.span.id == id)
    }

    /// Spans of the files.
    pub(super) fn spans(&self) -> impl Iterator<Item = &Span> {
        self.files.iter().map(|file| &file.span)
    }
}

/// The store, in one row.
const STORE: &str = "
    SELECT s.store_id::text AS store, s.folder, s.log_oid OPERATOR(pg_catalog.=) to_regclass('htap.column_dirty')::oid AS same,
           (SELECT (extract(epoch FROM r.logged_until) / 3600)::bigint FROM htap.column_relation AS r
            WHERE r.relation = 'mart.orders' AND isfinite(r.logged_until)) AS orders_until,
           pg_catalog.floor(extract(epoch FROM now()) / 3600)::bigint AS now_hour
    FROM htap.column_store AS s";

/// The tables: `watched` is where the rows are, `logged` that all triggers are there and fire. Of the columns of a view
/// PostgreSQL does not know whether they may be NULL.
const RELATIONS: &str = "
    SELECT n.name, l.layout, pg_catalog.has_table_privilege(to_regclass(n.name), 'SELECT') AS readable, c.relrowsecurity AS by_row,
           r.relation IS NOT NULL AS wanted,
           (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS t
            WHERE (t.tgrelid = c.oid OR t.tgrelid = ANY (p.parts)) AND t.tgenabled = 'A'
              AND (t.tgname, t.tgfoid) IN (
                  SELECT f.trigger, to_regprocedure('htap.' || f.function || '()') FROM (VALUES
                      ('mart.fact_sales', 'log_columns_insert', 'log_columns'), ('mart.fact_sales', 'log_columns_update', 'log_columns'),
                      ('mart.fact_sales', 'log_columns_delete', 'log_columns'), ('mart.fact_sales', 'log_columns_truncate', 'log_columns'),
                      ('mart.user_day', 'log_columns_insert', 'log_column_days'), ('mart.user_day', 'log_columns_update', 'log_column_days'),
                      ('mart.user_day', 'log_columns_delete', 'log_column_days'), ('mart.user_day', 'log_columns_truncate', 'log_column_days'),
                      ('mart.orders', 'log_columns', 'log_column_order'), ('mart.orders', 'log_columns_truncate', 'log_column_orders_gone')
                  ) AS f (name, trigger, function) WHERE f.name = n.name)
           ) = CASE n.name WHEN 'mart.orders' THEN 2 * (1 + pg_catalog.cardinality(p.parts)) ELSE 4 END
           AND p.parts = r.partitions AS logged
    FROM (VALUES ('mart.fact_sales', 'mart.fact_sales'), ('mart.user_day', 'mart.user_day'), ('mart.orders', 'shop.orders')) AS n (name, watched)
    LEFT JOIN pg_catalog.pg_class AS c ON c.oid = to_regclass(n.watched)
    LEFT JOIN htap.column_relation AS r ON r.relation = n.name
    CROSS JOIN LATERAL (
        SELECT coalesce(pg_catalog.array_agg(i.inhrelid ORDER BY i.inhrelid), '{}') AS parts
        FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = c.oid
    ) AS p
    CROSS JOIN LATERAL (
        SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', a.attname, pg_catalog.format_type(a.atttypid, NULL),
                                                          CASE WHEN NOT a.attnotnull AND v.relkind <> 'v' THEN 'NULL' END),
                                     ', ' ORDER BY a.attnum) AS layout
        FROM pg_catalog.pg_class AS v JOIN pg_catalog.pg_attribute AS a ON a.attrelid = v.oid
        WHERE v.oid = to_regclass(n.name) AND a.attnum > 0 AND NOT a.attisdropped
    ) AS l";

const FILES: &str = "
    SELECT f.relation, f.file_id, (extract(epoch FROM f.from_hour) / 3600)::bigint AS from_hour,
           (extract(epoch FROM f.to_hour) / 3600)::bigint AS to_hour, f.rows, f.bytes, pg_catalog.encode(f.sha256, 'hex') AS sha256, f.format::bigint AS format
    FROM htap.column_file AS f ORDER BY f.file_id";

/// Rows of the hours of files, in their order in the file.
const HOUR_ROWS: &str = "
    SELECT f.file_id, pg_catalog.array_to_string(f.hour_rows, ' ') AS hour_rows FROM htap.column_file AS f WHERE f.file_id = ANY ($1)";

/// Whether the schema is there, which of its parts this role may not use, and which of its tables it may not read. By name,
/// `to_regclass` would fail in a schema that it may not use.
const PRESENT: &str = "
    SELECT pg_catalog.count(c.oid) = 6 AS present,
           pg_catalog.string_agg(DISTINCT n.schema, ', ') FILTER (WHERE NOT pg_catalog.has_schema_privilege(s.oid, 'USAGE')) AS closed,
           pg_catalog.string_agg(n.schema || '.' || n.name, ', ')
               FILTER (WHERE n.schema = 'htap' AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')) AS hidden
    FROM (VALUES ('htap', 'column_store'), ('htap', 'column_relation'), ('htap', 'column_file'), ('htap', 'column_dirty'),
                 ('mart', 'fact_sales'), ('shop', 'orders')) AS n (schema, name)
    LEFT JOIN pg_catalog.pg_namespace AS s ON s.nspname = n.schema
    LEFT JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid AND c.relname = n.name";

/// An infinite time has no hour; the read of its row says so.
const DIRTY: &str = "
    SELECT DISTINCT d.relation, CASE WHEN isfinite(d.hour) THEN (extract(epoch FROM d.hour) / 3600)::bigint
                                     WHEN d.hour IS NOT NULL THEN -1 END AS hour
    FROM htap.column_dirty AS d";

/// What is there.
#[derive(Debug)]
pub(super) enum Found {
    /// A store.
    Store(Manifest),
    /// None, or one that does not know all changes, for this reason. Its files must be written anew.
    Nothing(&'static str),
}

/// Reads the manifest. Refuses a shop that is none, or an earlier one than this program knows.
pub(super) async fn read(client: &Client) -> Result<Found, ColumnarError> {
    need_present(client).await?;
    read_present(client).await
}

fn failed() -> impl FnOnce(PgError) -> ColumnarError {
    ColumnarError::server("read htap.column_file")
}

/// Returns an error if the tables of the manifest are missing, or this role may not read them. Reads only the catalogue.
pub(super) async fn need_present(client: &Client) -> Result<(), ColumnarError> {
    let present = client.query_again(PRESENT).await.map_err(failed())?;
    if !present.first("present").is_true() {
        return Err(ColumnarError::Refused(
            "this database has no column store: htap-top init installs the schema, or completes an earlier one".to_owned(),
        ));
    }
    if let Some(closed) = present.first("closed").text() {
        return Err(ColumnarError::Privilege(format!(
            "this role may not use the schema {closed}: GRANT USAGE ON SCHEMA {closed} TO …, or use a member of htap_olap"
        )));
    }
    if let Some(hidden) = present.first("hidden").text() {
        return Err(ColumnarError::Privilege(format!(
            "this role may not read {hidden}: GRANT SELECT ON {hidden} TO …, or use a member of htap_olap"
        )));
    }
    Ok(())
}

/// Reads the manifest, whose tables are there.
pub(super) async fn read_present(client: &Client) -> Result<Found, ColumnarError> {
    // All at once: a query waits for one answer instead of four.
    let (store, relations, files, dirty) = join4(
        client.query_again(STORE),
        client.query_again(RELATIONS),
        client.query_again(FILES),
        client.query_again(DIRTY),
    )
    .await;
    let store = store.map_err(failed())?;
    let Some(id) = store.first("store").text() else {
        return Ok(Found::Nothing("there are no column files yet"));
    };
    if !store.first("same").is_true() {
        return Ok(Found::Nothing("this database was restored from a dump"));
    }
    let relations = relations.map_err(failed())?;
    let (files, dirty) = (files.map_err(failed())?, dirty.map_err(failed())?);
    let held = TABLES.iter().map(|table| {
        let of_table = |rows: &Table, column| {
            let mine: Vec<usize> = (0..rows.rows.len())
                .filter(|row| rows.get(*row, column).text() == Some(table.name))
                .collect();
            mine
        };
        let row = of_table(&relations, "name").first().copied();
        Held {
            table,
            files: of_table(&files, "relation")
                .into_iter()
                .filter_map(|row| entry(&files, row))
                .collect(),
            dirty: changed(&dirty, of_table(&dirty, "relation")),
            barred: barred(table, &relations, row.unwrap_or_default()),
        }
    });
    Ok(Found::Store(Manifest {
        store: id.to_owned(),
        folder: store.first("folder").raw().map(str::to_owned),
        held: held.collect(),
        now_hour: store.first("now_hour").int().unwrap_or_default(),
        orders_until: store.first("orders_until").int().unwrap_or(i64::MIN),
    }))
}

fn barred(table: &Relation, relations: &Table, row: usize) -> Option<Barred> {
    let is = |name: &str| relations.get(row, name).is_true();
    let layout = relations.get(row, "layout").text().unwrap_or_default();
    if !is("wanted") {
        return Some(Barred::NotHeld);
    }
    if layout != table.layout() {
        return Some(Barred::Columns(layout.to_owned()));
    }
    if !is("readable") {
        return Some(Barred::Privilege);
    }
    if is("by_row") {
        return Some(Barred::ByRow);
    }
    (!is("logged")).then_some(Barred::Unlogged)
}

fn entry(files: &Table, row: usize) -> Option<Entry> {
    let int = |name: &str| files.get(row, name).int();
    let text = |name: &str| files.get(row, name).text().unwrap_or_default();
    Some(Entry {
        span: Span {
            id: int("file_id")?,
            hours: int("from_hour")?..int("to_hour")?,
        },
        rows: int("rows")?.unsigned_abs(),
        bytes: int("bytes")?.unsigned_abs(),
        sha256: text("sha256").to_owned(),
        format: int("format")?,
    })
}

/// Rows of each hour by the numbers of files, in their order in the file.
pub(super) type HourRows = BTreeMap<i64, Arc<[u64]>>;

/// The rows of hours that a session has read. They are most of a manifest and do not change: a file that is written anew has a new
/// number. A server that was restored to an earlier moment gives numbers again, so hours and checksum are compared, too.
#[derive(Debug, Default)]
pub(super) struct KnownRows {
    of_files: Arc<HourRows>,
    files: BTreeMap<i64, (Range<i64>, String)>,
}

impl KnownRows {
    /// The rows of the hours of all files of a manifest, of which only those that are new are read.
    pub(super) async fn of(
        &mut self,
        client: &Client,
        manifest: &Manifest,
    ) -> Result<Arc<HourRows>, ColumnarError> {
        let files = manifest.files().map(|(_, file)| {
            let what = (file.span.hours.clone(), file.sha256.clone());
            (file.span.id, what)
        });
        let files: BTreeMap<i64, _> = files.collect();
        if files == self.files {
            return Ok(Arc::clone(&self.of_files));
        }
        let is_known = |id: &i64| self.files.get(id) == files.get(id);
        let new = files.keys().filter(|id| !is_known(id));
        let new: Vec<i64> = new.copied().collect();
        let mut of_files = HourRows::clone(&self.of_files);
        of_files.retain(|id, _| files.contains_key(id) && is_known(id));
        let read = client.query(HOUR_ROWS, &[Param::Ints(&new)]).await;
        let read = read.map_err(failed())?;
        for row in 0..read.rows.len() {
            let hours = read.get(row, "hour_rows").text().unwrap_or_default();
            let hours = hours.split_ascii_whitespace();
            let hours = hours.map(|rows| rows.parse().unwrap_or_default());
            if let Some(id) = read.get(row, "file_id").int() {
                of_files.insert(id, hours.collect());
            }
        }
        self.of_files = Arc::new(of_files);
        self.files = files;
        Ok(Arc::clone(&self.of_files))
    }
}

fn changed(dirty: &Table, rows: Vec<usize>) -> Dirty {
    let mut changed = Dirty::default();
    for row in rows {
        match dirty.get(row, "hour").int() {
            Some(hour) => _ = changed.hours.insert(hour),
            None => changed.all = true,
        }
    }
    changed
}

impl Manifest {
    /// What the store has of a table.
    pub(super) fn of(&self, table: &Relation) -> Result<&Held, ColumnarError> {
        let held = self.held.iter().find(|held| held.table.name == table.name);
        held.ok_or_else(|| {
            ColumnarError::Refused(format!("{} is no table of the column store", table.name))
        })
    }

    /// All files, each with its table.
    pub(super) fn files(&self) -> impl Iterator<Item = (&'static Relation, &Entry)> {
        let held = self.held.iter();
        held.flat_map(|held| held.files.iter().map(|file| (held.table, file)))
    }

    /// Returns an error if a file is of another version of the program.
    pub(super) fn need_known_formats(&self) -> Result<(), ColumnarError> {
        match self.files().find(|(_, file)| file.format != FORMAT) {
            Some((table, file)) => Err(ColumnarError::Refused(format!(
                "{} is of another version of htap-top: run htap-top columnar sync, which writes it anew",
                file.name(table, &self.store)
            ))),
            None => Ok(()),
        }
    }
}

/// Begins the log of changes, of all tables or of one, which also forgets its files.
pub(super) async fn switch_on(
    client: &Client,
    table: Option<&Relation>,
) -> Result<(), ColumnarError> {
    let switch = match table {
        Some(table) => format!("SELECT htap.switch_columns('{}', true)", table.name),
        None => "SELECT htap.switch_columnar(true)".to_owned(),
    };
    let refused = |error: PgError| match error.code() {
        "42501" => ColumnarError::Refused(format!(
            "the log of changes must be begun by a superuser, once: {switch}"
        )),
        _ => ColumnarError::server("begin the log of changes")(error),
    };
    client.batch(&switch).await.map_err(refused)
}

/// Takes files out of the manifest; their hours count as changed.
pub(super) async fn discard(client: &Client, ids: &[i64]) -> Result<(), ColumnarError> {
    if ids.is_empty() {
        return Ok(());
    }
    let discard = "
        WITH gone AS (DELETE FROM htap.column_file AS f WHERE f.file_id = ANY ($1) RETURNING f.relation, f.from_hour, f.to_hour)
        INSERT INTO htap.column_dirty (relation, hour)
        SELECT DISTINCT g.relation, h FROM gone AS g, generate_series(g.from_hour, g.to_hour - interval '1 hour', interval '1 hour') AS h";
    let done = client.execute(discard, &[Param::Ints(ids)]).await;
    done.map_err(ColumnarError::server("write htap.column_file"))?;
    Ok(())
}

/// Takes out all files of a table, after it was truncated.
pub(super) async fn discard_all(client: &Client, table: &Relation) -> Result<(), ColumnarError> {
    // One statement, hence one snapshot: what truncates the table later is logged again.
    let discard = "
        WITH gone AS (DELETE FROM htap.column_file AS f WHERE f.relation = $1)
        DELETE FROM htap.column_dirty AS d WHERE d.relation = $1 AND d.hour IS NULL";
    let done = client.execute(discard, &[Param::Text(table.name)]).await;
    done.map_err(ColumnarError::server("write htap.column_file"))?;
    Ok(())
}
