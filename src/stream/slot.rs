//! Events from a replication slot: the shop's triggers write them into the WAL, and logical decoding returns them in the
//! order of commits. `docs/stream.md` says when that is better than the outbox.

mod decode;
pub mod own;

use super::StreamError;
use super::dead::beginning;
use super::outbox::{Row, tuples, unknown_form};
use crate::pg::{Client, Param, PgError, Table, quote_ident, quote_literal};
use std::time::Duration;
use tokio::time::{Instant, sleep};

pub(super) use decode::Lsn;
use decode::{Change, change};

/// Limits of a batch: rows of the cursor and bytes of events.
const ROWS: usize = 5_000;
const BYTES: usize = 4_000_000;
/// Changes after which a look ends, with the transaction in hand: so many are kept by the server while they are sent.
const CHANGES: usize = 50_000;
/// Time between two looks at the end of the WAL.
const LOOK: Duration = Duration::from_millis(50);
/// A look decodes again from the oldest transaction that the slot needs, so the next one waits for a multiple of its
/// duration: a third of a processor at most.
const REST: u32 = 2;
/// Events that a look may return again before the slot is advanced, which decodes, too; and the time for which it may lag.
const AGAIN: u64 = 1_000;
const LAG: Duration = Duration::from_secs(1);
/// Time between the slot's removal and that of its note.
const GRACE: Duration = Duration::from_millis(500);
/// undefined_object
const UNDEFINED: &str = "42704";

/// What `htap.stream_slot` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) slot: String,
    publication: String,
    sent_to: Lsn,
    sent_at: i64,
    /// `None`: events are written for the slot.
    ended_at: Option<Lsn>,
}

impl Told {
    /// Columns of the row, for a statement that reads it.
    pub(super) const COLUMNS: &str =
        "s.slot, s.publication, pg_wal_lsn_diff(s.sent_to, '0/0')::bigint AS sent_to,
                                      (extract(epoch FROM s.sent_at) * 1000000)::bigint AS sent_at,
                                      pg_wal_lsn_diff(s.ended_at, '0/0')::bigint AS ended_at";

    /// Reads the columns; returns `None` if there is no slot.
    pub(super) fn of(table: &Table) -> Option<Self> {
        Some(Self {
            slot: table.first("slot").text()?.to_owned(),
            publication: table.first("publication").text()?.to_owned(),
            sent_to: Lsn::of(table.first("sent_to").int()?),
            sent_at: table.first("sent_at").int()?,
            ended_at: table.first("ended_at").int().map(Lsn::of),
        })
    }
}

/// A slot that is read.
#[derive(Debug)]
pub(super) struct Slot {
    told: Told,
    /// As in `htap.stream_slot`: what begins before it is acknowledged.
    sent_to: Lsn,
    /// Where the slot itself is.
    confirmed: Lsn,
    advanced: Instant,
    sent_since: u64,
    /// What was committed before this place and time is acknowledged.
    reached: (Lsn, i64),
    /// Where the last look ended.
    looked_to: Lsn,
    due: Instant,
    held: Option<Held>,
}

/// A cursor that holds what a look has found.
#[derive(Debug)]
struct Held {
    /// Where the WAL ended when the look began, and the time, in microseconds since 1970.
    end: (Lsn, i64),
    rows: usize,
    /// The transaction in hand was sent before.
    skipping: bool,
}

/// Events in the order of commits.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) rows: Vec<Row>,
    /// Where sending is when they are acknowledged, and the time.
    then: Option<(Lsn, i64)>,
}

impl Slot {
    /// Checks that nothing was lost, and goes on where the last relay ended.
    pub(super) async fn open(client: &Client, told: Told) -> Result<Self, StreamError> {
        Ok(Self {
            sent_to: told.sent_to,
            confirmed: own::check(client, &told.slot, told.sent_to).await?,
            advanced: Instant::now(),
            // The last relay may have died before it advanced the slot.
            sent_since: AGAIN,
            reached: (told.sent_to, told.sent_at),
            looked_to: Lsn::default(),
            due: Instant::now(),
            held: None,
            told,
        })
    }

    /// Returns true if it is the slot that is told of.
    pub(super) fn is_of(&self, told: &Told) -> bool {
        // Nobody else moves it on: a greater one is that of a new slot.
        self.told.slot == told.slot && told.sent_to <= self.sent_to
    }

    /// Takes over what was switched meanwhile.
    pub(super) fn note(&mut self, told: Told) {
        self.told = told;
    }

    /// Returns true if events are written for the slot, or those that were are not sent.
    pub(super) fn leads(&self) -> bool {
        self.told.ended_at.is_none() || self.goes_first()
    }

    /// Returns true if the slot holds events that come before those in the outbox.
    pub(super) fn goes_first(&self) -> bool {
        self.told.ended_at.is_some_and(|end| self.sent_to < end)
    }

    /// Returns true if more can be read at once.
    pub(super) fn has_more(&self) -> bool {
        self.held.is_some()
    }

    /// Reads the next events.
    pub(super) async fn read(&mut self, client: &Client) -> Result<Batch, StreamError> {
        if self.held.is_none() && !self.look(client).await? {
            return Ok(Batch::default());
        }
        let sql = format!(
            "COPY (SELECT e.kind, e.data FROM htap.fetch_events('htap_events', {ROWS}, {BYTES}) AS e) TO STDOUT (FORMAT binary)"
        );
        let mut data = Vec::new();
        let copied = client.copy_out(&sql, |piece| {
            data.extend_from_slice(piece);
            Ok::<(), PgError>(())
        });
        copied.await?;
        let mut bytes = 0;
        let changes = tuples(&data, |field| {
            let kind = i32::from_be_bytes(field()?.try_into().ok()?);
            let data = field()?;
            bytes += data.len();
            change(kind, data)
        });
        let changes = changes.ok_or_else(unknown_form)?;
        let is_last = changes.len() < ROWS && bytes < BYTES;
        self.take(client, changes, is_last).await
    }

    async fn take(
        &mut self,
        client: &Client,
        changes: Vec<Change>,
        is_last: bool,
    ) -> Result<Batch, StreamError> {
        let Some(held) = &mut self.held else {
            return Ok(Batch::default());
        };
        held.rows += changes.len();
        let mut batch = Batch::default();
        for change in changes {
            match change {
                Change::Begin(commit) => held.skipping = commit < self.sent_to,
                Change::Commit { end, at } => batch.then = Some((end, at)),
                Change::Event(row) if !held.skipping => batch.rows.push(row),
                Change::Event(_) | Change::Other => {}
            }
        }
        if is_last {
            let end = held.end;
            if held.rows < CHANGES {
                batch.then = Some(end);
            } else {
                self.due = Instant::now();
            }
            self.looked_to = batch.then.map_or(end.0, |(end, _)| end);
            self.held = None;
            client.batch("CLOSE htap_events").await?;
        }
        Ok(batch)
    }

    /// Decodes what was committed since; returns true if a cursor holds it.
    async fn look(&mut self, client: &Client) -> Result<bool, StreamError> {
        if Instant::now() < self.due {
            return Ok(false);
        }
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS lsn,
                          (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS at";
        let end = client.query(sql, &[]).await?;
        let at = end.first("at").int().unwrap_or(0);
        let end = (Lsn::of(end.first("lsn").int().unwrap_or(0)), at);
        if end.0 <= self.looked_to {
            self.reached = self.reached.max(end);
            self.due = Instant::now() + LOOK;
            return Ok(false);
        }
        // After the end of the WAL was read: of whatever wrote into it before, this snapshot shows the switch.
        let sql = "SELECT EXISTS (SELECT FROM htap.stream_slot AS s WHERE s.ended_at IS NULL)
                          AND EXISTS (SELECT FROM htap.outbox) AS outbox_first,
                          (SELECT pg_wal_lsn_diff(r.confirmed_flush_lsn, '0/0')::bigint FROM pg_replication_slots AS r
                           WHERE r.slot_name = $1) AS confirmed";
        let found = client.query(sql, &[Param::Text(&self.told.slot)]).await?;
        let confirmed = found.first("confirmed").int().map(Lsn::of);
        if confirmed.is_none_or(|confirmed| confirmed > self.confirmed) {
            self.doubt(client).await?;
            return Ok(false);
        }
        if found.first("outbox_first").is_true() {
            self.due = Instant::now() + LOOK;
            return Ok(false);
        }
        let begun = Instant::now();
        if let Err(error) = self.peek(client, end.0).await {
            if error.code() == UNDEFINED && !self.doubt(client).await? {
                return Ok(false);
            }
            return Err(own::explain(&error, &self.told.slot));
        }
        self.due = Instant::now() + LOOK.max(begun.elapsed() * REST);
        self.held = Some(Held {
            end,
            rows: 0,
            skipping: false,
        });
        Ok(true)
    }

    /// Says what has happened to the slot. Returns false if `stream slot drop` has just removed it, and its note, too.
    async fn doubt(&mut self, client: &Client) -> Result<bool, StreamError> {
        sleep(GRACE).await;
        let sql = format!("SELECT {} FROM htap.stream_slot AS s", Told::COLUMNS);
        let told = Told::of(&client.query(&sql, &[]).await?);
        let ours = told.is_some_and(|told| self.is_of(&told));
        if ours {
            self.confirmed = own::check(client, &self.told.slot, self.sent_to).await?;
        }
        Ok(ours)
    }

    /// Forgets what a look has found.
    pub(super) async fn close(self, client: &Client) -> Result<(), PgError> {
        match self.held {
            Some(_) => client.batch("CLOSE htap_events").await,
            None => Ok(()),
        }
    }

    /// Opens the cursor. Only what the shop's triggers have signed counts, in UTF-8 as far as the server can convert it.
    async fn peek(&self, client: &Client, end: Lsn) -> Result<(), PgError> {
        let (slot, publication) = (&self.told.slot, &self.told.publication);
        let sql = format!(
            "DECLARE htap_events NO SCROLL CURSOR WITH HOLD FOR
             SELECT k.kind,
                    CASE WHEN k.kind IN (66, 67) THEN p.data
                         WHEN k.kind = 78 THEN substr(p.data, 27, 16384)
                         WHEN k.kind <> 77 THEN ''
                         WHEN getdatabaseencoding() IN ('UTF8', 'SQL_ASCII') THEN substr(p.data, 59)
                         ELSE convert(substr(p.data, 59), getdatabaseencoding(), 'UTF8') END AS data
             FROM pg_logical_slot_peek_binary_changes({slot}, {end}, {CHANGES}, 'proto_version', '1',
                                                      'publication_names', {publication}, 'messages', 'true') AS p
             CROSS JOIN LATERAL (
                 SELECT CASE WHEN get_byte(p.data, 0) <> 77 THEN get_byte(p.data, 0)
                             WHEN get_byte(p.data, 1) = 0 OR substr(p.data, 11, 12) <> '\\x687461702e6f7574626f7800' THEN 0
                             WHEN substr(p.data, 27, 32) <> sha256(w.secret || sha256(w.secret || substr(p.data, 59))) THEN 78
                             ELSE 77 END AS kind
                 FROM (SELECT (SELECT s.secret FROM htap.stream_slot AS s) AS secret) AS w OFFSET 0) AS k",
            slot = quote_literal(slot),
            end = quote_literal(&end.to_string()),
            publication = quote_literal(&quote_ident(publication)),
        );
        client.batch(&sql).await
    }

    /// Returns true if a batch is to be noted: without events, seldom, as the note itself is WAL to decode.
    pub(super) fn is_due(&self, batch: &Batch) -> bool {
        let moves = batch.then.is_some_and(|(to, _)| to > self.sent_to);
        !batch.rows.is_empty() || moves && self.advanced.elapsed() >= LAG
    }

    /// Remembers what a batch shows, if nothing of it is left to do.
    pub(super) fn reach(&mut self, batch: &Batch) {
        self.reached = batch.then.unwrap_or(self.reached).max(self.reached);
    }

    /// Notes that the broker has acknowledged a batch, in the transaction in hand.
    pub(super) async fn store(&self, client: &Client, batch: &Batch) -> Result<(), PgError> {
        let Some((to, at)) = batch.then.filter(|(to, _)| *to > self.sent_to) else {
            return Ok(());
        };
        let sql = "UPDATE htap.stream_slot SET sent_to = $1::pg_lsn, sent_at = to_timestamp($2 / 1000000.0)
                   WHERE slot = $3 AND sent_to < $1::pg_lsn";
        let text = to.to_string();
        let params = [
            Param::Text(&text),
            Param::Int(at),
            Param::Text(&self.told.slot),
        ];
        client.execute(sql, &params).await?;
        Ok(())
    }

    /// Keeps an event that could not be sent.
    pub(super) async fn bury(
        client: &Client,
        topic: &str,
        row: &Row,
        why: &str,
    ) -> Result<(), PgError> {
        let sql = "INSERT INTO htap.dead_letter (topic, partition, record_offset, reason, key, value, value_bytes)
                   VALUES ($1, -1, $2, $3, decode($4, 'hex'), decode($5, 'hex'), $6)";
        let (key, value) = (beginning(&row.key), beginning(row.payload()));
        let length = i64::try_from(row.payload().len()).unwrap_or(i64::MAX);
        let params = [
            Param::Text(topic),
            Param::Int(row.event_id()),
            Param::Text(why),
            Param::Text(&key),
            Param::Text(&value),
            Param::Int(length),
        ];
        client.execute(sql, &params).await?;
        Ok(())
    }

    /// Returns by how much sending is behind the end of the WAL: bytes, and milliseconds at most.
    pub(super) async fn lag(&self, client: &Client) -> Result<(Option<u64>, Option<f64>), PgError> {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), $1::pg_lsn)::bigint AS bytes,
                          (extract(epoch FROM clock_timestamp() - to_timestamp($2 / 1000000.0)) * 1000)::float8 AS age_ms";
        let (to, at) = self.reached;
        let text = to.max(self.sent_to).to_string();
        let lag = client
            .query(sql, &[Param::Text(&text), Param::Int(at)])
            .await?;
        let bytes = lag
            .first("bytes")
            .int()
            .and_then(|bytes| u64::try_from(bytes).ok());
        Ok((bytes, lag.first("age_ms").number().filter(|_| at > 0)))
    }

    /// Advances the slot behind a batch that [`Self::store`] has noted.
    pub(super) async fn advance(
        &mut self,
        client: &Client,
        batch: &Batch,
    ) -> Result<(), StreamError> {
        self.sent_to = batch
            .then
            .map_or(self.sent_to, |(to, _)| to.max(self.sent_to));
        self.reach(batch);
        self.sent_since += u64::try_from(batch.rows.len()).unwrap_or(0);
        let due = self.sent_since >= AGAIN || self.advanced.elapsed() >= LAG;
        if self.sent_to <= self.confirmed || self.held.is_some() || !due {
            return Ok(());
        }
        let to = self.sent_to.to_string();
        let sql = "SELECT pg_wal_lsn_diff(a.end_lsn, '0/0')::bigint AS lsn FROM pg_replication_slot_advance($1, $2::pg_lsn) AS a";
        let params = [Param::Text(&self.told.slot), Param::Text(&to)];
        let advanced = match client.query(sql, &params).await {
            // The next look says what has happened.
            Err(error) if error.code() == UNDEFINED => return Ok(()),
            advanced => advanced?,
        };
        self.confirmed = advanced.first("lsn").int().map_or(self.sent_to, Lsn::of);
        self.advanced = Instant::now();
        self.sent_since = 0;
        Ok(())
    }
}
