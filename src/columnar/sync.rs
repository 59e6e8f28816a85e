//! `htap-top columnar sync`: writes closed hours to files, and those anew whose rows have changed. Each file is a transaction
//! of its own: its snapshot is what the file holds, and with the file's row in the manifest it removes from the log of changes
//! what that snapshot saw. Whatever dies when, the manifest names whole files only.

use super::error::ColumnarError;
use super::file::{self, Writer};
use super::folder::{self, claim, fault};
use super::hours::{Dirty, Span, answered, shown, to_write};
use super::manifest::{self, Entry, Found, Manifest};
use super::report::{self, Round};
use super::rows::{self, IN_ORDER, within};
use super::table::{COLUMNS, FORMAT};
use crate::pg::{Client, Param, Settings, Target, owners};
use crate::system::lead::Work;
use nix::fcntl::Flock;
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Options of a sync.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Folder of the files; that of the last sync if `None`.
    pub folder: Option<PathBuf>,
    /// Time that an hour stays open after its end.
    pub settle: Duration,
    /// Hours from this one on stay open whatever the time is (hours since 1970, UTC).
    pub until: Option<i64>,
    /// Age from which hours have no files any more, in hours.
    pub keep: Option<i64>,
    /// Pause between rounds, for those who watch it; `None` if there is one round.
    pub fresh: Option<Duration>,
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Files that were written.
    pub written: usize,
    /// Their rows.
    pub rows: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of the store now.
    pub files: usize,
    /// What was found damaged and is written anew, or was removed as no file of the store.
    pub notes: Vec<String>,
}

const SYNCING: Work = Work {
    lock: "htap.columnar",
    table: "htap.column_file",
    privilege: "INSERT",
};

/// Time to wait for a lock of the table, in milliseconds.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A column store that this session alone writes.
pub struct Sync {
    client: Client,
    folder: PathBuf,
    options: Options,
    /// Held as long as the store is written here.
    _marker: Flock<File>,
    store: String,
}

impl Sync {
    /// Connects, and becomes the one session that syncs; calls `waiting` if another one does. Begins the log of changes and a
    /// folder if there are none. Damaged files are taken out of the manifest.
    pub async fn begin(
        target: &Target,
        options: Options,
        mut say: impl FnMut(&str),
    ) -> Result<(Self, Vec<String>), ColumnarError> {
        let settings = Settings::of_work(LOCK_TIMEOUT).with("work_mem", "64MB");
        let client = Client::open(target, &settings).await;
        let client = client.map_err(ColumnarError::server("connect"))?;
        client
            .need_own_session("htap-top columnar sync")
            .map_err(ColumnarError::server("lock the column store"))?;
        let trusted = owners::trust_the_shop(&client).await;
        trusted.map_err(ColumnarError::server("trust the shop"))?;
        let lead = SYNCING.lead(&client, |leader| {
            let who = leader.map_or_else(
                || "another session".to_owned(),
                |pid| format!("backend {pid}"),
            );
            say(&format!("waiting: {who} syncs the column store"));
        });
        lead.await
            .map_err(ColumnarError::server("lock the column store"))?;
        let (folder, marker, store) = match find(&client, &options, &mut say).await {
            Ok(found) => found,
            Err(error) => return Err(report::failed(&client, error).await),
        };
        let sync = Self {
            client,
            folder,
            options,
            _marker: marker,
            store: store.store.clone(),
        };
        match sync.take_place(&store).await {
            Ok(notes) => Ok((sync, notes)),
            Err(error) => Err(report::failed(&sync.client, error).await),
        }
    }

    /// Notes the folder, and verifies its files.
    async fn take_place(&self, store: &Manifest) -> Result<Vec<String>, ColumnarError> {
        let place = "UPDATE htap.column_store SET folder = $1 WHERE folder IS DISTINCT FROM $1";
        let shown = self.folder.to_string_lossy().into_owned();
        let placed = self.client.execute(place, &[Param::Text(&shown)]).await;
        placed.map_err(ColumnarError::server("write htap.column_store"))?;
        let (notes, _) = self.discard_damaged(store, |_| true).await?;
        Ok(notes)
    }

    /// Writes what is due. Calls `say` before each file.
    pub async fn round(&self, say: impl FnMut(&str)) -> Result<Done, ColumnarError> {
        let round = Round::begin(&self.folder, self.options.fresh);
        let done = async {
            let (done, checked) = self.write_due(&round, say).await?;
            let written = (done.written, done.rows, done.bytes);
            round.ended(&self.client, written, &checked).await?;
            Ok(done)
        };
        match done.await {
            Ok(done) => Ok(done),
            Err(error) => Err(report::failed(&self.client, error).await),
        }
    }

    /// Returns the files that were damaged, too, and those of which queries said so.
    async fn write_due(
        &self,
        round: &Round<'_>,
        mut say: impl FnMut(&str),
    ) -> Result<(Done, Vec<i64>), ColumnarError> {
        let mut done = Done::default();
        let store = self.read().await?;
        let mut checked = report::damaged(&self.client).await?;
        let (notes, damaged) = self
            .discard_damaged(&store, |id| checked.contains(&id))
            .await?;
        checked.extend(damaged);
        done.notes = notes;
        if store.dirty.all {
            manifest::discard_all(&self.client).await?;
        }
        let store = if done.notes.is_empty() && !store.dirty.all {
            store
        } else {
            self.read().await?
        };
        if let Some(wanted) = self.wanted(&store).await? {
            self.forget_before(&store, wanted.start).await?;
            let held = answered(store.files.iter().map(|file| &file.span), &store.dirty);
            for unit in to_write(wanted, &held) {
                say(&format!(
                    "writing {} hours from {}",
                    unit.end - unit.start,
                    shown(unit.start)
                ));
                if done.written == 0 {
                    round.writes(&self.client).await?;
                }
                let written = self.write(unit).await?;
                done.written += 1;
                done.rows += written.rows();
                done.bytes += written.bytes;
            }
        }
        done.files = self.tidy(&mut done.notes).await?;
        Ok((done, checked))
    }

    async fn read(&self) -> Result<Manifest, ColumnarError> {
        match manifest::read(&self.client).await? {
            Found::Store(store) if store.store == self.store => Ok(store),
            Found::Store(_) => Err(ColumnarError::Refused(
                "the column store was begun anew by another session: start the sync again"
                    .to_owned(),
            )),
            Found::Nothing(why) => Err(ColumnarError::Refused(format!(
                "{why}: start the sync again"
            ))),
        }
    }

    /// The hours that should be in files. `None` if the table is empty and nothing is in files.
    async fn wanted(&self, store: &Manifest) -> Result<Option<Range<i64>>, ColumnarError> {
        let closed = "SELECT floor(extract(epoch FROM now() - make_interval(secs => $1)) / 3600)::bigint AS hour";
        let settle = [Param::Float(self.options.settle.as_secs_f64())];
        let closed = self.client.query(closed, &settle).await;
        let closed = closed.map_err(ColumnarError::server("ask for the time"))?;
        let closed = closed.first("hour").int().unwrap_or(store.now_hour);
        let closed = self.options.until.map_or(closed, |until| until.min(closed));
        let held = store.files.iter().map(|file| file.span.hours.start).min();
        let first = if let Some(first) = held {
            // Older rows than those of the first file may have come.
            let changed = store.dirty.hours.iter().copied().filter(|hour| *hour >= 0);
            changed.fold(first, i64::min)
        } else {
            let first = "SELECT floor(extract(epoch FROM min(f.sale_time)) / 3600)::bigint AS hour FROM mart.fact_sales AS f";
            let first = self.client.query(first, &[]).await;
            let first = first.map_err(ColumnarError::server("read mart.fact_sales"))?;
            match first.first("hour").int() {
                Some(first) => first,
                None => return Ok(None),
            }
        };
        let first = self
            .options
            .keep
            .map_or(first, |keep| first.max(closed - keep));
        Ok((first < closed).then_some(first..closed))
    }

    /// Writes hours to one file.
    async fn write(&self, hours: Range<i64>) -> Result<Entry, ColumnarError> {
        let writing = || ColumnarError::server("write htap.column_file");
        let client = &self.client;
        client
            .begin_as("ISOLATION LEVEL REPEATABLE READ", "")
            .await
            .map_err(writing())?;
        let written = self.write_in_transaction(hours).await;
        match written {
            Ok(entry) => client.commit().await.map_err(writing()).map(|()| entry),
            Err(error) => {
                let _ = client.rollback().await;
                Err(error)
            }
        }
    }

    async fn write_in_transaction(&self, hours: Range<i64>) -> Result<Entry, ColumnarError> {
        let writing = || ColumnarError::server("write htap.column_file");
        let client = &self.client;
        // What this snapshot sees of the log is in the file.
        let seen = "
            DELETE FROM htap.column_dirty AS d WHERE d.hour >= to_timestamp($1) AND d.hour < to_timestamp($2)";
        let bounds = [
            Param::Float((hours.start * 3600) as f64),
            Param::Float((hours.end * 3600) as f64),
        ];
        client.execute(seen, &bounds).await.map_err(writing())?;
        let id = "SELECT nextval(pg_get_serial_sequence('htap.column_file', 'file_id'))::bigint AS id, \
                  pg_current_snapshot()::text AS snapshot";
        let id = client.query(id, &[]).await.map_err(writing())?;
        let snapshot = id.first("snapshot").text().unwrap_or_default().to_owned();
        let id = id.first("id").int().unwrap_or_default();
        let path = self.folder.join(manifest::name(&self.store, id));
        let temporary = file::unfinished(&path);
        let copied = self.copy(&temporary, &hours).await;
        let kept =
            copied.and_then(|(finished, hour_rows)| Ok((file::keep(&finished, &path)?, hour_rows)));
        let (kept, hour_rows) = kept.inspect_err(|_| _ = std::fs::remove_file(&temporary))?;
        let insert = "
            INSERT INTO htap.column_file (file_id, from_hour, to_hour, hour_rows, rows, bytes, sha256, format, as_of)
            OVERRIDING SYSTEM VALUE
            VALUES ($1, to_timestamp($2), to_timestamp($3), $4, $5, $6, pg_catalog.decode($7, 'hex'), $8::bigint, $9::pg_snapshot)";
        let counts: Vec<i64> = hour_rows.iter().map(|rows| *rows as i64).collect();
        let entry = Entry {
            span: Span { id, hours },
            hour_rows,
            bytes: kept.bytes,
            sha256: kept.sha256,
            format: FORMAT,
        };
        let [from, to] = bounds;
        let params = [
            Param::Int(id),
            from,
            to,
            Param::Ints(&counts),
            Param::Int(entry.rows() as i64),
            Param::Int(entry.bytes as i64),
            Param::Text(&entry.sha256),
            Param::Int(FORMAT),
            Param::Text(&snapshot),
        ];
        client.execute(insert, &params).await.map_err(writing())?;
        Ok(entry)
    }

    async fn copy(
        &self,
        path: &Path,
        hours: &Range<i64>,
    ) -> Result<(File, Vec<u64>), ColumnarError> {
        let failed = || ColumnarError::file("write", path);
        let file = File::create(path).map_err(failed())?;
        let mut writer = Writer::new(file, hours.clone()).map_err(failed())?;
        let clause = format!("WHERE {} {IN_ORDER}", within(std::slice::from_ref(hours)));
        rows::read(&self.client, &[true; COLUMNS.len()], &clause, |batch| {
            writer.add(&batch).map_err(failed())
        })
        .await?;
        let hour_rows = std::mem::take(&mut writer.hour_rows);
        Ok((writer.finish().map_err(failed())?, hour_rows))
    }

    /// Takes files out of the manifest that are missing, of another length or format or, where `whole`, of another content,
    /// and says so. Their hours count as changed: an older file may hold them, too. Also returns their numbers.
    async fn discard_damaged(
        &self,
        store: &Manifest,
        whole: impl Fn(i64) -> bool,
    ) -> Result<(Vec<String>, Vec<i64>), ColumnarError> {
        let mut notes = Vec::new();
        let mut damaged = Vec::new();
        for entry in &store.files {
            let path = self.folder.join(entry.name(&store.store));
            if let Some(why) = fault(&path, entry, whole(entry.span.id)) {
                report::damage(&self.client, entry.span.id, &why).await?;
                notes.push(format!(
                    "{} {why}: its hours are written anew",
                    path.display()
                ));
                damaged.push(entry.span.id);
            }
        }
        manifest::discard(&self.client, &damaged).await?;
        Ok((notes, damaged))
    }

    /// Takes out files whose hours all lie before `first`.
    async fn forget_before(&self, store: &Manifest, first: i64) -> Result<(), ColumnarError> {
        let old = store
            .files
            .iter()
            .filter(|file| file.span.hours.end <= first);
        let old: Vec<i64> = old.map(|file| file.span.id).collect();
        manifest::discard(&self.client, &old).await
    }

    /// Takes out files that no longer answer for any hour, forgets changes of hours that no file holds, and removes files that
    /// the manifest does not name. Returns the number of files left.
    async fn tidy(&self, notes: &mut Vec<String>) -> Result<usize, ColumnarError> {
        let writing = || ColumnarError::server("write htap.column_file");
        let begun = self
            .client
            .begin_as("ISOLATION LEVEL REPEATABLE READ", "")
            .await;
        begun.map_err(writing())?;
        let tidied = self.tidy_in_transaction().await;
        let files = match tidied {
            Ok(files) => self
                .client
                .commit()
                .await
                .map_err(writing())
                .map(|()| files),
            Err(error) => {
                let _ = self.client.rollback().await;
                Err(error)
            }
        }?;
        notes.extend(folder::remove_orphans(&self.folder, &self.store, &files)?);
        Ok(files.len())
    }

    async fn tidy_in_transaction(&self) -> Result<BTreeSet<String>, ColumnarError> {
        let store = self.read().await?;
        let held = answered(store.files.iter().map(|file| &file.span), &Dirty::default());
        let live: BTreeSet<i64> = held.values().copied().collect();
        let (live, idle): (Vec<&Entry>, Vec<&Entry>) = store
            .files
            .iter()
            .partition(|file| live.contains(&file.span.id));
        let idle: Vec<i64> = idle.iter().map(|file| file.span.id).collect();
        let writing = || ColumnarError::server("write htap.column_file");
        if !idle.is_empty() {
            let delete = "DELETE FROM htap.column_file AS f WHERE f.file_id = ANY ($1)";
            self.client
                .execute(delete, &[Param::Ints(&idle)])
                .await
                .map_err(writing())?;
        }
        // Those before the first file get one in the next round, unless they are too old.
        let end = live
            .iter()
            .map(|file| file.span.hours.end)
            .max()
            .unwrap_or_default();
        let open =
            |hour: &i64| *hour >= end || self.options.keep.is_some() && !held.contains_key(hour);
        let unheld: Vec<i64> = store.dirty.hours.iter().copied().filter(open).collect();
        if !unheld.is_empty() {
            let forget =
                "DELETE FROM htap.column_dirty AS d WHERE isfinite(d.hour) AND d.hour = ANY (
                              SELECT to_timestamp(h * 3600.0) FROM unnest($1) AS h)";
            self.client
                .execute(forget, &[Param::Ints(&unheld)])
                .await
                .map_err(writing())?;
        }
        Ok(live.iter().map(|file| file.name(&store.store)).collect())
    }
}

/// Finds the store and its folder, and begins them if there are none.
async fn find(
    client: &Client,
    options: &Options,
    say: &mut impl FnMut(&str),
) -> Result<(PathBuf, Flock<File>, Manifest), ColumnarError> {
    let store = match manifest::read(client).await? {
        Found::Store(store) => store,
        Found::Nothing(why) => {
            say(&format!("all files are written anew: {why}"));
            manifest::switch_on(client).await?;
            match manifest::read(client).await? {
                Found::Store(store) => store,
                Found::Nothing(why) => return Err(ColumnarError::Refused(why.to_owned())),
            }
        }
    };
    let folder = options
        .folder
        .clone()
        .or_else(|| store.folder.clone().map(PathBuf::from));
    let Some(folder) = folder else {
        return Err(ColumnarError::Refused(
            "name a folder for the column files with --folder".to_owned(),
        ));
    };
    let marker = claim(&folder, &store.store)?;
    let folder = folder
        .canonicalize()
        .map_err(ColumnarError::file("open", &folder))?;
    Ok((folder, marker, store))
}
