//! Months that are over leave the shop: detached, written to files, and dropped, each step only after the one
//! before it is certain. Whatever interrupts it, the same call goes on: a month that is detached is not
//! detached again, and a file that is there is whole, because it gets its name last.
//!
//! No change is lost. The four tables are locked against writers before the first row is written, in the
//! transaction that drops them. In between each file is on the disk, and was read again: the checksum of its
//! content is that of what the server sent under this lock.

mod csv;
mod parquet;

use super::partitions::{self, Listed, Month, PartitionError, State};
use crate::pg::{Client, PgError};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The tables of a month; a table comes after those it refers to.
const TABLES: [&str; 4] = ["orders", "order_items", "payments", "shipments"];

/// Rows are written in this order, the one of every primary key: what is written twice is the same file.
/// Only lines have several rows of an order.
fn in_order(table: &str) -> &'static str {
    if table.starts_with("order_items") {
        "ORDER BY order_id, created_at, line_no"
    } else {
        "ORDER BY order_id, created_at"
    }
}

/// How files are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// With a header, times in UTC.
    #[default]
    Csv,
    /// Snappy compressed; amounts as DECIMAL, times as TIMESTAMP of microseconds in UTC.
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

/// What to archive.
#[derive(Clone, Debug)]
pub struct Archive {
    /// All months before this one.
    pub before: Month,
    /// Folder for the files; without one the months are only detached.
    pub to: Option<PathBuf>,
    /// How they are written.
    pub format: Format,
    /// Drop what was written.
    pub drop: bool,
}

/// A month that was archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// Which.
    pub month: Month,
    /// Orders that left the shop; `None` where an earlier call had detached them.
    pub detached: Option<i64>,
    /// Files that hold it, and their rows.
    pub files: Vec<(PathBuf, u64)>,
    /// True if its tables are gone.
    pub dropped: bool,
}

/// Archives the months of `wanted`, oldest first, and tells `say` what goes on and what to know. Months that
/// are not over are refused before anything is changed.
pub async fn archive(
    client: &Client,
    wanted: &Archive,
    mut say: impl FnMut(&str),
) -> Result<Vec<Archived>, PartitionError> {
    let running = partitions::today(client).await;
    let running = running.map_err(PartitionError::server("ask for the time"))?;
    if wanted.before > running {
        return Err(PartitionError::Refused(format!(
            "nothing was changed: {running} is not over; the latest is --before {running}"
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

/// Opens the transaction in which nobody else writes to the tables of a month. Readers go on.
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
    // What is set for other work of this role must not end it half-way.
    let endless = "SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings \
                   WHERE name IN ('transaction_timeout', 'idle_in_transaction_session_timeout')";
    if let Err(error) = client.query(endless, &[]).await {
        let _ = client.rollback().await;
        return Err(PartitionError::server(what)(error));
    }
    Ok(())
}

/// Writes the files of a month that is held, and drops its tables where that is wanted; the files and their rows.
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
            "the files of {month} are written, and nothing was dropped: other sessions hold locks on its tables. \
             Run it again when they have ended (htap-top, panel 8)"
        )),
        _ => PartitionError::server(format!("drop the tables of {month}"))(error),
    }
}

/// Makes a folder that is still there after a crash.
fn make_folder(folder: &Path) -> std::io::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|at| !at.exists()).collect();
    std::fs::create_dir_all(folder)?;
    missing.into_iter().try_for_each(|made| sync(parent(made)))
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}

/// Has what a folder lists written to the disk.
fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Orders on their way can go no further while their month is detached.
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
            "orders of {month} that are pending, paid or shipped: {open}; they go no further until the month is \
             attached again"
        ));
    }
    Ok(())
}

/// What a table or a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Content {
    rows: u64,
    sum: [u8; 32],
}

/// Writes a table to a file that appears when it is whole and on the disk, and reads that again; its rows. A
/// file that is there already, from a call that was interrupted, must hold the same; another one, of another
/// shop or of the month as it was before it was attached again, is not touched.
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
        // One that this wrote just now, and the disk gives back otherwise.
        Ok(_) if !was_there => Err(PartitionError::Refused(format!(
            "{path} reads otherwise than it was written: nothing was dropped. Trust this disk with nothing"
        ))),
        Ok(content) => Err(PartitionError::Refused(format!(
            "{path} is there already and does not hold what shop.{table} holds ({} rows, the table has {}): \
             nothing was dropped. Move it away",
            content.rows, table_holds.rows
        ))),
        Err(source) => Err(PartitionError::Refused(format!(
            "{path} cannot be read again: nothing was dropped. Move it away: {source}"
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

/// Why a file was not written.
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

/// For `map_err`: this could not be done with that file.
fn file(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> PartitionError {
    let what = format!("{verb} {}", path.display());
    move |source| PartitionError::File { what, source }
}
