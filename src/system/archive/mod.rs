//! Months that are over leave the shop: detached, written to files, and dropped, each step only after the one
//! before it is certain. Whatever interrupts it, the same call goes on: a month that is detached is not
//! detached again, and a file that is there is whole, because it gets its name last.

mod csv;
mod parquet;

use super::partitions::{self, Listed, Month, PartitionError, State};
use crate::pg::{Client, PgError};
use std::fs::File;
use std::io::Read;
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
    /// Whether its tables are gone.
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
        std::fs::create_dir_all(folder).map_err(file("make", folder))?;
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
    for table in TABLES {
        let name = format!("{table}{}", month.suffix());
        let path = folder.join(format!("{name}.{}", wanted.format.ending()));
        say(&format!("writing {}", path.display()));
        write(client, &name, &path, wanted.format).await?;
        let rows = verify(client, &name, &path, wanted.format).await?;
        archived.files.push((path, rows));
    }
    if wanted.drop {
        say(&format!("dropping the tables of {month}"));
        drop_month(client, month, &archived.files).await?;
        archived.dropped = true;
    }
    Ok(archived)
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

/// Writes a table to a file that appears when it is whole and on the disk. A file that is there already, from
/// a call that was interrupted, must be the same; another one, of another shop or of the month as it was before
/// it was attached again, is not touched.
async fn write(
    client: &Client,
    table: &str,
    path: &Path,
    format: Format,
) -> Result<(), PartitionError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = folder.join(format!(".{name}.unfinished"));
    let failed = || file("write", &unfinished);
    let target = File::create(&unfinished).map_err(failed())?;
    let written = match format {
        Format::Csv => csv::write(client, table, target).await,
        Format::Parquet => parquet::write(client, table, target).await,
    };
    let written = written.and_then(|target| Ok(target.sync_all()?));
    if let Err(error) = written {
        let _ = std::fs::remove_file(&unfinished);
        return Err(match error {
            WriteError::Server(source) => {
                PartitionError::server(format!("read shop.{table}"))(source)
            }
            WriteError::File(source) => failed()(source),
        });
    }
    if path.exists() {
        let same = is_same(&unfinished, path).map_err(file("read", path))?;
        std::fs::remove_file(&unfinished).map_err(failed())?;
        return if same {
            Ok(())
        } else {
            Err(PartitionError::Refused(format!(
                "{} is there already and does not hold what shop.{table} holds: nothing was dropped. Move it away",
                path.display()
            )))
        };
    }
    std::fs::rename(&unfinished, path).map_err(file("write", path))?;
    let folder = File::open(folder).and_then(|folder| folder.sync_all());
    folder.map_err(file("write", path))
}

/// Whether two files hold the same bytes.
fn is_same(one: &Path, other: &Path) -> std::io::Result<bool> {
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut piece, mut same) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let length = one.read(&mut piece)?;
        let (piece, same) = (piece.get(..length), same.get_mut(..length));
        let (Some(piece), Some(same)) = (piece, same) else {
            return Ok(false);
        };
        if piece.is_empty() {
            return Ok(true);
        }
        other.read_exact(same)?;
        if piece != same {
            return Ok(false);
        }
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

/// Reads a file again and compares it with the table it was written from; its rows.
async fn verify(
    client: &Client,
    table: &str,
    path: &Path,
    format: Format,
) -> Result<u64, PartitionError> {
    let opened = File::open(path).map_err(file("read", path))?;
    let rows = match format {
        Format::Csv => csv::rows(opened),
        Format::Parquet => parquet::rows(opened),
    };
    let rows = rows.map_err(file("read", path))?;
    let there = count(client, table).await;
    let there = there.map_err(PartitionError::server(format!("count shop.{table}")))?;
    if rows != there {
        return Err(PartitionError::Refused(format!(
            "{} has {rows} rows and shop.{table} {there}: nothing was dropped",
            path.display()
        )));
    }
    Ok(rows)
}

async fn count(client: &Client, table: &str) -> Result<u64, PgError> {
    let count = format!("SELECT count(*) AS n FROM shop.{table}");
    let count = client.query(&count, &[]).await?;
    Ok(count.first("n").int().unwrap_or_default() as u64)
}

/// Drops the tables of a month if they still hold as many rows as the files.
async fn drop_month(
    client: &Client,
    month: Month,
    files: &[(PathBuf, u64)],
) -> Result<(), PartitionError> {
    let failed = || PartitionError::server(format!("drop the tables of {month}"));
    let tables = TABLES.map(|table| format!("shop.{table}{}", month.suffix()));
    let lock = format!(
        "BEGIN; SET LOCAL lock_timeout = '2s'; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
        tables.join(", ")
    );
    client.batch(&lock).await.map_err(failed())?;
    for (table, (path, rows)) in TABLES.iter().zip(files) {
        let name = format!("{table}{}", month.suffix());
        if count(client, &name).await.map_err(failed())? != *rows {
            let _ = client.batch("ROLLBACK").await;
            return Err(PartitionError::Refused(format!(
                "shop.{name} has changed since {} was written: nothing was dropped. Move the file away",
                path.display()
            )));
        }
    }
    let drop = format!("SELECT htap.drop_month('{month}-01 00:00+00'); COMMIT");
    client.batch(&drop).await.map_err(failed())
}

/// For `map_err`: this could not be done with that file.
fn file(verb: &str, path: &Path) -> impl FnOnce(std::io::Error) -> PartitionError {
    let what = format!("{verb} {}", path.display());
    move |source| PartitionError::File { what, source }
}
