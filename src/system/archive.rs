//! Archives months that are over: their tables are detached, written to files, and dropped, each step only after the
//! one before it is certain. After an interruption the same call continues: it does not detach a month twice, and a
//! file that exists is whole, because it gets its name last.
//!
//! No change is lost. In the transaction that drops the four tables, they are locked against writers before the first
//! row is written. Before the drop, each file is on disk and has been read back: the checksum of its content equals
//! that of the data the server sent under this lock.

mod csv;
mod parquet;

#[cfg(feature = "columnar")]
pub(crate) use parquet::unescaped;

use super::partitions::{self, Listed, Month, PartitionError, State};
use crate::pg::{Client, PgError};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The tables of a month; each comes after those it refers to.
const TABLES: [&str; 4] = ["orders", "order_items", "payments", "shipments"];

/// The order in which rows are written, which is that of every primary key, so that writing a table twice gives the
/// same file. Only order lines have several rows per order.
fn in_order(table: &str) -> &'static str {
    if table.starts_with("order_items") {
        "ORDER BY order_id, created_at, line_no"
    } else {
        "ORDER BY order_id, created_at"
    }
}

/// File format of an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// CSV with a header; times in UTC.
    #[default]
    Csv,
    /// Parquet, compressed with Snappy; amounts as DECIMAL, times as TIMESTAMP in microseconds, UTC.
    Parquet,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }
}

/// Options of an archive run.
#[derive(Clone, Debug)]
pub struct Archive {
    /// Archive all months before this one.
    pub before: Month,
    /// Folder for the files; without one the months are only detached.
    pub to: Option<PathBuf>,
    /// Format of the files.
    pub format: Format,
    /// Drop the tables after they are written.
    pub drop: bool,
}

/// A month that was archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// The month.
    pub month: Month,
    /// Orders in the month; `None` if an earlier call had detached it.
    pub detached: Option<i64>,
    /// Files that hold the month, and the number of rows in each.
    pub files: Vec<(PathBuf, u64)>,
    /// True if its tables were dropped.
    pub dropped: bool,
}

/// Archives the months that `wanted` selects, oldest first, and reports progress and warnings to `say`. Refuses months
/// that are not over before anything is changed.
pub async fn archive(
    client: &Client,
    wanted: &Archive,
    mut say: impl FnMut(&str),
) -> Result<Vec<Archived>, PartitionError> {
    let running = partitions::today(client).await;
    let running = running.map_err(PartitionError::server("ask for the time"))?;
    if wanted.before > running {
        return Err(PartitionError::Refused(format!(
            "nothing was changed: {running} is not over; the latest possible is --before {running}"
        )));
    }
    if let Some(folder) = &wanted.to {
        make_folder(folder).map_err(file("make", folder))?;
    }
    let listing = partitions::list(client).await?;
    let months: Vec<&Listed> = listing
        .months
        .iter()
        .filter(|listed| listed.month < wanted.before)
        .collect();
    if let Some(partly) = months.iter().find(|m| m.state == State::Partly) {
        return Err(PartitionError::Refused(format!(
            "nothing was changed: some tables of {} are not attached; attach or detach all of them first",
            partly.month
        )));
    }
    let mut archived = Vec::new();
    for listed in months {
        archived.push(archive_month(client, wanted, listed, &mut say).await?);
    }
    Ok(archived)
}

async fn archive_month(
    client: &Client,
    wanted: &Archive,
    listed: &Listed,
    say: &mut impl FnMut(&str),
) -> Result<Archived, PartitionError> {
    let month = listed.month;
    let mut archived = Archived {
        month,
        detached: None,
        files: Vec::new(),
        dropped: false,
    };
    if listed.state == State::Attached {
        warn_of_open_orders(client, month, say).await?;
        say(&format!("detaching {month}"));
        let waiting = || say("waiting for sessions that use the shop's tables");
        archived.detached = Some(partitions::detach(client, month, waiting).await?);
    }
    let Some(folder) = &wanted.to else {
        return Ok(archived);
    };
    hold(client, month, say).await?;
    match keep(client, wanted, folder, month, say).await {
        Ok(files) => archived.files = files,
        Err(error) => {
            let _ = client.rollback().await;
            return Err(error);
        }
    }
    let ended = client.commit().await;
    ended.map_err(PartitionError::server(format!("archive {month}")))?;
    archived.dropped = wanted.drop;
    Ok(archived)
}

/// Opens the transaction in which no other session can write to the tables of a month. Reads are not blocked.
async fn hold(
    client: &Client,
    month: Month,
    say: &mut impl FnMut(&str),
) -> Result<(), PartitionError> {
    let tables = TABLES.map(|table| format!("shop.{table}{}", month.suffix()));
    let lock = format!(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
        tables.join(", ")
    );
    let waiting = || say("waiting for sessions that write to the month's tables");
    let what = format!("archive {month}");
    partitions::patiently(client, &what, waiting, || client.batch(&lock)).await?;
    // Timeouts configured for this role's other work must not end the transaction halfway.
    let endless = "SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings \
                   WHERE name IN ('transaction_timeout', 'idle_in_transaction_session_timeout')";
    if let Err(error) = client.query(endless, &[]).await {
        let _ = client.rollback().await;
        return Err(PartitionError::server(what)(error));
    }
    Ok(())
}

/// Writes the files of a locked month, and drops its tables if requested. Returns the files and their row counts.
async fn keep(
    client: &Client,
    wanted: &Archive,
    folder: &Path,
    month: Month,
    say: &mut impl FnMut(&str),
) -> Result<Vec<(PathBuf, u64)>, PartitionError> {
    let mut files = Vec::new();
    for table in TABLES {
        let name = format!("{table}{}", month.suffix());
        let path = folder.join(format!("{name}.{}", wanted.format.ending()));
        say(&format!("writing {}", path.display()));
        let rows = write(client, &name, &path, wanted.format).await?;
        files.push((path, rows));
    }
    if wanted.drop {
        say(&format!("dropping the tables of {month}"));
        let drop = format!("SELECT htap.drop_month('{month}-01 00:00+00')");
        client.batch(&drop).await.map_err(not_dropped(month))?;
    }
    Ok(files)
}

fn not_dropped(month: Month) -> impl FnOnce(PgError) -> PartitionError {
    move |error| match error.code() {
        "55P03" | "40P01" => PartitionError::Refused(format!(
            "the files of {month} are written, but nothing was dropped: other sessions hold locks on its tables. \
             Run it again when they have ended (htap-top, panel 8)"
        )),
        _ => PartitionError::server(format!("drop the tables of {month}"))(error),
    }
}

/// Creates a folder, and its parents, durably: they survive a crash.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|at| !at.exists()).collect();
    std::fs::create_dir_all(folder)?;
    missing.into_iter().try_for_each(|made| sync(parent(made)))
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}

/// Flushes a folder's directory entries to disk.
fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Warns of open orders: they cannot change their status while their month is detached.
async fn warn_of_open_orders(
    client: &Client,
    month: Month,
    say: &mut impl FnMut(&str),
) -> Result<(), PartitionError> {
    let table = format!("shop.orders{}", month.suffix());
    let open = format!("SELECT count(*) AS n FROM {table} WHERE status < 3");
    let open = client.query(&open, &[]).await;
    let open = open.map_err(PartitionError::server(format!("read {table}")))?;
    if let Some(open) = open.first("n").int().filter(|n| *n > 0) {
        say(&format!(
            "orders of {month} that are pending, paid or shipped: {open}; they cannot proceed until the month is \
             attached again"
        ));
    }
    Ok(())
}

/// The content of a table or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    rows: u64,
    sum: [u8; 32],
}

/// Writes a table to a file that appears only when it is whole and on disk, reads it back, and returns its rows. A file
/// that exists already, left by an interrupted call, must hold the same content. A file that differs, from another shop
/// or from before the month was attached again, is left untouched.
async fn write(
    client: &Client,
    table: &str,
    path: &Path,
    format: Format,
) -> Result<u64, PartitionError> {
    let was_there = path.exists();
    let table_holds = if was_there {
        let sent = copy(client, table, None, format).await;
        let (_, sent) = sent.map_err(|error| error.of(table, path))?;
        sent
    } else {
        write_new(client, table, path, format).await?
    };
    let opened = File::open(path).map_err(file("read", path))?;
    let file_holds = match format {
        Format::Csv => csv::read(opened),
        Format::Parquet => parquet::read(opened),
    };
    let path = path.display();
    match file_holds {
        Ok(content) if content == table_holds => Ok(content.rows),
        // This call wrote the file, and the disk returns something else.
        Ok(_) if !was_there => Err(PartitionError::Refused(format!(
            "{path} does not read back as it was written: nothing was dropped. Do not trust this disk"
        ))),
        Ok(content) => Err(PartitionError::Refused(format!(
            "{path} already exists and differs from shop.{table} ({} rows, the table has {}): nothing was \
             dropped. Move it away",
            content.rows, table_holds.rows
        ))),
        Err(source) => Err(PartitionError::Refused(format!(
            "{path} cannot be read back: nothing was dropped. Move it away: {source}"
        ))),
    }
}

async fn write_new(
    client: &Client,
    table: &str,
    path: &Path,
    format: Format,
) -> Result<Content, PartitionError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = parent(path).join(format!(".{name}.unfinished"));
    let target = File::create(&unfinished).map_err(file("write", &unfinished))?;
    let written = copy(client, table, Some(target), format).await;
    let written = written.and_then(|(target, content)| {
        target.map_or(Ok(()), |target| target.sync_all())?;
        Ok(content)
    });
    match written {
        Ok(content) => {
            let named = std::fs::rename(&unfinished, path).and_then(|()| sync(parent(path)));
            named.map_err(file("write", path))?;
            Ok(content)
        }
        Err(error) => {
            let _ = std::fs::remove_file(&unfinished);
            Err(error.of(table, &unfinished))
        }
    }
}

async fn copy(
    client: &Client,
    table: &str,
    to: Option<File>,
    format: Format,
) -> Result<(Option<File>, Content), WriteError> {
    match format {
        Format::Csv => csv::write(client, table, to).await,
        Format::Parquet => parquet::write(client, table, to).await,
    }
}

/// Reason why a file was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Server(#[from] PgError),
    #[error(transparent)]
    File(#[from] std::io::Error),
}

impl WriteError {
    fn of(self, table: &str, path: &Path) -> PartitionError {
        match self {
            Self::Server(source) => PartitionError::server(format!("read shop.{table}"))(source),
            Self::File(source) => file("write", path)(source),
        }
    }
}

/// For `map_err`: builds the error for a failed operation on a file.
fn file(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> PartitionError {
    let what = format!("{verb} {}", path.display());
    move |source| PartitionError::File { what, source }
}
