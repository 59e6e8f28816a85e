//! `htap-top columnar sync`: writes closed hours to files, and those anew whose rows have changed. Each file is a transaction
//! of its own: its snapshot is what the file holds, and with the file's row in the manifest it removes from the log of changes
//! what that snapshot saw. Whatever dies when, the manifest names whole files only.

use super::error::ColumnarError;
use super::file::{Writer, Written};
use super::files::Files;
use super::hours::{ALWAYS, Span, answered, shown, to_write};
use super::manifest::{self, Barred, Entry, Found, Held, Manifest};
use super::place::Place;
use super::report::{self, Round};
use super::rows::{self, within};
use super::table::{FEW, FORMAT, PRECISION, Table};
use crate::pg::{Client, Param, Settings, Target, owners};
use crate::system::lead::Work;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

mod begin;
mod clean;
mod seal;

use begin::find;
use seal::Seal;

/// Options of a sync.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Place of the files; that of the last sync if `None`.
    pub folder: Option<Place>,
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
    files: Files,
    options: Options,
    store: String,
    /// Up to where files of orders may be written.
    seal: Seal,
    /// Up to where the last round wrote files of orders.
    wrote_until: Option<i64>,
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
        begin::need_primary(&client).await?;
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
        let (files, store) = match find(&client, &options, &mut say).await {
            Ok(found) => found,
            Err(error) => return Err(report::failed(&client, error).await),
        };
        let mut sync = Self {
            client,
            files,
            options,
            store: store.store.clone(),
            seal: Seal::default(),
            wrote_until: None,
        };
        match sync.take_place(&store).await {
            Ok(notes) => Ok((sync, notes)),
            Err(error) => Err(report::failed(&sync.client, error).await),
        }
    }

    /// Notes the folder, and verifies its files.
    async fn take_place(&mut self, store: &Manifest) -> Result<Vec<String>, ColumnarError> {
        let place = "UPDATE htap.column_store SET folder = $1 WHERE folder IS DISTINCT FROM $1";
        let shown = self.files.shown();
        let placed = self.client.execute(place, &[Param::Text(&shown)]).await;
        placed.map_err(ColumnarError::server("write htap.column_store"))?;
        let local = self.files.are_local();
        let (notes, _) = self.discard_damaged(store, |_| local).await?;
        Ok(notes)
    }

    /// Writes what is due. Calls `say` before each file.
    pub async fn round(&mut self, say: impl FnMut(&str)) -> Result<Done, ColumnarError> {
        let round = Round::begin(self.options.fresh);
        let done = match self.write_due(&round, say).await {
            Ok((done, checked)) => {
                let written = (done.written, done.rows, done.bytes);
                let told = round
                    .ended(&self.client, written, &checked, self.files.space())
                    .await;
                told.map(|()| done)
            }
            Err(error) => Err(error),
        };
        match done {
            Ok(done) => Ok(done),
            Err(error) => Err(report::failed(&self.client, error).await),
        }
    }

    /// Returns the files that were damaged, too, and those of which queries said so.
    async fn write_due(
        &mut self,
        round: &Round,
        mut say: impl FnMut(&str),
    ) -> Result<(Done, Vec<i64>), ColumnarError> {
        let mut done = Done::default();
        let store = self.read().await?;
        let mut checked = report::damaged(&self.client).await?;
        let (notes, damaged) = self
            .discard_damaged(&store, |id| checked.contains(&id))
            .await?;
        let damage = !damaged.is_empty();
        checked.extend(damaged);
        done.notes = notes;
        let mut stale = damage;
        for held in used(&store).filter(|held| held.dirty.all) {
            manifest::discard_all(&self.client, held.table).await?;
            stale = true;
        }
        let store = if stale { self.read().await? } else { store };
        let closed = self.closed(&store).await?;
        for held in used(&store) {
            let Some(wanted) = self.wanted(held, closed).await? else {
                continue;
            };
            let wanted = if held.table.is_of_orders() {
                let again = damage || self.options.fresh.is_none();
                match self.orders(&store, wanted, again).await? {
                    Some(wanted) => wanted,
                    None => continue,
                }
            } else {
                wanted
            };
            self.forget_before(held, wanted.start).await?;
            let answering = answered(held.spans(), &held.dirty, &ALWAYS);
            for unit in to_write(wanted, &answering) {
                say(&format!(
                    "writing {} hours of {} from {}",
                    unit.end - unit.start,
                    held.table.name,
                    shown(unit.start)
                ));
                if done.written == 0 {
                    round.writes(&self.client).await?;
                }
                let written = self.write(held.table, unit).await?;
                done.written += 1;
                done.rows += written.rows;
                done.bytes += written.bytes;
            }
        }
        if self.seal.is_waiting() && self.options.fresh.is_none() {
            done.notes.push(
                "later hours of mart.orders get no files yet: a transaction that may have changed them has not ended".to_owned(),
            );
        }
        done.files = self.tidy(&mut done.notes).await?;
        Ok((done, checked))
    }

    /// The hours of orders that may and should be written. Orders of closed hours are paid, shipped and completed: they are
    /// written anew once per hour, if not `again`.
    async fn orders(
        &mut self,
        store: &Manifest,
        wanted: Range<i64>,
        again: bool,
    ) -> Result<Option<Range<i64>>, ColumnarError> {
        let sealed = self.seal.up_to(&self.client, store, wanted.end).await?;
        let Some(end) = sealed.filter(|end| wanted.start < *end) else {
            return Ok(None);
        };
        if self.wrote_until == Some(end) && !again {
            return Ok(None);
        }
        self.wrote_until = Some(end);
        Ok(Some(wanted.start..end))
    }

    async fn read(&self) -> Result<Manifest, ColumnarError> {
        match manifest::read(&self.client).await? {
            Found::Store(store) if store.store == self.store => {
                for held in used(&store) {
                    held.need_usable()?;
                }
                Ok(store)
            }
            Found::Store(_) => Err(ColumnarError::Refused(
                "the column store was begun anew by another session: start the sync again"
                    .to_owned(),
            )),
            Found::Nothing(why) => Err(ColumnarError::Refused(format!(
                "{why}: start the sync again"
            ))),
        }
    }

    /// The hour that is not closed yet.
    async fn closed(&self, store: &Manifest) -> Result<i64, ColumnarError> {
        let closed = "SELECT floor(extract(epoch FROM now() - make_interval(secs => $1)) / 3600)::bigint AS hour";
        let settle = [Param::Float(self.options.settle.as_secs_f64())];
        let closed = self.client.query(closed, &settle).await;
        let closed = closed.map_err(ColumnarError::server("ask for the time"))?;
        let closed = closed.first("hour").int().unwrap_or(store.now_hour);
        Ok(self.options.until.map_or(closed, |until| until.min(closed)))
    }

    /// The hours of a table that should be in files, of those before `closed`. `None` if there are none.
    async fn wanted(&self, held: &Held, closed: i64) -> Result<Option<Range<i64>>, ColumnarError> {
        let table = held.table;
        let whole = |hour: i64| {
            if table.is_daily() {
                hour.div_euclid(24) * 24
            } else {
                hour
            }
        };
        let closed = whole(closed - table.unsettled);
        let first = if let Some(first) = held.spans().map(|span| span.hours.start).min() {
            // Older rows than those of the first file may have come.
            let changed = held.dirty.hours.iter().copied().filter(|hour| *hour >= 0);
            changed.fold(first, i64::min)
        } else {
            let first = format!(
                "SELECT floor(extract(epoch FROM {}) / 3600)::bigint AS hour FROM {} AS f",
                table.first, table.name
            );
            let first = self.client.query(&first, &[]).await;
            let first = first.map_err(ColumnarError::server("read the first row"))?;
            match first.first("hour").int() {
                Some(first) => first,
                None => return Ok(None),
            }
        };
        let keep = self.options.keep;
        let first = keep.map_or(first, |keep| first.max(whole(closed - keep)));
        Ok((first < closed).then_some(first..closed))
    }

    /// Writes hours to one file.
    async fn write(
        &mut self,
        table: &'static Table,
        hours: Range<i64>,
    ) -> Result<Entry, ColumnarError> {
        let writing = || ColumnarError::server("write htap.column_file");
        self.client
            .begin_as("ISOLATION LEVEL REPEATABLE READ", "")
            .await
            .map_err(writing())?;
        let written = self.write_in_transaction(table, hours).await;
        match written {
            Ok(entry) => self
                .client
                .commit()
                .await
                .map_err(writing())
                .map(|()| entry),
            Err(error) => {
                let _ = self.client.rollback().await;
                Err(error)
            }
        }
    }

    async fn write_in_transaction(
        &mut self,
        table: &'static Table,
        hours: Range<i64>,
    ) -> Result<Entry, ColumnarError> {
        let writing = || ColumnarError::server("write htap.column_file");
        // What this snapshot sees of the log is in the file.
        let seen = "
            DELETE FROM htap.column_dirty AS d WHERE d.relation = $1 AND d.hour >= to_timestamp($2) AND d.hour < to_timestamp($3)";
        let bounds = [
            Param::Text(table.name),
            Param::Float((hours.start * 3600) as f64),
            Param::Float((hours.end * 3600) as f64),
        ];
        self.client
            .execute(seen, &bounds)
            .await
            .map_err(writing())?;
        let id = "SELECT nextval(pg_get_serial_sequence('htap.column_file', 'file_id'))::bigint AS id, \
                  pg_current_snapshot()::text AS snapshot";
        let id = self.client.query(id, &[]).await.map_err(writing())?;
        let snapshot = id.first("snapshot").text().unwrap_or_default().to_owned();
        let id = id.first("id").int().unwrap_or_default();
        let name = manifest::name(table, &self.store, id);
        let kept = self.put(table, &name, &hours).await;
        let (kept, hour_rows) = kept.inspect_err(|_| self.files.abandon(&name))?;
        let insert = "
            INSERT INTO htap.column_file (file_id, relation, from_hour, to_hour, hour_rows, rows, bytes, sha256, format, as_of)
            OVERRIDING SYSTEM VALUE
            VALUES ($1, $2, to_timestamp($3), to_timestamp($4), $5, $6, $7, pg_catalog.decode($8, 'hex'), $9::bigint, $10::pg_snapshot)";
        let counts: Vec<i64> = hour_rows.iter().map(|rows| *rows as i64).collect();
        let entry = Entry {
            span: Span { id, hours },
            rows: hour_rows.iter().sum(),
            bytes: kept.bytes,
            sha256: kept.sha256,
            format: FORMAT,
        };
        let [relation, from, to] = bounds;
        let params = [
            Param::Int(id),
            relation,
            from,
            to,
            Param::Ints(&counts),
            Param::Int(entry.rows as i64),
            Param::Int(entry.bytes as i64),
            Param::Text(&entry.sha256),
            Param::Int(FORMAT),
            Param::Text(&snapshot),
        ];
        self.client
            .execute(insert, &params)
            .await
            .map_err(writing())?;
        Ok(entry)
    }

    /// Writes a file of this name. Returns the rows of each hour, too.
    async fn put(
        &mut self,
        table: &'static Table,
        name: &str,
        hours: &Range<i64>,
    ) -> Result<(Written, Vec<u64>), ColumnarError> {
        if let Some(written) = self.put_with(table, name, hours, FEW).await? {
            return Ok(written);
        }
        let many = self.put_with(table, name, hours, PRECISION).await?;
        many.ok_or_else(|| ColumnarError::Query("numeric field overflow".to_owned()))
    }

    /// Writes a file whose amounts have at most so many digits. `None` if one has more.
    async fn put_with(
        &mut self,
        table: &'static Table,
        name: &str,
        hours: &Range<i64>,
        digits: u8,
    ) -> Result<Option<(Written, Vec<u64>)>, ColumnarError> {
        let path = self.files.path(name);
        let failed = || ColumnarError::file("write", Path::new(&path));
        let file = self.files.create(name)?;
        let mut writer = Writer::new(file, table, hours.clone(), digits).map_err(failed())?;
        let hours = within(table, std::slice::from_ref(hours));
        let clause = format!("WHERE {hours} ORDER BY {}", table.order);
        let wanted = vec![true; table.columns.len()];
        let read = rows::read(&self.client, table, &wanted, &clause, |batch| {
            writer.add(&batch).map_err(failed())
        });
        read.await?;
        if writer.outgrown {
            return Ok(None);
        }
        let hour_rows = std::mem::take(&mut writer.hour_rows);
        let file = writer.finish().map_err(failed())?;
        Ok(Some((self.files.keep(&file, name).await?, hour_rows)))
    }
}

/// The tables of the store that are wanted.
fn used(store: &Manifest) -> impl Iterator<Item = &Held> {
    let held = store.held.iter();
    held.filter(|held| held.barred != Some(Barred::NotHeld))
}
